"""A tune as judges see it: its melody, an excerpt from the middle, and short patterns as numbers to be counted.

A pattern is one to three neighbours in a row of symbols: of melodic intervals, of ratios of lengths, of
both together. So it is blind to key, tempo, note unit and bar lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from hoyomusic.corpus.duplicates import join_melody
from hoyomusic.tune import Tune

# The sounding top notes as (MIDI number, length in whole notes): ties joined, rests left out, repeats played once.
Melody: TypeAlias = Sequence[tuple[int, Fraction]]

# Leaps beyond an octave count as an octave.
LARGEST_INTERVAL = 12

# Neighbours in a pattern, at most.
LONGEST_PATTERN = 3

# Bits of one symbol: an interval, a ratio of lengths, both. Three of the last and the number of the row fit into 63.
INTERVAL_BITS = 5
RATIO_BITS = 12
PAIR_BITS = INTERVAL_BITS + RATIO_BITS
ROW_BITS = 5


def read_melody(tune: Tune) -> Melody:
    """The melody of a tune."""
    return join_melody(tune.notes())


def take_middle(melody: Melody, count: int | None) -> Melody:
    """The `count` notes in the middle; a melody that has no more, or None, stays whole."""
    if count is None or len(melody) <= count:
        return melody
    first = (len(melody) - count) // 2
    return melody[first : first + count]


def list_intervals(melody: Melody) -> np.ndarray:
    """Semitones from each note to the next, at most `LARGEST_INTERVAL` either way; int64 (notes - 1,)."""
    steps = np.diff(np.array([number for number, _ in melody], dtype=np.int64))
    return np.clip(steps, -LARGEST_INTERVAL, LARGEST_INTERVAL)


def list_ratios(melody: Melody) -> list[Fraction]:
    """How long each note is by the one before it."""
    return [after / before for (_, before), (_, after) in zip(melody, melody[1:], strict=False)]


def list_patterns(melody: Melody, further: Sequence[tuple[Sequence[int], int]] = ()) -> np.ndarray:
    """One number for every pattern at every place: int64 (patterns,), in no order that means anything.

    `further` are more rows of symbols, each with the bits that a symbol of it takes (at most 18).
    """
    intervals = list_intervals(melody) + LARGEST_INTERVAL
    ratios = np.array([_ratio_symbol(ratio) for ratio in list_ratios(melody)], dtype=np.int64)
    rows = [(intervals, INTERVAL_BITS), (ratios, RATIO_BITS), (intervals << RATIO_BITS | ratios, PAIR_BITS)]
    rows += [(np.array(symbols, dtype=np.int64), bits) for symbols, bits in further]
    found = []
    for number, (symbols, bits) in enumerate(rows):
        patterns = symbols
        for length in range(1, LONGEST_PATTERN + 1):
            if length > 1:
                patterns = patterns[:-1] << bits | symbols[length - 1 :]
            found.append(patterns << ROW_BITS | (LONGEST_PATTERN * number + length - 1))
    return np.concatenate(found)


def list_runs(melody: Melody, length: int) -> list[tuple[object, ...]]:
    """Every run of `length` neighbouring steps, a step being an interval with its ratio of lengths."""
    steps = list(zip(list_intervals(melody).tolist(), list_ratios(melody), strict=True))
    return [tuple(steps[place : place + length]) for place in range(len(steps) - length + 1)]


def _ratio_symbol(ratio: Fraction) -> int:
    """A ratio in `RATIO_BITS`; parts beyond 63, which hardly occur, count as 63."""
    return min(ratio.numerator, 63) << 6 | min(ratio.denominator, 63)
