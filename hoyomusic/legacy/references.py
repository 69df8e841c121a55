"""What a model should give: inputs and expected outputs in an `.npz` file, and how far others are from them.

The file holds ``input_0``, ``input_1`` ... in the order of the model's inputs and ``output_0`` ... in that of its
outputs, as Keras predicted them. It is read without trust: plain numbers only, none larger than what is there.
"""

from __future__ import annotations

import io
import math
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from hoyomusic.errors import CheckpointError

# In float32 a conversion is exact where it differs by at most so much, absolutely.
TOLERANCE = 1e-5

LARGEST_MEMBER = 2**30
_NAME = re.compile(r"(?P<kind>input|output)_(?P<number>[0-9]{1,3})\.npy")
_REMEDY = "write it with numpy.savez: input_0, ..., output_0, ..."


class Reference(NamedTuple):
    """Inputs, and the outputs that belong to them."""

    inputs: list[np.ndarray]
    outputs: list[np.ndarray]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far output number `output` is from what it should be: the largest and the mean absolute difference."""

    output: int
    largest: float
    mean: float

    @property
    def exact(self) -> bool:
        """Whether it is within `TOLERANCE`; what is not a number is not."""
        return self.largest <= TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """The difference as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"output_{self.output}: largest difference {self.largest:.2g}, mean {self.mean:.2g}"


def read_reference(path: str | os.PathLike[str]) -> Reference:
    """The inputs and outputs in the file at `path`. Raises CheckpointError for anything else that is there."""
    file = os.fspath(path)
    found: dict[str, dict[int, np.ndarray]] = {"input": {}, "output": {}}
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                match = _NAME.fullmatch(entry.filename)
                if match is None:
                    raise _fault(file, f"holds {entry.filename[:60]!r}")
                if entry.file_size > LARGEST_MEMBER:
                    raise _fault(file, f"claims {entry.file_size} bytes for {entry.filename}")
                found[match["kind"]][int(match["number"])] = _read_array(archive.read(entry), entry.filename, file)
    except FileNotFoundError:
        raise CheckpointError("there is no such file", where=file, remedy="name an .npz file") from None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _fault(file, "is no .npz file, or a damaged one") from error
    for kind, arrays in found.items():
        if not arrays or sorted(arrays) != list(range(len(arrays))):
            raise _fault(file, f"does not hold {kind}_0 and all that follow it")
    return Reference(*([arrays[number] for number in sorted(arrays)] for arrays in found.values()))


def compare(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], where: str) -> tuple[Difference, ...]:
    """The differences of outputs that were found from those that were expected.

    Raises CheckpointError, with `where` as its place, where their number or their shapes differ.
    """
    if len(found) != len(expected):
        raise _fault(where, f"has {len(expected)} outputs, the model {len(found)}")
    differences = []
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if ours.shape != theirs.shape:
            raise _fault(where, f"output_{number} has the shape {theirs.shape}, the model's output {ours.shape}")
        apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
        largest, mean = (float(apart.max()), float(apart.mean())) if apart.size else (0.0, 0.0)
        differences.append(Difference(number, largest, mean))
    return tuple(differences)


def _read_array(data: bytes, name: str, file: str) -> np.ndarray:
    """The array in `data`, the content of an `.npy` file; what its head claims is compared with what is there."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_head = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, by_columns, dtype = read_head[version](stream)
    except (KeyError, ValueError, EOFError) as error:
        raise _fault(file, f"{name} is no array") from error
    if dtype.kind not in "fiub":
        raise _fault(file, f"{name} holds {dtype}, where only numbers belong")
    if any(extent < 0 for extent in shape) or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise _fault(file, f"{name} claims another size than it has")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if by_columns else "C")


def _fault(file: str, message: str) -> CheckpointError:
    return CheckpointError(message, where=file, remedy=_REMEDY)
