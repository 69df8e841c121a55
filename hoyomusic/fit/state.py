"""What a run leaves behind: all it takes to go on as if it had never paused."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from torch import Tensor

from hoyomusic.errors import HoyoError, TrainingError
from hoyomusic.fit.settings import FitConfig

# What changes from step to step. All else changes only when an epoch ends, or when the run goes back.
WITHIN_EPOCH = (
    "step", "segment", "loss_sum", "tokens", "cpu_seconds", "skipped", "skipped_in_a_row", "carried", "weights",
    "averaged", "moments",
)
# What each epoch of the history tells and a checkpoint repeats.
_TOLD = {"epoch": int, "step": int, "nats_per_token": float, "validation_nats_per_token": float}


@dataclass
class FitState:
    """All it takes to go on: plain values and tensors on the CPU.

    `epoch` counts finished epochs, `step` the steps taken, `segment` those of the epoch under way, whose
    sums are `loss_sum` (nats), `tokens` and `cpu_seconds` and whose carried LSTM state is `carried`.
    `weights` are the current ones, `averaged` their average (None without averaging), `best_weights`
    those of the best validation so far, whose value is `best`, `waited` epochs ago. `good` is what the entries
    `WITHIN_EPOCH` were where the run goes back to if it must (None: where it is), which it did `retreats` times.
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
    good: dict[str, Any] | None = None
    retreats: int = 0

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do for the configuration that the state was made with."""
        return self.epoch >= self.config["epochs"] or self.waited >= self.config["patience"]

    @property
    def result(self) -> dict[str, Tensor]:
        """The weights to use: the best, or before the first validation the averaged or current ones."""
        return self.best_weights or self.averaged or self.weights

    def on_other_samples(self) -> FitState:
        """The same at the beginning of its epoch: with other samples neither places in it nor the best value hold."""
        plateau = {**self.plateau, "best": math.inf, "num_bad_epochs": 0}
        return replace(
            self, segment=0, loss_sum=0.0, tokens=0, cpu_seconds=0.0, carried=None, good=None,
            best=math.inf, waited=0, plateau=plateau,
        )

    def within_epoch(self) -> dict[str, Any]:
        """The entries `WITHIN_EPOCH`."""
        return {name: getattr(self, name) for name in WITHIN_EPOCH}

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings, numbers and tensors, for the checkpoint's `training`."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> FitState:
        """What `to_dict` gave, whoever wrote it; entries that came later may be missing.

        Raises TrainingError when another entry is missing or unknown, or is not of the kind it must be.
        """
        if type(values) is not dict:
            raise _misfit("is none")
        names = {entry.name for entry in fields(FitState)}
        values = {"good": None, "retreats": 0, **values}
        if values.keys() != names:
            raise _misfit(f"has other entries than expected: {', '.join(sorted(map(str, values.keys() ^ names)))}")
        good = values["good"]
        if good is not None and (type(good) is not dict or good.keys() != set(WITHIN_EPOCH)):
            raise _misfit("has other entries than expected: good")
        for name in names - {"good"}:
            for value in (values[name], *([] if good is None or name not in WITHIN_EPOCH else [good[name]])):
                if not _is_of_kind(name, value):
                    raise _misfit(f"holds no {name} as training leaves it")
        try:
            config = asdict(FitConfig(**values["config"]))
        except (TypeError, HoyoError) as error:
            raise _misfit(f"was made with settings that cannot be: {str(error)[:200]}") from error
        return FitState(**{**values, "config": config})


def _is_of_kind(name: str, value: Any) -> bool:
    if name in ("epoch", "step", "segment", "tokens", "skipped", "skipped_in_a_row", "waited", "retreats"):
        return type(value) is int and value >= 0
    if name in ("loss_sum", "cpu_seconds", "best", "learning_rate"):
        return type(value) in (int, float) and not math.isnan(value)
    if name in ("weights", "averaged", "best_weights"):
        return value is None and name != "weights" or _are_tensors(value)
    if name == "carried":
        return value is None or type(value) is list and len(value) == 2 and all(
            type(part) is Tensor and part.dim() == 3 for part in value
        )
    if name == "moments":
        return type(value) is dict and all(_are_tensors(moment) for moment in value.values())
    if name == "history":
        return type(value) is list and all(
            type(epoch) is dict and all(type(epoch.get(told)) is kind for told, kind in _TOLD.items())
            for epoch in value
        )
    return type(value) is dict


def _are_tensors(value: Any) -> bool:
    return type(value) is dict and all(type(tensor) is Tensor for tensor in value.values())


def _misfit(message: str) -> TrainingError:
    return TrainingError(f"the training state {message}", remedy="start a new run from the model's weights")
