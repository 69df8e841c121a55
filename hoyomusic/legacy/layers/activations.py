"""Activations: the functions by name, and the layers that are nothing else.

`hard_sigmoid` has two formulas, and the version of Keras that wrote a file decides which one it means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from hoyomusic.legacy.layers.base import REQUIRED, Layer, Settings, Shape, keras_layer, make_layer, shorten

Function = Callable[[torch.Tensor], torch.Tensor]


def hard_sigmoid_2(x: torch.Tensor) -> torch.Tensor:
    """As Keras 2 means it, x of any shape."""
    return torch.clamp(0.2 * x + 0.5, 0.0, 1.0)


def hard_sigmoid_3(x: torch.Tensor) -> torch.Tensor:
    """As Keras 3 means it, x of any shape."""
    return functional.relu6(x + 3.0) / 6.0


def hard_silu(x: torch.Tensor) -> torch.Tensor:
    return x * hard_sigmoid_3(x)


def softmax(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, -1)


def leaky_relu(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, 0.2)


def linear(x: torch.Tensor) -> torch.Tensor:
    return x


FUNCTIONS: dict[str, Function] = {
    "linear": linear,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "relu6": functional.relu6,
    "leaky_relu": leaky_relu,
    "elu": functional.elu,
    "selu": functional.selu,
    "celu": functional.celu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "swish": functional.silu,
    "mish": functional.mish,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "hard_tanh": functional.hardtanh,
    "softmax": softmax,
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "softplus": lambda x: functional.softplus(x, threshold=50),
    "softsign": functional.softsign,
    "log_sigmoid": functional.logsigmoid,
    "exponential": torch.exp,
}


def find_activation(settings: Settings, key: str = "activation", default: Any = REQUIRED) -> Function:
    """The function that `settings` name under `key`. Raises CheckpointError for one that Keras does not have."""
    value = settings.get(key, default)
    if value is None:
        return linear
    if isinstance(value, dict):
        return _find_described(value, settings, key)
    if value == "hard_sigmoid":
        return hard_sigmoid_2 if settings.context.major < 3 else hard_sigmoid_3
    if not isinstance(value, str) or value not in FUNCTIONS:
        raise settings.refuse(f"has the {key} {shorten(value)}, which is no function of Keras")
    return FUNCTIONS[value]


def _find_described(value: dict[str, Any], settings: Settings, key: str) -> Function:
    """An activation that is described at length: a function by module and name, or a layer of its own."""
    kind, inner, module = value.get("class_name"), value.get("config"), value.get("module")
    foreign = module is not None and not re.match(r"(builtins$|(tensorflow|tf_keras|keras)(\.|$))", str(module))
    if kind == "function" and isinstance(inner, str) and not foreign:
        plain = Settings(settings.kind, {"name": settings.name, key: inner}, settings.context)
        return find_activation(plain, key)
    if kind in ACTIVATION_LAYERS and not foreign and isinstance(inner, dict):
        return make_layer(value, settings.context, (None, None)).forward
    named = inner if kind == "function" else kind
    raise settings.refuse(f"has the {key} {shorten(named)}, which is no function of Keras")


@keras_layer("Activation")
class Activation(Layer):
    keeps_mask = True

    def build(self, *shapes: Shape) -> Shape:
        self.function = find_activation(self.settings)
        return shapes[0]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(inputs[0])


@keras_layer("ReLU")
class Relu(Layer):
    """max_value from there on, x from `threshold` on, negative_slope * (x - threshold) below it."""

    keeps_mask = True

    def build(self, *shapes: Shape) -> Shape:
        limit = self.settings.get("max_value", None)
        self.limit = None if limit is None else self.settings.number("max_value")
        self.slope = self.settings.number("negative_slope", 0.0)
        self.threshold = self.settings.number("threshold", 0.0)
        return shapes[0]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        result = torch.where(x >= self.threshold, x, self.slope * (x - self.threshold))
        return result if self.limit is None else result.clamp(max=self.limit)


@keras_layer("LeakyReLU")
class LeakyRelu(Layer):
    keeps_mask = True

    def build(self, *shapes: Shape) -> Shape:
        key = "alpha" if "alpha" in self.settings.values else "negative_slope"
        self.slope = self.settings.number(key)
        return shapes[0]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu(inputs[0], self.slope)


@keras_layer("ELU")
class Elu(Layer):
    keeps_mask = True

    def build(self, *shapes: Shape) -> Shape:
        self.alpha = self.settings.number("alpha", 1.0)
        return shapes[0]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return functional.elu(inputs[0], self.alpha)


@keras_layer("ThresholdedReLU")
class ThresholdedRelu(Layer):
    keeps_mask = True

    def build(self, *shapes: Shape) -> Shape:
        self.theta = self.settings.number("theta")
        return shapes[0]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return torch.where(inputs[0] > self.theta, inputs[0], torch.zeros_like(inputs[0]))


@keras_layer("PReLU")
class ParametricRelu(Layer):
    """x where it is positive, else alpha * x; alpha has the shape of an example, 1 along the shared axes."""

    keeps_mask = True

    def build(self, *shapes: Shape) -> Shape:
        sizes = list(shapes[0])
        if self.settings.get("shared_axes", None) is not None:
            for axis in self.settings.axes("shared_axes", len(sizes)):
                sizes[axis] = 1
        self.add_weight("alpha", sizes[1:])
        return shapes[0]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return torch.where(inputs[0] > 0, inputs[0], self.alpha * inputs[0])


@keras_layer("Softmax")
class Softmax(Layer):
    keeps_mask = True

    def build(self, *shapes: Shape) -> Shape:
        self.axes = self.settings.axes("axis", len(shapes[0]), -1)
        return shapes[0]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        if len(self.axes) == 1:
            return torch.softmax(inputs[0], self.axes[0])
        return torch.exp(inputs[0] - torch.logsumexp(inputs[0], self.axes, keepdim=True))

    def trace_mask(self, masked: Sequence[bool]) -> bool:
        # TensorFlow's Keras would apply the mask to the values.
        if masked[0] and self.settings.context.is_tensorflow_keras:
            raise self.settings.refuse("gets a mask, which is not supported here", "use Activation softmax instead")
        return masked[0]


ACTIVATION_LAYERS = ("ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "Softmax")

