"""Training with one process and with two, of one thread each: tokens per second on the wall.

    python -m benchmarks.ranks [--rounds 5] [--steps 6] [--json]

Two processes take turns of three kinds: the first trains alone while the second waits; both train one model together,
each half of the rows, as under torchrun; and both train at the same time, all rows each, without a word to each other.
The last is what the machine allows two processes to do at once: two cores that are one core's two threads, or that
others use too, allow far less than twice. The sizes are the default's, the ids random, as speed does not hang on them.
Wall time is what this is about, so a machine that does other work as well gives figures of that work too; ratios are
of turns that follow each other, figures are medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.table import Row, format_rows, write_rows

KINDS = ("alone", "together", "apart")


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn of one kind did: targets learned from by all processes, seconds on the wall and of the processors."""

    tokens: int
    wall_seconds: float
    cpu_seconds: float


def _work(rank: int, port: int, steps: int, rounds: int, pipe: Connection) -> None:
    """One of the two processes; the first sends its turns."""
    import torch

    from hoyomusic import streams
    from hoyomusic.device import tune_allocator
    from hoyomusic.fit import FitConfig
    from hoyomusic.fit.learning import Learning
    from hoyomusic.model import HoyoMusicLSTM
    from hoyomusic.ranks import ALONE, join
    from hoyomusic.samples import Sample
    from hoyomusic.sizes import ModelConfig

    torch.set_num_threads(1)
    tune_allocator()
    config = FitConfig(precision="fp32")
    generator = np.random.default_rng(0)
    lengths = generator.integers(100, 300, size=2000)
    samples = [Sample(generator.integers(200, size=length), 0, np.zeros(length, np.int64)) for length in lengths]
    packed = streams.pack(samples, rows=config.rows, steps=config.steps, seed=0, epoch=0)
    os.environ |= {
        "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with join() as ranks:
        learners = {
            kind: Learning(HoyoMusicLSTM(ModelConfig(200)), config, ranks if kind == "together" else ALONE)
            for kind in ("apart", "together")
        }

        def take_turn(kind: str) -> Turn:
            learner = learners["together" if kind == "together" else "apart"]
            tokens, cpu_began = 0, time.process_time()
            ranks.wait()
            began = time.monotonic()
            if kind != "alone" or ranks.first:
                for _ in range(steps):
                    tokens += learner.take_step(packed[learner.segment % len(packed)])[1]
            ranks.wait()
            wall = time.monotonic() - began
            told = torch.tensor([time.process_time() - cpu_began, tokens], dtype=torch.float64)
            cpu, total = ranks.add(told).tolist()
            return Turn(tokens if kind == "together" else round(total), wall, cpu)

        for kind in KINDS:
            take_turn(kind)  # the first steps make libraries ready
        turns = [{kind: take_turn(kind) for kind in KINDS} for _ in range(rounds)]
    if rank == 0:
        pipe.send(turns)


def measure(rounds: int, steps: int) -> list[dict[str, Turn]]:
    """For each round the turn of each kind."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    workers = [context.Process(target=_work, args=(rank, port, steps, rounds, sender)) for rank in range(2)]
    for worker in workers:
        worker.start()
    sender.close()
    turns = receiver.recv()
    for worker in workers:
        worker.join()
    return turns


def summarise(rounds: Sequence[dict[str, Turn]]) -> dict[str, float]:
    """Rates on the wall and per CPU second, and what two processes bring, as medians over rounds."""

    def rate(kind: str) -> list[float]:
        return [turns[kind].tokens / turns[kind].wall_seconds for turns in rounds]

    def cost(kind: str) -> list[float]:
        return [turns[kind].cpu_seconds / turns[kind].tokens for turns in rounds]

    def ratio(ours: list[float], others: list[float]) -> float:
        return median(our / other for our, other in zip(ours, others, strict=True))

    return {
        **{f"tokens_per_second_{kind}": round(median(rate(kind)), 1) for kind in KINDS},
        "speedup_of_two": round(ratio(rate("together"), rate("alone")), 3),
        "speedup_the_machine_allows": round(ratio(rate("apart"), rate("alone")), 3),
        "cpu_seconds_per_token_vs_alone": round(ratio(cost("together"), cost("alone")), 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="steps in a turn")
    parser.add_argument("--json", action="store_true", help="the figures as one object on the last line")
    parser.add_argument("--rows", type=Path, help="keep the table in this file too")
    options = parser.parse_args(arguments)
    figures = summarise(measure(options.rounds, options.steps))
    rows = [
        Row(
            "training, two processes of one thread", figures["tokens_per_second_together"],
            figures["tokens_per_second_alone"], figures["speedup_of_two"], unit="tokens / s on the wall",
            versus="one", limit=figures["speedup_the_machine_allows"],
        ),
    ]  # fmt: skip
    print(format_rows(rows))
    print(f"a token costs {figures['cpu_seconds_per_token_vs_alone']:.2f} times the CPU time of one process")
    if options.rows:
        write_rows(rows, options.rows)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
