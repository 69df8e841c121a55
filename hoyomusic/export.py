"""A trained model as an `.onnx` file beside its checkpoint: what generating starts from, quick and small."""

from __future__ import annotations

import os
from pathlib import Path

from hoyomusic import archive, checkpoint, storage
from hoyomusic.runtime import container
from hoyomusic.runtime.graph import write_graph

SUFFIX = ".onnx"


def export_model(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    int8: bool = True,
    overwrite: bool = True,
) -> Path:
    """Write the step of the checkpoint `model` to `out`, by default beside it; the path of the file.

    In whole numbers (`int8`, a quarter of the size; see `runtime.quantisation`) or in float32. Raises
    CheckpointError for what is no model, GenerationError for one whose normalisation cannot be folded and
    StorageError when the disk is unwilling, or a file is there already and `overwrite` is false.
    """
    loaded = checkpoint.load_arrays(model)
    card = {
        "precision": "int8" if int8 else "fp32",
        "config": loaded.config.to_dict(),
        "vocab": loaded.vocab,
        "provenance": loaded.provenance,
        "checkpoint": archive.fingerprint(model),
    }
    data = container.seal(write_graph(loaded.weights, int8=int8), card)
    path = Path(model).with_suffix(SUFFIX) if out is None else Path(out)
    return storage.write_atomically(path, data, overwrite=overwrite)


def find_step(model: Path) -> container.Step | None:
    """The exported step that lies beside a checkpoint and was made of it as it is now; None where there is none.

    Raises CheckpointError for a file of that name that is damaged or something else.
    """
    path = model.with_suffix(SUFFIX)
    if not path.is_file():
        return None
    step = read_step(path)
    return step if step.checkpoint == archive.fingerprint(model) else None


def read_step(path: str | os.PathLike[str]) -> container.Step:
    """The step in an `.onnx` file that `export_model` wrote. Raises CheckpointError for whatever else is there."""
    file = os.fspath(path)
    return container.parse(archive.read_bytes(file), file)
