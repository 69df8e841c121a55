"""A training loop that knows nothing of music: samples in, events out, exactly repeatable and resumable.

Truncated backpropagation through packed streams, AdamW, clipped gradients, a plateau schedule and early
stopping on validation nats per token, and an average of the weights over the last steps, which is what
is validated and kept. Randomness is a function of (seed, epoch, step), so a `FitState` holds all it takes
to go on as if nothing had happened, in the middle of an epoch too. The loop prints nothing.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hoyomusic import streams
from hoyomusic.device import Precision, choose_dtype
from hoyomusic.errors import TrainingError, UsageError
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.streams import Batch, Sample

# So many steps in a row without a finite loss and gradient end the run.
SKIPS_ALLOWED = 3
# Marks targets that do not count, as cross_entropy knows them.
IGNORED = -100


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to train. `epochs` is the total, whether or not the run is resumed.

    A step learns from `rows` x `steps` ids. `clip` bounds the gradient's norm. After `plateau_patience`
    epochs that bring nothing the learning rate is multiplied by `plateau_factor`; after `patience` such
    epochs the run ends. `averaging` is the share of the averaged weights that a step keeps (0: no
    averaging; Polyak & Juditsky 1992). `region_dropout` of the samples are labelled 0 in each epoch.
    `save_seconds` is the longest time without a save.

    Raises UsageError for a value out of bounds.
    """

    epochs: int = 30
    rows: int = 32
    steps: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    plateau_factor: float = 0.5
    plateau_patience: int = 1
    patience: int = 5
    averaging: float = 0.999
    region_dropout: float = 0.1
    boundary_id: int = 0
    precision: Precision = "auto"
    seed: int = 0
    save_seconds: float = 300.0

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1), ("rows", 1), ("steps", 1), ("plateau_patience", 0), ("patience", 1), ("boundary_id", 0),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise UsageError(f"{name} is {value!r}", remedy=f"give a whole number, {least} or more")
        for name, most in (
            ("learning_rate", 1.0), ("weight_decay", 1.0), ("clip", math.inf), ("plateau_factor", 1.0),
            ("averaging", 1.0), ("region_dropout", 1.0), ("save_seconds", math.inf),
        ):
            value = getattr(self, name)
            may_be_zero = name in ("weight_decay", "averaging", "region_dropout")
            if not (0 < value < most or may_be_zero and value == 0):
                raise UsageError(
                    f"{name} is {value!r}",
                    remedy=f"give a number {'from' if may_be_zero else 'above'} 0"
                    + (f" to less than {most:g}" if most < math.inf else ""),
                )


# The order of samples and what dropout drops hang on these: they cannot change in the middle of an epoch.
FIXED_WITHIN_EPOCH = ("rows", "steps", "seed", "boundary_id", "region_dropout")


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Before the first step: sizes, where it runs, and the finished epochs and steps of a resumed run."""

    epochs: int
    epoch: int
    step: int
    parameters: int
    samples: int
    validation_samples: int
    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class StepDone:
    """After a step: `segment` of `segments` in this epoch, mean loss in nats and `tokens` of the step alone.

    `eta_seconds` is the time left until the last epoch asked for, early stopping not foreseen.
    """

    epoch: int
    step: int
    segment: int
    segments: int
    loss: float
    tokens: int
    tokens_per_second: float
    eta_seconds: float


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """After an epoch and its validation; `tokens` counts targets, `cpu_seconds` those of all threads in training.

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


Event = RunStarted | StepDone | EpochEnded | Stopped


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


def fit(
    model: HoyoMusicLSTM,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    config: FitConfig,
    *,
    state: FitState | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    save: Callable[[FitState], None] = lambda state: None,
) -> FitState:
    """Train `model` where it is; the state at the end, whose `result` are the weights to keep.

    `state` goes on with an earlier run: on the same machine bit for bit as if it had never paused.
    `save` is called with the state after each epoch, when stopped, and every `save_seconds`; `should_stop`
    is asked after each step. `model` is left with the last weights, which need not be the best.

    Raises TrainingError when there is nothing to learn from or to validate with, when `state` does not fit, when memory
    runs out, or when loss or gradient is not finite three steps in a row (a single such step is undone).
    """
    if not validation:
        raise TrainingError("there are no samples to validate with", remedy="use a larger corpus")
    run = _Run(model, config)
    if state is not None:
        run.restore(state)
    on_event(RunStarted(
        config.epochs, run.epoch, run.step, sum(weight.numel() for weight in model.parameters()),
        len(training), len(validation), str(run.device), "bf16" if run.dtype == torch.bfloat16 else "fp32",
    ))

    def stop(reason: str) -> FitState:
        snapshot = run.snapshot()
        save(snapshot)
        on_event(Stopped(reason, run.epoch, run.step))
        return snapshot

    started, steps_here, saved = time.monotonic(), 0, time.monotonic()
    while run.epoch < config.epochs and run.waited < config.patience:
        packed = streams.pack(
            training, rows=config.rows, steps=config.steps, seed=config.seed, epoch=run.epoch,
            boundary_id=config.boundary_id, region_dropout=config.region_dropout,
        )
        while run.segment < len(packed):
            began = time.monotonic()
            loss, tokens = run.take_step(packed[run.segment])
            now, steps_here = time.monotonic(), steps_here + 1
            left = len(packed) * (config.epochs - run.epoch) - run.segment
            on_event(StepDone(
                run.epoch, run.step, run.segment, len(packed), loss, tokens,
                tokens / max(now - began, 1e-9), (now - started) / steps_here * left,
            ))
            if should_stop():
                return stop("asked")
            if now - saved > config.save_seconds:
                save(run.snapshot())
                saved = time.monotonic()
        on_event(run.end_epoch(validation))
        if run.epoch < config.epochs and run.waited < config.patience:
            save(run.snapshot())
            saved = time.monotonic()
    return stop("epochs" if run.epoch >= config.epochs else "patience")


@torch.no_grad()
def measure(model: HoyoMusicLSTM, samples: Sequence[Sample], *, rows: int = 64) -> float:
    """Nats per token of `model` on `samples`, each from its start to its end, in float32."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    nats, tokens = 0.0, 0
    for batch in streams.whole(samples, rows=rows):
        given = (_tensor(part, device) for part in (batch.ids, batch.region, batch.clock))
        logits, _ = model(*given, recall=_tensor(batch.recall, device))
        nats += float(_summed_loss(logits, _targets(batch, device)))
        tokens += batch.tokens
    model.train(was_training)
    return nats / tokens


class _Run:
    """What changes while training: the live counterpart of `FitState`."""

    def __init__(self, model: HoyoMusicLSTM, config: FitConfig) -> None:
        self.model = model.train()
        self.config = config
        self.device = next(model.parameters()).device
        self.dtype = choose_dtype(config.precision, self.device, rows=config.rows)
        self.averaged = copy.deepcopy(model).requires_grad_(False).eval() if config.averaging else None
        # Vectors (biases, normalisation) are not decayed: zero is no natural place for them.
        parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [weight for weight in parameters if weight.dim() > 1]},
                {"params": [weight for weight in parameters if weight.dim() == 1], "weight_decay": 0.0},
            ],
            lr=config.learning_rate, weight_decay=config.weight_decay, fused=True,
        )
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=config.plateau_factor, patience=config.plateau_patience
        )
        self.epoch = self.step = self.segment = self.tokens = self.skipped = self.skipped_in_a_row = self.waited = 0
        self.loss_sum = self.cpu_seconds = 0.0
        self.carried: tuple[Tensor, Tensor] | None = None
        self.best = math.inf
        self.best_weights: dict[str, Tensor] | None = None
        self.history: list[dict[str, Any]] = []

    def take_step(self, batch: Batch) -> tuple[float, int]:
        """Learn from one segment; its mean loss and count of targets."""
        began = time.process_time()
        try:
            loss, taken = self._learn(batch)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise TrainingError(
                f"memory ran out with {self.config.rows} rows of {self.config.steps} steps",
                where=self._place(), remedy=f"try {max(self.config.rows // 2, 1)} rows",
            ) from None
        if taken:
            self.skipped_in_a_row = 0
            self.loss_sum += loss * batch.tokens
            self.tokens += batch.tokens
        else:
            self.skipped += 1
            self.skipped_in_a_row += 1
            if self.skipped_in_a_row == SKIPS_ALLOWED:
                raise TrainingError(
                    f"loss or gradient is not a number, {SKIPS_ALLOWED} steps in a row",
                    where=self._place(), remedy="lower the learning rate",
                )
        self.segment += 1
        self.step += 1
        self.cpu_seconds += time.process_time() - began
        return loss, batch.tokens

    def _learn(self, batch: Batch) -> tuple[float, bool]:
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            logits, carried = self.model(
                *(_tensor(part, self.device) for part in (batch.ids, batch.region, batch.clock)), self.carried,
                recall=_tensor(batch.recall, self.device),
                valid=_tensor(batch.valid, self.device), reset=_tensor(batch.reset, self.device),
                key=(self.config.seed, self.epoch, self.segment),
            )
        loss = _summed_loss(logits, _targets(batch, self.device)) / max(batch.tokens, 1)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        loss = loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            # One such step would make every weight NaN; the statistics of normalisation have met it already.
            with torch.no_grad():
                for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                    buffer.copy_(before)
            self.carried = None
            return float(loss), False
        self.optimizer.step()
        self.carried = tuple(part.detach() for part in carried)
        self._average()
        return float(loss), True

    @torch.no_grad()
    def _average(self) -> None:
        """Move the average towards the weights, faster at first, so that it soon forgets where they began."""
        if self.averaged is None:
            return
        taken = self.step - self.skipped
        kept = min(self.config.averaging, (1 + taken) / (10 + taken))
        live = self.model.state_dict()
        for name, average in self.averaged.state_dict().items():
            average.lerp_(live[name], 1 - kept)

    def end_epoch(self, validation: Sequence[Sample]) -> EpochEnded:
        """Validate, keep what is best, adapt the learning rate, and begin the next epoch."""
        candidate = self.averaged or self.model
        value = measure(candidate, validation, rows=self.config.rows)
        learning_rate = self.optimizer.param_groups[0]["lr"]
        is_best = value < self.best
        if is_best:
            self.best, self.waited, self.best_weights = value, 0, _copied(candidate.state_dict())
        else:
            self.waited += 1
        self.plateau.step(value)
        self.epoch += 1
        event = EpochEnded(
            self.epoch, self.step, self.tokens, self.cpu_seconds, self.loss_sum / max(self.tokens, 1), value,
            learning_rate, self.skipped, is_best,
        )
        self.history.append(asdict(event))
        self.segment = self.tokens = 0
        self.loss_sum = self.cpu_seconds = 0.0
        self.carried = None
        return event

    def snapshot(self) -> FitState:
        """The state now, its tensors copied to the CPU."""
        return FitState(
            epoch=self.epoch, step=self.step, segment=self.segment, loss_sum=self.loss_sum, tokens=self.tokens,
            cpu_seconds=self.cpu_seconds, skipped=self.skipped, skipped_in_a_row=self.skipped_in_a_row,
            carried=None if self.carried is None else [_copy(part) for part in self.carried],
            weights=_copied(self.model.state_dict()),
            averaged=None if self.averaged is None else _copied(self.averaged.state_dict()),
            best_weights=self.best_weights, best=self.best, waited=self.waited,
            moments={index: _copied(moment) for index, moment in self.optimizer.state_dict()["state"].items()},
            learning_rate=self.optimizer.param_groups[0]["lr"], plateau=self.plateau.state_dict(),
            config=asdict(self.config),
            machine={
                "torch": str(torch.__version__), "device": str(self.device), "dtype": str(self.dtype),
                "threads": torch.get_num_threads(),
            },
            history=[dict(entry) for entry in self.history],
        )

    def restore(self, state: FitState) -> None:
        """Become what `snapshot` told of."""
        changed = [name for name in FIXED_WITHIN_EPOCH if state.config[name] != getattr(self.config, name)]
        if state.segment and changed:
            raise TrainingError(
                f"{' and '.join(changed)} cannot change in the middle of epoch {state.epoch + 1}",
                remedy=f"use {', '.join(f'{name}={state.config[name]}' for name in changed)}",
            )
        try:
            self.model.load_state_dict(state.weights)
            if self.averaged is not None:
                self.averaged.load_state_dict(state.averaged or state.weights)
            optimizer = self.optimizer.state_dict()
            optimizer["state"] = state.moments
            for group in optimizer["param_groups"]:
                group["lr"] = state.learning_rate
            self.optimizer.load_state_dict(optimizer)
            for weight, moment in self.optimizer.state.items():
                if moment["exp_avg"].shape != weight.shape or moment["exp_avg_sq"].shape != weight.shape:
                    raise ValueError("moments of another shape")
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise TrainingError(
                "the training state does not fit the model", remedy="start a new run from the model's weights"
            ) from error
        self.plateau.load_state_dict(state.plateau)
        for name in ("factor", "patience"):
            setattr(self.plateau, name, getattr(self.config, f"plateau_{name}"))
        self.epoch, self.step, self.segment = state.epoch, state.step, state.segment
        self.loss_sum, self.tokens, self.cpu_seconds = state.loss_sum, state.tokens, state.cpu_seconds
        self.skipped, self.skipped_in_a_row = state.skipped, state.skipped_in_a_row
        if state.carried is not None:
            self.carried = tuple(part.to(self.device) for part in state.carried)
        self.best, self.best_weights, self.waited = state.best, state.best_weights, state.waited
        self.history = [dict(entry) for entry in state.history]

    def _place(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step + 1}"


def _tensor(part: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(part).to(device)


def _targets(batch: Batch, device: torch.device) -> Tensor:
    """(T * B,) the ids asked for, time-major as the logits lie, IGNORED where nothing is asked."""
    return _tensor(np.where(batch.valid, batch.targets, IGNORED).T.reshape(-1), device)


def _summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over the targets that count, in float32."""
    flat = logits.transpose(0, 1).reshape(len(targets), -1).float()
    return functional.cross_entropy(flat, targets, ignore_index=IGNORED, reduction="sum")


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: _copy(tensor) for name, tensor in tensors.items()}


def _is_out_of_memory(error: BaseException) -> bool:
    """torch has a class for a full card; a full main memory it tells only in words."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
