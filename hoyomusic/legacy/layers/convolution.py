"""Convolutions over one and two axes, with Keras's padding: 'same' puts the odd cell behind, 'causal' all in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from hoyomusic.legacy.layers.activations import find_activation
from hoyomusic.legacy.layers.base import Layer, Settings, Shape, keras_layer

CONVOLVE = {1: functional.conv1d, 2: functional.conv2d}


def check_channels_last(settings: Settings) -> None:
    """Raise CheckpointError where the channels are not the last axis."""
    if settings.values.get("data_format") not in (None, "channels_last"):
        raise settings.refuse("has its channels first (channels_first), which is not supported")


def same_padding(length: int, size: int, stride: int, dilation: int) -> tuple[int, int]:
    """Cells to add before and after `length` cells, so that there are ceil(length / stride) places for a kernel."""
    total = max((-(-length // stride) - 1) * stride + (size - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def pad_axes(x: torch.Tensor, pairs: Sequence[tuple[int, int]], value: float = 0.0) -> torch.Tensor:
    """x (batch, *axes, channels) with so many cells of `value` before and after each of its axes."""
    if not any(map(any, pairs)):
        return x
    flat = [cells for pair in reversed(pairs) for cells in pair]
    return functional.pad(x, [0, 0, *flat], value=value)


def places(length: int | None, size: int, stride: int, dilation: int, padding: str) -> int | None:
    """How many places a kernel has over `length` cells."""
    if length is None:
        return None
    if padding == "valid":
        length -= (size - 1) * dilation
    return -(-length // stride)


class Window:
    """Sizes, strides, dilations and padding of what slides over `rank` axes."""

    def __init__(self, settings: Settings, rank: int, paddings: Sequence[str], size_key: str = "kernel_size") -> None:
        check_channels_last(settings)
        self.sizes = settings.sizes(size_key, rank)
        # Pooling windows that name no stride move by their own size.
        strides = settings.get("strides", None)
        self.strides = self.sizes if strides is None else settings.sizes("strides", rank)
        self.dilations = settings.sizes("dilation_rate", rank, 1)
        self.padding = settings.choice("padding", paddings)

    def lengths(self, shape: Shape, settings: Settings) -> Shape:
        """The lengths of the output's axes, for an input (batch, *axes, channels)."""
        if len(shape) != len(self.sizes) + 2:
            raise settings.refuse(f"gets an input with {len(shape)} axes, and needs {len(self.sizes) + 2}")
        found = tuple(
            places(length, *rest, self.padding)
            for length, *rest in zip(shape[1:-1], self.sizes, self.strides, self.dilations, strict=True)
        )
        if any(length is not None and length < 1 for length in found):
            raise settings.refuse("is larger than what it slides over")
        return found

    def pad(self, x: torch.Tensor, value: float = 0.0) -> torch.Tensor:
        """x (batch, *axes, channels) with the cells that the padding asks for."""
        if self.padding == "valid":
            return x
        if self.padding == "causal":
            return pad_axes(x, [((self.sizes[0] - 1) * self.dilations[0], 0)], value)
        pairs = [
            same_padding(*cells)
            for cells in zip(x.shape[1:-1], self.sizes, self.strides, self.dilations, strict=True)
        ]
        return pad_axes(x, pairs, value)


class Convolution(Layer):
    """What convolutions over `rank` axes share: a window, channels in and out, an activation."""

    rank = 1

    def build(self, *shapes: Shape) -> Shape:
        settings = self.settings
        if settings.context.backend not in ("tensorflow", "jax", "torch", "numpy"):
            raise settings.refuse(f"was written with the backend {settings.context.backend}, which flips kernels")
        settings.refuse_if("lora_rank")
        self.window = Window(settings, self.rank, ("valid", "same", "causal") if self.rank == 1 else ("valid", "same"))
        self.biased = settings.flag("use_bias")
        self.activation = find_activation(settings, default=None)
        lengths = self.window.lengths(shapes[0], settings)
        channels = shapes[0][-1]
        if channels is None:
            raise settings.refuse("gets an input whose channels the file does not tell")
        return (shapes[0][0], *lengths, self.add_kernels(channels))

    def add_kernels(self, channels: int) -> int:
        """Declare the weights for so many input channels, and return the number of output channels."""
        raise NotImplementedError

    def add_bias(self, channels: int) -> int:
        if self.biased:
            self.add_weight("bias", (channels,))
        return channels

    def convolve(self, x: torch.Tensor, kernel: torch.Tensor, groups: int = 1, bias: Any = None) -> torch.Tensor:
        """x (batch, channels, *axes) under a kernel (*sizes, channels / groups, filters)."""
        turned = kernel.movedim((-1, -2), (0, 1))
        return CONVOLVE[self.rank](x, turned, bias, self.window.strides, 0, self.window.dilations, groups)

    def spread(self, x: torch.Tensor, kernel: torch.Tensor, bias: Any = None) -> torch.Tensor:
        """Each of the channels of x (batch, channels, *axes) under kernels of its own, (*sizes, channels, each)."""
        sizes = kernel.shape[: self.rank]
        return self.convolve(x, kernel.reshape(*sizes, 1, -1), x.shape[1], bias)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        first = self.window.pad(inputs[0]).movedim(-1, 1)
        return self.activation(self.compute(first).movedim(1, -1))

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of the padded x (batch, channels, *axes), bias included."""
        raise NotImplementedError


@keras_layer("Conv1D", "Convolution1D")
class Convolution1D(Convolution):
    """kernel (size, in / groups, filters)."""

    def add_kernels(self, channels: int) -> int:
        filters, self.groups = self.settings.whole("filters"), self.settings.whole("groups", 1)
        if channels % self.groups or filters % self.groups:
            raise self.settings.refuse(f"has {self.groups} groups, which do not divide its channels")
        self.add_weight("kernel", (*self.window.sizes, channels // self.groups, filters))
        return self.add_bias(filters)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolve(x, self.kernel, self.groups, self.bias if self.biased else None)


@keras_layer("Conv2D", "Convolution2D")
class Convolution2D(Convolution1D):
    """kernel (height, width, in / groups, filters)."""

    rank = 2


@keras_layer("DepthwiseConv1D")
class DepthwiseConvolution1D(Convolution):
    """kernel (size, in, multiplier): channel c gives the outputs c * multiplier and following."""

    def add_kernels(self, channels: int) -> int:
        # Keras 3 has another name for the same.
        self.kernel_name = "kernel" if self.settings.context.major > 2 else "depthwise_kernel"
        multiplier = self.settings.whole("depth_multiplier")
        self.add_weight(self.kernel_name, (*self.window.sizes, channels, multiplier))
        return self.add_bias(channels * multiplier)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return self.spread(x, getattr(self, self.kernel_name), self.bias if self.biased else None)


@keras_layer("DepthwiseConv2D")
class DepthwiseConvolution2D(DepthwiseConvolution1D):
    rank = 2


@keras_layer("SeparableConv1D", "SeparableConvolution1D")
class SeparableConvolution1D(Convolution):
    """A depthwise convolution without bias, then one of size 1 across the channels."""

    def add_kernels(self, channels: int) -> int:
        filters, multiplier = self.settings.whole("filters"), self.settings.whole("depth_multiplier")
        self.add_weight("depthwise_kernel", (*self.window.sizes, channels, multiplier))
        self.add_weight("pointwise_kernel", (*[1] * self.rank, channels * multiplier, filters))
        return self.add_bias(filters)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        spread = self.spread(x, self.depthwise_kernel)
        across = self.pointwise_kernel.movedim((-1, -2), (0, 1))
        return CONVOLVE[self.rank](spread, across, self.bias if self.biased else None)


@keras_layer("SeparableConv2D", "SeparableConvolution2D")
class SeparableConvolution2D(SeparableConvolution1D):
    rank = 2
