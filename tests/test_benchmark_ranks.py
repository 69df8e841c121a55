"""The benchmark of two processes: what its figures are made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import ranks
from benchmarks.ranks import Turn
from benchmarks.table import read_rows

ROUND = {
    "alone": Turn(tokens=1000, wall_seconds=2.0, cpu_seconds=2.0),
    "together": Turn(tokens=1000, wall_seconds=1.25, cpu_seconds=2.4),
    "apart": Turn(tokens=2000, wall_seconds=2.2, cpu_seconds=4.4),
}


def test_two_are_compared_with_one_and_with_what_the_machine_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ranks, "measure", lambda rounds, steps: [ROUND] * rounds)
    ranks.main(["--json", "--rows", str(tmp_path / "rows.json")])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["tokens_per_second_together"] == 800
    assert figures["speedup_of_two"] == 1.6
    assert figures["speedup_the_machine_allows"] == pytest.approx(20 / 11, abs=1e-3)
    assert figures["cpu_seconds_per_token_vs_alone"] == 1.2
    [row] = read_rows(tmp_path / "rows.json")
    assert (row.ours, row.peer, row.ratio) == (800, 500, 1.6)
