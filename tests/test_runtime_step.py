"""Exported steps: the network in float32, nearly so in whole numbers, and there the same bits by every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from hoyomusic.errors import GenerationError
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.native import MULTIPLIERS, find_library
from hoyomusic.runtime import NativeRuntime, NumpyRuntime, OnnxRuntime, Runtime, Step, container, fold, run_step
from hoyomusic.runtime.graph import write_graph
from hoyomusic.runtime.native import TABLE_REACH, fits, make_tables
from hoyomusic.runtime.quantisation import (
    ARGUMENT_STEPS,
    LAYER_STEPS,
    LAYER_WEIGHT_STEPS,
    LAYER_ZERO,
    OUTPUT_STEPS,
    OUTPUT_WEIGHT_STEPS,
    OUTPUT_ZERO,
    RESULT_STEPS,
    quantise,
)
from hoyomusic.sizes import AGREEMENTS, ModelConfig
from tests.test_runtime import make_model

SIZES = ModelConfig(50, 4, 6, embedding=32, hidden=64, layers=3, recalls=3)
needs_library = pytest.mark.skipif(find_library() is None, reason="the step in C was not compiled, or cannot run here")


def make_recalling(sizes: ModelConfig) -> HoyoMusicLSTM:
    """A model that trusts some guesses and mistrusts others."""
    model, generator = make_model(sizes), torch.Generator().manual_seed(5)
    if sizes.recalls:
        with torch.no_grad():
            model.recall_weight.normal_(std=0.3, generator=generator)
            model.recall_bias.normal_(generator=generator)
    return model


def make_step(sizes: ModelConfig, *, int8: bool) -> Step:
    return seal(write_graph(make_recalling(sizes).arrays(), int8=int8), sizes, "int8" if int8 else "fp32")


def seal(graph: bytes, sizes: ModelConfig, precision: str) -> Step:
    vocab = {"tokens": [str(index) for index in range(sizes.vocabulary)]}
    card = {"precision": precision, "config": sizes.to_dict(), "vocab": vocab, "provenance": {}, "checkpoint": "none"}
    return container.parse(container.seal(graph, card), "made.onnx")


def make_inputs(sizes: ModelConfig, rows: int, steps: int) -> list[tuple[np.ndarray, ...]]:
    """What `steps` steps are given; few ids are guessed, so that sources agree on one."""
    numbers = np.random.default_rng(1)
    guesses = numbers.integers(3, size=(steps, rows, sizes.recalls))
    recall = np.stack((guesses, numbers.integers(AGREEMENTS, size=guesses.shape)), axis=3)
    region = numbers.integers(sizes.regions, size=rows)
    ids, clock = (numbers.integers(count, size=(steps, rows)) for count in (sizes.vocabulary, sizes.clocks))
    return [(ids[step], region, clock[step], recall[step]) for step in range(steps)]


@pytest.fixture(params=MULTIPLIERS)
def multiplier(request: pytest.FixtureRequest) -> Iterator[int]:
    """Products as each kind of processor adds them, where this is one of them."""
    library = find_library()
    if library is None or not library.hoyo_multiply_as(request.param):
        pytest.skip("this processor has no such instruction")
    yield request.param
    next(kind for kind in MULTIPLIERS if library.hoyo_multiply_as(kind))


def walk(engine: Runtime, inputs: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    """The logits (T, B, V) of all steps."""
    state, found = engine.start(len(inputs[0][0])), []
    for ids, region, clock, recall in inputs:
        logits, state = engine.step(ids, region, clock, state, recall)
        found.append(logits)
    return np.stack(found)


def rows_of(inputs: list[tuple[np.ndarray, ...]], rows: slice) -> list[tuple[np.ndarray, ...]]:
    return [tuple(part[rows] for part in given) for given in inputs]


@pytest.mark.parametrize("sizes", [SIZES, ModelConfig(30, 4, 6, embedding=12, hidden=20, layers=1)])
def test_in_float32_it_is_the_network(sizes: ModelConfig) -> None:
    model, inputs = make_recalling(sizes), make_inputs(sizes, 3, 40)
    ids, region, clock, recall = (np.stack(part, axis=1) for part in zip(*inputs, strict=True))
    with torch.no_grad():
        expected, _ = model(*map(torch.from_numpy, (ids, region, clock)), recall=torch.from_numpy(recall))
    found = walk(OnnxRuntime(make_step(sizes, int8=False)), inputs)
    np.testing.assert_allclose(found.swapaxes(0, 1), expected.numpy(), rtol=0, atol=1e-4)


def test_in_whole_numbers_it_is_nearly_the_network() -> None:
    inputs = make_inputs(SIZES, 8, 40)
    expected = walk(NumpyRuntime(fold(make_recalling(SIZES).arrays())), inputs)
    found = walk(OnnxRuntime(make_step(SIZES, int8=True)), inputs)
    assert np.abs(found - expected).std() < 0.1 * expected.std()
    assert (found.argmax(axis=2) == expected.argmax(axis=2)).mean() > 0.9


def engines() -> list[object]:
    return [OnnxRuntime, pytest.param(NativeRuntime, marks=needs_library)]


@pytest.mark.parametrize("engine", engines())
def test_a_row_alone_equals_the_same_row_in_any_batch(engine: Callable[[Step], Runtime]) -> None:
    made = engine(make_step(SIZES, int8=True))
    inputs = make_inputs(SIZES, 9, 20)
    together = walk(made, inputs)
    for row in range(9):
        assert np.array_equal(walk(made, rows_of(inputs, slice(row, row + 1)))[:, 0], together[:, row])


@needs_library
@pytest.mark.parametrize(
    "sizes",
    [SIZES, ModelConfig(31, 2, 5, embedding=64, hidden=32, layers=1), ModelConfig(33, 2, 5, 96, 64, 2, recalls=1)],
)
@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.usefixtures("multiplier")
def test_in_c_it_is_the_same_bit_for_bit(sizes: ModelConfig, rows: int) -> None:
    step, inputs = make_step(sizes, int8=True), make_inputs(sizes, rows, 100)
    assert fits(step)
    assert np.array_equal(walk(OnnxRuntime(step), inputs), walk(NativeRuntime(step), inputs))


@needs_library
def test_in_c_saturated_gates_are_the_same() -> None:
    model, inputs = make_recalling(SIZES), make_inputs(SIZES, 2, 30)
    with torch.no_grad():
        for layer in model.layers:
            layer.bias += 40 * torch.randn(len(layer.bias), generator=torch.Generator().manual_seed(1))
            layer.weight_ih *= 30
    step = seal(write_graph(model.arrays(), int8=True), SIZES, "int8")
    assert np.array_equal(walk(OnnxRuntime(step), inputs), walk(NativeRuntime(step), inputs))


def test_which_engine_runs_a_step() -> None:
    expected = OnnxRuntime if find_library() is None else NativeRuntime
    assert type(run_step(make_step(SIZES, int8=True))) is expected
    assert type(run_step(make_step(SIZES, int8=False))) is OnnxRuntime
    assert type(run_step(make_step(ModelConfig(9, embedding=32, hidden=40, layers=1), int8=True))) is OnnxRuntime


@pytest.mark.parametrize("engine", engines())
def test_states_can_be_kept_picked_and_gathered(engine: Callable[[Step], Runtime]) -> None:
    made, inputs = engine(make_step(SIZES, int8=True)), make_inputs(SIZES, 3, 2)
    _, state = made.step(*inputs[0][:3], made.start(3), inputs[0][3])
    together, _ = made.step(*inputs[1][:3], state, inputs[1][3])
    picked = made.gather([(state, 2), (made.select(state, [1, 0]), 1)])
    ids, region, clock, recall = (part[[2, 0]] for part in inputs[1])
    assert np.array_equal(made.step(ids, region, clock, picked, recall)[0], together[[2, 0]])
    assert np.array_equal(made.step(ids, region, clock, made.select(state, [2, 0]), recall)[0], together[[2, 0]])
    assert np.array_equal(made.step(*inputs[1][:3], state, inputs[1][3])[0], together)


def test_no_pair_of_products_leaves_16_bits() -> None:
    weights = quantise(make_recalling(SIZES).arrays())
    most_layer, most_output = LAYER_STEPS + LAYER_ZERO, min(OUTPUT_STEPS + OUTPUT_ZERO, 255)
    assert 2 * most_layer * LAYER_WEIGHT_STEPS < 2**15 > 2 * most_output * OUTPUT_WEIGHT_STEPS
    assert all(np.abs(matrix.astype(int)).max() == LAYER_WEIGHT_STEPS for matrix in weights.matrices)
    assert np.abs(weights.output.astype(int)).max() == OUTPUT_WEIGHT_STEPS
    assert np.abs(weights.table.astype(int)).max() <= LAYER_STEPS


def test_no_entry_of_the_tables_hangs_on_the_last_bits_of_tanh() -> None:
    exact = np.tanh(np.arange(-TABLE_REACH, TABLE_REACH + 1) / ARGUMENT_STEPS)
    for values, table in zip((exact, exact / 2 + 0.5), make_tables(), strict=True):
        steps = values * RESULT_STEPS
        # Engines are off by a few units of the last place, 6e-8; an edge between two steps lies at each half.
        assert np.abs(steps - np.floor(steps) - 0.5).min() > 1e-4
        assert np.array_equal(table * RESULT_STEPS, np.rint(steps))
    assert 1 - exact[-1] < 1 / RESULT_STEPS / 100


def test_layer_normalisation_cannot_be_exported() -> None:
    arrays = HoyoMusicLSTM(ModelConfig(9, embedding=8, hidden=8, layers=1, norm="layer")).arrays()
    with pytest.raises(GenerationError, match="layer normalisation"):
        write_graph(arrays, int8=True)


def test_the_graph_is_valid_onnx() -> None:
    import onnx

    for int8 in (True, False):
        model = onnx.load_from_string(make_step(SIZES, int8=int8).data)
        onnx.checker.check_model(model, full_check=True)
        assert {entry.key for entry in model.metadata_props} == {"hoyomusic", "sha256"}
