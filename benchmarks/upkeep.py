"""What a token and a tune cost besides the network's step: ``python -m benchmarks.upkeep``

A model steps so that the tunes are real ones, but its time is left out. Told are microseconds of process CPU time
a token for what the grammar allows, the draw, taking the id, the clock and recall, and milliseconds a tune of some
400 tokens for decoding, the melody's score, the arrangement (which holds one) and the MIDI file. "Cold" is the first
tune of a process, which finds the grammar's tables empty; all others find what tunes before them left there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

# Before numpy is loaded: its threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from hoyomusic import sampling
from hoyomusic.arrangement import arrange
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.grammar import Grammar, Phase, Wish
from hoyomusic.grammar.notes import build_notes
from hoyomusic.recall import remember
from hoyomusic.regions import find_region
from hoyomusic.render import midi
from hoyomusic.runtime import one_thread
from hoyomusic.score import perform

LENGTH = 400
# Streams at once, and how many batches of them are made.
BATCHES = {1: 12, 8: 3, 64: 1, 256: 1}
TOKEN_PARTS = ("choices", "draw", "take", "clock", "recall")
TUNE_PARTS = ("decode", "perform", "arrange", "MIDI")


class Stopwatch:
    """CPU seconds spent in each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count what runs inside to `part`."""
        began = time.process_time()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - began


def main() -> None:
    generator = HoyoMusicGenerator.load("default")
    wish, made = Wish(length=LENGTH), []
    print("microseconds of CPU time a token")
    print("streams ".ljust(10) + "".join(part.rjust(10) for part in TOKEN_PARTS) + "all".rjust(10))
    with one_thread():
        for streams, batches in BATCHES.items():
            rows = []
            for batch in range(batches):
                if streams == 1 and not batch:
                    build_notes.cache_clear()
                seconds, tunes = make_tunes(generator, Grammar(generator.vocabulary, wish), streams, batch * streams)
                made += tunes
                tokens = sum(map(len, tunes))
                rows.append([1e6 * seconds[part] / tokens for part in TOKEN_PARTS])
            if streams == 1:
                print_row("1, cold", rows.pop(0))
            print_row(str(streams), [median(column) for column in zip(*rows, strict=True)])
    rows = [time_tune(generator, ids) for ids in made[: BATCHES[1]] * 3]
    print(f"milliseconds of CPU time a tune of {round(median(map(len, made)))} tokens")
    print(" " * 10 + "".join(part.rjust(10) for part in TUNE_PARTS))
    print("".ljust(10) + "".join(f"{median(column):10.2f}" for column in zip(*rows, strict=True)))


def print_row(name: str, values: list[float]) -> None:
    print(name.ljust(10) + "".join(f"{value:10.1f}" for value in (*values, sum(values))))


def make_tunes(
    generator: HoyoMusicGenerator, grammar: Grammar, streams: int, first: int
) -> tuple[dict[str, float], list[list[int]]]:
    """So many tunes made together, numbered from `first`: seconds spent in each part, and their ids."""
    watch, config = Stopwatch(), sampling.SamplingConfig()
    start = grammar.vocabulary.ids["<s>"]
    numbers = list(range(first, first + streams))
    ids: list[list[int]] = [[] for _ in numbers]
    states, memories = [grammar.start() for _ in numbers], remember(grammar.vocabulary, streams)
    rows, network, chosen = list(range(streams)), generator.runtime.start(streams), [start] * streams
    while rows:
        with watch.time("take"):
            for row, index in zip(rows, chosen, strict=True):
                ids[row].append(index)
                grammar.advance(states[row], index)
        with watch.time("recall"):
            told = memories.take(chosen)
        with watch.time("clock"):
            clock = np.array([grammar.clock(states[row]) for row in rows])
        logits, network = generator.runtime.step(np.array(chosen), np.ones(len(rows), int), clock, network, told)
        with watch.time("choices"):
            going_on = [at for at, row in enumerate(rows) if states[row].phase is not Phase.DONE]
            if len(going_on) < len(rows):
                rows = [rows[at] for at in going_on]
                memories.select(going_on)
            choices = [grammar.choices(states[row]) for row in rows]
        if len(going_on) < len(logits):
            logits, network = logits[going_on], generator.runtime.select(network, going_on)
        if rows:
            tunes, step = [numbers[row] for row in rows], len(ids[rows[0]])
            with watch.time("draw"):
                chosen = sampling.draw(logits, choices, config, seed=1, tunes=tunes, step=step).tolist()
    return watch.seconds, ids


def time_tune(generator: HoyoMusicGenerator, ids: list[int]) -> list[float]:
    """Milliseconds for each part of what is done for a whole tune."""
    watch, region = Stopwatch(), find_region("Mondstadt")
    with watch.time("decode"):
        tune = generator.vocabulary.decode(ids)
    with watch.time("perform"):
        perform(tune)
    with watch.time("arrange"):
        score = arrange(tune, region)
    with watch.time("MIDI"):
        midi.to_bytes(score)
    return [1e3 * watch.seconds[part] for part in TUNE_PARTS]


if __name__ == "__main__":
    main()
