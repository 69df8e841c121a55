"""Converted models in `.pth` files: the architecture as text, the weights as tensors, no code; read without h5py.

Any torch loads such a file with ``torch.load(weights_only=True)``; here it is read by `archive`, so that flipped
bits and declared giants are refused.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hoyomusic import archive, storage
from hoyomusic.archive import fault
from hoyomusic.checkpoint import CONVERTED_FORMAT
from hoyomusic.errors import CheckpointError
from hoyomusic.legacy.files import parse_json
from hoyomusic.legacy.layers.base import shorten
from hoyomusic.legacy.model import ConvertedModel, compact
from hoyomusic.legacy.weights import describe_weight

VERSION = 1
TEXTS = ("keras_version", "backend", "architecture", "precision")
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def save_converted(model: ConvertedModel, path: str | os.PathLike[str]) -> Path:
    """Write `model` to `path`: at every moment the old file or the whole new one is there.

    Raises CheckpointError for what could not be loaded again, StorageError when the disk is unwilling.
    """
    return storage.write_atomically(path, pack_converted(model, os.fspath(path)), overwrite=True)


def pack_converted(model: ConvertedModel, file: str) -> bytes:
    """What `save_converted` writes; `file` is its name in errors."""
    precision = next((weight.dtype for weight in model.parameters() if weight.is_floating_point()), torch.float32)
    values = {
        "format": CONVERTED_FORMAT,
        "version": VERSION,
        "keras_version": model.keras_version,
        "backend": model.backend,
        "architecture": json.dumps(compact(model.config), separators=(",", ":")),
        "params": model.params,
        "source": model.source,
        "precision": str(precision).removeprefix("torch."),
        "factors": model.factors,
        "weights": {},
    }
    # All that a reader could object to is in the description; the weights are many and only numbers.
    _check_values(archive.parse(_pack(values), file), file)
    values["weights"] = {
        name: _storable(weight, model.factors.get(name)) for name, weight in model.state_dict().items()
    }
    return _pack(values)


def _pack(values: dict[str, Any]) -> bytes:
    # In memory: torch does not tell a full disk from other faults, our own writing does.
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def load_converted(path: str | os.PathLike[str]) -> ConvertedModel:
    """The model that `save_converted` wrote to `path`, in evaluation mode. Raises CheckpointError for all else."""
    file = os.fspath(path)
    values = _check_values(archive.read(file), file)
    architecture = parse_json(values["architecture"], file, "architecture")
    try:
        model = ConvertedModel(architecture, values["keras_version"], values["backend"], values["params"])
        model.factors = {name: torch.from_numpy(np.array(factors)) for name, factors in values["factors"].items()}
        _take_weights(model, dict(values["weights"]), PRECISIONS[values["precision"]])
    except CheckpointError as error:
        raise fault(file, error.message, error.remedy or "convert the model again") from error
    except RecursionError as error:
        raise fault(file, "has an architecture that is nested too deeply") from error
    model.source = values["source"]
    return model


def is_converted(path: str | os.PathLike[str]) -> bool:
    """Whether the file at `path` is a converted model. Raises CheckpointError for what is no model file at all."""
    values = archive.read(path).values
    return isinstance(values, dict) and values.get("format") == CONVERTED_FORMAT


def _check_values(content: archive.Archive, file: str) -> dict[str, Any]:
    values = content.values
    if type(values) is not dict or values.get("format") != CONVERTED_FORMAT:
        raise fault(file, "is no converted model", "convert a Keras model with hoyo convert")
    if values.get("version") != VERSION:
        raise fault(file, f"has version {shorten(values.get('version'))}, not {VERSION}", "upgrade HoyoMusic")
    known = {"format", "version", "params", "source", "factors", "weights", *TEXTS}
    if values.keys() != known or not all(type(values[name]) is str for name in TEXTS):
        raise fault(file, "does not say all that a converted model needs")
    if type(values["weights"]) is not dict or not isinstance(values["source"], (str, type(None))):
        raise fault(file, "has no weights, or an unknown source")
    factors = values["factors"]
    if type(factors) is not dict or not all(type(each) is np.ndarray for each in factors.values()):
        raise fault(file, "has factors of whole numbers that are no tensors")
    if values["precision"] not in PRECISIONS:
        raise fault(file, f"has the precision {shorten(values['precision'])}, which is not known")
    return values


def _take_weights(model: ConvertedModel, arrays: dict[str, Any], precision: torch.dtype) -> None:
    """Give each weight of `model` its array; raises CheckpointError for one that is amiss or left over."""
    places = {id(module): name for name, module in model.named_modules()}
    for weight in model.network.weights():
        name = f"{places[id(weight.layer)]}.{weight.name}"
        array, factors = arrays.pop(name, None), model.factors.get(name)
        if not isinstance(array, np.ndarray) or array.shape != weight.shape:
            raise CheckpointError(f"{describe_weight(weight)} is not there in the shape {weight.shape}")
        tensor = torch.from_numpy(np.array(array))
        stored = torch.int16 if precision is torch.bfloat16 else precision
        if factors is not None:
            if (tensor.dtype, factors.dtype, factors.shape) != (torch.int8, torch.float32, tensor.shape[-1:]):
                raise CheckpointError(f"{describe_weight(weight)} is not kept in whole numbers with their factors")
            tensor = tensor * factors
        elif tensor.dtype is stored and tensor.dim():
            tensor = tensor.view(precision)
        elif tensor.dtype is not torch.bool:
            raise CheckpointError(f"{describe_weight(weight)} has another precision than the model says")
        weight.layer.adopt(weight.name, tensor)
    if arrays:
        raise CheckpointError(f"has a weight {shorten(str(next(iter(arrays))))} that no layer takes")


def _storable(weight: torch.Tensor, factors: torch.Tensor | None) -> torch.Tensor:
    """`weight` on the CPU, in whole numbers where it has `factors`; bfloat16, unknown to NumPy, as the same bits."""
    plain = weight.detach().cpu().contiguous()
    if factors is not None:
        return (plain / factors).round().to(torch.int8)
    return plain.view(torch.int16) if plain.dtype is torch.bfloat16 else plain
