"""What every Keras layer is here: settings that are read with care, weights in Keras's own layout, masks.

A layer keeps its weights as the file stores them, under the names and in the shapes that Keras gave them, so that
each is read once, straight into its place, and can be compared with the file bit by bit. Inputs and outputs have
their channels last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from hoyomusic.errors import CheckpointError

# The first entry is the batch. None is a length that only a call tells.
Shape = tuple[int | None, ...]
Mask = torch.Tensor | None

# No honest layer is wider, and products of some such numbers are still quick to compute.
LARGEST_NUMBER = 2**48
# So many calls of layers may a model have, those in nested models counted at each call of theirs.
MOST_CALLS = 5_000
DEEPEST_MODEL = 24
REQUIRED: Any = object()

LAYERS: dict[str, type[Layer]] = {}
OWN_LAYERS: dict[str, type[Layer]] = {}

AnyLayer = TypeVar("AnyLayer", bound="type[Layer]")


@dataclass
class Context:
    """What all layers of a model share: which Keras wrote them, and how much has been built."""

    version: str
    backend: str = "tensorflow"
    calls: int = 0
    depth: int = 0
    known: set[str] = field(default_factory=set)

    @property
    def major(self) -> int:
        """The number before the first point, 0 where there is none."""
        number = re.match(r"\d{1,4}", self.version)
        return int(number[0]) if number else 0

    @property
    def is_tensorflow_keras(self) -> bool:
        """Whether TensorFlow's own Keras 2 wrote it, or any later one: they differ from the first Keras in details."""
        minor = re.match(r"\d+\.(\d+)", self.version)
        return "-tf" in self.version or self.major > 2 or (minor is not None and int(minor[1]) >= 4)

    def count_call(self) -> None:
        self.calls += 1
        if self.calls > MOST_CALLS:
            raise CheckpointError(f"the model calls its layers more than {MOST_CALLS} times")


class Weight(NamedTuple):
    """A place for a stored array: the `layer` that keeps it, under `name`.

    Keras names it by `path`, after the names of the layers around it, the `owners`, or some of them.
    """

    layer: Layer
    name: str
    shape: tuple[int, ...]
    owners: tuple[str, ...] = ()
    path: tuple[str, ...] = ()


class Settings:
    """The configuration of one layer; whatever is missing or makes no sense there raises CheckpointError."""

    def __init__(self, kind: str, values: Any, context: Context) -> None:
        if not isinstance(values, dict):
            raise CheckpointError(f"a {shorten(kind)} layer has no configuration")
        name = values.get("name", kind)
        if not isinstance(name, str) or not name:
            raise CheckpointError(f"a {shorten(kind)} layer has a name that is no text")
        self.kind = kind
        self.name = name
        self.values = values
        self.context = context

    def refuse(self, message: str, remedy: str | None = None) -> CheckpointError:
        """The error that names this layer."""
        return CheckpointError(f"layer {shorten(self.name)} ({shorten(self.kind)}) {message}", remedy=remedy)

    def get(self, key: str, default: Any = REQUIRED) -> Any:
        value = self.values.get(key, default)
        if value is REQUIRED:
            raise self.refuse(f"does not say its {key}")
        return value

    def whole(self, key: str, default: Any = REQUIRED, least: int = 1) -> int:
        return self._whole(key, self.get(key, default), least)

    def flag(self, key: str, default: Any = REQUIRED) -> bool:
        value = self.get(key, default)
        if value not in (True, False):
            raise self.refuse(f"has a {key} that is neither true nor false: {shorten(value)}")
        return bool(value)

    def number(self, key: str, default: Any = REQUIRED) -> float:
        value = self.get(key, default)
        # What NumPy numbers became in the files of some versions.
        if isinstance(value, dict) and value.get("type") == "ndarray":
            value = value.get("value")
        # Beyond float32 nothing can be computed with it.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -3e38 < value < 3e38:
            raise self.refuse(f"has a {key} that is no number: {shorten(value)}")
        return float(value)

    def choice(self, key: str, options: Sequence[str], default: Any = REQUIRED) -> str:
        value = self.get(key, default)
        if value not in options:
            raise self.refuse(f"has the {key} {shorten(value)}, which is not supported", f"known: {', '.join(options)}")
        return str(value)

    def sizes(self, key: str, rank: int, default: Any = REQUIRED, least: int = 1) -> tuple[int, ...]:
        """`rank` whole numbers, for which one number may stand."""
        value = self.get(key, default)
        values = value if isinstance(value, list) else [value] * rank
        if len(values) != rank:
            raise self.refuse(f"has {len(values)} numbers as its {key}, not {rank}")
        return tuple(self._whole(key, entry, least) for entry in values)

    def pairs(self, key: str, rank: int) -> list[tuple[int, int]]:
        """`rank` pairs (before, after) of whole numbers; one number may stand for a pair, and one for all."""
        value = self.get(key)
        if not isinstance(value, list):
            value = [value] * rank
        elif rank == 1 and len(value) == 2:
            value = [value]
        if len(value) != rank:
            raise self.refuse(f"has a {key} of another number of axes: {shorten(value)}")
        return [
            (self._whole(key, pair[0], 0), self._whole(key, pair[1], 0))
            for pair in (entry if isinstance(entry, list) and len(entry) == 2 else [entry, entry] for entry in value)
        ]

    def axis(self, key: str, rank: int, default: Any = REQUIRED) -> int:
        """One axis of an input with `rank` of them, counted from the front; a list of one is one."""
        axes = self.axes(key, rank, default)
        if len(axes) != 1:
            raise self.refuse(f"has {len(axes)} axes, and only one is supported")
        return axes[0]

    def axes(self, key: str, rank: int, default: Any = REQUIRED) -> tuple[int, ...]:
        value = self.get(key, default)
        found = []
        for entry in value if isinstance(value, list) else [value]:
            axis = self._whole(key, entry, -rank)
            if axis >= rank:
                raise self.refuse(f"names the axis {axis} of an input that has {rank}")
            found.append(axis % rank)
        return tuple(found)

    def refuse_if(self, *keys: str) -> None:
        """Refuse what is switched on under any of these keys: it would change the result, and is not supported."""
        for key in keys:
            if self.values.get(key) not in (None, False, 0):
                raise self.refuse(f"has {key}, which is not supported")

    def _whole(self, key: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST_NUMBER:
            raise self.refuse(f"has a {key} that cannot be: {shorten(value)}")
        return value


class Layer(nn.Module):
    """One layer of a Keras model; the base of all, and of your own, which `register_layer` names.

    A layer declares its weights in `build`, and computes in `forward`. `keeps_mask` says that a mask (batch, time)
    of the input is that of the output too.
    """

    keeps_mask = False
    # How many tensors a call takes; None for a list of them.
    takes: int | None = 1

    def __init__(self, settings: Settings, *shapes: Shape) -> None:
        super().__init__()
        self.settings = settings
        self.shapes: dict[str, tuple[int, ...]] = {}
        if self.takes is not None and len(shapes) != self.takes:
            raise settings.refuse(f"is called with {len(shapes)} tensors, such as a state to start from; not supported")
        self.output_shape: Any = self.build(*shapes)

    def build(self, *shapes: Shape) -> Shape:
        """Declare the weights for inputs of these `shapes`, batch first, and return the shape of the output."""
        return shapes[0]

    def add_weight(self, name: str, shape: Sequence[int | None]) -> None:
        """Declare the weight that Keras stores as `name`; from loading on it is the attribute of that name."""
        if None in shape:
            raise self.settings.refuse(f"has a {name} whose size the file does not tell: {tuple(shape)}")
        self.shapes[name] = tuple(size for size in shape if size is not None)
        self.register_parameter(name, None)

    def forward(self, *inputs: torch.Tensor) -> Any:
        raise NotImplementedError

    def call(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> tuple[Any, Any]:
        """The output for `inputs` (batch, ...) with their `masks` (batch, time), and its mask."""
        return self.forward(*map(as_float, inputs)), masks[0] if self.keeps_mask else None

    def trace_mask(self, masked: Sequence[bool]) -> Any:
        """Whether the output has a mask, given which inputs have one; raises CheckpointError where that is unclear."""
        return self.keeps_mask and masked[0]

    def weights(self, owners: tuple[str, ...] = (), path: tuple[str, ...] = ()) -> Iterator[Weight]:
        """All weights, those of inner layers included, in the order of their declaration."""
        for name, shape in self.shapes.items():
            yield Weight(self, name, shape, owners, (*path, name))

    def numbered(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Weight]]]:
        """Where the numbered layout of Keras 3 keeps weights: a path of groups, and the weights 0, 1, ... there."""
        yield path, [Weight(self, name, shape) for name, shape in self.shapes.items()]

    def is_ignored(self, path: Sequence[str]) -> bool:
        """Whether a stored array of this path within the layer is known to play no part in a prediction."""
        return False

    def adopt(self, name: str, values: torch.Tensor) -> None:
        """Take `values` as the weight `name`. Raises CheckpointError where they cannot be its values."""
        self.register_parameter(name, nn.Parameter(values, requires_grad=False))


def register_layer(name: str) -> Callable[[AnyLayer], AnyLayer]:
    """Make a class known as the Keras layer class `name`, which a file names in its configuration.

    >>> @register_layer("ScaleByNumber")
    ... class ScaleByNumber(Layer):
    ...     keeps_mask = True
    ...     def build(self, shape):
    ...         self.add_weight("factor", (shape[-1],))
    ...         return shape
    ...     def forward(self, x):
    ...         return x * self.factor

    Raises CheckpointError for a name that a layer of Keras has.
    """
    if name in LAYERS:
        raise CheckpointError(f"{name} is a layer of Keras and cannot be another", remedy="register another name")

    def register(layer: AnyLayer) -> AnyLayer:
        OWN_LAYERS[name] = layer
        return layer

    return register


def keras_layer(*names: str) -> Callable[[AnyLayer], AnyLayer]:
    """Make a class known under the names that Keras itself has for it."""

    def register(layer: AnyLayer) -> AnyLayer:
        LAYERS.update(dict.fromkeys(names, layer))
        return layer

    return register


def make_layer(entry: Any, context: Context, *shapes: Shape, name: str | None = None, **changes: Any) -> Layer:
    """The layer that `entry` of a configuration describes, for inputs of these `shapes`.

    `name` replaces the name, `changes` other settings. Raises CheckpointError for all that is not supported.
    """
    kind = class_of(entry)
    values = entry["config"] if isinstance(entry.get("config"), (dict, list)) else {}
    if isinstance(values, list):
        # Keras 2.0 and 2.1 have a bare list of layers for a Sequential model.
        values = {"layers": values, "name": entry.get("name", "sequential")}
    if name is not None or changes:
        values = {**values, **changes, "name": name or values.get("name", kind)}
    settings = Settings(kind, values, context)
    layer = find_class(entry, settings)
    check_precision(settings)
    context.count_call()
    context.depth += 1
    if context.depth > DEEPEST_MODEL:
        raise settings.refuse(f"is nested more than {DEEPEST_MODEL} deep")
    made = layer(settings, *shapes)
    context.depth -= 1
    return made


def class_of(entry: Any) -> str:
    """The class of a layer as its file names it, without the name of a package before it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise CheckpointError("the configuration has a layer without a class: damaged, or not by Keras")
    return str(entry["class_name"]).rpartition(">")[2]


def find_class(entry: dict[str, Any], settings: Settings) -> type[Layer]:
    """The class that computes the layer of `entry`; raises CheckpointError, naming it, where there is none."""
    kind = settings.kind
    if kind == "Lambda":
        raise settings.refuse("carries program code, which is never run", "rebuild the model without Lambda layers")
    if kind in OWN_LAYERS:
        return OWN_LAYERS[kind]
    module = entry.get("module")
    foreign = isinstance(module, str) and not re.match(r"(tensorflow|tf_keras|keras)(\.|$)", module)
    operation = isinstance(module, str) and ".ops" in module
    if kind not in LAYERS or operation or (foreign and kind != "TCN"):
        raise settings.refuse(
            "is of a class that is not known here", f'write it for PyTorch under @register_layer("{shorten(kind)}")'
        )
    return LAYERS[kind]


def check_precision(settings: Settings) -> None:
    """Raise CheckpointError unless the layer computes in float32."""
    dtype = settings.values.get("dtype")
    if isinstance(dtype, dict):
        inner = dtype.get("config")
        dtype = inner.get("name") if isinstance(inner, dict) else None
        if dtype is None:
            raise settings.refuse("has a precision that is not told")
    takes_ids = settings.kind == "Embedding" and dtype in ("int32", "int64")
    if dtype not in (None, "float32") and not takes_ids:
        raise settings.refuse(f"computes in {shorten(dtype)}, and only float32 is supported")


def as_float(values: torch.Tensor) -> torch.Tensor:
    """`values`, whole numbers as float32."""
    return values if values.is_floating_point() else values.to(torch.float32)


def _print(value: Any) -> str:
    # Whole numbers of thousands of digits are not even printed.
    return "a huge number" if isinstance(value, int) and abs(value) > LARGEST_NUMBER**4 else repr(value)


def shorten(value: Any) -> str:
    """`value` as a short piece of one line."""
    text = value if isinstance(value, str) else _print(value)
    text = "".join(sign if sign.isprintable() else "?" for sign in text[:400])
    return text if len(text) <= 60 else f"{text[:40]}...{text[-12:]}"
