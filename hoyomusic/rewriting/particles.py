"""A search with particles: notes for some bars, so that what stands behind those bars is likely as well.

The model reads forward only, so that nothing it says about a bar knows of the bars behind it. Many candidates
(particles) are therefore sampled side by side, bar by bar, and each carries a weight: the probability that the
model gave to what was not free (bar lines, signs, that the bar adds up) and, at the end, to the bars that
follow. By these weights one is drawn. Where at a bar line few particles hold most of the weight, as in long
spans, all go on from copies of the heavy ones (systematic resampling; Doucet & Johansen 2009, "A tutorial on
particle filtering and smoothing"). What this brings is measured in `benchmarks.infill`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hoyomusic import sampling
from hoyomusic.grammar import clocks
from hoyomusic.rewriting.filling import Filler, Pitched, Place
from hoyomusic.rewriting.hearing import HeardBar, HeardTune
from hoyomusic.rewriting.listening import Listener, Memory, log_sum
from hoyomusic.sampling import SamplingConfig
from hoyomusic.vocab.tokens import Kind

# Streams of random numbers besides 0, that of composing.
NOTES_STREAM, RESAMPLING_STREAM, CHOICE_STREAM = 1, 2, 3

# Draws of one bar come from a block of steps of its own; a bar of 64ths with chords and ties stays below it.
STEPS_PER_BAR = 4096

# How many bars behind the span are listened to.
HORIZON = 4


@dataclass(frozen=True)
class Blank:
    """One bar to be filled: which bar of the tune, by which automaton, and what its surroundings ask of it.

    `owed` are pitches that a tie has promised to its first note; `may_tie_on` lets its last note be tied into the
    next blank; `liked` maps ticks since its first note to pitches that are favoured there.
    """

    bar: int
    filler: Filler
    owed: tuple[Pitched, ...] = ()
    may_tie_on: bool = False
    liked: Mapping[int, Pitched] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How to search: `count` particles, `seed`, how ids are chosen, and by how many nats liked pitches are favoured."""

    count: int
    seed: int
    sampling: SamplingConfig
    favour: float = 0.0


@dataclass
class Particle:
    """One candidate: what it has heard, its `place` in the bar, the ids of the bars `filled`, and its log `weight`."""

    memory: Memory
    place: Place
    filled: list[tuple[int, ...]]
    weight: float = 0.0

    def copy(self) -> Particle:
        """Another candidate that has come the same way; its weight begins anew."""
        return Particle(self.memory.copy(), self.place, list(self.filled))


class Search:
    """The candidates for consecutive `blanks` of a tune, moved on by a model that listens."""

    def __init__(
        self, listener: Listener, tune: HeardTune, blanks: Sequence[Blank], config: SearchConfig
    ) -> None:
        self._listener = listener
        self._tune = tune
        self.blanks = blanks
        self._config = config
        self._tokens = tune.vocabulary.tokens
        self._known_clocks = clocks(tune.vocabulary, tune.ids)
        self._new_clocks: dict[tuple[int, int, bool], int] = {}
        before = tune.ids_before(blanks[0].bar)
        last = blanks[-1].bar
        following = [index for bar in tune.bars[last + 1 : last + 1 + HORIZON] for index in bar.ids]
        self.following = following or [tune.vocabulary.ids["</s>"]]
        self._clocks_behind = self._known_clocks[len(tune.ids_before(last + 1)) :]
        _, memory, logits, state = listener.read(before, self._known_clocks)
        self.particles = [Particle(memory.copy(), Place(0), []) for _ in range(config.count)]
        rows = [0] * config.count
        self._logits, self._state = logits[rows], listener.runtime.select(state, rows)

    def run(self, on_bar: Callable[[], None]) -> list[tuple[int, ...]]:
        """The ids of the notes for each blank, those of the particle that is drawn; `on_bar` is called after each."""
        for number, blank in enumerate(self.blanks):
            self.fill(blank)
            on_bar()
            if number + 1 < len(self.blanks):
                self._resample(blank.bar)
        return self.choose().filled

    def _clock(self, particle: Particle, blank: Blank) -> int:
        """The clock beside the last id of a particle; it hangs on the bar and the ticks that have sounded alone."""
        waiting = self._tokens[particle.memory.ids[-1]].kind is Kind.LENGTH
        key = (blank.bar, particle.place.room, waiting)
        if key not in self._new_clocks:
            ids = particle.memory.ids
            rest = [self._tune.bars[blank.bar].end, *self._tune.ids[len(self._tune.ids_before(blank.bar + 1)) :]]
            self._new_clocks[key] = clocks(self._tune.vocabulary, ids + rest)[len(ids) - 1]
        return self._new_clocks[key]

    # ------------------------------------------------------------------ one bar

    def fill(self, blank: Blank) -> None:
        """Move every particle over one bar, its signs and its bar line."""
        bar = self._tune.bars[blank.bar]
        signs = len(self._tune.ids_before(blank.bar))
        self._take_given(bar.signs, self._known_clocks[signs : signs + len(bar.signs)])
        for particle in self.particles:
            particle.place = Place(bar.length, owed=particle.place.owed or blank.owed)
            particle.filled.append(())
        done: dict[int, tuple[np.ndarray, Any, int]] = {}
        rows, logits, state = list(range(len(self.particles))), self._logits, self._state
        step = STEPS_PER_BAR * blank.bar
        end_clock = self._known_clocks[signs + len(bar.ids) - 1]
        while rows:
            chosen = self._choose_ids(blank, bar, rows, logits, step)
            clock = []
            for row, index in zip(rows, chosen, strict=True):
                particle = self.particles[row]
                particle.memory.take(index)
                if index == bar.end:
                    clock.append(end_clock)
                    continue
                particle.filled[-1] += (index,)
                particle.place = blank.filler.advance(particle.place, index)
                clock.append(self._clock(particle, blank))
            logits, state = self._listener.feed([self.particles[row].memory for row in rows], clock, state)
            for at, (row, index) in enumerate(zip(rows, chosen, strict=True)):
                if index == bar.end:
                    done[row] = logits[at], state, at
            going_on = [at for at, index in enumerate(chosen) if index != bar.end]
            if 0 < len(going_on) < len(rows):
                logits, state = logits[going_on], self._listener.runtime.select(state, going_on)
            rows = [rows[at] for at in going_on]
            step += 1
        self._logits = np.stack([done[row][0] for row in range(len(self.particles))])
        self._state = self._listener.runtime.gather([done[row][1:] for row in range(len(self.particles))])

    def _choose_ids(
        self, blank: Blank, bar: HeardBar, rows: list[int], logits: np.ndarray, step: int
    ) -> list[int]:
        """The next id of each particle of `rows`; their weights take in what the model gave to all that is allowed."""
        masks = np.stack([self._mask(blank, bar, self.particles[row]) for row in rows])
        allowed = np.where(masks, logits, -np.inf)
        for row, mass in zip(rows, log_sum(allowed) - log_sum(logits), strict=True):
            self.particles[row].weight += float(mass)
        if self._config.favour:
            logits = logits.copy()
            for at, row in enumerate(rows):
                self._favour(blank, bar, self.particles[row], logits[at])
        chosen = sampling.sample(
            logits, masks, self._config.sampling, seed=self._config.seed, tunes=rows, step=step, stream=NOTES_STREAM
        )
        return [int(index) for index in chosen]

    def _mask(self, blank: Blank, bar: HeardBar, particle: Particle) -> np.ndarray:
        """What may come next: anything that fills the bar, but not the notes that stood in it before."""
        mask = blank.filler.mask(particle.place, bar.end, may_tie_on=blank.may_tie_on)
        old = bar.notes[:-1] if bar.notes and self._tokens[bar.notes[-1]].kind is Kind.TIE else bar.notes
        if old and particle.filled[-1] == old[:-1] and mask[old[-1]] and mask.sum() > 1:
            mask = mask.copy()
            mask[old[-1]] = False
        return mask

    def _favour(self, blank: Blank, bar: HeardBar, particle: Particle, logits: np.ndarray) -> None:
        """Raise, in place, the logits of the notes and pitches that are liked where the particle stands."""
        liked = blank.liked.get(bar.length - particle.place.room)
        if liked is not None and not particle.place.joining:
            logits[blank.filler.notes_of(liked)] += np.float32(self._config.favour)

    def _take_given(self, ids: Sequence[int], clock: Sequence[int]) -> None:
        """Let every particle take ids that are not free; their likelihood goes into the weights."""
        for index, beside in zip(ids, clock, strict=True):
            likelihood = self._logits[:, index] - log_sum(self._logits)
            for particle, nats in zip(self.particles, likelihood, strict=True):
                particle.memory.take(index)
                particle.weight += float(nats)
            memories = [particle.memory for particle in self.particles]
            self._logits, self._state = self._listener.feed(memories, [beside] * len(memories), self._state)

    # ------------------------------------------------------------------ weights

    def listen(self) -> np.ndarray:
        """The log-likelihood (particles,) of the bars that follow the span."""
        logits, state = self._logits, self._state
        memories = [particle.memory.copy() for particle in self.particles]
        found = np.zeros(len(memories))
        for place, index in enumerate(self.following):
            found += logits[:, index] - log_sum(logits)
            if place + 1 < len(self.following):
                for memory in memories:
                    memory.take(index)
                logits, state = self._listener.feed(memories, [self._clocks_behind[place]] * len(memories), state)
        return found

    def _resample(self, bar: int) -> None:
        """Where the weights are worth less than half of the particles, go on from copies of the heavy ones."""
        weights = self._whole_weights()
        total, count = int(weights.sum()), len(weights)
        if 2 * total**2 >= count * sum(int(weight) ** 2 for weight in weights):
            return
        rows = resample(weights, sampling.random_word(self._config.seed, bar, 0, RESAMPLING_STREAM))
        self.particles = [self.particles[row].copy() for row in rows]
        self._logits, self._state = self._logits[rows], self._listener.runtime.select(self._state, rows)

    def _whole_weights(self) -> np.ndarray:
        """The weights (particles,) as whole numbers, the heaviest 2^30."""
        nats = np.array([particle.weight for particle in self.particles])
        distances = np.minimum(np.floor((nats.max() - nats) * sampling.STEPS_PER_NAT + 0.5), sampling.TABLE_SIZE)
        return sampling.weights_table()[distances.astype(np.int64)]

    def choose(self) -> Particle:
        """One particle, drawn by its weight with the likelihood of the bars that follow in it."""
        for particle, nats in zip(self.particles, self.listen(), strict=True):
            particle.weight += float(nats)
        nats = np.array([[particle.weight for particle in self.particles]], np.float32)
        bar = self.blanks[0].bar
        (row,) = sampling.sample(
            nats - nats.max(), np.ones_like(nats, bool), SamplingConfig(),
            seed=self._config.seed, tunes=[0], step=bar, stream=CHOICE_STREAM,
        )  # fmt: skip
        return self.particles[int(row)]


def resample(weights: np.ndarray, word: int) -> list[int]:
    """As many rows as there are whole `weights` (N,), each about N times its share often; `word` is 32 random bits.

    Points at equal distances are laid on the line of all weights, the first of them drawn (systematic resampling): no
    row is missing or doubled by more than one. In whole numbers, so that it is the same on every machine.

    >>> resample(np.array([3, 0, 1, 0]), 2**31)
    [0, 0, 0, 2]
    """
    count, total, sums = len(weights), int(weights.sum()), weights.cumsum()
    points = [(place * sampling.WORD + word) * total // (count * sampling.WORD) for place in range(count)]
    return [int(sums.searchsorted(point, side="right")) for point in points]
