"""Memory that runs out, told as what it is: which step, how many rows, and what to try instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from hoyomusic.errors import TrainingError


@contextmanager
def memory_told(what: str, remedy: str, place: Callable[[], str] | None = None) -> Iterator[None]:
    """Raise TrainingError, with `what` did not fit and what to do, where memory runs out inside; other errors pass."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise TrainingError(f"memory ran out {what}", where=place and place(), remedy=remedy) from None


def _is_out_of_memory(error: BaseException | None) -> bool:
    """torch has a class for a full card; a full main memory it tells only in words, or hides behind other faults."""
    return error is not None and (
        isinstance(error, (MemoryError, torch.OutOfMemoryError))
        or "can't allocate memory" in str(error)
        or _is_out_of_memory(error.__context__)
    )
