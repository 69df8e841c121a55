"""The checker of validity: each fault in the smallest tune that shows it, and right tunes without any."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from hoyomusic import abc
from hoyomusic.evaluation.validity import Asked, count_valid, list_faults
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune
from tests.conftest import BOOK


def read(body: str, metre: str = "2/4") -> Tune:
    return abc.parse_one(f"X:1\nM:{metre}\nL:1/8\nK:D\n{body}\n")


RIGHT = [
    "D2F2|A4|]",
    "A|D2F2|A3|]",
    "|:A|D2F2|A3:||:d|f4|e3:|",
    "|:A|D2F2|A4|1 B3:|2 D3|]",
    "|:A|D2F2|1 A3:|2 B3||A|D4|D3|]",
    "D2F2|A4||A4|D4|]",
    "|:D4|A4-|A4:|",
    "[M:2/4]D4|[M:3/4]D4F2|[M:2/4]A4|]",
    "(3DEF (3GAB|d4|]",
    "z4|[DFA]4|]",
]

WRONG = {
    "D2F|A4|]": ("a section's end is no complement of its upbeat", 1),
    "D4|D2F|A4|]": ("a bar does not add up", 1),
    "A|D2F2|A4|]": ("a section's end is no complement of its upbeat", 2),
    "D2F2|A3|]": ("a section's end is no complement of its upbeat", 1),
    "|:A|D2F2|A3:||:d|f4|e4:|": ("a section's end is no complement of its upbeat", 5),
    "|:A|D2F2|1 A3:|2 B4|]": ("a section's end is no complement of its upbeat", 3),
    "|:A|D2F2|1 A4:|2 B3|]": ("a section's end is no complement of its upbeat", 2),
    "A|D2F2|A2|d3|]": ("a bar does not add up", 2),
    "z4|z4|]": ("no notes", 0),
}


@pytest.mark.parametrize("body", RIGHT)
def test_right_tunes_have_no_fault(body: str) -> None:
    assert list_faults(read(body)) == []


@pytest.mark.parametrize("body", WRONG)
def test_each_fault_is_found_in_its_bar(body: str) -> None:
    assert WRONG[body] in list_faults(read(body))


def test_free_metre_is_a_fault() -> None:
    assert list_faults(read("D2F2A|]", "none")) == [("no metre", 0)]


def make(*bars: Bar) -> Tune:
    return Tune(Key("D"), Metre(2, 4), bars)


HALF = Fraction(1, 2)
A, B = (Pitch(letter, 0, 4) for letter in "AB")
TIED = Note((A,), HALF, (A,))


@pytest.mark.parametrize(
    "bars",
    [
        (Bar((TIED,)), Bar((Note((B,), HALF),))),
        (Bar((TIED,)), Bar((Note((), HALF),))),
        (Bar((Note((A,), HALF),)), Bar((TIED,))),
        (Bar((TIED,), opens=True, closes=2), Bar((Note((A,), HALF),))),
    ],
)
def test_ties_that_lead_nowhere(bars: tuple[Bar, ...]) -> None:
    assert "a tie leads to no note of its pitch" in {kind for kind, _ in list_faults(make(*bars))}


def test_notes_and_bars_without_length() -> None:
    for notes in ((), (Note((A,), Fraction(0)), Note((A,), HALF))):
        tune = make(Bar((Note((A,), HALF),)), Bar(notes))
        assert ("a bar or a note without length", 1) in list_faults(tune)


def test_what_cannot_be_read_again() -> None:
    # The notes of a chord are read from the lowest up.
    tune = make(Bar((Note((B, A), HALF),)))
    assert ("does not read as it was written", 0) in list_faults(tune)


def sign(**signs: object) -> Bar:
    """A full bar with signs; the reader of ABC would mend what is wrong with them."""
    return Bar((Note((A,), HALF),), **signs)


@pytest.mark.parametrize(
    ("bars", "fault"),
    [
        ((sign(opens=True), sign()), ("a repeat opens and never closes", 0)),
        ((sign(), sign(closes=2)), ("a repeat closes that never opened", 1)),
        ((sign(opens=True), sign(opens=True, closes=2)), ("a repeat opens within a repeat", 1)),
        ((sign(), sign(ending=(1,), closes=2), sign(ending=(2,))), ("an ending outside of a repeat", 1)),
        ((sign(opens=True), sign(ending=(2,), closes=2), sign()), ("an ending outside of a repeat", 1)),
        ((sign(opens=True), sign(ending=(1,), closes=2), sign()), ("a first ending without a second", 2)),
        ((sign(opens=True), sign(ending=(1,), closes=2)), ("a first ending without a second", 1)),
    ],
)
def test_signs_that_do_not_pair(bars: tuple[Bar, ...], fault: tuple[str, int]) -> None:
    assert fault in list_faults(make(*bars))


def test_a_double_bar_line_in_front_of_a_repeat_is_no_fault() -> None:
    assert list_faults(make(sign(double=True), sign(opens=True, closes=2))) == []


def test_no_final_bar_line(monkeypatch: pytest.MonkeyPatch) -> None:
    tune, write = read("D4|A4|]"), abc.write
    monkeypatch.setattr(abc, "write", lambda tune: write(tune).replace("|]", "|"))
    assert list_faults(tune) == [("no final bar line", 1)]


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (Asked(key=Key("G")), "not in the asked key"),
        (Asked(metre=Metre(4, 4)), "not in the asked metre"),
        (Asked(bars=3), "not the asked number of bars"),
        (Asked(lowest=63), "below the asked range"),
        (Asked(highest=68), "above the asked range"),
    ],
)
def test_wishes_that_were_not_granted(asked: Asked, kind: str) -> None:
    assert {found for found, _ in list_faults(read("A|D2F2|A3|]"), asked)} == {kind}


def test_wishes_that_were_granted() -> None:
    asked = Asked(Key("D"), Metre(2, 4), 2, 62, 69)
    assert list_faults(read("A|D2F2|A3|]"), asked) == []


def test_the_account() -> None:
    tunes = [read("D2F2|A4|]"), read("D4|D2F|F3|A4|]"), make(sign(), sign(closes=2))]
    found = count_valid(tunes)
    assert (found.tunes, found.valid, found.bars) == (3, 1, 8)
    assert found.share == pytest.approx(1 / 3)
    assert found.faults == {
        "a bar does not add up": 1,
        "a repeat closes that never opened": 1,
        "does not read as it was written": 1,
    }


def test_faults_of_ours_are_faults_here_too() -> None:
    """Whatever `Tune.faults` finds in bars, this checker finds: break each bar of the book once."""
    for tune in abc.parse(BOOK.read_text(encoding="utf-8")):
        assert not list_faults(tune), tune.header.title
        for index, bar in enumerate(tune.bars):
            longer = replace(bar, notes=(*bar.notes, Note((A,), Fraction(1, 16))))
            broken = replace(tune, bars=(*tune.bars[:index], longer, *tune.bars[index + 1 :]))
            assert list_faults(broken), (tune.header.title, index)
