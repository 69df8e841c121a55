"""A model without its normalisation: all that is constant in evaluation done once, in numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hoyomusic.errors import GenerationError
from hoyomusic.sizes import AGREEMENTS

# The epsilon that normalisation was trained with (`normalisation.NORM_EPSILON`; a test holds them equal).
NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class FoldedWeights:
    """A model without its normalisation, as float32 arrays; H hidden width, 4H gates in the order i, f, g, o.

    The first layer's gates are ``ids[id] + regions[region] + clocks[clock] + h @ matrices[0]``, those of
    layer k are ``concatenate(x, h) @ matrices[k] + biases[k - 1]`` with x the output of the layer below;
    the logits are ``x @ output + output_bias`` with x that of the last. What a guess of source s with
    agreement a adds is entry ``AGREEMENTS * s + a`` of ``x @ recall + recall_bias``.
    """

    ids: np.ndarray  # (V, 4H)
    regions: np.ndarray  # (R, 4H)
    clocks: np.ndarray  # (C, 4H)
    matrices: tuple[np.ndarray, ...]  # (H, 4H), then (2H, 4H)
    biases: tuple[np.ndarray, ...]  # (4H,) from the second layer on
    output: np.ndarray  # (H, V)
    output_bias: np.ndarray  # (V,)
    recall: np.ndarray  # (H, S * AGREEMENTS)
    recall_bias: np.ndarray  # (S * AGREEMENTS,)

    @property
    def hidden(self) -> int:
        """H, the width of a layer."""
        return len(self.output)

    @property
    def layers(self) -> int:
        """L, how many layers there are."""
        return len(self.matrices)

    @property
    def recalls(self) -> int:
        """S, the sources of guesses."""
        return len(self.recall_bias) // AGREEMENTS


def fold(weights: Mapping[str, Any]) -> FoldedWeights:
    """The weights of `HoyoMusicLSTM` (arrays, or tensors on the CPU) with all that is constant in evaluation done once.

    Normalisation is ``y = a h + d`` with ``a = weight / sqrt(variance + epsilon)`` and ``d = bias - mean a``:
    it moves into the input weights of the layer above (never into the recurrent ones, which see h as it
    is) and of the output. Embeddings become tables of gates. Computed in float64, kept in float32.

    Raises GenerationError for layer normalisation, whose scale no weight can take in.
    """
    if "layers.0.norm.running_mean" not in weights:
        raise GenerationError(
            "a model with layer normalisation is for comparison only and makes no tunes",
            remedy="train one with --norm batch",
        )
    exact = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}
    layers = sum(name.endswith(".weight_hh") for name in exact)
    recall = exact.get("recall_weight", np.zeros((0, exact["output_weight"].shape[1])))
    first = exact["layers.0.weight_ih"].T
    matrices, biases = [exact["layers.0.weight_hh"].T], []
    scale = shift = None
    for layer in range(layers):
        name = f"layers.{layer}"
        if layer:
            inputs = exact[f"{name}.weight_ih"]
            matrices.append(np.concatenate(((inputs * scale).T, exact[f"{name}.weight_hh"].T)))
            biases.append(exact[f"{name}.bias"] + inputs @ shift)
        scale = exact[f"{name}.norm.weight"] / np.sqrt(exact[f"{name}.norm.running_var"] + NORM_EPSILON)
        shift = exact[f"{name}.norm.bias"] - exact[f"{name}.norm.running_mean"] * scale
    return FoldedWeights(
        ids=_kept(exact["embedding"] @ first + exact["layers.0.bias"]),
        regions=_kept(exact["region"] @ first),
        clocks=_kept(exact["clock"] @ first),
        matrices=tuple(map(_kept, matrices)),
        biases=tuple(map(_kept, biases)),
        output=_kept((exact["output_weight"] * scale).T),
        output_bias=_kept(exact["output_bias"] + exact["output_weight"] @ shift),
        recall=_kept((recall * scale).T),
        recall_bias=_kept(exact.get("recall_bias", np.zeros(0)) + recall @ shift),
    )


def _kept(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
