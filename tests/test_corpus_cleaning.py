"""What cleaning takes away is named, what it must keep stays, and each reason for refusal can happen."""

from dataclasses import replace
from fractions import Fraction

import pytest

from hoyomusic.corpus import cleaning
from hoyomusic.corpus.cleaning import Treatment, clean, find_reason
from hoyomusic.tune import Bar, Header, Key, Metre, Note, Pitch, Tempo, Tune

C, E, G = Pitch("C", 0, 4), Pitch("E", 0, 4), Pitch("G", 0, 4)
CROTCHET = Fraction(1, 4)


def note(*pitches, length=CROTCHET, **more):
    return Note(pitches or (C,), length, **more)


REST = Note((), CROTCHET)
FULL = Bar((note(C), note(E), note(G), note(C)))


def make(*bars, key=Key("C"), metre=Metre(4, 4), parts=(), header=Header()):
    return Tune(key, metre, bars, parts, header)


def test_a_plain_tune_is_left_alone():
    tune = make(FULL, FULL, header=Header(tempo=Tempo(CROTCHET, 96)))
    cleaned, changes = clean(tune)
    assert (cleaned, changes) == (tune, [])
    assert cleaned.header.tempo == Tempo(CROTCHET, 96)
    assert find_reason(cleaned) == ""


def test_what_music_keeps():
    tune = make(
        Bar((note(C, E, G, length=Fraction(1)),), opens=True),
        Bar((note(length=Fraction(1), ties=(C,)),), closes=2, ending=(1,)),
        Bar((note(length=Fraction(3, 4)),), ending=(2,), metre=Metre(3, 4), key=Key("G")),
    )
    assert clean(tune) == (tune, [])


@pytest.mark.parametrize(
    ("name", "dirty", "cleaned"),
    [
        ("grace notes dropped", make(Bar((note(graces=(E, G)),))), make(Bar((note(),)))),
        ("chord symbols dropped", make(Bar((note(symbol="Am7"),))), make(Bar((note(),)))),
        (
            "parts dropped",
            make(replace(FULL, part="A"), FULL, replace(FULL, part="B"), parts=("A", "B", "A")),
            make(FULL, replace(FULL, double=True), FULL),
        ),
        (
            "parts dropped",
            make(replace(FULL, opens=True, closes=2), replace(FULL, part="B")),
            make(replace(FULL, opens=True, closes=2), FULL),
        ),
        ("accidentals of keys dropped", make(FULL, key=Key("C", explicit=(("F", 1),))), make(FULL)),
        (
            "accidentals of keys dropped",
            make(FULL, replace(FULL, key=Key("D", 0, "dorian", (("G", 1),)))),
            make(FULL, replace(FULL, key=Key("D", 0, "dorian"))),
        ),
        ("ties into nothing dropped", make(Bar((note(E, ties=(E,)), note(G)))), make(Bar((note(E), note(G))))),
        (
            "ties into nothing dropped",
            make(Bar((note(C, E, ties=(C, E)), note(E, ties=(E,))))),
            make(Bar((note(C, E, ties=(E,)), note(E)))),
        ),
        ("ties into nothing dropped", make(Bar((note(ties=(C,)), REST))), make(Bar((note(), REST)))),
        (
            "idle changes dropped",
            make(FULL, replace(FULL, key=Key("C"), metre=Metre(4, 4)), replace(FULL, key=Key("C", 0, "none"))),
            make(FULL, FULL, FULL),
        ),
        ("missing bar lines added", make(FULL, Bar(FULL.notes * 2), FULL), make(FULL, FULL, FULL, FULL)),
        (
            "stray bar lines removed",
            make(FULL, Bar(FULL.notes[:1]), Bar(FULL.notes[1:]), FULL),
            make(FULL, FULL, FULL),
        ),
        ("key inferred", make(FULL, key=Key("C", 0, "none")), make(FULL)),
        ("metre inferred", make(FULL, FULL, FULL, metre=None), make(FULL, FULL, FULL)),
    ],
)
def test_each_change_is_named(name, dirty, cleaned):
    assert clean(dirty) == (cleaned, [name])


def test_a_change_back_is_no_idle_change():
    tune = make(FULL, replace(FULL, key=Key("G")), FULL, replace(FULL, key=Key("C")))
    assert clean(tune) == (tune, [])


def test_treatments():
    """The Essen files lack modes and bar lines; what has neither is left alone unless the source is known to."""
    eflat = Pitch("E", -1, 4)
    minim = Note((eflat,), Fraction(1, 2))
    written = make(FULL, Bar((note(C), note(eflat), note(G), minim, note(G), note(eflat), note(C))))
    assert clean(written) == (written, [])
    tune, changes = clean(written, Treatment(rebars=True, infers_mode=True))
    assert changes == ["mode inferred", "bars drawn by arithmetic"]
    assert tune.key == Key("C", 0, "minor")
    assert len(tune.bars) == 3
    free = make(FULL, FULL, metre=None)
    assert clean(free, Treatment(infers_metre=False)) == (free, [])


def test_an_upbeat_after_a_part_label_still_adds_up():
    upbeat, last = Bar((note(),)), Bar((note(length=Fraction(3, 4)),))
    tune = make(replace(upbeat, part="A"), FULL, last, replace(upbeat, part="B"), FULL, last)
    cleaned, _ = clean(tune)
    assert cleaned.faults() == []


@pytest.mark.parametrize(
    ("tune", "reason"),
    [
        (make(Bar((Note((), Fraction(1)),))), "no notes"),
        (make(FULL, FULL, key=Key("C", 0, "none")), "no key"),
        (make(FULL, FULL, metre=None), "no metre"),
        (make(FULL, Bar((note(),)), FULL), "bars do not add up"),
        (make(FULL, Bar((note(length=Fraction(2)),)), FULL), "bars do not add up"),
        (make(FULL), "fewer than 8 notes"),
        (make(*[FULL] * 501), "more than 2000 notes"),
        (make(replace(FULL, opens=True), FULL), "a repeat that is never closed"),
        (make(FULL, Bar((note(Pitch("C", 0, 12), length=Fraction(1)),))), "a pitch outside MIDI"),
    ],
)
def test_each_reason_can_happen(tune, reason):
    assert find_reason(tune) == reason


def test_limits_are_inclusive():
    assert find_reason(make(*[FULL] * 2)) == ""
    assert find_reason(make(*[FULL] * 500)) == ""
    assert cleaning.MOST_NOTES == 2000
