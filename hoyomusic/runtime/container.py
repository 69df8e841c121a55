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

A file from a stranger can carry a true seal, so the graph is held against `blueprint`, node by node and constant
by constant: it must be the very one that `graph` writes for these sizes, with other weights at most.
The encoding is that of protobuf.dev; field numbers are those of onnx.proto.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hoyomusic.archive import DAMAGED, fault
from hoyomusic.checkpoint import LARGEST_WEIGHT, check_told
from hoyomusic.errors import UsageError
from hoyomusic.runtime.blueprint import Constant, describe_constants, list_inputs, list_nodes, list_outputs
from hoyomusic.runtime.graph import IR_VERSION, OPSET
from hoyomusic.sizes import ModelConfig

FORMAT = "hoyomusic step"
VERSION = 1
# Fields of ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, ValueInfoProto and what lies within it,
# OperatorSetIdProto, StringStringEntryProto: all that `graph` writes.
IR, PRODUCER, GRAPH, OPSETS, METADATA = 1, 2, 7, 8, 14
NODE, GRAPH_NAME, INITIALISER, INPUT, OUTPUT = 1, 2, 5, 11, 12
NODE_INPUT, NODE_OUTPUT, NODE_NAME, OPERATOR, ATTRIBUTE = 1, 2, 3, 4, 5
ATTRIBUTE_NAME, WHOLE_NUMBER, STRING, ATTRIBUTE_TYPE = 1, 3, 4, 20
DIMS, DATA_TYPE, TENSOR_NAME, RAW_DATA = 1, 2, 8, 9
VALUE_NAME, VALUE_TYPE, TENSOR_TYPE, ELEMENTS, SHAPE, DIM, DIM_VALUE, DIM_NAME = 1, 2, 1, 1, 2, 1, 1, 2
DOMAIN, OPSET_VERSION = 1, 2
KEY, VALUE = 1, 2

DTYPES = {1: np.dtype("<f4"), 2: np.dtype("u1"), 3: np.dtype("i1"), 7: np.dtype("<i8")}
# Fields of one message; the graph of a model with 16 layers has some 500.
MOST_FIELDS = 1_000
LARGEST_CARD = 2**20
MOST_DIMS = 4

FOREIGN = "is no HoyoMusic model"
OTHER_GRAPH = "computes what no model of ours does"
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
        card = _read_card([value for number, value in fields if number == METADATA])
        config = ModelConfig(**card["config"])
        if card["format"] != FORMAT or card["precision"] not in ("int8", "fp32") or type(card["checkpoint"]) is not str:
            raise ValueError("another format")
        if card["version"] != VERSION:
            raise fault(file, f"has version {repr(card['version'])[:40]}, not {VERSION}", EXPORT_AGAIN)
        check_told(card["vocab"], card["provenance"], config, file)
        constants = _read_model(fields, config, card["precision"])
    except _OtherGraphError as error:
        raise fault(file, OTHER_GRAPH, "do not trust where it comes from") from error
    except (IndexError, KeyError, OverflowError, TypeError, ValueError, RecursionError, UsageError) as error:
        raise fault(file, FOREIGN) from error
    digest.update(sealed)
    return Step(
        data, constants, card["precision"], config, card["vocab"], card["provenance"], card["checkpoint"],
        digest.hexdigest(),
    )


class _OtherGraphError(ValueError):
    """A graph that is well written and not ours."""


def _read_card(entries: Sequence[memoryview]) -> dict[str, Any]:
    """The card among the entries of metadata, of which there is one."""
    ((key, value),) = (_split(entry, KEY, VALUE) for entry in entries)
    if key != b"hoyomusic" or len(value) > LARGEST_CARD:
        raise ValueError("no card")
    card = json.loads(bytes(value))
    if type(card) is not dict:
        raise ValueError("no card")
    return card


def _read_model(fields: Sequence[tuple[int, Any]], config: ModelConfig, precision: str) -> dict[str, np.ndarray]:
    """The constants of the model in these fields; raises ValueError unless it is what `blueprint` says."""
    numbers = [number for number, _ in fields]
    if sorted(numbers) != [IR, PRODUCER, GRAPH, OPSETS, METADATA]:
        raise _OtherGraphError("parts that no model of ours has")
    parts = dict(fields)
    domain, version = _split(parts[OPSETS], DOMAIN, OPSET_VERSION)
    if (parts[IR], domain, version) != (IR_VERSION, b"", OPSET):
        raise _OtherGraphError("operators of another version")
    found: dict[int, list[Any]] = {NODE: [], GRAPH_NAME: [], INITIALISER: [], INPUT: [], OUTPUT: []}
    for number, value in _fields(parts[GRAPH]):
        if number not in found:
            raise _OtherGraphError("a graph with parts that no model of ours has")
        found[number].append(value)
    if (
        [_describe_node(node) for node in found[NODE]] != list_nodes(config, precision)
        or [_describe_value(value) for value in found[INPUT]] != list_inputs(config, precision)
        or [_describe_value(value) for value in found[OUTPUT]] != list_outputs(config, precision)
    ):
        raise _OtherGraphError("nodes that no model of ours has")
    constants = dict(map(_read_tensor, found[INITIALISER]))
    expected = describe_constants(config, precision, LARGEST_WEIGHT)
    if len(constants) != len(found[INITIALISER]) or constants.keys() != expected.keys():
        raise _OtherGraphError("other constants")
    for name, array in constants.items():
        _check_constant(array, expected[name])
    return constants


def _check_constant(array: np.ndarray, expected: Constant) -> None:
    if (array.dtype.char, array.shape) != (expected.kind, expected.shape):
        raise ValueError("a constant of another size")
    if expected.value is not None and not np.array_equal(array, expected.value):
        raise _OtherGraphError("a constant that is always the same, and another one")
    # What is no number is neither above nor below.
    if expected.largest is not None and not -expected.largest <= array.min() <= array.max() <= expected.largest:
        raise ValueError("weights that are no sane numbers")


def _describe_node(node: memoryview) -> str:
    """A node as `blueprint` writes it."""
    parts: dict[int, list[Any]] = {NODE_INPUT: [], NODE_OUTPUT: [], NODE_NAME: [], OPERATOR: [], ATTRIBUTE: []}
    for number, value in _fields(node):
        if number not in parts:
            raise _OtherGraphError("a node with parts that no node of ours has")
        parts[number].append(value)
    inputs, outputs = (", ".join(map(_read_name, parts[kind])) for kind in (NODE_INPUT, NODE_OUTPUT))
    (operator,) = map(_read_name, parts[OPERATOR])
    return " ".join([f"{outputs} = {operator}({inputs})", *map(_describe_attribute, parts[ATTRIBUTE])])


def _describe_attribute(attribute: memoryview) -> str:
    parts = dict(_fields(attribute))
    name = _read_name(parts.pop(ATTRIBUTE_NAME))
    kind = parts.pop(ATTRIBUTE_TYPE)
    if kind == 2 and parts.keys() == {WHOLE_NUMBER}:
        return f"{name}={parts[WHOLE_NUMBER]}"
    if kind == 3 and parts.keys() == {STRING}:
        return f"{name}={_read_name(parts[STRING])}"
    raise _OtherGraphError("an attribute that is neither a number nor a word")


def _describe_value(value: memoryview) -> str:
    """An input or output as `blueprint` writes it."""
    name, kind = _split(value, VALUE_NAME, VALUE_TYPE)
    (tensor,) = _split(kind, TENSOR_TYPE)
    elements, shape = _split(tensor, ELEMENTS, SHAPE)
    dims = [dict(_fields(dim)) for number, dim in _fields(shape) if number == DIM]
    told = [
        "?" if not dim else str(dim[DIM_VALUE]) if dim.keys() == {DIM_VALUE} else _read_name(dim[DIM_NAME])
        for dim in dims
    ]
    return f"{_read_name(name)} {elements} {','.join(told)}"


def _read_tensor(tensor: memoryview) -> tuple[str, np.ndarray]:
    shape: list[int] = []
    parts: dict[int, Any] = {RAW_DATA: b""}
    for number, value in _fields(tensor):
        if number == DIMS:
            shape += [value] if isinstance(value, int) else _read_numbers(value)
        elif number in (DATA_TYPE, TENSOR_NAME, RAW_DATA):
            parts[number] = value
        else:
            raise ValueError("data outside the file, or in another form")
    dtype, data = DTYPES[parts[DATA_TYPE]], parts[RAW_DATA]
    if len(shape) > MOST_DIMS or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("a constant of another size than it says")
    return _read_name(parts[TENSOR_NAME]), np.frombuffer(data, dtype).reshape(shape)


def _read_name(value: memoryview) -> str:
    """A name of a node, a value or a constant: letters, digits and underscores, so that none looks like two."""
    name = bytes(value[:100]).decode()
    if len(value) > 100 or not name.isidentifier():
        raise ValueError("no name")
    return name


def _split(message: memoryview, *numbers: int) -> list[Any]:
    """The values of a message's fields, which are exactly those of these `numbers`, each once and in this order."""
    fields = list(_fields(message))
    if [number for number, _ in fields] != list(numbers):
        raise ValueError("other fields than there should be")
    return [value for _, value in fields]


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message in order: number and value, an int or a view of bytes. Raises ValueError for others."""
    view, place, left = memoryview(message), 0, MOST_FIELDS
    while place < len(view):
        left -= 1
        if left < 0:
            raise ValueError("more fields than any message of ours has")
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
    while place < len(view) and len(numbers) <= MOST_DIMS:
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
