"""The command line: parse, call, print; what is computed is computed elsewhere.

One module a group of commands. Whatever is heavy is imported inside a command, so that ``hoyo --help``
is there at once. `main` turns every `HoyoError` into one line on stderr and its exit code.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from hoyomusic import __version__
from hoyomusic.cli import corpus, doctor, evaluate, export, generate, play, regions, render, rewrite, train
from hoyomusic.cli.console import examples, warn
from hoyomusic.errors import HoyoError


@dataclass
class Settings:
    """What is said before the command's name; each call of `run` has its own."""

    debug: bool = False


app = typer.Typer(
    name="hoyo",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "hoyo generate --region Mondstadt",
        "hoyo render tune.abc -o tune.wav",
        "hoyo train --max-samples 1000 --epochs 5",
    ),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hoyomusic {__version__}")
        raise typer.Exit


@app.callback()
def _start(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the program an error arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Symbolic music for the nations of Teyvat: make it, hear it, train the model that makes it."""
    context.obj.debug = debug


app.command("generate", epilog=generate.EXAMPLES)(generate.generate)
app.command("play", epilog=play.EXAMPLES)(play.play)
app.command("infill", epilog=rewrite.INFILL_EXAMPLES)(rewrite.infill)
app.command("vary", epilog=rewrite.VARY_EXAMPLES)(rewrite.vary)
app.command("render", epilog=render.EXAMPLES)(render.render)
app.command("regions", epilog=regions.EXAMPLES)(regions.regions)
app.command("train", epilog=train.TRAIN_EXAMPLES)(train.train)
app.command("resume", epilog=train.RESUME_EXAMPLES)(train.resume)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("export", epilog=export.EXAMPLES)(export.export)
app.add_typer(corpus.app, name="corpus")
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name); its exit code.

    0: done; 1: could not be done, or the reader of stdout went away; 2: asked for wrongly; 130: interrupted.
    """
    settings = Settings()
    try:
        app(args=list(arguments), prog_name="hoyo", obj=settings)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0
    except HoyoError as error:
        if settings.debug:
            traceback.print_exception(error)
        warn(str(error))
        return error.exit_code
    return 0


def main() -> None:
    """The console script `hoyo`."""
    output = sys.stdout
    for stream in (output, sys.stderr):
        # A terminal that lacks Chinese signs gets question marks, not an error.
        stream.reconfigure(errors="replace")
    code = run(sys.argv[1:])
    try:
        output.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends: let that go nowhere, in silence.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
        code = 1
    sys.exit(code)
