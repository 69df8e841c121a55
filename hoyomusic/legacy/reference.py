"""A second way to compute a converted model: NumPy in float64, written from the formulas, none of the modules' code.

Where nobody can say what Keras predicted, two programs that were written apart and agree are the next best thing.
Only the reading of a file and the order of its calls are shared with the modules.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hoyomusic.errors import CheckpointError
from hoyomusic.legacy.layers import Layer
from hoyomusic.legacy.model import ConvertedModel, load_keras

Array = np.ndarray
Mask = Array | None
Pair = tuple[Any, Any]
Function = Callable[[Array], Array]

# Weights of more numbers are not copied: the memory would be more than the model's.
LARGE = 2**22


def run(model: ConvertedModel | str | os.PathLike[str], inputs: Sequence[Any]) -> list[Array]:
    """The outputs (batch, ...) of a model, or of the Keras file at a path, for its `inputs`, in float64.

    Raises CheckpointError for layers of your own, which have no formula here, and what `load_keras` raises.
    """
    if not isinstance(model, ConvertedModel):
        model = load_keras(model)
    arrays = [np.asarray(values) for values in inputs]
    outputs, _ = _compute(model.network, arrays, [None] * len(arrays))
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def covers(model: ConvertedModel) -> bool:
    """Whether all layers of a model have a formula here."""
    return all(_is_known(layer) for layer in model.network.modules() if isinstance(layer, Layer))


def _is_known(layer: Layer) -> bool:
    return layer.settings.kind in FORMULAS or layer.settings.kind in ("Sequential", "Functional", "Model")


def _compute(layer: Any, inputs: list[Array], masks: list[Mask]) -> Pair:
    kind = layer.settings.kind
    if kind in ("Sequential", "Functional", "Model"):
        slots: dict[int, Pair] = dict(zip(layer.inputs, zip(inputs, masks, strict=True), strict=True))
        for call in layer.calls:
            taken = [slots[slot] for slot in call.inputs]
            values, found = _compute(layer.layers[call.layer], [x for x, _ in taken], [mask for _, mask in taken])
            if not isinstance(values, tuple):
                values, found = (values,), (found,)
            slots.update(zip(call.outputs, zip(values, found, strict=True), strict=True))
        results = [slots[slot] for slot in layer.outputs]
        return results[0] if len(results) == 1 else (tuple(x for x, _ in results), tuple(mask for _, mask in results))
    formula = FORMULAS.get(kind)
    if formula is None:
        raise CheckpointError(f"the layer class {kind} has no formula in NumPy", remedy="compare with a reference file")
    return formula(layer, inputs, masks)


def _weights(layer: Layer) -> dict[str, Array]:
    """The weights by their names in Keras, from the layer on, in float64; very large ones as they are."""
    found = {}
    for weight in layer.weights():
        values = weight.layer.get_parameter(weight.name).detach().float()
        found["/".join(weight.path)] = (values if values.numel() > LARGE else values.double()).numpy()
    return found


def _activation(layer: Layer, value: Any) -> Function:
    if isinstance(value, dict):
        name, config = value["class_name"], value["config"]
        return _activation(layer, config) if name == "function" else lambda x: _advanced(name, config, x)
    if value == "hard_sigmoid" and layer.settings.context.major > 2:
        return lambda x: np.minimum(np.maximum(x + 3, 0), 6) / 6
    return ACTIVATIONS[value]


def _sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x)))


def _softmax(x: Array, axis: Any = -1) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


ACTIVATIONS: dict[Any, Function] = {
    None: lambda x: x,
    "linear": lambda x: x,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "hard_sigmoid": lambda x: np.minimum(np.maximum(x / 5 + 0.5, 0), 1),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "leaky_relu": lambda x: np.where(x > 0, x, x / 5),
    "elu": _elu,
    "celu": _elu,
    "selu": lambda x: 1.0507009873554805 * _elu(x, 1.6732632423543772),
    "gelu": _gelu,
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x: x * _sigmoid(x),
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "hard_silu": lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6,
    "hard_swish": lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6,
    "hard_tanh": lambda x: np.minimum(np.maximum(x, -1), 1),
    "softmax": _softmax,
    "log_softmax": lambda x: np.log(_softmax(x)),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "log_sigmoid": lambda x: -_softplus(-x),
    "exponential": np.exp,
}


def _plain_number(value: Any) -> float:
    return float(value["value"] if isinstance(value, dict) else value)


def _advanced(kind: str, config: dict[str, Any], x: Array) -> Array:
    if kind == "ReLU":
        threshold, slope = _plain_number(config.get("threshold", 0)), _plain_number(config.get("negative_slope", 0))
        limit = config.get("max_value")
        high = x if limit is None else np.minimum(x, _plain_number(limit))
        return np.where(x < threshold, slope * (x - threshold), high)
    if kind == "LeakyReLU":
        return np.where(x > 0, x, x * _plain_number(config.get("alpha", config.get("negative_slope"))))
    if kind == "ELU":
        return _elu(x, _plain_number(config.get("alpha", 1)))
    if kind == "ThresholdedReLU":
        return np.where(x > _plain_number(config["theta"]), x, 0)
    axis = config.get("axis", -1)
    return _softmax(x, tuple(axis) if isinstance(axis, list) else axis)


def _compute_activation(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    values = layer.settings.values
    if layer.settings.kind == "Activation":
        return _activation(layer, values["activation"])(inputs[0]), masks[0]
    if layer.settings.kind == "PReLU":
        return np.maximum(inputs[0], 0) + _weights(layer)["alpha"] * np.minimum(inputs[0], 0), masks[0]
    return _advanced(layer.settings.kind, values, inputs[0]), masks[0]


def _compute_dense(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    weights, values = _weights(layer), layer.settings.values
    kernel = weights["kernel"]
    result = np.matmul(inputs[0].astype(kernel.dtype), kernel) + weights.get("bias", 0.0)
    return _activation(layer, values.get("activation"))(result), masks[0]


def _compute_embedding(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    mask = np.not_equal(inputs[0], 0) if layer.settings.values.get("mask_zero") else None
    return _weights(layer)["embeddings"][inputs[0].astype(np.int64)], mask


def _compute_masking(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    mask = np.any(inputs[0] != layer.settings.values["mask_value"], axis=-1)
    return np.where(mask[..., None], inputs[0], 0), mask


def _compute_nothing(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    return inputs[0], masks[0]


def _compute_rescaling(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    values = layer.settings.values
    return inputs[0] * values["scale"] + values.get("offset", 0), masks[0]


def _batch_normalised(x: Array, weights: dict[str, Array], prefix: str, axis: int, epsilon: float) -> Array:
    turned = np.moveaxis(x, axis, -1)
    deviation = np.sqrt(weights[f"{prefix}moving_variance"] + epsilon)
    scaled = (turned - weights[f"{prefix}moving_mean"]) / deviation * weights.get(f"{prefix}gamma", 1.0)
    return np.moveaxis(scaled + weights.get(f"{prefix}beta", 0.0), -1, axis)


def _layer_normalised(x: Array, weights: dict[str, Array], prefix: str, axes: Sequence[int], epsilon: float) -> Array:
    axes = sorted(axis % x.ndim for axis in axes)
    sizes = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
    centred = x - x.mean(tuple(axes), keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(tuple(axes), keepdims=True) + epsilon)
    gamma, beta = weights.get(f"{prefix}gamma", np.ones(sizes)), weights.get(f"{prefix}beta", np.zeros(sizes))
    return scaled * gamma.reshape(sizes) + beta.reshape(sizes)


def _compute_norm(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    values = layer.settings.values
    axes = values["axis"] if isinstance(values["axis"], list) else [values["axis"]]
    if layer.settings.kind == "LayerNormalization":
        return _layer_normalised(inputs[0], _weights(layer), "", axes, values["epsilon"]), masks[0]
    return _batch_normalised(inputs[0], _weights(layer), "", axes[0], values["epsilon"]), masks[0]


def _recur(
    kind: str, layer: Layer, values: dict[str, Any], weights: dict[str, Array], x: Array, mask: Mask, backwards: bool
) -> Array:
    """All outputs (batch, time, units) of a recurrent layer, in the order in which it makes them."""
    units, (batch, length, _) = values["units"], x.shape
    act = np.tanh if kind.startswith("CuDNN") else _activation(layer, values["activation"])
    gate = _sigmoid if kind.startswith("CuDNN") else _activation(layer, values.get("recurrent_activation"))
    kernel, recurrent, bias = weights["kernel"], weights["recurrent_kernel"], weights.get("bias")
    gates, kind_of_number = kernel.shape[1] // units, np.result_type(kernel, recurrent)
    x = x.astype(kind_of_number)
    if kind.startswith("CuDNN"):
        blocks = np.split(kernel, gates, axis=1)
        kernel = np.concatenate([block.T.reshape(block.shape, order="F") for block in blocks], axis=1)
        recurrent = np.concatenate([block.T for block in np.split(recurrent, gates, axis=1)], axis=1)
    count = 0 if bias is None else bias.size // (gates * units)
    biases = np.zeros((2, gates * units)) if bias is None else np.zeros((2, gates * units)) + np.pad(
        bias.reshape(count, -1), ((0, 2 - count), (0, 0))
    )
    after = kind == "CuDNNGRU" or bool(values.get("reset_after", False))
    biases = biases.astype(kind_of_number)
    hidden = cell = np.zeros((batch, units), kind_of_number)
    result = np.zeros((batch, length, units))
    zeroed = values.get("zero_output_for_mask", False)
    for place in range(length):
        time = length - 1 - place if backwards else place
        given = x[:, time] @ kernel + biases[0]
        if gates == 1:
            following = act(given + hidden @ recurrent)
            memory = cell
        elif gates == 4:
            i, f, c, o = np.split(given + hidden @ recurrent + biases[1], 4, axis=1)
            memory = gate(f) * cell + gate(i) * act(c)
            following = gate(o) * act(memory)
        else:
            memory = cell
            gz, gr, gh = np.split(given, 3, axis=1)
            kz, kr, kh = np.split(recurrent, 3, axis=1)
            bz, br, bh = np.split(biases[1], 3)
            z, r = gate(gz + hidden @ kz + bz), gate(gr + hidden @ kr + br)
            candidate = act(gh + r * (hidden @ kh + bh)) if after else act(gh + (r * hidden) @ kh)
            following = z * hidden + (1 - z) * candidate
        seen = np.ones((batch, 1), bool) if mask is None else mask[:, time, None]
        hidden, cell = np.where(seen, following, hidden), np.where(seen, memory, cell)
        result[:, place] = np.where(seen | (not zeroed), hidden, 0)
    return result


def _compute_recurrent(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    values = layer.settings.values
    arguments = (layer, values, _weights(layer), inputs[0], masks[0], values.get("go_backwards", False))
    result = _recur(layer.settings.kind, *arguments)
    return (result, masks[0]) if values["return_sequences"] else (result[:, -1], None)


def _compute_bidirectional(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    values, weights, found = layer.settings.values, _weights(layer), []
    one = values["layer"]
    other = values.get("backward_layer") or one
    sequences = one["config"]["return_sequences"]
    ahead = bool(one["config"].get("go_backwards", False))
    for entry, prefix, backwards in ((one, "forward_*/", ahead), (other, "backward_*/", not ahead)):
        own = {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
        config = dict(entry["config"])
        if layer.settings.context.is_tensorflow_keras:
            config["zero_output_for_mask"] = sequences
        kind = entry["class_name"].rpartition(">")[2]
        found.append(_recur(kind, layer, config, own, inputs[0], masks[0], backwards))
    first, second = (found[0], found[1][:, ::-1]) if sequences else (found[0][:, -1], found[1][:, -1])
    mask, mode = masks[0] if sequences else None, values.get("merge_mode", "concat")
    if mode is None:
        return (first, second), (mask, mask)
    merged = {
        "concat": lambda: np.concatenate((first, second), -1), "sum": lambda: first + second,
        "ave": lambda: (first + second) / 2, "mul": lambda: first * second,
    }
    return merged[mode](), mask


def _compute_time_distributed(layer: Any, inputs: list[Array], masks: list[Mask]) -> Pair:
    steps = [_compute(layer.layer, [inputs[0][:, time]], [None])[0] for time in range(inputs[0].shape[1])]
    return np.stack(steps, axis=1), masks[0]


def _numbers(value: Any, rank: int) -> list[int]:
    return list(value) if isinstance(value, list) else [value] * rank


def _windows(
    x: Array, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str, filler: float
) -> Iterable[tuple[tuple[int, ...], Array]]:
    """For each place in a kernel: x (batch, *axes, channels) at that place of every window."""
    before, after, counts = [], [], []
    for length, size, stride, dilation in zip(x.shape[1:-1], sizes, strides, dilations, strict=True):
        reach = (size - 1) * dilation + 1
        total = {"valid": 0, "causal": reach - 1}.get(padding)
        if total is None:
            total = max((math.ceil(length / stride) - 1) * stride + reach - length, 0)
        before.append(reach - 1 if padding == "causal" else total // 2)
        after.append(total - before[-1])
        counts.append((length + total - reach) // stride + 1)
    padded = np.pad(x, [(0, 0), *zip(before, after, strict=True), (0, 0)], constant_values=filler)
    for place in itertools.product(*map(range, sizes)):
        view = padded
        for axis, (tap, stride, dilation, count) in enumerate(zip(place, strides, dilations, counts, strict=True), 1):
            view = np.take(view, np.arange(count) * stride + tap * dilation, axis=axis)
        yield place, view


def _convolved(
    x: Array, kernel: Array, strides: Sequence[int], dilations: Sequence[int], padding: str, groups: int = 1
) -> Array:
    """x (batch, *axes, in) under a kernel (*sizes, in / groups, filters)."""
    width, filters = kernel.shape[-2], kernel.shape[-1] // groups
    total: Any = 0
    for place, view in _windows(x, kernel.shape[:-2], strides, dilations, padding, 0.0):
        parts = [
            view[..., group * width : (group + 1) * width] @ kernel[place][:, group * filters : (group + 1) * filters]
            for group in range(groups)
        ]
        total = total + np.concatenate(parts, axis=-1)
    return total


def _spread(x: Array, kernel: Array, strides: Sequence[int], dilations: Sequence[int], padding: str) -> Array:
    """Every channel of x (batch, *axes, in) under kernels of its own, (*sizes, in, multiplier)."""
    total: Any = 0
    for place, view in _windows(x, kernel.shape[:-2], strides, dilations, padding, 0.0):
        total = total + (view[..., None] * kernel[place]).reshape(*view.shape[:-1], -1)
    return total


def _compute_convolution(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    x, values, weights, kind = inputs[0], layer.settings.values, _weights(layer), layer.settings.kind
    rank = x.ndim - 2
    strides, dilations = _numbers(values["strides"], rank), _numbers(values.get("dilation_rate", 1), rank)
    if kind.startswith("Separable"):
        result = _spread(x, weights["depthwise_kernel"], strides, dilations, values["padding"])
        result = np.einsum("...i,io->...o", result, weights["pointwise_kernel"].reshape(result.shape[-1], -1))
    elif kind.startswith("Depthwise"):
        kernel = weights["kernel" if "kernel" in weights else "depthwise_kernel"]
        result = _spread(x, kernel, strides, dilations, values["padding"])
    else:
        result = _convolved(x, weights["kernel"], strides, dilations, values["padding"], values.get("groups", 1))
    return _activation(layer, values.get("activation"))(result + weights.get("bias", 0.0)), None


def _compute_pooling(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    x, values = inputs[0].astype(np.float64), layer.settings.values
    rank = x.ndim - 2
    sizes = _numbers(values.get("pool_size", values.get("pool_length")), rank)
    strides = sizes if values.get("strides") is None else _numbers(values["strides"], rank)
    views = [view for _, view in _windows(x, sizes, strides, [1] * rank, values["padding"], np.nan)]
    reduce = np.nanmean if layer.settings.kind.startswith("A") else np.nanmax
    return reduce(np.stack(views), axis=0), None


def _compute_global_pooling(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    x, keep = inputs[0], bool(layer.settings.values.get("keepdims", False))
    axes = tuple(range(1, x.ndim - 1))
    if layer.settings.kind.startswith("GlobalMax"):
        return x.max(axes, keepdims=keep), None
    shown = np.ones(x.shape[:-1]) if masks[0] is None or x.ndim > 3 else masks[0].astype(float)
    return (x * shown[..., None]).sum(axes, keepdims=keep) / shown[..., None].sum(axes, keepdims=keep), None


def _compute_shape(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    x, values, kind = inputs[0], layer.settings.values, layer.settings.kind
    if kind == "Flatten":
        return x.reshape(x.shape[0], -1), None
    if kind == "Reshape":
        return x.reshape(x.shape[0], *_numbers(values["target_shape"], 1)), None
    if kind == "Permute":
        return np.transpose(x, (0, *values["dims"])), None
    if kind == "RepeatVector":
        return np.stack([x] * values["n"], axis=1), None
    if kind.startswith("UpSampling"):
        for axis, times in enumerate(_numbers(values["size"], x.ndim - 2), 1):
            x = np.repeat(x, times, axis)
        return x, None
    cells = values["padding" if kind.startswith("Zero") else "cropping"]
    if isinstance(cells, int):
        cells = [[cells, cells]] * (x.ndim - 2)
    elif x.ndim == 3 and len(cells) == 2:
        cells = [cells]
    pairs = [pair if isinstance(pair, list) else [pair, pair] for pair in cells]
    if kind.startswith("Zero"):
        return np.pad(x, [(0, 0), *map(tuple, pairs), (0, 0)]), None
    return x[(slice(None), *(slice(a, n - b) for (a, b), n in zip(pairs, x.shape[1:], strict=False)))], None


def _compute_merge(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    kind, new = layer.settings.kind, layer.settings.context.major > 2
    if kind == "Concatenate":
        axis = layer.settings.values.get("axis", -1)
        mask = None
        if any(found is not None for found in masks):
            spread = [
                np.ones(x.shape, bool) if found is None else np.broadcast_to(found[..., None], x.shape)
                for x, found in zip(inputs, masks, strict=True)
            ]
            joined = np.concatenate(spread, axis)
            mask = joined.any(-1) if new else joined.all(-1)
        return np.concatenate(inputs, axis), mask
    rank = max(x.ndim for x in inputs)
    stacked = np.broadcast_arrays(*(np.expand_dims(x, tuple(range(1, rank - x.ndim + 1))) for x in inputs))
    reduce = {
        "Add": np.sum, "Multiply": np.prod, "Average": np.mean, "Maximum": np.max, "Minimum": np.min,
        "Subtract": lambda values, axis: values[0] - values[1],
    }[kind]
    present = [found for found in masks if found is not None]
    complete = len(present) == len(masks)
    mask = None
    if present and (complete or not new):
        mask = np.any(present, axis=0) if new else np.all(present, axis=0)
    return reduce(np.stack(stacked), axis=0), mask


def _compute_tcn(layer: Layer, inputs: list[Array], masks: list[Mask]) -> Pair:
    values, weights = layer.settings.values, _weights(layer)
    x = inputs[0][:, ::-1] if values.get("go_backwards") else inputs[0]
    act = _activation(layer, values["activation"])
    total: Any = 0
    for number, rate in enumerate(list(values["dilations"]) * values["nb_stacks"]):
        block = f"residual_block_{number}/"
        skip = x
        for half in "01":
            name, norm = f"{block}conv1D_{half}/", f"{block}norm_{half}/"
            kernel = weights[f"{name}kernel"]
            if values.get("use_weight_norm"):
                kernel = weights[f"{name}g"] * kernel / np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)
            skip = _convolved(skip, kernel, [1], [rate], values["padding"]) + weights[f"{name}bias"]
            if values.get("use_batch_norm"):
                skip = _batch_normalised(skip, weights, norm, -1, 1e-3)
            if values.get("use_layer_norm"):
                skip = _layer_normalised(skip, weights, norm, [-1], 1e-3)
            skip = act(skip)
        skip = act(skip)
        if f"{block}matching_conv1D/kernel" in weights:
            x = x @ weights[f"{block}matching_conv1D/kernel"][0] + weights[f"{block}matching_conv1D/bias"]
        x = act(x + skip)
        total = total + skip if values["use_skip_connections"] else x
    if values["return_sequences"]:
        return total, None
    return total[:, -1 if values["padding"] == "causal" else total.shape[1] // 2], None


FORMULAS: dict[str, Callable[[Any, list[Array], list[Mask]], Pair]] = {
    **dict.fromkeys(
        ("Activation", "ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "PReLU", "Softmax"), _compute_activation
    ),
    "Dense": _compute_dense,
    "Embedding": _compute_embedding,
    "Masking": _compute_masking,
    **dict.fromkeys(
        (
            "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
            "ActivityRegularization",
        ),
        _compute_nothing,
    ),
    "Rescaling": _compute_rescaling,
    **dict.fromkeys(
        (
            "BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization",
            "LayerNormalization",
        ),
        _compute_norm,
    ),
    **dict.fromkeys(("SimpleRNN", "LSTM", "GRU", "CuDNNLSTM", "CuDNNGRU"), _compute_recurrent),
    "Bidirectional": _compute_bidirectional,
    "TimeDistributed": _compute_time_distributed,
    **dict.fromkeys(
        (
            f"{kind}{rank}D"
            for kind in ("Conv", "Convolution", "SeparableConv", "SeparableConvolution", "DepthwiseConv")
            for rank in (1, 2)
        ),
        _compute_convolution,
    ),
    **dict.fromkeys(
        (f"{kind}{rank}D" for kind in ("MaxPooling", "AveragePooling", "MaxPool", "AvgPool") for rank in (1, 2)),
        _compute_pooling,
    ),
    **dict.fromkeys(
        (f"Global{kind}{rank}D" for kind in ("MaxPooling", "AveragePooling", "MaxPool", "AvgPool") for rank in (1, 2)),
        _compute_global_pooling,
    ),
    **dict.fromkeys(
        (
            "Flatten", "Reshape", "Permute", "RepeatVector", "UpSampling1D", "UpSampling2D", "ZeroPadding1D",
            "ZeroPadding2D", "Cropping1D", "Cropping2D",
        ),
        _compute_shape,
    ),
    **dict.fromkeys(
        ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"), _compute_merge
    ),
    "TCN": _compute_tcn,
}
