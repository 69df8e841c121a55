"""Which tunes are the same music, and which are nearly so: blind to key, note unit and bar lines.

Exact duplicates have the same melodic intervals and the same ratios of lengths; only one of them is
kept. Near duplicates (settings of one song in several books) stay, but share a cluster, so that a
tune is never judged by a model that learned its twin.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
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
    roots = list(range(len(sets)))

    def find(index: int) -> int:
        while roots[index] != index:
            roots[index] = roots[roots[index]]
            index = roots[index]
        return index

    for first, second in _near_pairs(sets):
        low, high = sorted((find(first), find(second)))
        roots[high] = low
    return [find(index) for index in range(len(sets))]


def _windows(tune: Tune) -> np.ndarray:
    """The distinct windows of a tune, each as one whole number; int64, sorted, shape (windows,)."""
    pitches = np.array([number for number, _ in join_melody(tune.notes())], dtype=np.int64)
    steps = np.clip(np.diff(pitches), -WIDEST_INTERVAL, WIDEST_INTERVAL) + WIDEST_INTERVAL
    if len(steps) < WINDOW:
        return np.empty(0, dtype=np.int64)
    rows = np.lib.stride_tricks.sliding_window_view(steps, WINDOW)
    return np.unique(rows @ (2 * WIDEST_INTERVAL + 1) ** np.arange(WINDOW, dtype=np.int64))


def _near_pairs(sets: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Pairs of indices of near duplicates.

    A pair must share at least half of the smaller set's windows (a Jaccard index of 1/2 asks for as
    much). So some of the rarer half of the smaller set must be in the larger one: only those are
    looked up (prefix filtering: Chaudhuri, Ganti and Kaushik, "A primitive operator for similarity
    joins", 2006), asking for `EXTRA` common windows among `EXTRA` - 1 more (adaptive prefixes: Wang,
    Li and Feng, "Can we beat the prefix filtering?", 2012). What passes is counted exactly.
    """
    sizes = np.array([len(windows) for windows in sets], dtype=np.int64)
    if sizes.sum() == 0:
        return []
    owners = np.repeat(np.arange(len(sets)), sizes)
    _, ranks, frequencies = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    # Rename windows so that a smaller number is a rarer window.
    rarity = np.empty(len(frequencies), dtype=np.int64)
    rarity[np.argsort(frequencies, kind="stable")] = np.arange(len(frequencies))
    names = rarity[ranks]
    order = np.lexsort((names, owners))
    names = names[order]  # per tune from its rarest window to its commonest; owners stay as they are
    starts = np.concatenate(([0], np.cumsum(sizes)))

    postings = np.argsort(names, kind="stable")
    posting_owners = owners[postings]
    posting_starts = np.searchsorted(names[postings], np.arange(len(frequencies) + 1))

    wanted = -(-sizes // 2)
    prefix = np.minimum(sizes, sizes - wanted + EXTRA)
    in_prefix = np.arange(len(names)) - starts[owners] < prefix[owners]
    small, large = _expand(owners[in_prefix], names[in_prefix], posting_starts, posting_owners)
    # Each pair once, from its smaller set (the earlier tune where both are of one size).
    ordered = (sizes[small] < sizes[large]) | ((sizes[small] == sizes[large]) & (small < large))
    pairs, shared = np.unique(small[ordered] * len(sets) + large[ordered], return_counts=True)
    small, large = np.divmod(pairs, len(sets))
    likely = shared >= np.minimum(EXTRA, wanted[small])
    small, large = small[likely], large[likely]

    common = _count_common(small, large, names, starts, sizes, len(frequencies))
    jaccard = common / (sizes[small] + sizes[large] - common)
    contained = (common >= CONTAINMENT * sizes[small]) & (sizes[small] >= FEWEST_WINDOWS_CONTAINED)
    near = (jaccard >= JACCARD) | contained
    return list(zip(small[near].tolist(), large[near].tolist(), strict=True))


def _expand(
    owners: np.ndarray, names: np.ndarray, posting_starts: np.ndarray, posting_owners: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each (tune, window) all the tunes that have the window: two arrays of tune indices, shape (matches,)."""
    counts = posting_starts[names + 1] - posting_starts[names]
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(owners, counts), posting_owners[np.repeat(posting_starts[names], counts) + offsets]


def _count_common(
    small: np.ndarray, large: np.ndarray, names: np.ndarray, starts: np.ndarray, sizes: np.ndarray, kinds: int
) -> np.ndarray:
    """How many windows each pair shares; int64, shape (pairs,)."""
    present = np.repeat(np.arange(len(sizes)), sizes) * kinds + names  # sorted: by tune, then by window
    common = np.zeros(len(small), dtype=np.int64)
    step = 50_000
    for begin in range(0, len(small), step):
        some_small, some_large = small[begin : begin + step], large[begin : begin + step]
        counts = sizes[some_small]
        pair = np.repeat(np.arange(len(some_small)), counts)
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        sought = some_large[pair] * kinds + names[starts[some_small][pair] + offsets]
        places = np.minimum(np.searchsorted(present, sought), len(present) - 1)
        common[begin : begin + step] = np.bincount(pair[present[places] == sought], minlength=len(some_small))
    return common
