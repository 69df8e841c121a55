"""The step on ONNX Runtime: in whole numbers, quick and the same in every company; or in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hoyomusic.runtime.container import Step
from hoyomusic.runtime.quantisation import LAYER_ZERO
from hoyomusic.sizes import AGREEMENTS, ModelConfig

# Outputs and cells of the layers in turn, each (B, H).
State = list[np.ndarray]


class Columns:
    """Where a step's inputs stand in the tables of a graph (see `graph`)."""

    def __init__(self, config: ModelConfig) -> None:
        self._regions = config.vocabulary
        self._clocks = config.vocabulary + config.regions
        self._trusts = config.vocabulary + AGREEMENTS * np.arange(config.recalls)

    def fill(self, rows: np.ndarray, ids: np.ndarray, region: np.ndarray, clock: np.ndarray) -> None:
        """Write into `rows` (B, 3) the rows of the table for ids, regions and clocks, each (B,)."""
        rows[:, 0] = ids
        np.add(region, self._regions, out=rows[:, 1])
        np.add(clock, self._clocks, out=rows[:, 2])

    def fill_places(self, places: np.ndarray, recall: np.ndarray) -> None:
        """Write into `places` (B, S) the columns of the output for guesses and agreements (B, S, 2)."""
        np.add(recall[:, :, 1], self._trusts, out=places)


class OnnxRuntime:
    """A `Runtime` on ONNX Runtime, one thread; a step in whole numbers gives each row the same in every batch."""

    def __init__(self, step: Step) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # Warnings are about the machine, not about what the user did.
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(step.data, options, providers=["CPUExecutionProvider"])
        self._config = step.config
        self._columns = Columns(step.config)
        self._zero = LAYER_ZERO if step.precision == "int8" else np.float32(0)
        self._dtype = np.uint8 if step.precision == "int8" else np.float32
        self._states = [f"{part}{layer}" for layer in range(step.config.layers) for part in "hc"]
        self._outputs = ["logits", *(f"{name}_out" for name in self._states)]

    def start(self, batch: int) -> State:
        """The state of `batch` rows before their first id."""
        shape = batch, self._config.hidden
        return [np.full(shape, self._zero, self._dtype), np.zeros(shape, np.float32)] * self._config.layers

    def step(
        self, ids: np.ndarray, region: np.ndarray, clock: np.ndarray, state: State, recall: np.ndarray | None = None
    ) -> tuple[np.ndarray, State]:
        """Logits (B, V) for the ids after `ids`, and the new state (see `Runtime.step`)."""
        inputs = dict(zip(self._states, state, strict=True), tokens=np.empty((len(ids), 3), np.int64))
        self._columns.fill(inputs["tokens"], ids, region, clock)
        if self._config.recalls:
            inputs["guesses"] = np.ascontiguousarray(recall[:, :, 0])
            inputs["places"] = np.empty_like(inputs["guesses"])
            self._columns.fill_places(inputs["places"], recall)
        logits, *new = self._session.run(self._outputs, inputs)
        return logits[:, : self._config.vocabulary], new

    def select(self, state: State, rows: Sequence[int]) -> State:
        """The state of these rows alone (see `Runtime.select`)."""
        return [part[rows] for part in state]

    def gather(self, rows: Sequence[tuple[State, int]]) -> State:
        """One state of rows from several (see `Runtime.gather`)."""
        return [np.stack([state[part][row] for state, row in rows]) for part in range(len(self._states))]
