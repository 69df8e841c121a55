"""Normalisation: each kind is what its paper says, and only the positions that count are heard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hoyomusic.checkpoint import Checkpoint, load, save
from hoyomusic.errors import GenerationError, UsageError
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.normalisation import NORM_EPSILON, NORM_MOMENTUM, NORMS, LayerNorm, momentum_after
from hoyomusic.runtime import fold
from hoyomusic.sizes import NORM_PARTS, ModelConfig

SIZES = ModelConfig(vocabulary=20, regions=4, clocks=6, embedding=12, hidden=16, layers=2, dropout=0.0, norm="layer")


def make_model() -> HoyoMusicLSTM:
    model, generator = HoyoMusicLSTM(SIZES, seed=3), torch.Generator().manual_seed(4)
    with torch.no_grad():
        for layer in model.layers:
            layer.norm.weight.normal_(generator=generator)
            layer.norm.bias.normal_(generator=generator)
    return model


def make_inputs(rows: int = 3, steps: int = 9) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randint(20, (rows, steps), generator=generator), torch.randint(4, (rows, steps), generator=generator),
        torch.randint(6, (rows, steps), generator=generator),
    )


def test_sizes_know_the_arrays_of_each_kind() -> None:
    for name, kind in NORMS.items():
        assert tuple(kind(3).state_dict()) == NORM_PARTS[name]
    for norm in NORMS:
        sizes = replace(SIZES, norm=norm)
        found = {name: tuple(weight.shape) for name, weight in HoyoMusicLSTM(sizes).state_dict().items()}
        assert found == sizes.shapes()


def test_a_layer_normalised_position_has_mean_zero_and_variance_one() -> None:
    inputs = torch.randn(7, 32, generator=torch.Generator().manual_seed(0)) * 3 + 5
    outputs = LayerNorm(32)(inputs, None)
    torch.testing.assert_close(outputs.mean(dim=1), torch.zeros(7), rtol=0, atol=1e-5)
    expected = 1 - NORM_EPSILON / (inputs.var(dim=1, correction=0) + NORM_EPSILON)
    torch.testing.assert_close(outputs.var(dim=1, correction=0), expected, rtol=0, atol=1e-5)


def test_a_model_with_layer_normalisation_equals_the_plain_stack_of_torch_modules() -> None:
    model, (ids, region, clock) = make_model(), make_inputs()
    values = model.embedding[ids] + model.region[region] + model.clock[clock]
    for layer in model.layers:
        plain, norm = nn.LSTM(values.shape[2], 16, batch_first=True), nn.LayerNorm(16, eps=NORM_EPSILON)
        plain.load_state_dict({
            "weight_ih_l0": layer.weight_ih.detach(), "weight_hh_l0": layer.weight_hh.detach(),
            "bias_ih_l0": layer.bias.detach(), "bias_hh_l0": torch.zeros(64),
        })
        norm.load_state_dict(layer.norm.state_dict())
        values = norm(plain(values)[0])
    expected = values @ model.output_weight.T + model.output_bias
    for mode in (True, False):
        torch.testing.assert_close(model.train(mode)(ids, region, clock)[0], expected, rtol=1e-5, atol=1e-5)


def test_layer_normalisation_hears_neither_other_rows_nor_what_does_not_count() -> None:
    model, (ids, region, clock) = make_model().train(), make_inputs()
    valid = torch.ones_like(ids, dtype=torch.bool)
    valid[1, 5:] = False
    whole, _ = model(ids, region, clock, valid=valid)
    alone, _ = model(ids[1:2, :5], region[1:2, :5], clock[1:2, :5])
    torch.testing.assert_close(whole[1:2, :5], alone, rtol=1e-5, atol=1e-5)


def test_the_kind_is_kept_in_the_file_and_is_batch_where_none_is_told(tmp_path) -> None:
    model, path = make_model(), tmp_path / "m.pth"
    words = {"tokens": [f"word {number}" for number in range(SIZES.vocabulary)]}
    save(Checkpoint(SIZES, words, model.state_dict(), {}), path)
    loaded = load(path)
    assert loaded.config == SIZES
    given = make_inputs()
    with torch.no_grad():
        assert torch.equal(loaded.model()(*given)[0], model.eval()(*given)[0])
    told = {name: value for name, value in SIZES.to_dict().items() if name != "norm"}
    assert ModelConfig(**told).norm == "batch"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="^there is no normalisation 'group'; choose batch or layer$"):
        replace(SIZES, norm="group")


def test_layer_normalisation_cannot_be_folded() -> None:
    weights = {name: np.asarray(weight) for name, weight in make_model().arrays().items()}
    with pytest.raises(GenerationError, match="^a model with layer normalisation .*; train one with --norm batch$"):
        fold(weights)


def test_statistics_soon_forget_what_they_began_with_and_then_change_slowly() -> None:
    assert np.prod([1 - momentum_after(step) for step in range(10)]) < 1e-4
    shares = [momentum_after(step) for step in range(1000)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == NORM_MOMENTUM
