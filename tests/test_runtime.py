"""The runtime: the same as the trained network, and the same bits in every company."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from hoyomusic import normalisation, runtime
from hoyomusic.checkpoint import Checkpoint, load_arrays, save
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.runtime import NumpyRuntime, fold
from hoyomusic.sizes import AGREEMENTS, ModelConfig


def make_model(sizes: ModelConfig) -> HoyoMusicLSTM:
    """A model whose normalisation has something to do."""
    model, generator = HoyoMusicLSTM(sizes, seed=3), torch.Generator().manual_seed(4)
    with torch.no_grad():
        for layer in model.layers:
            layer.norm.running_mean.normal_(std=0.3, generator=generator)
            layer.norm.running_var.uniform_(0.05, 0.3, generator=generator)
            layer.norm.weight.uniform_(0.5, 1.5, generator=generator)
            layer.norm.bias.normal_(std=0.3, generator=generator)
    return model.eval()


def make_inputs(sizes: ModelConfig, rows: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return (
        generator.integers(sizes.vocabulary, size=(rows, steps)), generator.integers(sizes.regions, size=rows),
        generator.integers(sizes.clocks, size=(rows, steps)),
    )


def walk(engine: NumpyRuntime, ids: np.ndarray, region: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """The logits (B, T, V) of all steps."""
    state, found = engine.start(len(ids)), []
    for step in range(ids.shape[1]):
        logits, state = engine.step(ids[:, step], region, clock[:, step], state)
        found.append(logits)
    return np.stack(found, axis=1)


@pytest.mark.parametrize(
    "sizes",
    [
        ModelConfig(30, 4, 6, embedding=12, hidden=24, layers=3),
        ModelConfig(30, 4, 6, embedding=12, hidden=20, layers=1),
        ModelConfig(40, clocks=9, hidden=256),
    ],
)
def test_equals_the_network(sizes):
    model, (ids, region, clock) = make_model(sizes), make_inputs(sizes, 3, 40)
    with torch.no_grad():
        expected, _ = model(*map(torch.from_numpy, (ids, region, clock)))
    found = walk(NumpyRuntime(fold(model.arrays())), ids, region, clock)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


def test_equals_the_network_with_recall():
    sizes = ModelConfig(30, 4, 6, embedding=12, hidden=24, layers=2, recalls=3)
    model = make_model(sizes)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        model.recall_weight.normal_(generator=generator)
        model.recall_bias.normal_(generator=generator)
    ids, region, clock = make_inputs(sizes, 3, 40)
    numbers = np.random.default_rng(2)
    # Few guesses, so that sources agree on one: both then count.
    recall = np.stack((numbers.integers(3, size=(3, 40, 3)), numbers.integers(AGREEMENTS, size=(3, 40, 3))), axis=3)
    with torch.no_grad():
        expected, _ = model(*map(torch.from_numpy, (ids, region, clock)), recall=torch.from_numpy(recall))
    engine = NumpyRuntime(fold(model.arrays()))
    state = engine.start(3)
    for step in range(40):
        logits, state = engine.step(ids[:, step], region, clock[:, step], state, recall[:, step])
        np.testing.assert_allclose(logits, expected[:, step].numpy(), rtol=0, atol=2e-5)


def test_rows_that_are_multiplied_together_are_nearly_the_same():
    sizes = ModelConfig(30, 4, 6, embedding=12, hidden=64, layers=2)
    weights, inputs = fold(make_model(sizes).arrays()), make_inputs(sizes, 9, 20)
    exact, together = walk(NumpyRuntime(weights), *inputs), walk(NumpyRuntime(weights, exact=False), *inputs)
    np.testing.assert_allclose(together, exact, rtol=0, atol=1e-5)


def test_folding_knows_the_epsilon_of_training():
    assert runtime.NORM_EPSILON == normalisation.NORM_EPSILON


@pytest.mark.parametrize("hidden", [512, 50])
def test_a_row_alone_equals_the_same_row_in_any_batch(hidden):
    sizes = ModelConfig(158, 8, 97, 64, hidden, 2)
    engine = NumpyRuntime(fold(make_model(sizes).arrays()))
    inputs = make_inputs(sizes, 64, 3)
    together = {rows: walk(engine, *(part[:rows] for part in inputs)) for rows in (2, 3, 9, 64)}
    for row in (0, 1, 2, 8, 63):
        alone = walk(engine, *(part[row : row + 1] for part in inputs))
        for rows, logits in together.items():
            assert row >= rows or np.array_equal(logits[row], alone[0])


def test_a_state_can_be_gone_back_to():
    sizes = ModelConfig(30, 4, 6, 12, 24, 2)
    engine, (ids, region, clock) = NumpyRuntime(fold(make_model(sizes).arrays())), make_inputs(sizes, 2, 3)
    _, state = engine.step(ids[:, 0], region, clock[:, 0], engine.start(2))
    first, _ = engine.step(ids[:, 1], region, clock[:, 1], state)
    engine.step(ids[:, 2], region, clock[:, 2], state)
    again, _ = engine.step(ids[:, 1], region, clock[:, 1], state)
    assert np.array_equal(first, again)
    assert not engine.start(2)[0].any()


def test_gates_far_out_neither_warn_nor_overflow():
    sizes = ModelConfig(5, hidden=8, layers=2)
    model = make_model(sizes)
    with torch.no_grad():
        model.layers[0].bias.fill_(-1e4)
        model.layers[1].bias.fill_(1e4)
    engine = NumpyRuntime(fold(model.arrays()))
    logits, _ = engine.step(np.array([1]), np.array([0]), np.array([0]), engine.start(1))
    assert np.isfinite(logits).all()


def test_a_file_is_folded_and_run_without_torch(tmp_path):
    sizes = ModelConfig(30, 4, 6, 12, 24, 2)
    model = make_model(sizes)
    save(Checkpoint(sizes, {"tokens": [str(index) for index in range(30)]}, model.state_dict(), {}), tmp_path / "model.pth")
    program = (
        "import sys\n"
        "from hoyomusic.checkpoint import load_arrays\n"
        "from hoyomusic.runtime import NumpyRuntime, fold\n"
        "engine = NumpyRuntime(fold(load_arrays(sys.argv[1]).weights))\n"
        "logits, _ = engine.step([1], [2], [3], engine.start(1))\n"
        "assert 'torch' not in sys.modules\n"
        "print(logits.tobytes().hex())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "model.pth")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    engine = NumpyRuntime(fold(load_arrays(tmp_path / "model.pth").weights))
    logits, _ = engine.step(np.array([1]), np.array([2]), np.array([3]), engine.start(1))
    assert told.strip() == logits.tobytes().hex()
    assert np.array_equal(logits, NumpyRuntime(fold(model.arrays())).step([1], [2], [3], engine.start(1))[0])


def test_numpy_multiplies_on_one_thread_where_asked():
    from threadpoolctl import threadpool_info

    from hoyomusic.runtime import one_thread

    with one_thread():
        assert all(pool["num_threads"] == 1 for pool in threadpool_info() if pool["user_api"] == "blas")


def test_selected_rows_go_on_as_if_the_others_were_there():
    model = make_model(ModelConfig(5, 2, 2, embedding=4, hidden=8, layers=2))
    engine = NumpyRuntime(fold(model.arrays()))
    ids, zeros = np.arange(3), np.zeros(3, int)
    _, state = engine.step(ids, zeros, zeros, engine.start(3))
    together, _ = engine.step(ids, zeros, zeros, state)
    gathered = engine.gather([(state, 2), (engine.select(state, [1, 0]), 1)])
    assert all(map(np.array_equal, gathered, engine.select(state, [2, 0])))
    apart, _ = engine.step(ids[[2, 0]], zeros[:2], zeros[:2], engine.select(state, [2, 0]))
    assert np.array_equal(apart, together[[2, 0]])
