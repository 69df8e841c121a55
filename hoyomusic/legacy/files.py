"""Somebody else's HDF5 file, read without trust: named paths only, nothing outside it, nothing larger than it stores.

HDF5 files can point to other files and declare arrays that they do not hold. Here only hard links are followed, one
name after the other, and an array is read only if the file itself stores exactly its bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from hoyomusic.archive import fault, open_regular
from hoyomusic.errors import CheckpointError, MissingPartError

if TYPE_CHECKING:
    import h5py
    import torch

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Configurations are text; the longest real ones have some MiB.
LARGEST_TEXT = 64 * 2**20
MOST_NAMES = 100_000
DAMAGED = "the file is damaged or cut short"
REMEDY = "copy it again, or use another file"
# What h5py raises when the inside of a file is not as it should be.
FAULTS = (OSError, LookupError, RuntimeError, ValueError, TypeError, ArithmeticError, MemoryError)


@contextmanager
def translated(file: str) -> Iterator[None]:
    """What h5py raises about a file becomes one CheckpointError."""
    try:
        yield
    except FAULTS as error:
        raise fault(file, f"{DAMAGED}, as HDF5", REMEDY) from error


class KerasFile:
    """An open HDF5 file; use it as a context manager. Raises CheckpointError, one line, for all that is wrong."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        try:
            import h5py
        except ModuleNotFoundError:
            raise MissingPartError(
                "reading Keras files needs h5py", remedy='install it: pip install "hoyomusic[legacy]"'
            ) from None
        if os.path.isdir(self.name):
            raise fault(self.name, "is a folder, not an HDF5 file", "save the Keras model as .h5 and name that file")
        with open_regular(self.name) as opened:
            start = opened.read(len(SIGNATURE))
        if start.startswith(b"PK"):
            raise fault(self.name, "is a .keras or other zip file, not HDF5", "save the Keras model as .h5")
        if start != SIGNATURE:
            raise fault(self.name, "is no HDF5 file", "name a Keras model saved as .h5")
        self.origin = find_origin(self.name)
        with translated(self.name):
            self.root: h5py.Group = h5py.File(self.name, "r", locking=False)

    def __enter__(self) -> KerasFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.root.file.close()

    def text(self, group: h5py.Group, name: str) -> str | None:
        """The text in an attribute, None where there is none."""
        value = self._attribute(group, name)
        if value is not None and not isinstance(value, str):
            raise fault(self.name, f"has a {name} that is no text")
        return value

    def names(self, group: h5py.Group, name: str) -> list[str] | None:
        """The list of names in an attribute, which Keras splits (name0, name1, ...) where it is long."""
        value = self._attribute(group, name)
        if value is None:
            pieces: list[Any] = []
            while (piece := self._attribute(group, f"{name}{len(pieces)}")) is not None:
                pieces.append(piece)
            if not pieces:
                return None
            value = [entry for piece in pieces for entry in (piece if isinstance(piece, list) else [piece])]
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise fault(self.name, f"has {name} that are no names")
        if len(value) > MOST_NAMES:
            raise fault(self.name, f"has more than {MOST_NAMES} {name}")
        return value

    def _attribute(self, group: h5py.Group, name: str) -> Any:
        """An attribute as text or a list of texts; an empty list for one without entries."""
        with translated(self.name):
            if name not in group.attrs:
                return None
            stored = group.attrs.get_id(name)
            count = math.prod(stored.shape)
            size = count * stored.dtype.itemsize
        if count > MOST_NAMES or size > LARGEST_TEXT:
            raise fault(self.name, f"has an attribute {name} of {count} entries and {size} bytes, too large")
        with translated(self.name):
            value = group.attrs[name]
            if hasattr(value, "tolist"):
                value = value.tolist()
            if isinstance(value, list):
                return [_decode(entry) for entry in value]
            return _decode(value)

    def find(self, group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
        """What lies at `path` below `group`, None where there is nothing. Links to elsewhere are refused."""
        import h5py

        current = group
        for part in path.split("/"):
            if not isinstance(current, h5py.Group) or part in ("", "."):
                return None
            with translated(self.name):
                # Of the link itself: h5py's own tests for a name would open what it points to.
                links, name = current.id.links, part.encode()
                if not links.exists(name):
                    return None
                hard = links.get_info(name).type == h5py.h5l.TYPE_HARD
            if not hard:
                raise fault(self.name, f"{_short(path)} is a link to another place, an external or soft link")
            with translated(self.name):
                current = current[part]
        return current

    def group(self, group: h5py.Group, path: str) -> h5py.Group | None:
        """The group at `path`, None where there is none."""
        import h5py

        found = self.find(group, path)
        return found if isinstance(found, h5py.Group) else None

    def members(self, group: h5py.Group) -> list[str]:
        """The names of what a group holds."""
        with translated(self.name):
            if len(group) > MOST_NAMES:
                raise CheckpointError(f"holds a group of more than {MOST_NAMES} entries", where=self.name)
            return list(group)

    def dataset(self, group: h5py.Group, path: str, shape: tuple[int, ...], whose: str) -> h5py.Dataset:
        """The array at `path` if it is of this `shape` and all stored in this file; `whose` names it in errors."""
        import h5py

        found = self.find(group, path)
        if not isinstance(found, h5py.Dataset):
            raise fault(self.name, f"{whose}: the file lists this weight but does not hold it")
        with translated(self.name):
            stored, kind, elsewhere = found.shape, found.dtype.kind, bool(found.external) or found.is_virtual
            room, needed = found.id.get_storage_size(), found.nbytes
        if elsewhere:
            raise fault(self.name, f"{whose} keeps its values outside the file (external storage)", "do not trust it")
        if stored != shape:
            raise fault(self.name, f"{whose} has the shape {stored}, and the configuration says {shape}")
        if kind not in "fiub":
            raise fault(self.name, f"{whose} holds values of a kind that is not supported: {found.dtype}")
        if room != needed:
            sizes = f"declares {needed} bytes and stores {room}"
            raise fault(self.name, f"{whose} {sizes}: its size cannot be", "do not trust it")
        return found

    def read(self, dataset: h5py.Dataset) -> torch.Tensor:
        """The values of a checked array as float32, read straight into their tensor; single values as they are."""
        import torch

        with translated(self.name):
            if not dataset.shape:
                return torch.tensor(dataset[()].item())
            values = torch.empty(dataset.shape, dtype=torch.float32)
            dataset.read_direct(values.numpy())
            return values


class Origin(NamedTuple):
    """Which file a model came from, and when it was last changed and how long it was then."""

    file: str
    changed: int
    size: int

    def identify(self) -> str:
        """The SHA-256 of the file, in hexadecimal. Raises CheckpointError where it is not the same any more."""
        with open_regular(self.file) as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if find_origin(self.file) != self:
            raise fault(self.file, "was changed after it was read", "read it again")
        return digest


def find_origin(file: str) -> Origin:
    """The `Origin` of what is read from `file` now. Raises CheckpointError where there is no regular file."""
    with open_regular(file) as opened:
        status = os.fstat(opened.fileno())
    return Origin(file, status.st_mtime_ns, status.st_size)


def parse_json(text: str, file: str, what: str) -> Any:
    """The value of a JSON `text`, within limits; `what` names it in errors."""
    if len(text) > LARGEST_TEXT:
        raise fault(file, f"has a {what} of more than {LARGEST_TEXT} characters, too large")
    try:
        return json.loads(text)
    except RecursionError:
        raise fault(file, f"has a {what} whose JSON is nested too deeply") from None
    except ValueError as error:
        raise fault(file, f"has a {what} that is no JSON: {_short(str(error))}") from None


def _decode(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _short(text: str) -> str:
    printable = re.sub(r"[^\x20-\x7e]", "?", text)
    return printable if len(printable) <= 100 else f"{printable[:60]}...{printable[-30:]}"
