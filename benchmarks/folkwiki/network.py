"""3 x [LSTM -> BatchNorm -> Dropout] as in `HoyoMusicLSTM`, given the clock and candidates for the next id as well.

Candidates come in twice: as embeddings added to the id's, and as gates on their own logits, which is what
lets a network of little training copy. A gate is a number that the last layer says, plus one that is
learned for how far the candidate is backed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.folkwiki.data import CANDIDATES, COLUMNS, STRENGTHS
from benchmarks.folkwiki.tokens import START
from hoyomusic.model import FLAG_COLUMNS, Layer

# The inputs that an ablation can leave out: columns of the context, and candidates.
LEVERS = {
    "clock": tuple(name for name in COLUMNS if name != "source"),
    "echo": tuple(name for name in CANDIDATES if "echo" in name),
    "bars before": tuple(name for name in CANDIDATES if "before" in name),
    "kin": ("kin 1", "kin 2"),
}


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes, dropout shares (`input_dropout` on the embedding, `weight_dropout` on recurrent weights), and levers.

    Without `gates` candidates are embeddings only.
    """

    vocabulary: int
    embedding: int = 256
    hidden: int = 512
    layers: int = 3
    dropout: float = 0.2
    input_dropout: float = 0.1
    weight_dropout: float = 0.0
    levers: tuple[str, ...] = tuple(LEVERS)
    gates: bool = True


class Network(nn.Module):
    """ids (T, B), context (T, B, C), candidates and strengths (T, B, F) -> logits (T, B, V); time comes first."""

    def __init__(self, config: NetworkConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        used = {name for lever in config.levers for name in LEVERS[lever]} | {"source"}
        self.columns = [index for index, name in enumerate(COLUMNS) if name in used]
        self.chosen = [index for index, name in enumerate(CANDIDATES) if name in used]
        sizes = [list(COLUMNS.values())[index] or config.vocabulary for index in self.columns]
        sizes += [config.vocabulary] * len(self.chosen) + [STRENGTHS] * len(self.chosen)
        starts = config.vocabulary + np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        # All tables one below the other: one look-up sums a row of each.
        self.register_buffer("starts", torch.from_numpy(np.concatenate(([0], starts[:-1]))), persistent=False)
        self.tables = nn.Parameter(torch.zeros(int(starts[-1]), config.embedding))
        widths = [config.embedding] + [config.hidden] * config.layers
        self.layers = nn.ModuleList(Layer(width, config.hidden, "batch") for width in widths[:-1])
        self.output_weight = nn.Parameter(torch.empty(config.vocabulary + len(self.chosen), config.hidden))
        self.output_bias = nn.Parameter(torch.zeros(config.vocabulary + len(self.chosen)))
        self.trust = nn.Parameter(torch.zeros(max(len(self.chosen), 1), STRENGTHS))
        self._draw_weights(seed)

    @torch.no_grad()
    def _draw_weights(self, seed: int) -> None:
        """Normal embeddings of ids, the other tables zero; the rest as in `HoyoMusicLSTM`."""
        generator = torch.Generator().manual_seed(seed)
        bound = self.config.hidden**-0.5
        self.tables[: self.config.vocabulary].normal_(generator=generator)
        for layer in self.layers:
            for weight in (layer.weight_ih, layer.weight_hh, layer.bias):
                weight.uniform_(-bound, bound, generator=generator)
            layer.bias[self.config.hidden : 2 * self.config.hidden] += 1.0
        self.output_weight.uniform_(-bound, bound, generator=generator)

    def forward(
        self, ids: Tensor, context: Tensor, candidates: Tensor, strengths: Tensor, state=None, *,
        valid: Tensor | None = None, reset: Tensor | None = None, generator: torch.Generator | None = None,
    ):
        """Logits (T, B, V) and the state (h, c), each (L, B, H); `generator` draws what dropout drops in training.

        `valid` (T, B) marks what counts for the statistics of normalisation; after `reset` (T, B) all is fresh.
        """
        steps, rows = ids.shape
        candidates, strengths = candidates[:, :, self.chosen], strengths[:, :, self.chosen]
        indices = torch.cat((ids[:, :, None], context[:, :, self.columns], candidates, strengths), 2) + self.starts
        values = functional.embedding_bag(indices.view(steps * rows, -1), self.tables, mode="sum")
        values = self._drop(values.view(steps, rows, -1), self.config.input_dropout, generator)
        if state is None:
            state = (values.new_zeros(self.config.layers, rows, self.config.hidden),) * 2
        flags = counted = None
        if reset is not None:
            flags = functional.pad(reset[:, :, None].to(values.dtype), (0, FLAG_COLUMNS - 1))
        if self.training and valid is not None:
            counted = valid.reshape(-1).nonzero().squeeze(1)
        states = []
        for index, layer in enumerate(self.layers):
            kept = None
            if self.training and self.config.weight_dropout:
                kept = self._drop(torch.ones_like(layer.weight_hh), self.config.weight_dropout, generator)
            values, new = layer(values, (state[0][index : index + 1], state[1][index : index + 1]), flags, kept)
            states.append(new)
            values = layer.norm(values.reshape(steps * rows, -1), counted).view(steps, rows, -1)
            values = self._drop(values, self.config.dropout, generator)
        scores = functional.linear(values, self.output_weight, self.output_bias)
        logits = scores[:, :, : self.config.vocabulary]
        if self.chosen and self.config.gates:
            trust = self.trust[torch.arange(len(self.chosen)), strengths]
            gates = (scores[:, :, self.config.vocabulary :] + trust) * (candidates != START)
            logits = logits.scatter_add(2, candidates, gates)
        hidden, cell = zip(*states, strict=True)
        return logits, (torch.cat(hidden), torch.cat(cell))

    def _drop(self, values: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
        if not self.training or not share:
            return values
        kept = torch.rand(values.shape, generator=generator) >= share
        return values * kept / (1 - share)
