"""Models that real Keras wrote, with what it predicted: all within 1e-5, and back from a `.pth` bit for bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hoyomusic.errors import CheckpointError
from hoyomusic.legacy import load_converted, load_keras, save_converted
from hoyomusic.legacy.reference import covers, run
from tests.keras_models import GOOD, INDEX, KERAS, REFUSED


def load(model: dict[str, Any]) -> Any:
    params = KERAS / model["params"] if "params" in model else None
    return load_keras(KERAS / model["file"], params)


def read_arrays(model: dict[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    with np.load(KERAS / model["npz"]) as arrays:
        kinds = ("input", "output")
        found = tuple(
            [arrays[f"{kind}_{number}"] for number in range(len(arrays)) if f"{kind}_{number}" in arrays]
            for kind in kinds
        )
    return found[0], found[1]


def outputs_of(model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    found = model(*inputs)
    return [output.numpy() for output in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize("model", GOOD, ids=lambda model: model["id"])
class TestEachGoodFile:
    def test_gives_what_keras_predicted(self, model: dict[str, Any]) -> None:
        module = load(model)
        inputs, expected = read_arrays(model)
        found = outputs_of(module, inputs)
        assert not module.training
        assert len(found) == len(expected) == len(module.output_shapes)
        for output, other in zip(found, expected, strict=True):
            assert output.shape == other.shape
            assert np.abs(output - other).max() <= INDEX["tolerance"]

    def test_agrees_with_the_second_computation(self, model: dict[str, Any]) -> None:
        module = load(model)
        inputs, expected = read_arrays(model)
        assert covers(module)
        for output, other in zip(run(module, inputs), expected, strict=True):
            assert np.abs(output - other).max() <= INDEX["tolerance"]

    def test_comes_back_from_its_own_file(self, model: dict[str, Any], tmp_path: Path) -> None:
        module = load(model)
        path = save_converted(module, tmp_path / "model.pth")
        back = load_converted(path)
        inputs, _ = read_arrays(model)
        for before, after in zip(outputs_of(module, inputs), outputs_of(back, inputs), strict=True):
            assert np.array_equal(before, after)
        assert back.description == module.description
        assert (back.params, back.keras_version, back.source) == (module.params, module.keras_version, module.source)
        assert torch.load(path, weights_only=True)["format"] == "hoyomusic converted"

    def test_tells_every_layer_and_number(self, model: dict[str, Any]) -> None:
        module = load(model)
        assert sum(row.parameters for row in module.description) == sum(p.numel() for p in module.parameters())
        assert all(row.kind and row.name and row.shape for row in module.description)


@pytest.mark.parametrize("model", REFUSED, ids=lambda model: model["id"])
def test_each_bad_file_is_refused_by_name(
    model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load(model)
    message = str(caught.value)
    told = message.replace(model["file"], "").lower()
    assert any(word in told for word in model["message_has"]), message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_reference_is_far_off() -> None:
    module = load_keras(KERAS / "keras3_legacy.h5")
    with np.load(KERAS / "keras3_legacy_wrong.npz") as arrays:
        assert np.abs(module(arrays["input_0"]).numpy() - arrays["output_0"]).max() > 1e-3


def test_the_params_of_a_model_are_plain() -> None:
    module = load_keras(KERAS / "tcn_conv1d.h5", KERAS / "tcn_conv1d_params.pickle")
    assert module.params["architecture_dict"]["dilations"] == [1, 2, 4]
    assert module.params["classes"] == ["active", "rest", "unknown"]
    assert len(module.params["feature_mean"]) == len(module.params["feature_std"]) == 6
    assert module.params["best_val_loss"] == 0.125


def test_neither_tensorflow_nor_keras_is_there_or_asked_for() -> None:
    """In a fresh process, in which h5py is read, and not even that to read a converted model."""
    program = f"""
import sys
from hoyomusic.legacy import load_keras, load_converted, save_converted
model = load_keras({str(KERAS / "char_rnn_k20.h5")!r})
print([name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "keras", "tf_keras")])
for name in ("tensorflow", "keras", "tf_keras"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        print(name, "is not there")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", *(f"{name} is not there" for name in ("tensorflow", "keras", "tf_keras"))]


def test_a_converted_model_needs_no_h5py(tmp_path: Path) -> None:
    path = save_converted(load_keras(KERAS / "tcn_conv1d.h5"), tmp_path / "model.pth")
    program = f"""
import sys
sys.modules["h5py"] = None
from hoyomusic.legacy import load_converted
print(len(load_converted({str(path)!r}).description))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 36
