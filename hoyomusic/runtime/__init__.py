"""One step of a trained model, behind one small interface; generating needs no torch.

`OnnxRuntime` (in `engine`) takes an exported step, in whole numbers or float32, `NativeRuntime` one in whole numbers
where its C library was compiled, `NumpyRuntime` the weights of a checkpoint as they are. Of the rooms, `folding`
and `quantisation` make weights ready, `graph` writes them as ONNX, `container` is the file around that.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

from hoyomusic.runtime.container import Step
from hoyomusic.runtime.engine import OnnxRuntime
from hoyomusic.runtime.floats import NumpyRuntime
from hoyomusic.runtime.folding import NORM_EPSILON, FoldedWeights, fold
from hoyomusic.runtime.native import NativeRuntime, fits


def run_step(step: Step) -> Runtime:
    """The quickest runtime for an exported step; in whole numbers all give the same to the last bit."""
    return NativeRuntime(step) if fits(step) else OnnxRuntime(step)


def one_thread(runtime: Runtime | None = None) -> AbstractContextManager[object]:
    """Within it numpy multiplies on one thread, unless `runtime` is one that does not multiply in numpy.

    A row is too little work to share: on a busy machine threads wait for each other ten times as long
    as they compute, and a sum that is cut for two threads may differ from the whole one in its last bit.
    """
    if runtime is not None and not isinstance(runtime, NumpyRuntime):
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")


class Runtime(Protocol):
    """A model one step at a time. A state is never changed, so that an old one can be gone back to."""

    def start(self, batch: int) -> Any:
        """The state of `batch` rows before their first id."""

    def step(
        self, ids: np.ndarray, region: np.ndarray, clock: np.ndarray, state: Any, recall: np.ndarray | None = None
    ) -> tuple[np.ndarray, Any]:
        """Logits (B, V) float32 of what follows `ids` (B,) with their `region` (B,), `clock` (B,); the new state.

        `recall` (B, S, 2) are guesses and agreements, for a model that takes them.
        """

    def select(self, state: Any, rows: Sequence[int]) -> Any:
        """The state of these rows alone, in this order; a row may come more than once."""

    def gather(self, rows: Sequence[tuple[Any, int]]) -> Any:
        """One state of rows from several, each told as a state and the row in it."""


__all__ = [
    "NORM_EPSILON", "FoldedWeights", "NativeRuntime", "NumpyRuntime", "OnnxRuntime", "Runtime", "Step", "fold",
    "one_thread", "run_step",
]
