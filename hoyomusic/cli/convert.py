"""`hoyo convert`: models of Keras as `.pth` files, exactly or not at all."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoyomusic.cli.console import complain, count_progress, examples, given, new_table, note, output, say, write_json
from hoyomusic.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from hoyomusic.legacy.converter import Conversion, Outcome

EXAMPLES = examples(
    "hoyo convert models/hoyomusic_generator.h5",
    "hoyo convert tcn.h5 --params tcn.json --check tcn.npz --out tcn.pth",
    "hoyo convert old-models --out new-models",
)
KERAS_SUFFIX = ".h5"


def convert(
    source: Annotated[Path, typer.Argument(metavar="MODEL.h5|FOLDER", help="A model of Keras, or a folder of them.")],
    params: Annotated[
        Path | None,
        typer.Option("--params", metavar="FILE", help="The architecture (.json), or the old program's .pkl."),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE.pth|FOLDER", help="Where it goes; else beside the model.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="FILE.npz", help="Inputs and the outputs that Keras gave for them."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="float16 or bfloat16: weights of half the size, not exact.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights in whole numbers: a quarter of the size, not exact.")
    ] = False,
    prune: Annotated[
        float | None, typer.Option("--prune", metavar="SHARE", help="Make this share of the weights zero; not exact.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a model.")] = False,
) -> None:
    """Convert models of Keras 2 and 3 to PyTorch, without TensorFlow; what cannot be converted exactly is refused.

    Beside the .pth a _info.json tells what was found and how it was tested. hoyo generate takes an old generator.
    """
    from hoyomusic.legacy.converter import Options, convert_file

    options = Options(**given(precision=precision, int8=int8 or None, prune=prune))
    if out == "":
        raise UsageError("an empty name", where="--out", remedy="name a file or a folder")
    if source.is_dir():
        for name, value in (("--params", params), ("--check", check)):
            if value is not None:
                raise UsageError("belongs to one model", where=name, remedy="name the model, not its folder")
        if out is None:
            raise UsageError("--out is missing", where=str(source), remedy="say where the folder's models go")
        _convert_folder(source, Path(out), options, force, as_json)
        return
    target = source.with_suffix(".pth") if out is None else Path(out)
    if target.is_dir():
        target = target / source.with_suffix(".pth").name
    made = convert_file(source, target, params=params, reference=check, options=options, overwrite=force)
    if as_json:
        write_json(made.to_dict())
    else:
        _show(made)


def find_converted(model: str) -> str:
    """The converted file of a Keras model, `model`, that is to be used; any other name as it is.

    Where there is none, it is offered to make one: on a terminal by a question, else by the command in the error.
    """
    source = Path(model)
    if source.suffix.lower() != KERAS_SUFFIX:
        return model
    target = source.with_suffix(".pth")
    if target.is_file():
        note(f"{source} was converted: {target} is used")
        return str(target)
    if not source.is_file():
        raise CheckpointError("there is no such file", where=model, remedy="name a .pth file, or default")
    command = f"hoyo convert {shlex.quote(model)}"
    asked = sys.stdin.isatty() and sys.stderr.isatty()
    if not asked or not typer.confirm(f"{model} is a model of Keras. Convert it now ({command})?", err=True):
        raise CheckpointError("is a model of Keras, not converted yet", where=model, remedy=f"convert it: {command}")
    from hoyomusic.legacy.converter import convert_file

    _show(convert_file(source, target))
    return str(target)


def _convert_folder(source: Path, out: Path, options: Any, force: bool, as_json: bool) -> None:
    from hoyomusic.legacy.converter import convert_folder

    with count_progress() as tell:
        outcomes = convert_folder(source, out, options=options, overwrite=force, progress=tell)
    for outcome in outcomes:
        if as_json:
            write_json(outcome.to_dict())
        if outcome.refusal is not None:
            complain(outcome.refusal)
    refused = sum(outcome.refusal is not None for outcome in outcomes)
    if not as_json:
        _summarise(outcomes)
        say(f"{len(outcomes) - refused} converted, {refused} refused")
    if refused:
        raise typer.Exit(1)


def _summarise(outcomes: list[Outcome]) -> None:
    table = new_table(
        "model", "Keras", "layers", "parameters", "difference", "file", numbers=("layers", "parameters", "difference")
    )
    for outcome in outcomes:
        made = outcome.conversion
        if made is None:
            table.add_row(outcome.source.name, "", "", "", "", "refused")
            continue
        table.add_row(
            outcome.source.name, made.keras_version, str(len(made.layers)), f"{made.parameters:,}",
            f"{made.largest:.1e}", str(made.target),
        )
    output().print(table)


def _show(made: Conversion) -> None:
    """What was found, how it was tested, and what was written."""
    say(f"{made.source}: {made.kind} of Keras {made.keras_version}, {len(made.layers)} layers, "
        f"{made.parameters:,} parameters")  # fmt: skip
    table = new_table("layer", "class", "weights", "parameters", numbers=("parameters",))
    for layer in made.layers:
        weights = "  ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in layer["weights"].items())
        table.add_row(layer["name"], layer["class"], weights, f"{layer['parameters']:,}")
    output().print(table)
    for line in made.tell():
        say(line)
    for remark in made.remarks:
        note(remark)
    say(f"wrote {made.target} and {made.info}")
