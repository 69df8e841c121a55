"""What the grammar costs beside the model: mask and advance against one step of the runtime, a token, one stream.

    python -m benchmarks.grammar

Both are timed on the same tunes, token by token and in turn, so that a busy machine slows both alike;
the ratio of their medians is what to read.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.grammar import Grammar, Phase, Wish
from hoyomusic.runtime import one_thread
from hoyomusic.sampling import SamplingConfig, sample

TUNES = 12


def main() -> None:
    generator = HoyoMusicGenerator.load("default")
    grammar = Grammar(generator.vocabulary, Wish(bars=16))
    costs: dict[str, list[float]] = {"grammar": [], "model": [], "sampling": []}

    def timed(what: str, began: float) -> None:
        costs[what].append(time.process_time() - began)

    with one_thread():
        for tune in range(TUNES):
            state, memory = grammar.start(), generator.runtime.start(1)
            index, step = grammar.vocabulary.ids["<s>"], 0
            while True:
                began = time.process_time()
                grammar.advance(state, index)
                clock = grammar.clock(state)
                if state.phase is Phase.DONE:
                    break
                mask = grammar.mask(state)
                timed("grammar", began)
                began = time.process_time()
                logits, memory = generator.runtime.step(np.array([index]), np.array([1]), np.array([clock]), memory)
                timed("model", began)
                began = time.process_time()
                step += 1
                chosen = sample(logits, mask[None], SamplingConfig(), seed=1, tunes=[tune], step=step)
                timed("sampling", began)
                index = int(chosen[0])
    tokens = len(costs["model"])
    medians = {name: 1e6 * median(values) for name, values in costs.items()}
    means = {name: 1e6 * sum(values) / tokens for name, values in costs.items()}
    print(f"{tokens} tokens of {TUNES} tunes, microseconds of CPU time a token: median (mean)")
    for name in costs:
        share = medians[name] / medians["model"]
        print(f"{name:<10}{medians[name]:>8.1f} ({means[name]:.1f})   {share:.3f} of the model's step")


if __name__ == "__main__":
    main()
