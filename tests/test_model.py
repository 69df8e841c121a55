"""The network: resets, padding, carried state and dropout are exact."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from hoyomusic.errors import TrainingError, UsageError
from hoyomusic.model import CLOSED_GATE, HoyoMusicLSTM, ModelConfig
from hoyomusic.sizes import AGREEMENTS

SIZES = ModelConfig(vocabulary=20, regions=4, clocks=6, embedding=12, hidden=16, layers=3, dropout=0.0)
ROWS, STEPS = 5, 18


def make_model(config: ModelConfig = SIZES) -> HoyoMusicLSTM:
    """A model whose normalisation has something to do."""
    model = HoyoMusicLSTM(config, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for layer in model.layers:
            layer.norm.running_mean.normal_(generator=generator)
            layer.norm.running_var.uniform_(0.5, 2.0, generator=generator)
            layer.norm.weight.normal_(generator=generator)
            layer.norm.bias.normal_(generator=generator)
    return model.eval()


def make_inputs(rows: int = ROWS, steps: int = STEPS, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randint(20, (rows, steps), generator=generator),
        torch.randint(4, (rows, steps), generator=generator),
        torch.randint(6, (rows, steps), generator=generator),
    )


def cut(inputs, start: int, stop: int) -> tuple[torch.Tensor, ...]:
    return tuple(part[:, start:stop] for part in inputs)


def none_reset(inputs) -> torch.Tensor:
    return torch.zeros_like(inputs[0], dtype=torch.bool)


def test_equals_the_plain_stack_of_torch_modules():
    model, (ids, region, clock) = make_model(), make_inputs()
    values = model.embedding[ids] + model.region[region] + model.clock[clock]
    for layer in model.layers:
        plain = nn.LSTM(values.shape[2], 16, batch_first=True)
        plain.load_state_dict({
            "weight_ih_l0": layer.weight_ih.detach(), "weight_hh_l0": layer.weight_hh.detach(),
            "bias_ih_l0": layer.bias.detach(), "bias_hh_l0": torch.zeros(64),
        })
        norm = nn.BatchNorm1d(16)
        norm.load_state_dict({**layer.norm.state_dict(), "num_batches_tracked": torch.tensor(0)})
        values = norm.eval()(plain(values)[0].transpose(1, 2)).transpose(1, 2)
    expected = values @ model.output_weight.T + model.output_bias
    torch.testing.assert_close(model(ids, region, clock)[0], expected, rtol=1e-5, atol=1e-5)


def make_recall(rows: int = ROWS, steps: int = STEPS, sources: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(8)
    shape = (rows, steps, sources)
    guesses = torch.randint(20, shape, generator=generator)
    return torch.stack((guesses, torch.randint(AGREEMENTS, shape, generator=generator)), dim=3)


def test_a_guess_adds_to_its_own_logit_what_its_source_and_agreement_say():
    model = make_model(replace(SIZES, recalls=3))
    inputs, recall = make_inputs(), make_recall()
    plain = model(*inputs, recall=recall)[0]
    with torch.no_grad():
        model.recall_bias.copy_(torch.arange(3.0 * AGREEMENTS))
    added = model(*inputs, recall=recall)[0] - plain
    expected = torch.zeros_like(added)
    for row in range(ROWS):
        for step in range(STEPS):
            for source, (guess, agreement) in enumerate(recall[row, step].tolist()):
                expected[row, step, guess] += (AGREEMENTS * source + agreement) if agreement else 0
    torch.testing.assert_close(added, expected, rtol=1e-5, atol=1e-4)


def test_a_recall_that_has_learned_nothing_changes_nothing():
    plain, given = make_model(), make_model(replace(SIZES, recalls=3))
    given.load_state_dict({**given.state_dict(), **plain.state_dict()})
    assert torch.equal(given(*make_inputs(), recall=make_recall())[0], plain(*make_inputs())[0])


def test_a_region_for_each_row_is_one_for_each_position():
    model, (ids, region, clock) = make_model(), make_inputs()
    wide = region[:, :1].expand(-1, STEPS)
    assert torch.equal(model(ids, region[:, 0], clock)[0], model(ids, wide, clock)[0])


@pytest.mark.parametrize(
    ("dtype", "learning"), [(torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True)]
)
def test_after_a_reset_the_state_is_exactly_fresh(dtype, learning):
    model, inputs = make_model(), make_inputs()
    reset = none_reset(inputs)
    reset[:, 7] = True
    with torch.set_grad_enabled(learning), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits, state = model(*inputs, reset=reset)
        at_boundary = model(*cut(inputs, 0, 8), reset=reset[:, :8])[1]
        fresh, fresh_state = model(*cut(inputs, 8, STEPS), reset=reset[:, 8:])
    assert logits.dtype == dtype
    assert all(part.eq(0).all() for part in at_boundary)
    assert torch.equal(logits[:, 8:], fresh)
    assert all(map(torch.equal, state, fresh_state))


def test_a_reset_withstands_weights_far_larger_than_trained_ones():
    model, inputs = make_model(), make_inputs()
    with torch.no_grad():
        for layer in model.layers:
            layer.bias.fill_(100.0)
    reset = torch.ones_like(none_reset(inputs))
    assert all(part.eq(0).all() for part in model(*inputs, reset=reset)[1])


def test_learning_in_bfloat16_is_learning_in_float32_within_its_precision():
    model, inputs = make_model().train(), make_inputs()
    reset = none_reset(inputs)
    reset[1:, 7] = True
    gradients = {}
    for dtype in (torch.float32, torch.bfloat16):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits, _ = model(*inputs, reset=reset, key=(0,))
        logits.float().transpose(1, 2).log_softmax(1)[:, 3].mean().backward()
        gradients[dtype] = {name: weight.grad for name, weight in model.named_parameters()}
    for name, plain in gradients[torch.float32].items():
        assert (gradients[torch.bfloat16][name] - plain).norm() < 0.1 * plain.norm(), name


def test_no_gradient_passes_a_reset():
    model, inputs = make_model(), make_inputs()
    generator = torch.Generator().manual_seed(1)
    state = tuple(torch.randn(3, ROWS, 16, generator=generator).requires_grad_() for _ in range(2))
    reset = none_reset(inputs)
    reset[1:, 7] = True
    model(*inputs, state, reset=reset)[0][:, 8:].square().sum().backward()
    for part in state:
        assert part.grad[:, 1:].eq(0).all()
        assert part.grad[:, 0].abs().sum() > 0


def test_the_reset_column_is_neither_stored_nor_trained():
    model = make_model(ModelConfig(20, 4, 6, 12, 16, 3, dropout=0.0)).train()
    assert model.layers[0].weight_ih.shape == (64, 12) and model.layers[1].weight_ih.shape == (64, 16)
    assert not [name for name in model.state_dict() if "closing" in name]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    inputs = make_inputs()
    reset = none_reset(inputs)
    reset[:, 7] = True
    for _ in range(3):
        optimizer.zero_grad()
        model(*inputs, reset=reset)[0].square().sum().backward()
        optimizer.step()
    for layer in model.layers:
        assert layer.closing.unique().tolist() == [CLOSED_GATE, 0.0]
    assert all(part.eq(0).all() for part in model(*cut(inputs, 0, 8), reset=reset[:, :8])[1])


def test_carried_state_equals_one_long_pass():
    model, inputs = make_model(), make_inputs()
    whole, end = model(*inputs)
    first, state = model(*cut(inputs, 0, 7))
    second, state = model(*cut(inputs, 7, STEPS), state)
    torch.testing.assert_close(torch.cat((first, second), 1), whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(state, end, rtol=0, atol=1e-5)


def test_padding_never_changes_a_real_position():
    model, inputs = make_model(), make_inputs()
    valid = torch.arange(STEPS) < torch.tensor([18, 11, 5, 17, 1])[:, None]
    other = tuple(torch.where(valid, part, (part + 1) % part.max()) for part in inputs)
    assert torch.equal(model(*inputs, valid=valid)[0][valid], model(*other, valid=valid)[0][valid])
    model.train()
    assert torch.equal(model(*inputs, valid=valid)[0][valid], model(*other, valid=valid)[0][valid])


def test_statistics_count_valid_positions_only_and_never_boundaries():
    inputs = make_inputs()
    valid = torch.arange(STEPS) < torch.tensor([18, 11, 5, 17, 9])[:, None]
    reset = none_reset(inputs)
    reset[:, 4] = True
    model = make_model().train()
    before = model.layers[0].norm.running_mean.clone(), model.layers[0].norm.running_var.clone()
    outputs = {}
    model.layers[0].norm.register_forward_pre_hook(lambda module, given: outputs.update(values=given[0].detach()))
    model(*inputs, valid=valid, reset=reset)
    counted = outputs["values"].view(STEPS, ROWS, 16).transpose(0, 1)[valid & ~reset]
    norm = model.layers[0].norm
    torch.testing.assert_close(norm.running_mean, 0.98 * before[0] + 0.02 * counted.mean(0))
    torch.testing.assert_close(norm.running_var, 0.98 * before[1] + 0.02 * counted.var(0))


def test_one_position_has_no_statistics():
    model = make_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits, _ = model(*make_inputs(1, 1))
    assert torch.isfinite(logits).all()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("shares", [{"dropout": 0.5}, {"dropout": 0.0, "weight_dropout": 0.5}])
def test_dropout_is_a_function_of_the_key(shares):
    model, inputs = make_model(ModelConfig(20, 4, 6, 12, 16, 3, **shares)).train(), make_inputs()
    torch.manual_seed(1)
    first = model(*inputs, key=(7, 1, 2))[0]
    torch.manual_seed(2)
    assert torch.equal(model(*inputs, key=(7, 1, 2))[0], first)
    for key in ((8, 1, 2), (7, 2, 2), (7, 1, 3)):
        assert not torch.equal(model(*inputs, key=key)[0], first)
    with pytest.raises(TrainingError, match=r"dropout has no key; pass key="):
        model(*inputs)
    model.eval()
    assert torch.equal(model(*inputs)[0], model(*inputs, key=(7, 1, 2))[0])


def test_dropout_drops_its_share_and_keeps_the_mean():
    model = HoyoMusicLSTM(ModelConfig(20, hidden=64, layers=1, dropout=0.3)).train()
    seen = {}
    model.layers[0].norm.register_forward_hook(lambda module, arguments, result: seen.update(before=result.detach()))
    linear = nn.functional.linear

    def spy(values, *arguments):
        seen["after"] = values.detach()
        return linear(values, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "linear", spy)
        ids = torch.zeros(40, 50, dtype=torch.long)
        ids[:, ::2] = 1
        model(ids, ids[:, 0], torch.zeros_like(ids), key=(0, 0, 0))
    ratio = seen["after"].reshape(-1, 64) / seen["before"]
    dropped = ratio.eq(0)
    assert dropped.float().mean().item() == pytest.approx(77 / 256, abs=0.005)
    torch.testing.assert_close(ratio[~dropped], torch.full_like(ratio[~dropped], 256 / 179))


def test_the_seed_decides_the_weights_and_the_process_state_nothing():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, other = HoyoMusicLSTM(SIZES, seed=3), HoyoMusicLSTM(SIZES, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = HoyoMusicLSTM(SIZES, seed=3)
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, one.state_dict()[name])
    assert not torch.equal(one.output_weight, other.output_weight)
    assert one.layers[0].bias[16:32].mean() > 0.9


def test_training_gives_every_weight_a_gradient():
    model = make_model().train()
    model(*make_inputs(), key=(0,))[0].square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all() and weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vocabulary": 0}, "vocabulary is 0; give a whole number from 1 to 100000"),
        ({"vocabulary": 5, "hidden": 4097}, "hidden is 4097; give a whole number from 1 to 4096"),
        ({"vocabulary": 5, "layers": 17}, "layers is 17; give a whole number from 1 to 16"),
        ({"vocabulary": 5.0}, "vocabulary is 5.0; give a whole number from 1 to 100000"),
        ({"vocabulary": True}, "vocabulary is True; give a whole number from 1 to 100000"),
        ({"vocabulary": 5, "dropout": 1.0}, "dropout is 1.0; give a share from 0 to less than 1"),
        ({"vocabulary": 5, "weight_dropout": math.nan}, "weight_dropout is nan; give a share from 0 to less than 1"),
    ],
)
def test_sizes_out_of_bounds_are_refused(sizes, message):
    with pytest.raises(UsageError) as caught:
        ModelConfig(**sizes)
    assert str(caught.value) == message


def test_the_shapes_are_those_of_the_network():
    for sizes in (SIZES, ModelConfig(7, 3, 2, embedding=4, hidden=5, layers=1)):
        found = {name: tuple(weight.shape) for name, weight in HoyoMusicLSTM(sizes).state_dict().items()}
        assert sizes.shapes() == found


def test_sizes_survive_as_a_plain_dict():
    assert ModelConfig(**SIZES.to_dict()) == SIZES
