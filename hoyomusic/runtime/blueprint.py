"""The one graph that a step of given sizes may be, line by line: what is written, and what a file is held against.

`graph` writes it, `container` checks it. A line is a node, as in ``rows = Gather(table, tokens)``, with its attributes
behind it; an input or output is its name, its type and its shape, ``?`` for a number of columns that is left open. What
is not exactly so is not run: a few standard operators joined otherwise can already take all the memory there is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hoyomusic.runtime.quantisation import (
    ARGUMENT_STEPS,
    LAYER_STEPS,
    LAYER_WEIGHT_STEPS,
    LAYER_ZERO,
    OUTPUT_WEIGHT_STEPS,
    OUTPUT_ZERO,
    RESULT_STEPS,
    rounder,
)
from hoyomusic.sizes import AGREEMENTS, ModelConfig

# In each text {k} is a layer's number and {below} what it reads.
INT8_BEFORE = """
rows = Gather(table, tokens)
row_floats = Cast(rows) to=1
row_sums = ReduceSum(row_floats, one_axis) keepdims=0
embedded = Clip(row_sums, least, most)
x = QuantizeLinear(embedded, whole, layer_zero)
"""
INT8_LAYER = """
inputs{k} = Concat({below}, h{k}) axis=1
layer{k}_sums = MatMulInteger(inputs{k}, layer{k}_matrix, layer_zero, weight_zero)
layer{k}_floats = Cast(layer{k}_sums) to=1
layer{k}_products = Mul(layer{k}_floats, layer{k}_scale)
layer{k}_up = Add(layer{k}_products, layer{k}_bias)
layer{k}_arguments = Sub(layer{k}_up, arguments)
layer{k}_tanh = Tanh(layer{k}_arguments)
layer{k}_halved = Mul(layer{k}_tanh, factors)
layer{k}_shifted = Add(layer{k}_halved, shifts)
layer{k}_gates = Sub(layer{k}_shifted, results)
i{k}, f{k}, g{k}, o{k} = Split(layer{k}_gates) axis=1 num_outputs=4
kept{k} = Mul(f{k}, c{k})
written{k} = Mul(i{k}, g{k})
c{k}_out = Add(kept{k}, written{k})
layer{k}_cell_up = Add(c{k}_out, arguments)
layer{k}_cell = Sub(layer{k}_cell_up, arguments)
layer{k}_open = Tanh(layer{k}_cell)
layer{k}_shown_up = Add(layer{k}_open, results)
layer{k}_shown = Sub(layer{k}_shown_up, results)
layer{k}_values = Mul(o{k}, layer{k}_shown)
h{k}_out = QuantizeLinear(layer{k}_values, layer_step, layer_zero)
"""
INT8_BEHIND = """
scaled = Mul(layer{k}_values, unit_steps)
values = QuantizeLinear(scaled, whole, output_zero)
output_sums = MatMulInteger(values, output_matrix, output_zero, weight_zero)
output_floats = Cast(output_sums) to=1
output_products = Mul(output_floats, output_scale)
columns = Add(output_products, output_bias)
"""
FP32_BEFORE = """
rows = Gather(table, tokens)
x = ReduceSum(rows, one_axis) keepdims=0
"""
FP32_LAYER = """
inputs{k} = Concat({below}, h{k}) axis=1
layer{k}_products = MatMul(inputs{k}, layer{k}_matrix)
layer{k}_arguments = Add(layer{k}_products, layer{k}_bias)
i{k}, f{k}, g{k}, o{k} = Split(layer{k}_arguments) axis=1 num_outputs=4
i{k}_open = Sigmoid(i{k})
f{k}_open = Sigmoid(f{k})
g{k}_open = Tanh(g{k})
o{k}_open = Sigmoid(o{k})
kept{k} = Mul(f{k}_open, c{k})
written{k} = Mul(i{k}_open, g{k}_open)
c{k}_out = Add(kept{k}, written{k})
layer{k}_shown = Tanh(c{k}_out)
h{k}_out = Mul(o{k}_open, layer{k}_shown)
"""
FP32_BEHIND = """
products = MatMul(h{k}_out, output_matrix)
columns = Add(products, output_bias)
"""
RECALLING = """
trust = GatherElements(columns, places) axis=1
logits = ScatterElements(columns, guesses, trust) axis=1 reduction=add
"""
PLAIN = """
logits = Identity(columns)
"""
# Numbers of types in onnx.proto.
FLOAT, UINT8, INT64 = 1, 2, 7


class Constant(NamedTuple):
    """What a constant must be: its type (a letter of numpy's) and shape, and its value or the largest of its values."""

    kind: str
    shape: tuple[int, ...]
    value: np.ndarray | None = None
    largest: float | None = None


def list_nodes(config: ModelConfig, precision: str) -> list[str]:
    """The nodes of a step, each as a line."""
    whole = precision == "int8"
    before, layer, behind = (
        (INT8_BEFORE, INT8_LAYER, INT8_BEHIND) if whole else (FP32_BEFORE, FP32_LAYER, FP32_BEHIND)
    )
    layers = [layer.format(k=k, below=f"h{k - 1}_out" if k else "x") for k in range(config.layers)]
    ending = RECALLING if config.recalls else PLAIN
    text = "".join([before, *layers, behind.format(k=config.layers - 1), ending])
    return [line for line in text.split("\n") if line]


def list_inputs(config: ModelConfig, precision: str) -> list[str]:
    """The inputs of a step, each as a line."""
    recalls = [f"{name} {INT64} B,{config.recalls}" for name in ("guesses", "places") if config.recalls]
    return [f"tokens {INT64} B,3", *recalls, *_list_states(config, precision, "")]


def list_outputs(config: ModelConfig, precision: str) -> list[str]:
    """The outputs of a step, each as a line."""
    return [f"logits {FLOAT} B,?", *_list_states(config, precision, "_out")]


def _list_states(config: ModelConfig, precision: str, ending: str) -> list[str]:
    kinds = {"h": UINT8 if precision == "int8" else FLOAT, "c": FLOAT}
    return [
        f"{part}{layer}{ending} {kind} B,{config.hidden}"
        for layer in range(config.layers)
        for part, kind in kinds.items()
    ]


def describe_constants(config: ModelConfig, precision: str, largest: float) -> dict[str, Constant]:
    """The constants of a step by name; `largest` is the size of the largest number that a weight may be."""
    whole = precision == "int8"
    weight, gates = "b" if whole else "f", 4 * config.hidden
    columns = config.vocabulary + AGREEMENTS * config.recalls
    rows = config.vocabulary + config.regions + config.clocks
    found = {
        "one_axis": _exactly(np.array([1], np.int64)),
        "table": Constant(weight, (rows, config.embedding), largest=LAYER_STEPS if whole else largest),
        "output_matrix": Constant(
            weight, (config.hidden, columns), largest=OUTPUT_WEIGHT_STEPS if whole else largest
        ),
        "output_bias": Constant("f", (columns,), largest=largest),
    }
    for layer in range(config.layers):
        inputs = config.hidden + (config.hidden if layer else config.embedding)
        found[f"layer{layer}_matrix"] = Constant(
            weight, (inputs, gates), largest=LAYER_WEIGHT_STEPS if whole else largest
        )
        found[f"layer{layer}_bias"] = Constant("f", (gates,), largest=largest)
        if whole:
            found[f"layer{layer}_scale"] = Constant("f", (gates,), largest=largest)
    if whole:
        halves, results = np.repeat(np.float32([0.5, 0.5, 0.0, 0.5]), config.hidden), rounder(RESULT_STEPS)
        found |= {
            "output_scale": Constant("f", (columns,), largest=largest),
            "unit_steps": Constant("f", (config.hidden,), largest=largest),
            "arguments": _exactly(rounder(ARGUMENT_STEPS)),
            "results": _exactly(results),
            "whole": _exactly(np.float32(1)),
            "layer_step": _exactly(np.float32(1 / LAYER_STEPS)),
            "layer_zero": _exactly(np.uint8(LAYER_ZERO)),
            "weight_zero": _exactly(np.int8(0)),
            "output_zero": _exactly(np.uint8(OUTPUT_ZERO)),
            "least": _exactly(np.float32(-LAYER_STEPS)),
            "most": _exactly(np.float32(LAYER_STEPS)),
            # Of a tanh of a halved argument these make the sigmoid; the shift is on the grid: one addition does both.
            "factors": _exactly(np.where(halves > 0, halves, np.float32(1))),
            "shifts": _exactly(halves + results),
        }
    return found


def _exactly(value: np.generic | np.ndarray) -> Constant:
    array = np.asarray(value)
    return Constant(array.dtype.char, array.shape, value=array)
