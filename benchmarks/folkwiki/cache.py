"""A model of contexts that learns the tune while it reads it, and its mixture with the network.

Two distributions beside the network's, both interpolated with Witten-Bell smoothing (Witten & Bell 1991):
the ids that followed the last few in the training tunes, and, with that one below it, those that followed
them in the tune so far. They are multiplied, each to a power of its own, and the product is made to sum to
1 again (the logarithmic opinion pool). The powers depend on how long a match the tune so far has and on how sure
the network is; they are fitted on training tunes that were kept aside.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.folkwiki.data import CANDIDATES, Material

CORPUS_ORDER, TUNE_ORDER = 6, 10
# Lower edges of the classes of match lengths, and of the network's highest probability.
MATCHES = (0, 1, 3, 5, 8, 15)
CERTAINTIES = (0.0, 0.4, 0.7, 0.9)
# How strongly the powers are held to those of the network alone.
PRIOR = 2.0
SMALLEST = 1e-9


def foretell(material: Material, learned: Material, vocabulary: int) -> np.ndarray:
    """Log-probabilities (2, N, V) of the id behind each position: from `learned`, and from the tune so far as well."""
    tunes = [list(map(int, sample.ids)) for sample in material.samples]
    asked = {tuple(ids[stop - width : stop]) for ids in tunes for stop in range(1, len(ids))
             for width in range(min(CORPUS_ORDER, stop + 1))}
    corpus: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for sample in learned.samples:
        _count(corpus, list(map(int, sample.ids)), CORPUS_ORDER, asked)
    logs = np.zeros((2, len(material.ids), vocabulary), np.float32)
    for ids, start in zip(tunes, material.edges, strict=False):
        heard: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for stop in range(1, len(ids)):
            found = np.full(vocabulary, 1 / vocabulary)
            found = _interpolate(found, corpus, ids, stop, range(CORPUS_ORDER))
            logs[0, start + stop - 1] = np.log(found)
            found = _interpolate(found, heard, ids, stop, range(1, TUNE_ORDER))
            logs[1, start + stop - 1] = np.log(found)
            for width in range(1, min(TUNE_ORDER, stop + 1)):
                heard[tuple(ids[stop - width : stop])][ids[stop]] += 1
    return logs


def _count(followers: dict, ids: Sequence[int], order: int, asked: set) -> None:
    for stop in range(1, len(ids)):
        for width in range(min(order, stop + 1)):
            context = tuple(ids[stop - width : stop])
            if context in asked:
                followers[context][ids[stop]] += 1


def _interpolate(found: np.ndarray, followers: dict, ids: Sequence[int], stop: int, widths: range) -> np.ndarray:
    """`found`, sharpened by what followed ever longer contexts."""
    for width in widths:
        counts = followers.get(tuple(ids[stop - width : stop])) if width <= stop else None
        if counts is None:
            break
        total, kinds = counts.total(), len(counts)
        found = found * (kinds / (total + kinds))
        found[list(counts)] += np.fromiter(counts.values(), float) / (total + kinds)
    return found


class Mixture:
    """Powers of the three distributions for each class of positions, (classes, 3)."""

    def __init__(self) -> None:
        self.powers = torch.zeros(len(MATCHES) * len(CERTAINTIES), 3)
        self.powers[:, 0] = 1.0

    def fit(self, experts: torch.Tensor, material: Material, at: np.ndarray) -> Mixture:
        """Least loss on the positions `at` of `material`, for which `experts` (3, N, V) holds log-probabilities."""
        first = self.powers.clone()
        powers = self.powers.requires_grad_(True)
        classes, targets = _classify(experts, material, at), _targets(material, at)
        optimizer = torch.optim.LBFGS([powers], max_iter=60, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = _loss(powers, experts, classes, targets).sum() + PRIOR * (powers - first).square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        self.powers = powers.detach()
        return self

    @torch.no_grad()
    def losses(self, experts: torch.Tensor, material: Material, at: np.ndarray) -> np.ndarray:
        """Nats of the id behind each of the positions `at`."""
        return _loss(self.powers, experts, _classify(experts, material, at), _targets(material, at)).numpy()


def _classify(experts: torch.Tensor, material: Material, at: np.ndarray) -> torch.Tensor:
    match = material.strengths[at, CANDIDATES.index("echo 1")] % 16
    matches = np.searchsorted(MATCHES, match, side="right") - 1
    certainties = np.searchsorted(CERTAINTIES, experts[0].exp().amax(1).numpy(), side="right") - 1
    return torch.from_numpy(matches * len(CERTAINTIES) + certainties)


def _targets(material: Material, at: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(material.ids[at + 1].astype(np.int64))


def _loss(powers: torch.Tensor, experts: torch.Tensor, classes: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    mixed = torch.einsum("nk,knv->nv", powers[classes], experts)
    return torch.nn.functional.cross_entropy(mixed, targets, reduction="none")


def stack(network_logs: np.ndarray, at: np.ndarray, others: np.ndarray) -> torch.Tensor:
    """Log-probabilities (3, N, V) at the positions `at`; the network's are held above `SMALLEST`."""
    return torch.from_numpy(np.stack((np.maximum(network_logs, np.log(SMALLEST)), *others[:, at]))).float()
