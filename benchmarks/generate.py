"""What generating costs, beside what others pay for it: ``python -m benchmarks.generate [--json] [--rows FILE]``

All is process CPU time on one thread. What is compared runs by turns in one process, each a little at a time, so
that a busy machine slows all alike; medians are told, and their ratios are what to read. The baseline is what a
student writes (`benchmarks.peers.stateful_lstm`); folk-rnn's sampler and a GPT-2-style network have as many
parameters as our model. "All in" is everything from a request to the bytes of MIDI files: grammar, recall, sampling,
decoding, arrangement, writing. The limit is what this machine would allow, measured in the same run: for one stream
the weights of a step read once a token from where they lie, for many streams their products alone.

With --json the last line is one object of ratios; --rows keeps the table for `make bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from statistics import median

# Before any of them is loaded: threads of these libraries would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.peers import folk_rnn, stateful_lstm, transformer
from benchmarks.table import Row, format_rows, write_rows
from hoyomusic import checkpoint
from hoyomusic.arrangement import arrange
from hoyomusic.generator import Composition, HoyoMusicGenerator
from hoyomusic.recall import Recall
from hoyomusic.render import midi
from hoyomusic.request import Request
from hoyomusic.runtime import NumpyRuntime, Runtime, fold, one_thread
from hoyomusic.score import perform

ROOT = Path(__file__).parent.parent

ROUNDS = 15
# Tokens of one turn.
SLOW_TURN, FAST_TURN = 24, 200
# A GPT-2-style network pays more for each token the longer its tune is: it makes tunes of a usual length.
TUNE_LENGTH = 128
COUNT = 256
LENGTHS = (100, 1_000, 10_000, 100_000)
STARTS = 5
PRODUCT_ROWS = 256

Turn = Callable[[], int]


def take_turns(turns: Mapping[str, Turn], rounds: int = ROUNDS) -> dict[str, float]:
    """Median CPU microseconds a token of each, by turns; a turn makes tokens and says how many. One turn warms up."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn()
    for _ in range(rounds):
        for name, turn in turns.items():
            start = time.process_time()
            tokens = turn()
            found[name].append(1e6 * (time.process_time() - start) / tokens)
    return {name: median(each) for name, each in found.items()}


# ------------------------------------------------------------------ a step


def step_turn(runtime: Runtime, generator: HoyoMusicGenerator, ids: list[int], batch: int = 1) -> Turn:
    """Steps of a runtime alone over the ids of a tune, in as many equal rows as `batch` says."""
    memory, told = Recall(generator.vocabulary), []
    for index in ids:
        memory.take(index)
        told.append(memory.told())
    inputs = [
        (np.full(batch, index), np.ones(batch, int), np.zeros(batch, int), np.array([recalled] * batch))
        for index, recalled in zip(ids, told, strict=True)
    ]
    along = cycle(inputs)
    steps = max(8, FAST_TURN // batch)
    state = runtime.start(batch)

    def turn() -> int:
        nonlocal state
        for _ in range(steps):
            chosen, region, clock, recalled = next(along)
            _, state = runtime.step(chosen, region, clock, state, recalled)
        return steps * batch

    return turn


def student_step(model: stateful_lstm.StatefulLSTM, start: int) -> Turn:
    """The baseline's step alone: no choice is made."""
    chosen, state = torch.tensor([[start]]), None
    model.eval()

    @torch.no_grad()
    def turn() -> int:
        nonlocal state
        for _ in range(SLOW_TURN):
            _, state = model(chosen, state)
        return SLOW_TURN

    return turn


def read_once(size: int) -> Turn:
    """The bytes of the weights read once, as fast as numpy's dot product reads: what one token costs at least."""
    weights = np.ones(size // 4, np.float32)

    def turn() -> int:
        for _ in range(20):
            np.dot(weights, weights)
        return 20

    return turn


def multiply_integers(weights: int) -> Turn:
    """As many products of whole numbers as `weights` for each of many rows: the speed of ONNX Runtime's product alone."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    inner, outer = 1024, 2048
    matrix = np.random.Generator(np.random.Philox(1)).integers(-63, 64, (inner, outer), np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["rows", "matrix"], ["product"])],
        "product",
        [helper.make_tensor_value_info("rows", TensorProto.UINT8, [PRODUCT_ROWS, inner])],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [PRODUCT_ROWS, outer])],
        [onnx.numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows = np.ones((PRODUCT_ROWS, inner), np.uint8)

    def turn() -> int:
        for _ in range(5):
            session.run(None, {"rows": rows})
        # So many tokens of a model of `weights` weights are this many products.
        return round(5 * PRODUCT_ROWS * inner * outer / weights)

    return turn


# ------------------------------------------------------------------ all in


def finish(made: Composition, *, melody_only: bool = False) -> bytes:
    """The MIDI file of a tune."""
    score = perform(made.tune) if melody_only else arrange(made.tune, made.region, seed=made.seed)
    return midi.to_bytes(score)


def all_in(generator: HoyoMusicGenerator, request: Request, tunes: int, *, melody_only: bool = False) -> Turn:
    """One tune after the other from request to MIDI, each by itself."""
    index = 0

    def turn() -> int:
        nonlocal index
        tokens = 0
        for made in range(index, index + tunes):
            (tune,) = generator.compose(request, range(made, made + 1))
            finish(tune, melody_only=melody_only)
            tokens += tune.tokens
        index += tunes
        return tokens

    return turn


def measure_batch(generator: HoyoMusicGenerator, request: Request, against: Turn, rounds: int = 3) -> dict[str, float]:
    """CPU microseconds a token of `COUNT` tunes at once, all in, and of `against`; the tunes are those made alone."""
    batches: list[list[Composition]] = []

    def turn() -> int:
        batches.append(list(generator.compose(request)))
        for tune in batches[-1]:
            finish(tune)
        return sum(tune.tokens for tune in batches[-1])

    found = take_turns({"batch": turn, "against": lambda: sum(against() for _ in range(5))}, rounds)
    for tune in batches[-1]:
        (alone,) = generator.compose(request, range(tune.index, tune.index + 1))
        assert alone == tune, f"tune {tune.index} hangs on its batch"
    return found


# ------------------------------------------------------------------ fresh processes

FIRST_BAR = """
import sys, time
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.request import Request
generator = HoyoMusicGenerator.load("default")
request = Request("Mondstadt", seed=int(sys.argv[1]))
wall, cpu = time.perf_counter(), time.process_time()
bar = next(generator.stream(request))
print(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu))
"""


def measure_first_bar() -> tuple[float, float]:
    """Milliseconds from the loaded model to the first bar of a stream in fresh processes, median: wall and CPU."""
    told = [
        subprocess.run(
            [sys.executable, "-c", FIRST_BAR, str(seed)], cwd=ROOT, env=plain_environment(),
            capture_output=True, text=True, check=True,
        ).stdout.split()
        for seed in range(1, STARTS + 1)
    ]  # fmt: skip
    wall, cpu = zip(*told, strict=True)
    return median(map(float, wall)), median(map(float, cpu))


def measure_cold_starts() -> dict[str, float]:
    """CPU seconds of whole processes, each fresh, by turns: medians."""
    with tempfile.TemporaryDirectory() as folder:
        generate = ["-m", "hoyomusic", "generate", "--length", "400", "--seed", "1", "--format", "mid", "--force"]
        commands = {
            "import torch": ["-c", "import torch"],
            "help": ["-m", "hoyomusic", "--help"],
            "generate": [*generate, "--model", "default", "--out", folder],
        }
        found: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(STARTS):
            for name, command in commands.items():
                before = spent_by_children()
                subprocess.run(
                    [sys.executable, *command], cwd=ROOT, env=plain_environment(), capture_output=True, check=True
                )
                found[name].append(spent_by_children() - before)
    return {name: median(each) for name, each in found.items()}


def plain_environment() -> dict[str, str]:
    """The environment as a user has it: without our choice of threads."""
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


def spent_by_children() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# ------------------------------------------------------------------ growth


def measure_generation_growth(lengths: tuple[int, ...] = LENGTHS) -> Iterator[tuple[int, float, float]]:
    """For each asked length (tokens made, CPU microseconds a token to compose, the same with arrangement and MIDI).

    Short tunes are made several times, so that each length is measured over a thousand tokens or more.
    """
    generator = HoyoMusicGenerator.load("default")
    list(generator.compose(Request("Mondstadt", length=lengths[0], seed=1)))  # warms up
    for length in lengths:
        request = Request("Mondstadt", length=length, seed=1)
        tokens, composing, finishing = 0, 0.0, 0.0
        for index in range(max(1, 2000 // length)):
            start = time.process_time()
            (made,) = generator.compose(request, range(index, index + 1))
            between = time.process_time()
            finish(made)
            tokens += made.tokens
            composing, finishing = composing + between - start, finishing + time.process_time() - between
        yield tokens, 1e6 * composing / tokens, 1e6 * (composing + finishing) / tokens


# ------------------------------------------------------------------ the table


def measure() -> list[Row]:
    """All rows; some three minutes of CPU time."""
    torch.set_num_threads(1)
    generator = HoyoMusicGenerator.load("default")
    vocabulary, start = generator.vocabulary, generator.vocabulary.ids["<s>"]
    weights = checkpoint.load_arrays(checkpoint.find_model("default")).weights
    parameters = sum(np.size(weight) for name, weight in weights.items() if "running" not in name)
    folded = fold(weights)
    multiplied = sum(matrix.size for matrix in (*folded.matrices, folded.output, folded.recall))
    request = Request("Mondstadt", seed=1, count=COUNT)
    (made,) = generator.compose(request, range(1))
    ids = vocabulary.encode(made.tune)

    student = stateful_lstm.StatefulLSTM(len(vocabulary))
    folk = folk_rnn.NumpySampler(folk_rnn.FolkRNN(folk_rnn.FolkRNNConfig.fitted(len(vocabulary), parameters)))
    gpt = transformer.Transformer(transformer.TransformerConfig.fitted(len(vocabulary), parameters))
    floats = NumpyRuntime(folded)
    student_turn = lambda: len(stateful_lstm.generate(student, start, SLOW_TURN, seed=1))  # noqa: E731

    with one_thread():
        step = take_turns(
            {
                "student": student_step(student, start),
                "ours": step_turn(generator.runtime, generator, ids),
                "floats": step_turn(floats, generator, ids),
                "reading int8": read_once(multiplied),
                "reading fp32": read_once(4 * multiplied),
            }
        )
        whole = take_turns(
            {
                "student": student_turn,
                "folk": lambda: len(folk.generate(start, SLOW_TURN, seed=1)),
                "gpt": lambda: len(transformer.generate(gpt, start, TUNE_LENGTH, seed=1)),
                "band": all_in(generator, request, 2),
                "melody": all_in(generator, request, 2, melody_only=True),
            }
        )
        products = take_turns({"products": multiply_integers(multiplied), "student": student_turn}, rounds=5)
    batch = measure_batch(generator, request, student_turn)
    wall, cpu = measure_first_bar()
    cold = measure_cold_starts()
    growth = list(measure_generation_growth())

    versus = "stateful LSTM"
    rows = [
        _row("step, one stream", step["ours"], step["student"], versus, goal=48, least=step["reading int8"]),
        _row("step in fp32, numpy", step["floats"], step["student"], versus, least=step["reading fp32"]),
        _row("all in, one stream", whole["band"], whole["student"], versus, goal=38),
        _row("all in, one stream, melody alone", whole["melody"], whole["student"], versus),
        _row("all in, one stream", whole["band"], whole["folk"], "folk-rnn's numpy sampler", goal=20),
        _row("all in, one stream", whole["band"], whole["gpt"], "GPT-2 style with cache", goal=50),
        _row(
            f"all in, --count {COUNT}", batch["batch"], batch["against"], versus, goal=200,
            least=products["products"] * batch["against"] / products["student"],
        ),
        Row("first bar of a stream, wall", wall, unit="ms", goal=10, at_most=True),
        Row("first bar of a stream, CPU", cpu, unit="ms", goal=10, at_most=True),
    ]  # fmt: skip
    for name, what, goal in (("help", "hoyo --help", 0.15), ("generate", "hoyo generate --length 400", 0.33)):
        torch_seconds = cold["import torch"]
        ratio = cold[name] / torch_seconds
        rows.append(Row(what, cold[name], torch_seconds, ratio, goal, "s", "import torch", at_most=True))
    (_, short, _), (_, long, _) = growth[1], growth[-1]
    rows.append(
        Row(
            f"composing, {LENGTHS[-1]:,} tokens", long, short, long / short, 1.2, "us a token",
            f"{LENGTHS[1]:,} tokens", at_most=True,
        )
    )  # fmt: skip
    return rows


def _row(
    what: str, ours: float, peer: float, versus: str, *, goal: float | None = None, least: float | None = None
) -> Row:
    """A row of microseconds a token; `least` is what the machine would need."""
    limit = None if least is None else peer / least
    return Row(what, ours, peer, peer / ours, goal, "us a token", versus, limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="end with one line of ratios")
    parser.add_argument("--rows", type=Path, help="keep the table in this file too")
    options = parser.parse_args()
    rows = measure()
    print(format_rows(rows))
    if options.rows is not None:
        write_rows(rows, options.rows)
    if options.json:
        step, _, whole, _, folk, gpt, batch, wall, _, help_, start, growth = rows
        told = {
            "ratio_vs_stateful_lstm": step.ratio,
            "all_in_ratio_vs_stateful_lstm": whole.ratio,
            "all_in_ratio_vs_folk_rnn": folk.ratio,
            "all_in_ratio_vs_gpt2_style": gpt.ratio,
            f"count_{COUNT}_ratio_vs_stateful_lstm": batch.ratio,
            "first_bar_milliseconds": wall.ours,
            "help_share_of_import_torch": help_.ratio,
            "generate_share_of_import_torch": start.ratio,
            "growth_ratio": growth.ratio,
            "microseconds_per_token": whole.ours,
        }
        print(json.dumps({name: round(value, 4) for name, value in told.items()}))


if __name__ == "__main__":
    main()
