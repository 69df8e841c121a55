"""What a converted model takes: its inputs told from its layers, and made where nobody gives any."""

from __future__ import annotations

import numpy as np
import torch

from hoyomusic.errors import CheckpointError
from hoyomusic.legacy.layers.elementary import Embedding
from hoyomusic.legacy.layers.network import Network
from hoyomusic.legacy.model import ConvertedModel

# What is made: so many rows, from this seed.
ROWS, SEED = 2, 7
# The lengths that are tried where one is open: a convolution may need a long one, a large model takes its time at each
# step of a short one.
LENGTHS, LARGE_LENGTHS = (24, 512), (8, 512)
LARGE = 2**22


def make_inputs(model: ConvertedModel) -> list[np.ndarray]:
    """Inputs that a model takes, always the same ones: ids where they are looked up, else numbers around 0.

    Raises CheckpointError for a model that gives nothing for any of the lengths that are tried.
    """
    large = sum(weight.numel() for weight in model.parameters()) > LARGE
    for length in LARGE_LENGTHS if large else LENGTHS:
        inputs = _draw_inputs(model, length)
        try:
            with torch.inference_mode():
                outputs = model(*inputs)
        except RuntimeError:  # torch's word for a convolution that is longer than its input
            continue
        if all(output.numel() for output in (outputs if isinstance(outputs, tuple) else (outputs,))):
            return inputs
    raise CheckpointError(f"gives no output for inputs of up to {length} steps", remedy="give a reference by Keras")


def _draw_inputs(model: ConvertedModel, length: int) -> list[np.ndarray]:
    """Inputs with `length` for each open size."""
    random = np.random.Generator(np.random.Philox(SEED))
    made = []
    for shape, limit in zip(model.input_shapes, id_limits(model.network), strict=True):
        sizes = (ROWS, *(length if size is None else size for size in shape[1:]))
        if limit is None:
            made.append(random.standard_normal(sizes, np.float32))
        else:
            made.append(random.integers(0, limit, sizes, np.int32))
    return made


def id_limits(network: Network) -> list[int | None]:
    """For each input of a network how many ids the smallest table has that it is looked up in; None where in none."""
    limits: dict[int, int | None] = dict.fromkeys(network.inputs)
    for call in network.calls:
        layer = network.layers[call.layer]
        if isinstance(layer, Network):
            found = id_limits(layer)
        elif isinstance(layer, Embedding):
            found = [layer.shapes["embeddings"][0]]
        else:
            continue
        for slot, limit in zip(call.inputs, found, strict=True):
            if slot in limits and limit is not None:
                limits[slot] = min(limit, limits[slot] or limit)
    return [limits[slot] for slot in network.inputs]


def count_characters(model: ConvertedModel) -> int | None:
    """How many ids a model takes and foretells, where it does: one input of ids, one output as wide."""
    limits = id_limits(model.network)
    fits = len(limits) == len(model.output_shapes) == 1 and model.output_shapes[0][-1] == limits[0]
    return limits[0] if fits else None
