"""What a token costs as the work grows: ``python -m benchmarks.growth [--brief] [--rows FILE]``

Training, generating and reading ABC, each from small to large, and what a second start saves. All times are process
CPU time on one thread; training takes its steps on corpora of all sizes by turns. Its memory is measured in a process
of its own for each size: the peak of what is resident, by the system's own account, mapped pages included. The
largest corpus, a million tunes, is left out where the folder for temporary files has no room for it. --brief leaves
out tunes of more than 10,000 tokens. The pictures are written to ``benchmarks/pictures``.

The tunes are ours: 28 bars each, made by rule from their number (`synthesise`). Of more than `DRAWN` tunes the
others are those with their notes exchanged for others of the same length (`exchange_notes`), which changes neither
clock nor agreement: so they are what `prepare` would have made of as many tunes, in a thousandth of its time. How
`prepare` itself grows is measured apart.

The step of training is that of a small model (`SMALL`), so that the data's share shows; it is the loop that
`hoyo train` runs, fed from a mapped file.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.plots import draw_lines, keep_picture
from benchmarks.table import Row, format_rows, write_rows
from hoyomusic import abc
from hoyomusic.cli import OBJECTS_BETWEEN_COLLECTIONS
from hoyomusic.corpus import CorpusTune, load_corpus
from hoyomusic.corpus.cache import Cache
from hoyomusic.dataset import TOKEN, Encoder, load_dataset, prepare
from hoyomusic.samples import Samples
from hoyomusic.streams import Streams, pack
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import Kind

if TYPE_CHECKING:
    from hoyomusic.fit import Event
    from hoyomusic.model import HoyoMusicLSTM

ROOT = Path(__file__).parent.parent

TRAINING_SIZES = (1_000, 10_000, 100_000, 1_000_000)
PREPARING_SIZES = (100, 1_000, 10_000)
GENERATING_LENGTHS = (100, 1_000, 10_000, 100_000)
BOOK_SIZES = (50, 500, 5_000)
LONG_TUNE_BARS = (100, 1_000, 10_000, 100_000)
READING_ROUNDS = 3

# Tunes that are made one by one; larger corpora are these with their notes exchanged.
DRAWN = 1_000
SMALL = {"embedding": 32, "hidden": 64, "layers": 3}
ROWS, STEPS = 32, 32
SEGMENTS_READ, STEPS_TAKEN = 4_000, 120
# What a tune takes on the disk, roughly.
BYTES_PER_TUNE = 4_000
MEMORY_LIMIT = 2048
# So much more may a token cost at the largest size than at the smallest before we call it no longer flat.
FLAT = 1.2

# Eighths of a bar of four quarters.
RHYTHMS = ((1,) * 8, (2, 2, 2, 2), (2, 1, 1, 2, 1, 1), (3, 1, 2, 2), (1, 1, 2, 1, 1, 2), (4, 2, 1, 1))
FORM = (0, 1, 0, 2, 1, 2, 0)


# ------------------------------------------------------------------ a corpus of any size


def synthesise(count: int) -> Iterator[CorpusTune]:
    """Tunes of 28 bars in 4/4: a walk over two octaves in phrases of four bars, some of which return."""
    for number in range(count):
        drawn = iter(np.random.Generator(np.random.Philox(number)).integers(0, 1 << 30, 128).tolist())
        place, phrases = 7, []
        for _ in range(len(set(FORM))):
            phrase = []
            for _ in range(4):
                notes = []
                for length in RHYTHMS[next(drawn) % len(RHYTHMS)]:
                    place = min(max(place + next(drawn) % 5 - 2, 0), 13)
                    notes.append(_note(place, length))
                phrase.append(Bar(tuple(notes)))
            phrases.append(phrase)
        bars = tuple(bar for which in FORM for bar in phrases[which])
        tune, split = Tune(Key("C"), Metre(4, 4), bars), "train" if number % 20 else "validation"
        yield CorpusTune(tune, number % 3, f"synthetic#{number}", number, split, str(number))


@cache
def _note(place: int, eighths: int) -> Note:
    return Note((Pitch("CDEFGAB"[place % 7], 0, 4 + place // 7),), Fraction(eighths, 8))


def exchange_notes(tokens: np.ndarray, vocabulary: Vocabulary, number: int) -> np.ndarray:
    """The tokens of other tunes: every note and every guess of one exchanged for another of the same length.

    `tokens` are records of `dataset.TOKEN`; `number` says which notes are exchanged. Clocks stay, since they hang
    on lengths alone, and agreements too, since equal notes stay equal and others different.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, token in enumerate(vocabulary.tokens):
        if token.kind is Kind.NOTE:
            by_length[token.ticks].append(index)
    drawn = np.random.Generator(np.random.Philox((1, number)))
    table = np.arange(len(vocabulary))
    for notes in by_length.values():
        table[notes] = drawn.permutation(notes)
    others = tokens.copy()
    others["id"], others["guess"] = table[tokens["id"]], table[tokens["guess"]]
    return others


@cache
def _draw_tokens() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tokens of `DRAWN` tunes, their lengths and regions."""
    encoder = Encoder(Vocabulary.build())
    tokens = np.concatenate(list(encoder.tokens(synthesise(DRAWN))))
    return tokens, *encoder.columns()[:2]


def write_corpus(folder: Path, count: int) -> None:
    """A corpus of `count` tunes, a multiple of `DRAWN`, as a mapped entry of a cache in `folder`."""
    vocabulary = Vocabulary.build()
    tokens, lengths, regions = _draw_tokens()
    blocks = (exchange_notes(tokens, vocabulary, number).tobytes() for number in range(count // DRAWN))
    told = {"lengths": lengths.tolist(), "regions": regions.tolist(), "times": count // DRAWN}
    assert Cache(folder).store_mapped(str(count), "", blocks, lambda: told)


def open_corpus(folder: Path, count: int) -> Samples:
    """What `write_corpus` wrote, mapped."""
    mapping, start, _, told = Cache(folder).map(str(count), "")
    lengths = np.tile(np.array(told["lengths"], np.int64), told["times"])
    tokens = np.frombuffer(mapping, TOKEN, int(lengths.sum()), start)
    return Samples(tokens, np.cumsum(lengths) - lengths, lengths, np.tile(told["regions"], told["times"]), mapping)


# ------------------------------------------------------------------ what a process of its own measures


def measure_preparing(count: int, folder: Path) -> dict[str, float]:
    """Tunes into a file of tokens, as `load_dataset` does it."""
    encoder = Encoder(Vocabulary.build())
    started = time.process_time()
    assert Cache(folder).store_mapped("prepared", "", encoder.body(synthesise(count)), encoder.account)
    tokens = int(encoder.columns()[0].sum())
    return {"tokens": tokens, "microseconds": 1e6 * (time.process_time() - started) / tokens}


def measure_training(count: int, folder: Path) -> dict[str, float]:
    """The loop on a corpus: segments read alone, so that memory sees much of the file, then steps."""
    from hoyomusic.fit import FitConfig, StepDone, fit

    samples = open_corpus(folder, count)
    packed = _pack(samples)
    for segment in range(min(SEGMENTS_READ, len(packed))):
        packed[segment]
    taken = 0

    def count_steps(event: Event) -> None:
        nonlocal taken
        taken += isinstance(event, StepDone)

    fit(
        _small_model(), samples, samples[:1], FitConfig(rows=ROWS, steps=STEPS, precision="fp32"),
        on_event=count_steps, should_stop=lambda: taken == STEPS_TAKEN,
    )
    return {"steps": taken}


def _pack(samples: Samples) -> Streams:
    return pack(samples, rows=ROWS, steps=STEPS, seed=1, epoch=0, region_dropout=0.1)


def _small_model() -> HoyoMusicLSTM:
    from hoyomusic.grammar import CLOCKS
    from hoyomusic.model import HoyoMusicLSTM
    from hoyomusic.recall import SOURCES
    from hoyomusic.regions import REGIONS
    from hoyomusic.sizes import ModelConfig

    sizes = ModelConfig(len(Vocabulary.build()), len(REGIONS), CLOCKS, recalls=SOURCES, **SMALL)
    return HoyoMusicLSTM(sizes, seed=1)


CHILDREN: dict[str, Callable[[int, Path], dict[str, float]]] = {
    "preparing": measure_preparing,
    "training": measure_training,
}


def run_child(what: str, count: int, folder: Path) -> dict[str, float]:
    """One of `CHILDREN` in a fresh process, with the peak of its resident memory in MiB."""
    command = [sys.executable, "-m", "benchmarks.growth", "--child", what, str(count), str(folder)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def peak_memory() -> float:
    """MiB that this process had resident at its most. What getrusage tells may be the peak of the process before it."""
    status = Path("/proc/self/status")
    if status.exists():
        told = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(told.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # macOS counts bytes


# ------------------------------------------------------------------ the sizes, one after the other


def grow_preparing() -> dict[int, dict[str, float]]:
    """Tunes -> what `measure_preparing` found."""
    with tempfile.TemporaryDirectory() as folder:
        return {count: run_child("preparing", count, Path(folder)) for count in PREPARING_SIZES}


def grow_training(sizes: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """Tunes -> CPU microseconds a token to read and of a step, by turns, and the peak of another process's memory.

    Medians of `STEPS_TAKEN` steps; a step includes the reading of its data.
    """
    from hoyomusic.fit import FitConfig
    from hoyomusic.fit.learning import Learning
    from hoyomusic.ranks import ALONE

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learning, packed = {}, {}
        for count in sizes:
            write_corpus(folder, count)
            learning[count] = Learning(_small_model(), FitConfig(rows=ROWS, steps=STEPS, precision="fp32"), ALONE)
            packed[count] = _pack(open_corpus(folder, count))
        costs: dict[tuple[int, str], list[float]] = defaultdict(list)
        for number in range(STEPS_TAKEN):
            for count in sizes:
                started = time.process_time()
                batch = packed[count][number % len(packed[count])]
                read = time.process_time()
                learning[count].take_step(batch)
                costs[count, "reading"].append((read - started) / batch.tokens)
                costs[count, "step"].append((time.process_time() - started) / batch.tokens)
        return {
            count: {
                **{name: 1e6 * median(costs[count, name]) for name in ("reading", "step")},
                **run_child("training", count, folder),
            }
            for count in sizes
        }


def grow_reading() -> dict[str, dict[int, float]]:
    """ABC: books of more and more tunes, tunes of more and more bars; size -> CPU microseconds a character."""
    phrase = abc.write(next(synthesise(1)).tune).partition("K:C\n")[2].strip().removesuffix("|]")
    head = "M:4/4\nL:1/8\nK:C\n"
    books = ["\n\n".join(f"X:{number}\n{head}{phrase}|]" for number in range(1, count + 1)) for count in BOOK_SIZES]
    tunes = [f"X:1\n{head}" + f"{phrase}|\n" * (bars // 28) + "C8|]\n" for bars in LONG_TUNE_BARS]
    kinds = {"many tunes": books, "one long tune": tunes}
    # By turns, as the machine may be busier at one size than at another.
    costs: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(READING_ROUNDS):
        for kind, texts in kinds.items():
            for text in texts:
                costs[kind, len(text)].append(_time_reading(text))
    return {kind: {len(text): median(costs[kind, len(text)]) for text in texts} for kind, texts in kinds.items()}


def _time_reading(text: str) -> float:
    """Short texts are read several times."""
    times = max(1, 100_000 // len(text))
    started = time.process_time()
    for _ in range(times):
        abc.parse(text)
    return 1e6 * (time.process_time() - started) / (times * len(text))


def measure_start() -> tuple[float, float]:
    """CPU seconds until the default corpus is ready to learn from: from the cache, and with its tunes encoded anew."""
    vocabulary = Vocabulary.build()
    load_dataset(vocabulary)
    started = time.process_time()
    load_dataset(vocabulary)
    warm = time.process_time() - started
    started = time.process_time()
    prepare(load_corpus(), vocabulary)
    return warm, time.process_time() - started


# ------------------------------------------------------------------ the table


def measure(*, brief: bool = False) -> list[Row]:
    """All rows; the pictures are written on the way."""
    from benchmarks.generate import measure_generation_growth

    room = shutil.disk_usage(tempfile.gettempdir()).free // BYTES_PER_TUNE
    sizes = tuple(count for count in TRAINING_SIZES if 2 * count < room)
    training = grow_training(sizes)
    preparing = grow_preparing()
    lengths = GENERATING_LENGTHS[:-1] if brief else GENERATING_LENGTHS
    measured = zip(lengths, measure_generation_growth(lengths), strict=True)
    generating = {length: (composing, whole) for length, (_, composing, whole) in measured}
    reading = grow_reading()
    draw_pictures(training, preparing, generating, reading)

    rows = []
    for count in sizes[1:]:
        step, alone = ({size: training[size][name] for size in (sizes[0], count)} for name in ("step", "reading"))
        rows.append(_grown(f"training, step of a small model, {count:,} tunes", "us a token", step, "tunes"))
        # Part of the step above, in which it is lost: what lies far apart takes longer to fetch.
        rows.append(replace(_grown(f"of it reading, {count:,} tunes", "us a token", alone, "tunes"), goal=None))
    rows += [
        Row(f"training, peak memory, {count:,} tunes", training[count]["peak_memory"], unit="MiB", goal=MEMORY_LIMIT,
            at_most=True)
        for count in sizes
    ]  # fmt: skip
    found = {count: each["microseconds"] for count, each in preparing.items()}
    rows.append(_grown(f"tunes into tokens, {PREPARING_SIZES[-1]:,} tunes", "us a token", found, "tunes"))
    found = {length: composing for length, (composing, _) in generating.items()}
    rows.append(_grown(f"generating, a tune of {lengths[-1]:,} tokens", "us a token", found, "tokens"))
    for name, each in reading.items():
        rows.append(_grown(f"reading ABC, {name}, {max(each) / 1e6:.1f} MB", "us a character", each, "characters"))
    warm, anew = measure_start()
    what = "default corpus ready to learn from, cached"
    rows.append(Row(what, warm, anew, anew / warm, unit="s", versus="tunes encoded anew"))
    return rows


def _grown(what: str, unit: str, found: dict[int, float], sizes: str) -> Row:
    """The cost at the largest size beside that at the smallest."""
    small, large = min(found), max(found)
    return Row(
        what, found[large], found[small], found[large] / found[small], FLAT, unit, f"{small:,} {sizes}", at_most=True
    )


def draw_pictures(
    training: dict[int, dict[str, float]],
    preparing: dict[int, dict[str, float]],
    generating: dict[int, tuple[float, float]],
    reading: dict[str, dict[int, float]],
) -> None:
    """One picture for each kind of work."""
    costs = {
        "one step of a small model": [(count, each["step"]) for count, each in training.items()],
        "reading its data alone": [(count, each["reading"]) for count, each in training.items()],
    }
    keep_picture("training", draw_lines("Training", "tunes", "CPU microseconds a token", costs))
    memory = {"peak of resident memory": [(count, each["peak_memory"]) for count, each in training.items()]}
    keep_picture(
        "memory", draw_lines("Memory of training", "tunes", "MiB; dashed: the limit", memory, limit=MEMORY_LIMIT)
    )
    prepared = {"tunes into tokens": [(count, each["microseconds"]) for count, each in preparing.items()]}
    keep_picture("preparing", draw_lines("Preparing a corpus", "tunes", "CPU microseconds a token", prepared))
    composed = {
        "composing": [(tokens, composing) for tokens, (composing, _) in generating.items()],
        "with arrangement and MIDI": [(tokens, whole) for tokens, (_, whole) in generating.items()],
    }
    keep_picture("generating", draw_lines("Generating", "tokens of a tune", "CPU microseconds a token", composed))
    read = {name: list(each.items()) for name, each in reading.items()}
    keep_picture("reading", draw_lines("Reading ABC", "characters", "CPU microseconds a character", read))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--brief", action="store_true", help="tunes of up to 10,000 tokens only")
    parser.add_argument("--rows", type=Path, help="keep the table in this file too")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, count, folder = options.child
        found = CHILDREN[what](int(count), Path(folder))
        print(json.dumps({**found, "peak_memory": peak_memory()}))
        return
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)  # as `hoyo` does when it starts
    rows = measure(brief=options.brief)
    print(format_rows(rows))
    if options.rows is not None:
        write_rows(rows, options.rows)


if __name__ == "__main__":
    main()
