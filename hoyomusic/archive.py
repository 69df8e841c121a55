"""What `torch.save` writes, read without torch and without trust.

A `.pth` file is a zip of stored members: `data.pkl`, a pickle of the values, and `data/0`, `data/1` ...,
the memory of the tensors. A pickle is a program. Here the zip's checksums and sizes are checked first,
then every instruction against a short list, and only then it runs, with stand-ins for the few names that
it may call: nothing of torch, and nothing that can act. Tensors become arrays on the file's own bytes.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import pickle
import pickletools
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from hoyomusic.errors import CheckpointError

LARGEST_FILE = 2 * 2**30
LARGEST_DIRECTORY = 2**20
LARGEST_PICKLE = 2**20
DEEPEST_NESTING = 12
MOST_VALUES = 200_000
# Tensors may lie on the same memory, as weights and the best weights do. Copies of all of them are to take at most
# so many times the file's size.
MOST_SHARING = 4

DTYPES = {
    f"{name}Storage": np.dtype(kind)
    for name, kind in (
        ("Float", "<f4"), ("Double", "<f8"), ("Half", "<f2"), ("Long", "<i8"), ("Int", "<i4"), ("Short", "<i2"),
        ("Char", "i1"), ("Byte", "u1"), ("Bool", "?"),
    )
}
ALLOWED_OPCODES = frozenset(
    "PROTO STOP MARK GLOBAL REDUCE BINPERSID"
    " EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3"
    " NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE"
    " BINPUT LONG_BINPUT BINGET LONG_BINGET".split()
)
# Where an instruction is allowed, but not with every argument. A large memo index would be a large memo.
ALLOWED_ARGUMENTS = {
    "PROTO": {2},
    "LONG_BINPUT": range(LARGEST_PICKLE),
    "GLOBAL": {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", *(f"torch {name}" for name in DTYPES)},
}

# What `zipfile` raises for files that are not whole.
ZIP_FAULTS = (
    zipfile.BadZipFile, struct.error, EOFError, OSError, LookupError, OverflowError, RuntimeError, ValueError
)
# The end of every zip file: signature, then the directory's length, then that of a comment. PyTorch writes a longer
# record and a pointer to it before that.
END, END_64, POINTER_64 = struct.Struct("<4s8xL4xH"), struct.Struct("<4s36xQ8x"), struct.Struct("<4s16x")

DAMAGED = "the file is damaged or cut short"
FOREIGN = "is no model file"


class Archive(NamedTuple):
    """The plain values of a file, arrays in place of tensors (read-only), and the SHA-256 of its bytes."""

    values: Any
    identity: str


def read(path: str | os.PathLike[str]) -> Archive:
    """The content of the file at `path`. Raises CheckpointError for anything but plain values and tensors."""
    file = os.fspath(path)
    return parse(read_bytes(file), file)


def parse(data: bytes, file: str) -> Archive:
    """The content of a file whose bytes are `data`; `file` is its name in errors."""
    members = _check_zip(data, file)
    program = members["data.pkl"].tobytes()
    _check_instructions(program, file)
    try:
        values = _Reader(program, members).load()
    # What a pickle can raise whose instructions are allowed one by one but make no sense together.
    except (
        pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, TypeError, ValueError
    ) as error:
        raise fault(file, FOREIGN) from error
    _check_values(values, len(data), file)
    return Archive(values, hashlib.sha256(data).hexdigest())


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Which content a file has, told by the checksums in its directory alone: the tensors are not read.

    Enough to know a file again, not to trust it. Raises CheckpointError for what is no zip file.
    """
    file = os.fspath(path)
    with open_regular(file) as opened:
        try:
            with _open_zip(opened, file) as archive:
                entries = [f"{entry.filename}:{entry.file_size}:{entry.CRC:08x}" for entry in archive.infolist()]
        except ZIP_FAULTS as error:
            raise fault(file, FOREIGN) from error
    return hashlib.sha256("\n".join(entries).encode(errors="surrogatepass")).hexdigest()


def fault(file: str, message: str, remedy: str = "use another file") -> CheckpointError:
    """The error for a model file that cannot be used."""
    return CheckpointError(message, where=file, remedy=remedy)


def read_bytes(file: str) -> bytes:
    """The content of a regular file within the limit, read once: what is checked is what is used."""
    with open_regular(file) as opened:
        # As much as there is: memory for all that is asked for is taken before a byte is read.
        return opened.read(os.fstat(opened.fileno()).st_size)


@contextmanager
def open_regular(file: str) -> Iterator[BinaryIO]:
    """A regular file within the limit. Raises CheckpointError for folders, pipes and devices, without waiting."""
    # Without O_NONBLOCK the opening of a pipe would wait for somebody to write into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(file, flags)
    except FileNotFoundError:
        raise fault(file, "there is no such file", "train a model or name another file") from None
    except (OSError, ValueError) as error:
        raise fault(file, f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise fault(file, "is not a regular file")
        if status.st_size > LARGEST_FILE:
            raise fault(file, f"is {status.st_size} bytes long, more than {LARGEST_FILE}")
        with open(descriptor, "rb", closefd=False) as opened:
            yield opened
    except OSError as error:  # a disk that fails while it is read
        raise fault(file, f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _open_zip(opened: BinaryIO, file: str) -> zipfile.ZipFile:
    """A zip file whose directory is of the size that a model's may have; raises CheckpointError and `ZIP_FAULTS`."""
    size = opened.seek(0, os.SEEK_END)
    opened.seek(max(size - END_64.size - POINTER_64.size - END.size, 0))
    tail = opened.read()
    signature, length, comment = END.unpack(tail[-END.size :])
    if signature != b"PK\5\6" or comment:
        raise fault(file, DAMAGED, "copy it again, or use another file")
    # `zipfile` believes the longer record where both are there, and reads as much as it says.
    if len(tail) == END_64.size + POINTER_64.size + END.size and tail.startswith(b"PK\6\6"):
        length = max(length, END_64.unpack_from(tail)[1])
    if length > LARGEST_DIRECTORY:
        raise fault(file, f"lists its parts in more than {LARGEST_DIRECTORY} bytes")
    return zipfile.ZipFile(opened)


def _check_zip(data: bytes, file: str) -> dict[str, np.ndarray]:
    """The members by name, without the folder they all lie in, as bytes (n,) on `data`; all checksums right."""
    if not data.startswith(b"PK"):
        raise fault(file, FOREIGN)
    try:
        with _open_zip(io.BytesIO(data), file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise fault(file, "holds compressed parts, which a model file never does")
            names = {entry.filename for entry in entries}
            # What is checked are so many bytes as are stored, what is used so many as a part has.
            if any(entry.file_size != entry.compress_size for entry in entries):
                raise fault(file, DAMAGED, "copy it again, or use another file")
            if len(names) < len(entries) or sum(entry.file_size for entry in entries) > len(data):
                raise fault(file, "claims to hold more than it does")
            if archive.testzip() is not None:
                raise fault(file, DAMAGED, "copy it again, or use another file")
        whole, members = np.frombuffer(data, np.uint8), {}
        for entry in entries:
            name_length, extra_length = struct.unpack_from("<HH", data, entry.header_offset + 26)
            start = entry.header_offset + 30 + name_length + extra_length
            members[entry.filename.partition("/")[2]] = whole[start : start + entry.file_size]
    except ZIP_FAULTS as error:
        raise fault(file, DAMAGED, "copy it again, or use another file") from error
    byte_order = bytes(members.get("byteorder", b"little"))
    if "data.pkl" not in members or len(members) < len(entries) or byte_order != b"little":
        raise fault(file, FOREIGN)
    if len(members["data.pkl"]) > LARGEST_PICKLE:
        raise fault(file, f"describes its content in more than {LARGEST_PICKLE} bytes")
    return members


def _check_instructions(program: bytes, file: str) -> None:
    try:
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name not in ALLOWED_OPCODES or argument not in ALLOWED_ARGUMENTS.get(opcode.name, (argument,)):
                raise fault(file, "holds instructions that no model file needs", "do not trust where it comes from")
    except (ValueError, LookupError) as error:
        raise fault(file, DAMAGED, "copy it again, or use another file") from error


class _Reader(pickle.Unpickler):
    """Runs a checked program. What it can call: `_array`, and `_no_hooks`, which stands for an empty OrderedDict."""

    def __init__(self, program: bytes, members: dict[str, np.ndarray]) -> None:
        super().__init__(io.BytesIO(program))
        self._members = members

    def find_class(self, module: str, name: str) -> Any:
        return DTYPES.get(name) or {"OrderedDict": _no_hooks, "_rebuild_tensor_v2": _array}[name]

    def persistent_load(self, identifier: Any) -> _Memory:
        """The memory of a tensor: ``("storage", type, key, device, number of elements)``."""
        _, dtype, key, _, count = identifier
        if not isinstance(dtype, np.dtype):
            raise TypeError("the memory of a tensor has no type")
        elements = self._members[f"data/{key}"].view(dtype)
        if len(elements) != count:
            raise ValueError("the memory of a tensor has another size than it should")
        return _Memory(elements)


class _Memory:
    """The memory of a tensor, `elements` (n,). A class of its own, so that no array can be passed off as memory."""

    def __init__(self, elements: np.ndarray) -> None:
        self.elements = elements


def _no_hooks() -> None:
    return None


def _array(
    memory: _Memory, offset: int, size: tuple[int, ...], stride: tuple[int, ...], gradient: bool, hooks: None
) -> np.ndarray:
    """The stand-in for torch's function of this place in the file: `size` elements of `memory`, `stride` apart."""
    numbers = (offset, *size, *stride)
    if type(memory) is not _Memory or not all(type(number) is int and number >= 0 for number in numbers):
        raise TypeError("a tensor is made of something else than memory and numbers")
    elements = memory.elements
    last = offset + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True))
    count = math.prod(size)
    if count > len(elements) or count and last >= len(elements):
        raise ValueError("a tensor claims more than it has")
    steps = [step * elements.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(elements[offset:], size, steps, writeable=False)


def _check_values(values: object, size: int, file: str) -> None:
    """Plain values and arrays only, within limits of depth and number; `size` is that of the file in bytes."""
    left, room = MOST_VALUES, MOST_SHARING * size
    pending: list[tuple[object, int]] = [(values, 0)]
    while pending:
        value, depth = pending.pop()
        left -= 1
        kind = type(value)
        if kind is dict:
            if not all(type(key) in (str, int) for key in value):
                raise fault(file, "holds a dict whose keys are neither words nor whole numbers")
            children = value.values()
        elif kind is list:
            children = value
        elif kind is np.ndarray:
            room -= value.nbytes
            if room < 0:
                raise fault(file, "holds tensors that together are larger than it")
            continue
        elif kind in (str, int, float, bool) or value is None:
            continue
        else:
            raise fault(file, f"holds a {kind.__name__}, where only plain values and tensors belong")
        if len(children) > left or depth >= DEEPEST_NESTING:
            raise fault(file, "holds too many values or nests them too deeply")
        pending.extend((child, depth + 1) for child in children)
