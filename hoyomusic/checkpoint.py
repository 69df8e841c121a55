"""The `.pth` contract: one file that holds a model whole, safe to load from a stranger.

A checkpoint is what `torch.save` writes of one dict of plain dicts, lists, strings, numbers and tensors:

============== ===================================================================================
``format``     ``"hoyomusic"``
``version``    1; a newer one is refused, an older one is migrated by a function in MIGRATIONS
``config``     the sizes, as `ModelConfig.to_dict` gives them
``vocab``      what the ids mean, as the vocabulary writes itself: ``tokens`` has a name for each id; no tensors
``weights``    name -> float32 tensor, exactly those of `HoyoMusicLSTM(config)`, all finite and of sane size
``provenance`` where the weights come from: corpus hash, licence, and what else is worth telling
``training``   what it takes to go on, with at least the whole numbers ``epoch`` (finished epochs)
               and ``step``; None in a file made to be used only
============== ===================================================================================

Any torch loads it with ``torch.load(weights_only=True)``. That keeps code out but lets flipped bits and
memory bombs in, so here a file is read by `archive`. A model's identity is the SHA-256 of its file.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hoyomusic import archive, storage
from hoyomusic.archive import fault
from hoyomusic.errors import CheckpointError, UsageError
from hoyomusic.sizes import ModelConfig

if TYPE_CHECKING:
    from hoyomusic.model import HoyoMusicLSTM

FORMAT = "hoyomusic"
# What a model that was converted from Keras says instead (`legacy`).
CONVERTED_FORMAT = "hoyomusic converted"
VERSION = 1
ENTRIES = ("format", "version", "config", "vocab", "weights", "provenance", "training")
# Weights beyond this are no music, and what is computed from them need not be finite.
LARGEST_WEIGHT = 1e9
# What a provenance may leave out, but not tell in another way: programs read it.
TOLD = {
    "program": str, "corpus": str, "licences": list, "tunes": dict, "learned": list, "validation": dict,
    "notes_per_token": float,
}

# Where a user's training writes and generating looks first; and what comes along, which no command writes.
USER_MODEL = Path("models/hoyomusic_generator.pth")
DEFAULT_MODEL = Path("models/default.pth")

# Older version -> the function that makes its dict one of the next version.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


class OldModelError(CheckpointError):
    """A model of the old program, converted or trained on from there, where one that writes tokens was expected."""

    def __init__(self, file: str) -> None:
        super().__init__(
            "comes from the old program, and writes no tokens", where=file,
            remedy="hoyo generate takes it, and so do hoyo resume and hoyo train --from",
        )


@dataclass(frozen=True)
class Checkpoint:
    """A model and all that belongs to it; `identity` is the SHA-256 of the file it was loaded from.

    `weights` and the tensors of `training` are torch's as `load` gives them, arrays as `load_arrays` does.
    """

    config: ModelConfig
    vocab: Any
    weights: dict[str, Any]
    provenance: dict[str, Any]
    training: dict[str, Any] | None = None
    identity: str | None = None

    def model(self) -> HoyoMusicLSTM:
        """The model with these weights (tensors), in evaluation mode, on the CPU."""
        from hoyomusic.model import HoyoMusicLSTM

        model = HoyoMusicLSTM(self.config)
        model.load_state_dict(self.weights, strict=True)
        return model.eval()


def save(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> Path:
    """Write `checkpoint`, with tensors, to `path`: at every moment the old file or the whole new one is there.

    Raises CheckpointError for what could not be loaded again (weights that are not finite or of another
    shape, values that are not plain), StorageError when the disk is unwilling.
    """
    import torch

    values = {
        "format": FORMAT,
        "version": VERSION,
        "config": checkpoint.config.to_dict(),
        "vocab": checkpoint.vocab,
        "weights": checkpoint.weights,
        "provenance": checkpoint.provenance,
        "training": checkpoint.training,
    }
    # Into memory first: torch does not tell a full disk from other faults, our own writing does.
    buffer = io.BytesIO()
    torch.save(_mapped(values, torch.Tensor, lambda tensor: tensor.detach().cpu()), buffer)
    data = buffer.getvalue()
    _read(archive.parse(data, os.fspath(path)), os.fspath(path))
    return storage.write_atomically(path, data, overwrite=True)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint in `path`, with tensors. Raises CheckpointError for whatever else is there, never runs it."""
    import torch

    found = load_arrays(path)
    weights, training = (
        # The arrays lie on the bytes of the file, which cannot be written to.
        _mapped(part, np.ndarray, lambda array: torch.from_numpy(array.copy()))
        for part in (found.weights, found.training)
    )
    return replace(found, weights=weights, training=training)


def load_arrays(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint in `path`, with read-only arrays: what generating needs, without importing torch.

    Raises CheckpointError as `load` does.
    """
    file = os.fspath(path)
    return _read(archive.read(file), file)


def identity(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of the file, in hexadecimal: which model it is. Raises CheckpointError if it cannot be read."""
    return hashlib.sha256(archive.read_bytes(os.fspath(path))).hexdigest()


def find_model(model: str | os.PathLike[str] | None = None) -> Path:
    """The model file to use: a path, ``"default"``, or for None the user's own if there is one, else the default.

    Raises CheckpointError where the default is asked for and missing, and for what names no file.
    """
    if model is None:
        return USER_MODEL if USER_MODEL.is_file() else find_default_model()
    if str(model) == "default":
        return find_default_model()
    path = Path(model)
    if not path.name:
        raise CheckpointError(f"{os.fspath(model)!r} names no model", remedy="name a .pth file, or default")
    return path


def find_default_model() -> Path:
    """The model that comes with the program: in the installed package, or in the checkout that it runs from."""
    package = Path(__file__).parent
    for folder in (package, package.parent):
        path = folder / DEFAULT_MODEL
        if path.is_file():
            return path
    raise CheckpointError("is missing", where=str(DEFAULT_MODEL), remedy="install HoyoMusic again or run hoyo train")


def _read(content: archive.Archive, file: str) -> Checkpoint:
    """The checkpoint that plain values describe; every part checked against its contract."""
    values = content.values
    if type(values) is dict and values.get("format") == CONVERTED_FORMAT:
        raise OldModelError(file)
    if type(values) is not dict or values.get("format") != FORMAT:
        raise fault(file, "is no HoyoMusic model")
    version = values.get("version")
    if type(version) is not int or version < 1:
        raise fault(file, f"has the version {repr(version)[:40]}, which there never was")
    if version > VERSION:
        raise fault(file, f"has version {version}, newer than {VERSION}", "upgrade HoyoMusic")
    for older in range(version, VERSION):
        values = MIGRATIONS[older](values)
    _check_names(values, ENTRIES, "entry", file)
    try:
        config = ModelConfig(**values["config"])
    except (TypeError, UsageError) as error:
        raise fault(file, f"describes a model that cannot be: {str(error)[:200]}") from error
    check_told(values["vocab"], values["provenance"], config, file)
    _check_weights(values["weights"], config, file)
    training = values["training"]
    if training is not None:
        if type(training) is not dict or any(type(training.get(name)) is not int for name in ("epoch", "step")):
            raise fault(file, "does not say how far it was trained")
    return Checkpoint(config, values["vocab"], values["weights"], values["provenance"], training, content.identity)


def check_told(vocab: object, provenance: object, config: ModelConfig, file: str) -> None:
    """Raise CheckpointError unless `vocab` has a name for each id, and `provenance` is told as models tell it."""
    tokens = vocab.get("tokens") if type(vocab) is dict else None
    if type(tokens) is not list or not all(type(name) is str for name in tokens):
        raise fault(file, "does not say what its ids mean")
    if len(tokens) != config.vocabulary:
        raise fault(file, f"has names for {len(tokens)} ids, but {config.vocabulary} ids")
    if type(provenance) is not dict:
        raise fault(file, "does not say where it comes from")
    for name, kind in TOLD.items():
        value = provenance.get(name, kind())
        if type(value) is not kind or name == "tunes" and not all(type(count) is int for count in value.values()):
            raise fault(file, f"does not say where it comes from as models do: {name}")
    nats = provenance.get("validation", {}).get("validation_nats_per_token", 0.0)
    if type(nats) is not float:
        raise fault(file, "does not say where it comes from as models do: validation")


def _check_weights(weights: object, config: ModelConfig, file: str) -> None:
    if type(weights) is not dict:
        raise fault(file, "has no weights")
    shapes = config.shapes()
    _check_names(weights, shapes, "weight", file)
    for name, shape in shapes.items():
        weight = weights[name]
        if type(weight) is not np.ndarray or weight.dtype != np.float32 or weight.shape != shape:
            raise fault(file, f"the weight {name} is not a float32 tensor of shape {shape}")
        if not np.isfinite(weight).all():
            raise fault(file, f"the weight {name} holds values that are not finite")
        least = 0 if name.endswith("running_var") else -LARGEST_WEIGHT
        if not (least <= weight.min() and weight.max() <= LARGEST_WEIGHT):
            raise fault(file, f"the weight {name} holds values beyond {least:g} to {LARGEST_WEIGHT:g}")


def _check_names(found: dict[str, Any], expected: Iterable[str], kind: str, file: str) -> None:
    missing = [name for name in expected if name not in found]
    unknown = [str(name) for name in found if name not in expected]
    said = []
    if missing:
        said.append(f"lacks the {kind} {missing[0]}")
    if unknown:
        said.append(f"has an unknown {kind} {unknown[0][:60]!r}")
    if said:
        raise fault(file, " and ".join(said))


def _mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """`value` in plain dicts and lists, with ``change(x)`` for each x of that `kind`."""
    if isinstance(value, dict):
        return {key: _mapped(entry, kind, change) for key, entry in value.items()}
    if isinstance(value, list):
        return [_mapped(entry, kind, change) for entry in value]
    return change(value) if isinstance(value, kind) else value
