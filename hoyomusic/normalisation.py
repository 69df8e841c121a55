"""What makes the outputs of a layer even: batch normalisation over the positions that count, or layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Share of a step's statistics in the running ones. Steps see about 2,000 positions; 0.1, the usual value,
# would let the last ten steps alone decide what the finished model normalises with.
NORM_MOMENTUM = 0.02
NORM_EPSILON = 1e-5


class BatchNorm(nn.Module):
    """Batch normalisation over features, with statistics over the positions that count (Ioffe & Szegedy 2015)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, inputs: Tensor, counted: Tensor | None) -> Tensor:
        """(N, H) -> (N, H). `counted` indexes the rows that count (None: all); in training the others become 0."""
        if not self.training:
            return self._normalise(inputs, training=False)
        if counted is None or len(counted) == len(inputs):
            return self._normalise(inputs, training=True)
        chosen = self._normalise(inputs.index_select(0, counted), training=True)
        return torch.zeros_like(inputs).index_copy(0, counted, chosen)

    def _normalise(self, inputs: Tensor, *, training: bool) -> Tensor:
        # One position has no variance: it is normalised by what earlier steps have seen.
        training = training and len(inputs) > 1
        return functional.batch_norm(
            inputs, self.running_mean, self.running_var, self.weight, self.bias, training, NORM_MOMENTUM, NORM_EPSILON
        )


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
