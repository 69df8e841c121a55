"""A tune as judges see it: patterns against plain counting, blind to key and note unit, excerpts from the middle."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import abc
from hoyomusic.evaluation.melody import (
    LARGEST_INTERVAL,
    list_intervals,
    list_patterns,
    list_runs,
    read_melody,
    take_middle,
)
from tests.conftest import BOOK

melodies = st.lists(
    st.tuples(st.integers(48, 90), st.sampled_from([Fraction(1, 8), Fraction(1, 4), Fraction(3, 8), Fraction(1, 12)])),
    min_size=1,
    max_size=20,
)


def count_plainly(melody: list[tuple[int, Fraction]]) -> Counter[int]:
    """How often each pattern occurs, by the words of the docstring."""
    intervals = [
        max(-LARGEST_INTERVAL, min(LARGEST_INTERVAL, after - before))
        for (before, _), (after, _) in zip(melody, melody[1:], strict=False)
    ]
    ratios = [after / before for (_, before), (_, after) in zip(melody, melody[1:], strict=False)]
    found = []
    for kind, symbols in enumerate((intervals, ratios, list(zip(intervals, ratios, strict=True)))):
        for length in (1, 2, 3):
            found += [(kind, *symbols[place : place + length]) for place in range(len(symbols) - length + 1)]
    return Counter(Counter(found).values())


@given(melodies)
@settings(deadline=None, max_examples=100)
def test_patterns_are_counted_as_plain_tuples_are(melody: list[tuple[int, Fraction]]) -> None:
    assert Counter(Counter(list_patterns(melody).tolist()).values()) == count_plainly(melody)


@given(melodies, st.integers(-12, 12), st.sampled_from([Fraction(1, 2), Fraction(2), Fraction(3)]))
@settings(deadline=None, max_examples=50)
def test_patterns_are_blind_to_key_and_note_unit(melody, semitones: int, times: Fraction) -> None:
    moved = [(number + semitones, length * times) for number, length in melody]
    assert list_patterns(moved).tolist() == list_patterns(melody).tolist()


def test_further_rows_are_told_from_the_others() -> None:
    melody = [(60, Fraction(1, 4)), (62, Fraction(1, 4))]
    plain = set(list_patterns(melody).tolist())
    one, other = (set(list_patterns(melody, (([symbol], 4),)).tolist()) for symbol in (3, 4))
    assert plain < one
    assert plain < other
    assert len(one - plain) == len(other - plain) == 1
    assert one != other


def test_an_excerpt_is_the_middle() -> None:
    melody = [(60 + step, Fraction(1, 8)) for step in range(9)]
    assert [number for number, _ in take_middle(melody, 4)] == [62, 63, 64, 65]
    assert take_middle(melody, 9) == take_middle(melody, 20) == take_middle(melody, None) == melody


def test_intervals_and_runs_of_a_tune() -> None:
    tune = abc.parse_one("X:1\nM:4/4\nL:1/8\nK:C\nC2 E2 z2 E-E|C2 c'2 c'4|]\n")
    melody = read_melody(tune)
    assert list_intervals(melody).tolist() == [4, 0, -4, 12, 0]
    assert list_runs(melody, 4)[0] == ((4, 1), (0, 1), (-4, 1), (12, 1))
    assert len(list_runs(melody, 4)) == 2
    assert list_runs(melody, 6) == []


def test_every_tune_of_the_book_has_patterns() -> None:
    for tune in abc.parse(BOOK.read_text(encoding="utf-8")):
        assert len(list_patterns(read_melody(tune))) > 100
