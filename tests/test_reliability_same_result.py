"""The same model, options and seed give the same tune: whoever asks, in whatever company, on however many threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hoyomusic import abc
from hoyomusic.export import export_model, read_step
from hoyomusic.generator import HoyoMusicGenerator, Request
from hoyomusic.runtime import NativeRuntime, NumpyRuntime, OnnxRuntime, Runtime
from hoyomusic.sampling import SamplingConfig
from tests.conftest import ROOT, Said

PRIME = abc.parse_one("X:1\nM:6/8\nL:1/8\nK:D\nd3 fed|A3 def|\n")
# Every option that a tune hangs on.
WISHES: dict[str, dict[str, Any]] = {
    "bars": {"region": "Mondstadt", "bars": 4},
    "length": {"region": "Liyue", "length": 60},
    "key and metre": {"region": "Fontaine", "bars": 4, "key": "F#m", "metre": "3/4"},
    "form": {"region": "Sumeru", "bars": 8, "form": "AABA"},
    "guidance": {"region": "Liyue", "bars": 4, "guidance": 1.5},
    "candidates": {"region": "Mondstadt", "bars": 4, "candidates": 3},
    "novel": {"region": "Mondstadt", "bars": 4, "novel": True},
    "range and tempo": {"region": "Natlan", "bars": 4, "range": "C4-C6", "tempo": 100},
    "prime": {"prime": PRIME, "bars": 4},
    "sampling": {"bars": 4, "sampling": SamplingConfig(0.8, top_k=30, top_p=0.9, repetition=1.0)},
}
SEED, COUNT = 20, 2


@cache
def load(precision: str) -> HoyoMusicGenerator:
    return HoyoMusicGenerator.load("default", precision=precision)


@cache
def make(precision: str, wish: str) -> list[str]:
    """The tunes of a wish as ABC, made together."""
    request = Request(seed=SEED, count=COUNT, **WISHES[wish])
    return [abc.write(made.tune) for made in load(precision).compose(request)]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("wish", WISHES)
def test_a_wish_is_granted_the_same_alone_and_in_a_batch(precision: str, wish: str) -> None:
    (alone,) = load(precision).compose(Request(seed=SEED, **WISHES[wish]), range(1, 2))
    assert abc.write(alone.tune) == make(precision, wish)[1]


def test_batches_of_any_size_make_the_same() -> None:
    many = list(load("int8").compose(Request(seed=SEED, count=100, bars=2)))
    for made in (many[0], many[7], many[8], many[99]):
        (alone,) = load("int8").compose(Request(seed=SEED, bars=2), range(made.index, made.index + 1))
        assert abc.write(alone.tune) == abc.write(made.tune)


def test_any_generator_makes_the_same_any_number_of_times() -> None:
    for precision in ("int8", "fp32"):
        another = HoyoMusicGenerator.load("default", precision=precision)
        for _ in range(2):
            (made,) = another.compose(Request(seed=SEED, **WISHES["bars"]))
            assert abc.write(made.tune) == make(precision, "bars")[0]


def compose_on(runtime: Runtime, like: HoyoMusicGenerator, wish: str) -> list[str]:
    generator = HoyoMusicGenerator(
        runtime, like.vocabulary, identity=like.identity, provenance=like.provenance, path=like.path
    )
    request = Request(seed=SEED, count=COUNT, **WISHES[wish])
    return [abc.write(made.tune) for made in generator.compose(request)]


@pytest.mark.parametrize("wish", WISHES)
def test_the_step_in_c_and_onnx_runtime_make_the_same(wish: str) -> None:
    if not isinstance(load("int8").runtime, NativeRuntime):
        pytest.skip("no compiler was at hand when this was installed")
    assert compose_on(OnnxRuntime(read_step(load("int8").path)), load("int8"), wish) == make("int8", wish)


def test_numpy_and_onnx_runtime_make_the_same_of_a_model_in_float32(tmp_path: Path) -> None:
    like = load("fp32")
    assert isinstance(like.runtime, NumpyRuntime)
    runtime = OnnxRuntime(read_step(export_model(like.path, tmp_path / "step.onnx", int8=False)))
    for wish in WISHES:
        assert compose_on(runtime, like, wish) == make("fp32", wish)


PROGRAM = """
import sys
{before}
from hoyomusic import abc
from hoyomusic.generator import HoyoMusicGenerator, Request
for precision in ("int8", "fp32"):
    generator = HoyoMusicGenerator.load("default", precision=precision)
    for wish in ({{"region": "Mondstadt", "bars": 4}}, {{"region": "Natlan", "bars": 4, "candidates": 3}}):
        for made in generator.compose(Request(seed=20, count=2, **wish)):
            sys.stdout.write(abc.write(made.tune))
"""
CLOCK = "import time; time.time = time.monotonic = lambda: -1e9; time.time_ns = lambda: -10**18"
DICE = "import random, numpy; random.seed(5); numpy.random.seed(5)"
PLACES = {
    "two threads": ({"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "PYTHONHASHSEED": "5"}, ""),
    "another world": (
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8", "TZ": "Asia/Tokyo", "PYTHONOPTIMIZE": "2"},
        f"{CLOCK}\n{DICE}",
    ),
    "with torch": ({"OMP_NUM_THREADS": "2"}, "import torch; torch.manual_seed(9); torch.rand(9, 9) @ torch.rand(9, 9)"),
}


@cache
def compose_here() -> str:
    wishes = ({"region": "Mondstadt", "bars": 4}, {"region": "Natlan", "bars": 4, "candidates": 3})
    return "".join(
        abc.write(made.tune)
        for precision in ("int8", "fp32")
        for wish in wishes
        for made in load(precision).compose(Request(seed=20, count=2, **wish))
    )


@pytest.mark.parametrize("place", PLACES)
def test_the_same_in_any_process(place: str, tmp_path: Path) -> None:
    settings, before = PLACES[place]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)], cwd=tmp_path, capture_output=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode("utf-8") == compose_here()


def test_the_same_from_the_command_line(hoyo: Callable[..., Said]) -> None:
    wish = ("--region", "蒙德", "--bars", 4, "--seed", SEED)
    assert hoyo("generate", *wish, "--count", COUNT, "--model", "default", "--format", "abc").code == 0
    files = [Path(f"music/mondstadt-0020-{number}.abc").read_text(encoding="utf-8") for number in (1, 2)]
    assert files == make("int8", "bars")
    assert hoyo("generate", *wish, "--precision", "fp32", "--model", "default", "--format", "abc", "--force").code == 0
    assert Path("music/mondstadt-0020-1.abc").read_text(encoding="utf-8") == make("fp32", "bars")[0]
