"""The tune as exact data: how it is played, what is wrong with it, and how it moves to other keys."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.errors import TuneError
from hoyomusic.tune import (
    LETTERS,
    MAXIMUM_PLAYED_BARS,
    Bar,
    Key,
    Metre,
    Note,
    Pitch,
    Tempo,
    Tune,
    height,
    parse_tonic,
)

CROTCHET = Fraction(1, 4)
A4 = Pitch("A", 0, 4)


def bar(*lengths: Fraction, **signs) -> Bar:
    return Bar(tuple(Note((A4,), length) for length in lengths or (CROTCHET,)), **signs)


def tune(*bars: Bar, metre: Metre | None = Metre(1, 4), parts: tuple[str, ...] = ()) -> Tune:
    return Tune(Key("C"), metre, bars, parts)


PLAYED = {
    "no signs": ((bar(), bar(), bar()), [0, 1, 2]),
    "one repeat": ((bar(opens=True), bar(closes=2), bar()), [0, 1, 0, 1, 2]),
    "three plays": ((bar(opens=True, closes=3), bar()), [0, 0, 0, 1]),
    "two repeats": ((bar(opens=True, closes=2), bar(opens=True, closes=2)), [0, 0, 1, 1]),
    "repeat behind a repeat without its opening": ((bar(opens=True, closes=2), bar(), bar(closes=2)), [0, 0, 1, 2, 1, 2]),
    "opening never closed": ((bar(), bar(opens=True), bar()), [0, 1, 2]),
    "endings": (
        (bar(opens=True), bar(ending=(1,), closes=2), bar(ending=(2,), double=True), bar()),
        [0, 1, 0, 2, 3],
    ),
    "long endings": (
        (bar(opens=True), bar(ending=(1,)), bar(closes=2), bar(ending=(2,)), bar(double=True), bar()),
        [0, 1, 2, 0, 3, 4, 5],
    ),
    "endings 1,3 and 2": (
        (bar(opens=True), bar(ending=(1, 3), closes=3), bar(ending=(2,), closes=3), bar()),
        [0, 1, 0, 2, 0, 1, 3],
    ),
    "last ending up to the next opening": (
        (bar(opens=True), bar(ending=(1,), closes=2), bar(ending=(2,)), bar(opens=True, closes=2)),
        [0, 1, 0, 2, 3, 3],
    ),
    "first ending alone": ((bar(opens=True), bar(ending=(1,), closes=2), bar()), [0, 1, 0, 2]),
    "endings without a body": (
        (bar(), bar(opens=True, ending=(1,), closes=2), bar(ending=(2,))),
        [0, 1, 2],
    ),
    "double bars inside": ((bar(opens=True, double=True), bar(closes=2)), [0, 1, 0, 1]),
}  # fmt: skip


@pytest.mark.parametrize("bars, order", PLAYED.values(), ids=PLAYED)
def test_play_order(bars, order):
    assert tune(*bars).play_order() == order


def test_parts_are_played_with_their_repeats_each_time():
    bars = (bar(), bar(part="A", opens=True, closes=2), bar(part="B"), bar())
    assert tune(*bars, parts=("A", "B", "A")).play_order() == [0, 1, 1, 2, 3, 1, 1]


def test_a_repeat_does_not_reach_over_a_part():
    bars = (bar(part="A", opens=True), bar(part="B", closes=2))
    assert tune(*bars, parts=("B", "A")).play_order() == [1, 1, 0]


def test_labels_without_an_order_change_nothing():
    assert tune(bar(part="B"), bar(part="A")).play_order() == [0, 1]


def test_unknown_part_is_refused():
    with pytest.raises(TuneError, match="names part C, which the tune does not have"):
        tune(bar(part="A"), parts=("A", "C")).play_order()


def test_repeats_beyond_the_bound_are_refused_at_once():
    with pytest.raises(TuneError, match="its repeats would play more than 100000 bars"):
        tune(bar(opens=True), bar(closes=10**12)).play_order()
    with pytest.raises(TuneError, match="its repeats would play more than 100000 bars"):
        tune(bar(opens=True, ending=(10**12,))).play_order()


def test_parts_beyond_the_bound_are_refused():
    bars = (bar(part="A"), *(bar() for _ in range(999)))
    with pytest.raises(TuneError, match="its parts would play more than 100000 bars"):
        tune(*bars, parts=("A",) * 101).play_order()


def test_a_long_tune_without_repeats_is_not_bounded():
    count = MAXIMUM_PLAYED_BARS + 1
    assert len(tune(*[bar()] * count).play_order()) == count


def test_many_endings_take_linear_time():
    """Once every ending looked through all others to count the plays: 20,000 of them took minutes."""
    endings = [bar(ending=(1,), closes=2)] * 20_000
    assert len(tune(bar(opens=True), *endings).play_order()) == 20_002


def test_followers_lead_where_repeats_lead():
    bars = (bar(opens=True), bar(ending=(1,), closes=2), bar(ending=(2,), double=True), bar())
    assert tune(*bars).followers() == [[1, 2], [2, 0, 3], [3, 0], []]
    assert tune(bar(opens=True), bar(closes=2), bar()).followers() == [[1], [2, 0], []]


# ---------------------------------------------------------------------- faults


def messages(*bars: Bar, metre: Metre | None = Metre(2, 4)) -> list[tuple[int, str]]:
    return [tuple(fault) for fault in tune(*bars, metre=metre).faults()]


FULL = bar(CROTCHET, CROTCHET)


def test_upbeat_and_complement_are_sound():
    upbeat, complement = bar(CROTCHET, opens=True), bar(CROTCHET, closes=2)
    assert messages(upbeat, FULL, complement, replace(upbeat, opens=True), FULL, complement) == []


def test_short_and_long_bars_are_faults():
    assert messages(FULL, bar(CROTCHET), FULL) == [(1, "bar of only 1/4 in 2/4")]
    assert messages(FULL, bar(CROTCHET, CROTCHET, CROTCHET)) == [(1, "bar of 3/4 in 2/4")]
    assert messages(FULL, bar(CROTCHET), FULL, metre=None) == []


def test_metre_changes_are_followed():
    assert messages(FULL, bar(CROTCHET, CROTCHET, CROTCHET, metre=Metre(3, 4)), bar(*[CROTCHET] * 3)) == []


def test_silence_is_a_fault():
    assert messages(Bar((Note((), Fraction(1, 2)),))) == [(0, "the tune has no notes")]


def test_lengths_and_pitches_out_of_range():
    high = Bar((Note((Pitch("A", 0, 10),), Fraction(1, 2)),))
    assert messages(high) == [(0, "a pitch outside MIDI")]
    assert (0, "length 0") in messages(bar(Fraction(0), CROTCHET, CROTCHET))


def test_repeats_that_do_not_pair():
    assert messages(replace(FULL, opens=True), FULL) == [(0, "a repeat that is never closed")]
    assert messages(FULL, replace(FULL, closes=2)) == [(1, "a repeat that was never opened")]
    assert messages(
        replace(FULL, opens=True), replace(FULL, ending=(1,), closes=2), replace(FULL, ending=(2,))
    ) == []  # fmt: skip


def test_ties_must_lead_to_the_same_sound():
    tied = Bar((Note((A4,), CROTCHET, ties=(A4,)),) * 2)
    other = Bar((Note((Pitch("B", 0, 4),), CROTCHET),) * 2)
    assert messages(tied, FULL) == []
    assert messages(tied, other) == [(0, "a tie that leads nowhere")]
    assert messages(replace(FULL, opens=True), replace(tied, closes=2), other) == []


def test_enharmonic_pitches_may_be_tied():
    sharp, flat = Pitch("G", 1, 4), Pitch("A", -1, 4)
    assert messages(Bar((Note((sharp,), CROTCHET, ties=(sharp,)), Note((flat,), CROTCHET)))) == []


# ---------------------------------------------------------------------- keys, metres, tempi


@pytest.mark.parametrize(
    "key, signature",
    [
        (Key("G"), {"F": 1}),
        (Key("E", -1), {"B": -1, "E": -1, "A": -1}),
        (Key("A", 0, "mixolydian", (("C", 0),)), {"F": 1}),
        (Key("D", 0, "none", (("B", -1),)), {"B": -1}),
        (Key("G", 1), {"F": 2, "C": 1, "G": 1, "D": 1, "A": 1, "E": 1, "B": 1}),
    ],
)
def test_signatures(key, signature):
    assert key.signature == signature


def test_metres():
    assert Metre(6, 8).beat == Fraction(3, 8) and Metre(2, 2).beat == Fraction(1, 2)
    assert not Metre(6, 4).compound and not Metre(9, 8, (2, 2, 2, 3)).compound
    assert str(Metre(9, 8, (2, 2, 2, 3))) == "2+2+2+3/8"


def test_tempo_in_crotchets():
    assert Tempo(Fraction(3, 8), 80).quarters_per_minute == 120


def test_key_notes_by_name():
    assert [parse_tonic(name) for name in ("C", "bb", "F#", "E flat", "A♭")] == [
        ("C", 0), ("B", -1), ("F", 1), ("E", -1), ("A", -1),
    ]  # fmt: skip
    for name in ("H", "", "C##", "Cis"):
        with pytest.raises(TuneError, match="is no key note"):
            parse_tonic(name)


# ---------------------------------------------------------------------- transposition

# Each interval as (letters, semitones), up to a fifth either way: none makes a third accidental of these pitches.
INTERVALS = [(0, 0), (1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 7), (-1, -1), (-1, -2), (-2, -4), (-3, -5), (-4, -7)]
PITCHES = st.builds(Pitch, st.sampled_from(LETTERS), st.integers(-1, 1), st.integers(3, 6))
NOTES = st.lists(PITCHES, max_size=2).map(lambda found: Note(tuple(sorted(found, key=height)), CROTCHET))
MODES = st.sampled_from(["major", "minor", "dorian", "mixolydian", "phrygian", "lydian"])
KEYS = st.builds(lambda letter, mode: Key(letter, 0, mode), st.sampled_from(LETTERS), MODES)
TUNES = st.builds(
    lambda key, bars: Tune(key, None, tuple(map(Bar, bars))),
    KEYS,
    st.lists(st.lists(NOTES, min_size=1, max_size=3).map(tuple), min_size=1, max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(TUNES, st.sampled_from(INTERVALS))
def test_there_and_back_sounds_the_same(music, interval):
    steps, semitones = interval
    back = music.transposed(steps, semitones).transposed(-steps, -semitones)
    for before, after in zip(music.notes(), back.notes(), strict=True):
        assert [pitch.midi for pitch in before.pitches] == [pitch.midi for pitch in after.pitches]
    assert back.key == music.key


@settings(max_examples=60, deadline=None)
@given(TUNES, st.sampled_from(["C", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]))
def test_transposition_moves_every_pitch_alike_and_at_most_half_an_octave(music, tonic):
    moved = music.transposed_to(tonic)
    assert moved.key.tonic == tonic and moved.key.mode == music.key.mode
    distances = {
        after.midi - before.midi
        for old, new in zip(music.notes(), moved.notes(), strict=True)
        for before, after in zip(old.pitches, new.pitches, strict=True)
    }
    assert len(distances) <= 1 and all(-6 <= distance <= 6 for distance in distances)


@settings(max_examples=60, deadline=None)
@given(KEYS, st.sampled_from(INTERVALS))
def test_a_scale_note_stays_a_scale_note(key, interval):
    """What the signature writes without an accidental needs none after the move, unless it was respelled."""
    signature = key.signature
    scale = tuple(Pitch(letter, signature.get(letter, 0), 4) for letter in LETTERS)
    moved = Tune(key, None, (Bar(tuple(Note((pitch,), CROTCHET) for pitch in scale)),)).transposed(*interval)
    for note in moved.notes():
        assert note.top.accidental == moved.key.signature.get(note.top.letter, 0)


def test_added_accidentals_of_a_key_move_along():
    key = Key("A", 0, "mixolydian", (("C", 0),))
    assert Tune(key, None, (bar(),)).transposed_to("G").key == Key("G", 0, "mixolydian", (("B", -1),))


def test_third_accidentals_are_respelled():
    assert Pitch("B", 2, 4).transposed(4, 7) == Pitch.from_midi(80) == Pitch("G", 1, 5)


def test_ties_graces_and_key_changes_move_along():
    c, d = Pitch("C", 0, 5), Pitch("D", 0, 5)
    music = Tune(Key("C"), None, (Bar((Note((c,), CROTCHET, ties=(c,), graces=(d,)),), key=Key("F")),))
    moved = music.transposed(1, 2).bars[0]
    assert moved.key == Key("G")
    assert moved.notes[0].ties == (d,) and moved.notes[0].graces == (Pitch("E", 0, 5),)
