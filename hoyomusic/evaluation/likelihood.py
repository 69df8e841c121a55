"""How well a model foretells tunes it never saw, beside a 5-gram on the same ids, nation by nation.

Every token behind ``<s>`` of the held-out tunes is scored, ``</s>`` included: with the nation's own label,
with the general one, and with each other learned nation's, which tells what the label is worth. The
5-gram is interpolated with Witten-Bell smoothing (Witten & Bell 1991; the form of Chen & Goodman 1998,
section 2.5) and knows the same training tunes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from hoyomusic.regions import REGIONS
from hoyomusic.vocab import Vocabulary

if TYPE_CHECKING:
    from hoyomusic.dataset import Dataset
    from hoyomusic.model import HoyoMusicLSTM
    from hoyomusic.streams import Sample

ORDER = 5


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Nats per token on the held-out tunes of one nation, or of all.

    `right`: with their own label; `unlabelled`: with the general one; `wrong`: the mean over the other
    learned nations' labels; `ngram`: by the 5-gram.
    """

    nation: str
    tunes: int
    tokens: int
    notes: int
    right: float
    unlabelled: float
    wrong: float
    ngram: float

    @property
    def tokens_per_note(self) -> float:
        """What turns nats per token into nats per note."""
        return self.tokens / self.notes


class NGram:
    """An interpolated n-gram with Witten-Bell smoothing, down to the uniform distribution over the vocabulary."""

    def __init__(self, sequences: Iterable[Sequence[int]], vocabulary: int, order: int = ORDER) -> None:
        self.order, self.vocabulary = order, vocabulary
        self.followers: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for ids in sequences:
            for place in range(1, len(ids)):
                for width in range(min(order - 1, place) + 1):
                    self.followers[tuple(ids[place - width : place])][ids[place]] += 1

    def probability(self, history: tuple[int, ...], following: int) -> float:
        """The share of `following` behind `history`, mixed with that behind ever shorter histories."""
        found = 1 / self.vocabulary
        for width in range(len(history) + 1):
            counts = self.followers.get(history[len(history) - width :])
            if counts is None:
                break
            kinds = len(counts)
            found = (counts[following] + kinds * found) / (counts.total() + kinds)
        return found

    def nats(self, ids: Sequence[int]) -> float:
        """The loss of a sequence behind its first id."""
        return -sum(
            log(self.probability(tuple(ids[max(0, place - self.order + 1) : place]), ids[place]))
            for place in range(1, len(ids))
        )


def measure_likelihood(
    model: HoyoMusicLSTM,
    dataset: Dataset,
    vocabulary: Vocabulary,
    advance: Callable[[float], None] = lambda share: None,
) -> tuple[Likelihood, ...]:
    """A row for each label of the held-out tunes, in the order of the labels, and one for all.

    Label 0 stands for no nation: there the right label is the general one. `advance` is told what share
    of the work is done.
    """
    from hoyomusic.fit import measure

    ngram = NGram((sample.ids.tolist() for sample in dataset.training), len(vocabulary))
    labels = sorted({sample.region for sample in dataset.validation})
    nations = [label for label in labels if label]
    rows: list[Likelihood] = []
    done = 0
    for label in labels:
        samples = [sample for sample in dataset.validation if sample.region == label]
        ids = [sample.ids.tolist() for sample in samples]
        tokens = sum(map(len, ids)) - len(ids)
        others = [other for other in nations if other != label]
        by_label = {heard: measure(model, _relabel(samples, heard)) for heard in {label, 0, *others}}
        rows.append(
            Likelihood(
                nation=REGIONS[label].name if label else "no nation",
                tunes=len(samples),
                tokens=tokens,
                notes=sum(map(vocabulary.count_notes, ids)),
                right=by_label[label],
                unlabelled=by_label[0],
                wrong=sum(by_label[other] for other in others) / len(others) if others else by_label[0],
                ngram=sum(map(ngram.nats, ids)) / tokens,
            )
        )
        done += len(samples)
        advance(done / len(dataset.validation))
    return (*rows, _sum_up(rows))


def _relabel(samples: Sequence[Sample], label: int) -> list[Sample]:
    return [sample._replace(region=label) for sample in samples]


def _sum_up(rows: Sequence[Likelihood]) -> Likelihood:
    tokens = sum(row.tokens for row in rows)
    means = {
        name: sum(getattr(row, name) * row.tokens for row in rows) / tokens
        for name in ("right", "unlabelled", "wrong", "ngram")
    }
    return Likelihood("all", sum(row.tunes for row in rows), tokens, sum(row.notes for row in rows), **means)
