"""Dense and Embedding, and the layers that change no value or only its scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from hoyomusic.legacy.layers.activations import find_activation
from hoyomusic.legacy.layers.base import Layer, Mask, Shape, keras_layer


@keras_layer("Dense")
class Dense(Layer):
    """activation(x @ kernel + bias) over the last axis; kernel (in, units)."""

    keeps_mask = True

    def build(self, *shapes: Shape) -> Shape:
        settings = self.settings
        settings.refuse_if("lora_rank", "quantization_mode", "quantization_config")
        units = settings.whole("units")
        if len(shapes[0]) < 2:
            raise settings.refuse("gets an input without features")
        self.add_weight("kernel", (shapes[0][-1], units))
        self.biased = settings.flag("use_bias")
        if self.biased:
            self.add_weight("bias", (units,))
        self.activation = find_activation(settings, default=None)
        return (*shapes[0][:-1], units)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.activation(functional.linear(inputs[0], self.kernel.T, self.bias if self.biased else None))


@keras_layer("Embedding")
class Embedding(Layer):
    """Rows of embeddings (ids, features) by id. Row 0 is a row as any other, even where id 0 is masked."""

    def build(self, *shapes: Shape) -> Shape:
        settings = self.settings
        settings.refuse_if("lora_rank", "quantization_mode", "quantization_config")
        ids, features = settings.whole("input_dim"), settings.whole("output_dim")
        self.add_weight("embeddings", (ids, features))
        self.masks_zero = settings.flag("mask_zero", False)
        return (*shapes[0], features)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return functional.embedding(inputs[0].long(), self.embeddings)

    def call(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> tuple[torch.Tensor, Mask]:
        return self.forward(*inputs), inputs[0] != 0 if self.masks_zero else None

    def trace_mask(self, masked: Sequence[bool]) -> bool:
        return self.masks_zero


@keras_layer("Masking")
class Masking(Layer):
    """Masks the steps all of whose features have one value, and puts zeros there."""

    def build(self, *shapes: Shape) -> Shape:
        self.value = self.settings.number("mask_value")
        return shapes[0]

    def call(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> tuple[torch.Tensor, Mask]:
        used = (inputs[0] != self.value).any(-1, keepdim=True)
        return inputs[0] * used, used.squeeze(-1)

    def trace_mask(self, masked: Sequence[bool]) -> bool:
        return True


@keras_layer(
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
    "ActivityRegularization",
)
class Unchanged(Layer):
    """What acts in training only."""

    keeps_mask = True

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0]


@keras_layer("Rescaling")
class Rescaling(Layer):
    """x * scale + offset."""

    def build(self, *shapes: Shape) -> Shape:
        self.scale = self.settings.number("scale")
        self.offset = self.settings.number("offset", 0.0)
        return shapes[0]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0] * self.scale + self.offset

    def trace_mask(self, masked: Sequence[bool]) -> bool:
        # Whether the mask goes on depends on the version.
        if masked[0]:
            raise self.settings.refuse("gets a mask, which is not supported here")
        return False
