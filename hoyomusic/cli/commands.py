"""Which commands there are: their names and what each is for; the module of one is imported when it is called.

What is heavy is imported inside a command, so that ``hoyo --help`` and the help of each are there at once.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from hoyomusic import __version__
from hoyomusic.cli.console import examples
from hoyomusic.cli.usage import Command, Commands

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


# In the order of the help: the name, the module and in it the command's examples (None: a group of commands),
# and the first sentence of the command's own help.
_COMMANDS = (
    ("generate", "generate", "EXAMPLES",
     "Compose tunes in the style of a nation and write them as ABC, MIDI, sound and sheet."),
    ("play", "play", "EXAMPLES", "Play endless music in the style of a nation to a MIDI port, made while it sounds."),
    ("infill", "rewrite", "INFILL_EXAMPLES",
     "Fill bars of a tune anew, so that they fit those before and behind them, which stay as they are."),
    ("vary", "rewrite", "VARY_EXAMPLES", "Vary a tune: a share of its bars changes; form, key and cadences stay."),
    ("render", "render", "EXAMPLES",
     "Turn ABC tunes into MIDI, sound (wav, flac, ogg, mp3) or sheet (svg, musicxml, mxl, abc)."),
    ("regions", "regions", "EXAMPLES",
     "Show the nations: learned by the model or styled by rule, from how many tunes, and how they sound."),
    ("train", "train", "TRAIN_EXAMPLES", "Train a model on tunes."),
    ("resume", "train", "RESUME_EXAMPLES", "Go on with a training run where it stopped, as if it never had."),
    ("evaluate", "evaluate", "EXAMPLES",
     "Measure a model: likelihood, validity, fidelity to the nations, diversity, form, novelty."),
    ("export", "export", "EXAMPLES",
     "Write a model as an ONNX file, which generating starts from where it lies beside the model."),
    ("convert", "convert", "EXAMPLES",
     "Convert models of Keras 2 and 3 to PyTorch, without TensorFlow; what cannot be converted exactly is refused."),
    ("doctor", "doctor", "EXAMPLES",
     "Look at this machine and this installation; exit code 1 if something needed is missing."),
    ("corpus", "corpus", None, "What there is to learn from: count it, read it once and for all, add your own."),
)  # fmt: skip


class Announced(TyperCommand):
    """A command of which only the name and what it is for are known; whoever runs it runs the whole one."""

    def __init__(self, name: str, module: str, examples_name: str | None, purpose: str) -> None:
        super().__init__(name, help=purpose, rich_markup_mode=None)
        self._module = module
        self._examples_name = examples_name

    def make_context(
        self, info_name: str | None, args: list[str], parent: typer.Context | None = None, **extra: Any
    ) -> typer.Context:
        return self.load().make_context(info_name, args, parent, **extra)

    def load(self) -> Any:
        """The whole command, or group of commands, with its options."""
        module = import_module(f"hoyomusic.cli.{self._module}")
        if self._examples_name is None:
            return typer.main.get_command(module.app)
        alone = typer.Typer(rich_markup_mode=None, add_completion=False)
        epilog = getattr(module, self._examples_name)
        alone.command(self.name, cls=Command, epilog=epilog)(getattr(module, self.name))
        return typer.main.get_command(alone)


@cache
def find_program() -> Any:
    """The program as one command that has the others; made once."""
    program = typer.main.get_command(app)
    for row in _COMMANDS:
        program.add_command(Announced(*row))
    return program
