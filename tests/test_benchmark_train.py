"""The benchmark of training: its peer learns from what it should, its figures are those of the turns."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from benchmarks.peers.padded import (
    PADDING,
    PlainNetwork,
    batches_of_like_length,
    batches_of_width,
    make_step,
    pad,
)
from benchmarks.train import (
    END,
    START,
    TURN_TOKENS,
    Material,
    Turn,
    gather_material,
    make_loops,
    make_rows,
    summarise,
)
from hoyomusic.fit import FitConfig

TUNES = [np.array([START, *range(3, 3 + length), END], np.uint16) for length in (5, 2, 9, 4, 3, 8)]


def test_tunes_are_padded_or_cut():
    assert pad(TUNES[:2], 5).tolist() == [[1, 3, 4, 5, 6], [1, 3, 4, 2, PADDING]]


def test_an_epoch_of_batches_holds_each_tune_once():
    for batches in (batches_of_width(TUNES, 2, 10, seed=1), batches_of_like_length(TUNES, 2, seed=1)):
        rows = np.concatenate([np.pad(batch, ((0, 0), (0, 12 - batch.shape[1]))) for batch in islice(batches, 3)])
        assert sorted((rows != PADDING).sum(1)) == sorted(len(tune) for tune in TUNES)


def test_batches_of_like_length_hardly_pad():
    for batch in islice(batches_of_like_length(TUNES, 2, seed=0), 3):
        assert batch.shape[1] == max((batch != PADDING).sum(1)) and (batch == PADDING).sum() <= 1


def test_the_padded_loop_learns():
    torch.manual_seed(0)
    network = PlainNetwork(20, 8, 16, 2, dropout=0.0)
    batch = pad(TUNES, 8)

    def loss() -> float:
        with torch.no_grad():
            logits = network(torch.from_numpy(batch[:, :-1]))
        return float(torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.from_numpy(batch[:, 1:]).flatten(), ignore_index=PADDING
        ))

    step = make_step(network, iter([batch] * 60))
    before = loss()
    assert [step() for _ in range(60)][0] == ((batch[:, 1:] != PADDING).sum(), 6 * 7)
    assert loss() < before / 2


def test_tunes_are_made_up_where_there_are_none_and_it_says_so(tmp_path):
    material = gather_material(tmp_path)
    assert material.source.startswith("MADE-UP")
    lengths = [len(tune) - 2 for tune in material.tunes]
    assert np.mean(lengths) == pytest.approx(177, abs=8) and max(lengths) <= 820
    assert max(tune.max() for tune in material.tunes) < material.vocabulary

    (tmp_path / "train.txt").write_text("[K:C] a b\n\nb b |\n")
    material = gather_material(tmp_path)
    assert not material.source.startswith("MADE-UP") and material.vocabulary == 7
    assert [tune.tolist() for tune in material.tunes] == [[1, 3, 4, 5, 2], [1, 5, 5, 6, 2]]


@pytest.mark.slow
def test_each_loop_learns_from_as_many_tokens_as_a_turn_has():
    generator = np.random.default_rng(0)
    tunes = [np.array([START, *generator.integers(3, 20, 150), END], np.uint16) for _ in range(200)]
    loops = make_loops(Material(tuple(tunes), 20, "made up"), FitConfig(rows=64, steps=64))
    for name in ("like lengths", "ours"):
        turn = loops[name]()
        assert turn.seconds > 0 and TURN_TOKENS <= turn.tokens <= turn.computed < 1.1 * turn.tokens


def test_figures_are_medians_and_ratios_are_of_one_round():
    rates = {
        "padded": (100, 200, 400), "like lengths": (300, 500, 700), "ours": (500, 900, 1000), "products": (1000,) * 3,
    }
    turns = {
        (name, tuned): [Turn(2.0, 2.0 * rate * (1 + tuned), 10_000) for rate in each]
        for name, each in rates.items() for tuned in (False, True)
    }
    figures = summarise(turns, FitConfig(precision="fp32"), "made up")
    assert figures["tokens_per_cpu_second"] == 1800
    assert figures["ratio_vs_naive_fixed512"] == 9.0 and figures["both_untuned"]["vs_naive_fixed512"] == 4.5
    assert figures["both_tuned"]["vs_bucketed"] == pytest.approx(1.667)
    assert figures["share_of_matrix_products"] == 0.9 and figures["limit_vs_bucketed"] == 4.0
    rows = make_rows(figures)
    assert rows[0].ratio == 9.0 and rows[0].met and rows[0].limit == 10.0
