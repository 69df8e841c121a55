"""How far two sets of tunes lie from each other, beside what chance alone would give."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import log2
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

# How often chance is asked.
DRAWS = 8


@dataclass(frozen=True, slots=True)
class Distance:
    """The distance of generated from real tunes, and the mean one of two random parts of the real tunes.

    The parts hold as many tunes as were compared (fewer, where there are not so many).
    """

    found: float
    chance: float

    @property
    def ratio(self) -> float | None:
        """How many times farther than chance; None where all real tunes are alike."""
        return self.found / self.chance if self.chance else None


def beside_chance(
    generated: Sequence[Item],
    reference: Sequence[Item],
    pool: Sequence[Item],
    measure: Callable[[Sequence[Item], Sequence[Item]], float],
    seed: int,
) -> Distance:
    """`measure(generated, reference)`, and the mean of it over random parts of the `pool` of real tunes.

    The two parts are disjoint and as large as `generated` and `reference`; where the pool holds fewer, it
    is cut in that proportion. The pool must hold at least two.
    """
    sizes = len(generated), len(reference)
    if sum(sizes) > len(pool):
        first = min(max(1, round(len(pool) * sizes[0] / sum(sizes))), len(pool) - 1)
        sizes = first, len(pool) - first
    chances = []
    for draw in range(DRAWS):
        mixed = [pool[index] for index in shuffle(len(pool), seed, f"parts {draw}")[: sum(sizes)]]
        chances.append(measure(mixed[: sizes[0]], mixed[sizes[0] :]))
    return Distance(measure(generated, reference), float(np.mean(chances)))


def shuffle(count: int, seed: int, what: str) -> list[int]:
    """The numbers below `count` in an order that hangs on the arguments alone."""
    digest = hashlib.sha256(f"{seed}/{what}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return generator.permutation(count).tolist()


def measure_divergence(one: Counter[Hashable], other: Counter[Hashable]) -> float:
    """The Jensen-Shannon divergence of two histograms in bits, 0 to 1 (Lin 1991); 0 where one is empty."""
    if not one.total() or not other.total():
        return 0.0

    def inform(counts: Counter[Hashable]) -> float:
        found = 0.0
        for kind, count in counts.items():
            share = count / counts.total()
            found += share * log2(2 * share / (one[kind] / one.total() + other[kind] / other.total()))
        return found

    return (inform(one) + inform(other)) / 2


def measure_shift(one: Sequence[float], other: Sequence[float]) -> float:
    """The first Wasserstein distance of two samples: by how much values must move on average to make them alike."""
    if not one or not other:
        return 0.0
    first, second = np.sort(np.array(one, float)), np.sort(np.array(other, float))
    edges = np.sort(np.concatenate((first, second)))
    below = [np.searchsorted(values, edges[:-1], side="right") / len(values) for values in (first, second)]
    return float(np.abs(below[0] - below[1]) @ np.diff(edges))
