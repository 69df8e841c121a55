"""A corpus as ids: what the loop learns from, what it is judged by, and the account of both.

Tunes become ids one at a time, and of each only its place among all ids is kept. The result of
`load_dataset` lies in the cache folder and is opened there as a memory map: a second run on the same corpus
reads no tune, and a corpus may be larger than the memory.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache as called_once
from typing import Any

import numpy as np

from hoyomusic.corpus import Corpus, CorpusTune
from hoyomusic.corpus.cache import CORPUS_RULES, Cache, Mapped, digest, rules_digest
from hoyomusic.corpus.loading import assemble, open_sources
from hoyomusic.corpus.split import TRAIN, VALIDATION
from hoyomusic.errors import TrainingError, VocabularyError
from hoyomusic.grammar import clocks
from hoyomusic.recall import SOURCES, recall
from hoyomusic.regions import find_learned
from hoyomusic.samples import Samples, token_type
from hoyomusic.vocab.characters import LAYOUT as CHARACTERS
from hoyomusic.vocab.characters import AnyVocabulary

TOKEN = token_type(SOURCES)

# What ids and all that stands beside them are made with.
_RULES = (*CORPUS_RULES, "vocab", "grammar", "recall.py", "samples.py", "dataset.py")
# Tokens are handed on in pieces of about so many.
_PIECE_TOKENS = 1 << 16


@dataclass(frozen=True, slots=True)
class Dataset:
    """A corpus as ids.

    `learned` are the nations whose label the model sees; tunes of the others carry the general label.
    `unsayable`: reason -> tunes that the vocabulary cannot say. `notes_per_token` turns nats per token
    of the validation tunes into nats per note. `corpus_hash` and `statistics` are those of the corpus,
    which `read_corpus` gives with its tunes, reading them if need be.
    """

    training: Samples
    validation: Samples
    learned: tuple[str, ...]
    unsayable: dict[str, int]
    notes_per_token: float
    statistics: dict[str, Any]
    corpus_hash: str
    read_corpus: Callable[[], Corpus]

    @property
    def corpus(self) -> Corpus:
        """The tunes: reading them takes a while where the dataset came from the cache."""
        return self.read_corpus()

    @property
    def tokens(self) -> int:
        """Targets of one epoch of training."""
        return int(self.training.lengths.sum()) - len(self.training)


class Encoder:
    """Turns tunes into tokens, one after the other; here remain a few bytes of each, and the account of all."""

    def __init__(self, vocabulary: AnyVocabulary) -> None:
        self._vocabulary = vocabulary
        self._lengths, self._regions, self._judging = array("I"), array("B"), array("B")
        self._seen: Counter[int] = Counter()
        self._unsayable: Counter[str] = Counter()
        self._notes = self._targets = 0

    def tokens(self, tunes: Iterable[CorpusTune]) -> Iterator[np.ndarray]:
        """The tokens of all tunes that the vocabulary can say, records of `TOKEN`, in pieces."""
        waiting: list[np.ndarray] = []
        count = 0
        for entry in tunes:
            self._seen[entry.region] += 1
            try:
                ids = self._vocabulary.encode(entry.tune)
            except VocabularyError as error:
                self._unsayable[error.message] += 1
                continue
            if entry.split == VALIDATION:
                self._notes += self._vocabulary.count_notes(ids)
                self._targets += len(ids) - 1
            self._lengths.append(len(ids))
            self._regions.append(entry.region)
            self._judging.append(entry.split == VALIDATION)
            waiting.append(_lay_out(self._vocabulary, ids))
            count += len(ids)
            if count >= _PIECE_TOKENS:
                yield np.concatenate(waiting)
                waiting, count = [], 0
        if waiting:
            yield np.concatenate(waiting)

    def body(self, tunes: Iterable[CorpusTune]) -> Iterator[bytes]:
        """The bytes of a mapped entry: tokens, then length, region and part of each tune."""
        for piece in self.tokens(tunes):
            yield piece.tobytes()
        yield from (part.tobytes() for part in self.columns())

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lengths, regions, and whether they judge, of the tunes so far."""
        return np.array(self._lengths, "<u4"), np.array(self._regions, "u1"), np.array(self._judging, "u1")

    def account(self) -> dict[str, Any]:
        """What is told of the tunes, as plain values.

        Raises TrainingError when nothing is left to learn from or to validate with.
        """
        for split, count in ((TRAIN, self._judging.count(0)), (VALIDATION, self._judging.count(1))):
            if not count:
                raise TrainingError(f"the corpus leaves no tune for {split}", remedy="use a larger corpus")
        return {
            "tunes": len(self._lengths),
            "learned": [region.name for region in find_learned(self._seen)],
            "labels": [region.label for region in find_learned(self._seen)],
            "unsayable": dict(self._unsayable),
            "notes_per_token": self._notes / self._targets,
        }


def prepare(corpus: Corpus, vocabulary: AnyVocabulary) -> Dataset:
    """The tokens of every tune of a corpus, in memory; tunes that cannot be said are counted by reason.

    Raises TrainingError when nothing is left to learn from or to validate with.
    """
    encoder = Encoder(vocabulary)
    tokens = [np.empty(0, TOKEN), *encoder.tokens(corpus.tunes)]
    account = {**encoder.account(), "statistics": corpus.statistics(), "hash": corpus.hash}
    return _build(np.concatenate(tokens), encoder.columns(), account, lambda: corpus)


def load_dataset(
    vocabulary: AnyVocabulary,
    sources: Sequence[str] = ("default",),
    *,
    hoyomusic: str | None | bool = False,
    max_samples: int | None = None,
    seed: int = 0,
    progress: Callable[[str, int], None] | None = None,
) -> Dataset:
    """The corpus of `sources` in ids; of more than `max_samples` tunes so many are chosen by `seed`.

    What is cached of the same sources, vocabulary and rules is used instead of reading anything; what the
    cache had to say stands in `statistics["notices"]`. Raises what `load_corpus` and `prepare` raise.
    """
    opened = open_sources(sources, hoyomusic=hoyomusic)
    cache = Cache()

    @called_once
    def read_corpus() -> Corpus:
        corpus = assemble(opened, cache, progress or (lambda what, count: None))
        return corpus if max_samples is None else corpus.limited(max_samples, seed)

    limit = "" if max_samples is None else f"{max_samples} of {seed}"
    words = json.dumps(vocabulary.to_dict(), sort_keys=True)
    name = f"dataset-{digest([words, limit, *(source.slot for source in opened)])[:16]}"
    key = digest([rules_digest(_RULES), words, limit, *(source.fingerprint() for source in opened)])
    found = cache.map(name, key)
    if found is None and keep_dataset(read_corpus(), vocabulary, cache, name, key):
        found = cache.map(name, key)
    dataset = prepare(read_corpus(), vocabulary) if found is None else _open(found, read_corpus)
    return replace(dataset, statistics={**dataset.statistics, "notices": list(cache.notices)})


def keep_dataset(corpus: Corpus, vocabulary: AnyVocabulary, cache: Cache, name: str, key: str) -> bool:
    """Write the dataset of a corpus into the cache, tune by tune; False where the disk does not take it."""
    encoder = Encoder(vocabulary)
    return cache.store_mapped(
        name, key, encoder.body(corpus.tunes),
        lambda: {**encoder.account(), "statistics": {**corpus.statistics(), "notices": []}, "hash": corpus.hash},
    )


def _open(found: Mapped, read_corpus: Callable[[], Corpus]) -> Dataset:
    count = found.note["tunes"]
    lengths, regions, judging = (
        np.frombuffer(found.mapping, kind, count, found.start + found.size - behind * count)
        for kind, behind in (("<u4", 6), ("u1", 2), ("u1", 1))
    )
    tokens = np.frombuffer(found.mapping, TOKEN, int(lengths.sum()), found.start)
    return _build(tokens, (lengths, regions, judging), found.note, read_corpus, found)


def _build(
    tokens: np.ndarray,
    columns: tuple[np.ndarray, np.ndarray, np.ndarray],
    account: dict[str, Any],
    read_corpus: Callable[[], Corpus],
    mapped: Mapped | None = None,
) -> Dataset:
    lengths, regions, judging = columns
    lengths = lengths.astype(np.int64)
    # Nations with too few tunes share the general label.
    regions = np.where(np.isin(regions, account["labels"]), regions, 0)
    samples = Samples(
        tokens, np.cumsum(lengths) - lengths, lengths, regions, None if mapped is None else mapped.mapping
    )
    return Dataset(
        training=samples.select(judging == 0),
        validation=samples.select(judging == 1),
        learned=tuple(account["learned"]),
        unsayable=account["unsayable"],
        notes_per_token=account["notes_per_token"],
        statistics=account["statistics"],
        corpus_hash=account["hash"],
        read_corpus=read_corpus,
    )


def _lay_out(vocabulary: AnyVocabulary, ids: Sequence[int]) -> np.ndarray:
    """One tune's tokens."""
    tokens = np.zeros(len(ids), TOKEN)
    tokens["id"] = ids
    if vocabulary.layout == CHARACTERS:
        # Clock and recall are told of tokens alone.
        return tokens
    recalled = recall(vocabulary, ids)
    tokens["clock"] = clocks(vocabulary, ids)
    tokens["guess"], tokens["agreement"] = recalled[..., 0], recalled[..., 1]
    return tokens
