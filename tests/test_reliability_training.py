"""Training never loses: real processes that are killed, stopped, starved of disk and memory, and gone on with."""

from __future__ import annotations

import json
import os
import pty
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from hoyomusic.checkpoint import load
from hoyomusic.export import find_step, read_step
from hoyomusic.novelty import NoveltyIndex
from hoyomusic.storage import LOCK_SUFFIX, TEMPORARY
from tests.conftest import BOOK
from tests.processes import Hoyo, limit_files, limit_memory, take_terminal

TINY = (
    "--hidden", 8, "--embedding", 8, "--layers", 1, "--rows", 2, "--steps", 64, "--patience", 10**6, "--json",
)  # fmt: skip
LONG = 10**6


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tunes in it: the book without its nations, so that one of its tunes judges the others."""
    monkeypatch.setenv("HOYOMUSIC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOYOMUSIC_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "work"
    place.mkdir()
    lines = BOOK.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("%%hoyo-region")]
    (place / "tunes.abc").write_text("".join(kept), encoding="utf-8")
    return place


def train(folder: Path, *arguments: object, epochs: int = LONG, out: str = "models/m.pth", **options) -> Hoyo:
    chosen = ("--corpus", "tunes.abc", "--epochs", epochs, "--out", out)
    return Hoyo(folder, "train", *chosen, *TINY, *arguments, **options)


def resume(folder: Path, *arguments: object, epochs: int = LONG, **options) -> Hoyo:
    return Hoyo(folder, "resume", "models/m.pth", "--epochs", epochs, "--json", *arguments, **options)


def events(run: Hoyo, name: str) -> list[dict]:
    """The events of a name that a run has told in whole lines."""
    lines = run.out.splitlines(keepends=True)
    told = [json.loads(line) for line in lines if line.endswith("\n")]
    return [event for event in told if event["event"] == name]


def epochs_told(run: Hoyo) -> int:
    return max((event["epoch"] for event in events(run, "epoch ended")), default=0)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


def temporary(folder: Path) -> list[str]:
    return [name for name in names(folder) if TEMPORARY.fullmatch(name)]


def saved(folder: Path) -> dict:
    return load(folder / "models" / "m.pth").training


def survive(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill a run so often, each time going on with it; after each kill all files must be whole and nothing lost."""
    chance, counts = random.Random(seed), {"killed": 0, "amid a save": 0, "ended": 0}
    models = folder / "models"
    epoch, on_screen = 0, 0
    while counts["killed"] < kills:
        number = counts["killed"]
        if not (models / "m.pth").exists():
            run = train(folder)
        else:
            # Now and then the run comes to its end, where the model is exported.
            run = resume(folder, epochs=epoch + 2 if number % 4 == 3 else LONG)
        if number % 2:
            # At a change in the folder: an empty temporary file, half of one, or a whole one without its name.
            told = f'"step": {chance.randint(1, 3)}' if not epoch else '"epoch ended"' if number % 4 > 1 else "started"
            run.wait_for(lambda told=told: told in run.out)
            run.wait_for(lambda: temporary(models))
            time.sleep(chance.choice((0, 0, 0.001, 0.004)))
        elif number % 8:
            run.wait_for(lambda: "run started" in run.out)
            time.sleep(chance.uniform(0, 0.8))
        else:
            time.sleep(chance.uniform(0, 1))
        run.signal(signal.SIGKILL)
        code = run.end()
        assert code in (-signal.SIGKILL, 0), run.err
        counts["killed" if code else "ended"] += 1
        counts["amid a save"] += bool(temporary(models))
        on_screen = max(on_screen, epochs_told(run))
        if (models / "m.pth").exists():
            found = saved(folder)
            assert found["epoch"] >= max(epoch, on_screen - 1)
            epoch = found["epoch"]
            NoveltyIndex.load(models / "m.index")
        else:
            assert epoch == 0 and on_screen <= 1
        if (models / "m.onnx").exists():
            read_step(models / "m.onnx")
    run = resume(folder, epochs=epoch + 1)
    assert run.end() == 0, run.err
    assert names(models) == ["m.index", "m.onnx", "m.pth"]
    assert not temporary(folder.parent / "cache")
    assert find_step(models / "m.pth") is not None
    assert saved(folder)["epoch"] == epoch + 1
    return {**counts, "epochs": epoch}


def test_killed_twenty_times_a_run_loses_nothing(folder: Path) -> None:
    counts = survive(folder, 20, seed=1)
    assert counts["amid a save"] >= 3 and counts["epochs"] >= 5


@pytest.mark.slow
def test_killed_two_hundred_times_a_run_loses_nothing(folder: Path) -> None:
    counts = survive(folder, 200, seed=2)
    assert counts["amid a save"] >= 30 and counts["epochs"] >= 50
    print(counts)
