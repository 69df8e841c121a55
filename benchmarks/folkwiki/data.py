"""The published split, the default corpus in the same words, and no near duplicate on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.folkwiki import clock, recall
from benchmarks.folkwiki.tokens import HIGHEST_STEP, LOWEST_STEP, START, Language, Relative, Words
from benchmarks.folkwiki.writing import read_default_corpus
from hoyomusic.corpus.duplicates import cluster_near_duplicates, sign
from hoyomusic.streams import Sample
from hoyomusic.tune import Bar, Key, Note, Pitch, Tune

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "folkwiki"

# Training tunes kept aside: for the mixture's weights and for every choice that was made.
DEVELOPMENT_TUNES = 100
LARGEST_DEVELOPMENT_CLUSTER = 3


@dataclass(frozen=True)
class Tunes:
    """Tunes as words, each with the number of its cluster of near duplicates, and whether folkwiki has it."""

    words: tuple[Words, ...]
    clusters: tuple[int, ...]
    from_folkwiki: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.words)

    def chosen(self, wanted: Iterable[bool]) -> Tunes:
        """The tunes that are wanted."""
        keep = [index for index, want in enumerate(wanted) if want]
        parts = (self.words, self.clusters, self.from_folkwiki)
        return Tunes(*(tuple(part[index] for index in keep) for part in parts))


@dataclass(frozen=True)
class Data:
    """What is trained on, what is kept aside from it, what is scored, and what was found on the way.

    `twins` marks the validation tunes that the published training split holds in another key or form;
    those training tunes are `removed`, as (from folkwiki, from the default corpus) counts.
    """

    training: Tunes
    development: Tunes
    validation: Tunes
    twins: tuple[bool, ...]
    exact: int
    removed: tuple[int, int]
    outside: int


def read_tunes(path: Path) -> list[Words]:
    """The tunes of a published file: words between blanks, tunes between blank lines."""
    return [tuple(block.split()) for block in path.read_text(encoding="utf-8").split("\n\n") if block.strip()]


def load(folder: Path = FOLDER, *, with_default: bool = False, seed: int = 0) -> Data:
    """Read the split, add the default corpus if asked, and part training from judging by clusters.

    A training tune in one cluster with a validation tune (the same intervals in any key, or near it) goes.
    Clusters are of single linkage, so that more goes than is alike; none that is alike stays.
    """
    published, validation = (read_tunes(folder / f"{name}.txt") for name in ("train", "validation"))
    extra, outside = read_default_corpus(Language.of(published)) if with_default else ([], 0)
    words = [*published, *validation, *extra]
    tunes = [to_melody(each) for each in words]
    clusters = cluster_near_duplicates(tunes)
    first, last = len(published), len(published) + len(validation)
    judging = set(clusters[first:last])
    judged = {sign(tune) for tune in tunes[first:last]}
    exact = sum(sign(tune) in judged for tune in tunes[:first])

    everything = Tunes(tuple(words), tuple(clusters), tuple(index < last for index in range(len(words))))
    is_validation = [first <= index < last for index in range(len(words))]
    free = [
        cluster not in judging and sign(tune) not in judged
        for cluster, tune in zip(clusters, tunes, strict=True)
    ]
    apart = _choose_development(clusters[:first], free[:first], seed)
    published_clusters = set(clusters[:first])
    return Data(
        everything.chosen(good and cluster not in apart for good, cluster in zip(free, clusters, strict=True)),
        everything.chosen(
            good and cluster in apart and index < first
            for index, (good, cluster) in enumerate(zip(free, clusters, strict=True))
        ),
        everything.chosen(is_validation),
        tuple(cluster in published_clusters for cluster in clusters[first:last]),
        exact,
        (free[:first].count(False), free[last:].count(False)),
        outside,
    )


def _choose_development(clusters: Sequence[int], free: Sequence[bool], seed: int) -> set[int]:
    """Small clusters of training tunes in an order drawn by `seed`, until there are `DEVELOPMENT_TUNES` tunes."""
    sizes = Counter(cluster for cluster, good in zip(clusters, free, strict=True) if good)
    small = sorted(cluster for cluster, size in sizes.items() if size <= LARGEST_DEVELOPMENT_CLUSTER)
    chosen: set[int] = set()
    count = 0
    for index in np.random.Generator(np.random.Philox(seed)).permutation(len(small)):
        if count < DEVELOPMENT_TUNES:
            chosen.add(small[index])
            count += sizes[small[index]]
    return chosen


def to_melody(words: Sequence[str]) -> Tune:
    """The notes of a tune as the duplicate finder reads them, in one long bar."""
    notes = tuple(
        Note(() if number is None else (Pitch.from_midi(number),), length)
        for number, length in clock.read_melody(words)
        if length > 0
    )
    return Tune(Key("C"), None, (Bar(notes),))


# What the network is given.

CANDIDATES = (
    "echo 1", "echo 2", "echo of intervals", "echo of rhythm", *(f"{lag} bars before" for lag in clock.LAGS),
    "section before", "kin 1", "kin 2",
)
STRENGTHS = 256
COLUMNS = {**clock.COLUMNS, "source": 2}


@dataclass(frozen=True)
class Material:
    """Tunes ready for the network, one after the other: a position for each id.

    `ids` (N,); `context` (N, len(COLUMNS)), the clock; `candidates` and `strengths` (N, len(CANDIDATES)),
    ids that may follow and how far each is backed (below `STRENGTHS`). `edges` (tunes + 1,) parts the tunes.
    """

    ids: np.ndarray
    context: np.ndarray
    candidates: np.ndarray
    strengths: np.ndarray
    edges: np.ndarray
    from_folkwiki: np.ndarray

    @cached_property
    def samples(self) -> list[Sample]:
        """The tunes for `hoyomusic.streams`; the clock of each names its positions, so that rows can be looked up."""
        return [
            Sample(self.ids[start:stop], 0, np.arange(start, stop, dtype=np.uint32))
            for start, stop in zip(self.edges, self.edges[1:], strict=False)
        ]


def prepare(data: Data, language: Language) -> dict[str, Material]:
    """The network's inputs for each set; only training tunes answer to `recall.find_kin`."""
    sets = {"training": data.training, "development": data.development, "validation": data.validation}
    ids = {name: [language.encode(words) for words in tunes.words] for name, tunes in sets.items()}
    line = [each for name in sets for each in ids[name]]
    kin, strengths = recall.find_kin(
        line, [cluster for tunes in sets.values() for cluster in tunes.clusters],
        [name == "training" for name in sets for _ in ids[name]],
    )
    prepared, start = {}, 0
    for name, tunes in sets.items():
        stop = start + len(tunes)
        prepared[name] = _assemble(tunes, ids[name], kin[start:stop], strengths[start:stop], language)
        start = stop
    return prepared


def _assemble(tunes: Tunes, encoded, kin, kin_strengths, language: Language) -> Material:
    contexts, candidates, strengths = [], [], []
    for words, ids, source, known, backed in zip(
        tunes.words, encoded, tunes.from_folkwiki, kin, kin_strengths, strict=True
    ):
        context, lagged = clock.read_clock(words, language, ids)
        echoes, lengths = recall.find_echoes(ids)
        shifted, shifted_lengths = _find_shifted_echoes(ids, language)
        # Whether two ways of remembering say the same tells more than either alone.
        agree = (echoes == known[:, :1]) & (echoes != START)
        lag_agrees = (lagged == echoes[:, :1]) + 2 * (lagged == known[:, :1]) + 4 * _count_right(lagged, ids)
        contexts.append(_with_last(np.concatenate((context, np.full((len(context), 1), source)), 1)))
        candidates.append(_with_last(np.concatenate((echoes, shifted, lagged, known), 1)))
        strengths.append(_with_last(np.concatenate((lengths + 16 * agree, shifted_lengths, lag_agrees, backed), 1)))
    lengths = [len(ids) for ids in encoded]
    return Material(
        np.concatenate([np.array(ids, np.int16) for ids in encoded]),
        np.concatenate(contexts), np.concatenate(candidates), np.concatenate(strengths),
        np.concatenate(([0], np.cumsum(lengths))), np.array(tunes.from_folkwiki),
    )


def _find_shifted_echoes(ids: Sequence[int], language: Language) -> tuple[np.ndarray, np.ndarray]:
    """What followed the longest match of the intervals so far, moved to where the tune is, and of the rhythm so far.

    Arrays (n, 2) as of `recall.find_echoes`, one column for each of the two. The rhythm names no pitch: where
    a pitch followed, it says nothing but the length of its match.
    """
    steps = [entry.step if isinstance(entry := language.entries[index], Relative) else None for index in ids]
    base = len(language) + HIGHEST_STEP - LOWEST_STEP
    before, moves, last = [], [], 0
    for index, step in zip(ids, steps, strict=True):
        moves.append(index if step is None else base + step - last)
        last = last if step is None else step
        before.append(last)
    followed, lengths = recall.find_echoes(moves)
    shifted = [
        language.ids.get(Relative(now + code - base, None), START) if code >= len(language) else code
        for now, code in zip(before, followed[:, 0].tolist(), strict=False)
    ]
    rhythm, rhythm_lengths = recall.find_echoes(
        [index if step is None else len(language) for index, step in zip(ids, steps, strict=True)]
    )
    rhythm = np.where(rhythm[:, 0] == len(language), START, rhythm[:, 0])
    return np.stack((np.array(shifted), rhythm), 1), np.stack((lengths[:, 0], rhythm_lengths[:, 0]), 1)


def _count_right(guesses: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """For each place and source of `guesses` (n, F): how many of its latest in a row were right, at most 15."""
    counts = np.zeros(guesses.shape, np.int64)
    for place in range(1, len(guesses)):
        made = guesses[place - 1] != START
        right = guesses[place - 1] == ids[place]
        counts[place] = np.where(made, np.where(right, np.minimum(counts[place - 1] + 1, 15), 0), counts[place - 1])
    return counts


def _with_last(rows: np.ndarray) -> np.ndarray:
    """One more row, for the last id, after which nothing is asked."""
    return np.concatenate((rows, np.zeros((1, rows.shape[1]), rows.dtype))).astype(np.int16)
