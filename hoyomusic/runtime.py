"""One step of a trained model, behind one small interface; generating needs no torch.

What a row gives does not hang on the rows beside it: not in the last bit. Matrix products over several
rows sum in another order than over one, so `NumpyRuntime` multiplies row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hoyomusic.sizes import AGREEMENTS

# The epsilon that normalisation was trained with (`normalisation.NORM_EPSILON`; a test holds them equal).
NORM_EPSILON = 1e-5


def one_thread() -> AbstractContextManager[object]:
    """Within it numpy multiplies on one thread.

    A row is too little work to share: on a busy machine threads wait for each other ten times as long
    as they compute, and a sum that is cut for two threads may differ from the whole one in its last bit.
    """
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


@dataclass(frozen=True)
class FoldedWeights:
    """A model without its normalisation, as float32 arrays; H hidden width, 4H gates in the order i, f, g, o.

    The first layer's gates are ``ids[id] + regions[region] + clocks[clock] + h @ matrices[0]``, those of
    layer k are ``concatenate(x, h) @ matrices[k] + biases[k - 1]`` with x the output of the layer below;
    the logits are ``x @ output + output_bias`` with x that of the last. What a guess of source s with
    agreement a adds is entry ``AGREEMENTS * s + a`` of ``x @ recall + recall_bias``.
    """

    ids: np.ndarray  # (V, 4H)
    regions: np.ndarray  # (R, 4H)
    clocks: np.ndarray  # (C, 4H)
    matrices: tuple[np.ndarray, ...]  # (H, 4H), then (2H, 4H)
    biases: tuple[np.ndarray, ...]  # (4H,) from the second layer on
    output: np.ndarray  # (H, V)
    output_bias: np.ndarray  # (V,)
    recall: np.ndarray  # (H, S * AGREEMENTS)
    recall_bias: np.ndarray  # (S * AGREEMENTS,)

    @property
    def hidden(self) -> int:
        """H, the width of a layer."""
        return len(self.output)

    @property
    def layers(self) -> int:
        """L, how many layers there are."""
        return len(self.matrices)


def fold(weights: Mapping[str, Any]) -> FoldedWeights:
    """The weights of `HoyoMusicLSTM` (arrays, or tensors on the CPU) with all that is constant in evaluation done once.

    Normalisation is ``y = a h + d`` with ``a = weight / sqrt(variance + epsilon)`` and ``d = bias - mean a``:
    it moves into the input weights of the layer above (never into the recurrent ones, which see h as it
    is) and of the output. Embeddings become tables of gates. Computed in float64, kept in float32.
    """
    exact = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}
    layers = sum(name.endswith(".weight_hh") for name in exact)
    recall = exact.get("recall_weight", np.zeros((0, exact["output_weight"].shape[1])))
    first = exact["layers.0.weight_ih"].T
    matrices, biases = [exact["layers.0.weight_hh"].T], []
    scale = shift = None
    for layer in range(layers):
        name = f"layers.{layer}"
        if layer:
            inputs = exact[f"{name}.weight_ih"]
            matrices.append(np.concatenate(((inputs * scale).T, exact[f"{name}.weight_hh"].T)))
            biases.append(exact[f"{name}.bias"] + inputs @ shift)
        scale = exact[f"{name}.norm.weight"] / np.sqrt(exact[f"{name}.norm.running_var"] + NORM_EPSILON)
        shift = exact[f"{name}.norm.bias"] - exact[f"{name}.norm.running_mean"] * scale
    return FoldedWeights(
        ids=_kept(exact["embedding"] @ first + exact["layers.0.bias"]),
        regions=_kept(exact["region"] @ first),
        clocks=_kept(exact["clock"] @ first),
        matrices=tuple(map(_kept, matrices)),
        biases=tuple(map(_kept, biases)),
        output=_kept((exact["output_weight"] * scale).T),
        output_bias=_kept(exact["output_bias"] + exact["output_weight"] @ shift),
        recall=_kept((recall * scale).T),
        recall_bias=_kept(exact.get("recall_bias", np.zeros(0)) + recall @ shift),
    )


def _kept(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)


class NumpyRuntime:
    """Float32 in numpy alone: as quick as torch for one row, and there without importing it.

    The sigmoid of the gates i, f and o is ``(1 + tanh(z / 2)) / 2``. The halves, which are exact, are put
    into the weights once, so that one tanh serves all four gates. Where `exact` is false the rows of a
    batch are multiplied together: for many rows twice as quick, but then the last bits of a row hang on the
    batch. That does for statistics, not for a tune that is to be had again.
    """

    def __init__(self, weights: FoldedWeights, *, exact: bool = True) -> None:
        self._times = _times_each if exact else np.matmul
        halves = np.ones((4, weights.hidden), np.float32)
        halves[[0, 1, 3]] = 0.5
        halves = halves.reshape(-1)
        self._hidden, self._layers = weights.hidden, weights.layers
        self._ids, self._regions, self._clocks = (
            table * halves for table in (weights.ids, weights.regions, weights.clocks)
        )
        self._matrices = [matrix * halves for matrix in weights.matrices]
        self._biases = [bias * halves for bias in weights.biases]
        self._output, self._output_bias = weights.output, weights.output_bias
        self._recall, self._recall_bias = weights.recall, weights.recall_bias

    def start(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """The state of `batch` rows before their first id: outputs and cells, zeros, each (L, B, H)."""
        zeros = np.zeros((self._layers, batch, self._hidden), np.float32)
        return zeros, zeros

    def step(
        self,
        ids: np.ndarray,
        region: np.ndarray,
        clock: np.ndarray,
        state: tuple[np.ndarray, np.ndarray],
        recall: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Logits (B, V) for the ids after `ids`, and the new state (see `Runtime.step`)."""
        before, cells = state
        after, new_cells = np.empty_like(before), np.empty_like(cells)
        constant: np.ndarray = self._ids[ids] + self._regions[region] + self._clocks[clock]  # (B, 4H)
        inputs = before[0]
        for layer, matrix in enumerate(self._matrices):
            gates = self._times(inputs, matrix)
            gates += constant
            np.tanh(gates, out=gates)
            gates = gates.reshape(len(gates), 4, self._hidden)
            sigmoids = gates[:, [0, 1, 3]] * np.float32(0.5) + np.float32(0.5)
            new_cells[layer] = sigmoids[:, 1] * cells[layer] + sigmoids[:, 0] * gates[:, 2]
            after[layer] = sigmoids[:, 2] * np.tanh(new_cells[layer])
            if layer + 1 < self._layers:
                constant = self._biases[layer]
                inputs = np.concatenate((after[layer], before[layer + 1]), axis=1)  # (B, 2H)
        logits = self._times(after[-1], self._output) + self._output_bias
        if len(self._recall_bias):
            self._add_recalled(logits, after[-1], recall)
        return logits, (after, new_cells)

    def _add_recalled(self, logits: np.ndarray, values: np.ndarray, recall: np.ndarray) -> None:
        """Add to `logits` (B, V) what the guesses `recall` (B, S, 2) bring, judged by `values` (B, H)."""
        guesses, agreements = recall[:, :, 0], recall[:, :, 1]  # (B, S)
        rows = np.arange(len(recall))[:, None]
        trust = self._times(values, self._recall) + self._recall_bias
        chosen = trust[rows, AGREEMENTS * np.arange(recall.shape[1]) + agreements]
        np.add.at(logits, (rows, guesses), np.where(agreements, chosen, np.float32(0)))

    def select(
        self, state: tuple[np.ndarray, np.ndarray], rows: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The state of these rows alone (see `Runtime.select`)."""
        before, cells = state
        return before[:, rows], cells[:, rows]

    def gather(self, rows: Sequence[tuple[tuple[np.ndarray, np.ndarray], int]]) -> tuple[np.ndarray, np.ndarray]:
        """One state of rows from several (see `Runtime.gather`)."""
        before, cells = (np.stack([state[part][:, row] for state, row in rows], axis=1) for part in (0, 1))
        return before, cells


def _times_each(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``rows @ matrix``, (B, K) by (K, N), each row by itself."""
    product = np.empty((len(rows), matrix.shape[1]), np.float32)
    for index, row in enumerate(rows):
        np.dot(row, matrix, out=product[index])
    return product
