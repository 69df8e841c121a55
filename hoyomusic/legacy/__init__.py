"""Models of the older Keras programs, read exactly and without TensorFlow.

`load_keras` reads a model from its `.h5` file, `save_converted` keeps it as a `.pth`, `load_converted` reads that.
`register_layer` makes your own layers known:

    @register_layer("ScaleByNumber")
    class ScaleByNumber(Layer):
        def build(self, shape):                       # (batch, ..., features): declare weights, return the output's
            self.add_weight("factor", (shape[-1],))
            return shape

        def forward(self, x):
            return x * self.factor
"""

from hoyomusic.legacy.converted import is_converted, load_converted, save_converted
from hoyomusic.legacy.converter import TCNModelConverter
from hoyomusic.legacy.layers import Layer, register_layer
from hoyomusic.legacy.model import ConvertedModel, load_keras

__all__ = [
    "ConvertedModel", "Layer", "TCNModelConverter", "is_converted", "load_converted", "load_keras", "register_layer",
    "save_converted",
]
