"""`hoyo train` and `hoyo resume`: start a run or go on with one, watch it, stop it without loss."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoyomusic.cli.console import examples, given, note
from hoyomusic.cli.corpus import SOURCES_HELP, HoyomusicOption, UseHoyomusicOption, choose_hoyomusic

if TYPE_CHECKING:
    from hoyomusic.fit import FitState
    from hoyomusic.training import RunEvent

TRAIN_EXAMPLES = examples(
    "hoyo train --max-samples 1000 --epochs 5",
    "hoyo train --corpus default --corpus ~/tunes --out models/mine.pth",
    "hoyo train --from models/mine.pth --corpus ~/more-tunes --out models/mine-2.pth",
)
RESUME_EXAMPLES = examples("hoyo resume", "hoyo resume models/mine.pth --epochs 40 --learning-rate 0.001")

# What asks a program to end; the last one comes when its terminal is closed.
STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
# `timeout` and shells send a signal both to a process and to its group: what comes again so soon is the same one.
ECHO_SECONDS = 0.3

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object an event instead of the display.")]


def train(
    max_samples: Annotated[int | None, typer.Option("--max-samples", help="Take at most so many tunes.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="How often to go through all tunes, at most.")] = None,
    sources: Annotated[list[str] | None, typer.Option("--corpus", metavar="NAME|PATH", help=SOURCES_HELP)] = None,
    use_hoyomusic: UseHoyomusicOption = False,
    hoyomusic: HoyomusicOption = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.pth", help="Where the model goes.")] = None,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="CHECKPOINT", help="Begin with the weights of this model.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Chooses first weights, order and dropout.")] = None,
    embedding: Annotated[int | None, typer.Option("--embedding", help="Width of the embedding.")] = None,
    hidden: Annotated[int | None, typer.Option("--hidden", help="Width of the LSTM layers.")] = None,
    layers: Annotated[int | None, typer.Option("--layers", help="Number of LSTM layers.")] = None,
    dropout: Annotated[float | None, typer.Option("--dropout", help="Share of the layers' outputs dropped.")] = None,
    weight_dropout: Annotated[
        float | None, typer.Option("--weight-dropout", help="Share of the recurrent weights dropped.")
    ] = None,
    norm: Annotated[
        str | None, typer.Option("--norm", help="batch, or layer to compare with; only batch can generate.")
    ] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="Streams that are read side by side.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Tokens of each stream in one step.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="The rate to begin with.")] = None,
    patience: Annotated[int | None, typer.Option("--patience", help="Epochs without gain before the end.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="auto, fp32 or bf16.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model on tunes. Ctrl-C stops after the step under way and loses nothing, a second one at once.

    The model goes to models/hoyomusic_generator.pth in this folder, where generate finds it. Several processes
    share the rows: torchrun --nproc-per-node 2 -m hoyomusic train ...
    """
    from hoyomusic import training
    from hoyomusic.fit import FitConfig

    fit = given(
        epochs=epochs, rows=rows, steps=steps, learning_rate=learning_rate, patience=patience,
        precision=precision, seed=seed,
    )  # fmt: skip
    sizes = given(
        corpus=tuple(sources) if sources else None, max_samples=max_samples, out=out, start=start, embedding=embedding,
        hidden=hidden, layers=layers, dropout=dropout, weight_dropout=weight_dropout, norm=norm, device=device,
    )  # fmt: skip
    config = training.TrainingConfig(
        hoyomusic=choose_hoyomusic(use_hoyomusic, hoyomusic), fit=FitConfig(**fit), **sizes
    )
    _watch(lambda **hooks: training.train(config, **hooks), config.out, as_json)


def resume(
    checkpoint: Annotated[
        Path | None, typer.Argument(metavar="[CHECKPOINT]", help="The model; else the one that train made here.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="The total, finished ones counted in.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Go on at this rate.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Go on even if corpus or program have changed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a training run where it stopped, as if it never had."""
    from hoyomusic import training

    path = checkpoint or training.USER_MODEL
    wish = {"epochs": epochs, "learning_rate": learning_rate, "force": force}
    _watch(lambda **hooks: training.resume(path, **wish, **hooks), path, as_json)


def _watch(start: Callable[..., FitState], path: Path, as_json: bool) -> None:
    """Run a training, show its events, and say at the end what to do next."""
    from hoyomusic.cli.watching import open_watcher
    from hoyomusic.fit import RunStarted
    from hoyomusic.ranks import join

    with join() as ranks, open_watcher(as_json, silent=not ranks.first) as watcher, _Interruption() as interruption:

        def on_event(event: RunEvent) -> None:
            if isinstance(event, RunStarted):
                interruption.arm()
            watcher.on_event(event)

        state = start(on_event=on_event, should_stop=interruption.came, progress=watcher.progress, ranks=ranks)
    if not ranks.first:
        return
    name = shlex.quote(str(path))
    if not state.finished:
        note(f"stopped and saved after {state.step:,} steps; go on with: hoyo resume {name}")
        # Without a signal of our own another process was told to stop.
        raise typer.Exit(128 + (interruption.signal or signal.SIGTERM))
    note(f"the model is in {path}; hear it with: hoyo generate --region Mondstadt --model {name}")


class _Interruption:
    """Turns the first signal that asks to end into a wish to stop, once armed; a second one ends the program.

    Before the first step there is nothing to save, and signals have their usual effect. A hangup that the caller
    told to ignore (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._came_at = 0.0
        self._before: dict[int, Any] = {}

    def arm(self) -> None:
        for number in STOPPING:
            if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._catch)

    def came(self) -> bool:
        return self.signal != 0

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if not self.signal:
            self.signal, self._came_at = number, time.monotonic()
        elif time.monotonic() - self._came_at > ECHO_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __enter__(self) -> _Interruption:
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()
