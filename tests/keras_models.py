"""What tests of old models share: configurations as Keras writes them, random weights, files in its layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from hoyomusic.legacy import ConvertedModel
from hoyomusic.legacy.reference import run

KERAS = Path(__file__).parent / "keras"
INDEX = json.loads((KERAS / "index.json").read_text())
GOOD = [model for model in INDEX["models"] if model["expect"] == "convert"]
REFUSED = [model for model in INDEX["models"] if model["expect"] == "refuse"]


def layer(kind: str, name: str | None = None, **settings: Any) -> dict[str, Any]:
    """The entry of a layer in a configuration."""
    return {"class_name": kind, "config": {"name": name or kind.lower(), **settings}}


def chain(shape: list[int | None], *layers: dict[str, Any], key: str = "batch_input_shape") -> dict[str, Any]:
    """A Sequential model for inputs of `shape` without the batch; equal names are numbered."""
    entries = [layer("InputLayer", "given", **{key: [None, *shape]})]
    for number, entry in enumerate(layers):
        entries.append({**entry, "config": {**entry["config"], "name": f"{entry['config']['name']}_{number}"}})
    return {"class_name": "Sequential", "config": {"name": "model", "layers": entries}}


def graph(inputs: dict[str, list[int | None]], nodes: list[Any], outputs: list[str]) -> dict[str, Any]:
    """A functional model: `nodes` are (entry, names of what it takes), each called once."""
    entries = [
        {**layer("InputLayer", name, batch_input_shape=[None, *shape]), "name": name, "inbound_nodes": []}
        for name, shape in inputs.items()
    ]
    for entry, taken in nodes:
        name = entry["config"]["name"]
        entries.append({**entry, "name": name, "inbound_nodes": [[[other, 0, 0, {}] for other in taken]]})
    config = {
        "name": "model", "layers": entries, "input_layers": [[name, 0, 0] for name in inputs],
        "output_layers": [[name, 0, 0] for name in outputs],
    }
    return {"class_name": "Model", "config": config}


def recurrent(kind: str, units: int, **settings: Any) -> dict[str, Any]:
    gates = {} if kind == "SimpleRNN" else {"recurrent_activation": "sigmoid"}
    usual = {"return_sequences": True, "return_state": False, "go_backwards": False, "activation": "tanh"}
    return layer(kind, **{"units": units, "use_bias": True, **usual, **gates, **settings})


def convolution(kind: str, filters: int, size: Any, **settings: Any) -> dict[str, Any]:
    usual = {"strides": 1, "padding": "valid", "dilation_rate": 1, "activation": None, "use_bias": True}
    width = {"depth_multiplier": filters} if kind.startswith("Depthwise") else {"filters": filters}
    return layer(kind, kernel_size=size, **{**width, **usual, **settings})


def norm(kind: str = "BatchNormalization", **settings: Any) -> dict[str, Any]:
    return layer(kind, **{"axis": -1, "epsilon": 1e-3, "scale": True, "center": True, **settings})


def fill(model: ConvertedModel, seed: int = 0) -> ConvertedModel:
    """`model` with random weights, no two alike."""
    generator = np.random.default_rng(seed)
    for weight in model.network.weights():
        values = generator.standard_normal(weight.shape) * 0.5
        if "variance" in weight.name:
            values = np.abs(values) + 0.1
        if weight.name == "initialized":
            weight.layer.adopt(weight.name, torch.tensor(True))
        else:
            weight.layer.adopt(weight.name, torch.tensor(values, dtype=torch.float32))
    return model


def make_model(architecture: dict[str, Any], version: str = "2.15.0", seed: int = 0) -> ConvertedModel:
    return fill(ConvertedModel(architecture, version), seed)


def differ(model: ConvertedModel, *inputs: np.ndarray) -> float:
    """The largest difference between the module and the second computation; shapes must be those foretold."""
    found = model(*inputs)
    found = found if isinstance(found, tuple) else (found,)
    expected = run(model, inputs)
    assert len(found) == len(expected) == len(model.output_shapes)
    for output, other, shape in zip(found, expected, model.output_shapes, strict=True):
        assert tuple(output.shape) == other.shape
        assert len(shape) == output.dim()
        assert all(size in (None, length) for size, length in zip(shape, output.shape, strict=True))
        assert output.dtype == torch.float32
    return max(float(np.abs(a.numpy() - b).max()) for a, b in zip(found, expected, strict=True))


def write_keras(path: Path, model: ConvertedModel, *, root: bool = False) -> Path:
    """`model` in the layout that Keras gives its `.h5` files; its weights alone where they are at the `root`."""
    tail = ":0" if int(model.keras_version[0]) < 3 else ""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = model.keras_version, model.backend
        if not root:
            file.attrs["model_config"] = json.dumps(model.config)
        group = file if root else file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([layer.settings.name.encode() for layer in model.network.layers])
        for part in model.network.layers:
            name = part.settings.name
            inner = group.create_group(name)
            names = []
            for weight in part.weights():
                spelled = "/".join((name, *weight.owners, *weight.path)).replace("*", "rnn") + tail
                names.append(spelled.encode())
                inner[spelled] = weight.layer.get_parameter(weight.name).numpy()
            inner.attrs["weight_names"] = np.array(names) if names else np.zeros(0)
    return path
