"""Models as layers: a chain or a graph of calls, worked out once when it is built, then followed.

What is called is a node, not a layer: a shared layer has one node for each call. References in a file are (layer,
node, tensor), and nested models count their nodes from 1 in Keras 2 and from 0 in Keras 3.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from hoyomusic.legacy.layers.base import (
    LARGEST_NUMBER,
    Layer,
    Mask,
    Settings,
    Shape,
    Weight,
    class_of,
    keras_layer,
    make_layer,
    shorten,
)

Reference = tuple[str, int, int]
MODELS = ("Sequential", "Functional", "Model")


class Call(NamedTuple):
    """One call of the layer number `layer`: where its inputs lie, and where its outputs go.

    `masked` says whether the file has it take a mask, None where the file does not say.
    """

    layer: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    masked: bool | None = None


class Node(NamedTuple):
    """What a file tells of a call: the tensors it takes, and whether a mask."""

    inputs: list[Reference]
    masked: bool | None = None


class Step(NamedTuple):
    """A call that is still to be arranged: of an entry of the configuration, at a node, on references."""

    entry: int
    node: int
    inputs: list[Reference]
    masked: bool | None


@keras_layer(*MODELS)
class Network(Layer):
    """A whole model, also one within another. Built without shapes, it takes those that its file declares."""

    takes = None

    def build(self, *shapes: Shape) -> Any:
        entries = self.settings.get("layers")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.settings.refuse("has no list of layers")
        self.calls: list[Call] = []
        self.input_shapes: list[Shape] = []
        self._shapes: list[Shape] = []
        if self.settings.kind == "Sequential":
            made = self._build_chain(entries, shapes)
        else:
            made = self._build_graph(entries, shapes)
        self.layers = nn.ModuleList(made)
        outputs = [self._shapes[slot] for slot in self.outputs]
        self.output_shapes = outputs
        return outputs[0] if len(outputs) == 1 else outputs

    def _build_chain(self, entries: list[Any], shapes: tuple[Shape, ...]) -> list[Layer]:
        if len(shapes) > 1:
            raise self.settings.refuse(f"is called with {len(shapes)} tensors, and takes one")
        shape = shapes[0] if shapes else find_input_shape(self.settings)
        self.input_shapes = [shape]
        self.inputs = slots = self._reserve([shape])
        made: list[Layer] = []
        for entry in entries:
            if class_of(entry) == "InputLayer":
                check_input(entry)
                continue
            layer = make_layer(entry, self.settings.context, *(self._shapes[slot] for slot in slots))
            made.append(layer)
            slots = self._call(len(made) - 1, slots, layer.output_shape)
        self.outputs = slots
        return made

    def _build_graph(self, entries: list[Any], shapes: tuple[Shape, ...]) -> list[Layer]:
        settings = self.settings
        names = [name_of(entry) for entry in entries]
        places = {name: place for place, name in enumerate(names)}
        if len(places) < len(names):
            raise settings.refuse("has two layers of one name")
        entry_points = references(settings, "input_layers")
        outputs = references(settings, "output_layers")
        operations = {name for name, entry in zip(names, entries, strict=True) if is_operation(entry)}
        steps = [
            Step(place, number, *node)
            for place, entry in enumerate(entries)
            for number, node in enumerate(read_nodes(entry, settings, operations))
        ]
        # Keras 3 lists what computes a mask among the layers; the layers here pass their masks on by themselves.
        used = {ref[0] for step in steps if names[step.entry] not in operations for ref in step.inputs}
        used |= {name for name, _, _ in outputs}
        steps = [step for step in steps if names[step.entry] not in operations or names[step.entry] in used]
        bases = first_nodes([*(ref for step in steps for ref in step.inputs), *outputs], entries, places, settings)
        slots: dict[Reference, int] = {}
        if shapes and len(shapes) != len(entry_points):
            raise settings.refuse(f"is called with {len(shapes)} tensors, and takes {len(entry_points)}")
        for number, reference in enumerate(entry_points):
            entry = entries[places[reference[0]]] if reference[0] in places else {}
            if not entry or class_of(entry) != "InputLayer":
                raise settings.refuse(f"names as its input {shorten(reference[0])}, which is none")
            check_input(entry)
            shape = shapes[number] if shapes else declared_shape(entry["config"], settings)
            self.input_shapes.append(shape)
            slots[reference] = self._reserve([shape])[0]
        self.inputs = tuple(slots[reference] for reference in entry_points)

        made: dict[int, Layer] = {}
        for step in in_order(steps, set(slots), bases, names, settings):
            if not all(reference in slots for reference in step.inputs):
                raise settings.refuse(f"feeds {shorten(names[step.entry])} with an output that no layer has")
            inputs = tuple(slots[reference] for reference in step.inputs)
            given = [self._shapes[slot] for slot in inputs]
            layer = make_layer(entries[step.entry], settings.context, *given)
            first = made.setdefault(step.entry, layer)
            if [weight.shape for weight in first.weights()] != [weight.shape for weight in layer.weights()]:
                raise layer.settings.refuse("is shared by inputs of different widths")
            found = self._call(step.entry, inputs, layer.output_shape, step.masked)
            name = names[step.entry]
            slots.update({(name, bases.get(name, 0) + step.node, tensor): slot for tensor, slot in enumerate(found)})
        if not all(reference in slots for reference in outputs):
            raise settings.refuse("names outputs that nothing makes")
        self.outputs = tuple(slots[reference] for reference in outputs)
        # In the order of the file, which the numbered layout counts by.
        order = {place: number for number, place in enumerate(sorted(made))}
        self.calls = [call._replace(layer=order[call.layer]) for call in self.calls]
        return [made[place] for place in sorted(made)]

    def _reserve(self, shapes: Sequence[Shape]) -> tuple[int, ...]:
        self._shapes.extend(shapes)
        return tuple(range(len(self._shapes) - len(shapes), len(self._shapes)))

    def _call(self, number: int, inputs: tuple[int, ...], shape: Any, masked: bool | None = None) -> tuple[int, ...]:
        outputs = self._reserve(shape if isinstance(shape, list) else [shape])
        self.calls.append(Call(number, inputs, outputs, masked))
        return outputs

    def call(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> tuple[Any, Any]:
        given = zip(inputs, masks, strict=True)
        values: dict[int, tuple[torch.Tensor, Mask]] = dict(zip(self.inputs, given, strict=True))
        for call in self.calls:
            taken = [values[slot] for slot in call.inputs]
            result, mask = self.layers[call.layer].call([x for x, _ in taken], [mask for _, mask in taken])
            if len(call.outputs) == 1:
                values[call.outputs[0]] = (result, mask)
            else:
                values.update(zip(call.outputs, zip(result, mask, strict=True), strict=True))
        results = [values[slot] for slot in self.outputs]
        if len(results) == 1:
            return results[0]
        return tuple(x for x, _ in results), tuple(mask for _, mask in results)

    def trace_mask(self, masked: Sequence[bool]) -> Any:
        known = dict(zip(self.inputs, masked, strict=True))
        for call in self.calls:
            layer, given = self.layers[call.layer], [known[slot] for slot in call.inputs]
            if call.masked is not None and call.masked != any(given):
                raise layer.settings.refuse("takes a mask that is not that of its input, which is not supported")
            found = layer.trace_mask(given)
            known.update(zip(call.outputs, found if isinstance(found, tuple) else (found,), strict=True))
        results = tuple(known[slot] for slot in self.outputs)
        return results[0] if len(results) == 1 else results

    def input_names(self) -> set[str]:
        """The names of the layers that only stand for inputs."""
        return {name_of(entry) for entry in self.settings.values["layers"] if class_of(entry) == "InputLayer"}

    def weights(self, owners: tuple[str, ...] = (), path: tuple[str, ...] = ()) -> Iterator[Weight]:
        for layer in self.layers:
            yield from layer.weights((*owners, layer.settings.name), path)

    def numbered(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Weight]]]:
        counts: dict[str, int] = defaultdict(int)
        for layer in self.layers:
            name = to_snake_case(layer.settings.kind)
            number = counts[name]
            counts[name] += 1
            yield from layer.numbered((*path, "layers", f"{name}_{number}" if number else name))


def name_of(entry: dict[str, Any]) -> str:
    """The name of a layer, in its entry or in its configuration."""
    config = entry.get("config")
    name = entry.get("name", config.get("name") if isinstance(config, dict) else None)
    return name if isinstance(name, str) else class_of(entry)


def to_snake_case(kind: str) -> str:
    """The name of a group in the numbered layout for layers of the class `kind`.

    >>> [to_snake_case(kind) for kind in ("LSTM", "Conv1D", "BatchNormalization", "ReLU")]
    ['lstm', 'conv1d', 'batch_normalization', 're_lu']
    """
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W", "", kind))).lower()


def check_input(entry: dict[str, Any]) -> None:
    config = entry.get("config")
    if isinstance(config, dict) and (config.get("sparse") or config.get("ragged")):
        raise Settings("InputLayer", config, None).refuse("takes sparse or ragged inputs, which are not supported")


def declared_shape(config: Any, settings: Settings) -> Shape:
    """The shape that a configuration declares for inputs, batch first."""
    values = config if isinstance(config, dict) else {}
    for key in ("batch_shape", "batch_input_shape", "build_input_shape"):
        shape = values.get(key)
        if shape is not None:
            break
    else:
        raise settings.refuse("does not say what shape its input has", "save the model after it was called")
    whole = isinstance(shape, list) and len(shape) > 0
    if not whole or not all(
        size is None or type(size) is int and 0 < size <= LARGEST_NUMBER for size in shape
    ):
        raise settings.refuse(f"declares an input of the shape {shorten(shape)}")
    return (None, *shape[1:])


def find_input_shape(settings: Settings) -> Shape:
    """The shape of the input of a chain: its own word for it, else its first layer's."""
    values: Any = settings.values
    for _ in range(100):
        entries = values.get("layers")
        first = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], dict) else {}
        config = first.get("config")
        if isinstance(config, list):
            config = {"layers": config}
        if not isinstance(config, dict):
            break
        if any(config.get(key) is not None for key in ("batch_shape", "batch_input_shape")):
            return declared_shape(config, settings)
        if "layers" not in config:
            break
        values = config
    return declared_shape(settings.values, settings)


def references(settings: Settings, key: str) -> list[Reference]:
    """What `input_layers` or `output_layers` name: a list of references, or a single one."""
    value = settings.get(key)
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = [value]
    if not isinstance(value, list) or not value:
        raise settings.refuse(f"has {key} that are no list")
    return [read_reference(entry, settings) for entry in value]


def is_reference(entry: Any) -> bool:
    """Whether something from a file begins as references do: layer, node, tensor."""
    return (
        isinstance(entry, list) and len(entry) >= 3 and isinstance(entry[0], str)
        and all(type(number) is int and 0 <= number <= LARGEST_NUMBER for number in entry[1:3])
    )


def read_reference(entry: Any, settings: Settings) -> Reference:
    if not is_reference(entry):
        raise settings.refuse(f"refers to a layer in a way that is not known: {shorten(entry)}")
    return entry[0], entry[1], entry[2]


def is_operation(entry: dict[str, Any]) -> bool:
    """Whether an entry is not a layer but one of the operations that Keras 3 also lists."""
    return isinstance(entry.get("module"), str) and ".ops" in entry["module"]


def read_nodes(entry: dict[str, Any], settings: Settings, operations: set[str]) -> list[Node]:
    """The calls of a layer. Raises CheckpointError for arguments that would be lost.

    A mask may be an argument where one of the `operations` makes it: then it is that of the input.
    """
    nodes = entry.get("inbound_nodes")
    if not isinstance(nodes, list):
        raise settings.refuse(f"does not say what its layer {shorten(name_of(entry))} takes")
    own = Settings(class_of(entry), {"name": name_of(entry)}, settings.context)
    if is_operation(entry):
        return [Node(_find_tensors(node)) for node in nodes]
    return [
        _read_described(node, own, operations) if isinstance(node, dict) else _read_listed(node, own) for node in nodes
    ]


def _read_listed(node: Any, own: Settings) -> Node:
    """Keras 2: a list of [layer, node, tensor, other arguments]."""
    if isinstance(node, list) and node and isinstance(node[0], str):
        node = [node]
    if not isinstance(node, list) or not node:
        raise own.refuse("is called in a way that is not known")
    for entry in node:
        if isinstance(entry, list) and len(entry) > 3:
            _check_arguments(entry[3], own)
    return Node([read_reference(entry, own) for entry in node])


def _read_described(node: dict[str, Any], own: Settings, operations: set[str]) -> Node:
    """Keras 3: the arguments of the call, with tensors in them described at length."""
    positional, named = node.get("args"), node.get("kwargs")
    if not isinstance(positional, list) or not isinstance(named, dict):
        raise own.refuse("is called in a way that is not known")
    named = dict(named)
    given = [*positional, *([named.pop("inputs")] if "inputs" in named else [])]
    masked = None
    if "mask" in named:
        makers = {name for name, _, _ in _find_tensors(named["mask"])}
        masked = bool(makers)
        if makers <= operations:
            del named["mask"]
    _check_arguments(named, own)
    if not given or any(value is not None for value in given[1:]):
        raise own.refuse("is called with further arguments, which are not supported")
    tensors = given[0] if isinstance(given[0], list) else [given[0]]
    found = [_find_tensors(tensor) for tensor in tensors]
    if not all(isinstance(tensor, dict) and len(inner) == 1 for tensor, inner in zip(tensors, found, strict=True)):
        raise own.refuse("is called with something else than tensors")
    return Node([inner[0] for inner in found], masked)


def _find_tensors(value: Any) -> list[Reference]:
    """All references in the arguments of a call, wherever they stand."""
    found, pending = [], [value]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(reversed(value))
        elif isinstance(value, dict):
            history = value["config"].get("keras_history") if isinstance(value.get("config"), dict) else None
            if value.get("class_name") != "__keras_tensor__":
                pending.extend(reversed(list(value.values())))
            elif is_reference(history):
                found.append((history[0], history[1], history[2]))
    return found


def _check_arguments(named: Any, own: Settings) -> None:
    if not isinstance(named, dict):
        raise own.refuse("is called in a way that is not known")
    for key, value in named.items():
        if value is not None and value is not False:
            raise own.refuse(f"is called with {shorten(key)}={shorten(value)}, which is not supported")


def first_nodes(
    found: list[Reference], entries: list[Any], places: dict[str, int], settings: Settings
) -> dict[str, int]:
    """For each layer that is referred to, the number that its first call has in references: 0, or 1 for models."""
    lowest: dict[str, int] = {}
    for name, node, _ in found:
        if name not in places:
            raise settings.refuse(f"refers to a layer {shorten(name)} that it does not have")
        lowest[name] = min(node, lowest.get(name, node))
    for name, node in lowest.items():
        if node and (node > 1 or class_of(entries[places[name]]) not in MODELS):
            lowest[name] = 0
    return lowest


def in_order(
    steps: list[Step], ready: set[Reference], bases: dict[str, int], names: list[str], settings: Settings
) -> Iterator[Step]:
    """The steps, each after those that make what it takes. Raises CheckpointError for circles and loose ends."""
    available = {(name, node) for name, node, _ in ready}
    waiting: dict[tuple[str, int], list[int]] = defaultdict(list)
    missing = []
    queue: deque[int] = deque()
    for number, step in enumerate(steps):
        needs = {(name, node) for name, node, _ in step.inputs} - available
        missing.append(len(needs))
        for need in needs:
            waiting[need].append(number)
        if not needs:
            queue.append(number)
    done = 0
    while queue:
        step = steps[queue.popleft()]
        done += 1
        yield step
        name = names[step.entry]
        for number in waiting.pop((name, bases.get(name, 0) + step.node), []):
            missing[number] -= 1
            if not missing[number]:
                queue.append(number)
    if done < len(steps):
        raise settings.refuse("has layers that wait for each other, or for what nothing makes")
