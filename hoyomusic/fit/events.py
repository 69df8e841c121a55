"""What a run tells while it trains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Before the first step: sizes, where it runs, and the finished epochs and steps of a resumed run.

    `processes` train together; `device` is that of the one that tells. `differences` name what is another than
    it was before the run paused, and may change last bits: torch, device, precision, number of threads.
    """

    epochs: int
    epoch: int
    step: int
    parameters: int
    samples: int
    validation_samples: int
    device: str
    precision: str
    processes: int = 1
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepDone:
    """After a step: `segment` of `segments` in this epoch, mean loss in nats and `tokens` of the step alone.

    `eta_seconds` is the time left until the last epoch asked for, early stopping not foreseen. `skipped` counts
    the steps of the run that were undone, since their loss or gradient was no number or the loss exploded.
    """

    epoch: int
    step: int
    segment: int
    segments: int
    loss: float
    tokens: int
    tokens_per_second: float
    eta_seconds: float
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class WentBack:
    """Too many steps in a row were skipped, the last of them `failed_step`: the run goes on from `step`, where all
    was well, at a lower `learning_rate`, for the `times`-th time.
    """

    epoch: int
    failed_step: int
    step: int
    learning_rate: float
    times: int


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """After an epoch and its validation; `tokens` counts targets, `cpu_seconds` those of all threads in training,
    of all processes.

    `validation_nats_per_token` is that of the averaged weights; `best` says whether no epoch did better.
    """

    epoch: int
    step: int
    tokens: int
    cpu_seconds: float
    nats_per_token: float
    validation_nats_per_token: float
    learning_rate: float
    skipped: int
    best: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """The end of the run; `reason` is ``epochs`` (all done), ``patience`` (nothing gained) or ``asked``."""

    reason: str
    epoch: int
    step: int


Event = RunStarted | StepDone | WentBack | EpochEnded | Stopped
