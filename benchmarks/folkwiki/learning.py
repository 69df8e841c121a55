"""Training within a budget of CPU seconds, resumable after each epoch; the average of the weights is what is scored."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks.folkwiki.data import Material
from benchmarks.folkwiki.network import Network, NetworkConfig
from benchmarks.folkwiki.tokens import START
from hoyomusic import streams
from hoyomusic.streams import Batch

IGNORED = -100


@dataclass(frozen=True)
class Plan:
    """How to train. The learning rate falls in a straight line over the budget, to `floor` of what it was.

    For the share `mixed` of the budget an epoch is all folkwiki tunes and as many ids of other tunes; after
    that, and where there are no others, folkwiki tunes alone. `averaging` is the share of the averaged
    weights that a step keeps.
    """

    cpu_seconds: float
    learning_rate: float = 3e-3
    floor: float = 0.02
    warm_up: float = 0.02
    rows: int = 32
    steps: int = 32
    weight_decay: float = 0.02
    clip: float = 1.0
    averaging: float = 0.998
    mixed: float = 0.5
    seed: int = 0

    def rate(self, spent: float) -> float:
        """The learning rate when so large a share of the budget is spent."""
        if spent < self.warm_up:
            return self.learning_rate * (0.1 + 0.9 * spent / self.warm_up)
        return self.learning_rate * max(self.floor, 1 - (spent - self.warm_up) / (1 - self.warm_up))


@dataclass(frozen=True)
class Progress:
    """Where a run stands after an epoch; losses are nats per token of what is named."""

    epoch: int
    steps: int
    tokens: int
    cpu_seconds: float
    training: float
    development: float
    development_without_averaging: float


def train(
    config: NetworkConfig, material: dict[str, Material], plan: Plan, path: Path, report: Callable[[Progress], None],
    clock: Callable[[], float] = time.process_time,
) -> tuple[Network, Network]:
    """The averaged network and the last one.

    `path` keeps the state after each epoch; a run that finds one goes on from it. `clock` tells the seconds
    that the budget counts.
    """
    network = Network(config, seed=plan.seed).train()
    average = copy.deepcopy(network).requires_grad_(False).eval()
    matrices = [weight for weight in network.parameters() if weight.dim() > 1]
    vectors = [weight for weight in network.parameters() if weight.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
        lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True,
    )
    epoch = steps = tokens = 0
    spent = 0.0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        epoch, steps, tokens, spent = (saved[name] for name in ("epoch", "steps", "tokens", "spent"))
    learning, judging = material["training"], material["development"]
    parameters = list(network.parameters())
    while spent < plan.cpu_seconds:
        packed = streams.pack(
            _choose(learning, plan, epoch, spent), rows=plan.rows, steps=plan.steps, seed=plan.seed, epoch=epoch,
            boundary_id=START,
        )
        state, losses, counts = None, 0.0, 0
        for segment in range(len(packed)):
            began = clock()
            batch = packed[segment]
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(spent / plan.cpu_seconds)
            drawn = np.random.SeedSequence((plan.seed, epoch, segment)).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(drawn[0]))
            logits, state = network(
                *_inputs(learning, batch), state, valid=_time_first(batch.valid), reset=_time_first(batch.reset),
                generator=generator,
            )
            targets = _time_first(np.where(batch.valid, batch.targets, IGNORED))
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, plan.clip)
            optimizer.step()
            state = tuple(part.detach() for part in state)
            steps += 1
            _average(average, network, min(plan.averaging, (1 + steps) / (10 + steps)))
            losses, counts = losses + float(loss.detach()) * batch.tokens, counts + batch.tokens
            spent += clock() - began
            if spent >= plan.cpu_seconds:
                break
        epoch, tokens = epoch + 1, tokens + counts
        report(Progress(
            epoch, steps, tokens, spent, losses / counts, nats_per_token(average, judging),
            nats_per_token(network, judging),
        ))
        network.train()
        _save(path, network, average, optimizer, epoch=epoch, steps=steps, tokens=tokens, spent=spent)
    return average, network


def _choose(learning: Material, plan: Plan, epoch: int, spent: float) -> list[streams.Sample]:
    """The tunes of an epoch."""
    folkwiki = [each for each, ours in zip(learning.samples, learning.from_folkwiki, strict=True) if ours]
    others = [each for each, ours in zip(learning.samples, learning.from_folkwiki, strict=True) if not ours]
    if not others or spent >= plan.mixed * plan.cpu_seconds:
        return folkwiki
    # Tunes in one order for the whole run, taken up where the last epoch ended.
    order = np.random.Generator(np.random.Philox(plan.seed)).permutation(len(others))
    sizes = np.cumsum([len(others[index].ids) for index in order])
    wanted = sum(len(each.ids) for each in folkwiki)
    places = (sizes - sizes[0] - epoch * wanted) % sizes[-1]
    return folkwiki + [others[index] for index in order[places < wanted]]


def _save(path: Path, network: Network, average: Network, optimizer: torch.optim.Optimizer, **counts: float) -> None:
    part = path.with_suffix(".part")
    torch.save(
        {
            "network": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
            "config": asdict(network.config), **counts,
        },
        part,
    )
    part.replace(path)


@torch.no_grad()
def _average(average: Network, network: Network, kept: float) -> None:
    for mean, weight in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        mean.lerp_(weight, 1 - kept)


def _time_first(part: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(part.T))


def _inputs(material: Material, batch: Batch) -> tuple[torch.Tensor, ...]:
    """The network's inputs: the ids, and the rows of the material that the batch's clock names."""
    rows = batch.clock.T
    looked_up = (torch.from_numpy(part[rows].astype(np.int64)) for part in (
        material.context, material.candidates, material.strengths,
    ))
    return _time_first(batch.ids), *looked_up


@torch.no_grad()
def score(network: Network, material: Material, rows: int = 32) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For some tunes at a time: positions in `material` (N,), and log-probabilities (N, V) of what follows each."""
    network.eval()
    for batch in streams.whole(material.samples, rows=rows):
        logits, _ = network(*_inputs(material, batch))
        chosen = torch.from_numpy(np.ascontiguousarray(batch.valid.T))
        yield batch.clock.T[batch.valid.T], torch.log_softmax(logits[chosen], 1).numpy()


def nats_per_token(network: Network, material: Material) -> float:
    """The mean loss over every id behind the first of each tune."""
    losses = [-logs[np.arange(len(at)), material.ids[at + 1]] for at, logs in score(network, material)]
    return float(np.concatenate(losses).mean())
