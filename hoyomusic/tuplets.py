"""Tuplets found again in exact lengths: which notes stand under one bracket, and what it says.

A `Tune` keeps a triplet quaver as 1/12 and no bracket. Notation (ABC, MusicXML) and the grammar need the
bracket; this is the one place that finds it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

# Beyond this a bracket would be longer than any that is printed; it also keeps the search linear.
MAXIMUM_TUPLET_NOTES = 32
MAXIMUM_TUPLET = 31


class Tuplet(NamedTuple):
    """The notes from `start` to `stop`: `p` in the time of `q`, so that written = sounding length x p / q."""

    start: int
    stop: int
    p: int
    q: int


def group_tuplets(lengths: Sequence[Fraction], *, closed: bool = True) -> list[Tuplet]:
    """The brackets over the notes of one bar, given their sounding lengths as fractions of a whole note.

    A bracket opens at a length that no binary note value has (its denominator has an odd factor) and closes
    where the time under it is binary again. Under it all written lengths are binary. Where that does not
    happen within the bar (a triplet that crosses the bar line), the notes stay outside any bracket, or with
    `closed` false get one that says how they sound without filling a beat, as ABC allows.

    >>> group_tuplets([Fraction(1, 4)] + [Fraction(1, 12)] * 3)
    [Tuplet(start=1, stop=4, p=3, q=2)]
    >>> group_tuplets([Fraction(1, 12), Fraction(1, 4)]), group_tuplets([Fraction(1, 12), Fraction(1, 4)], closed=False)
    ([], [Tuplet(start=0, stop=1, p=3, q=2)])
    """
    found, start = [], 0
    while start < len(lengths):
        p = _odd(lengths[start].denominator)
        tuplet = _open(lengths, start) if p > 1 else None
        if tuplet is None and not closed and 1 < p <= MAXIMUM_TUPLET:
            tuplet = Tuplet(start, start + 1, p, _time_of(p, _odd(lengths[start].numerator)))
        if tuplet is None:
            start += 1
        else:
            found.append(tuplet)
            start = tuplet.stop
    return found


def _open(lengths: Sequence[Fraction], start: int) -> Tuplet | None:
    total, p = Fraction(0), 1
    for stop in range(start, min(start + MAXIMUM_TUPLET_NOTES, len(lengths))):
        length = lengths[stop]
        total += length
        p = math.lcm(p, _odd(length.denominator))
        if p > MAXIMUM_TUPLET:
            return None
        if _odd(total.denominator) == 1:
            group = lengths[start : stop + 1]
            unit = math.gcd(*(_odd(each.numerator) * (p // _odd(each.denominator)) for each in group))
            return Tuplet(start, stop + 1, p, _time_of(p, unit))
    return None


def _time_of(p: int, unit: int) -> int:
    """q of p:q, the largest below p of the form unit x 2^k, so that the written values carry no dots (5:3 in 6/8)."""
    q = unit if unit < p else 1
    while 2 * q < p:
        q *= 2
    return q


def _odd(number: int) -> int:
    """The odd part of a number above 0."""
    return number // (number & -number)
