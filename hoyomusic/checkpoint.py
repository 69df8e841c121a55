"""The `.pth` contract: one file that holds a model whole, safe to load from a stranger.

A checkpoint is what `torch.save` writes of one dict of plain dicts, lists, strings, numbers and tensors:

============== ===================================================================================
``format``     ``"hoyomusic"``
``version``    1; a newer one is refused, an older one is migrated by a function in MIGRATIONS
``config``     the sizes, as `ModelConfig.to_dict` gives them
``vocab``      what the ids mean, as the vocabulary writes itself; no tensors
``weights``    name -> float32 tensor, exactly those of `HoyoMusicLSTM(config)`, all finite
``provenance`` where the weights come from: corpus hash, licence, and what else is worth telling
``training``   what it takes to go on, with at least the whole numbers ``epoch`` (finished epochs)
               and ``step``; None in a file made to be used only
============== ===================================================================================

It loads with ``torch.load(weights_only=True)``. That alone keeps code out but lets bit flips and memory
bombs in, so `load` looks at the bytes first: the zip's checksums and sizes, then every instruction of
the pickle, then shapes. A model's identity is the SHA-256 of its file.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import pickletools
import stat
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hoyomusic import storage
from hoyomusic.errors import CheckpointError, HoyoError
from hoyomusic.model import HoyoMusicLSTM, ModelConfig

FORMAT = "hoyomusic"
VERSION = 1
ENTRIES = ("format", "version", "config", "vocab", "weights", "provenance", "training")

LARGEST_FILE = 2 * 2**30
LARGEST_PICKLE = 2**20
DEEPEST_NESTING = 12
MOST_VALUES = 200_000

# All that the pickle of plain values and tensors needs, as torch writes it.
STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
ALLOWED_ARGUMENTS = {
    "PROTO": {2},
    "GLOBAL": {
        "collections OrderedDict", "torch._utils _rebuild_tensor_v2", *(f"torch {kind}Storage" for kind in STORAGES)
    },
}
ALLOWED_OPCODES = frozenset(
    "PROTO STOP MARK GLOBAL REDUCE BINPERSID"
    " EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3"
    " NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE"
    " BINPUT LONG_BINPUT BINGET LONG_BINGET".split()
)

# Older version -> the function that makes its dict one of the next version.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclass(frozen=True)
class Checkpoint:
    """A model and all that belongs to it; `identity` is the SHA-256 of the file it was loaded from."""

    config: ModelConfig
    vocab: Any
    weights: dict[str, Tensor]
    provenance: dict[str, Any]
    training: dict[str, Any] | None = None
    identity: str | None = None

    def model(self) -> HoyoMusicLSTM:
        """The model with these weights, in evaluation mode, on the CPU."""
        model = HoyoMusicLSTM(self.config)
        model.load_state_dict(self.weights, strict=True)
        return model.eval()


def save(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> Path:
    """Write `checkpoint` to `path`: at every moment the old file or the whole new one is there.

    Raises CheckpointError for what could not be loaded again (weights that are not finite or of another
    shape, values that are not plain), StorageError when the disk is unwilling.
    """
    values = {
        "format": FORMAT,
        "version": VERSION,
        "config": checkpoint.config.to_dict(),
        "vocab": checkpoint.vocab,
        "weights": checkpoint.weights,
        "provenance": checkpoint.provenance,
        "training": checkpoint.training,
    }
    file = os.fspath(path)
    values = _on_cpu(values)
    _check_plain(values, file)
    _read(values, file, identity=None)
    # Into memory first: torch does not tell a full disk from other faults, our own writing does.
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return storage.write_atomically(path, buffer.getvalue(), overwrite=True)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint in `path`. Raises CheckpointError for whatever else is there, and never runs any of it."""
    file = os.fspath(path)
    data = _bytes(file)
    _check_archive(data, file)
    try:
        with warnings.catch_warnings():
            # What torch finds odd about a file is refused below, or does not matter.
            warnings.simplefilter("ignore")
            values = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    # What torch raises on files that are whole but not what they claim to be.
    except (
        RuntimeError, pickle.UnpicklingError, OSError, EOFError, LookupError, TypeError, ValueError, AttributeError
    ) as error:
        raise _fault(file, "is no model file") from error
    _check_plain(values, file)
    return _read(values, file, identity=hashlib.sha256(data).hexdigest())


def identity(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of the file, in hexadecimal: which model it is. Raises CheckpointError if it cannot be read."""
    return hashlib.sha256(_bytes(os.fspath(path))).hexdigest()


def _fault(file: str, message: str, remedy: str = "use another file") -> CheckpointError:
    return CheckpointError(message, where=file, remedy=remedy)


def _bytes(file: str) -> bytes:
    """The content of a regular file within the limit, read once: what is checked is what is loaded."""
    # Without O_NONBLOCK the opening of a pipe would wait for somebody to write into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(file, flags)
    except FileNotFoundError:
        raise _fault(file, "there is no such file", "train a model or name another file") from None
    except (OSError, ValueError) as error:
        raise _fault(file, f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _fault(file, "is not a regular file")
        if status.st_size > LARGEST_FILE:
            raise _fault(file, f"is {status.st_size} bytes long, more than {LARGEST_FILE}")
        with open(descriptor, "rb", closefd=False) as opened:
            return opened.read(LARGEST_FILE)
    finally:
        os.close(descriptor)


def _check_archive(data: bytes, file: str) -> None:
    """Checksums, sizes and the pickle's instructions, before torch sees any of it."""
    damaged = "the file is damaged or cut short"
    again = "copy it again, or use another file"
    if not data.startswith(b"PK"):
        raise _fault(file, "is no model file")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = archive.infolist()
        names = [member.filename for member in members]
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise _fault(file, "holds compressed parts, which a model file never does")
        if len(set(names)) != len(names) or sum(member.file_size for member in members) > len(data):
            raise _fault(file, "claims to hold more than it does")
        if archive.testzip() is not None:
            raise _fault(file, damaged, again)
        pickles = [member for member in members if member.filename.endswith(".pkl")]
        if len(pickles) != 1 or pickles[0].filename.count("/") != 1 or not pickles[0].filename.endswith("/data.pkl"):
            raise _fault(file, "is no model file")
        if pickles[0].file_size > LARGEST_PICKLE:
            raise _fault(file, f"describes its content in more than {LARGEST_PICKLE} bytes")
        program = archive.read(pickles[0])
    except (zipfile.BadZipFile, EOFError, OSError, LookupError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _fault(file, damaged, again) from error
    try:
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name not in ALLOWED_OPCODES or argument not in ALLOWED_ARGUMENTS.get(opcode.name, {argument}):
                raise _fault(file, "holds instructions that no model file needs", "do not trust where it comes from")
    except (ValueError, LookupError) as error:
        raise _fault(file, damaged, again) from error


def _check_plain(values: object, file: str) -> None:
    """Plain values only, within limits of depth and number, every tensor whole in its own memory."""
    left = MOST_VALUES
    pending: list[tuple[object, int]] = [(values, 0)]
    while pending:
        value, depth = pending.pop()
        left -= 1
        if left < 0 or depth > DEEPEST_NESTING:
            raise _fault(file, "holds too many values or nests them too deeply")
        kind = type(value)
        if kind is dict:
            if not all(type(key) in (str, int) for key in value):
                raise _fault(file, "holds a dict whose keys are neither words nor whole numbers")
            children = value.values()
        elif kind is list:
            children = value
        elif kind is Tensor:
            if (
                value.device.type != "cpu" or value.layout != torch.strided
                or value.numel() * value.element_size() > value.untyped_storage().nbytes()
            ):
                raise _fault(file, "holds a tensor that claims more than it has")
            continue
        elif kind in (str, int, float, bool) or value is None:
            continue
        else:
            raise _fault(file, f"holds a {kind.__name__}, where only plain values and tensors belong")
        if len(children) > left:
            raise _fault(file, "holds too many values or nests them too deeply")
        pending.extend((child, depth + 1) for child in children)


def _read(values: object, file: str, *, identity: str | None) -> Checkpoint:
    """The checkpoint that `values`, plain already, describe; every part checked against its contract."""
    if type(values) is not dict or values.get("format") != FORMAT:
        raise _fault(file, "is no HoyoMusic model")
    version = values.get("version")
    if type(version) is not int or version < 1:
        raise _fault(file, f"has the version {version!r}, which there never was")
    if version > VERSION:
        raise _fault(file, f"has version {version}, newer than {VERSION}", "upgrade HoyoMusic")
    for older in range(version, VERSION):
        values = MIGRATIONS[older](values)
    _check_names(values, ENTRIES, "entry", file)
    try:
        config = ModelConfig(**values["config"])
    except (TypeError, HoyoError) as error:
        raise _fault(file, f"describes a model that cannot be: {error}") from error
    _check_weights(values["weights"], config, file)
    if type(values["provenance"]) is not dict:
        raise _fault(file, "does not say where it comes from")
    training = values["training"]
    if training is not None:
        if type(training) is not dict or any(type(training.get(name)) is not int for name in ("epoch", "step")):
            raise _fault(file, "does not say how far it was trained")
    return Checkpoint(config, values["vocab"], values["weights"], values["provenance"], training, identity)


def _check_weights(weights: object, config: ModelConfig, file: str) -> None:
    with torch.device("meta"):
        expected = HoyoMusicLSTM(config).state_dict()
    if type(weights) is not dict:
        raise _fault(file, "has no weights")
    _check_names(weights, expected, "weight", file)
    for name, like in expected.items():
        weight = weights[name]
        if type(weight) is not Tensor or weight.dtype != torch.float32 or weight.shape != like.shape:
            raise _fault(file, f"the weight {name} is not a float32 tensor of shape {tuple(like.shape)}")
        if not bool(torch.isfinite(weight).all()):
            raise _fault(file, f"the weight {name} holds values that are not finite")


def _check_names(found: dict[str, Any], expected: Any, kind: str, file: str) -> None:
    missing = [name for name in expected if name not in found]
    unknown = [str(name) for name in found if name not in expected]
    said = []
    if missing:
        said.append(f"lacks the {kind} {missing[0]}")
    if unknown:
        said.append(f"has an unknown {kind} {unknown[0][:60]!r}")
    if said:
        raise _fault(file, " and ".join(said))


def _on_cpu(value: Any) -> Any:
    """`value` in plain dicts, its tensors on the CPU; one that is there stays, so that shared ones are stored once."""
    if isinstance(value, dict):
        return {key: _on_cpu(entry) for key, entry in value.items()}
    if type(value) is list:
        return [_on_cpu(entry) for entry in value]
    return value.detach().cpu() if isinstance(value, Tensor) else value
