"""How much tunes quote: the longest run of notes they share with a training tune, and how much of them is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hoyomusic.novelty import QUOTATION, NoveltyIndex
from hoyomusic.tune import Tune


@dataclass(frozen=True, slots=True)
class Quotation:
    """Of `tunes`: the longest shared run in notes (median, 95th percentile), how many quote, the share that is new.

    `quoting` is the share of tunes with a run of `QUOTATION` notes or more; `new` the mean share of
    windows of 8 notes that no training tune has; `longest` the longest run of all and `source` where from.
    """

    nation: str
    tunes: int
    median: float
    high: float
    quoting: float
    new: float
    longest: int
    source: str | None


def measure_quotation(nation: str, tunes: Sequence[Tune], index: NoveltyIndex) -> Quotation:
    """The account of some tunes; there must be one at least."""
    found = [index.measure(tune) for tune in tunes]
    runs = np.array([each.longest for each in found])
    worst = max(found, key=lambda each: each.longest)
    return Quotation(
        nation=nation,
        tunes=len(tunes),
        median=float(np.median(runs)),
        high=float(np.percentile(runs, 95)),
        quoting=float(np.mean(runs >= QUOTATION)),
        new=float(np.mean([each.new for each in found])),
        longest=worst.longest,
        source=worst.source,
    )
