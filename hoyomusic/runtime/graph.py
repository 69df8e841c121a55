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

from hoyomusic.runtime.blueprint import describe_constants, list_inputs, list_nodes, list_outputs
from hoyomusic.runtime.folding import fold
from hoyomusic.runtime.quantisation import ARGUMENT_STEPS, OUTPUT_STEPS, quantise, rounder
from hoyomusic.sizes import AGREEMENTS, ModelConfig

OPSET = 18
# The version of the file format that goes with it, which runtimes of the last years read.
IR_VERSION = 8
# Constants without weights that stand in front; a file's hash hangs on the order.
LEADING = ("arguments", "results", "whole", "layer_step", "layer_zero", "weight_zero", "factors", "shifts", "one_axis")


def write_graph(weights: Mapping[str, Any], *, int8: bool) -> bytes:
    """The step of `HoyoMusicLSTM` with these weights, arrays by name, as a serialised ONNX model without metadata.

    Raises GenerationError for weights that cannot be folded.
    """
    from onnx import helper, numpy_helper

    found = _quantised_constants(weights) if int8 else _float_constants(weights)
    config, precision = _find_sizes(weights), "int8" if int8 else "fp32"
    fixed = {
        name: constant.value
        for name, constant in describe_constants(config, precision, np.inf).items()
        if constant.value is not None
    }
    constants = {name: fixed[name] for name in LEADING if name in fixed}
    constants |= {name: fixed[name] if value is None else value for name, value in found.items()}
    graph = helper.make_graph(
        [_read_node(line) for line in list_nodes(config, precision)],
        "step",
        [_read_value(line) for line in list_inputs(config, precision)],
        [_read_value(line) for line in list_outputs(config, precision)],
        [numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="HoyoMusic"
    )
    return model.SerializeToString(deterministic=True)


def _read_node(line: str) -> Any:
    """The node that a line of the blueprint tells, named after what it gives."""
    from onnx import helper

    told, _, call = line.partition(" = ")
    operator, _, rest = call.partition("(")
    inputs, _, attributes = rest.partition(")")
    outputs = told.split(", ")
    name = outputs[0] if len(outputs) == 1 else f"gates{outputs[0].removeprefix('i')}"
    pairs = (pair.partition("=") for pair in attributes.split())
    values = {key: int(value) if value.isdecimal() else value for key, _, value in pairs}
    return helper.make_node(operator, inputs.split(", "), outputs, name=name, **values)


def _read_value(line: str) -> Any:
    """The input or output that a line of the blueprint tells."""
    from onnx import helper

    name, kind, shape = line.split(" ")
    extents = [int(extent) if extent.isdecimal() else extent for extent in shape.split(",")]
    return helper.make_tensor_value_info(name, int(kind), [None if extent == "?" else extent for extent in extents])


def _find_sizes(weights: Mapping[str, Any]) -> ModelConfig:
    return ModelConfig(
        vocabulary=len(weights["embedding"]),
        regions=len(weights["region"]),
        clocks=len(weights["clock"]),
        embedding=weights["embedding"].shape[1],
        hidden=weights["output_weight"].shape[1],
        layers=sum(name.endswith(".weight_hh") for name in weights),
        recalls=len(weights.get("recall_bias", ())) // AGREEMENTS,
    )


def _quantised_constants(weights: Mapping[str, Any]) -> dict[str, np.ndarray | None]:
    """The constants of a step in whole numbers, in their order; None where the blueprint has the value."""
    rounded = quantise(weights)
    found: dict[str, np.ndarray | None] = {"table": rounded.table, "least": None, "most": None}
    for layer, matrix in enumerate(rounded.matrices):
        found[f"layer{layer}_matrix"] = matrix
        found[f"layer{layer}_scale"] = rounded.scales[layer]
        # The bias lies on the grid of arguments, so that it can be added together with the rounder, exactly.
        found[f"layer{layer}_bias"] = rounded.biases[layer] + rounder(ARGUMENT_STEPS)
    return found | {
        "output_zero": None,
        "unit_steps": (OUTPUT_STEPS * rounded.unit_scales).astype(np.float32),
        "output_matrix": rounded.output,
        "output_scale": rounded.output_scale,
        "output_bias": rounded.output_bias,
    }


def _float_constants(weights: Mapping[str, Any]) -> dict[str, np.ndarray | None]:
    """The constants of a step in float32, in their order."""
    folded = fold(weights)
    first = np.concatenate((np.transpose(weights["layers.0.weight_ih"]), folded.matrices[0]))
    found: dict[str, np.ndarray | None] = {
        "table": np.concatenate([weights[name] for name in ("embedding", "region", "clock")])
    }
    for layer in range(folded.layers):
        found[f"layer{layer}_matrix"] = folded.matrices[layer] if layer else first
        found[f"layer{layer}_bias"] = folded.biases[layer - 1] if layer else weights["layers.0.bias"]
    agreed = np.arange(len(folded.recall_bias)) % AGREEMENTS > 0
    return found | {
        "output_matrix": np.concatenate((folded.output, folded.recall * agreed), axis=1),
        "output_bias": np.concatenate((folded.output_bias, folded.recall_bias * agreed)),
    }
