"""What makes the outputs of a layer even: batch normalisation over the positions that count, or layer normalisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hoyomusic.ranks import ALONE, Ranks

# Share of a step's statistics in the running ones. Steps see about 1,000 positions; 0.1, the usual value,
# would let the last ten steps alone decide what the finished model normalises with.
NORM_MOMENTUM = 0.02
NORM_EPSILON = 1e-5


def momentum_after(steps: int) -> float:
    """The share of a step's statistics in the running ones when `steps` came before it.

    At first nearly all of it: a layer that learns fast is soon another one, and at an even 0.02 a tenth of the
    variance of 1 that the running ones begin with, many times the true one, would be left after 100 steps.
    """
    return max(NORM_MOMENTUM, 9 / (10 + steps))


class BatchNorm(nn.Module):
    """Batch normalisation over features, with statistics over the positions that count (Ioffe & Szegedy 2015).

    Where several processes train together, `ranks`, they are those of the positions of all of them. A training
    loop sets `momentum` before each step.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.ranks = ALONE
        self.momentum = NORM_MOMENTUM
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, inputs: Tensor, counted: Tensor | None) -> Tensor:
        """(N, H) -> (N, H). `counted` indexes the rows that count (None: all); in training the others become 0."""
        if not self.training:
            return self._normalise(inputs, training=False)
        if counted is None or len(counted) == len(inputs):
            return self._normalise_in_training(inputs)
        chosen = self._normalise_in_training(inputs.index_select(0, counted))
        return torch.zeros_like(inputs).index_copy(0, counted, chosen)

    def _normalise_in_training(self, inputs: Tensor) -> Tensor:
        # One position has no variance: it is normalised by what earlier steps have seen.
        if self.ranks.count == 1:
            return self._normalise(inputs, training=len(inputs) > 1)
        total, mean, squares = _combined_statistics(inputs.detach(), self.ranks)
        if total < 2:
            return self._normalise(inputs, training=False)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(squares / (total - 1), self.momentum)
        inverse = torch.rsqrt(squares / total + NORM_EPSILON)
        return _NormaliseTogether.apply(inputs, self.weight, self.bias, mean, inverse, total, self.ranks)

    def _normalise(self, inputs: Tensor, *, training: bool) -> Tensor:
        return functional.batch_norm(
            inputs, self.running_mean, self.running_var, self.weight, self.bias, training, self.momentum, NORM_EPSILON
        )


def _combined_statistics(inputs: Tensor, ranks: Ranks) -> tuple[int, Tensor, Tensor]:
    """Count, mean (H,) and sum of squared deviations (H,) over the inputs (n, H) of all processes; n may be 0.

    The parts are joined by their deviations (Chan, Golub & LeVeque 1979): sums of plain squares would
    leave a unit that is nearly always saturated no digits of its variance.
    """
    mean = inputs.sum(dim=0) / max(len(inputs), 1)
    squares = (inputs - mean).square().sum(dim=0)
    parts = ranks.gather(torch.cat((mean.new_full((1,), len(inputs)), mean, squares)))
    counts, means, deviations = parts.split((1, len(mean), len(mean)), dim=1)
    total = int(counts.sum())
    mean = (counts * means).sum(dim=0) / max(total, 1)
    return total, mean, (deviations + counts * (means - mean).square()).sum(dim=0)


class _NormaliseTogether(torch.autograd.Function):
    """``(x - mean) * inverse * weight + bias``; mean and inverse deviation hang on the x of every process.

    With y the normalised x and g the gradient of the result, that of x is
    ``weight * inverse * (g - mean(g) - y * mean(g * y))``, the means over the positions of all processes
    (Ioffe & Szegedy 2015, section 3). Gradients of weight and bias are those of our own positions.
    """

    @staticmethod
    def forward(
        context: Any, inputs: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor, total: int,
        ranks: Ranks,
    ) -> Tensor:
        normal = (inputs - mean) * inverse
        context.save_for_backward(normal, weight, inverse)
        context.total, context.ranks = total, ranks
        return torch.addcmul(bias, normal, weight)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normal, weight, inverse = context.saved_tensors
        sums = torch.stack((gradient.sum(dim=0), (gradient * normal).sum(dim=0)))
        mean, along = context.ranks.add(sums.clone()) / context.total
        inputs = (gradient - mean - normal * along) * (weight * inverse)
        return inputs, sums[1], sums[0], None, None, None, None


class LayerNorm(nn.Module):
    """Layer normalisation: each position by the mean and variance of its own features (Ba, Kiros & Hinton 2016).

    Its scale differs from position to position, so no weight can take it in, as `runtime.fold` does with `BatchNorm`.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, inputs: Tensor, counted: Tensor | None) -> Tensor:
        """(N, H) -> (N, H); which positions count makes no difference to the others."""
        return functional.layer_norm(inputs, self.weight.shape, self.weight, self.bias, NORM_EPSILON)


# By the name that `ModelConfig.norm` gives them.
NORMS: dict[str, type[BatchNorm | LayerNorm]] = {"batch": BatchNorm, "layer": LayerNorm}
