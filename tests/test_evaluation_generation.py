"""Tunes to be judged: a request in parts, and the same tunes however many processes make them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoyomusic.checkpoint import Checkpoint, save
from hoyomusic.errors import CheckpointError
from hoyomusic.evaluation import generation
from hoyomusic.evaluation.generation import SEED_STEP, TUNES_AT_A_TIME, compose_all, split_request
from hoyomusic.generator import Request
from hoyomusic.grammar import CLOCKS
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.regions import REGIONS
from hoyomusic.sizes import ModelConfig
from hoyomusic.vocab import Vocabulary


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned nothing."""
    vocabulary = Vocabulary.build()
    sizes = ModelConfig(len(vocabulary), len(REGIONS), CLOCKS, embedding=4, hidden=8, layers=1)
    path = tmp_path_factory.mktemp("model") / "tiny.pth"
    return save(Checkpoint(sizes, vocabulary.to_dict(), HoyoMusicLSTM(sizes).state_dict(), {"learned": []}), path)


def test_a_request_in_parts() -> None:
    parts = split_request(Request("Liyue", count=2 * TUNES_AT_A_TIME + 3, seed=7, guidance=2.0))
    assert [part.count for part in parts] == [TUNES_AT_A_TIME, TUNES_AT_A_TIME, 3]
    assert [part.seed for part in parts] == [7 * SEED_STEP, 7 * SEED_STEP + 1, 7 * SEED_STEP + 2]
    assert {(part.region, part.guidance) for part in parts} == {("Liyue", 2.0)}


def test_the_same_tunes_from_one_process_and_from_two(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "TUNES_AT_A_TIME", 2)
    requests = [Request(region, count=3, seed=3, bars=2, metre="2/4") for region in ("Mondstadt", "Natlan")]
    done: list[int] = []
    alone = compose_all(model, requests, 1, done.append)
    assert done == [2, 1, 2, 1]
    assert [made.region.name for made in alone] == ["Mondstadt"] * 3 + ["Natlan"] * 3
    assert len({made.tune for made in alone}) == 6
    assert compose_all(model, requests, 2, done.append) == alone
    assert done == [2, 1, 2, 1] * 2


def test_what_goes_wrong_in_another_process_is_told_here(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no.pth"):
        compose_all(tmp_path / "no.pth", [Request(count=1)], 2, lambda count: None)
