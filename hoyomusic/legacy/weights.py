"""Which stored array belongs where: by the names in a Keras file, or by the numbers in one of Keras 3.

Every weight is found and every array used, once; else the model is refused.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from hoyomusic.archive import fault
from hoyomusic.legacy.files import KerasFile
from hoyomusic.legacy.layers.base import Layer, Weight, shorten
from hoyomusic.legacy.layers.network import Network

if TYPE_CHECKING:
    import h5py

LONGEST_PATH = 40
# Searching by similar names compares all with all.
MOST_TO_SEARCH = 2000

Path = tuple[str, ...]


class Found(NamedTuple):
    """A weight and the array that the file holds for it."""

    weight: Weight
    dataset: h5py.Dataset


def find_by_names(source: KerasFile, root: h5py.Group, network: Network) -> Iterator[Found]:
    """The arrays of all layers in `root`, whose attributes name them. Raises CheckpointError for any that is amiss."""
    names = source.names(root, "layer_names")
    if names is None:
        raise fault(source.name, "holds no Keras model: it does not name its layers")
    layers = {layer.settings.name: layer for layer in network.layers}
    inputs = network.input_names()
    for name in names:
        group = source.group(root, name)
        stored = source.names(group, "weight_names") if group is not None else None
        if group is None or stored is None:
            raise fault(source.name, f"layer {shorten(name)} is listed, but the file does not hold its weights")
        if name in layers:
            yield from _find_in_layer(source, group, layers.pop(name), stored)
        elif stored or name not in inputs:
            raise fault(source.name, f"holds a layer {shorten(name)} that its configuration does not have")
    for layer in layers.values():
        if any(True for _ in layer.weights()):
            raise fault(source.name, f"{title(layer)} has no weights in the file")
    extra = source.group(root, "top_level_model_weights")
    if extra is not None and source.names(extra, "weight_names"):
        raise fault(source.name, "holds weights that belong to no layer, which is not supported")


def _find_in_layer(source: KerasFile, group: h5py.Group, layer: Layer, stored: list[str]) -> Iterator[Found]:
    paths: dict[str, Path] = {name: split(name) for name in stored}
    if len(paths) < len(stored) or any(len(path) > LONGEST_PATH for path in paths.values()):
        raise fault(source.name, f"{title(layer)} lists its weights in a way that cannot be")
    used = [name for name in stored if not layer.is_ignored(paths[name])]
    for weight, name in pair(layer, list(layer.weights()), {name: paths[name] for name in used}, source.name):
        yield Found(weight, source.dataset(group, name, weight.shape, describe_weight(weight, layer)))


def pair(layer: Layer, weights: list[Weight], paths: dict[str, Path], file: str) -> Iterator[tuple[Weight, str]]:
    """Each of the `weights` of a layer with the name whose path is its own; raises CheckpointError where it is unclear.

    Names are compared from their end: with those of all layers around, else with the nearest only, then without the
    numbers that TensorFlow 1 adds to names that were taken, at last by the weight's own name where just one has it.
    """
    if len(weights) != len(paths):
        expected = {weight.path[-1] for weight in weights}
        missing = sorted(expected - {path[-1] for path in paths.values()})
        told = f", and lacks {', '.join(missing)}" if missing else ""
        raise fault(file, f"{title(layer)} has {len(paths)} weights in the file, and needs {len(weights)}{told}")
    ends: dict[Path, list[str]] = defaultdict(list)
    for name, path in paths.items():
        for variant in {path, canonical(path)}:
            for length in range(1, len(variant) + 1):
                ends[variant[-length:]].append(name)
    left = dict(paths)
    for weight in sorted(weights, key=lambda weight: -len(weight.owners)):
        found: list[str] = []
        for candidates in _candidates(weight, ends, left):
            found = [name for name in candidates if name in left]
            if found:
                break
        if len(found) != 1:
            problem = "could be any of several in the file" if found else "is not in the file"
            raise fault(file, f"{describe_weight(weight, layer)} {problem}")
        del left[found[0]]
        yield weight, found[0]


def _candidates(weight: Weight, ends: dict[Path, list[str]], left: dict[str, Path]) -> Iterator[Iterable[str]]:
    yield ends.get((*weight.owners, *weight.path), [])
    nearest = (*weight.owners[-1:], *weight.path)
    yield ends.get(nearest, [])
    if len(left) > MOST_TO_SEARCH:
        return
    # A layer in a wrapper has its own name between that of the wrapper and that of the weight.
    inside = len(weight.path)
    yield [
        name for name, path in left.items()
        if weight.owners and canonical(path)[-inside:] == weight.path and weight.owners[-1] in path[:-inside]
    ]
    wanted = [re.compile(rf"{re.escape(part)}(_\d+)?") for part in nearest]
    yield [name for name, path in left.items() if _ends_with(path, wanted)]
    yield [name for name, path in left.items() if _ends_with(canonical(path), wanted[-inside:])]


def _ends_with(path: Path, wanted: list[re.Pattern[str]]) -> bool:
    if len(path) < len(wanted):
        return False
    return all(pattern.fullmatch(part) for pattern, part in zip(wanted, path[-len(wanted) :], strict=True))


def split(name: str) -> Path:
    """The parts of the name of a weight, without the number of its output and the cells of recurrent layers.

    >>> split("bidirectional/forward_lstm/lstm_cell_3/kernel:0")
    ('bidirectional', 'forward_lstm', 'kernel')
    """
    parts = re.sub(r":\d+$", "", name).split("/")
    return (*(part for part in parts[:-1] if not re.fullmatch(r"(lstm|gru|simple_rnn)_cell(_\d+)?", part)), parts[-1])


def canonical(path: Path) -> Path:
    """`path` with one name for all forward layers of Bidirectional, and one for all backward layers."""
    return tuple(re.sub(r"^(forward|backward)_.*", r"\1_*", part) for part in path)


def find_by_numbers(source: KerasFile, network: Network) -> Iterator[Found]:
    """The arrays of a `.weights.h5` file of Keras 3. Raises CheckpointError for any that is amiss."""
    # TensorFlow 2.13 had another name for the same.
    old = source.group(source.root, "layers") is None
    known: set[str] = set()
    for path, weights in network.numbered():
        place = "/".join(path)
        if old:
            place = re.sub(r"(^|/)layers/", r"\1_layer_checkpoint_dependencies/", place)
        known.add(place.split("/")[1])
        group = source.group(source.root, f"{place}/vars")
        count = 0 if group is None else len(source.members(group))
        if count != len(weights):
            raise fault(source.name, f"{place} holds {count} weights, and the architecture says {len(weights)}")
        for number, weight in enumerate(weights):
            yield Found(weight, source.dataset(group, str(number), weight.shape, describe_weight(weight)))
    kept = source.group(source.root, "_layer_checkpoint_dependencies" if old else "layers")
    for name in source.members(kept) if kept is not None else []:
        if name not in known and not re.fullmatch(r"input_layer(_\d+)?", name):
            raise fault(source.name, f"holds a layer {shorten(name)} that the architecture does not have")


def title(layer: Layer) -> str:
    """The name and class of a layer, for errors."""
    return f"layer {shorten(layer.settings.name)} ({shorten(layer.settings.kind)})"


def describe_weight(weight: Weight, layer: Layer | None = None) -> str:
    """Which weight of which layer it is, for errors; `layer` is the one that the file knows, if it is another."""
    path = "/".join((*weight.owners, *weight.path) or (weight.name,))
    return f"{title(layer or weight.layer)}: weight {shorten(path)}"
