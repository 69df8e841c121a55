"""The LSTM of our own: outputs, states and gradients are those of torch.lstm; resets are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hoyomusic.fit import FitConfig, fit
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.recurrence import unroll
from hoyomusic.samples import Sample
from hoyomusic.sizes import ModelConfig

STEPS, ROWS, INPUTS, HIDDEN = 9, 5, 12, 16


def make_leaves(seed: int = 0, scale: float = 1.0) -> list[torch.Tensor]:
    """Inputs, hidden state, cell state, two weights and a bias, large enough to bend every gate."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (
        (STEPS, ROWS, INPUTS), (ROWS, HIDDEN), (ROWS, HIDDEN),
        (4 * HIDDEN, INPUTS), (4 * HIDDEN, HIDDEN), (4 * HIDDEN,),
    )
    return [(scale * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]


def plain(inputs, hidden, cell, weights):
    """The same by torch."""
    outputs, hidden, cell = torch.lstm(
        inputs, [hidden[None], cell[None]], [*weights, torch.zeros_like(weights[2])],
        has_biases=True, num_layers=1, dropout=0.0, train=True, bidirectional=False, batch_first=False,
    )
    return outputs, hidden[0], cell[0]


def pull_back(results, leaves) -> list[torch.Tensor]:
    """Gradients of the leaves for gradients of all results that depend on place, sign and size."""
    generator = torch.Generator().manual_seed(9)
    return torch.autograd.grad(results, leaves, [torch.randn(part.shape, generator=generator) for part in results])


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_outputs_states_and_gradients_are_those_of_torch(scale):
    leaves = make_leaves(scale=scale)
    ours = unroll(*leaves[:3], tuple(leaves[3:]), None, torch.float32)
    theirs = plain(*leaves[:3], leaves[3:])
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pull_back(ours, leaves), pull_back(theirs, leaves), rtol=1e-4, atol=1e-5 * scale)


def test_bfloat16_is_float32_within_its_precision():
    leaves = make_leaves(scale=0.3)
    ours = unroll(*leaves[:3], tuple(leaves[3:]), None, torch.bfloat16)
    theirs = plain(*leaves[:3], leaves[3:])
    assert all(part.dtype == torch.float32 for part in ours)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02)
    for our, their in zip(pull_back(ours, leaves), pull_back(theirs, leaves), strict=True):
        assert our.dtype == torch.float32
        assert (our - their).norm() < 0.02 * their.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.3, 30.0])  # the larger closes gates and saturates cells by itself
def test_behind_a_reset_all_is_as_from_a_fresh_start(dtype, scale):
    inputs, hidden, cell, *weights = make_leaves(scale=scale)
    reset = torch.zeros(STEPS, ROWS, dtype=torch.bool)
    reset[3, 1:] = reset[6, 2] = True
    outputs, *state = unroll(inputs, hidden, cell, tuple(weights), reset, dtype)
    assert outputs[reset].eq(0).all()
    fresh, *fresh_state = unroll(
        inputs[4:], torch.zeros_like(hidden), torch.zeros_like(cell), tuple(weights), reset[4:], dtype
    )
    for carried, begun in zip([outputs[4:], *state], [fresh, *fresh_state], strict=True):
        assert torch.equal(carried[..., 1:, :], begun[..., 1:, :])
        assert scale > 1 or not torch.equal(carried[..., 0, :], begun[..., 0, :])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_gradient_passes_a_reset(dtype):
    inputs, hidden, cell, *weights = leaves = make_leaves()
    reset = torch.zeros(STEPS, ROWS, dtype=torch.bool)
    reset[3, 1:] = True
    outputs, *_ = unroll(inputs, hidden, cell, tuple(weights), reset, dtype)
    grads = torch.autograd.grad(outputs[4:].square().sum(), leaves)
    assert grads[0][:4, 1:].eq(0).all() and grads[0][:4, 0].ne(0).any()
    for part in grads[1:3]:
        assert part[1:].eq(0).all() and part[0].ne(0).any()
    assert all(torch.isfinite(part).all() for part in grads)


@pytest.mark.slow
def test_a_whole_run_in_bfloat16_ends_where_one_in_float32_does(monkeypatch):
    """Emulated where the processor lacks it: slower, the same numbers."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    generator = np.random.Generator(np.random.Philox(5))
    likely = generator.permuted(np.tile(np.arange(2, 14), (14, 1)), axis=1)[:, :4]
    samples = []
    for _ in range(120):
        ids = [0]
        for place in generator.choice(4, size=40, p=[0.7, 0.1, 0.1, 0.1]):
            ids.append(int(likely[ids[-1], place]))
        samples.append(Sample(np.array([*ids, 1], np.uint16), 0, np.zeros(42, np.uint16)))
    sizes = ModelConfig(14, 1, 1, embedding=24, hidden=48, layers=3, dropout=0.1)
    ended = {}
    for precision in ("fp32", "bf16"):
        config = FitConfig(epochs=8, rows=32, steps=16, precision=precision, patience=8)
        ended[precision] = fit(HoyoMusicLSTM(sizes, seed=1), samples[20:], samples[:20], config).history
    for plain, ours in zip(ended["fp32"], ended["bf16"], strict=True):
        assert ours["nats_per_token"] == pytest.approx(plain["nats_per_token"], abs=0.01)
        assert ours["validation_nats_per_token"] == pytest.approx(plain["validation_nats_per_token"], abs=0.01)
    assert ended["fp32"][-1]["validation_nats_per_token"] < 1.3 < ended["fp32"][0]["nats_per_token"]
