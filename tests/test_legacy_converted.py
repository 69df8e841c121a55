"""Converted models in `.pth` files: whole or refused, in every precision, without code and without h5py."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoyomusic.errors import CheckpointError
from hoyomusic.legacy import is_converted, load_converted, load_keras, save_converted
from tests.keras_models import KERAS, chain, layer, make_model, norm, recurrent

SMALL = chain([4, 3], recurrent("LSTM", 2), norm(), layer("Dense", units=2, use_bias=True))


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_converted(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path))
    return message


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_converted(make_model(SMALL), tmp_path / "model.pth")


def rewritten(path: Path, **changes: Any) -> Path:
    values = torch.load(path, weights_only=True)
    for name, value in changes.items():
        if callable(value):
            value(values[name])
        else:
            values[name] = value
    torch.save(values, path)
    return path


@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16])
def test_each_precision_comes_back_bit_for_bit(precision: torch.dtype, tmp_path: Path) -> None:
    model = make_model(SMALL).to(precision)
    back = load_converted(save_converted(model, tmp_path / "model.pth"))
    found, expected = back.state_dict(), model.state_dict()
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == precision and torch.equal(found[name], expected[name]) for name in expected)
    x = np.ones((2, 4, 3), np.float32)
    assert back(x).dtype == precision and torch.equal(back(x), model(x))
    assert not any(weight.requires_grad for weight in back.parameters()) and not back.training


def test_params_and_architecture_come_along(tmp_path: Path) -> None:
    model = load_keras(KERAS / "hoyomusic_generator.h5", KERAS / "hoyomusic_mappings.pkl")
    path = save_converted(model, tmp_path / "model.pth")
    back = load_converted(path)
    assert back.params == model.params and back.params["int_to_char"][1] == model.params["int_to_char"][1]
    assert "initializer" in json.dumps(model.config) and "initializer" not in json.dumps(back.config)
    assert is_converted(path)
    torch.save({"format": "hoyomusic"}, path)
    assert not is_converted(path)


def test_a_weight_normed_network_keeps_its_flags(tmp_path: Path) -> None:
    back = load_converted(save_converted(load_keras(KERAS / "keras_tcn_weightnorm.h5"), tmp_path / "model.pth"))
    assert sum(name.endswith("initialized") for name in back.state_dict()) == 4


def test_what_cannot_be_loaded_again_is_not_written(tmp_path: Path) -> None:
    model = make_model(SMALL)
    for params in ({"a": object}, {"a": [[[[[[[[[[[[[[]]]]]]]]]]]]]]}, {"a": "x" * 2**21}):
        model.params = params
        with pytest.raises(CheckpointError):
            save_converted(model, tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "hoyomusic"}, "is no converted model"),
        ({"version": 2}, "has version 2, not 1"),
        ({"extra": 1}, "does not say all"),
        ({"backend": None}, "does not say all"),
        ({"weights": []}, "has no weights"),
        ({"source": 5}, "unknown source"),
        ({"precision": "float8"}, "precision float8"),
        ({"precision": "float16"}, "another precision"),
        ({"architecture": "{"}, "no JSON"),
        ({"architecture": "[" * 100_000}, "nested too deeply"),
        ({"architecture": "{}"}, "no Keras model"),
        ({"architecture": json.dumps(chain([4, 3], layer("Lambda")))}, "carries program code"),
        ({"keras_version": "1.0"}, "older than 2"),
        ({"weights": lambda weights: weights.popitem()}, "is not there in the shape"),
        ({"weights": lambda weights: weights.update(more=torch.zeros(1))}, "has a weight more that no layer takes"),
        (
            {"weights": lambda weights: weights.update({"network.layers.2.bias": torch.zeros(3)})},
            "dense_2 (Dense): weight dense_2/bias is not there in the shape (2,)",
        ),
        ({"weights": lambda weights: weights.update({"network.layers.2.bias": 3})}, "is not there in the shape"),
    ],
)
def test_contents_that_are_amiss(changes: dict[str, Any], words: str, saved: Path) -> None:
    assert words in refusal(rewritten(saved, **changes))


def test_files_that_are_no_converted_models(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("T:a tune")
    assert "no model file" in refusal(tmp_path / "text.pth")
    buffer = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), buffer)
    (tmp_path / "code.pth").write_bytes(buffer.getvalue())
    assert "instructions that no model file needs" in refusal(tmp_path / "code.pth")


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_of_a_weight_is_never_taken(data: st.DataObject, saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    kernel = make_model(SMALL).layer("lstm_0").kernel.numpy().tobytes()
    start = bytes(whole).index(kernel)
    whole[start + data.draw(st.integers(0, len(kernel) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = saved.with_name("flipped.pth")
    path.write_bytes(whole)
    assert "damaged" in refusal(path)
