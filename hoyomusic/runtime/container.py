"""The `.onnx` file: a step, what is needed to use it, and a seal; read without any ONNX library.

A serialised ONNX model is a protobuf message. Behind the graph stand two entries of metadata: ``hoyomusic``,
the card as JSON, and last ``sha256``, the seal: the digest of every byte before it. The card:

=============== =====================================================================================
``format``      ``"hoyomusic step"``
``version``     1
``precision``   ``"int8"`` or ``"fp32"``
``config``      the sizes, as `ModelConfig.to_dict` gives them
``vocab``       what the ids mean
``provenance``  what the model learned from, as in its checkpoint
``checkpoint``  the fingerprint of the `.pth` that it was made of (`archive.fingerprint`)
=============== =====================================================================================

A file from a stranger can carry a true seal, so the graph is looked at too: only operators that a step is
made of, no graphs within graphs, no data outside the file, constants that are as large as they say.
The encoding is that of protobuf.dev; field numbers are those of onnx.proto.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hoyomusic.archive import DAMAGED, fault
from hoyomusic.errors import UsageError
from hoyomusic.sizes import AGREEMENTS, ModelConfig

FORMAT = "hoyomusic step"
VERSION = 1
# Fields of ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto and StringStringEntryProto.
GRAPH, METADATA = 7, 14
NODE, INITIALISER = 1, 5
OPERATOR, ATTRIBUTE, DOMAIN = 4, 5, 7
GRAPH_VALUE, GRAPH_VALUES = 6, 11
DIMS, DATA_TYPE, NAME, RAW_DATA, OUTSIDE, LOCATION = 1, 2, 8, 9, 13, 14
KEY, VALUE = 1, 2

OPERATORS = frozenset(
    "Add Cast Clip Concat Gather GatherElements Identity MatMul MatMulInteger Mul QuantizeLinear ReduceSum"
    " ScatterElements Sigmoid Split Sub Tanh".split()
)
DTYPES = {1: np.dtype("<f4"), 2: np.dtype("u1"), 3: np.dtype("i1"), 7: np.dtype("<i8")}
MOST_NODES = 2_000

FOREIGN = "is no HoyoMusic model"
EXPORT_AGAIN = "export it again: hoyo export --force"


@dataclass(frozen=True)
class Step:
    """A step as it lies in its file: the `data` for an engine, its constants by name, and its card.

    `identity` is the SHA-256 of the file.
    """

    data: bytes
    constants: dict[str, np.ndarray]
    precision: str
    config: ModelConfig
    vocab: dict[str, Any]
    provenance: dict[str, Any]
    checkpoint: str
    identity: str


def seal(graph: bytes, card: Mapping[str, Any]) -> bytes:
    """The file of a serialised model without metadata: with its `card` and the seal."""
    told = {"format": FORMAT, "version": VERSION, **card}
    data = graph + _entry("hoyomusic", json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode())
    return data + _entry("sha256", hashlib.sha256(data).hexdigest().encode())


def parse(data: bytes, file: str) -> Step:
    """The step in a file's bytes; `file` is its name in errors. Raises CheckpointError for whatever else is there."""
    length = len(_entry("sha256", bytes(64)))
    content, sealed = memoryview(data)[:-length], data[-length:]
    digest = hashlib.sha256(content)
    if sealed != _entry("sha256", digest.hexdigest().encode()):
        if b"hoyomusic" in data:
            raise fault(file, DAMAGED, EXPORT_AGAIN)
        raise fault(file, FOREIGN)
    try:
        fields = list(_fields(content))
        entries = [dict(_fields(value)) for number, value in fields if number == METADATA]
        cards = [entry[VALUE] for entry in entries if bytes(entry.get(KEY, b"")) == b"hoyomusic"]
        card = json.loads(bytes(cards[0]))
        constants = _read_graph(next(value for number, value in fields if number == GRAPH), file)
        config = ModelConfig(**card["config"])
        if card["format"] != FORMAT or card["precision"] not in ("int8", "fp32"):
            raise ValueError("another format")
        if card["version"] != VERSION:
            raise fault(file, f"has version {card['version']!r}, not {VERSION}", EXPORT_AGAIN)
        kinds = {"checkpoint": str, "vocab": dict, "provenance": dict}
        if not all(type(card[name]) is kind for name, kind in kinds.items()):
            raise ValueError("a card of other values")
        found = {name: (array.dtype.char, array.shape) for name, array in constants.items()}
        if not _describe_constants(config, card["precision"]).items() <= found.items():
            raise ValueError("constants of other sizes")
    except (StopIteration, IndexError, KeyError, TypeError, ValueError, RecursionError, UsageError) as error:
        raise fault(file, FOREIGN) from error
    digest.update(sealed)
    return Step(
        data, constants, card["precision"], config, card["vocab"], card["provenance"], card["checkpoint"],
        digest.hexdigest(),
    )


def _describe_constants(config: ModelConfig, precision: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of the constants that `graph` writes for a model of these sizes."""
    whole = precision == "int8"
    weight, gates = "b" if whole else "f", 4 * config.hidden
    columns = config.vocabulary + AGREEMENTS * config.recalls
    found = {
        "table": (weight, (config.vocabulary + config.regions + config.clocks, config.embedding)),
        "output_matrix": (weight, (config.hidden, columns)),
        "output_bias": ("f", (columns,)),
    }
    for layer in range(config.layers):
        inputs = config.hidden + (config.hidden if layer else config.embedding)
        found[f"layer{layer}_matrix"] = weight, (inputs, gates)
        found[f"layer{layer}_bias"] = "f", (gates,)
        if whole:
            found[f"layer{layer}_scale"] = "f", (gates,)
    if whole:
        found |= {"output_scale": ("f", (columns,)), "unit_steps": ("f", (config.hidden,))}
        found |= {"layer_step": ("f", ()), "arguments": ("f", ())}
    return found


def _read_graph(graph: memoryview, file: str) -> dict[str, np.ndarray]:
    """The constants of a graph; raises CheckpointError for a graph that does what no step does."""
    constants: dict[str, np.ndarray] = {}
    nodes = 0
    for number, value in _fields(graph):
        if number == NODE:
            nodes += 1
            _check_node(value, file)
        elif number == INITIALISER:
            name, array = _read_tensor(value)
            constants[name] = array
    if nodes > MOST_NODES:
        raise fault(file, f"has {nodes} nodes, more than any model of ours")
    return constants


def _check_node(node: memoryview, file: str) -> None:
    for number, value in _fields(node):
        if number == OPERATOR and bytes(value).decode() not in OPERATORS or number == DOMAIN and len(value):
            raise fault(file, "computes what no model of ours does", "do not trust where it comes from")
        if number == ATTRIBUTE and any(field in (GRAPH_VALUE, GRAPH_VALUES) for field, _ in _fields(value)):
            raise fault(file, "holds a graph within its graph", "do not trust where it comes from")


def _read_tensor(tensor: memoryview) -> tuple[str, np.ndarray]:
    shape: list[int] = []
    dtype, name, data = None, "", memoryview(b"")
    for number, value in _fields(tensor):
        if number == DIMS:
            shape += [value] if isinstance(value, int) else _read_numbers(value)
        elif number == DATA_TYPE:
            dtype = DTYPES[value]
        elif number == NAME:
            name = bytes(value).decode()
        elif number == RAW_DATA:
            data = value
        elif number == OUTSIDE or number == LOCATION:
            raise ValueError("data outside the file")
    if dtype is None or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("a constant of another size than it says")
    return name, np.frombuffer(data, dtype).reshape(shape)


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message in order: number and value, an int or a view of bytes. Raises ValueError for others."""
    view, place = memoryview(message), 0
    while place < len(view):
        tag, place = _read_number(view, place)
        if tag & 7 == 0:
            value, place = _read_number(view, place)
        elif tag & 7 in (1, 2, 5):
            length = {1: 8, 5: 4}.get(tag & 7)
            if length is None:
                length, place = _read_number(view, place)
            value, place = view[place : place + length], place + length
            if place > len(view):
                raise ValueError("a field goes on behind its message")
        else:
            raise ValueError("a field of no known kind")
        yield tag >> 3, value


def _read_number(view: memoryview, place: int) -> tuple[int, int]:
    """A base-128 number and the place behind it."""
    number = 0
    for count in range(10):
        if place + count >= len(view):
            break
        byte = view[place + count]
        number |= (byte & 127) << 7 * count
        if byte < 128:
            return number, place + count + 1
    raise ValueError("a number without an end")


def _read_numbers(view: memoryview) -> list[int]:
    numbers, place = [], 0
    while place < len(view):
        number, place = _read_number(view, place)
        numbers.append(number)
    return numbers


def _entry(key: str, value: bytes) -> bytes:
    """One entry of metadata as it lies in a file."""
    return _field(METADATA, _field(KEY, key.encode()) + _field(VALUE, value))


def _field(number: int, value: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(value)) + value


def _number(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes(written) + bytes([number])
