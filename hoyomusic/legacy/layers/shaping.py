"""Layers that move, repeat, add or drop cells, always in the order of channels last."""

from __future__ import annotations

import math

import torch

from hoyomusic.legacy.layers.base import Layer, Shape, keras_layer
from hoyomusic.legacy.layers.convolution import check_channels_last, pad_axes


@keras_layer("Flatten")
class Flatten(Layer):
    def build(self, *shapes: Shape) -> Shape:
        check_channels_last(self.settings)
        sizes = shapes[0][1:]
        return (shapes[0][0], None if None in sizes else math.prod(size for size in sizes if size is not None))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].reshape(len(inputs[0]), -1)


@keras_layer("Reshape")
class Reshape(Layer):
    """To `target_shape` without the batch, in which one size may be -1: whatever is left."""

    def build(self, *shapes: Shape) -> Shape:
        settings = self.settings
        target = settings.get("target_shape")
        sizes = settings.sizes("target_shape", len(target) if isinstance(target, list) else 1, least=-1)
        if sizes.count(-1) > 1 or 0 in sizes:
            raise settings.refuse(f"has a target_shape that cannot be: {sizes}")
        self.target = sizes
        known = math.prod(size for size in sizes if size > 0)
        if None in shapes[0][1:]:
            return (shapes[0][0], *(None if size < 0 else size for size in sizes))
        cells = math.prod(size for size in shapes[0][1:] if size is not None)
        if cells % known or (-1 not in sizes and cells != known):
            raise settings.refuse(f"makes {sizes} out of {cells} values")
        return (shapes[0][0], *(cells // known if size < 0 else size for size in sizes))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].reshape(len(inputs[0]), *self.target)


@keras_layer("Permute")
class Permute(Layer):
    """The axes after the batch in the order `dims`, counted from 1."""

    def build(self, *shapes: Shape) -> Shape:
        self.order = (0, *self.settings.sizes("dims", len(shapes[0]) - 1))
        if sorted(self.order) != list(range(len(shapes[0]))):
            raise self.settings.refuse(f"has dims that are no order of the axes: {self.order[1:]}")
        return tuple(shapes[0][axis] for axis in self.order)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].permute(self.order)


@keras_layer("RepeatVector")
class RepeatVector(Layer):
    """(batch, features) -> (batch, n, features)."""

    def build(self, *shapes: Shape) -> Shape:
        self.times = self.settings.whole("n")
        if len(shapes[0]) != 2:
            raise self.settings.refuse(f"gets an input with {len(shapes[0])} axes, and needs 2")
        return (shapes[0][0], self.times, shapes[0][1])

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].unsqueeze(1).expand(-1, self.times, -1)


class Border(Layer):
    """What adds or takes cells at both ends of `rank` axes."""

    rank = 1
    key = "padding"
    sign = 1

    def build(self, *shapes: Shape) -> Shape:
        check_channels_last(self.settings)
        if len(shapes[0]) != self.rank + 2:
            raise self.settings.refuse(f"gets an input with {len(shapes[0])} axes, and needs {self.rank + 2}")
        self.cells = self.settings.pairs(self.key, self.rank)
        lengths = tuple(
            None if length is None else length + self.sign * sum(pair)
            for length, pair in zip(shapes[0][1:-1], self.cells, strict=True)
        )
        if any(length is not None and length < 1 for length in lengths):
            raise self.settings.refuse("leaves nothing of its input")
        return (shapes[0][0], *lengths, shapes[0][-1])

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return pad_axes(inputs[0], [(self.sign * before, self.sign * after) for before, after in self.cells])


@keras_layer("ZeroPadding1D")
class ZeroPadding1D(Border):
    pass


@keras_layer("ZeroPadding2D")
class ZeroPadding2D(Border):
    rank = 2


@keras_layer("Cropping1D")
class Cropping1D(Border):
    key = "cropping"
    sign = -1


@keras_layer("Cropping2D")
class Cropping2D(Cropping1D):
    rank = 2


@keras_layer("UpSampling1D")
class UpSampling1D(Layer):
    """Each cell so many times."""

    rank = 1

    def build(self, *shapes: Shape) -> Shape:
        check_channels_last(self.settings)
        self.settings.choice("interpolation", ("nearest",), "nearest")
        if len(shapes[0]) != self.rank + 2:
            raise self.settings.refuse(f"gets an input with {len(shapes[0])} axes, and needs {self.rank + 2}")
        self.times = self.settings.sizes("size", self.rank)
        lengths = zip(shapes[0][1:-1], self.times, strict=True)
        return (shapes[0][0], *(None if cells is None else cells * n for cells, n in lengths), shapes[0][-1])

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        for axis, times in enumerate(self.times, 1):
            x = x.repeat_interleave(times, axis)
        return x


@keras_layer("UpSampling2D")
class UpSampling2D(UpSampling1D):
    rank = 2
