"""The model as a listener: the one place that steps it, and how likely it finds what it hears."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hoyomusic.grammar import clocks
from hoyomusic.recall import SOURCES, remember
from hoyomusic.runtime import Runtime
from hoyomusic.vocab import Vocabulary


class Memory:
    """What one row of a model has heard: its `ids`, from ``<s>`` on, and what its own past suggests (see `recall`).

    `told` (SOURCES, 2) are guesses and agreements, as the model takes them.
    """

    def __init__(self, vocabulary: Vocabulary, ids: Sequence[int] = ()) -> None:
        self.ids = list(ids)
        self._vocabulary = vocabulary
        self._memories = remember(vocabulary, 1)
        self.told = self._memories.take_all(self.ids)[-1] if self.ids else np.zeros((SOURCES, 2), np.int64)

    def take(self, index: int) -> None:
        """Hear the next id."""
        self.ids.append(index)
        [self.told] = self._memories.take([index])

    def copy(self) -> Memory:
        """Another row that has heard the same: it hears all of it again, which is quicker than to copy."""
        return Memory(self._vocabulary, self.ids)


class Listener:
    """A model that hears the nation of this `label`."""

    def __init__(self, runtime: Runtime, vocabulary: Vocabulary, label: int) -> None:
        self.runtime = runtime
        self.vocabulary = vocabulary
        self.label = label

    def feed(self, memories: Sequence[Memory], clock: Sequence[int], state: Any) -> tuple[np.ndarray, Any]:
        """Logits (B, V) of what follows the ids of each row (B,), and the new state.

        `clock` (B,) stands beside their last ids; `state` has heard all ids but those.
        """
        last = np.array([memory.ids[-1] for memory in memories])
        told = np.stack([memory.told for memory in memories])
        return self.runtime.step(last, np.full(len(last), self.label), np.array(clock), state, told)

    def read(self, ids: Sequence[int], clock: Sequence[int]) -> tuple[np.ndarray, Memory, np.ndarray, Any]:
        """One row hears `ids` (T,): log-likelihoods (T - 1,) float64 behind the first, memory, logits (1, V), state."""
        memory, logits, state = Memory(self.vocabulary), None, self.runtime.start(1)
        likelihoods = np.empty(len(ids) - 1)
        for place, index in enumerate(ids):
            if place:
                likelihoods[place - 1] = logits[0, index] - log_sum(logits)[0]
            memory.take(index)
            logits, state = self.feed([memory], [clock[place]], state)
        return likelihoods, memory, logits, state

    def score(self, ids: Sequence[int]) -> np.ndarray:
        """The log-likelihood (T - 1,) float64 of each id of a whole tune behind ``<s>``."""
        return self.read(ids, clocks(self.vocabulary, ids))[0]


def log_sum(logits: np.ndarray) -> np.ndarray:
    """log(sum(exp(logits))) over the last axis, in float64."""
    exact = logits.astype(np.float64)
    highest = exact.max(axis=-1, keepdims=True)
    return np.log(np.exp(exact - highest).sum(axis=-1)) + highest[..., 0]

