"""The TCN layer of the keras-tcn package: residual blocks of dilated convolutions, with or without skips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from hoyomusic.legacy.layers.activations import Function, find_activation
from hoyomusic.legacy.layers.base import Layer, Settings, Shape, Weight, keras_layer, make_layer
from hoyomusic.legacy.layers.convolution import Convolution1D

EPSILON = 1e-3


@keras_layer("TCN")
class TemporalConvolution(Layer):
    """x (batch, time, features) -> (batch, time, filters), or (batch, filters) at one step."""

    def build(self, *shapes: Shape) -> Shape:
        settings = self.settings
        settings.refuse_if("return_state")
        if len(shapes[0]) != 3:
            raise settings.refuse(f"gets an input with {len(shapes[0])} axes, not batch, time and features")
        dilations = settings.get("dilations")
        count = len(dilations) if isinstance(dilations, list) else 0
        rates = settings.sizes("dilations", count) * settings.whole("nb_stacks")
        per_block = settings.sizes("nb_filters", count)
        self.causal = settings.choice("padding", ("causal", "same")) == "causal"
        self.skips = settings.flag("use_skip_connections")
        self.sequences = settings.flag("return_sequences")
        self.backwards = settings.flag("go_backwards", False)
        if not count or len(rates) > 1000:
            raise settings.refuse("has no dilations, or too many")
        self.blocks = nn.ModuleList()
        shape = shapes[0]
        for rate, width in zip(rates, per_block * settings.whole("nb_stacks"), strict=True):
            self.blocks.append(ResidualBlock(settings, rate, width, shape))
            shape = self.blocks[-1].output_shape
        if self.skips and len(set(per_block)) > 1:
            raise settings.refuse("adds skip connections of different widths")
        return shape if self.sequences else (shape[0], shape[-1])

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0].flip(1) if self.backwards else inputs[0]
        total: Any = 0
        for block in self.blocks:
            x, skip = block(x)
            total = total + skip if self.skips else x
        if self.sequences:
            return total
        return total[:, -1 if self.causal else total.shape[1] // 2]

    def weights(self, owners: tuple[str, ...] = (), path: tuple[str, ...] = ()) -> Iterator[Weight]:
        for number, block in enumerate(self.blocks):
            for label, part in block.named.items():
                yield from part.weights(owners, (*path, f"residual_block_{number}", label))

    def numbered(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Weight]]]:
        raise self.settings.refuse("is not supported in .weights.h5 files", "save the model as .h5")

    def is_ignored(self, path: Sequence[str]) -> bool:
        return "data_dep_init" in path


class ResidualBlock(nn.Module):
    """Twice [convolution, norm, activation], activated once more: the skip; with the input, activated: the output."""

    def __init__(self, outer: Settings, rate: int, filters: int, shape: Shape) -> None:
        super().__init__()
        norms = [key for key in ("use_batch_norm", "use_layer_norm", "use_weight_norm") if outer.flag(key, False)]
        if len(norms) > 1:
            raise outer.refuse(f"has {' and '.join(norms)}, which exclude each other")
        self.activation: Function = find_activation(outer)
        convolution = {
            "name": outer.name, "filters": filters, "kernel_size": outer.get("kernel_size"), "strides": 1,
            "dilation_rate": rate, "padding": outer.get("padding"), "use_bias": True, "activation": None,
        }
        kind = WeightNormConvolution if norms == ["use_weight_norm"] else Convolution1D
        features = shape[-1]
        self.named = nn.ModuleDict()
        for number in range(2):
            made = kind(Settings("Conv1D", convolution, outer.context), shape)
            shape = made.output_shape
            self.named[f"conv1D_{number}"] = made
            if norms in (["use_batch_norm"], ["use_layer_norm"]):
                self.named[f"norm_{number}"] = _make_norm(outer, norms[0], shape)
        self.matches = features != filters
        if self.matches:
            matching = {**convolution, "kernel_size": 1, "dilation_rate": 1, "padding": "same"}
            matched = Settings("Conv1D", matching, outer.context)
            self.named["matching_conv1D"] = Convolution1D(matched, (*shape[:-1], features))
        self.output_shape = shape

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The output and the skip, both (batch, time, filters)."""
        skip = x
        for number in range(2):
            skip = self.named[f"conv1D_{number}"](skip)
            if f"norm_{number}" in self.named:
                skip = self.named[f"norm_{number}"](skip)
            skip = self.activation(skip)
        skip = self.activation(skip)
        matched = self.named["matching_conv1D"](x) if self.matches else x
        return self.activation(matched + skip), skip


class WeightNormConvolution(Convolution1D):
    """A convolution whose kernel is `g` times the direction that is stored, for each output channel."""

    def add_kernels(self, channels: int) -> int:
        filters = super().add_kernels(channels)
        self.add_weight("g", (filters,))
        self.add_weight("initialized", ())
        return filters

    def adopt(self, name: str, values: torch.Tensor) -> None:
        if name == "initialized" and not values:
            raise self.settings.refuse("has weights that were never initialised")
        super().adopt(name, values)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        length = self.kernel.square().sum((0, 1)).sqrt()
        return self.convolve(x, self.kernel * (self.g / length), self.groups, self.bias)


def _make_norm(outer: Settings, kind: str, shape: Shape) -> Layer:
    name = "BatchNormalization" if kind == "use_batch_norm" else "LayerNormalization"
    config = {"name": outer.name, "axis": -1, "epsilon": EPSILON, "scale": True, "center": True}
    return make_layer({"class_name": name, "config": config}, outer.context, shape)
