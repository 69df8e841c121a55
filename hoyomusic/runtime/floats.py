"""The step in float32 and numpy alone: there wherever numpy is, and the same as torch's to the last bits.

What a row gives does not hang on the rows beside it: not in the last bit. Matrix products over several
rows sum in another order than over one, so `NumpyRuntime` multiplies row by row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hoyomusic.runtime.folding import FoldedWeights
from hoyomusic.sizes import AGREEMENTS


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
