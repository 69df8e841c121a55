"""Brackets found in exact lengths."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.tuplets import MAXIMUM_TUPLET_NOTES, Tuplet, group_tuplets


def lengths(*texts: str) -> list[Fraction]:
    return [Fraction(text) for text in texts]


def is_binary(length: Fraction) -> bool:
    return length.denominator & (length.denominator - 1) == 0


def test_plain_triplet_between_binary_notes():
    assert group_tuplets(lengths("1/8", "1/12", "1/12", "1/12", "1/8")) == [Tuplet(1, 4, 3, 2)]


def test_two_triplets_in_a_row_are_two_brackets():
    assert group_tuplets(lengths(*["1/12"] * 6)) == [Tuplet(0, 3, 3, 2), Tuplet(3, 6, 3, 2)]


def test_long_and_short_share_a_triplet():
    assert group_tuplets(lengths("1/6", "1/12")) == [Tuplet(0, 2, 3, 2)]


def test_a_dotted_note_may_lie_inside():
    assert group_tuplets(lengths("1/24", "1/8", "1/12")) == [Tuplet(0, 3, 3, 2)]


def test_quintuplets_take_the_time_that_leaves_no_dots():
    assert group_tuplets(lengths(*["1/20"] * 5)) == [Tuplet(0, 5, 5, 4)]
    assert group_tuplets(lengths(*["3/40"] * 5)) == [Tuplet(0, 5, 5, 3)]


def test_notes_that_close_no_bracket_stay_outside_or_get_an_open_one():
    bar = lengths("1/4", "1/12", "1/12")
    assert group_tuplets(bar) == []
    assert group_tuplets(bar, closed=False) == [Tuplet(1, 2, 3, 2), Tuplet(2, 3, 3, 2)]


def test_denominators_beyond_any_bracket_stay_outside():
    assert group_tuplets(lengths("1/37", "36/37"), closed=False) == []


def test_the_search_is_bounded():
    """Thousands of notes that close no bracket: with an unbounded search this takes minutes."""
    bar = [Fraction(1, 12)] + [Fraction(1, 8)] * MAXIMUM_TUPLET_NOTES
    assert group_tuplets(bar * 500) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(lengths("1/4", "1/8", "1/12", "1/6", "1/24", "1/20", "3/40", "1/36", "1/28")), max_size=40))
def test_brackets_are_disjoint_close_on_binary_time_and_hold_binary_values(bar):
    stop = 0
    for tuplet in group_tuplets(bar):
        assert tuplet.start >= stop and tuplet.q < tuplet.p
        stop = tuplet.stop
        group = bar[tuplet.start : tuplet.stop]
        assert is_binary(sum(group))
        assert all(is_binary(length * tuplet.p / tuplet.q) for length in group)
