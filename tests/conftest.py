"""What several tests need: the command line called in this process, and our book of tunes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

# The models of tests are so small that threads would only wait for each other, for minutes on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "data" / "book.abc"


class Said(NamedTuple):
    """What a command line left behind: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines of stdout without the blanks at their ends."""
        return [line.rstrip() for line in self.out.splitlines()]


@pytest.fixture
def hoyo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """``hoyo("render", path, ...)`` runs a command in an empty folder, with the user's data and cache there too."""
    from hoyomusic.cli import run

    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOYOMUSIC_DATA", str(home / "data"))
    monkeypatch.setenv("HOYOMUSIC_CACHE", str(home / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def call(*arguments: object) -> Said:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return Said(code, *capfd.readouterr())

    return call
