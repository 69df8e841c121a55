"""What is computed in C where a compiler was at hand: the step of a model, the draw of an id, recall.

The library is built when HoyoMusic is installed (`hatch_build.py`). Whoever uses it does the same in Python
where it is missing, and is held against that: the results are equal bit for bit.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LIBRARY = "library.bin"
VERSION = 3
# The kinds of processors that products are written for (see step.c), the quickest first; each here has the last.
MULTIPLIERS = (2, 1, 0)

POINTER = ctypes.c_void_p
_NUMBER = ctypes.c_int64


@functools.cache
def find_library() -> ctypes.CDLL | None:
    """The compiled library, if it is there, of this version, and this processor can run it (it has AVX2)."""
    path = Path(__file__).parent / LIBRARY
    if not path.is_file():
        return None
    try:
        library = ctypes.CDLL(str(path))
        version = library.hoyo_version
    except (OSError, AttributeError):  # compiled for another system, or another program
        return None
    if version() != VERSION:
        return None
    for name, result, arguments in (
        ("hoyo_step", None, [POINTER, ctypes.c_int, *[POINTER] * 6]),
        ("hoyo_draw", _NUMBER, [POINTER, ctypes.c_int, POINTER, POINTER, _NUMBER, POINTER]),
        ("hoyo_begin_recall", POINTER, [POINTER, POINTER, ctypes.c_int]),
        ("hoyo_recall", ctypes.c_int, [POINTER, ctypes.c_int, POINTER, POINTER]),
        ("hoyo_recall_tune", ctypes.c_int, [POINTER, ctypes.c_int, POINTER, POINTER]),
        ("hoyo_end_recall", None, [POINTER]),
        ("hoyo_begin_automaton", POINTER, []),
        ("hoyo_add_place", _NUMBER, [POINTER, POINTER, _NUMBER, POINTER, _NUMBER]),
        ("hoyo_lead", ctypes.c_int, [POINTER, _NUMBER, _NUMBER, _NUMBER]),
        ("hoyo_end_automaton", None, [POINTER]),
        ("hoyo_walk", _NUMBER, [POINTER]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    # The quickest way to multiply that this processor has: all give the same.
    next(kind for kind in MULTIPLIERS if library.hoyo_multiply_as(kind))
    return library


def address(array: np.ndarray) -> int:
    """Where an array lies. Those that hold something and may be written to tell it sooner."""
    if array.size and array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    return array.ctypes.data
