"""The `.onnx` file: whole or refused, whoever made it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from hoyomusic.errors import CheckpointError
from hoyomusic.runtime import container
from hoyomusic.runtime.graph import write_graph
from hoyomusic.sizes import ModelConfig
from tests.test_runtime import make_model

SIZES = ModelConfig(20, 2, 3, embedding=8, hidden=8, layers=1)
CARD = {
    "precision": "int8", "config": SIZES.to_dict(), "vocab": {"tokens": [str(index) for index in range(20)]},
    "provenance": {"tunes": {"Liyue": 3}}, "checkpoint": "abc",
}


@pytest.fixture(scope="module")
def graph() -> bytes:
    return write_graph(make_model(SIZES).arrays(), int8=True)


def parse(data: bytes) -> container.Step:
    return container.parse(data, "some.onnx")


def test_what_is_sealed_is_read_back(graph: bytes) -> None:
    step = parse(container.seal(graph, CARD))
    assert (step.precision, step.config, step.vocab) == ("int8", SIZES, CARD["vocab"])
    assert (step.provenance, step.checkpoint) == (CARD["provenance"], "abc")
    told = {each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(graph).graph.initializer}
    assert step.constants.keys() == told.keys()
    assert all(np.array_equal(step.constants[name], values) for name, values in told.items())


def test_every_flipped_bit_is_found(graph: bytes) -> None:
    data = container.seal(graph, CARD)
    numbers = np.random.default_rng(3)
    for bit in numbers.choice(8 * len(data), 1000, replace=False):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CheckpointError):
            parse(bytes(flipped))


@pytest.mark.parametrize("length", [0, 1, 75, 76, 77, 1000, -1])
def test_a_file_cut_short_is_refused(graph: bytes, length: int) -> None:
    with pytest.raises(CheckpointError, match="some.onnx|damaged|no HoyoMusic"):
        parse(container.seal(graph, CARD)[:length])


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_under_a_true_seal_are_refused(content: bytes) -> None:
    with pytest.raises(CheckpointError):
        parse(container.seal(content, CARD))


def changed(graph: bytes, change: Any) -> bytes:
    model = onnx.load_from_string(graph)
    change(model)
    return container.seal(model.SerializeToString(deterministic=True), CARD)


def rewired(place: int, **parts: Any) -> Any:
    """A change of node number `place`."""

    def change(model: onnx.ModelProto) -> None:
        for name, value in parts.items():
            getattr(model.graph.node[place], name)[:] = value

    return change


def set_constant(name: str, values: Any) -> Any:
    def change(model: onnx.ModelProto) -> None:
        (found,) = (each for each in model.graph.initializer if each.name == name)
        found.CopyFrom(numpy_helper.from_array(np.asarray(values), name))

    return change


def set_weight(name: str, value: float) -> Any:
    """A change of the first number of a constant."""

    def change(model: onnx.ModelProto) -> None:
        (found,) = (each for each in model.graph.initializer if each.name == name)
        values = numpy_helper.to_array(found).copy()
        values.flat[0] = value
        found.CopyFrom(numpy_helper.from_array(values, name))

    return change


def grow(model: onnx.ModelProto) -> None:
    model.graph.node.extend(helper.make_node("Add", ["x", "x"], [f"y{index}"]) for index in range(2000))


def lie_about_size(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [10**12]


def point_outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")


def nest(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "inner", [], [])))


def add_function(model: onnx.ModelProto) -> None:
    nodes = [helper.make_node("Loop", ["x"], ["y"])]
    model.functions.append(helper.make_function("", "Gather", ["x"], ["y"], nodes, [helper.make_opsetid("", 18)]))


def widen_state(model: onnx.ModelProto) -> None:
    model.graph.input[-1].type.tensor_type.shape.dim[1].dim_value = 10**9


FOREIGN, OTHER = "is no HoyoMusic model", "computes what no model of ours does"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model.graph.node[0], "op_type", "Loop"), OTHER),
        (lambda model: setattr(model.graph.node[0], "domain", "other"), OTHER),
        (nest, OTHER),
        (add_function, OTHER),
        (grow, FOREIGN),
        (rewired(5, input=["x", "x"]), OTHER),
        (rewired(0, input=["table, tokens"]), FOREIGN),
        (lambda model: model.graph.node[5].attribute.pop(), OTHER),
        (lambda model: model.graph.node.pop(), OTHER),
        (lambda model: model.opset_import.append(helper.make_opsetid("other", 1)), OTHER),
        (lambda model: setattr(model.opset_import[0], "version", 30), OTHER),
        (lambda model: model.graph.input.pop(), OTHER),
        (widen_state, OTHER),
        (lambda model: model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "more")), OTHER),
        (set_constant("table", np.zeros((3, 8), np.int8)), FOREIGN),
        (set_constant("layer_step", np.float32(0)), OTHER),
        (set_constant("one_axis", np.array([0])), OTHER),
        (set_weight("output_matrix", 127), FOREIGN),
        (set_weight("layer0_matrix", -128), FOREIGN),
        (set_weight("output_bias", np.nan), FOREIGN),
        (set_weight("layer0_scale", 1e30), FOREIGN),
        (lambda model: setattr(model.graph.initializer[0], "name", "table"), OTHER),
        (lie_about_size, FOREIGN),
        (point_outside, FOREIGN),
        (lambda model: model.ClearField("graph"), OTHER),
    ],
)
def test_a_stranger_s_graph_is_refused(graph: bytes, change: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        parse(changed(graph, change))


@pytest.mark.parametrize("layers", [1, 2, 16])
@pytest.mark.parametrize("recalls", [0, 3])
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_blueprint_is_what_is_written(layers: int, recalls: int, precision: str) -> None:
    sizes = ModelConfig(20, 2, 3, embedding=8, hidden=8, layers=layers, recalls=recalls)
    written = write_graph(make_model(sizes).arrays(), int8=precision == "int8")
    assert parse(container.seal(written, {**CARD, "config": sizes.to_dict(), "precision": precision})).config == sizes


def test_two_graphs_in_one_file_are_refused(graph: bytes) -> None:
    """A reader of protobuf joins them: what one of them hides the other would run."""
    loop = helper.make_graph([helper.make_node("Loop", ["x"], ["y"])], "step", [], [])
    second = container._field(container.GRAPH, loop.SerializeToString())
    for data in (graph + second, second + graph):
        with pytest.raises(CheckpointError, match="computes what no model of ours does"):
            parse(container.seal(data, CARD))


def test_many_small_parts_take_no_memory(graph: bytes) -> None:
    number = container._number(8) + b"\0"
    tensor = container._field(container.INITIALISER, container._field(container.TENSOR_NAME, b"a"))
    dims = container._field(container.GRAPH, container._field(container.INITIALISER, b"\x08\x01" * 10**6))
    for data in (graph + number * 10**6, graph + container._field(container.GRAPH, tensor * 10**6), dims):
        tracemalloc.start()
        with pytest.raises(CheckpointError):
            parse(container.seal(data, CARD))
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"version": 2}, "version 2, not 1"),
        ({"format": "another"}, "no HoyoMusic model"),
        ({"precision": "int4"}, "no HoyoMusic model"),
        ({"config": {"vocabulary": 10**9}}, "no HoyoMusic model"),
        ({"vocab": []}, "does not say what its ids mean"),
        ({"checkpoint": None}, "no HoyoMusic model"),
        ({"vocab": {"tokens": ["a"]}}, "names for 1 ids, but 20 ids"),
        ({"vocab": {"tokens": [1] * 20}}, "does not say what its ids mean"),
        ({"provenance": {"tunes": 5}}, "where it comes from as models do: tunes"),
        ({"provenance": {"text": "a" * 2**20}}, "no HoyoMusic model"),
    ],
)
def test_another_card_is_refused(graph: bytes, card: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        parse(container.seal(graph, {**CARD, **card}))


def test_a_card_that_is_no_json_is_refused(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "dumps", lambda *_, **__: "[" * 100_000)
    data = container.seal(graph, CARD)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="no HoyoMusic model"):
        parse(data)
