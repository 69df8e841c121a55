"""The audition: marks are 1 where real tunes are, and fall on both sides."""

from __future__ import annotations

import pytest

from hoyomusic.abc import parse
from hoyomusic.audition import mark, share_of_returning_bars
from hoyomusic.novelty import QUOTATION, Novelty

REPEATING = "CDEF|GABc|CDEF|c2C2|"


def read(bars: str):
    return parse(f"X:1\nM:2/4\nL:1/8\nK:C\n{bars}")[0]


@pytest.mark.parametrize(("bars", "share"), [(REPEATING, 0.25), ("CDEF|GABc|c2C2|", 0), ("C4|" * 5, 0.8)])
def test_bars_that_return_are_counted(bars: str, share: float) -> None:
    assert share_of_returning_bars(read(bars)) == pytest.approx(share)


@pytest.mark.parametrize(
    ("nats", "expected"), [(2.0, 1), (2.5, 1), (1.5, 1), (2.0 * 1.6, 0.5), (2.0 * 0.4, 0.5), (2.0 * 1.9, 0), (0.1, 0)]
)
def test_a_natural_tune_costs_what_real_ones_do(nats: float, expected: float) -> None:
    assert mark(read(REPEATING), nats, 2.0, None).likelihood == pytest.approx(expected, abs=0.03)
    assert mark(read(REPEATING), nats, None, None).likelihood == 1


@pytest.mark.parametrize(("bars", "expected"), [(REPEATING, 1), ("CDEF|GABc|c2C2|", 0), ("C4|" * 10, 0.1 / 0.6)])
def test_some_bars_return_and_some_do_not(bars: str, expected: float) -> None:
    assert mark(read(bars), 2.0, 2.0, None).structure == pytest.approx(expected)


@pytest.mark.parametrize(
    ("longest", "expected"), [(0, 1), (QUOTATION - 1, 1), (2 * QUOTATION, 0), (QUOTATION + 8, 8 / 17)]
)
def test_long_quotations_lower_the_mark(longest: int, expected: float) -> None:
    marked = mark(read(REPEATING), 2.0, 2.0, Novelty(longest, None, 0.5))
    assert marked.novelty == pytest.approx(expected)
    assert marked.score == pytest.approx((2 + expected) / 3)


def test_marks_are_told_as_plain_values() -> None:
    assert mark(read(REPEATING), 2.0, 2.0, None).to_dict() == {
        "nats_per_note": 2.0, "returning_bars": 0.25, "likelihood": 1.0, "structure": 1.0, "novelty": 1.0, "score": 1.0,
    }
