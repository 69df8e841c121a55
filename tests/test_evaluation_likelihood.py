"""Likelihood: the 5-gram against arithmetic by hand, and each label's nats against `fit.measure`."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest

from hoyomusic import abc
from hoyomusic.corpus import Corpus, CorpusReport, CorpusTune
from hoyomusic.corpus.collection import hash_tunes
from hoyomusic.dataset import prepare
from hoyomusic.evaluation.likelihood import NGram, measure_likelihood
from hoyomusic.fit import measure
from hoyomusic.grammar import CLOCKS
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.regions import REGIONS
from hoyomusic.sizes import ModelConfig
from hoyomusic.vocab import Vocabulary
from tests.conftest import BOOK


def test_the_ngram_is_a_distribution() -> None:
    generator = np.random.Generator(np.random.Philox(key=1))
    ngram = NGram([generator.integers(0, 7, 30).tolist() for _ in range(20)], 7)
    for history in ((), (3,), (1, 2), (6, 5, 4, 3), (9, 9)):
        assert sum(ngram.probability(history, following) for following in range(7)) == pytest.approx(1)


def test_witten_bell_by_hand() -> None:
    ngram = NGram([[0, 1, 2], [0, 1, 1]], vocabulary=4, order=2)
    # Behind nothing: 1 three times, 2 once, so 2 kinds of 4.
    anywhere = (3 + 2 / 4) / (4 + 2)
    assert ngram.probability((), 1) == pytest.approx(anywhere)
    # Behind 1: 2 once, 1 once; behind 0: 1 twice.
    assert ngram.probability((1,), 1) == pytest.approx((1 + 2 * anywhere) / (2 + 2))
    assert ngram.nats([0, 1, 1]) == pytest.approx(
        -log((2 + anywhere) / (2 + 1)) - log((1 + 2 * anywhere) / (2 + 2))
    )


def test_an_unknown_history_falls_back_to_a_shorter_one() -> None:
    ngram = NGram([[0, 1, 2], [0, 1, 1]], vocabulary=4, order=2)
    assert ngram.probability((3,), 1) == ngram.probability((), 1)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """The book eight times over with two nations and none, half of it held out."""
    tunes = abc.parse(Path(BOOK).read_text(encoding="utf-8"))
    entries = tuple(
        CorpusTune(tune, label, f"{label}-{place}", place, "validation" if place % 2 else "train", f"{label}-{place}")
        for label in (0, 1, 2)
        for place, tune in enumerate(tunes)
    )
    return Corpus(entries, CorpusReport(), hash_tunes(entries))


def test_each_label_is_measured(corpus: Corpus) -> None:
    vocabulary = Vocabulary.build()
    sizes = ModelConfig(len(vocabulary), len(REGIONS), CLOCKS, embedding=4, hidden=8, layers=1)
    model = HoyoMusicLSTM(sizes, seed=1).eval()
    dataset = prepare(corpus, vocabulary)
    shares: list[float] = []
    nobody, mondstadt, liyue, everybody = measure_likelihood(model, dataset, vocabulary, shares.append)
    assert [row.nation for row in (nobody, mondstadt, liyue, everybody)] == ["no nation", "Mondstadt", "Liyue", "all"]
    assert shares[-1] == 1
    heard = {
        label: measure(model, [sample._replace(region=label) for sample in dataset.validation if sample.region == 1])
        for label in (0, 1, 2)
    }
    assert mondstadt.right == pytest.approx(heard[1])
    assert mondstadt.unlabelled == pytest.approx(heard[0])
    assert mondstadt.wrong == pytest.approx(heard[2])
    assert nobody.right == nobody.unlabelled
    assert nobody.wrong == pytest.approx((heard[1] + heard[2]) / 2)
    assert everybody.right == pytest.approx(measure(model, dataset.validation))
    assert everybody.tokens == sum(len(sample.ids) - 1 for sample in dataset.validation)
    assert everybody.tunes == len(dataset.validation)
    assert everybody.tokens_per_note == pytest.approx(1 / dataset.notes_per_token)
    assert 0 < everybody.ngram < log(len(vocabulary))
