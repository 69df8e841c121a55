"""The step in whole numbers in C, where that was compiled: twice as quick as ONNX Runtime for a row.

Elsewhere `OnnxRuntime` does the same work, and is what this is held against, bit for bit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from hoyomusic.native import POINTER, address, find_library
from hoyomusic.runtime.container import Step
from hoyomusic.runtime.quantisation import (
    ARGUMENT_STEPS,
    LAYER_STEPS,
    LAYER_ZERO,
    OUTPUT_ZERO,
    RESULT_STEPS,
    rounder,
)
from hoyomusic.sizes import AGREEMENTS

MOST_LAYERS, MOST_SOURCES = 16, 64
ALIGNMENT = 32
# Beyond so many steps of its argument tanh is 1 to the grid of its results.
TABLE_REACH = 8 * ARGUMENT_STEPS


class _Model(ctypes.Structure):
    """`Model` of step.c."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("embedding", "hidden", "layers", "columns", "recalls", "agreements")),
        *((name, ctypes.c_int32) for name in ("table_reach", "vocabulary", "regions")),
        *((name, ctypes.c_int32) for name in ("layer_steps", "layer_zero", "output_zero")),
        *((name, ctypes.c_float) for name in ("layer_step", "arguments", "argument_steps")),
        ("table", POINTER),
        *((name, POINTER * MOST_LAYERS) for name in ("matrices", "zero_sums", "scales", "biases")),
        *((name, POINTER) for name in ("unit_steps", "output", "output_zero_sums", "output_scale", "output_bias")),
        *((name, POINTER) for name in ("tanh_table", "sigmoid_table")),
    ]


def fits(step: Step) -> bool:
    """Whether the library is there and takes models of this kind: whole numbers, widths that fill its registers."""
    config = step.config
    return (
        step.precision == "int8"
        and config.hidden % ALIGNMENT == config.embedding % ALIGNMENT == 0
        and config.layers <= MOST_LAYERS
        and config.recalls <= MOST_SOURCES
        and find_library() is not None
    )


class NativeRuntime:
    """A `Runtime` in C; a state is one array of bytes (B, 5LH): outputs of all layers, then their cells as float32."""

    def __init__(self, step: Step) -> None:
        self._library = find_library()
        self._config = step.config
        self._kept: list[np.ndarray] = []
        self._model = self._fill(step)
        self.at, self.columns = ctypes.addressof(self._model), self._model.columns
        config = step.config
        self._row = 5 * config.layers * config.hidden
        widest = max(config.embedding, config.hidden) + config.hidden
        self._scratch_row = widest + config.hidden + 4 * max(4 * config.hidden, self._model.columns)
        self._room = _Room(1, config.recalls, self.scratch(1))

    def _fill(self, step: Step) -> _Model:
        constants, config = step.constants, step.config
        model = _Model(
            embedding=config.embedding,
            hidden=config.hidden,
            layers=config.layers,
            recalls=config.recalls,
            agreements=AGREEMENTS,
            vocabulary=config.vocabulary,
            regions=config.regions,
            table_reach=TABLE_REACH,
            layer_steps=LAYER_STEPS,
            layer_zero=LAYER_ZERO,
            output_zero=OUTPUT_ZERO,
            layer_step=float(constants["layer_step"]),
            arguments=float(constants["arguments"]),
            argument_steps=ARGUMENT_STEPS,
            table=self._keep(constants["table"]),
        )
        for layer in range(config.layers):
            name = f"layer{layer}"
            matrix = constants[f"{name}_matrix"]
            model.matrices[layer] = self._keep(_lay_out(matrix))
            model.zero_sums[layer] = self._keep(LAYER_ZERO * matrix.sum(axis=0, dtype=np.int32))
            model.scales[layer] = self._keep(constants[f"{name}_scale"])
            model.biases[layer] = self._keep(constants[f"{name}_bias"])
        # Whole groups of four columns: the last may be empty ones.
        output = constants["output_matrix"]
        padding = -output.shape[1] % 4
        output = np.pad(output, ((0, 0), (0, padding)))
        model.columns = output.shape[1]
        model.unit_steps = self._keep(constants["unit_steps"])
        model.output = self._keep(_lay_out(output))
        model.output_zero_sums = self._keep(OUTPUT_ZERO * output.sum(axis=0, dtype=np.int32))
        model.output_scale = self._keep(np.pad(constants["output_scale"], (0, padding)))
        model.output_bias = self._keep(np.pad(constants["output_bias"], (0, padding)))
        tanh, sigmoid = make_tables()
        model.tanh_table, model.sigmoid_table = self._keep(tanh), self._keep(sigmoid)
        return model

    def _keep(self, values: np.ndarray) -> int:
        """The address of a copy of `values`, aligned, that lives as long as this runtime."""
        copy = _aligned(values.nbytes)
        copy.view(values.dtype).reshape(values.shape)[...] = values
        self._kept.append(copy)
        return copy.ctypes.data

    def scratch(self, batch: int) -> np.ndarray:
        """Memory for the library to work in when it steps so many rows."""
        return _aligned(batch * self._scratch_row)

    def start(self, batch: int) -> np.ndarray:
        """The state of `batch` rows before their first id."""
        state = np.zeros((batch, self._row), np.uint8)
        state[:, : self._config.layers * self._config.hidden] = LAYER_ZERO
        return state

    def step(
        self,
        ids: np.ndarray,
        region: np.ndarray,
        clock: np.ndarray,
        state: np.ndarray,
        recall: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits (B, V) for the ids after `ids`, and the new state (see `Runtime.step`)."""
        batch = len(ids)
        if len(self._room.tokens) != batch:
            self._room = _Room(batch, self._config.recalls, self.scratch(batch))
        room = self._room
        tokens = room.tokens
        tokens[:, 0], tokens[:, 1], tokens[:, 2] = ids, region, clock
        if self._config.recalls:
            room.recall[...] = recall
        new = np.empty_like(state)
        logits = np.empty((batch, self.columns), np.float32)
        given = room.tokens_at, room.recall_at
        self._library.hoyo_step(
            self.at, batch, *given, address(state), address(new), address(logits), room.scratch_at
        )
        return logits[:, : self._config.vocabulary], new

    def select(self, state: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """The state of these rows alone (see `Runtime.select`)."""
        return state[rows]

    def gather(self, rows: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
        """One state of rows from several (see `Runtime.gather`)."""
        return np.stack([state[row] for state, row in rows])


class _Room:
    """Memory that a step over `batch` rows works in, and where it lies: asking for that takes as long as a product."""

    def __init__(self, batch: int, recalls: int, scratch: np.ndarray) -> None:
        self.tokens = np.empty((batch, 3), np.int64)
        self.recall = np.empty((batch, recalls, 2), np.int64)
        self.scratch = scratch
        self.tokens_at, self.scratch_at = address(self.tokens), address(scratch)
        self.recall_at = address(self.recall) if recalls else None


def make_tables() -> tuple[np.ndarray, np.ndarray]:
    """tanh(a), and sigmoid(2a), on the grid of results for each argument a of the grid up to `TABLE_REACH` steps."""
    exact = np.tanh(np.arange(-TABLE_REACH, TABLE_REACH + 1) / ARGUMENT_STEPS).astype(np.float32)
    results, half = rounder(RESULT_STEPS), np.float32(0.5)
    return (exact + results) - results, (exact * half + (half + results)) - results


def _lay_out(matrix: np.ndarray) -> np.ndarray:
    """A matrix (K, N) in blocks of 4 columns x 32 rows, column by column, as step.c reads it."""
    rows, columns = matrix.shape
    return matrix.T.reshape(columns // 4, 4, rows // ALIGNMENT, ALIGNMENT).transpose(0, 2, 1, 3)


def _aligned(size: int) -> np.ndarray:
    """Bytes (size,) that begin on a multiple of `ALIGNMENT`."""
    block = np.empty(size + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + size]
