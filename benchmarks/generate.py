"""What generating costs, beside what others pay for it: ``python -m benchmarks.generate [--json] [--rows FILE]``

All is process CPU time on one thread. What is compared runs by turns in one process, each a little at a time, so
that a busy machine slows all alike; medians are told, and their ratios are what to read. The baseline is what a
student writes (`benchmarks.peers.stateful_lstm`); folk-rnn's sampler and a GPT-2-style network have as many
parameters as our model. "All in" is everything from a request to the bytes of MIDI files: grammar, recall, sampling,
decoding, arrangement, writing. The limit is what this machine would allow, measured in the same run: for one stream
the weights of a step read once a token from where they lie, for many streams their products alone.

With --json the last line is one object of ratios; --rows keeps the table for `make bench`. How the cost of a token
grows with its tune is measured here too (`measure_generation_growth`), and told by `benchmarks.growth`.
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
from hoyomusic.export import find_step
from hoyomusic.generator import Composition, HoyoMusicGenerator
from hoyomusic.recall import Recall
from hoyomusic.render import midi
from hoyomusic.request import Request
from hoyomusic.runtime import NumpyRuntime, OnnxRuntime, Runtime, fold, one_thread
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
    """For each of many rows as many products of whole numbers as `weights`: ONNX Runtime's matrix product alone."""
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
        for turn in range(STARTS + 1):
            for name, command in commands.items():
                before = spent_by_children()
                subprocess.run(
                    [sys.executable, *command], cwd=ROOT, env=plain_environment(), capture_output=True, check=True
                )
                if turn:  # the first turn compiled what was not yet
                    found[name].append(spent_by_children() - before)
    return {name: median(each) for name, each in found.items()}


def plain_environment() -> dict[str, str]:
    """The environment as a user has it: without our choice of threads, and with modules that stay compiled."""
    ours = {"OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"}
    return {name: value for name, value in os.environ.items() if name not in ours}


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


def measure() -> dict[str, Row]:
    """All rows by their names in JSON; some two minutes of CPU time."""
    torch.set_num_threads(1)
    generator = HoyoMusicGenerator.load("default")
    vocabulary, start = generator.vocabulary, generator.vocabulary.ids["<s>"]
    path = checkpoint.find_model("default")
    weights = checkpoint.load_arrays(path).weights
    parameters = sum(np.size(weight) for name, weight in weights.items() if "running" not in name)
    folded = fold(weights)
    multiplied = sum(matrix.size for matrix in (*folded.matrices, folded.output, folded.recall))
    portable = HoyoMusicGenerator(
        OnnxRuntime(find_step(path)), vocabulary,
        identity=generator.identity, provenance=generator.provenance, path=generator.path,
    )  # fmt: skip
    request = Request("Mondstadt", seed=1, count=COUNT)
    (made,) = generator.compose(request, range(1))
    ids = vocabulary.encode(made.tune)

    student = stateful_lstm.StatefulLSTM(len(vocabulary))
    folk = folk_rnn.NumpySampler(folk_rnn.FolkRNN(folk_rnn.FolkRNNConfig.fitted(len(vocabulary), parameters)))
    gpt = transformer.Transformer(transformer.TransformerConfig.fitted(len(vocabulary), parameters))

    def student_turn() -> int:
        return len(stateful_lstm.generate(student, start, SLOW_TURN, seed=1))

    with one_thread():
        step = take_turns(
            {
                "student": student_step(student, start),
                "ours": step_turn(generator.runtime, generator, ids),
                "onnx": step_turn(portable.runtime, generator, ids),
                "floats": step_turn(NumpyRuntime(folded), generator, ids),
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
                "onnx": all_in(portable, request, 2),
                "melody": all_in(generator, request, 2, melody_only=True),
            }
        )
        products = take_turns({"products": multiply_integers(multiplied), "student": student_turn}, rounds=5)
    batch = measure_batch(generator, request, student_turn)
    wall, cpu = measure_first_bar()
    cold = measure_cold_starts()

    ours, all_ours = type(generator.runtime).__name__, f"all in, {type(generator.runtime).__name__}"
    multiplying = products["products"] * batch["against"] / products["student"]
    return {
        "ratio_vs_stateful_lstm": _row(f"step, {ours}", step["ours"], step["student"], 48, least=step["reading int8"]),
        "onnx_ratio_vs_stateful_lstm": _row(
            "step, OnnxRuntime", step["onnx"], step["student"], 48, least=step["reading int8"]
        ),
        "fp32_ratio_vs_stateful_lstm": _row(
            "step, NumpyRuntime in fp32", step["floats"], step["student"], least=step["reading fp32"]
        ),
        "all_in_ratio_vs_stateful_lstm": _row(all_ours, whole["band"], whole["student"], 38),
        "onnx_all_in_ratio_vs_stateful_lstm": _row("all in, OnnxRuntime", whole["onnx"], whole["student"], 38),
        "melody_all_in_ratio_vs_stateful_lstm": _row(f"{all_ours}, melody alone", whole["melody"], whole["student"]),
        "all_in_ratio_vs_folk_rnn": _row(all_ours, whole["band"], whole["folk"], 20, "folk-rnn's numpy sampler"),
        "all_in_ratio_vs_gpt2_style": _row(all_ours, whole["band"], whole["gpt"], 50, "GPT-2 style with cache"),
        f"count_{COUNT}_ratio_vs_stateful_lstm": _row(
            f"{all_ours}, --count {COUNT}", batch["batch"], batch["against"], 200, least=multiplying
        ),
        "first_bar_milliseconds": Row("first bar of a stream, wall", wall, unit="ms", goal=10, at_most=True),
        "first_bar_cpu_milliseconds": Row("first bar of a stream, CPU", cpu, unit="ms", goal=10, at_most=True),
        "help_share_of_import_torch": _start_row("hoyo --help", cold["help"], cold["import torch"], 0.15),
        "generate_share_of_import_torch": _start_row(
            "hoyo generate --length 400", cold["generate"], cold["import torch"], 0.33
        ),
    }


def _row(
    what: str,
    ours: float,
    peer: float,
    goal: float | None = None,
    versus: str = "stateful LSTM",
    *,
    least: float | None = None,
) -> Row:
    """A row of microseconds a token; `least` is what the machine would need."""
    limit = None if least is None else peer / least
    return Row(what, ours, peer, peer / ours, goal, "us a token", versus, limit)


def _start_row(what: str, ours: float, torch_seconds: float, goal: float) -> Row:
    return Row(what, ours, torch_seconds, ours / torch_seconds, goal, "s", "import torch", at_most=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="end with one line of ratios")
    parser.add_argument("--rows", type=Path, help="keep the table in this file too")
    options = parser.parse_args()
    found = measure()
    print(format_rows(list(found.values())))
    if options.rows is not None:
        write_rows(list(found.values()), options.rows)
    if options.json:
        told = {name: row.ours if row.ratio is None else row.ratio for name, row in found.items()}
        print(json.dumps({name: round(value, 4) for name, value in told.items()}))


if __name__ == "__main__":
    main()
