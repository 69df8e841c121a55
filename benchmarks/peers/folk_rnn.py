"""folk-rnn's plain network, 3 x LSTM(512) with dropout and nothing else, and its sampler in numpy.

Written from Sturm et al. 2016, "Music transcription modelling and composition using deep learning", and the
description of the project folk-rnn; no code of theirs is used. They feed one-hot vectors, which is a table of rows
for the first layer; an embedding before it is the same network with a table of lower rank and fewer parameters.
Their optimiser is RMSProp at 0.003 with gradients clipped; `make_optimizer` also offers Adam, which is kinder to
it. Forget gates start open (Jozefowicz et al. 2015), which is kinder still.

Letters of shapes: B rows, T positions, V ids, E embedding width, H hidden width, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class FolkRNNConfig:
    """Sizes and the share of outputs that are dropped in training; theirs is 0.5."""

    vocabulary: int
    embedding: int = 384
    hidden: int = 512
    layers: int = 3
    dropout: float = 0.0

    @staticmethod
    def fitted(vocabulary: int, parameters: int, *, hidden: int = 512, layers: int = 3,
               dropout: float = 0.0) -> FolkRNNConfig:
        """The network of nearest to so many parameters by the width of its embedding, in steps of 16."""
        fixed = layers * 4 * hidden * (hidden + 2) + (layers - 1) * 4 * hidden * hidden + vocabulary * (hidden + 1)
        steps = round((parameters - fixed) / (16 * (vocabulary + 4 * hidden)))
        return FolkRNNConfig(vocabulary, 16 * max(steps, 1), hidden, layers, dropout)


class FolkRNN(nn.Module):
    """Embedding -> L x [LSTM -> Dropout] -> Linear, in PyTorch's fused LSTM."""

    def __init__(self, config: FolkRNNConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        between = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(config.embedding, config.hidden, config.layers, dropout=between)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, config.vocabulary)
        self._draw_weights(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _draw_weights(self, generator: torch.Generator) -> None:
        """Normal embedding, the rest uniform within 1/sqrt(H); forget gates start open."""
        bound, hidden = self.config.hidden**-0.5, self.config.hidden
        for name, weight in self.named_parameters():
            if name == "embedding.weight":
                weight.normal_(generator=generator)
            else:
                weight.uniform_(-bound, bound, generator=generator)
            if name.startswith("lstm.bias_ih"):
                weight[hidden : 2 * hidden] += 1.0

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """(B, T) -> logits (B, T, V), a view of time-major memory, and the state, two of (L, B, H)."""
        values, state = self.lstm(self.embedding(ids.T), state)
        return self.output(self.dropout(values)).transpose(0, 1), state


def make_optimizer(
    model: FolkRNN, learning_rate: float, kind: Literal["adam", "rmsprop"] = "adam"
) -> torch.optim.Optimizer:
    """Adam, or RMSProp as the paper has it (decay 0.9)."""
    if kind == "adam":
        return torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    return torch.optim.RMSprop(model.parameters(), lr=learning_rate, alpha=0.9)


class NumpySampler:
    """A trained `FolkRNN`, one id at a time in float32 numpy: no torch, the state kept from step to step.

    The first layer's input is a row of a table, as a one-hot vector would choose it.
    """

    def __init__(self, model: FolkRNN) -> None:
        arrays = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
        biases = [arrays[f"lstm.bias_ih_l{layer}"] + arrays[f"lstm.bias_hh_l{layer}"]
                  for layer in range(model.config.layers)]
        self.table = arrays["embedding.weight"] @ arrays["lstm.weight_ih_l0"].T + biases[0]  # (V, 4H)
        self.recurrent = [arrays[f"lstm.weight_hh_l{layer}"] for layer in range(model.config.layers)]
        self.inputs = [arrays[f"lstm.weight_ih_l{layer}"] for layer in range(1, model.config.layers)]
        self.biases = biases[1:]
        self.output_weight, self.output_bias = arrays["output.weight"], arrays["output.bias"]
        self.hidden = [np.zeros(model.config.hidden, np.float32) for _ in self.recurrent]
        self.cell = [np.zeros(model.config.hidden, np.float32) for _ in self.recurrent]

    def step(self, chosen: int) -> np.ndarray:
        """The next id -> logits (V,)."""
        gates = self.table[chosen]
        for layer, recurrent in enumerate(self.recurrent):
            if layer:
                gates = self.inputs[layer - 1] @ self.hidden[layer - 1] + self.biases[layer - 1]
            come, forget, new, out = np.split(gates + recurrent @ self.hidden[layer], 4)
            self.cell[layer] = _sigmoid(forget) * self.cell[layer] + _sigmoid(come) * np.tanh(new)
            self.hidden[layer] = _sigmoid(out) * np.tanh(self.cell[layer])
        return self.output_weight @ self.hidden[-1] + self.output_bias

    def generate(self, start: int, length: int, *, seed: int, temperature: float = 1.0) -> list[int]:
        """`length` ids behind `start`, each drawn from the softmax of the logits."""
        generator, chosen, found = np.random.default_rng(seed), start, []
        for _ in range(length):
            logits = self.step(chosen).astype(np.float64) / temperature
            shares = np.exp(logits - logits.max())
            chosen = int(generator.choice(len(shares), p=shares / shares.sum()))
            found.append(chosen)
        return found


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))
