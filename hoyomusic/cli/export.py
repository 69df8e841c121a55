"""`hoyo export`: a trained model as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hoyomusic.cli.console import examples, say
from hoyomusic.errors import UsageError

EXAMPLES = examples(
    "hoyo export",
    "hoyo export models/hoyomusic_generator.pth --fp32 --out step.onnx",
)


def export(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="The model; else your own if there is one.")
    ] = None,
    file_format: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8/--fp32", help="In whole numbers, a quarter of the size, or in float32.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where it goes; else beside the model.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
) -> None:
    """Write a model as an ONNX file, which generating starts from where it lies beside the model.

    Training makes one at its end. A model in whole numbers is four times as quick, and another model: the same seed
    gives other tunes than in float32, and each tune tells which of the two made it.
    """
    from hoyomusic.checkpoint import find_model
    from hoyomusic.export import SUFFIX, export_model

    if file_format != "onnx":
        raise UsageError(f"there is no format {file_format!r}", where="--format", remedy="choose onnx")
    path = find_model(model)
    target = path.with_suffix(SUFFIX) if out is None else out
    export_model(path, target, int8=int8, overwrite=force)
    say(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)")
