"""Learning curves: nats per token and per note after so many CPU seconds, ours and others', three seeds.

    python -m benchmarks.curves --seconds 200 --seeds 3 [--out curves.jsonl] [--json]
    python -m benchmarks.curves --search 40 --network "GPT-2 style"

All learn from the same ids of the default corpus, one thread, taking turns of some ten CPU seconds in one process, so
that a busy machine hits all alike, and are measured on the same held-out tunes. Ours is trained as `hoyo train` does:
constant learning rate, averaged weights. The peers get a schedule made for the whole budget, and so are at their
best at its end alone. `--out` keeps each point as it comes; what it already holds whole is not measured again. The
picture goes to ``benchmarks/pictures``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.curves.learners import Recipe, gather_material
from benchmarks.curves.points import (
    Point,
    draw_points,
    follow,
    format_points,
    keep_point,
    make_rows,
    read_points,
    write_point,
)
from benchmarks.plots import keep_picture
from benchmarks.table import write_rows
from hoyomusic.dataset import load_dataset
from hoyomusic.device import tune_allocator
from hoyomusic.fit import FitConfig
from hoyomusic.recall import SOURCES
from hoyomusic.training import TrainingConfig
from hoyomusic.vocab import Vocabulary

MARKS = (25.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
BRIEF_SECONDS = 30.0
# Of the held-out tunes, every fourth: some 13,000 tokens.
VALIDATION_SHARE = 4
# What `--search` multiplies learning rates with.
SEARCHED = (0.5, 1.0, 2.0)

OURS = Recipe("ours", FitConfig().learning_rate, TrainingConfig().dropout, FitConfig().rows, FitConfig().steps)
# The product; the network alone; the same with layer normalisation; and others of its size, in which recall has no
# place. Each peer has the best of the learning rates tried.
RECIPES = {
    "ours": replace(OURS, recalls=SOURCES),
    "ours, no recall": OURS,
    "LayerNorm": replace(OURS, norm="layer"),
    "plain LSTM": Recipe("folk_rnn", 1.5e-3),
    "GPT-2 style": Recipe("transformer", 1e-3),
}


def run(
    recipes: dict[str, Recipe], seconds: float, seeds: int, out: Path | None
) -> list[Point]:
    """The points of all recipes and seeds; those that `out` holds whole are read, the others added to it."""
    tune_allocator()
    torch.set_num_threads(1)
    vocabulary = Vocabulary.build("fused")
    material = gather_material(load_dataset(vocabulary), vocabulary, VALIDATION_SHARE)
    points = read_points(out) if out else []
    for seed in range(seeds):
        done = {point.network for point in points if (point.seed, point.seconds) == (seed, seconds)}
        left = {name: recipe for name, recipe in recipes.items() if name not in done}
        points = [point for point in points if point.seed != seed or point.network not in left]
        for point in follow(left, material, seed, [mark for mark in MARKS if mark < seconds] + [seconds]):
            points.append(point)
            if out:
                keep_point(point, out)
            print(write_point(point), file=sys.stderr, flush=True)
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=200.0, help="CPU seconds of each network and seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--network", action="append", choices=RECIPES, help="of these networks only")
    parser.add_argument("--search", type=float, metavar="SECONDS", help="try learning rates, so many CPU seconds each")
    parser.add_argument("--out", type=Path, help="keep each point here as a line of JSON")
    parser.add_argument("--json", action="store_true", help="the points as JSON instead of the table")
    parser.add_argument("--rows", type=Path, help="write rows for the table of all benchmarks here")
    parser.add_argument("--brief", action="store_true", help=f"one seed of {BRIEF_SECONDS:g} CPU seconds")
    arguments = parser.parse_args()
    recipes = {name: RECIPES[name] for name in arguments.network or RECIPES}
    seconds, seeds = (BRIEF_SECONDS, 1) if arguments.brief else (arguments.seconds, arguments.seeds)
    if arguments.search:
        seconds, seeds = arguments.search, 1
        recipes = {
            f"{name} at {recipe.learning_rate * factor:g}": replace(recipe, learning_rate=recipe.learning_rate * factor)
            for name, recipe in recipes.items()
            for factor in SEARCHED
        }
    points = run(recipes, seconds, seeds, arguments.out)
    print("\n".join(map(write_point, points)) if arguments.json else format_points(points))
    if not arguments.search and not arguments.brief:
        keep_picture("curves", draw_points(points))
    if arguments.rows:
        write_rows(make_rows(points), arguments.rows)


if __name__ == "__main__":
    main()
