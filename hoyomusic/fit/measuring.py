"""Nats per token: the loss of a batch, and of whole samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hoyomusic import streams
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.ranks import ALONE, Ranks
from hoyomusic.samples import Sample
from hoyomusic.streams import Batch

# Marks targets that do not count, as cross_entropy knows them.
IGNORED = -100


@torch.no_grad()
def measure(model: HoyoMusicLSTM, samples: Sequence[Sample], *, rows: int = 64, ranks: Ranks = ALONE) -> float:
    """Nats per token of `model` on `samples`, each from its start to its end, in float32.

    Of several processes each measures some batches, and all come to the same value.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    nats, tokens = 0.0, 0
    for batch in islice(streams.whole(samples, rows=rows), ranks.rank, None, ranks.count):
        given = (to_device(part, device) for part in (batch.ids, batch.region, batch.clock))
        logits, _ = model(*given, recall=to_device(batch.recall, device))
        nats += float(summed_loss(logits, targets_of(batch, device)))
        tokens += batch.tokens
    model.train(was_training)
    nats, tokens = ranks.add(torch.tensor([nats, tokens], dtype=torch.float64)).tolist()
    return nats / tokens


def to_device(part: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor where the model is."""
    return torch.from_numpy(part).to(device)


def targets_of(batch: Batch, device: torch.device) -> Tensor:
    """(T * B,) the ids asked for, time-major as the logits lie, IGNORED where nothing is asked."""
    return to_device(np.where(batch.valid, batch.targets, IGNORED).T.reshape(-1), device)


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over the targets that count, in float32."""
    flat = logits.transpose(0, 1).reshape(len(targets), -1).float()
    return functional.cross_entropy(flat, targets, ignore_index=IGNORED, reduction="sum")
