"""The file beside an old model: JSON, or a pickle that is taken apart without running what it asks for.

A pickle is a program. The reader here knows no function of any library: the few names that pickles of plain values
and NumPy arrays use stand for objects that only collect what they are given, and all other names are refused.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
from typing import Any

import numpy as np

from hoyomusic.archive import fault, open_regular
from hoyomusic.legacy.files import LARGEST_TEXT, parse_json
from hoyomusic.legacy.layers.base import shorten

MOST_VALUES = 200_000
DEEPEST_NESTING = 50
KINDS = {f"{kind}{size}" for kind in "fiu" for size in (1, 2, 4, 8)} | {"b1", "?"}
# Instructions that reserve memory before there is anything to fill it, or ask for what is elsewhere.
REFUSED_OPCODES = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER"}
REMEDY = "do not trust where it comes from, or write its values as JSON"


def read_params(path: str | os.PathLike[str]) -> Any:
    """The plain values in a file: `.json`, or a pickle of plain values and arrays, which become lists.

    Raises CheckpointError for everything else; nothing in the file is ever run.
    """
    file = os.fspath(path)
    with open_regular(file) as opened:
        data = opened.read(LARGEST_TEXT + 1)
    if len(data) > LARGEST_TEXT:
        raise fault(file, f"is larger than {LARGEST_TEXT} bytes, too large for the params of a model")
    if file.lower().endswith(".json") or data.lstrip()[:1] in (b"{", b"["):
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise fault(file, "is no text, and JSON is") from None
        return parse_json(text, file, "params JSON")
    return _read_pickle(data, file)


def _read_pickle(data: bytes, file: str) -> Any:
    try:
        for opcode, argument, _ in pickletools.genops(data):
            # A large place in the memo would be a large memo.
            crowded = opcode.name in ("LONG_BINPUT", "PUT") and not 0 <= argument <= len(data)
            if opcode.name in REFUSED_OPCODES or crowded:
                raise fault(file, f"is a params pickle with more than plain data: {opcode.name}", REMEDY)
        value = _Reader(data, file).load()
    except (
        pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError,
        RecursionError, TypeError, ValueError,
    ) as error:
        raise fault(file, "is a params pickle that is damaged or holds more than plain data", REMEDY) from error
    return _Plain(file).convert(value, 0)


class _Reader(pickle.Unpickler):
    """Takes a pickle apart; names stand for objects without attributes, which nothing can be set on."""

    def __init__(self, data: bytes, file: str) -> None:
        super().__init__(io.BytesIO(data))
        self._file = file

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name in ("_reconstruct", "scalar"):
            return _Start() if name == "_reconstruct" else _Scalar()
        if (module, name) == ("numpy", "dtype"):
            return _Kind()
        if (module, name) == ("numpy", "ndarray"):
            return _Start()
        if (module, name) == ("_codecs", "encode"):
            return _Encode()
        if (module, name) in (("__builtin__", "bytes"), ("builtins", "bytes")):
            return _NoBytes()
        raise fault(self._file, f"is a params pickle that names {shorten(f'{module}.{name}')}: not plain data", REMEDY)


class _Start:
    """Stands for the function that begins an array."""

    __slots__ = ()

    def __call__(self, *begun: Any) -> _Array:
        return _Array()


class _Array:
    """An array in the making; its state is (version, shape, kind, whether columns come first, bytes)."""

    __slots__ = ("values",)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, data = state
        if not isinstance(kind, _DataKind) or not isinstance(data, bytes) or type(by_columns) is not bool:
            raise TypeError("an array without plain numbers")
        if not all(type(size) is int and 0 <= size for size in shape):
            raise ValueError("an array of an impossible shape")
        dtype = kind.dtype()
        if math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError("an array of another size than its bytes")
        self.values = np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


class _Kind:
    """Stands for the making of an array's kind."""

    __slots__ = ()

    def __call__(self, code: Any, *flags: Any) -> _DataKind:
        if code not in KINDS:
            raise TypeError("an array of objects")
        return _DataKind(code)


class _DataKind:
    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("an unknown order of bytes")
        self.order = "<" if state[1] == "=" else state[1]

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Scalar:
    """Stands for the making of a single number."""

    __slots__ = ()

    def __call__(self, kind: Any, data: Any) -> Any:
        if not isinstance(kind, _DataKind) or not isinstance(data, bytes) or len(data) != kind.dtype().itemsize:
            raise TypeError("a number without bytes")
        return np.frombuffer(data, kind.dtype())[0].item()


class _Encode:
    """Stands for the way in which old pickles write bytes: as text of one sign each."""

    __slots__ = ()

    def __call__(self, text: Any, coding: Any) -> bytes:
        if type(text) is not str or coding != "latin1":
            raise TypeError("bytes in an unknown coding")
        return text.encode("latin1")


class _NoBytes:
    """Stands for the way in which old pickles write no bytes at all."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


class _Plain:
    """Makes plain values of what was taken apart, within limits of depth and number."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._left = MOST_VALUES

    def convert(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > DEEPEST_NESTING:
            raise fault(self._file, "is a params pickle that holds too many values or nests them too deeply")
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) is bytes:
            return value.decode("latin1")
        if type(value) in (list, tuple, set, frozenset):
            return [self.convert(entry, depth + 1) for entry in value]
        if type(value) is dict:
            return {self._key(key): self.convert(entry, depth + 1) for key, entry in value.items()}
        if type(value) is _Array and hasattr(value, "values"):
            self._left -= value.values.size
            if self._left < 0:
                raise fault(self._file, "is a params pickle that holds too many values")
            return value.values.tolist()
        raise fault(self._file, f"is a params pickle with a {type(value).__name__.strip('_')}: not plain data", REMEDY)

    def _key(self, key: Any) -> str | int:
        if type(key) in (str, int):
            return key
        raise fault(self._file, "is a params pickle with keys that are neither words nor whole numbers", REMEDY)
