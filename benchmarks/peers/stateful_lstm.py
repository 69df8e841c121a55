"""What a student writes: Embedding -> L x [LSTM -> BatchNorm -> Dropout] -> Linear, one token at a time with its state.

The baseline of generation: modules of PyTorch put one behind the other, eager, in evaluation mode, the state
carried from step to step (nothing is computed twice) and `torch.multinomial` to choose. Nothing is folded, fused or
quantised, and no flag of a library is set.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

State = list[tuple[Tensor, Tensor]]


class StatefulLSTM(nn.Module):
    """Ids (B, T) and the state of each layer -> logits (B, T, V) and the new state."""

    def __init__(
        self, vocabulary: int, *, embedding: int = 256, hidden: int = 512, layers: int = 3, dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        widths = [embedding] + [hidden] * layers
        self.lstms = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths[:-1])
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in self.lstms)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, vocabulary)

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """(B, T) -> logits (B, T, V), and hidden state and cell (1, B, H) of each layer."""
        values, new = self.embedding(ids), []
        for index, (lstm, norm) in enumerate(zip(self.lstms, self.norms, strict=True)):
            values, carried = lstm(values, None if state is None else state[index])
            values = self.dropout(norm(values.transpose(1, 2)).transpose(1, 2))
            new.append(carried)
        return self.output(values), new


@torch.no_grad()
def generate(model: StatefulLSTM, start: int, length: int, *, seed: int, temperature: float = 1.0) -> list[int]:
    """`length` ids behind `start`; `model` is put into evaluation mode."""
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    chosen, state, found = torch.tensor([[start]]), None, []
    for _ in range(length):
        logits, state = model(chosen, state)
        shares = torch.softmax(logits[:, -1] / temperature, dim=-1)
        chosen = torch.multinomial(shares, num_samples=1, generator=generator)
        found.append(int(chosen))
    return found
