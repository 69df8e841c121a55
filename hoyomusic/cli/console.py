"""What all commands share in speaking: results on stdout, everything else on stderr, data as JSON lines."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from hoyomusic.errors import HoyoError
from hoyomusic.text import UNSHOWABLE, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Wide enough that no line is folded where nobody reads it on a screen.
PIPE_WIDTH = 240
# Paths that are told as a result must not be cut; a warning must not fill the screen, nor one part of it all its room.
LONGEST_LINE = 10_000
LONGEST_NOTE = 1000
LONGEST_PART = 300


def output() -> Console:
    """A rich console on stdout that prints what it is given: no markup, no emoji codes, no guessed colours."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, markup=False, emoji=False, highlight=False)


def say(text: str) -> None:
    """One line of a result on stdout, with nothing in it that a terminal would obey."""
    print(printable(text, LONGEST_LINE), flush=True)


def warn(message: str) -> None:
    """One line on stderr about something that is wrong."""
    note(f"hoyo: {message}")


def note(message: str) -> None:
    """One line on stderr about what is going on. Where stderr takes nothing the work goes on all the same."""
    with contextlib.suppress(OSError):
        print(printable(message, LONGEST_NOTE), file=sys.stderr, flush=True)


def complain(error: HoyoError) -> int:
    """An error in one line on stderr, a cut one still with its remedy; its exit code."""
    parts = HoyoError(
        printable(error.message, LONGEST_PART),
        where=error.where and printable(error.where, LONGEST_PART),
        remedy=error.remedy and printable(error.remedy, LONGEST_PART),
    )
    warn(str(parts))
    return error.exit_code


def describe_refusal(error: OSError | MemoryError) -> HoyoError:
    """What the system refused, where the library has no word of its own for it."""
    if isinstance(error, MemoryError):
        return HoyoError("the memory is used up", remedy="close other programs, or ask for less at a time")
    reason = error.strerror or type(error).__name__
    if error.filename is None:
        return HoyoError(f"the system refused to read or write ({reason})", remedy="look where the output goes")
    where = os.fsdecode(error.filename)
    return HoyoError(f"cannot be read or written ({reason})", where=where, remedy="name another file or folder")


def describe_fault(error: BaseException) -> HoyoError:
    """A fault of the program itself: what kind, where, and how to report it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return HoyoError(
        f"a fault of the program itself, not yours: {told} ({os.path.basename(place.filename)}, line {place.lineno})",
        remedy="please report what the same command prints as hoyo --debug ...",
    )


def show_trace(error: BaseException) -> None:
    """Where in the program an error arose, line by line on stderr, foreign text in it made harmless."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        note(line)


def write_json(value: Any) -> None:
    """One JSON value on one line of stdout, at once; signs that a terminal would obey are written as escapes."""
    text = json.dumps(value, ensure_ascii=False)
    if not text.isprintable():
        text = "".join(json.dumps(sign)[1:-1] if unicodedata.category(sign) in UNSHOWABLE else sign for sign in text)
    print(text, flush=True)


def new_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table without lines; the columns named in `numbers` are set flush right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: tuple[str, ...]) -> None:
    """A table of `new_table` on stdout, where each column is as wide as its widest cell.

    In a pipe the lines are made here if that is all: rich, which makes the same, is longer imported than a tune made.
    """
    lines = [columns, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    fits = sum(widths) + 2 * (len(widths) - 1) <= PIPE_WIDTH
    if sys.stdout.isatty() or not fits or not all(cell.isascii() for cells in rows for cell in cells):
        table = new_table(*columns, numbers=numbers)
        for cells in rows:
            table.add_row(*cells)
        output().print(table)
        return
    for cells in lines:
        aligned = zip(columns, cells, widths, strict=True)
        line = "  ".join(cell.rjust(width) if name in numbers else cell.ljust(width) for name, cell, width in aligned)
        print(line, flush=True)


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


def spare_threads() -> None:
    """Called before numpy is imported: no thread for each core, unless the user says so.

    They wait for work in a loop, and a tune has none for them: what is multiplied of it is too little to share.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def given(**options: Any) -> dict[str, Any]:
    """The options that were given: for the others the callee knows what is best."""
    return {name: value for name, value in options.items() if value is not None}


def examples(*lines: str) -> str:
    """The end of a command's help: examples, kept line by line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def open_closed_streams() -> None:
    """Give stdin, stdout and stderr, where the caller closed them, a place that takes all and gives nothing.

    Else the next file that is opened would get their number, and be written into by whoever prints.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is given away.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)


def flush_output() -> int:
    """Send off what stdout still holds: 0, or the exit code where its reader is gone or its disk is full."""
    try:
        sys.stdout.flush()
        return 0
    except OSError as error:
        # The interpreter flushes once more when it ends: let that go nowhere, in silence.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if isinstance(error, BrokenPipeError) else complain(describe_refusal(error))
