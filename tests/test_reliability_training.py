"""Training never loses: real processes that are killed, stopped, starved of disk and memory, and gone on with."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pty
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from hoyomusic.checkpoint import Checkpoint, load
from hoyomusic.export import find_step, read_step
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.novelty import NoveltyIndex
from hoyomusic.storage import LOCK_SUFFIX, TEMPORARY
from tests.conftest import BOOK
from tests.processes import Hoyo, limit_files, limit_memory, obey_modes, take_terminal

TINY = (
    "--hidden", 8, "--embedding", 8, "--layers", 1, "--rows", 2, "--steps", 64, "--patience", 10**6, "--json",
)  # fmt: skip
LONG = 10**6


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tunes in it."""
    return prepare(tmp_path, monkeypatch)


def prepare(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the book without its nations, so that one of its tunes judges the others."""
    monkeypatch.setenv("HOYOMUSIC_DATA", str(home / "data"))
    monkeypatch.setenv("HOYOMUSIC_CACHE", str(home / "cache"))
    place = home / "work"
    place.mkdir()
    lines = BOOK.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("%%hoyo-region")]
    (place / "tunes.abc").write_text("".join(kept), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The model of a run of three epochs in one go."""
    with pytest.MonkeyPatch.context() as patch:
        place = prepare(tmp_path_factory.mktemp("whole"), patch)
        assert train(place, epochs=3).end() == 0
        return load(place / "models" / "m.pth")


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
        kinds = ("start", "steps", "steps", "save", "save", "export") if epoch else ("first save", "steps")
        kind = chance.choice(kinds)
        if (models / "m.pth").exists():
            run = resume(folder, epochs=epoch + 1 if kind == "export" else LONG)
        else:
            run = train(folder)
        if kind == "start":
            time.sleep(chance.uniform(0, 1))
        elif kind == "steps":
            run.wait_for(lambda run=run: "run started" in run.out)
            time.sleep(chance.uniform(0, 0.8))
        else:
            # A change in the folder: an empty temporary file, half of one, or a whole one without its name.
            told = {"first save": '"step": 3,', "save": '"epoch ended"', "export": '"stopped"'}[kind]
            run.wait_for(lambda run=run, told=told: told in run.out)
            run.wait_for(lambda: temporary(models))
            time.sleep(chance.choice((0, 0, 0.001, 0.004)))
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
    assert counts["amid a save"] >= 3 and counts["epochs"] >= 3


@pytest.mark.slow
def test_killed_two_hundred_times_a_run_loses_nothing(folder: Path) -> None:
    counts = survive(folder, 200, seed=2)
    assert counts["amid a save"] >= 30 and counts["epochs"] >= 50
    print(counts)


def test_a_new_run_killed_anywhere_leaves_the_model_that_was_there(folder: Path) -> None:
    assert train(folder, epochs=1).end() == 0
    models, chance = folder / "models", random.Random(3)
    first = {suffix: (models / f"m{suffix}").read_bytes() for suffix in (".pth", ".index", ".onnx")}
    for _ in range(3):
        run = train(folder)
        run.wait_for(lambda run=run: '"step": 3' in run.out)
        run.wait_for(lambda: temporary(models) or (models / "m-2.index").exists())
        time.sleep(chance.choice((0, 0.001, 0.003, 0.01)))
        run.kill()
        load(models / "m.pth")
        kept = {(models / f"m{number}.pth").read_bytes() for number in ("", *(f"-{each}" for each in range(2, 9)))
                if (models / f"m{number}.pth").exists()}  # fmt: skip
        assert first[".pth"] in kept
    run = train(folder, epochs=1)
    assert run.end() == 0
    (told,) = events(run, "model kept")
    assert load(folder / told["kept_as"]).training["epoch"] >= 1
    assert {path.stem for path in models.iterdir() if path.read_bytes() == first[".pth"]} >= {"m-2"}
    assert (models / "m-2.onnx").read_bytes() == first[".onnx"]
    assert (models / "m-2.index").read_bytes() == first[".index"]
    assert not temporary(models) and not (models / ("m.pth" + LOCK_SUFFIX)).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_rest_is_as_if_nothing_had_been(folder: Path, number: int, whole: Checkpoint) -> None:
    run = train(folder)
    run.wait_for(lambda: '"step": 3,' in run.out)
    run.signal(number)
    # What a launcher sends to the whole group comes twice.
    run.signal(number)
    assert run.end() == 128 + number
    steps = saved(folder)["step"]
    assert run.err == f"stopped and saved after {steps:,} steps; go on with: hoyo resume models/m.pth\n"
    assert not temporary(folder / "models")
    assert resume(folder, epochs=3).end() == 0
    paused = load(folder / "models" / "m.pth")
    assert paused.training["fit"]["step"] == whole.training["fit"]["step"]
    for part in ("weights", "averaged", "moments", "plateau", "best", "waited"):
        assert same(paused.training["fit"][part], whole.training["fit"][part])
    assert same(paused.weights, whole.weights)


def test_a_second_interrupt_ends_at_once_with_a_whole_file(folder: Path) -> None:
    run = train(folder, before=slow_saves)
    run.wait_for(lambda: epochs_told(run) >= 3)
    run.signal(signal.SIGINT)
    run.wait_for(lambda: (folder / "saving").exists() and temporary(folder / "models"))
    time.sleep(0.5)
    began = saved(folder)["epoch"]
    run.signal(signal.SIGINT)
    assert run.end() == 130
    assert "saved" not in run.err and "Traceback" not in run.err
    assert saved(folder)["epoch"] == began
    assert not temporary(folder / "models")


def slow_saves() -> None:
    """In the process: the save after a wish to stop takes for ever."""
    from hoyomusic import storage
    from hoyomusic.cli.train import _Interruption

    write, caught = storage._write_new, _Interruption._catch
    asked = []

    def write_slowly(temporary: object, pieces: object) -> None:
        if asked:
            Path("saving").touch()
            time.sleep(600)
        write(temporary, pieces)

    def catch(self: _Interruption, number: int, frame: object) -> None:
        asked.append(number)
        caught(self, number, frame)

    storage._write_new, _Interruption._catch = write_slowly, catch


def test_nohup_is_heard(folder: Path) -> None:
    run = train(folder, before=partial(signal.signal, signal.SIGHUP, signal.SIG_IGN))
    run.wait_for(lambda: '"step": 3,' in run.out)
    run.signal(signal.SIGHUP)
    run.wait_for(lambda: epochs_told(run) >= 3)
    run.signal(signal.SIGTERM)
    assert run.end() == 143


def test_where_the_terminal_closes_the_run_is_saved(folder: Path) -> None:
    terminal, name = pty.openpty()
    lines = [argument for argument in TINY if argument != "--json"]
    run = Hoyo(
        folder, "train", "--corpus", "tunes.abc", "--epochs", LONG, "--out", "models/m.pth", *lines,
        before=partial(take_terminal, os.ttyname(name)),
    )
    os.set_blocking(terminal, False)
    told = bytearray()

    def third_epoch_told() -> bool:
        with contextlib.suppress(BlockingIOError):
            told.extend(os.read(terminal, 4096))
        return b"  3/1000000" in told

    run.wait_for(third_epoch_told)
    os.close(name)
    os.close(terminal)
    assert run.end() == 128 + signal.SIGHUP
    assert saved(folder)["epoch"] >= 3


def test_where_nobody_reads_the_output_the_run_goes_on(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    run = train(folder, epochs=30, stdout=folder / "pipe")
    run.wait_for(lambda: (folder / "models" / "m.pth").exists())
    os.close(reader)
    assert run.end() == 0
    lines = run.err.splitlines()
    assert lines[0] == "nobody takes what is told any more (Broken pipe); the training goes on"
    assert lines[1].startswith("the model is in models/m.pth; hear it with: ") and len(lines) == 2
    assert saved(folder)["epoch"] == 30


def test_where_the_disk_of_the_output_is_full_the_run_goes_on(folder: Path) -> None:
    run = train(folder, epochs=2, stdout=Path("/dev/full"))
    assert run.end() == 0
    assert run.err.startswith("nobody takes what is told any more (No space left on device); the training goes on\n")
    assert saved(folder)["epoch"] == 2


def same(one: object, other: object) -> bool:
    """Equality in every bit of nested dicts and lists of tensors and plain values."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def check_refused(run: Hoyo, *words: str) -> None:
    """One line, exit code 1, no trace."""
    assert run.end() == 1
    assert run.err.count("\n") == 1 and run.err.startswith("hoyo: ")
    assert all(word in run.err for word in words), run.err


def test_on_a_full_disk_training_stops_with_the_last_save_whole_and_goes_on_with_room(folder: Path) -> None:
    assert train(folder, epochs=2).end() == 0
    model = folder / "models" / "m.pth"
    data = model.read_bytes()
    run = resume(folder, before=partial(limit_files, len(data) // 2))
    check_refused(run, "models/m.pth: cannot be written: no space left", "hoyo resume models/m.pth")
    assert model.read_bytes() == data and not temporary(model.parent)
    check_refused(train(folder, out="models/n.pth", before=partial(limit_files, len(data) // 2)), "no space left")
    assert names(model.parent) == ["m.index", "m.onnx", "m.pth"]
    assert resume(folder, epochs=3).end() == 0
    assert saved(folder)["epoch"] == 3


def test_without_room_for_three_models_training_does_not_start(folder: Path) -> None:
    run = Hoyo(folder, "train", "--corpus", "tunes.abc", "--out", "models/m.pth", before=fill_disk)
    check_refused(run, "models/m.pth: there is no space for it: 100.0 MiB are free, ", " MiB are needed")
    assert names(folder / "models") == []


def fill_disk() -> None:
    """In the process: the disk has 100 MiB left."""
    shutil.disk_usage = lambda path: shutil._ntuple_diskusage(2**40, 2**40 - 100 * 2**20, 100 * 2**20)


def test_a_folder_that_becomes_read_only_stops_the_run_with_the_last_save_whole(folder: Path) -> None:
    models = folder / "models"
    run = train(folder, before=obey_modes)
    run.wait_for(lambda: epochs_told(run) >= 2)
    models.chmod(0o555)
    check_refused(run, "models/m.pth: cannot be written: permission denied; mend that, then go on from the last ")
    assert saved(folder)["epoch"] >= 1
    check_refused(resume(folder, before=obey_modes), "models/m.pth: cannot be written: permission denied")
    check_refused(train(folder, out="models/n.pth", before=obey_modes), "models/n.pth: cannot be written: permission")
    models.chmod(0o755)
    assert resume(folder, epochs=saved(folder)["epoch"] + 1, before=obey_modes).end() == 0
    assert names(models) == ["m.index", "m.onnx", "m.pth"]


def test_a_folder_that_is_removed_stops_the_run_and_loses_nothing(folder: Path) -> None:
    run = train(folder)
    run.wait_for(lambda: epochs_told(run) >= 3)
    os.rename(folder / "models", folder / "gone")
    shutil.rmtree(folder / "gone")
    told = epochs_told(run)
    check_refused(run, "models/m.pth: its folder was removed meanwhile, so the run was saved in a new one and stopped")
    assert saved(folder)["epoch"] >= told
    assert resume(folder, epochs=saved(folder)["epoch"] + 1).end() == 0
    assert names(folder / "models") == ["m.index", "m.onnx", "m.pth"]


def test_two_runs_do_not_write_to_one_file(folder: Path) -> None:
    first = train(folder)
    first.wait_for(lambda: epochs_told(first) >= 1)
    held = f"models/m.pth: is being written by process {first.process.pid}; wait for it, or name another file"
    other = folder / "other"
    other.mkdir()
    (other / "models").symlink_to(folder / "models")
    shutil.copy(folder / "tunes.abc", other)
    check_refused(train(other), held)
    check_refused(resume(other), held)
    export = Hoyo(other, "export", "models/m.pth", "--out", "step.onnx")
    assert export.end() == 0, export.err
    read_step(other / "step.onnx")
    # Another file beside it is free.
    assert train(other, epochs=1, out="models/n.pth").end() == 0
    assert (folder / "models" / "m.pth.lock").read_text() == f"{first.process.pid}\n"
    first.kill()
    assert (folder / "models" / "m.pth.lock").exists()
    assert resume(other, epochs=saved(folder)["epoch"] + 1).end() == 0
    assert "m.pth.lock" not in names(folder / "models")


def test_out_of_memory_names_the_rows(folder: Path) -> None:
    run = train(folder, "--rows", 64, "--hidden", 1024, before=partial(limit_memory, 300 * 2**20))
    check_refused(run, ": memory ran out with 64 rows of 64 steps; try 32 rows")
    assert not temporary(folder / "models")
    run = train(folder, "--hidden", 2048, "--layers", 2, before=partial(limit_memory, 150 * 2**20))
    check_refused(run, "memory ran out with a model of ", "give fewer --hidden or --layers")


def test_losses_that_are_no_numbers_are_told_and_survived(folder: Path) -> None:
    run = train(folder, epochs=3, before=partial(poison, (3, 12, 13, 14)))
    assert run.end() == 0, run.err
    assert "NaN" not in run.out
    steps = events(run, "step")
    assert steps[2]["loss"] is None and steps[2]["skipped"] == 1
    (back,) = events(run, "went back")
    assert back["failed_step"] == 14 and back["step"] <= 12 and back["learning_rate"] == 0.003 / 4
    assert saved(folder)["epoch"] == 3
    run = resume(folder, before=partial(poison, range(3, 10**6)))
    check_refused(run, "loss or gradient is not a number or explodes, 3 steps in a row, after 3 returns")
    assert load(folder / "models" / "m.pth").training["epoch"] == 3


def poison(steps: tuple[int, ...]) -> None:
    """In the process: the logits of these steps are not numbers."""
    forward, calls = HoyoMusicLSTM.forward, []

    def poisoned(model: HoyoMusicLSTM, *arguments: object, **options: object) -> object:
        logits, state = forward(model, *arguments, **options)
        calls.extend([None] * model.training)
        return (logits * math.nan if model.training and len(calls) in steps else logits), state

    HoyoMusicLSTM.forward = poisoned
