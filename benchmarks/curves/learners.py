"""Networks under way: each learns until it has spent so many CPU seconds, and is measured on held-out tunes.

CPU seconds are those of the steps alone: forward, backward, clipping, optimiser and, for ours, averaging. Neither
making batches nor measuring counts, for anyone.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers import folk_rnn, transformer
from hoyomusic import streams
from hoyomusic.dataset import Dataset
from hoyomusic.fit import IGNORED, FitConfig, FitState, fit, measure
from hoyomusic.grammar import CLOCKS
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.regions import REGIONS
from hoyomusic.samples import Samples
from hoyomusic.sizes import ModelConfig
from hoyomusic.vocab import Vocabulary

CLIP = 1.0
# Blocks of the transformer for each LSTM layer: six for three, a usual depth for its size.
BLOCKS_PER_LAYER = 2
# Larger than any run: epochs, and seconds between saves, of a loop that is ended by its CPU time alone.
ENDLESS = 10**6

# Ids and targets (B, T), and whether the state of a recurrent network begins anew.
PeerBatch = tuple[Tensor, Tensor, bool]


class Material(NamedTuple):
    """What all learn from and are measured by; `notes_per_token` turns nats per token into nats per note."""

    training: Samples
    validation: Samples
    vocabulary: int
    boundary_id: int
    notes_per_token: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a network is and how it learns.

    A step learns from `rows` x `steps` positions (of the transformer: from about as many, in whole tunes).
    `budget` is the CPU time, in seconds, that the peers' schedule of the learning rate is made for. `embedding`,
    `norm` and `recalls` are of our network alone; the peers are made as large as ours without recall.
    """

    kind: Literal["ours", "folk_rnn", "transformer"]
    learning_rate: float
    dropout: float = 0.0
    rows: int = 32
    steps: int = 32
    budget: float = 200.0
    embedding: int = 256
    hidden: int = 512
    layers: int = 3
    norm: Literal["batch", "layer"] = "batch"
    recalls: int = 0

    def make_sizes(self, vocabulary: int) -> ModelConfig:
        """The sizes of our network."""
        return ModelConfig(
            vocabulary, len(REGIONS), CLOCKS, self.embedding, self.hidden, self.layers,
            dropout=self.dropout, recalls=self.recalls, norm=self.norm,
        )


class Learner(Protocol):
    """A network under way, its CPU seconds `spent`, the `tokens` and `steps` it learned from, its `parameters`."""

    spent: float
    tokens: int
    steps: int
    parameters: int

    def learn(self, until: float) -> None:
        """Go on until so many CPU seconds are spent in all."""

    def measure(self) -> float:
        """Nats per token on the held-out tunes, as the network would be used now."""


def gather_material(dataset: Dataset, vocabulary: Vocabulary, share: int) -> Material:
    """The tunes of `dataset`; of those held out every `share`-th."""
    validation = dataset.validation[::share]
    notes = sum(vocabulary.count_notes(sample.ids.tolist()) for sample in validation)
    targets = int(validation.lengths.sum()) - len(validation)
    return Material(dataset.training, validation, len(vocabulary), vocabulary.ids["<boundary>"], notes / targets)


def make_learner(recipe: Recipe, material: Material, seed: int) -> Learner:
    """A fresh network of the size of ours; weights and all chance are drawn from `seed`."""
    if not recipe.recalls:
        material = material._replace(
            training=_without_recall(material.training), validation=_without_recall(material.validation)
        )
    if recipe.kind == "ours":
        return OurLearner(recipe, material, seed)
    shapes = recipe.make_sizes(material.vocabulary).shapes()
    parameters = sum(math.prod(shape) for name, shape in shapes.items() if ".running_" not in name)
    if recipe.kind == "transformer":
        longest = max(int(part.lengths.max()) for part in (material.training, material.validation))
        model = transformer.Transformer(
            transformer.TransformerConfig.fitted(
                material.vocabulary, parameters, context=longest, layers=BLOCKS_PER_LAYER * recipe.layers,
                dropout=recipe.dropout,
            ),
            seed=seed,
        )
        optimizer = transformer.make_optimizer(model, recipe.learning_rate)
        batches = bucket(material.training, tokens=recipe.rows * recipe.steps, seed=seed)
    else:
        model = folk_rnn.FolkRNN(
            folk_rnn.FolkRNNConfig.fitted(
                material.vocabulary, parameters, hidden=recipe.hidden, layers=recipe.layers, dropout=recipe.dropout
            ),
            seed=seed,
        )
        optimizer = folk_rnn.make_optimizer(model, recipe.learning_rate)
        batches = pack(material, rows=recipe.rows, steps=recipe.steps, seed=seed)
    return PeerLearner(model, optimizer, batches, recipe, material.validation, seed)


class OurLearner:
    """Our network, trained by `fit` as `hoyo train` does, in slices: the loop goes on as if it had never paused."""

    def __init__(self, recipe: Recipe, material: Material, seed: int) -> None:
        self.sizes = recipe.make_sizes(material.vocabulary)
        self.settings = FitConfig(
            epochs=ENDLESS, patience=ENDLESS, save_seconds=ENDLESS, rows=recipe.rows, steps=recipe.steps,
            learning_rate=recipe.learning_rate, boundary_id=material.boundary_id, seed=seed,
        )
        self.training, self.validation = material.training, material.validation
        self.model = HoyoMusicLSTM(self.sizes, seed=seed)
        self.state: FitState | None = None
        self.parameters = _count(self.model)
        self.spent, self.tokens, self.steps = 0.0, 0, 0

    def learn(self, until: float) -> None:
        """Go on; afterwards `spent` is what the loop itself counted."""
        left, began = until - self.spent, 0.0

        def is_over() -> bool:
            """Asked after each step: the first time sets the clock, so that getting ready does not count."""
            nonlocal began
            began = began or time.process_time()
            return time.process_time() - began >= left

        self.state = fit(
            self.model, self.training, self.validation, self.settings, state=self.state, should_stop=is_over
        )
        epochs = [*self.state.history, {"cpu_seconds": self.state.cpu_seconds, "tokens": self.state.tokens}]
        self.spent = sum(epoch["cpu_seconds"] for epoch in epochs)
        self.tokens = sum(epoch["tokens"] for epoch in epochs)
        self.steps = self.state.step

    def measure(self) -> float:
        """Of the averaged weights."""
        averaged = HoyoMusicLSTM(self.sizes)
        averaged.load_state_dict(self.model.state_dict() if self.state is None else self.state.averaged)
        return measure(averaged, self.validation)


class PeerLearner:
    """A network of others in a plain loop, with a warm-up and a cosine; `seed` decides what dropout drops."""

    def __init__(
        self,
        model: transformer.Transformer | folk_rnn.FolkRNN,
        optimizer: torch.optim.Optimizer,
        batches: Iterator[PeerBatch],
        recipe: Recipe,
        validation: Samples,
        seed: int,
    ) -> None:
        self.model, self.optimizer, self.batches, self.recipe = model.train(), optimizer, batches, recipe
        self.validation, self.seed = validation, seed
        self.carried: folk_rnn.State | None = None
        self.parameters = _count(model)
        self.spent, self.tokens, self.steps = 0.0, 0, 0

    def learn(self, until: float) -> None:
        """Go on, a batch at a time."""
        while self.spent < until:
            ids, targets, anew = next(self.batches)
            counted = int((targets != IGNORED).sum())
            began = time.process_time()
            share = transformer.schedule(self.spent / self.recipe.budget)
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * share
            with torch.random.fork_rng(devices=()):
                torch.random.default_generator.manual_seed((self.seed << 32) + self.steps)
                loss = _summed_loss(self._forward(ids, anew), targets) / counted
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
            self.spent += time.process_time() - began
            self.tokens += counted
            self.steps += 1

    def _forward(self, ids: Tensor, anew: bool) -> Tensor:
        if isinstance(self.model, transformer.Transformer):
            return self.model(ids)
        logits, state = self.model(ids, None if anew else self.carried)
        self.carried = tuple(part.detach() for part in state)
        return logits

    @torch.inference_mode()
    def measure(self) -> float:
        """Each tune whole, from a fresh start."""
        self.model.eval()
        nats, tokens = 0.0, 0
        for batch in streams.whole(self.validation, rows=64):
            found = self.model(torch.from_numpy(batch.ids))
            nats += float(_summed_loss(found[0] if isinstance(found, tuple) else found, _mark(batch)))
            tokens += batch.tokens
        self.model.train()
        return nats / tokens


def pack(material: Material, *, rows: int, steps: int, seed: int) -> Iterator[PeerBatch]:
    """Packed streams without end.

    A plain LSTM cannot be reset within a row: what is carried from tune to tune it learns to forget at ``<s>``.
    """
    for epoch in itertools.count():
        packed = streams.pack(
            material.training, rows=rows, steps=steps, seed=seed, epoch=epoch, boundary_id=material.boundary_id
        )
        for segment in range(len(packed)):
            batch = packed[segment]
            yield torch.from_numpy(batch.ids), _mark(batch), segment == 0


def bucket(samples: Samples, *, tokens: int, seed: int) -> Iterator[PeerBatch]:
    """Whole tunes of like length side by side, padded at their ends, at most `tokens` positions at a time, without end.

    A longer tune comes alone.
    """
    lengths = samples.lengths - 1
    for epoch in itertools.count():
        generator = np.random.default_rng((seed, epoch))
        order = generator.permutation(len(samples))
        order = order[np.argsort(lengths[order], kind="stable")]
        edges = [0]
        for place, length in enumerate(lengths[order]):
            # Sorted by length: the last of a batch is its longest.
            if place > edges[-1] and length * (place + 1 - edges[-1]) > tokens:
                edges.append(place)
        batches = np.split(order, edges[1:])
        for number in generator.permutation(len(batches)):
            (batch,) = streams.whole(samples.select(batches[number]), rows=len(batches[number]))
            yield torch.from_numpy(batch.ids), _mark(batch), True


def _without_recall(samples: Samples) -> Samples:
    return Samples.of([sample._replace(recall=None) for sample in samples])


def _mark(batch: streams.Batch) -> Tensor:
    """Targets (B, T), IGNORED where nothing is asked."""
    return torch.from_numpy(np.where(batch.valid, batch.targets, IGNORED))


def _summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over the targets that count."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")


def _count(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())
