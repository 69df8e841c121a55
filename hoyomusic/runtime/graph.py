"""The step as an ONNX graph of standard operators, in whole numbers or in float32.

Both graphs take and give the same. Inputs: ``tokens`` (B, 3) int64, rows of the table for id, region and clock (the
table holds those of all ids, then of all regions, then of all clocks); ``guesses`` (B, S) int64, ids; ``places``
(B, S) int64, columns of the output that say how much each guess is trusted; and for each layer k its state, ``h{k}``
(B, H) uint8 or float32 and ``c{k}`` (B, H) float32. Outputs: ``logits`` (B, columns), of which the first V count, and
the new state ``h{k}_out``, ``c{k}_out``. ONNX is described at onnx.ai; its package is needed to write only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hoyomusic.runtime.folding import fold
from hoyomusic.runtime.quantisation import (
    ARGUMENT_STEPS,
    LAYER_STEPS,
    LAYER_ZERO,
    OUTPUT_STEPS,
    OUTPUT_ZERO,
    RESULT_STEPS,
    quantise,
    rounder,
)
from hoyomusic.sizes import AGREEMENTS

OPSET = 18
# The version of the file format that goes with it, which runtimes of the last years read.
IR_VERSION = 8


def write_graph(weights: Mapping[str, Any], *, int8: bool) -> bytes:
    """The step of `HoyoMusicLSTM` with these weights, arrays by name, as a serialised ONNX model without metadata.

    Raises GenerationError for weights that cannot be folded.
    """
    builder = _QuantisedGraph(weights) if int8 else _FloatGraph(weights)
    return builder.serialise()


class _Graph:
    """What both graphs share: the flow of a step. H hidden width, S sources of recall."""

    state_type: str

    def __init__(self, hidden: int, layers: int, recalls: int) -> None:
        self.hidden, self.layers, self.recalls = hidden, layers, recalls
        self.nodes: list[Any] = []
        self.initialisers: list[Any] = []

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node with one output, whose name it gives back."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def keep(self, name: str, values: Any) -> str:
        """A constant, stored under its name."""
        from onnx import numpy_helper

        self.initialisers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def round(self, values: str, grid: str, output: str) -> str:
        """`values` on the grid of a kept rounder."""
        return self.add("Sub", [self.add("Add", [values, grid], f"{output}_up"), grid], output)

    def build(self) -> None:
        """The whole step, from tokens to logits."""
        self.keep("one_axis", np.array([1], np.int64))
        values = self.embed()
        for layer in range(self.layers):
            inputs = self.add("Concat", [values, f"h{layer}"], f"inputs{layer}", axis=1)
            values = self.step_layer(layer, inputs)
        columns = self.read_out()
        if self.recalls:
            trust = self.add("GatherElements", [columns, "places"], "trust", axis=1)
            self.add("ScatterElements", [columns, "guesses", trust], "logits", axis=1, reduction="add")
        else:
            self.add("Identity", [columns], "logits")

    def split_gates(self, gates: str, layer: int) -> list[str]:
        """The gates i, f, g, o, each (B, H)."""
        from onnx import helper

        names = [f"{gate}{layer}" for gate in "ifgo"]
        self.nodes.append(helper.make_node("Split", [gates], names, name=f"gates{layer}", axis=1, num_outputs=4))
        return names

    def step_cell(self, layer: int, gates: list[str]) -> str:
        """The new cell from the gates i, f, g."""
        kept = self.add("Mul", [gates[1], f"c{layer}"], f"kept{layer}")
        written = self.add("Mul", [gates[0], gates[2]], f"written{layer}")
        return self.add("Add", [kept, written], f"c{layer}_out")

    def embed(self) -> str:
        raise NotImplementedError

    def step_layer(self, layer: int, inputs: str) -> str:
        raise NotImplementedError

    def read_out(self) -> str:
        raise NotImplementedError

    def serialise(self) -> bytes:
        """The finished model."""
        from onnx import TensorProto, helper

        self.build()
        kind = getattr(TensorProto, self.state_type)
        inputs = [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["B", 3])]
        if self.recalls:
            inputs += [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["B", self.recalls])
                for name in ("guesses", "places")
            ]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", None])]
        for layer in range(self.layers):
            for name, dtype in ((f"h{layer}", kind), (f"c{layer}", TensorProto.FLOAT)):
                inputs.append(helper.make_tensor_value_info(name, dtype, ["B", self.hidden]))
                outputs.append(helper.make_tensor_value_info(f"{name}_out", dtype, ["B", self.hidden]))
        graph = helper.make_graph(self.nodes, "step", inputs, outputs, self.initialisers)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="HoyoMusic"
        )
        return model.SerializeToString(deterministic=True)


class _QuantisedGraph(_Graph):
    """The step in whole numbers; `quantisation` tells why it is what it is."""

    state_type = "UINT8"

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self.weights = quantise(weights)
        super().__init__(len(self.weights.unit_scales), len(self.weights.matrices), self.weights.recalls)

    def build(self) -> None:
        arguments, results = rounder(ARGUMENT_STEPS), rounder(RESULT_STEPS)
        self.keep("arguments", arguments)
        self.keep("results", results)
        self.keep("whole", np.float32(1))
        self.keep("layer_step", np.float32(1 / LAYER_STEPS))
        self.keep("layer_zero", np.uint8(LAYER_ZERO))
        self.keep("weight_zero", np.int8(0))
        # Of a tanh of a halved argument this makes the sigmoid; the shift is on the grid, so one addition does both.
        self.keep("factors", np.repeat(np.float32([0.5, 0.5, 1.0, 0.5]), self.hidden))
        self.keep("shifts", np.repeat(np.float32([0.5, 0.5, 0.0, 0.5]) + results, self.hidden))
        super().build()

    def multiply(self, name: str, inputs: str, zero: str, matrix: np.ndarray, scale: np.ndarray) -> str:
        """The product of bytes and a kept matrix as float32: a sum of whole numbers below 2^24, multiplied once."""
        from onnx import TensorProto

        kept = [self.keep(f"{name}_matrix", matrix), zero, "weight_zero"]
        sums = self.add("MatMulInteger", [inputs, *kept], f"{name}_sums")
        floats = self.add("Cast", [sums], f"{name}_floats", to=TensorProto.FLOAT)
        return self.add("Mul", [floats, self.keep(f"{name}_scale", scale)], f"{name}_products")

    def embed(self) -> str:
        from onnx import TensorProto

        rows = self.add("Gather", [self.keep("table", self.weights.table), "tokens"], "rows")
        sums = self.add("Cast", [rows], "row_floats", to=TensorProto.FLOAT)
        sums = self.add("ReduceSum", [sums, "one_axis"], "row_sums", keepdims=0)
        # What lies beyond the steps is cut off on both sides alike, as within layers.
        limits = [self.keep("least", np.float32(-LAYER_STEPS)), self.keep("most", np.float32(LAYER_STEPS))]
        return self.add("QuantizeLinear", [self.add("Clip", [sums, *limits], "embedded"), "whole", "layer_zero"], "x")

    def step_layer(self, layer: int, inputs: str) -> str:
        weights = self.weights
        name = f"layer{layer}"
        products = self.multiply(name, inputs, "layer_zero", weights.matrices[layer], weights.scales[layer])
        # The bias lies on the grid of arguments, so that it can be added together with the rounder, exactly.
        bias = self.keep(f"{name}_bias", weights.biases[layer] + rounder(ARGUMENT_STEPS))
        arguments = self.add("Sub", [self.add("Add", [products, bias], f"{name}_up"), "arguments"], f"{name}_arguments")
        results = self.add("Mul", [self.add("Tanh", [arguments], f"{name}_tanh"), "factors"], f"{name}_halved")
        results = self.add("Sub", [self.add("Add", [results, "shifts"], f"{name}_shifted"), "results"], f"{name}_gates")
        gates = self.split_gates(results, layer)
        cell = self.round(self.step_cell(layer, gates), "arguments", f"{name}_cell")
        shown = self.round(self.add("Tanh", [cell], f"{name}_open"), "results", f"{name}_shown")
        self.last = self.add("Mul", [gates[3], shown], f"{name}_values")
        return self.add("QuantizeLinear", [self.last, "layer_step", "layer_zero"], f"h{layer}_out")

    def read_out(self) -> str:
        weights = self.weights
        self.keep("output_zero", np.uint8(OUTPUT_ZERO))
        steps = self.keep("unit_steps", (OUTPUT_STEPS * weights.unit_scales).astype(np.float32))
        scaled = self.add("Mul", [self.last, steps], "scaled")
        values = self.add("QuantizeLinear", [scaled, "whole", "output_zero"], "values")
        products = self.multiply("output", values, "output_zero", weights.output, weights.output_scale)
        return self.add("Add", [products, self.keep("output_bias", weights.output_bias)], "columns")


class _FloatGraph(_Graph):
    """The step in float32."""

    state_type = "FLOAT"

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self.weights = fold(weights)
        self.table = np.concatenate([weights[name] for name in ("embedding", "region", "clock")])
        self.first = np.concatenate((np.transpose(weights["layers.0.weight_ih"]), self.weights.matrices[0]))
        self.biases = (weights["layers.0.bias"], *self.weights.biases)
        super().__init__(self.weights.hidden, self.weights.layers, self.weights.recalls)

    def embed(self) -> str:
        rows = self.add("Gather", [self.keep("table", self.table), "tokens"], "rows")
        return self.add("ReduceSum", [rows, "one_axis"], "x", keepdims=0)

    def step_layer(self, layer: int, inputs: str) -> str:
        name = f"layer{layer}"
        matrix = self.weights.matrices[layer] if layer else self.first
        products = self.add("MatMul", [inputs, self.keep(f"{name}_matrix", matrix)], f"{name}_products")
        gates = self.add("Add", [products, self.keep(f"{name}_bias", self.biases[layer])], f"{name}_arguments")
        gates = [
            self.add("Tanh" if gate.startswith("g") else "Sigmoid", [gate], f"{gate}_open")
            for gate in self.split_gates(gates, layer)
        ]
        cell = self.add("Tanh", [self.step_cell(layer, gates)], f"{name}_shown")
        return self.add("Mul", [gates[3], cell], f"h{layer}_out")

    def read_out(self) -> str:
        weights = self.weights
        agreed = np.arange(len(weights.recall_bias)) % AGREEMENTS > 0
        matrix = self.keep("output_matrix", np.concatenate((weights.output, weights.recall * agreed), axis=1))
        bias = self.keep("output_bias", np.concatenate((weights.output_bias, weights.recall_bias * agreed)))
        return self.add("Add", [self.add("MatMul", [f"h{self.layers - 1}_out", matrix], "products"), bias], "columns")
