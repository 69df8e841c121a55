"""One table for all measurements: ours, a peer, how many times, what was aimed at, what the machine allows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HEADS = ("what", "ours", "peer", "unit", "ratio", "goal", "limit", "met")


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured.

    `ours` and `peer` are figures in `unit`; `ratio` says how many times better than the peer we are, more being
    better unless `at_most` (a share of the peer's cost). `goal` is what was aimed at: a ratio, or where there is
    none, a figure in `unit`. `limit` is the ratio that the machine itself would allow, where it was measured.
    `versus` names the peer.
    """

    what: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    goal: float | None = None
    unit: str = ""
    versus: str = ""
    limit: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None where there is none."""
        if self.goal is None:
            return None
        reached = self.ours if self.ratio is None else self.ratio
        return reached <= self.goal if self.at_most else reached >= self.goal

    def to_dict(self) -> dict[str, Any]:
        """All fields and `met` as plain JSON values."""
        return {**asdict(self), "met": self.met}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Row:
        """What `to_dict` gave."""
        return Row(**{name: value for name, value in values.items() if name != "met"})


def format_rows(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown, aligned for the terminal too."""
    lines = [HEADS, *map(_cells, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEADS))]

    def lay_out(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if head in ("ours", "peer", "ratio", "goal", "limit") else cell.ljust(width)
            for cell, width, head in zip(cells, widths, HEADS, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width for width in widths]
    return "\n".join(lay_out(cells) for cells in (HEADS, rule, *lines[1:]))


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Keep rows as JSON, for the program that joins the tables of several."""
    path.write_text(json.dumps([row.to_dict() for row in rows]), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` kept."""
    return [Row.from_dict(values) for values in json.loads(path.read_text(encoding="utf-8"))]


def _cells(row: Row) -> tuple[str, ...]:
    sign = "" if row.goal is None else "<= " if row.at_most else ">= "
    return (
        f"{row.what} / {row.versus}" if row.versus else row.what,
        _number(row.ours), _number(row.peer), row.unit,
        _number(row.ratio), sign + _number(row.goal), _number(row.limit),
        {None: "", True: "yes", False: "no"}[row.met],
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
