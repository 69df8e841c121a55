"""A Keras model as a PyTorch module: read from its own file, exact or not at all.

`load_keras` reads the architecture, builds the layers without a weight, finds the array of each weight and checks
all shapes, and only then reads the arrays, each once and straight into its tensor.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

import torch
from torch import nn

from hoyomusic.archive import fault
from hoyomusic.errors import CheckpointError
from hoyomusic.legacy.files import KerasFile, Origin, parse_json
from hoyomusic.legacy.layers import Context, Layer, Settings
from hoyomusic.legacy.layers.base import Shape, class_of, shorten
from hoyomusic.legacy.layers.network import MODELS, Network
from hoyomusic.legacy.params import read_params
from hoyomusic.legacy.weights import find_by_names, find_by_numbers

UNNEEDED = ("initializer", "regularizer", "constraint")


class Row(NamedTuple):
    """What is told of a layer: its name and class, the shape of its output (None: any length), its parameters."""

    name: str
    kind: str
    shape: Any
    parameters: int


class ConvertedModel(nn.Module):
    """A Keras model that takes and gives what it did in Keras: channels last, ids as whole numbers.

    `config` is what its file says of it, `keras_version` which Keras wrote that, `params` what lay beside it.
    The weights are those of the file, bit for bit; they do not ask for gradients.
    """

    def __init__(self, architecture: Any, keras_version: str, backend: str = "tensorflow", params: Any = None) -> None:
        super().__init__()
        self.config = architecture
        self.keras_version = keras_version
        self.backend = backend
        self.params = params
        self.origin: Origin | None = None
        self._source: str | None = None
        # By the name of a weight: what its whole numbers are multiplied with, where a file keeps it as such.
        self.factors: dict[str, torch.Tensor] = {}
        self.network = build_network(architecture, Context(keras_version, backend))
        self.network.trace_mask([False] * len(self.network.inputs))
        self.eval()

    @property
    def source(self) -> str | None:
        """The SHA-256 of the Keras file, in hexadecimal, None for a model that came from none.

        Worked out when it is first asked for: that takes longer than reading the weights. Raises CheckpointError
        where the file has changed by then.
        """
        if self._source is None and self.origin is not None:
            self._source = self.origin.identify()
        return self._source

    @source.setter
    def source(self, digest: str | None) -> None:
        self._source = digest

    @property
    def description(self) -> list[Row]:
        """One row for each layer, in the order of the file."""
        return [
            Row(layer.settings.name, layer.settings.kind, layer.output_shape, count_parameters(layer))
            for layer in self.network.layers
        ]

    @property
    def input_shapes(self) -> list[Shape]:
        """The shapes of the inputs, batch first, None for any length."""
        return list(self.network.input_shapes)

    @property
    def output_shapes(self) -> list[Shape]:
        """The shapes of the outputs, batch first, None for any length."""
        return list(self.network.output_shapes)

    def layer(self, name: str) -> Layer:
        """The layer of that name. Raises CheckpointError where there is none."""
        for layer in self.network.layers:
            if layer.settings.name == name:
                return layer
        raise CheckpointError(f"the model has no layer {shorten(name)}")

    def forward(self, *inputs: Any) -> Any:
        """The outputs for `inputs`, tensors or arrays in the order of the model: one tensor, or a tuple of them."""
        if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
            inputs = tuple(inputs[0])
        if len(inputs) != len(self.network.inputs):
            raise CheckpointError(f"the model takes {len(self.network.inputs)} inputs, not {len(inputs)}")
        place = next((weight for weight in self.parameters() if weight.is_floating_point()), None)
        given = [torch.as_tensor(values) for values in inputs]
        if place is not None:
            given = [x.to(place.device, place.dtype if x.is_floating_point() else None) for x in given]
        outputs, _ = self.network.call(given, [None] * len(given))
        return outputs


def load_keras(path: str | os.PathLike[str], params: str | os.PathLike[str] | None = None) -> ConvertedModel:
    """The model in a Keras `.h5` or `.weights.h5` file, in evaluation mode.

    `params` is a file with what the model's own does not hold: for weights alone the architecture, as Keras's
    to_json() writes it; else the plain values (`.json`, or a pickle of plain data) that lay beside the model.

    Raises CheckpointError, naming the layer or weight, for all that would not be exact, MissingPartError without
    h5py. Nothing in the files is ever run.
    """
    file = os.fspath(path)
    told = None if params is None else read_params(params)
    with KerasFile(path) as source:
        try:
            return _load(source, told)
        except CheckpointError as error:
            if error.where is not None:
                raise
            raise fault(file, error.message, error.remedy or "use another file") from error
        except RecursionError as error:
            raise fault(file, "has a configuration that is nested too deeply") from error


def _load(source: KerasFile, params: Any) -> ConvertedModel:
    root = source.root
    described = source.text(root, "model_config")
    weights = source.group(root, "model_weights") if described is not None else root
    if weights is None:
        raise fault(source.name, "describes a Keras model, but holds no weights")
    if described is not None:
        architecture = parse_json(described, source.name, "model_config")
    else:
        named = source.names(root, "layer_names") is not None
        numbered = any(source.group(root, name) for name in ("layers", "_layer_checkpoint_dependencies"))
        if not named and not numbered:
            raise fault(source.name, "holds no Keras model: neither a model_config nor weights of layers")
        if not is_architecture(params):
            remedy = "give the architecture, model.to_json() in a .json file, as params"
            raise fault(source.name, "holds weights only, and nothing says what the layers are", remedy)
        architecture, params = params, None
    version = source.text(root, "keras_version") or find_version(architecture)
    backend = source.text(root, "backend") or "tensorflow"
    model = ConvertedModel(architecture, version, backend, params)
    if described is not None or source.names(root, "layer_names") is not None:
        found = list(find_by_names(source, weights, model.network))
    else:
        found = list(find_by_numbers(source, model.network))
    for weight, dataset in found:
        weight.layer.adopt(weight.name, source.read(dataset))
    model.origin = source.origin
    return model


def build_network(architecture: Any, context: Context) -> Network:
    """The model that a configuration describes, without weights. Raises CheckpointError for what is not supported."""
    if context.major < 2:
        remedy = "load and save it with Keras 2"
        raise CheckpointError(f"is of Keras {shorten(context.version)}, older than 2", remedy=remedy)
    if not is_architecture(architecture) or class_of(architecture) not in MODELS:
        kind = architecture.get("class_name") if isinstance(architecture, dict) else architecture
        raise CheckpointError(f"has a model_config that is no Keras model: {shorten(kind)}")
    config = architecture.get("config")
    if isinstance(config, list):
        config = {"layers": config, "name": "sequential"}
    return Network(Settings(class_of(architecture), config, context))


def is_architecture(values: Any) -> bool:
    """Whether plain values are what to_json() writes."""
    return isinstance(values, dict) and isinstance(values.get("class_name"), str) and "config" in values


def find_version(architecture: dict[str, Any]) -> str:
    """The version of Keras that an architecture tells, by its word or by its ways; raises CheckpointError."""
    version = architecture.get("keras_version")
    if isinstance(version, str):
        return version
    text = json.dumps(architecture)
    if '"batch_shape"' in text or '"DTypePolicy"' in text:
        return "3"
    raise CheckpointError("does not say which version of Keras wrote it", remedy="save the whole model as .h5")


def count_parameters(layer: Layer) -> int:
    return sum(weight.layer.get_parameter(weight.name).numel() for weight in layer.weights())


def compact(value: Any) -> Any:
    """A configuration without what only training needs."""
    if isinstance(value, dict):
        return {key: compact(entry) for key, entry in value.items() if not key.endswith(UNNEEDED)}
    return [compact(entry) for entry in value] if isinstance(value, list) else value
