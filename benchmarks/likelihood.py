"""How well a model foretells tunes it never saw, beside a 5-gram on the same ids, nation by nation.

    python -m benchmarks.likelihood [MODEL]

What the columns mean is told by `hoyomusic.evaluation.likelihood`, which measures them.
"""

from __future__ import annotations

import argparse

from hoyomusic import checkpoint
from hoyomusic.corpus import load_corpus
from hoyomusic.evaluation.likelihood import measure_likelihood
from hoyomusic.training import prepare
from hoyomusic.vocab import Vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="default")
    path = checkpoint.find_model(parser.parse_args().model)
    loaded = checkpoint.load(path)
    vocabulary = Vocabulary.from_dict(loaded.vocab)
    dataset = prepare(load_corpus(), vocabulary)
    if dataset.corpus_hash != loaded.provenance["corpus"]:
        print("the corpus has changed since this model was trained: its held-out tunes may have been learned from")
    print(f"{path.name}, {loaded.identity[:12]}, corpus {dataset.corpus_hash[:12]}")
    print(f"{'held-out tunes':<16}{'tunes':>6}{'tokens':>8}{'notes':>8}   nats per token / per note")
    print(f"{'':<38}   {'model':>14}{'no label':>14}{'other label':>14}{'5-gram':>14}")
    for row in measure_likelihood(loaded.model(), dataset, vocabulary):
        nats = (row.right, row.unlabelled, row.wrong, row.ngram)
        cells = "".join(f"{value:>7.3f}/{value * row.tokens_per_note:.3f} " for value in nats)
        print(f"{row.nation:<16}{row.tunes:>6}{row.tokens:>8}{row.notes:>8}   {cells.rstrip()}")


if __name__ == "__main__":
    main()
