"""What whole numbers cost: nats per token and likeliest ids of the exported step, beside float32, on held-out tunes.

    python -m benchmarks.quantisation [MODEL] [--share 1] [--json]

Both steps walk through the held-out tunes of the default corpus, the same ids, regions and clocks, from fresh states.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.table import Row, format_rows, write_rows
from hoyomusic.checkpoint import find_model, load_arrays
from hoyomusic.dataset import load_dataset
from hoyomusic.export import SUFFIX, read_step
from hoyomusic.runtime import NumpyRuntime, Runtime, fold, run_step
from hoyomusic.samples import Sample
from hoyomusic.streams import whole
from hoyomusic.vocab import Vocabulary

ROWS = 64


def walk(runtime: Runtime, samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Nats that each id of the samples costs, and the likeliest id in its place, both (tokens,)."""
    nats, likeliest = [], []
    for batch in whole(samples, rows=ROWS):
        state = runtime.start(len(batch.ids))
        for step in range(batch.ids.shape[1]):
            given = batch.ids[:, step], batch.region[:, step], batch.clock[:, step]
            logits, state = runtime.step(*given, state, batch.recall[:, step])
            counted = batch.valid[:, step]
            exact = logits[counted].astype(np.float64)
            exact -= exact.max(axis=1, keepdims=True)
            asked = batch.targets[:, step][counted]
            nats.append(np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(len(asked)), asked])
            likeliest.append(exact.argmax(axis=1))
    return np.concatenate(nats), np.concatenate(likeliest)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--share", type=int, default=1, help="every so many-th held-out tune")
    parser.add_argument("--json", action="store_true", help="the figures as one object on the last line")
    parser.add_argument("--rows", type=Path, help="keep the table in this file too")
    options = parser.parse_args(arguments)
    path = find_model(options.model)
    checkpoint, step = load_arrays(path), read_step(path.with_suffix(SUFFIX))
    samples = list(load_dataset(Vocabulary.from_dict(checkpoint.vocab)).validation)[:: options.share]
    exact, first = walk(NumpyRuntime(fold(checkpoint.weights), exact=False), samples)
    rounded, second = walk(run_step(step), samples)
    less = rounded - exact
    error = less.std() / np.sqrt(len(less))
    changed = float((first != second).mean())
    size = path.with_suffix(SUFFIX).stat().st_size / path.stat().st_size
    rows = [
        Row("nats a token in whole numbers, less float32", float(less.mean()), goal=0.001, unit="nats", at_most=True),
        Row("likeliest ids that change", 100 * changed, goal=1.0, unit="%", at_most=True),
        Row("size of the export, of the model", size, goal=0.27, unit="of its bytes", at_most=True),
    ]
    print(format_rows(rows))
    print(f"{len(less):,} tokens of {len(samples)} tunes: {exact.mean():.4f} nats in float32; std. error {error:.5f}")
    if options.rows:
        write_rows(rows, options.rows)
    if options.json:
        found = {"nats_over_fp32": float(less.mean()), "error": float(error), "changed": changed, "size": size}
        print(json.dumps({name: round(value, 6) for name, value in found.items()}))


if __name__ == "__main__":
    main()
