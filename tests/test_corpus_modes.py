"""The mode rule, scale by scale."""

from fractions import Fraction

import pytest

from hoyomusic.corpus.modes import infer_mode, with_inferred_key, with_inferred_mode
from hoyomusic.tune import Bar, Key, Note, Pitch, Tune

TONIC = 62


def make(degrees, key=Key("D")):
    notes = tuple(Note((Pitch.from_midi(TONIC + degree),), Fraction(1, 8)) for degree in degrees)
    return Tune(key, None, (Bar(notes),))


@pytest.mark.parametrize(
    ("degrees", "mode"),
    [
        ((0, 2, 4, 5, 7, 9, 11), "major"),
        ((0, 2, 4, 7, 9), "major"),
        ((0, 2, 4, 5, 7, 9, 10), "mixolydian"),
        ((0, 2, 4, 6, 7, 9, 11), "lydian"),
        ((0, 2, 3, 5, 7, 8, 10), "minor"),
        ((0, 2, 3, 5, 7, 8, 11), "minor"),
        ((0, 2, 3, 5, 7, 9, 11), "minor"),
        ((0, 2, 3, 5, 7, 9, 10), "dorian"),
        ((0, 1, 3, 5, 7, 8, 10), "phrygian"),
        ((0, 3, 5, 7, 10), "minor"),
        ((0, 5, 7), None),
    ],
)
def test_each_scale_has_its_mode(degrees, mode):
    assert infer_mode(make(degrees), Key("D")) == mode


def test_a_rare_degree_is_an_ornament():
    major = (0, 2, 4, 5, 7, 9, 11)
    assert infer_mode(make((*major * 20, 10)), Key("D")) == "major"
    assert infer_mode(make((0, 2, 4, 5, 7, 9) * 30 + (10,)), Key("D")) == "major"


def test_the_mode_enters_the_key_and_changes_no_note():
    tune = make((0, 2, 3, 5, 7, 8, 10))
    named = with_inferred_mode(tune)
    assert named.key == Key("D", 0, "minor")
    assert named.bars == tune.bars
    assert with_inferred_mode(make((0, 5, 7))).key == Key("D")


def test_a_tune_without_key_takes_its_last_note():
    none = Key("C", 0, "none")
    assert with_inferred_key(make((7, 3, 2, 0), none)).key == Key("D", 0, "minor")
    assert with_inferred_key(make((0, 5, 7, 0), none)) is None
    assert with_inferred_key(Tune(none, None, (Bar((Note((), Fraction(1)),)),))) is None


def test_no_key_of_eight_flats():
    notes = tuple(Note((Pitch(*pitch),), Fraction(1, 8)) for pitch in (("D", -1, 4), ("F", -1, 4), ("A", -1, 4)))
    tune = Tune(Key("D", -1), None, (Bar(notes),))
    assert infer_mode(tune, tune.key) == "minor"
    assert with_inferred_mode(tune) is tune
    assert with_inferred_key(Tune(Key("C", 0, "none"), None, (Bar(notes[::-1]),))) is None
