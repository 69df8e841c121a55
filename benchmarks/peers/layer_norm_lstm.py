"""Our LSTM with layer normalisation where ours has batch normalisation; all else is the same.

Written from Ba et al. 2016, "Layer Normalization", applied to the outputs of each layer over their features.
"""

from __future__ import annotations

from torch import Tensor, nn

from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.sizes import ModelConfig


class FeatureNorm(nn.LayerNorm):
    """Layer normalisation that is called as our batch normalisation is: it needs no word on which rows count."""

    def forward(self, inputs: Tensor, counted: Tensor | None) -> Tensor:
        """(N, H) -> (N, H)."""
        return super().forward(inputs)


def layer_norm_lstm(config: ModelConfig, *, seed: int = 0) -> HoyoMusicLSTM:
    """Our network with weights drawn as ever, each layer's outputs normalised over their features."""
    model = HoyoMusicLSTM(config, seed=seed)
    for layer in model.layers:
        layer.norm = FeatureNorm(config.hidden)
    return model
