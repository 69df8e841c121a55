"""What the grammar costs beside the model: mask and advance against one step of the runtime, a token.

    python -m benchmarks.grammar

Grammar, model (with its recall) and sampling are timed on the same tunes, token by token and in turn, so that a
busy machine slows all alike; the ratio of their medians is what to read. The first batch of tunes is told apart: it
finds the grammar's tables empty, all others find what tunes before them left there.
"""

from __future__ import annotations

import time
from statistics import mean, median

import numpy as np

from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.grammar import Grammar, Phase, Wish
from hoyomusic.grammar.notes import build_notes
from hoyomusic.recall import Recall
from hoyomusic.runtime import one_thread
from hoyomusic.sampling import SamplingConfig, sample

# Streams a batch, and tunes of it that are timed behind the first batch.
BATCHES = {1: 24, 8: 32, 64: 64}
WISHES = {"16 bars": Wish(bars=16), "200 tokens": Wish(length=200)}
PARTS = ("grammar", "model", "sampling")


def main() -> None:
    generator = HoyoMusicGenerator.load("default")
    for name, wish in WISHES.items():
        for batch, tunes in BATCHES.items():
            build_notes.cache_clear()
            grammar = Grammar(generator.vocabulary, wish)
            with one_thread():
                cold = time_batch(generator, grammar, batch, first=0)
                warm: list[dict[str, float]] = []
                for first in range(batch, batch + tunes, batch):
                    warm += time_batch(generator, grammar, batch, first)
            model = median(step["model"] for step in warm)
            print(f"{name}, batch {batch}: microseconds of CPU time a token, {len(warm) * batch} tokens")
            print("            cold mean   warm median    warm mean   share of the model's step")
            for part in PARTS:
                found = [step[part] for step in warm]
                first = mean(step[part] for step in cold)
                share = median(found) / model
                print(f"{part:<10}{first:>11.1f}{median(found):>14.1f}{mean(found):>13.1f}{share:>12.3f}")


def time_batch(generator: HoyoMusicGenerator, grammar: Grammar, batch: int, first: int) -> list[dict[str, float]]:
    """What each step of a batch of tunes cost a token, until the first of them has ended."""
    tunes = list(range(first, first + batch))
    states = [grammar.start() for _ in tunes]
    recalls = [Recall(grammar.vocabulary) for _ in tunes]
    memory, step = generator.runtime.start(batch), 0
    ids = np.full(batch, grammar.vocabulary.ids["<s>"])
    found = []
    while True:
        step += 1
        marks = [time.process_time()]
        grammar.advance_all(states, ids.tolist())
        clocks = [grammar.clock(state) for state in states]
        if any(state.phase is Phase.DONE for state in states):
            return found
        masks = grammar.masks(states)
        marks.append(time.process_time())
        for recall, index in zip(recalls, ids.tolist(), strict=True):
            recall.take(index)
        told = np.array([recall.told() for recall in recalls])
        logits, memory = generator.runtime.step(ids, np.ones(batch, int), np.array(clocks), memory, told)
        marks.append(time.process_time())
        ids = sample(logits, masks, SamplingConfig(), seed=1, tunes=tunes, step=step)
        marks.append(time.process_time())
        found.append(
            {part: 1e6 * (end - start) / batch for part, start, end in zip(PARTS, marks, marks[1:], strict=False)}
        )


if __name__ == "__main__":
    main()
