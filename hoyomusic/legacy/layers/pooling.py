"""Pooling over windows and over all of an axis; padding never counts, neither as a maximum nor in an average."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from hoyomusic.legacy.layers.base import Layer, Mask, Shape, as_float, keras_layer
from hoyomusic.legacy.layers.convolution import Window, check_channels_last

LARGEST = {1: functional.max_pool1d, 2: functional.max_pool2d}
MEAN = {1: functional.avg_pool1d, 2: functional.avg_pool2d}


class Pooling(Layer):
    """x (batch, *axes, channels) -> one value for each window and channel."""

    rank = 1

    def build(self, *shapes: Shape) -> Shape:
        size_key = "pool_length" if "pool_length" in self.settings.values else "pool_size"
        self.window = Window(self.settings, self.rank, ("valid", "same"), size_key)
        return (shapes[0][0], *self.window.lengths(shapes[0], self.settings), shapes[0][-1])

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.pool(inputs[0]).movedim(1, -1)

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """x (batch, *axes, channels) -> (batch, channels, *windows)."""
        padded = self.window.pad(x, float("-inf")).movedim(-1, 1)
        return LARGEST[self.rank](padded, self.window.sizes, self.window.strides)


@keras_layer("MaxPooling1D", "MaxPool1D")
class MaxPooling1D(Pooling):
    pass


@keras_layer("MaxPooling2D", "MaxPool2D")
class MaxPooling2D(Pooling):
    rank = 2


@keras_layer("AveragePooling1D", "AvgPool1D")
class AveragePooling1D(Pooling):
    def pool(self, x: torch.Tensor) -> torch.Tensor:
        sizes, strides = self.window.sizes, self.window.strides
        padded = self.window.pad(x).movedim(-1, 1)
        mean = MEAN[self.rank](padded, sizes, strides)
        if self.window.padding == "valid":
            return mean
        real = self.window.pad(torch.ones_like(x[:1, ..., :1])).movedim(-1, 1)
        return mean / MEAN[self.rank](real, sizes, strides)


@keras_layer("AveragePooling2D", "AvgPool2D")
class AveragePooling2D(AveragePooling1D):
    rank = 2


class GlobalPooling(Layer):
    """x (batch, *axes, channels) -> (batch, channels), or with axes of length 1 where they are to be kept."""

    rank = 1

    def build(self, *shapes: Shape) -> Shape:
        check_channels_last(self.settings)
        if len(shapes[0]) != self.rank + 2:
            raise self.settings.refuse(f"gets an input with {len(shapes[0])} axes, and needs {self.rank + 2}")
        self.keeps_axes = self.settings.flag("keepdims", False)
        self.axes = tuple(range(1, self.rank + 1))
        return (shapes[0][0], *([1] * self.rank if self.keeps_axes else []), shapes[0][-1])


@keras_layer("GlobalMaxPooling1D", "GlobalMaxPool1D")
class GlobalMaxPooling1D(GlobalPooling):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].amax(self.axes, keepdim=self.keeps_axes)


@keras_layer("GlobalMaxPooling2D", "GlobalMaxPool2D")
class GlobalMaxPooling2D(GlobalMaxPooling1D):
    rank = 2


@keras_layer("GlobalAveragePooling1D", "GlobalAvgPool1D")
class GlobalAveragePooling1D(GlobalPooling):
    """Over time; with a mask, over the steps that it shows."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].mean(self.axes, keepdim=self.keeps_axes)

    def call(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> tuple[torch.Tensor, Mask]:
        x, mask = as_float(inputs[0]), masks[0]
        if mask is None or self.rank == 2:
            return self.forward(x), None
        shown = mask.unsqueeze(-1).to(x.dtype)
        total = (x * shown).sum(1, keepdim=self.keeps_axes)
        return total / shown.sum(1, keepdim=self.keeps_axes), None


@keras_layer("GlobalAveragePooling2D", "GlobalAvgPool2D")
class GlobalAveragePooling2D(GlobalAveragePooling1D):
    rank = 2
