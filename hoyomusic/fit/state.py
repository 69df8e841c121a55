"""What a run leaves behind: all it takes to go on as if it had never paused."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from hoyomusic.errors import TrainingError


@dataclass
class FitState:
    """All it takes to go on: plain values and tensors on the CPU.

    `epoch` counts finished epochs, `step` the steps taken, `segment` those of the epoch under way, whose
    sums are `loss_sum` (nats), `tokens` and `cpu_seconds` and whose carried LSTM state is `carried`.
    `weights` are the current ones, `averaged` their average (None without averaging), `best_weights`
    those of the best validation so far, whose value is `best`, `waited` epochs ago.
    """

    epoch: int
    step: int
    segment: int
    loss_sum: float
    tokens: int
    cpu_seconds: float
    skipped: int
    skipped_in_a_row: int
    carried: list[Tensor] | None
    weights: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    best_weights: dict[str, Tensor] | None
    best: float
    waited: int
    moments: dict[int, dict[str, Tensor]]
    learning_rate: float
    plateau: dict[str, Any]
    config: dict[str, Any]
    machine: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do for the configuration that the state was made with."""
        return self.epoch >= self.config["epochs"] or self.waited >= self.config["patience"]

    @property
    def result(self) -> dict[str, Tensor]:
        """The weights to use: the best, or before the first validation the averaged or current ones."""
        return self.best_weights or self.averaged or self.weights

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings, numbers and tensors, for the checkpoint's `training`."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> FitState:
        """What `to_dict` gave. Raises TrainingError when an entry is missing or unknown."""
        names = {entry.name for entry in fields(FitState)}
        if values.keys() != names:
            raise TrainingError(
                f"the training state has other entries than expected: {', '.join(sorted(values.keys() ^ names))}",
                remedy="start a new run from the model's weights",
            )
        return FitState(**values)
