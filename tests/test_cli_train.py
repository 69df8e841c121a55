"""`hoyo train` and `hoyo resume`: what they tell, where the model goes, how a run is stopped and gone on with."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hoyomusic.checkpoint import load
from hoyomusic.cli.watching import JsonWatcher, LineWatcher, describe_memory, describe_seconds
from hoyomusic.fit import EpochEnded, RunStarted, StepDone, WentBack
from hoyomusic.training import GoesOnDifferently
from tests.conftest import BOOK, Said

Hoyo = Callable[..., Said]

TINY = ("--hidden", 16, "--embedding", 8, "--layers", 1, "--rows", 2, "--steps", 64, "--dropout", 0)
MODEL = Path("models/hoyomusic_generator.pth")


@pytest.fixture
def tunes(tmp_path: Path) -> Path:
    """The book without its nations: of eight tunes of one nation one judges, of one tune a nation none would."""
    lines = BOOK.read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "tunes.abc"
    path.write_text("".join(line for line in lines if not line.startswith("%%hoyo-region")), encoding="utf-8")
    return path


def test_train_tells_what_it_does_in_plain_lines(hoyo: Hoyo, tunes: Path) -> None:
    said = hoyo("train", "--corpus", tunes, "--epochs", 2, *TINY)
    assert said.code == 0, said.err
    assert said.lines[0] == f"read 8 tunes: {tunes} (8)"
    assert any(line.startswith("learns from 7 tunes (") for line in said.lines)
    at = next(number for number, line in enumerate(said.lines) if line.endswith(" parameters on cpu in fp32"))
    assert said.lines[at + 2].split() == "epoch train validate train validate rate CPU s memory".split()
    rows = [line.split() for line in said.lines[at + 3 : -1]]
    assert [row[0] for row in rows] == ["1/2", "2/2"]
    for row in rows:
        nats = [float(value) for value in row[1:5]]
        assert nats[2] / nats[0] == pytest.approx(nats[3] / nats[1], rel=0.01)
        assert row[5] == "0.003"
        assert row[8] == "MiB"
    assert said.lines[-1] == "all epochs are done"
    assert said.err == f"the model is in {MODEL}; hear it with: hoyo generate --region Mondstadt --model {MODEL}\n"
    assert "\x1b" not in said.out
    assert load(MODEL).training["epoch"] == 2


def test_train_tells_programs_everything(hoyo: Hoyo, tunes: Path) -> None:
    said = hoyo("train", "--corpus", tunes, "--epochs", 2, "--out", "m.pth", "--json", *TINY)
    events = [json.loads(line) for line in said.lines]
    names = [event["event"] for event in events]
    assert names[:3] == ["corpus ready", "run started", "step"]
    assert names[-2:] == ["epoch ended", "stopped"]
    ended = [event for event in events if event["event"] == "epoch ended"]
    assert [event["epoch"] for event in ended] == [1, 2]
    wanted = {
        "epoch", "tokens", "cpu_seconds", "nats_per_token", "validation_nats_per_token", "validation_nats_per_note",
        "learning_rate", "memory_bytes",
    }  # fmt: skip
    assert all(wanted <= event.keys() for event in ended)
    assert ended[1]["nats_per_token"] < ended[0]["nats_per_token"]
    assert events[0]["statistics"]["usable"] == 8


def test_resume_goes_on_to_the_total(hoyo: Hoyo, tunes: Path) -> None:
    assert hoyo("train", "--corpus", tunes, "--epochs", 1, *TINY).code == 0
    said = hoyo("resume", "--epochs", 3, "--json")
    assert said.code == 0, said.err
    assert [event["epoch"] for event in map(json.loads, said.lines) if event["event"] == "epoch ended"] == [2, 3]
    said = hoyo("resume")
    assert said == (1, "", f"hoyo: {MODEL}: all 3 epochs are done; ask for more: --epochs 13\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_step_and_says_how_to_go_on(
    hoyo: Hoyo, tunes: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    told = JsonWatcher.on_event

    def interrupt(watcher: JsonWatcher, event: object) -> None:
        told(watcher, event)
        if isinstance(event, StepDone) and event.step == 3:
            signal.raise_signal(number)

    monkeypatch.setattr(JsonWatcher, "on_event", interrupt)
    before = signal.getsignal(number)
    said = hoyo("train", "--corpus", tunes, "--epochs", 9, "--json", *TINY)
    assert signal.getsignal(number) is before
    assert said.code == code
    assert said.err == f"stopped and saved after 3 steps; go on with: hoyo resume {MODEL}\n"
    assert load(MODEL).training["step"] == 3

    monkeypatch.setattr(JsonWatcher, "on_event", told)
    said = hoyo("resume", "--epochs", 1, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.lines[2])["step"] == 4


def test_an_earlier_model_is_kept(hoyo: Hoyo, tunes: Path) -> None:
    hoyo("train", "--corpus", tunes, "--epochs", 1, *TINY)
    first = MODEL.read_bytes()
    said = hoyo("train", "--corpus", tunes, "--epochs", 1, "--seed", 1, *TINY)
    assert f"the model that was in {MODEL} is kept as {MODEL.with_stem('hoyomusic_generator-2')}" in said.lines
    assert "to go on with that one instead: hoyo resume models/hoyomusic_generator-2.pth" in said.lines
    assert MODEL.with_stem("hoyomusic_generator-2").read_bytes() == first
    assert MODEL.read_bytes() != first


def test_training_further_begins_with_the_weights_of_a_model(hoyo: Hoyo, tunes: Path) -> None:
    hoyo("train", "--corpus", tunes, "--epochs", 3, "--out", "first.pth", *TINY)
    said = hoyo("train", "--from", "first.pth", "--corpus", tunes, "--out", "more.pth", "--epochs", 1, "--json",
                "--rows", 2, "--steps", 64, "--dropout", 0)  # fmt: skip
    assert said.code == 0, said.err
    assert load("more.pth").config == load("first.pth").config


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--epochs", "0"], 2, "epochs is 0; give a whole number, 1 or more"),
        (["train", "--max-samples", "1"], 2, "--max-samples: 1 tunes; ask for 2 or more"),
        (["train", "--learning-rate", "nan"], 2, "learning_rate is nan; give a number above 0"),
        (["train", "--precision", "fp8"], 2, "there is no precision 'fp8'; choose auto, fp32 or bf16"),
        (["train", "--norm", "none"], 2, "there is no normalisation 'none'; choose batch or layer"),
        (["train", "--hidden", "0"], 2, "hidden is 0; give a whole number from 1 to 4096"),
        (["train", "--device", "tpu"], 2, "there is no device 'tpu'; choose auto, cpu, cuda or cuda:N"),
        (["train", "--corpus", "nothing"], 1, "nothing: there is no corpus, file or folder of this name"),
        (["train", "--from", "nothing.pth"], 1, "nothing.pth: there is no such file"),
        (["train", "--use-hoyomusic"], 1, "the hoyoMusic set is not on this computer; put its file"),
        (["train", "--out", "tunes.abc/model.pth"], 1, "tunes.abc/model.pth: cannot be written: "),
        (["train", "--out", "models/default.pth"], 2, "models/default.pth: is the model that comes along; train into"),
        (["resume"], 1, f"{MODEL}: there is no such file; train a model or name another file"),
        (["resume", "tunes.abc"], 1, "tunes.abc: is no model file"),
    ],
)
def test_errors_come_before_any_work(hoyo: Hoyo, tunes: Path, arguments: list[str], code: int, message: str) -> None:
    Path("tunes.abc").write_bytes(tunes.read_bytes())
    if arguments[0] == "train" and "--corpus" not in arguments:
        arguments = [*arguments, "--corpus", "tunes.abc"]
    said = hoyo(*arguments)
    assert said.code == code
    assert said.err.startswith(f"hoyo: {message}")
    assert said.err.count("\n") == 1


def test_steps_are_told_now_and_then() -> None:
    kept, passing = [], []
    watcher = LineWatcher(kept.append, passing.append, 0.0)
    watcher.on_event(RunStarted(10, 0, 0, 1234567, 7, 1, "cpu", "fp32"))
    watcher.on_event(StepDone(0, 5, 5, 20, 2.5, 128, 4321.9, 3725.2))
    watcher.on_event(EpochEnded(1, 20, 9000, 4.5, 2.25, 2.0, 0.003, 0, True))
    assert kept[0] == "1,234,567 parameters on cpu in fp32"
    assert kept[-1].startswith("  1/10   2.250    2.000   2.250    2.000     0.003    2,000  ")
    assert kept[-1].endswith(" MiB  best")
    assert len(kept[-1]) < 80
    assert passing[0].startswith(
        "epoch 1/10, step 5/20: 2.500 nats a token, 2.500 a note\n4,322 tokens/s, 1:02:05 left, memory "
    )
    seldom = LineWatcher(kept.append, passing.append, 60.0)
    seldom.progress("default", 500)
    assert len(passing) == 1


def test_what_went_wrong_and_what_is_another_is_told() -> None:
    kept, passing = [], []
    watcher = LineWatcher(kept.append, passing.append, 0.0)
    differences = ("torch 1 then, 2 now", "number of threads 1")
    watcher.on_event(RunStarted(10, 2, 40, 1234567, 7, 1, "cpu", "fp32", 1, differences))
    watcher.on_event(StepDone(0, 5, 5, 20, math.nan, 128, 4321.9, 3725.2, 1))
    watcher.on_event(WentBack(0, 7, 5, 0.00075, 1))
    watcher.on_event(EpochEnded(1, 20, 9000, 4.5, 2.25, 2.0, 0.003, 2, False))
    watcher.on_event(GoesOnDifferently(("the corpus is another", "HoyoMusic 0 then")))
    assert kept[3] == "not bit for bit as before the pause: torch 1 then, 2 now; number of threads 1"
    assert ", 1 step skipped\n" in passing[0]
    assert kept[4] == (
        "loss or gradient was no number or exploded up to step 7: back to step 5, on at a learning rate of 0.00075"
    )
    assert kept[5].endswith("  2 steps skipped")
    assert kept[6] == "goes on all the same: the corpus is another; HoyoMusic 0 then"


def test_programs_are_told_nothing_that_is_no_json(capfd: pytest.CaptureFixture[str]) -> None:
    JsonWatcher().on_event(EpochEnded(1, 20, 9000, 4.5, math.nan, math.inf, 0.003, 2, False))
    told = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)
    assert told["nats_per_token"] is told["validation_nats_per_token"] is told["validation_nats_per_note"] is None


def test_times_and_memory_in_words() -> None:
    assert describe_seconds(59.6) == "0:01:00"
    assert describe_memory({"process": 300 * 2**20}) == "300 MiB"
    assert describe_memory({"process": 300 * 2**20, "cuda": 2**31}) == "300 MiB, GPU 2,048 MiB"
