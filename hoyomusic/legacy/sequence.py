"""An old generator as a model of ours: the same network and characters, ready to be trained on.

Embedding, then LSTM and batch normalisation by turns, then a softmax over characters at every step: that is what
`HoyoMusicLSTM` is, once nation and clock add nothing. What Keras adds to a variance (1e-3) is put into the variance
itself. The boundary between tunes, which the old program did not have, gets the id behind the characters, and so
unlikely an output that the others keep their probabilities.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import nn

from hoyomusic.checkpoint import Checkpoint
from hoyomusic.errors import TrainingError
from hoyomusic.legacy.characters import REMEDY, CharacterMap
from hoyomusic.legacy.converted import load_converted
from hoyomusic.legacy.layers import Layer
from hoyomusic.normalisation import NORM_EPSILON
from hoyomusic.regions import REGIONS
from hoyomusic.sizes import ModelConfig
from hoyomusic.vocab.characters import CharacterVocabulary

# Beside any logit of a trained model, e^-100 is nothing in float32.
NEVER = -100.0
# Layers that do nothing when a model predicts.
SILENT = ("InputLayer", "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout")


def read_sequence(path: str | os.PathLike[str]) -> Checkpoint:
    """The converted model in `path` as a checkpoint of ours, which training can begin with.

    Raises TrainingError, naming the layer, for a network that is another than ours, and CheckpointError as
    `load_converted` does.
    """
    file = os.fspath(path)
    converted = load_converted(file)
    characters = CharacterMap.read(converted.params, file) if isinstance(converted.params, dict) else None
    if characters is None:
        raise _unlike(file, "it has no map of its characters", REMEDY)
    layers = [layer for layer in converted.network.layers if layer.settings.kind not in SILENT]
    kinds = [layer.settings.kind for layer in layers]
    depth = kinds.count("LSTM")
    if not depth or kinds != ["Embedding", *["LSTM", "BatchNormalization"] * depth, "Dense"]:
        raise _unlike(file, f"its layers are {', '.join(kinds)}")
    _check_settings(layers, file)
    embedding, *between, output = layers
    count, hidden = len(characters.characters), len(layers[1].recurrent_kernel)
    if len(embedding.embeddings) != count or output.kernel.shape[1] != count:
        raise _unlike(file, f"it has {output.kernel.shape[1]} outputs, and its map {count} characters")
    config = ModelConfig(
        count + 1, len(REGIONS), clocks=1, embedding=embedding.embeddings.shape[1], hidden=hidden, layers=depth
    )
    weights = {
        "embedding": _with_row(embedding.embeddings, 0.0),
        "region": torch.zeros(config.regions, config.embedding),
        "clock": torch.zeros(config.clocks, config.embedding),
        "output_weight": _with_row(output.kernel.T, 0.0),
        "output_bias": torch.cat((_bias(output, count), torch.tensor([NEVER]))),
    }
    for number in range(depth):
        lstm, norm = between[2 * number], between[2 * number + 1]
        name = f"layers.{number}"
        weights[f"{name}.weight_ih"] = lstm.kernel.T.contiguous()
        weights[f"{name}.weight_hh"] = lstm.recurrent_kernel.T.contiguous()
        weights[f"{name}.bias"] = _bias(lstm, 4 * hidden)
        weights[f"{name}.norm.weight"] = norm.gamma.clone() if norm.scaled else torch.ones(hidden)
        weights[f"{name}.norm.bias"] = norm.beta.clone() if norm.centred else torch.zeros(hidden)
        weights[f"{name}.norm.running_mean"] = norm.moving_mean.clone()
        weights[f"{name}.norm.running_var"] = norm.moving_variance + (norm.epsilon - NORM_EPSILON)
    weights = {name: weight.detach() for name, weight in weights.items()}
    provenance = {"program": f"Keras {converted.keras_version}"}
    vocabulary = CharacterVocabulary(characters.characters)
    return Checkpoint(config, vocabulary.to_dict(), weights, provenance)


def _check_settings(layers: Sequence[Layer], file: str) -> None:
    """Raise TrainingError for settings that `HoyoMusicLSTM` does not have."""
    wanted = {
        "Embedding": {"mask_zero": (False, None)},
        "LSTM": {
            "return_sequences": (True,), "go_backwards": (False, None), "activation": ("tanh",),
            "recurrent_activation": ("sigmoid",), "units": (layers[1].units,),
        },
        "BatchNormalization": {},
        "Dense": {"activation": ("softmax",)},
    }
    for layer in layers:
        for key, allowed in wanted[layer.settings.kind].items():
            value = layer.settings.values.get(key)
            if value not in allowed:
                raise _unlike(file, f"layer {layer.settings.name} has the {key} {value!r}")
        if layer.settings.kind == "BatchNormalization" and layer.axis != 2:
            raise _unlike(file, f"layer {layer.settings.name} normalises another axis than the last")


def _with_row(matrix: torch.Tensor, value: float) -> torch.Tensor:
    """`matrix` (N, K) with one more row."""
    return nn.functional.pad(matrix, (0, 0, 0, 1), value=value)


def _bias(layer: Layer, width: int) -> torch.Tensor:
    return layer.bias.clone() if layer.settings.flag("use_bias", True) else torch.zeros(width)


def _unlike(file: str, message: str, remedy: str = "train a new model: hoyo train") -> TrainingError:
    return TrainingError(f"cannot be trained on, as it is no network of ours: {message}", where=file, remedy=remedy)
