"""How well a model foretells tunes it never saw, beside a 5-gram on the same ids, nation by nation.

    python -m benchmarks.likelihood [MODEL]

Scores every token behind ``<s>`` of the held-out tunes of the default corpus, ``</s>`` included. The
5-gram is interpolated with Witten-Bell smoothing (Witten & Bell 1991; the form of Chen & Goodman 1998,
section 2.5) and knows the same training tunes. Three rows are the model itself: with the nation's label,
with the general one, and with another nation's, which tells what the label is worth.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import log

from hoyomusic import checkpoint
from hoyomusic.corpus import load_corpus
from hoyomusic.fit import measure
from hoyomusic.regions import REGIONS
from hoyomusic.streams import Sample
from hoyomusic.training import prepare
from hoyomusic.vocab import Vocabulary

ORDER = 5


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="default")
    path = checkpoint.find_model(parser.parse_args().model)
    loaded = checkpoint.load(path)
    model, vocabulary = loaded.model(), Vocabulary.from_dict(loaded.vocab)
    dataset = prepare(load_corpus(), vocabulary)
    if dataset.corpus_hash != loaded.provenance["corpus"]:
        print("the corpus has changed since this model was trained: its held-out tunes may have been learned from")
    ngram = NGram(([int(index) for index in sample.ids] for sample in dataset.training), len(vocabulary))

    def relabelled(samples: Sequence[Sample], change: dict[int, int]) -> list[Sample]:
        return [sample._replace(region=change.get(sample.region, 0)) for sample in samples]

    print(f"{path.name}, {loaded.identity[:12]}, corpus {dataset.corpus_hash[:12]}")
    print(f"{'held-out tunes':<16}{'tunes':>6}{'tokens':>8}{'notes':>8}   nats per token / per note")
    print(f"{'':<38}   {'model':>14}{'no label':>14}{'other label':>14}{'5-gram':>14}")
    labels = sorted({sample.region for sample in dataset.validation})
    nations = [label for label in labels if label]
    others = {label: nations[(place + 1) % len(nations)] for place, label in enumerate(nations)}
    groups = {REGIONS[label].name if label else "no nation": {label} for label in labels}
    for name, chosen in {**groups, "all": set(labels)}.items():
        samples = [sample for sample in dataset.validation if sample.region in chosen]
        tokens = sum(len(sample.ids) - 1 for sample in samples)
        notes = sum(vocabulary.count_notes([int(index) for index in sample.ids]) for sample in samples)
        rows = [
            measure(model, samples),
            measure(model, relabelled(samples, {})),
            measure(model, relabelled(samples, others)),
            sum(ngram.nats([int(index) for index in sample.ids]) for sample in samples) / tokens,
        ]
        cells = "".join(f"{value:>7.3f}/{value * tokens / notes:.3f} " for value in rows)
        print(f"{name:<16}{len(samples):>6}{tokens:>8}{notes:>8}   {cells.rstrip()}")


if __name__ == "__main__":
    main()
