"""What all commands share in speaking: results on stdout, everything else on stderr, data as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from hoyomusic.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Wide enough that no line is folded where nobody reads it on a screen.
PIPE_WIDTH = 240


def output() -> Console:
    """A rich console on stdout that prints what it is given: no markup, no emoji codes, no guessed colours."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, markup=False, emoji=False, highlight=False)


def warn(message: str) -> None:
    """One line on stderr about something that is wrong."""
    print(f"hoyo: {printable(message, 500)}", file=sys.stderr)


def note(message: str) -> None:
    """One line on stderr about what is going on."""
    print(printable(message, 500), file=sys.stderr)


def write_json(value: Any) -> None:
    """One JSON value on one line of stdout, at once."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def new_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table without lines; the columns named in `numbers` are set flush right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


@contextmanager
def reading_progress() -> Iterator[Callable[[str, int], None]]:
    """A place for the corpus to tell how far it is: a line that is overwritten, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda what, count: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True, markup=False).status("reading") as status:
        yield lambda what, count: status.update(Text(f"reading {printable(what, 50)}: {count:,} tunes"))


@contextmanager
def tune_progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar with the time left, moved on after each of `total` tunes: on a terminal only, where there are several."""
    if total < 2:
        yield lambda: None
        return
    with count_progress() as tell:
        tell(0, total)
        done = count(1)
        yield lambda: tell(next(done), total)


@contextmanager
def count_progress() -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left that is told how many are done, and of how many: on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def given(**options: Any) -> dict[str, Any]:
    """The options that were given: for the others the callee knows what is best."""
    return {name: value for name, value in options.items() if value is not None}


def examples(*lines: str) -> str:
    """The end of a command's help: examples, kept line by line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)

