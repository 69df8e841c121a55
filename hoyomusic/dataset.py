"""A corpus as ids: what the loop learns from, what it is judged by, and the account of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hoyomusic.corpus import Corpus, load_corpus
from hoyomusic.errors import TrainingError, VocabularyError
from hoyomusic.grammar import clocks
from hoyomusic.recall import recall
from hoyomusic.regions import find_learned
from hoyomusic.streams import Sample
from hoyomusic.vocab import Vocabulary


@dataclass(frozen=True, slots=True)
class Dataset:
    """A corpus as ids: what the loop learns from, what it is judged by, and the account of both.

    `learned` are the nations whose label the model sees; tunes of the others carry the general label.
    `unsayable`: reason -> tunes that the vocabulary cannot say. `notes_per_token` turns nats per token
    of the validation tunes into nats per note.
    """

    training: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    learned: tuple[str, ...]
    unsayable: dict[str, int]
    notes_per_token: float
    corpus: Corpus
    statistics: dict[str, Any]

    @property
    def corpus_hash(self) -> str:
        """Which tunes these are: the hash of the corpus."""
        return self.corpus.hash

    @property
    def tokens(self) -> int:
        """Targets of one epoch of training."""
        return sum(len(sample.ids) - 1 for sample in self.training)


def load_dataset(
    vocabulary: Vocabulary,
    sources: Sequence[str] = ("default",),
    *,
    hoyomusic: str | None | bool = False,
    max_samples: int | None = None,
    seed: int = 0,
    progress: Callable[[str, int], None] | None = None,
) -> Dataset:
    """The corpus of `sources` in ids; of more than `max_samples` tunes so many are chosen by `seed`.

    Raises what `load_corpus` and `prepare` raise.
    """
    corpus = load_corpus(sources, hoyomusic=hoyomusic, progress=progress)
    if max_samples is not None:
        corpus = corpus.limited(max_samples, seed)
    return prepare(corpus, vocabulary)


def prepare(corpus: Corpus, vocabulary: Vocabulary) -> Dataset:
    """The ids and clocks of every tune of a corpus; those that have none are counted by reason.

    Raises TrainingError when nothing is left to learn from or to validate with.
    """
    learned = find_learned(Counter(tune.region for tune in corpus.tunes))
    labels = {region.label for region in learned}
    samples: dict[str, list[Sample]] = {"train": [], "validation": []}
    unsayable: Counter[str] = Counter()
    notes = tokens = 0
    for entry in corpus.tunes:
        try:
            ids = vocabulary.encode(entry.tune)
        except VocabularyError as error:
            unsayable[error.message] += 1
            continue
        region = entry.region if entry.region in labels else 0
        samples[entry.split].append(
            Sample(
                np.array(ids, np.uint16), region, np.array(clocks(vocabulary, ids), np.uint16), recall(vocabulary, ids)
            )
        )
        if entry.split == "validation":
            notes += vocabulary.count_notes(ids)
            tokens += len(ids) - 1
    for split, found in samples.items():
        if not found:
            raise TrainingError(f"the corpus leaves no tune for {split}", remedy="use a larger corpus")
    return Dataset(
        training=tuple(samples["train"]),
        validation=tuple(samples["validation"]),
        learned=tuple(region.name for region in learned),
        unsayable=dict(unsayable),
        notes_per_token=notes / tokens,
        corpus=corpus,
        statistics=corpus.statistics(),
    )
