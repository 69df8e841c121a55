"""Do new bars fit those behind them: the bars that follow, as likely after an infill as after bars sampled forward only?

    python -m benchmarks.infill [MODEL] [--tunes 40] [--particles 32]

Four bars in the middle of held-out tunes are made blank. They get back the real bars; bars sampled forward only, under
the same rules (they fill the bar and are not the old ones); one of as many forward samples drawn by what the bars that
follow say, without looking ahead; and an infill. The table shows nats a token, by the model's own ear, of the new bars,
of the four that follow (which the infill listens to) and of the four behind those (which it does not). Differences
are paired by tune; their intervals hold 95 of 100 bootstrap samples.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from hoyomusic.corpus import load_corpus
from hoyomusic.corpus.collection import CorpusTune
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.regions import REGIONS
from hoyomusic.rewriting.particles import HORIZON, Search, SearchConfig
from hoyomusic.rewriting.rewriter import Rewriter
from hoyomusic.runtime import one_thread
from hoyomusic.sampling import SamplingConfig

SPAN = 4
SEED = 1
BOOTSTRAPS = 10_000
FEWEST_BARS = 4 * SPAN

# Nats a token of the span, of the bars that follow it, and of those behind.
Row = tuple[float, float, float]


def measure(work: Rewriter, span: range) -> Row:
    """Nats a token of the span, the `HORIZON` bars behind it, and the same number behind those."""
    likelihoods = work.listener.score(work.heard.ids)
    edges = [span.start, span.stop, span.stop + HORIZON, span.stop + 2 * HORIZON]
    places = [len(work.heard.ids_before(edge)) - 1 for edge in edges]
    return tuple(-float(likelihoods[start:stop].mean()) for start, stop in zip(places, places[1:], strict=False))


def compare(generator: HoyoMusicGenerator, tune: CorpusTune, particles: int) -> dict[str, Row] | None:
    """The rows of one tune; None where its middle cannot be made blank."""
    middle = len(tune.tune.bars) // 2
    span = range(middle - SPAN, middle)
    rewriter = Rewriter(generator, tune.tune, REGIONS[tune.region])
    if not all(map(rewriter.may_change, span)):
        return None
    config = SearchConfig(particles, SEED, SamplingConfig())
    rows = {"the real bars": measure(rewriter, span)}
    search = rewriter.search(span, config)
    for blank in search.blanks:
        search.fill(blank)
    heard = -search.listen() / len(search.following)
    rows["forward only, mean"] = (float("nan"), float(heard.mean()), float("nan"))
    for name, chosen in (("forward only, one", search.particles[0]), ("forward, drawn by weight", search.choose())):
        work = Rewriter(generator, tune.tune, REGIONS[tune.region])
        work.put(span, chosen.filled)
        rows[name] = measure(work, span)
    work = Rewriter(generator, tune.tune, REGIONS[tune.region])
    work.rewrite(span, config, lambda: None)
    rows["infill"] = measure(work, span)
    return rows


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval of the mean of paired differences, by bootstrap over the tunes."""
    values = np.array(differences)
    picks = np.random.Generator(np.random.Philox(SEED)).integers(len(values), size=(BOOTSTRAPS, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--tunes", type=int, default=40)
    parser.add_argument("--particles", type=int, default=32)
    options = parser.parse_args()
    generator = HoyoMusicGenerator.load(options.model)
    held_out = [
        tune for tune in load_corpus().tunes if tune.split == "validation" and len(tune.tune.bars) >= FEWEST_BARS
    ]
    spread = held_out[:: max(1, len(held_out) // (options.tunes + options.tunes // 4))]
    began = time.process_time()
    with one_thread():
        compared = (compare(generator, tune, options.particles) for tune in spread)
        found = list(islice((rows for rows in compared if rows is not None), options.tunes))
    print(
        f"{generator.path.name}, {generator.identity[:12]}: {len(found)} held-out tunes, {SPAN} bars each,"
        f" {options.particles} particles, {time.process_time() - began:.0f} CPU seconds"
    )
    print(f"{'nats a token':<28}{'new bars':>10}{'following':>11}{'behind':>9}")
    for name in found[0]:
        means = np.nanmean([rows[name] for rows in found], axis=0) if "mean" not in name else None
        following = float(np.mean([rows[name][1] for rows in found]))
        cells = f"{'':>10}{following:>11.3f}" if means is None else "{:>10.3f}{:>11.3f}{:>9.3f}".format(*means)
        print(f"{name:<28}{cells}")
    print(f"{'infill less':<28}{'following':>10}   95 % interval")
    for name in list(found[0])[:-1]:
        mean, low, high = interval([rows["infill"][1] - rows[name][1] for rows in found])
        print(f"{name:<28}{mean:>+10.3f}   {low:+.3f} to {high:+.3f}")


if __name__ == "__main__":
    main()
