"""Useful tokens per CPU second in training: ours beside a loop of padded batches and one of batches of like length.

    python -m benchmarks.train [--rounds 4] [--shape 32x32] [--precision auto] [--json]

All train the same network (Embedding 256 -> 3 x [LSTM 512 -> BatchNorm -> Dropout] -> Linear) on the folkwiki tokens.
Ours is the step of `hoyo train` with all that belongs to it: reading the packed streams, resets, dropout, clipping,
AdamW, the average of the weights; these ids have no recall, so there is none. The bare matrix products of
our step, forward and backward, are timed too: our speed as a share of theirs is what is left to gain.

The allocator can be tuned for a whole process only, so there are two, of one thread each, that take turns: one
untuned, one tuned as `hoyo train` tunes itself. Each runs every loop. The headline compares ours as it runs with
the padded loop as its author would run it, untuned; the table has the other pairs. A round is a turn of each loop;
times are process CPU time, ratios are of a round's two turns, figures are medians over rounds.

With --json the last line is one object; --rows keeps the table for `make bench`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.folkwiki.data import FOLDER, read_tunes
from benchmarks.peers.padded import PlainNetwork, batches_of_like_length, batches_of_width, make_step
from benchmarks.table import Row, format_rows, write_rows
from hoyomusic import streams
from hoyomusic.device import choose_dtype, has_bf16, tune_allocator
from hoyomusic.fit import FitConfig
from hoyomusic.fit.learning import Learning
from hoyomusic.model import HoyoMusicLSTM, ModelConfig
from hoyomusic.ranks import ALONE
from hoyomusic.samples import Sample

EMBEDDING, HIDDEN, LAYERS, DROPOUT = 256, 512, 3, 0.15
ROWS, WIDTH = 32, 512
BOUNDARY, START, END, WORDS = 0, 1, 2, 3
CPU = torch.device("cpu")
# Targets that a turn of the loops without waste learns from, about as many as are in one batch of the padded loop.
TURN_TOKENS = 6000

# Twentieths of the lengths of the folkwiki training tunes, for tunes made up where those are not at hand.
LENGTHS = (53, 76, 90, 104, 115, 125, 136, 143, 150, 158, 166, 174, 183, 193, 201, 211, 226, 244, 270, 313, 820)
MADE_UP_TUNES, MADE_UP_WORDS = 3891, 155

# With bfloat16, and without it: padded loop, loop of like lengths.
GOALS = {torch.bfloat16: (6.5, 1.6), torch.float32: (4.5, 1.6)}


@dataclass(frozen=True)
class Material:
    """Tunes as ids, START first and END last; the padding and boundary id is 0. `source` says where they are from."""

    tunes: tuple[np.ndarray, ...]
    vocabulary: int
    source: str


@dataclass(frozen=True)
class Turn:
    """What one loop did in one turn."""

    seconds: float
    tokens: float
    computed: int

    @property
    def rate(self) -> float:
        """Useful tokens per CPU second."""
        return self.tokens / self.seconds


def gather_material(folder: Path = FOLDER) -> Material:
    """The published training tunes, each word an id; where they are absent, random ids in tunes of the same lengths."""
    path = folder / "train.txt"
    if path.exists():
        words = read_tunes(path)
        ids = {word: WORDS + index for index, word in enumerate(sorted({word for tune in words for word in tune}))}
        bodies = [[ids[word] for word in tune] for tune in words]
        vocabulary, source = WORDS + len(ids), "folkwiki tunes"
    else:
        generator = np.random.default_rng(0)
        shares = generator.random(MADE_UP_TUNES)
        lengths = np.interp(shares, np.linspace(0, 1, len(LENGTHS)), LENGTHS).astype(int)
        bodies = [generator.integers(WORDS, WORDS + MADE_UP_WORDS, length).tolist() for length in lengths]
        vocabulary, source = WORDS + MADE_UP_WORDS, f"MADE-UP TUNES of folkwiki's lengths, as there is no {path.name}"
    return Material(tuple(np.array([START, *body, END], np.uint16) for body in bodies), vocabulary, source)


def make_loops(material: Material, config: FitConfig) -> dict[str, Callable[[], Turn]]:
    """A turn of each loop by its name."""

    def peer(batches) -> Callable[[], tuple[int, int]]:
        return make_step(PlainNetwork(material.vocabulary, EMBEDDING, HIDDEN, LAYERS, DROPOUT), batches)

    # The padded loop takes as long for short tunes as for long ones: it is credited with the mean tokens of a batch.
    per_batch = ROWS * float(np.mean([min(len(tune) - 1, WIDTH) for tune in material.tunes]))
    return {
        "padded": _turn(peer(batches_of_width(material.tunes, ROWS, WIDTH, seed=0)), 1, tokens=per_batch),
        "like lengths": _turn(peer(batches_of_like_length(material.tunes, ROWS, seed=0)), TURN_TOKENS),
        "ours": _turn(_make_our_step(material, config), TURN_TOKENS),
        "products": _turn(_make_products(material, config), TURN_TOKENS // 2),
    }


def _turn(step: Callable[[], tuple[int, int]], least: int, tokens: float | None = None) -> Callable[[], Turn]:
    """As many steps as learn from `least` tokens."""

    def turn() -> Turn:
        began, useful, computed = time.process_time(), 0, 0
        while useful < least:
            done = step()
            useful, computed = useful + done[0], computed + done[1]
        return Turn(time.process_time() - began, tokens or useful, computed)

    return turn


def _make_our_step(material: Material, config: FitConfig) -> Callable[[], tuple[int, int]]:
    samples = [Sample(tune, 0, np.zeros(len(tune), np.uint16)) for tune in material.tunes]
    sizes = ModelConfig(material.vocabulary, 1, 1, EMBEDDING, HIDDEN, LAYERS, DROPOUT)
    learning = Learning(HoyoMusicLSTM(sizes), config, ALONE)
    packed = streams.pack(
        samples, rows=config.rows, steps=config.steps, seed=config.seed, epoch=0, boundary_id=BOUNDARY
    )

    def step() -> tuple[int, int]:
        batch = packed[learning.segment]
        _, tokens = learning.take_step(batch)
        return tokens, batch.ids.size

    return step


def _make_products(material: Material, config: FitConfig) -> Callable[[], tuple[int, int]]:
    """The matrix products of our step and nothing else: per layer those of all steps at once and those step by step."""
    dtype = choose_dtype(config.precision, CPU, rows=config.rows)
    rows, positions, gates = config.rows, config.rows * config.steps, 4 * HIDDEN
    recurrent, states = torch.randn(gates, HIDDEN, dtype=dtype), torch.randn(rows, HIDDEN, dtype=dtype)
    slopes = torch.randn(rows, gates, dtype=dtype)
    shapes = [(EMBEDDING, gates), *[(HIDDEN, gates)] * (LAYERS - 1), (HIDDEN, material.vocabulary)]
    wide = [
        (torch.randn(positions, given, dtype=dtype), torch.randn(made, given, dtype=dtype),
         torch.randn(positions, made, dtype=dtype))
        for given, made in shapes
    ]
    outputs, all_slopes = torch.randn(positions, HIDDEN, dtype=dtype), torch.randn(positions, gates, dtype=dtype)

    @torch.no_grad()
    def step() -> tuple[int, int]:
        for values, weight, gradient in wide:
            values @ weight.T, gradient @ weight, gradient.T @ values
        for _ in range(LAYERS):
            for _ in range(config.steps):
                states @ recurrent.T, slopes @ recurrent
            all_slopes.T @ outputs
        return positions, positions

    return step


# ------------------------------------------------------------------ two processes that take turns


def _work(pipe: Connection, tuned: bool, folder: Path, config: FitConfig) -> None:
    """One process: it runs the turn that it is asked for until it is asked for none."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if tuned:
        tune_allocator()
    loops = make_loops(gather_material(folder), config)
    # What only a first step does: libraries are made ready, moments and averages are laid out.
    for name in ("ours", "products", "like lengths"):
        loops[name]()
    pipe.send("ready")
    while (name := pipe.recv()) is not None:
        pipe.send(loops[name]())


def measure(config: FitConfig, rounds: int, folder: Path = FOLDER) -> dict[tuple[str, bool], list[Turn]]:
    """The turns of each loop, by its name and whether its process is tuned."""
    context = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for tuned in (False, True):
        pipes[tuned], theirs = context.Pipe()
        workers.append(context.Process(target=_work, args=(theirs, tuned, folder, config), daemon=True))
        workers[-1].start()
        theirs.close()
        pipes[tuned].recv()
    turns: dict[tuple[str, bool], list[Turn]] = {}
    for _ in range(rounds):
        for name in ("padded", "like lengths", "ours", "products"):
            for tuned, pipe in pipes.items():
                pipe.send(name)
                turns.setdefault((name, tuned), []).append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(None)
    for worker in workers:
        worker.join()
    return turns


# ------------------------------------------------------------------ what is told


def summarise(turns: dict[tuple[str, bool], list[Turn]], config: FitConfig, source: str) -> dict[str, Any]:
    """The figures of the JSON line."""

    def rate(name: str, tuned: bool) -> float:
        return median(turn.rate for turn in turns[name, tuned])

    def ratio(ours: tuple[str, bool], theirs: tuple[str, bool]) -> float:
        return median(our.rate / their.rate for our, their in zip(turns[ours], turns[theirs], strict=True))

    padding = 1 - np.mean([turn.tokens / turn.computed for turn in turns["padded", True]])
    dtype = choose_dtype(config.precision, CPU, rows=config.rows)
    return {
        "ratio_vs_naive_fixed512": round(ratio(("ours", True), ("padded", False)), 3),
        "tokens_per_cpu_second": round(rate("ours", True), 1),
        "ratio_vs_bucketed": round(ratio(("ours", True), ("like lengths", False)), 3),
        "share_of_matrix_products": round(ratio(("ours", True), ("products", True)), 3),
        "limit_vs_naive_fixed512": round(ratio(("products", True), ("padded", False)), 3),
        "limit_vs_bucketed": round(ratio(("products", True), ("like lengths", False)), 3),
        "both_untuned": {
            "vs_naive_fixed512": round(ratio(("ours", False), ("padded", False)), 3),
            "vs_bucketed": round(ratio(("ours", False), ("like lengths", False)), 3),
        },
        "both_tuned": {
            "vs_naive_fixed512": round(ratio(("ours", True), ("padded", True)), 3),
            "vs_bucketed": round(ratio(("ours", True), ("like lengths", True)), 3),
        },
        "rates": {
            state: {name: round(rate(name, tuned), 1) for name in ("padded", "like lengths", "ours", "products")}
            for state, tuned in (("untuned", False), ("tuned", True))
        },
        "padding_of_fixed512": round(float(padding), 3),
        "shape": f"{config.rows}x{config.steps}",
        "precision": "bf16" if dtype == torch.bfloat16 else "fp32",
        "bf16_in_hardware": has_bf16(CPU),
        "tokens_from": source,
    }


def make_rows(figures: dict[str, Any]) -> list[Row]:
    """The table."""
    rates, unit = figures["rates"], "tokens / CPU s"
    goals = GOALS[torch.bfloat16 if figures["bf16_in_hardware"] else torch.float32]
    what = f"training, {figures['precision']}, {figures['shape']}"
    return [
        *(
            Row(
                what, rates["tuned"]["ours"], rates["untuned"][peer], figures[f"ratio_{key}"], goal, unit, versus,
                figures[f"limit_{key}"],
            )
            for peer, key, goal, versus in (
                ("padded", "vs_naive_fixed512", goals[0], "32 tunes padded to 512"),
                ("like lengths", "vs_bucketed", goals[1], "32 tunes of like length"),
            )
        ),
        *(
            Row(what, rates[state]["ours"], rates[state][peer], figures[f"both_{state}"][key], None, unit, versus)
            for state in ("untuned", "tuned")
            for peer, key, versus in (
                ("padded", "vs_naive_fixed512", f"padded to 512, both {state}"),
                ("like lengths", "vs_bucketed", f"like length, both {state}"),
            )
        ),
        Row(
            what, rates["tuned"]["ours"], rates["tuned"]["products"], figures["share_of_matrix_products"], None, unit,
            "its bare matrix products",
        ),
    ]


def _shape(text: str) -> tuple[int, int]:
    rows, steps = text.split("x")
    return int(rows), int(steps)


def main(arguments: Sequence[str] | None = None) -> None:
    default = FitConfig()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument(
        "--shape", type=_shape, default=(default.rows, default.steps), help="rows and steps of ours, as in 64x32"
    )
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--json", action="store_true", help="the figures as one object on the last line")
    parser.add_argument("--rows", type=Path, help="keep the table in this file too")
    options = parser.parse_args(arguments)
    config = FitConfig(rows=options.shape[0], steps=options.shape[1], precision=options.precision)
    material = gather_material()
    targets = sum(len(tune) - 1 for tune in material.tunes)
    print(
        f"{material.source}: {len(material.tunes)} tunes, {targets} targets, {material.vocabulary} ids; "
        f"{options.rounds} rounds, one thread", flush=True,
    )
    figures = summarise(measure(config, options.rounds), config, material.source)
    rows = make_rows(figures)
    print(f"padding in batches of {WIDTH}: {figures['padding_of_fixed512']:.1%} of the positions\n")
    print(format_rows(rows))
    if options.rows:
        write_rows(rows, options.rows)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
