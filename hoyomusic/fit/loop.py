"""From the first step to the last: epochs, saves, and the reasons to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from hoyomusic import streams
from hoyomusic.errors import TrainingError
from hoyomusic.fit.events import Event, RunStarted, StepDone, Stopped
from hoyomusic.fit.learning import Learning
from hoyomusic.fit.memory import memory_told
from hoyomusic.fit.settings import FitConfig
from hoyomusic.fit.state import FitState
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.ranks import ALONE, Ranks
from hoyomusic.samples import Sample


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
    ranks: Ranks = ALONE,
) -> FitState:
    """Train `model` where it is; the state at the end, whose `result` are the weights to keep.

    `state` goes on with an earlier run: on the same machine bit for bit as if it had never paused.
    `save` is called with the state after each epoch, when stopped, and every `save_seconds`; `should_stop`
    is asked after each step. `model` is left with the last weights, which need not be the best.

    Where `ranks` are several processes, all call this with the same arguments but these: `config.rows` are
    those of all of them, events and states are the same in each, any of them may ask to stop, and the first
    one alone is asked to save. A state may be gone on with by another number of processes.

    A step whose loss or gradient is no number, or whose loss explodes, is undone and counted. After three in a row
    the run goes back to where it was at most 1000 steps ago, in the same epoch, at a quarter of the learning rate.

    Raises TrainingError when there is nothing to learn from or to validate with, when `state` does not fit, when memory
    runs out, when another process has ended, or when three such returns have not helped; UsageError when the
    processes cannot share the rows.
    """
    if not validation:
        raise TrainingError("there are no samples to validate with", remedy="use a larger corpus")
    with memory_told("before the first step", "train a smaller model: give fewer --hidden or --layers"):
        run = Learning(model, config, ranks)
        if state is not None:
            run.restore(state)
    on_event(RunStarted(
        config.epochs, run.epoch, run.step, sum(weight.numel() for weight in model.parameters()),
        len(training), len(validation), str(run.device), "bf16" if run.dtype == torch.bfloat16 else "fp32",
        ranks.count, () if state is None else _describe_differences(state.machine, run.machine()),
    ))
    with memory_told(
        f"with {config.rows} rows of {config.steps} steps", f"try {max(config.rows // 2, 1)} rows",
        lambda: f"epoch {run.epoch + 1}, step {run.step + 1}",
    ):
        return _go(run, training, validation, on_event, should_stop, save)


def _describe_differences(before: dict[str, Any], now: dict[str, Any]) -> tuple[str, ...]:
    """What of the machine is another than it was, in words."""
    words = {"torch": "torch", "device": "device", "dtype": "precision", "threads": "number of threads"}
    return tuple(
        f"{words[name]} {str(before.get(name, 'unknown'))[:40].removeprefix('torch.')} then,"
        f" {str(value).removeprefix('torch.')} now"
        for name, value in now.items() if before.get(name) != value
    )


def _go(
    run: Learning,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    on_event: Callable[[Event], None],
    should_stop: Callable[[], bool],
    save: Callable[[FitState], None],
) -> FitState:
    """The steps and epochs that are left."""
    config, ranks = run.config, run.ranks

    def keep() -> FitState:
        snapshot = run.snapshot()
        if ranks.first:
            save(snapshot)
        return snapshot

    def stop(reason: str) -> FitState:
        snapshot = keep()
        # Launchers end the others when one process leaves: none may before the last save is done.
        ranks.wait()
        on_event(Stopped(reason, run.epoch, run.step))
        return snapshot

    started, steps_here, saved = time.monotonic(), 0, time.monotonic()
    while run.epoch < config.epochs and run.waited < config.patience:
        packed = streams.pack(
            training, rows=config.rows, steps=config.steps, seed=config.seed, epoch=run.epoch,
            boundary_id=config.boundary_id, region_dropout=config.region_dropout,
        )
        while run.segment < len(packed):
            run.remember()
            began = time.monotonic()
            loss, tokens = run.take_step(packed[run.segment])
            now, steps_here = time.monotonic(), steps_here + 1
            left = len(packed) * (config.epochs - run.epoch) - run.segment
            on_event(StepDone(
                run.epoch, run.step, run.segment, len(packed), loss, tokens,
                tokens / max(now - began, 1e-9), (now - started) / steps_here * left, run.skipped,
            ))
            if (gone_back := run.go_back()) is not None:
                on_event(gone_back)
            asked, due = ranks.agree(should_stop(), now - saved > config.save_seconds)
            if asked:
                return stop("asked")
            if due:
                keep()
                saved = time.monotonic()
        on_event(run.end_epoch(validation))
        if run.epoch < config.epochs and run.waited < config.patience:
            keep()
            saved = time.monotonic()
    return stop("epochs" if run.epoch >= config.epochs else "patience")
