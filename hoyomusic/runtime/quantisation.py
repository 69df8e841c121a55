"""A model in whole numbers: weights and activations of 7 and 8 bits on fixed scales, the same everywhere.

Scales that are found while running, as common tools find them, would make a row hang on its batch. And
processors without VNNI add products of bytes in pairs within 16 bits, which 8 bits on both sides overflow:
each is another tune from the same seed. So the scales are fixed beforehand, one side of each product has
7 bits, and every operation on floats is one that IEEE 754 defines to the last bit, but for tanh: its
arguments and results are rounded to grids so coarse that no engine's last bits can be seen.

The error is kept small where it costs nothing: of the layers the weights have the 8 bits, of the output,
which amplifies units that vary little, the activations, scaled unit by unit; and as normalisation knows
the mean of each unit, what rounding adds to the mean of a sum is taken out of its bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hoyomusic.runtime.folding import NORM_EPSILON, fold
from hoyomusic.sizes import AGREEMENTS

# Raw LSTM outputs lie within (-1, 1). Within layers x is kept as the byte LAYER_ZERO + LAYER_STEPS x, 1 to 127 ...
LAYER_STEPS, LAYER_ZERO, LAYER_WEIGHT_STEPS = 63, 64, 127
# ... and in front of the output as OUTPUT_ZERO + OUTPUT_STEPS x s, with s the scale of its unit, at most 1.
# The largest sums of two products, 2 x 127 x 127 and 2 x 255 x 63, both fit into 16 bits.
OUTPUT_STEPS, OUTPUT_ZERO, OUTPUT_WEIGHT_STEPS = 127, 128, 63
# Units that the output amplifies more than so many times as much as the median unit are no finer than these.
LARGEST_AMPLIFICATION = 3
# Arguments of tanh lie on multiples of 1/128, its results on multiples of 1/512.
ARGUMENT_STEPS, RESULT_STEPS = 128, 512


def rounder(steps: int) -> np.float32:
    """What is added to a small float32 and taken away again to round it to multiples of 1 / `steps`, half to even."""
    return np.float32(1.5 * 2**23 / steps)


@dataclass(frozen=True)
class QuantisedWeights:
    """A folded model in whole numbers; V ids, R regions, C clocks, S sources of recall, E and H widths, L layers.

    A step sums the rows of `table` of its id, region and clock into layer 0's input. Layer k gives
    ``z = concatenate(x, h) @ matrices[k] * scales[k] + biases[k]`` on the grid of arguments for the gates
    i, f, g, o; those of sigmoids are halved, since ``sigmoid(z) = (1 + tanh(z / 2)) / 2``. Behind the V
    columns of the logits, `output` has those that `FoldedWeights.recall` tells of, 0 where nothing is agreed.
    """

    vocabulary: int
    regions: int
    table: np.ndarray  # (V + R + C, E) int8, without the zero point
    matrices: tuple[np.ndarray, ...]  # (E + H, 4H), then (2H, 4H), int8
    scales: tuple[np.ndarray, ...]  # (4H,) float32
    biases: tuple[np.ndarray, ...]  # (4H,) float32, multiples of 1 / ARGUMENT_STEPS
    unit_scales: np.ndarray  # (H,) float32
    output: np.ndarray  # (H, V + S * AGREEMENTS) int8
    output_scale: np.ndarray  # (V + S * AGREEMENTS,) float32
    output_bias: np.ndarray  # (V + S * AGREEMENTS,) float32

    @property
    def recalls(self) -> int:
        """S, the sources of guesses."""
        return (len(self.output_bias) - self.vocabulary) // AGREEMENTS


def quantise(weights: Mapping[str, Any]) -> QuantisedWeights:
    """The weights of `HoyoMusicLSTM`, arrays by name, folded and rounded. Raises GenerationError as `fold` does."""
    folded = fold(weights)
    hidden = folded.hidden
    exact = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}
    tables = [exact[name] for name in ("embedding", "region", "clock")]
    # The sum of the three is cut off where hardly a sum reaches.
    reach = max(np.abs(tables[0]).max() + np.abs(tables[1]).max(), 1e-6)
    table = np.rint(np.concatenate(tables) * (LAYER_STEPS / reach)).clip(-LAYER_STEPS, LAYER_STEPS)

    norms = [f"layers.{layer}.norm." for layer in range(folded.layers)]
    means = [exact[f"{norm}running_mean"] for norm in norms]
    halves = np.repeat([0.5, 0.5, 1.0, 0.5], hidden)
    first = np.concatenate((exact["layers.0.weight_ih"].T * reach, folded.matrices[0]))
    below = [np.zeros(len(first) - hidden), *means]
    matrices, scales, biases = [], [], []
    for layer, matrix in enumerate((first, *folded.matrices[1:])):
        bias = folded.biases[layer - 1] if layer else exact["layers.0.bias"]
        inputs = np.concatenate((below[layer], means[layer]))
        rounded, steps, error = _round(matrix * halves, LAYER_WEIGHT_STEPS, inputs)
        matrices.append(rounded)
        scales.append((steps / LAYER_STEPS).astype(np.float32))
        biases.append((np.rint((bias * halves - error) * ARGUMENT_STEPS) / ARGUMENT_STEPS).astype(np.float32))

    amplification = np.abs(exact[f"{norms[-1]}weight"]) / np.sqrt(exact[f"{norms[-1]}running_var"] + NORM_EPSILON)
    typical = LARGEST_AMPLIFICATION * max(float(np.median(amplification)), 1e-6)
    unit_scales = (amplification / typical).clip(1e-2, 1)
    agreed = np.arange(len(folded.recall_bias)) % AGREEMENTS > 0
    output = np.concatenate((folded.output, folded.recall * agreed), axis=1) / unit_scales[:, None]
    rounded, steps, error = _round(output, OUTPUT_WEIGHT_STEPS, means[-1] * unit_scales)
    return QuantisedWeights(
        vocabulary=len(tables[0]),
        regions=len(tables[1]),
        table=table.astype(np.int8),
        matrices=tuple(matrices),
        scales=tuple(scales),
        biases=tuple(biases),
        unit_scales=unit_scales.astype(np.float32),
        output=rounded,
        output_scale=(steps / OUTPUT_STEPS).astype(np.float32),
        output_bias=(np.concatenate((folded.output_bias, folded.recall_bias * agreed)) - error).astype(np.float32),
    )


def _round(matrix: np.ndarray, most: int, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A matrix (K, N) as int8 up to `most`, the step (N,) of each column, and what inputs of this `mean` gain (N,)."""
    steps = np.abs(matrix).max(axis=0) / most
    steps[steps == 0] = 1
    rounded = np.rint(matrix / steps)
    return rounded.astype(np.int8), steps, mean @ (rounded * steps - matrix)
