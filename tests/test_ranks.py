"""Several processes are as one: the same statistics, the same weights, and a clear end when one of them is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hoyomusic.checkpoint import load
from hoyomusic.errors import TrainingError, UsageError
from hoyomusic.fit import FitConfig, FitState, StepDone, WentBack, fit, measure
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.normalisation import BatchNorm
from hoyomusic.ranks import ALONE, Ranks, join
from hoyomusic.sizes import ModelConfig
from hoyomusic.training import resume
from tests.conftest import BOOK, ROOT
from tests.test_fit import TRAINING, VALIDATION, Poisoned

SIZES = ModelConfig(
    vocabulary=12, regions=3, clocks=5, embedding=8, hidden=16, layers=2, dropout=0.2, weight_dropout=0.2
)
# A rate at which last bits stay last bits: Adam makes of gradients near zero steps of full size.
CONFIG = FitConfig(epochs=2, rows=4, steps=8, learning_rate=1e-3, precision="fp32", averaging=0.9)


class Table:
    """Where threads that stand for processes lay down what they exchange."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=60)
        self.places: list[Tensor] = [torch.empty(0)] * count


@dataclass(frozen=True, slots=True)
class Threads(Ranks):
    """Ranks that are threads of this process: all but the engine of the exchange is as with processes."""

    table: Table = field(default_factory=lambda: Table(1))

    def gather(self, tensor: Tensor) -> Tensor:
        self.table.places[self.rank] = tensor.clone()
        self.table.barrier.wait()
        gathered = torch.stack(self.table.places)
        self.table.barrier.wait()
        return gathered

    def add(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(self.gather(tensor).sum(dim=0))


def together(count: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What `work` gives in each of `count` threads."""
    table = Table(count)

    def run(rank: int) -> Any:
        try:
            return work(Threads(rank, count, rank, table))
        except BaseException:
            table.barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def run(ranks: Ranks = ALONE, config: FitConfig = CONFIG, model: HoyoMusicLSTM | None = None, **hooks) -> FitState:
    model = HoyoMusicLSTM(SIZES, seed=5) if model is None else model
    return fit(model, TRAINING, VALIDATION, config, ranks=ranks, **hooks)


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=tolerance)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=4), st.integers(0, 1000))
def test_normalised_together_as_if_all_positions_were_here(counts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Far from zero and hardly varying, as the outputs of saturated units are.
    inputs = torch.randn(sum(counts), 6, generator=generator) * 0.01 + 0.9
    pull = torch.randn(sum(counts), 6, generator=generator)
    parts = list(zip(inputs.split(counts), pull.split(counts), strict=True))

    def normalise(ranks: Ranks, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, BatchNorm]:
        norm, given_rows = BatchNorm(6), rows.clone().requires_grad_()
        with torch.no_grad():
            norm.weight.copy_(torch.arange(1, 7) / 3)
        norm.ranks = ranks
        result = norm(given_rows, None)
        (result * weights).sum().backward()
        return result.detach(), given_rows.grad, norm

    result, gradient, norm = normalise(ALONE, inputs, pull)
    found = together(len(counts), lambda ranks: normalise(ranks, *parts[ranks.rank]))
    torch.testing.assert_close(torch.cat([each[0] for each in found]), result, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.cat([each[1] for each in found]), gradient, rtol=1e-3, atol=1e-2)
    for name in ("weight", "bias"):
        summed = sum(getattr(each[2], name).grad for each in found)
        torch.testing.assert_close(summed, getattr(norm, name).grad, rtol=1e-4, atol=1e-4)
    for _, _, part in found:
        assert_close(part.state_dict(), norm.state_dict(), 1e-6)


def test_statistics_hear_only_what_counts_anywhere() -> None:
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    counted = [torch.tensor([0, 2]), torch.tensor([], dtype=torch.int64)]

    def normalise(ranks: Ranks) -> Tensor:
        norm = BatchNorm(3)
        norm.ranks = ranks
        return norm(inputs[4 * ranks.rank : 4 * ranks.rank + 4], counted[ranks.rank]).detach()

    first, second = together(2, normalise)
    torch.testing.assert_close(first, BatchNorm(3)(inputs[:4], counted[0]).detach())
    assert not second.any()


@pytest.mark.parametrize("count", [2, 4])
def test_some_train_as_one_would(count: int) -> None:
    alone = run()
    found = together(count, lambda ranks: run(ranks))
    for state in found:
        assert_close(state.weights, alone.weights, 1e-4)
        assert state.best == pytest.approx(alone.best, abs=1e-5)
        assert [epoch["tokens"] for epoch in state.history] == [epoch["tokens"] for epoch in alone.history]
        assert_close(state.weights, found[0].weights, 0)
        assert_close(state.averaged, found[0].averaged, 0)
        assert state.history == found[0].history
        assert state.carried is None


def test_layer_normalisation_needs_no_exchange_of_statistics() -> None:
    sizes = replace(SIZES, norm="layer")
    alone = run(model=HoyoMusicLSTM(sizes, seed=5), config=replace(CONFIG, epochs=1))
    found = together(
        2, lambda ranks: run(ranks, model=HoyoMusicLSTM(sizes, seed=5), config=replace(CONFIG, epochs=1))
    )
    assert_close(found[0].weights, alone.weights, 1e-4)


def test_another_number_of_processes_goes_on() -> None:
    def until(step: int) -> dict[str, Any]:
        seen: list[Any] = []
        return {
            "on_event": seen.append,
            "should_stop": lambda: isinstance(seen[-1], StepDone) and seen[-1].step == step,
        }

    whole = run()
    first = together(4, lambda ranks: run(ranks, **until(7)))[2]
    second = together(2, lambda ranks: run(ranks, state=first, **until(20)))[0]
    assert first.segment > 0 and second.segment > 0
    for state in (first, second):
        alone = run(**until(state.step))
        assert_close(state.weights, alone.weights, 1e-4)
        for mine, its in zip(state.carried, alone.carried, strict=True):
            torch.testing.assert_close(mine, its, rtol=0, atol=1e-4)
    third = run(state=second)
    assert third.step == whole.step
    assert_close(third.weights, whole.weights, 1e-4)


def test_one_saves_and_any_may_ask_to_stop() -> None:
    saved: list[int] = []

    def work(ranks: Ranks) -> FitState:
        steps: list[object] = []
        return run(
            ranks, on_event=lambda event: steps.append(event) if isinstance(event, StepDone) else None,
            should_stop=lambda: ranks.rank == 1 and len(steps) == 3, save=lambda state: saved.append(ranks.rank),
        )

    assert [state.step for state in together(2, work)] == [3, 3]
    assert saved == [0]


def test_a_step_that_is_not_a_number_in_one_is_undone_in_all() -> None:
    def work(ranks: Ranks) -> FitState:
        model = Poisoned(SIZES, seed=5)
        model.bad = (3, 6) if ranks.rank == 1 else ()
        return run(ranks, model=model, config=replace(CONFIG, epochs=1))

    first, second = together(2, work)
    assert first.skipped == second.skipped == 2
    assert_close(first.weights, second.weights, 0)
    assert all(torch.isfinite(weight).all() for weight in first.weights.values())


def test_what_is_no_number_in_one_takes_all_back() -> None:
    def work(ranks: Ranks) -> tuple[FitState, list[WentBack]]:
        model, events = Poisoned(SIZES, seed=5), []
        model.bad = (3, 4, 5) if ranks.rank == 1 else ()
        state = run(ranks, model=model, config=replace(CONFIG, epochs=1), on_event=events.append)
        return state, [event for event in events if isinstance(event, WentBack)]

    (first, back), (second, _) = together(2, work)
    assert back == [WentBack(0, 5, 0, CONFIG.learning_rate / 4, 1)]
    assert_close(first.weights, second.weights, 0)
    lower = replace(CONFIG, epochs=1, learning_rate=CONFIG.learning_rate / 4)
    assert_close(first.weights, run(config=lower).weights, 1e-4)


def test_measured_in_shares_it_is_the_same() -> None:
    model = HoyoMusicLSTM(SIZES, seed=5)
    models = [HoyoMusicLSTM(SIZES, seed=5) for _ in range(3)]
    shares = together(3, lambda ranks: measure(models[ranks.rank], VALIDATION, rows=2, ranks=ranks))
    assert len(set(shares)) == 1
    assert shares[0] == pytest.approx(measure(model, VALIDATION, rows=2), abs=1e-9)


def test_processor_seconds_are_those_of_all() -> None:
    states = together(2, lambda ranks: run(ranks, config=replace(CONFIG, epochs=1)))
    stopped = together(2, lambda ranks: run(ranks, should_stop=lambda: True))
    assert states[0].history[0]["cpu_seconds"] == states[1].history[0]["cpu_seconds"] > 0
    before = stopped[0].cpu_seconds
    on = together(2, lambda ranks: run(ranks, state=stopped[0], should_stop=lambda: True))
    assert 0 < before < on[0].cpu_seconds < 100 * before


def test_rows_are_shared_evenly_or_not_at_all() -> None:
    assert [Ranks(rank, 3).rows(6) for rank in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert ALONE.rows(5) == slice(0, 5)
    with pytest.raises(UsageError, match="^3 processes cannot share 32 rows evenly; use 30 rows$"):
        fit(HoyoMusicLSTM(SIZES), TRAINING, VALIDATION, replace(CONFIG, rows=32), ranks=Ranks(0, 3))
    with pytest.raises(UsageError, match="^3 processes cannot share 2 rows evenly; use 3 rows$"):
        Ranks(0, 3).rows(2)


def test_each_process_has_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    ranks = Ranks(5, 8, local=1)
    assert [ranks.device(wish) for wish in ("auto", "cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:1", "cuda:0", "cpu"]
    assert ALONE.device("auto") == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ranks.device("auto") == "auto"


TORCHRUN = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "2"}, "RANK: is missing; start the processes with torchrun"),
        ({**TORCHRUN, "MASTER_PORT": "0"},
         "MASTER_PORT: is 0; start with torchrun --standalone, which finds a free one"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: is 'two', no number; start the processes with torchrun"),
        ({"OMPI_COMM_WORLD_SIZE": "4"},
         "OMPI_COMM_WORLD_SIZE: 4 processes were started that know nothing of each other; start them with torchrun"),
    ],
)  # fmt: skip
def test_an_environment_that_is_not_torchruns_is_refused(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught, join():
        pass
    assert str(caught.value) == message


def test_who_waits_for_others_that_do_not_come_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoyomusic.ranks.MEETING_TIMEOUT", timedelta(seconds=1))
    for name, value in {**TORCHRUN, "MASTER_PORT": str(free_port())}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="^process 2 of 2: another process .* does not answer; go on"), join():
        pass


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for environment in ({}, {"SLURM_STEP_NUM_TASKS": "1"}, {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with join() as ranks:
            assert ranks is ALONE
    assert ALONE.agree(True, False) == (True, False)
    assert ALONE.gather(torch.ones(3)).shape == (1, 3)


def test_those_who_begin_differently_are_told() -> None:
    def work(ranks: Ranks) -> str:
        ranks.check_same("alike", "run")
        with pytest.raises(TrainingError) as caught:
            ranks.check_same(f"corpus {ranks.rank}", "run")
        return str(caught.value)

    assert together(2, work)[1] == (
        "process 2 of 2: the processes do not begin with the same run; give all of them the same files and options"
    )


WORKER = """
import sys
import torch
from hoyomusic.errors import TrainingError
from hoyomusic.ranks import join
from hoyomusic.fit import StepDone, fit
from hoyomusic.model import HoyoMusicLSTM
from tests.test_ranks import CONFIG, SIZES, TRAINING, VALIDATION, replace

def on_event(event):
    if isinstance(event, StepDone) and event.step == 50:
        torch.save({name: weight.clone() for name, weight in model.state_dict().items()}, sys.argv[1])

with join() as ranks:
    model = HoyoMusicLSTM(SIZES, seed=5)
    fit(model, TRAINING, VALIDATION, replace(CONFIG, epochs=6), ranks=ranks,
        on_event=on_event if ranks.first else lambda event: None)
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HOYOMUSIC_CACHE": str(folder / "cache"),
        "HOYOMUSIC_DATA": str(folder / "data"),
    }


def start(count: int, program: list[str], folder: Path) -> list[subprocess.Popen]:
    """`count` Python processes that are told, as torchrun does, who they are."""
    shared = {
        **environment(folder), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
    }
    return [
        subprocess.Popen(
            [sys.executable, *program], env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, cwd=folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(count)
    ]


def write_tunes(folder: Path) -> None:
    """The book without its nations: of eight tunes of one nation one judges, of one tune a nation none would."""
    lines = BOOK.read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "tunes.abc").write_text("".join(line for line in lines if not line.startswith("%%hoyo-region")))


TRAIN = (
    "-m hoyomusic train --corpus tunes.abc --out m.pth --hidden 16 --embedding 8 --layers 2 --rows 4 --steps 16"
    " --patience 1000 --json"
).split()


@pytest.mark.slow
def test_when_one_is_killed_the_others_end_and_the_run_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tunes(tmp_path)
    first, second = start(2, [*TRAIN, "--epochs", "1000"], tmp_path)
    for line in first.stdout:
        if json.loads(line)["event"] == "epoch ended" and json.loads(line)["epoch"] == 2:
            break
    second.kill()
    told, said = first.communicate(timeout=120)
    assert first.returncode == 1
    assert said == (
        "hoyo: process 1 of 2: another process of this run has ended or does not answer;"
        " go on from the last save with hoyo resume\n"
    )
    assert second.communicate()[0] == ""
    saved = load(tmp_path / "m.pth").training["epoch"]
    assert saved >= 1
    state = resume(tmp_path / "m.pth", epochs=saved + 1)
    assert [epoch["epoch"] for epoch in state.history] == list(range(1, saved + 2))


@pytest.mark.slow
def test_torchrun_starts_and_stops_a_run_that_one_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tunes(tmp_path)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launched = subprocess.Popen(
        [*torchrun, *TRAIN, "--epochs", "1000"], env=environment(tmp_path), cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    events = []
    for line in launched.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "step" and events[-1]["step"] == 30:
            break
    launched.send_signal(signal.SIGTERM)
    rest, said = launched.communicate(timeout=120)
    events += [json.loads(line) for line in rest.splitlines()]
    assert [event["event"] for event in events[:2]] == ["corpus ready", "run started"]
    assert events[1]["processes"] == 2
    assert events[-1]["event"] == "stopped" and events[-1]["reason"] == "asked"
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, events[-1]["step"] + 1))
    assert f"stopped and saved after {events[-1]['step']:,} steps; go on with: hoyo resume m.pth" in said
    saved = load(tmp_path / "m.pth").training
    assert saved["step"] == events[-1]["step"]
    state = resume(tmp_path / "m.pth", epochs=saved["epoch"] + 1)
    assert len(state.history) == saved["epoch"] + 1


@pytest.mark.slow
def test_two_processes_equal_one_over_fifty_steps(tmp_path: Path) -> None:
    for process in start(2, ["-c", WORKER, "weights.pth"], tmp_path):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    seen = {}
    model = HoyoMusicLSTM(SIZES, seed=5)

    def on_event(event: object) -> None:
        if isinstance(event, StepDone) and event.step == 50:
            seen.update({name: weight.clone() for name, weight in model.state_dict().items()})

    fit(model, TRAINING, VALIDATION, replace(CONFIG, epochs=6), on_event=on_event)
    assert seen
    assert_close(torch.load(tmp_path / "weights.pth"), seen, 1e-4)
    begun = HoyoMusicLSTM(SIZES, seed=5).state_dict()
    assert max(float((seen[name] - begun[name]).abs().max()) for name in seen) > 0.02
