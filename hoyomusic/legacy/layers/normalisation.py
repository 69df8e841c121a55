"""Batch and layer normalisation as they predict, each with the epsilon that its file names."""

from __future__ import annotations

import torch

from hoyomusic.legacy.layers.base import Layer, Shape, keras_layer


@keras_layer("BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization")
class BatchNormalisation(Layer):
    """gamma * (x - moving_mean) / sqrt(moving_variance + epsilon) + beta, for each feature of one axis."""

    keeps_mask = True

    def build(self, *shapes: Shape) -> Shape:
        settings = self.settings
        self.epsilon = settings.number("epsilon")
        self.axis = settings.axis("axis", len(shapes[0]))
        self.scaled, self.centred = settings.flag("scale"), settings.flag("center")
        features = shapes[0][self.axis]
        if self.scaled:
            self.add_weight("gamma", (features,))
        if self.centred:
            self.add_weight("beta", (features,))
        self.add_weight("moving_mean", (features,))
        self.add_weight("moving_variance", (features,))
        return shapes[0]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        sizes = [1] * x.dim()
        sizes[self.axis] = -1
        factor = torch.rsqrt(self.moving_variance + self.epsilon)
        if self.scaled:
            factor = factor * self.gamma
        result = (x - self.moving_mean.view(sizes)) * factor.view(sizes)
        return result + self.beta.view(sizes) if self.centred else result


@keras_layer("LayerNormalization")
class LayerNormalisation(Layer):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, over the axes that are named."""

    keeps_mask = True

    def build(self, *shapes: Shape) -> Shape:
        settings = self.settings
        settings.refuse_if("rms_scaling")
        self.epsilon = settings.number("epsilon")
        self.axes = tuple(sorted(settings.axes("axis", len(shapes[0]))))
        self.scaled, self.centred = settings.flag("scale"), settings.flag("center")
        features = [shapes[0][axis] for axis in self.axes]
        if self.scaled:
            self.add_weight("gamma", features)
        if self.centred:
            self.add_weight("beta", features)
        return shapes[0]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        sizes = [x.shape[axis] if axis in self.axes else 1 for axis in range(x.dim())]
        variance, mean = torch.var_mean(x, self.axes, correction=0, keepdim=True)
        result = (x - mean) * torch.rsqrt(variance + self.epsilon)
        if self.scaled:
            result = result * self.gamma.view(sizes)
        return result + self.beta.view(sizes) if self.centred else result
