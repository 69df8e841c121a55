"""A training run as one sees it: a live line on a terminal, plain lines in a pipe, JSON lines for programs."""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Protocol

from hoyomusic.cli.console import note, write_json
from hoyomusic.cli.corpus import show_statistics
from hoyomusic.device import memory_used
from hoyomusic.fit import EpochEnded, RunStarted, StepDone, Stopped, WentBack
from hoyomusic.text import printable
from hoyomusic.training import CorpusReady, GoesOnDifferently, ModelKept, RunEvent

# Without a terminal the steps of an epoch are told so often.
PLAIN_STEP_SECONDS = 60.0
# And so often on a terminal.
LIVE_STEP_SECONDS = 0.25

JSON_NAMES = {
    CorpusReady: "corpus ready",
    ModelKept: "model kept",
    GoesOnDifferently: "goes on differently",
    RunStarted: "run started",
    StepDone: "step",
    WentBack: "went back",
    EpochEnded: "epoch ended",
    Stopped: "stopped",
}
REASONS = {
    "epochs": "all epochs are done",
    "patience": "the validation loss has stopped falling",
    "asked": "stopped as asked",
}


class Watcher(Protocol):
    """Somebody who is told what a run does."""

    def on_event(self, event: RunEvent) -> None:
        """An event of the run."""

    def progress(self, what: str, count: int) -> None:
        """How many tunes have been read of a source."""


@contextmanager
def open_watcher(as_json: bool, *, silent: bool = False) -> Iterator[Watcher]:
    """The watcher for this stdout; a `silent` one leaves the telling to another process."""
    if silent:
        yield SilentWatcher()
    elif as_json:
        yield EnduringWatcher(JsonWatcher())
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        # Refreshed here and by no thread of its own: where the terminal is gone, that is where it is noticed.
        live = Live(console=Console(markup=False, emoji=False, highlight=False), auto_refresh=False)
        teller = EnduringWatcher(
            LineWatcher(
                live.console.print, lambda lines: live.update(Text(lines), refresh=True), LIVE_STEP_SECONDS
            )
        )
        teller.tell(live.start)
        try:
            yield teller
        finally:
            # What Live shows last stays on the screen: nothing is to stay.
            teller.tell(lambda: live.update("", refresh=True))
            teller.tell(live.stop)
    else:
        yield EnduringWatcher(
            LineWatcher(_print_line, lambda lines: _print_line(lines.replace("\n", ", ")), PLAIN_STEP_SECONDS)
        )


def _print_line(line: str) -> None:
    print(line, flush=True)


class SilentWatcher:
    """Tells nothing."""

    def on_event(self, event: RunEvent) -> None:
        """Another process tells it."""

    def progress(self, what: str, count: int) -> None:
        """Another process tells it."""


class EnduringWatcher:
    """Tells as another does for as long as anybody hears it: a closed pipe or terminal, or a full disk behind it,
    is no reason to lose a night's work. What was to be told from then on is dropped.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._heard = True

    def on_event(self, event: RunEvent) -> None:
        self.tell(lambda: self._watcher.on_event(event))

    def progress(self, what: str, count: int) -> None:
        self.tell(lambda: self._watcher.progress(what, count))

    def tell(self, telling: Callable[[], object]) -> None:
        """Do what writes to stdout, unless nobody hears it."""
        if not self._heard:
            return
        try:
            telling()
        except OSError as error:
            self._heard = False
            # What is still held back for stdout goes nowhere, and neither disturbs the end of the program.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            note(f"nobody takes what is told any more ({error.strerror}); the training goes on")


class JsonWatcher:
    """One JSON object an event; epochs also tell nats per note and the memory in use."""

    def __init__(self) -> None:
        self._notes_per_token = 1.0

    def on_event(self, event: RunEvent) -> None:
        told: dict[str, Any] = {"event": JSON_NAMES[type(event)], **_without_nan(asdict(event))}
        if isinstance(event, CorpusReady):
            self._notes_per_token = event.notes_per_token
        elif isinstance(event, ModelKept):
            told |= {"path": str(event.path), "kept_as": str(event.kept_as)}
        elif isinstance(event, EpochEnded):
            per_note = event.validation_nats_per_token / self._notes_per_token
            told["validation_nats_per_note"] = per_note if math.isfinite(per_note) else None
            told["memory_bytes"] = memory_used()
        write_json(told)

    def progress(self, what: str, count: int) -> None:
        """Reading is no event."""


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no word for what is no number but null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


class LineWatcher:
    """Lines for people: `say` keeps a line for good, `show` one or two that pass, at most every `pause` seconds."""

    def __init__(self, say: Callable[[str], None], show: Callable[[str], None], pause: float) -> None:
        self._say = say
        self._show = show
        self._pause = pause
        self._shown = time.monotonic()
        self._notes_per_token = 1.0
        self._epochs = 0

    def on_event(self, event: RunEvent) -> None:
        if isinstance(event, StepDone):
            undone = f", {_describe_skipped(event.skipped)}" if event.skipped else ""
            self._pass(
                f"epoch {event.epoch + 1}/{self._epochs}, step {event.segment}/{event.segments}:"
                f" {event.loss:.3f} nats a token, {event.loss / self._notes_per_token:.3f} a note{undone}\n"
                f"{event.tokens_per_second:,.0f} tokens/s, {describe_seconds(event.eta_seconds)} left, memory"
                f" {describe_memory(memory_used())}"
            )
        elif isinstance(event, EpochEnded):
            self._say(self._epoch_row(event))
        elif isinstance(event, CorpusReady):
            self._notes_per_token = event.notes_per_token
            self._tell_corpus(event)
            self._pass("starting")
        elif isinstance(event, RunStarted):
            self._epochs = event.epochs
            together = f", {event.processes} processes" if event.processes > 1 else ""
            self._say(f"{event.parameters:,} parameters on {event.device} in {event.precision}{together}")
            self._say("           nats a token      nats a note  learning  tokens a")
            self._say(" epoch   train validate   train validate      rate    CPU s  memory")
            if event.differences:
                self._say(f"not bit for bit as before the pause: {'; '.join(event.differences)}")
        elif isinstance(event, GoesOnDifferently):
            self._say(f"goes on all the same: {printable('; '.join(event.differences))}")
        elif isinstance(event, WentBack):
            self._say(
                f"loss or gradient was no number or exploded up to step {event.failed_step:,}: back to step"
                f" {event.step:,}, on at a learning rate of {event.learning_rate:.2g}"
            )
        elif isinstance(event, ModelKept):
            kept_as = printable(str(event.kept_as))
            self._say(f"the model that was in {printable(str(event.path))} is kept as {kept_as}")
            self._say(f"to go on with that one instead: hoyo resume {printable(shlex.quote(str(event.kept_as)))}")
        elif isinstance(event, Stopped):
            self._say(REASONS[event.reason])

    def _epoch_row(self, event: EpochEnded) -> str:
        train, validation, notes = event.nats_per_token, event.validation_nats_per_token, self._notes_per_token
        speed = event.tokens / max(event.cpu_seconds, 1e-9)
        return (
            f"{event.epoch:>3}/{self._epochs:<3}{train:>7.3f}{validation:>9.3f}"
            f"{train / notes:>8.3f}{validation / notes:>9.3f}{event.learning_rate:>10.2g}{speed:>9,.0f}"
            f"  {describe_memory(memory_used())}{'  best' if event.best else ''}"
            f"{f'  {_describe_skipped(event.skipped)}' if event.skipped else ''}"
        )

    def progress(self, what: str, count: int) -> None:
        self._pass(f"reading {printable(what, 50)}: {count:,} tunes")

    def _pass(self, line: str) -> None:
        now = time.monotonic()
        if now - self._shown >= self._pause:
            self._show(line)
            self._shown = now

    def _tell_corpus(self, event: CorpusReady) -> None:
        show_statistics(event.statistics)
        for reason, count in event.unsayable.items():
            self._say(f"{count:,} tunes left out that the model has no words for: {printable(reason)}")
        learned = ", ".join(event.learned) or "none"
        self._say(
            f"learns from {event.training:,} tunes ({event.tokens:,} tokens), is judged by {event.validation:,};"
            f" nations with tunes enough: {learned}"
        )


def _describe_skipped(count: int) -> str:
    return f"{count:,} step{'s' if count > 1 else ''} skipped"


def describe_seconds(seconds: float) -> str:
    """A time as a clock shows it: ``0:12:33``."""
    return str(timedelta(seconds=round(seconds)))


def describe_memory(used: dict[str, int]) -> str:
    """Memory of the process, and of the graphics card where there is one."""
    card = f", GPU {used['cuda'] / 2**20:,.0f} MiB" if "cuda" in used else ""
    return f"{used['process'] / 2**20:,.0f} MiB{card}"
