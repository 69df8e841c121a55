"""What was made: a row a tune in a table, or a JSON object a tune."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoyomusic.cli.console import output, show_table, tune_progress, write_json
from hoyomusic.text import printable

if TYPE_CHECKING:
    from hoyomusic.score import Score

COLUMNS, NUMBERS = ("title", "key", "metre", "bars", "seconds", "files"), ("bars", "seconds")
TITLE_WIDTH = 40
# Faults of a tune that are told one by one.
FAULTS_SHOWN = 5
# A path that was cut could not be copied.
LONGEST_PATHS = 10_000


class Report:
    """Collects `total` tunes and shows them when it is left, also by an error: what was written is said.

    As JSON each tune is shown as soon as it is there.
    """

    def __init__(self, as_json: bool, total: int) -> None:
        self.as_json = as_json
        self._total = total
        self._stack = ExitStack()
        self._rows: list[tuple[str, ...]] = []
        self._faults: list[str] = []

    def __enter__(self) -> Report:
        self._advance = self._stack.enter_context(tune_progress(self._total))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        if self._rows:
            show_table(COLUMNS, self._rows, NUMBERS)
        for fault in self._faults:
            output().print(fault)

    def add(self, score: Score, files: Sequence[Path], more: dict[str, Any] | None = None) -> None:
        """A tune, as it is played, and its files; `more` is what only JSON tells."""
        from hoyomusic.vocab import count_bars

        self._advance()
        tune = score.tune
        bars = count_bars(tune)
        title, key = tune.header.title, str(tune.key)
        metre = "free" if tune.metre is None else str(tune.metre)
        seconds = score.seconds(score.end_tick)
        faults = [f"bar {fault.bar + 1}: {fault.message}" for fault in tune.faults()]
        names = [str(file) for file in files]
        if self.as_json:
            told = {"title": title, "key": key, "metre": metre, "bars": bars, "seconds": round(seconds, 2)}
            write_json({**told, "faults": faults, "files": names, **(more or {})})
            return
        shown = printable(title, TITLE_WIDTH)
        paths = printable(list_files(names), LONGEST_PATHS)
        self._rows.append((shown, key, metre, str(bars), f"{seconds:.1f}", paths))
        self._faults += [f"{shown}, {fault}" for fault in faults[:FAULTS_SHOWN]]
        if len(faults) > FAULTS_SHOWN:
            self._faults.append(f"{shown}: {len(faults) - FAULTS_SHOWN:,} more faults; --json tells all")


def list_files(names: Sequence[str]) -> str:
    """Files that differ in their suffix alone as one name and the suffixes.

    >>> list_files(["a/x.abc", "a/x.mid", "a/y.mid"])
    'a/x.abc .mid  a/y.mid'
    """
    stems: dict[str, list[str]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        stems.setdefault(stem, []).append(suffix)
    return "  ".join(stem + " ".join(suffixes) for stem, suffixes in stems.items())
