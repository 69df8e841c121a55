"""The layers of Keras as PyTorch modules, one family a file, and the register for layers of your own."""

from hoyomusic.legacy.layers import (
    activations,
    convolution,
    elementary,
    merging,
    network,
    normalisation,
    pooling,
    recurrent,
    shaping,
    tcn,
    wrappers,
)
from hoyomusic.legacy.layers.base import LAYERS, Context, Layer, Settings, make_layer, register_layer

FAMILIES = (
    activations, convolution, elementary, merging, network, normalisation, pooling, recurrent, shaping, tcn, wrappers
)

__all__ = ["FAMILIES", "LAYERS", "Context", "Layer", "Settings", "make_layer", "register_layer"]
