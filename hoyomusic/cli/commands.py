"""Which commands there are; one module a group of them.

Whatever is heavy is imported inside a command, so that ``hoyo --help`` is there at once.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import typer

from hoyomusic import __version__
from hoyomusic.cli import convert, corpus, doctor, evaluate, export, generate, play, regions, render, rewrite, train
from hoyomusic.cli.console import examples
from hoyomusic.cli.usage import Commands

app = typer.Typer(
    name="hoyo",
    cls=Commands,
    rich_markup_mode=None,
    add_completion=False,
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
app.command("convert", epilog=convert.EXAMPLES)(convert.convert)
app.add_typer(corpus.app, name="corpus")
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)


@cache
def find_program() -> Any:
    """The program as one command that has the others; made once, as that takes a tenth of a second."""
    return typer.main.get_command(app)
