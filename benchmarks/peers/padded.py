"""The training loop that most would write: tunes padded to a width, the same network of torch's own modules, float32.

Written by us as a competent student would write it: fused ``nn.LSTM`` layers, batch normalisation over flattened
positions (which copies nothing), cross-entropy that ignores padding, gradients clipped, AdamW. Padding is seen by
the layers and by the statistics of normalisation. Batches are of the same width, or of tunes of like length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

PADDING = 0
CLIP, LEARNING_RATE = 1.0, 3e-3


class PlainNetwork(nn.Module):
    """Embedding -> L x [LSTM -> BatchNorm -> Dropout] -> Linear."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PADDING)
        widths = [embedding] + [hidden] * (layers - 1)
        self.lstms = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in widths)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (B, T) -> logits (B, T, V)."""
        values = self.embedding(ids)
        for lstm, norm in zip(self.lstms, self.norms, strict=True):
            values, _ = lstm(values)
            values = self.dropout(norm(values.flatten(0, 1)).view_as(values))
        return self.output(values)


def batches_of_width(tunes: Sequence[np.ndarray], rows: int, width: int, seed: int) -> Iterator[np.ndarray]:
    """Ids (B, width + 1) of tunes in random order, cut or padded to `width` targets, epoch after epoch."""
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(tunes))
        for start in range(0, len(order) - rows + 1, rows):
            yield pad([tunes[index] for index in order[start : start + rows]], width + 1)


def batches_of_like_length(tunes: Sequence[np.ndarray], rows: int, seed: int) -> Iterator[np.ndarray]:
    """Ids (B, longest) of tunes next to one another in length, the batches in random order, epoch after epoch."""
    generator = np.random.default_rng(seed)
    order = sorted(range(len(tunes)), key=lambda index: len(tunes[index]))
    buckets = [[tunes[index] for index in order[start : start + rows]] for start in range(0, len(order), rows)]
    while True:
        for index in generator.permutation(len(buckets)):
            yield pad(buckets[index], len(buckets[index][-1]))


def pad(tunes: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Ids (B, width), each row a tune cut or padded."""
    ids = np.full((len(tunes), width), PADDING, np.int64)
    for row, tune in zip(ids, tunes, strict=True):
        row[: len(tune)] = tune[:width]
    return ids


def make_step(network: PlainNetwork, batches: Iterator[np.ndarray]) -> Callable[[], tuple[int, int]]:
    """A function that learns from the next batch and tells its targets, and how many positions were computed."""
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=LEARNING_RATE)

    def step() -> tuple[int, int]:
        ids = torch.from_numpy(next(batches))
        given, asked = ids[:, :-1], ids[:, 1:]
        logits = network(given)
        loss = functional.cross_entropy(logits.flatten(0, 1), asked.flatten(), ignore_index=PADDING)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        return int((asked != PADDING).sum()), asked.numel()

    return step
