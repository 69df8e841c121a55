"""The `.onnx` file: whole or refused, whoever made it."""

from __future__ import annotations

import json
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
    "precision": "int8", "config": SIZES.to_dict(), "vocab": {"tokens": ["a"]}, "provenance": {"tunes": {"Liyue": 3}},
    "checkpoint": "abc",
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


def grow(model: onnx.ModelProto) -> None:
    model.graph.node.extend(helper.make_node("Add", ["x", "x"], [f"y{index}"]) for index in range(2000))


def shrink_table(model: onnx.ModelProto) -> None:
    (table,) = (each for each in model.graph.initializer if each.name == "table")
    table.CopyFrom(numpy_helper.from_array(np.zeros((3, 8), np.int8), "table"))


def lie_about_size(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [10**12]


def point_outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")


def nest(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "inner", [], [])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model.graph.node[0], "op_type", "Loop"), "computes what no model of ours does"),
        (lambda model: setattr(model.graph.node[0], "domain", "other"), "computes what no model of ours does"),
        (nest, "a graph within its graph"),
        (grow, "more than any model of ours"),
        (shrink_table, "is no HoyoMusic model"),
        (lie_about_size, "is no HoyoMusic model"),
        (point_outside, "is no HoyoMusic model"),
        (lambda model: model.ClearField("graph"), "is no HoyoMusic model"),
    ],
)
def test_a_stranger_s_graph_is_refused(graph: bytes, change: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        parse(changed(graph, change))


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"version": 2}, "version 2, not 1"),
        ({"format": "another"}, "no HoyoMusic model"),
        ({"precision": "int4"}, "no HoyoMusic model"),
        ({"config": {"vocabulary": 10**9}}, "no HoyoMusic model"),
        ({"vocab": []}, "no HoyoMusic model"),
        ({"checkpoint": None}, "no HoyoMusic model"),
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
