"""The page of promises is true: what it names is there, what it counts is counted, no clock is asked."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import ROOT
from tests.test_reliability_command_lines import COMMANDS

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_fault_has_a_row() -> None:
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)] == list(range(1, 26))


def test_the_tests_that_it_names_are_there() -> None:
    path, named = None, []
    for file, name in re.findall(r"`(tests/\w+\.py)?(?:::([\w:]+))?`", PAGE):
        path = file or path
        named += [(path, each) for each in name.split("::") if each]
    assert len(named) > 40
    for path, each in named:
        assert re.search(rf"(def|class) {each}\b", Path(ROOT / path).read_text(encoding="utf-8")), (path, each)


def test_the_command_lines_are_counted() -> None:
    count = sum(len(row.values) for _, rows in COMMANDS.values() for row in rows.values())
    assert f"{count:,} command lines" in PAGE


def test_nothing_asks_what_time_it_is() -> None:
    """A clock may be set back: how long something takes is told by one that only goes forward."""
    asking = re.compile(r"time\.time\(|datetime\.now|date\.today|from time import time|utcnow")
    assert not [path for path in (ROOT / "hoyomusic").rglob("*.py") if asking.search(path.read_text(encoding="utf-8"))]
