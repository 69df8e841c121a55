from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.peers import folk_rnn, stateful_lstm, transformer
from benchmarks.peers.folk_rnn import FolkRNN, FolkRNNConfig, NumpySampler
from benchmarks.peers.stateful_lstm import StatefulLSTM
from benchmarks.peers.transformer import Transformer, TransformerConfig
from hoyomusic.model import HoyoMusicLSTM, ModelConfig

SMALL = TransformerConfig(20, context=30, width=24, layers=2, heads=3, feed_forward=40)


def count(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def draw_ids(rows: int, steps: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(20, (rows, steps), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def small_lstm() -> FolkRNN:
    return FolkRNN(FolkRNNConfig(20, embedding=7, hidden=16), seed=3).eval()


@pytest.mark.parametrize("parameters", [3_000_000, 7_000_000, 12_000_000])
@pytest.mark.parametrize("vocabulary", [160, 1086])
def test_networks_are_of_one_size(vocabulary, parameters):
    sizes = TransformerConfig.fitted(vocabulary, parameters)
    hidden = 512 if parameters > 5_000_000 else 320
    plain = FolkRNNConfig.fitted(vocabulary, parameters, hidden=hidden)
    for model in (Transformer(sizes), FolkRNN(plain)):
        assert abs(count(model) / parameters - 1) < 0.02


def test_a_step_with_a_cache_equals_the_whole(small=SMALL):
    model, ids = Transformer(small, seed=2).eval(), draw_ids(3, 12)
    cache = model.fresh_cache(3)
    with torch.inference_mode():
        stepped = torch.stack([model.step(column, cache) for column in ids.T], 1)
        torch.testing.assert_close(stepped, model(ids), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("make", [
    lambda: Transformer(SMALL, seed=2),
    lambda: FolkRNN(FolkRNNConfig(20, embedding=7, hidden=16)),
    lambda: StatefulLSTM(20, embedding=7, hidden=16),
], ids=["transformer", "folk_rnn", "stateful_lstm"])
def test_no_position_hears_a_later_one(make: Callable[[], nn.Module]):
    model, ids = make().eval(), draw_ids(2, 9)
    changed = ids.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 20
    with torch.inference_mode():
        before, after = model(ids), model(changed)
        if isinstance(before, tuple):
            before, after = before[0], after[0]
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-3)


def test_the_first_logits_of_a_transformer_are_those_of_a_guess():
    model = Transformer(TransformerConfig(1086), seed=0).eval()
    with torch.inference_mode():
        loss = nn.functional.cross_entropy(model(draw_ids(1, 40)).flatten(0, 1), draw_ids(1, 40, 2).flatten())
    assert abs(float(loss) - np.log(1086)) < 0.2


def test_heads_must_share_the_width():
    with pytest.raises(ValueError, match="a width of 10 cannot be shared by 3 heads"):
        TransformerConfig(20, width=10, heads=3)


def test_no_transformer_is_fitted_to_too_few_parameters():
    with pytest.raises(ValueError, match="90,000 parameters are too few for 6 layers of 6 heads"):
        TransformerConfig.fitted(20, 90_000)


def test_the_sampler_in_numpy_equals_the_network(small_lstm):
    sampler, ids = NumpySampler(small_lstm), draw_ids(1, 15)
    with torch.inference_mode():
        expected = small_lstm(ids)[0][0].numpy()
    found = np.stack([sampler.step(int(index)) for index in ids[0]])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_state_carries_on_in_a_plain_lstm(small_lstm):
    ids = draw_ids(4, 10)
    with torch.inference_mode():
        whole = small_lstm(ids)[0]
        first, state = small_lstm(ids[:, :6])
        second, _ = small_lstm(ids[:, 6:], state)
    torch.testing.assert_close(torch.cat((first, second), 1), whole)


def test_a_student_s_step_equals_the_whole():
    model, ids = StatefulLSTM(20, embedding=7, hidden=16).eval(), draw_ids(2, 8)
    with torch.inference_mode():
        whole, state, stepped = model(ids)[0], None, []
        for column in ids.T:
            logits, state = model(column[:, None], state)
            stepped.append(logits)
    torch.testing.assert_close(torch.cat(stepped, 1), whole)


def test_a_student_s_network_is_ours_without_region_and_clock():
    ours = HoyoMusicLSTM(ModelConfig(20, embedding=7, hidden=16), seed=4).eval()
    model = StatefulLSTM(20, embedding=7, hidden=16).eval()
    with torch.no_grad():
        ours.region.zero_()
        ours.clock.zero_()
        model.embedding.weight.copy_(ours.embedding)
        model.output.weight.copy_(ours.output_weight)
        model.output.bias.copy_(ours.output_bias)
        for layer, lstm, norm in zip(ours.layers, model.lstms, model.norms, strict=True):
            layer.norm.running_mean.uniform_(-1, 1)
            layer.norm.running_var.uniform_(0.5, 2)
            norm.load_state_dict({**norm.state_dict(), **layer.norm.state_dict()})
            lstm.weight_ih_l0.copy_(layer.weight_ih)
            lstm.weight_hh_l0.copy_(layer.weight_hh)
            lstm.bias_ih_l0.copy_(layer.bias)
            lstm.bias_hh_l0.zero_()
        ids = draw_ids(2, 8)
        nowhere = torch.zeros_like(ids)
        torch.testing.assert_close(model(ids)[0], ours(ids, nowhere[:, 0], nowhere)[0])


@pytest.mark.parametrize("generate", [
    lambda seed: transformer.generate(Transformer(SMALL), 1, 25, seed=seed),
    lambda seed: NumpySampler(FolkRNN(FolkRNNConfig(20, embedding=7, hidden=16))).generate(1, 25, seed=seed),
    lambda seed: stateful_lstm.generate(_student(), 1, 25, seed=seed),
], ids=["transformer", "folk_rnn", "stateful_lstm"])
def test_a_seed_decides_what_is_generated(generate: Callable[[int], list[int]]):
    assert generate(5) == generate(5) != generate(6)
    assert len(generate(5)) == 25 and set(generate(5)) <= set(range(20))


def _student() -> StatefulLSTM:
    model = StatefulLSTM(20, embedding=7, hidden=16)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(0.1)
    return model


def test_the_schedule_rises_then_falls_along_a_cosine():
    shares = [transformer.schedule(step / 100) for step in range(101)]
    assert shares[2] == 1.0 and max(shares) == 1.0
    assert shares[:3] == sorted(shares[:3]) and shares[2:] == sorted(shares[2:], reverse=True)
    assert shares[51] == pytest.approx(0.55) and shares[100] == pytest.approx(0.1)


@pytest.mark.parametrize("learn", [
    lambda: (Transformer(SMALL), lambda model: transformer.make_optimizer(model, 3e-3)),
    lambda: (FolkRNN(FolkRNNConfig(20, 7, 16)), lambda model: folk_rnn.make_optimizer(model, 3e-3, "adam")),
    lambda: (FolkRNN(FolkRNNConfig(20, 7, 16)), lambda model: folk_rnn.make_optimizer(model, 3e-3, "rmsprop")),
], ids=["transformer", "adam", "rmsprop"])
def test_each_optimiser_learns_a_sequence_by_heart(learn):
    model, make = learn()
    optimizer, ids = make(model), draw_ids(2, 12)
    losses = []
    for _ in range(60):
        found = model(ids[:, :-1])
        logits = found[0] if isinstance(found, tuple) else found
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
