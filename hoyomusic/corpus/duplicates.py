"""Which tunes are the same music, and which are nearly so: blind to key, note unit and bar lines.

Exact duplicates have the same melodic intervals and the same ratios of lengths; only one of them is
kept. Near duplicates (settings of one song in several books) stay, but share a cluster, so that a
tune is never judged by a model that learned its twin.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from hoyomusic.tune import Note, Pitch, Tune

# Near duplicates: two tunes whose sets of intervals-in-a-row overlap by one of these shares.
WINDOW = 5
JACCARD = 0.5
CONTAINMENT = 0.7

# A tune of fewer windows is contained in many that have nothing else in common with it.
FEWEST_WINDOWS_CONTAINED = 16

# Common windows that a pair must show before it is counted exactly: only a matter of speed.
EXTRA = 4

# What is held in memory at once.
MATCHES_AT_A_TIME = 4_000_000
PAIRS_AT_A_TIME = 50_000

# Intervals beyond two octaves count as two octaves.
WIDEST_INTERVAL = 24


def join_melody(notes: Iterable[Note]) -> list[tuple[int, Fraction]]:
    """The sounding top notes as (MIDI number, length in whole notes): ties joined, rests left out."""
    melody: list[tuple[int, Fraction]] = []
    tied: tuple[Pitch, ...] = ()
    for note in notes:
        if not note.pitches:
            tied = ()
            continue
        number = note.top.midi
        if tied and melody[-1][0] == number and any(pitch.midi == number for pitch in tied):
            melody[-1] = number, melody[-1][1] + note.length
        else:
            melody.append((number, note.length))
        tied = note.ties
    return melody


def sign(tune: Tune) -> str:
    """The signature that exact duplicates share: a digest of intervals and ratios of lengths, in hex."""
    melody = join_melody(tune.notes())
    pitches = [number for number, _ in melody]
    unit = math.lcm(*(length.denominator for _, length in melody))
    lengths = [length.numerator * (unit // length.denominator) for _, length in melody]
    divisor = math.gcd(*lengths)
    intervals = ",".join(str(after - before) for before, after in zip(pitches, pitches[1:], strict=False))
    ratios = ",".join(str(length // divisor) for length in lengths)
    return hashlib.sha256(f"{intervals};{ratios}".encode()).hexdigest()[:24]


def cluster_near_duplicates(tunes: Sequence[Tune]) -> list[int]:
    """For each tune the number of its cluster: the index of the cluster's first tune.

    Two tunes are near duplicates where the Jaccard index of their sets of `WINDOW` intervals in a row
    is at least `JACCARD`, or where at least `CONTAINMENT` of the smaller set lies in the larger one.
    Clusters are the connected components (single linkage). All pairs that qualify are found.
    """
    sets = [_windows(tune) for tune in tunes]
    if not any(len(windows) for windows in sets):
        return list(range(len(sets)))
    return _connect(len(sets), _near_pairs(sets))


def join_works(clusters: Sequence[int], works: Sequence[str]) -> list[int]:
    """Larger clusters, so that the tunes of one work share theirs; an empty work is none.

    `clusters` as `cluster_near_duplicates` numbers them, `works` the name of each tune's work.

    >>> join_works([0, 1, 1, 3, 4], ["", "a sonata", "", "a sonata", ""])
    [0, 1, 1, 1, 4]
    """
    firsts: dict[str, int] = {}
    pairs = [(firsts.setdefault(work, index), index) for index, work in enumerate(works) if work]
    return _connect(len(clusters), [*enumerate(clusters), *pairs])


def _connect(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `count` numbers the least one that pairs connect it with, over however many steps."""
    roots = list(range(count))

    def find(index: int) -> int:
        while roots[index] != index:
            roots[index] = roots[roots[index]]
            index = roots[index]
        return index

    for first, second in pairs:
        low, high = sorted((find(first), find(second)))
        roots[high] = low
    return [find(index) for index in range(count)]


def _windows(tune: Tune) -> np.ndarray:
    """The distinct windows of a tune, each as one whole number; int64, sorted, shape (windows,)."""
    pitches = np.array([number for number, _ in join_melody(tune.notes())], dtype=np.int64)
    steps = np.clip(np.diff(pitches), -WIDEST_INTERVAL, WIDEST_INTERVAL) + WIDEST_INTERVAL
    if len(steps) < WINDOW:
        return np.empty(0, dtype=np.int64)
    rows = np.lib.stride_tricks.sliding_window_view(steps, WINDOW)
    return np.unique(rows @ (2 * WIDEST_INTERVAL + 1) ** np.arange(WINDOW, dtype=np.int64))


def _near_pairs(sets: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pairs of indices of near duplicates, each once.

    A pair must share at least half of the smaller set's windows (a Jaccard index of 1/2 asks for as
    much). So some of the rarer half of the smaller set must be in the larger one: only those are
    looked up (prefix filtering: Chaudhuri, Ganti and Kaushik, "A primitive operator for similarity
    joins in data cleaning", 2006), asking for `EXTRA` common windows among `EXTRA` - 1 more (Wang, Li
    and Feng, "Can we beat the prefix filtering?", 2012). What passes is counted exactly.
    """
    index = _Index(sets)
    wanted = -(-index.sizes // 2)
    for owners, names in index.prefixes(index.sizes - wanted + EXTRA):
        small, large = index.owners_of(owners, names)
        # Each pair from its smaller set, the earlier tune where both are of one size.
        fewer, equal = index.sizes[small] < index.sizes[large], index.sizes[small] == index.sizes[large]
        ordered = fewer | (equal & (small < large))
        pairs, shared = np.unique(small[ordered] * len(sets) + large[ordered], return_counts=True)
        small, large = np.divmod(pairs, len(sets))
        likely = shared >= np.minimum(EXTRA, wanted[small])
        small, large = small[likely], large[likely]
        common = index.count_common(small, large)
        jaccard = common / (index.sizes[small] + index.sizes[large] - common)
        contained = (common >= CONTAINMENT * index.sizes[small]) & (index.sizes[small] >= FEWEST_WINDOWS_CONTAINED)
        near = (jaccard >= JACCARD) | contained
        yield from zip(small[near].tolist(), large[near].tolist(), strict=True)


class _Index:
    """Which sets hold which windows. Windows are renamed so that a smaller number is a rarer window.

    `sizes` (sets,) counts each set's windows; `names` (windows,) lists the windows of all sets one after
    the other, from rare to common within a set.
    """

    def __init__(self, sets: Sequence[np.ndarray]) -> None:
        self.sizes = np.array([len(windows) for windows in sets], dtype=np.int64)
        self.owners = np.repeat(np.arange(len(sets)), self.sizes)
        _, ranks, frequencies = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
        rarity = np.empty(len(frequencies), dtype=np.int64)
        rarity[np.argsort(frequencies, kind="stable")] = np.arange(len(frequencies))
        names = rarity[ranks]
        self.names = names[np.lexsort((names, self.owners))]
        self.kinds = len(frequencies)
        self._starts = np.concatenate(([0], np.cumsum(self.sizes)))
        by_name = np.argsort(self.names, kind="stable")
        self._postings = self.owners[by_name]
        self._posting_starts = np.searchsorted(self.names[by_name], np.arange(self.kinds + 1))

    def prefixes(self, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The `counts` rarest windows of each set as (owners, names), a bounded number of matches at a time."""
        inside = np.flatnonzero(np.arange(len(self.names)) - self._starts[self.owners] < counts[self.owners])
        owners, names = self.owners[inside], self.names[inside]
        matches = np.cumsum(self._posting_starts[names + 1] - self._posting_starts[names])
        begin = 0
        while begin < len(owners):
            done = matches[begin - 1] if begin else 0
            # A set's windows stay together, so that its pairs are counted at once.
            last = max(np.searchsorted(matches, done + MATCHES_AT_A_TIME), begin + 1) - 1
            end = int(np.searchsorted(owners, owners[last], side="right"))
            yield owners[begin:end], names[begin:end]
            begin = end

    def owners_of(self, owners: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each (owner, window) all the sets that have the window: two arrays of set numbers, (matches,)."""
        first = self._posting_starts[names]
        counts = self._posting_starts[names + 1] - first
        return np.repeat(owners, counts), self._postings[_ranges(first, counts)]

    def count_common(self, small: np.ndarray, large: np.ndarray) -> np.ndarray:
        """How many windows each pair shares; int64, (pairs,)."""
        present = self.owners * self.kinds + self.names
        common = np.zeros(len(small), dtype=np.int64)
        for begin in range(0, len(small), PAIRS_AT_A_TIME):
            some = slice(begin, begin + PAIRS_AT_A_TIME)
            counts = self.sizes[small[some]]
            pair = np.repeat(np.arange(len(counts)), counts)
            sought = large[some][pair] * self.kinds + self.names[_ranges(self._starts[small[some]], counts)]
            places = np.minimum(np.searchsorted(present, sought), len(present) - 1)
            common[some] = np.bincount(pair[present[places] == sought], minlength=len(counts))
        return common


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``starts[0], starts[0] + 1, ...`` for `counts[0]` numbers, then the same for the next start."""
    return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
