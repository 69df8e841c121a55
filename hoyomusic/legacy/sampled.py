"""Sampled text as music: what our ABC reader takes of it, and an account of what it does not.

A model of characters writes what looks like ABC. The bar in which the reader stumbles is taken out and the rest read
again, so that one wrong character costs one bar; how many characters and bars that were, and in which lines, is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hoyomusic import abc
from hoyomusic.abc.reader import MAXIMUM_LINE
from hoyomusic.errors import AbcError
from hoyomusic.tune import Tune

_FIELD = re.compile("[A-Za-z]:")
# Lines that are told by their number.
LINES_TOLD = 5


@dataclass(frozen=True, slots=True)
class SampledTune:
    """The music in a text of `characters`; `dropped` are its bars that are none, with `lost` characters in them.

    `lines` are the numbers of the lines they stood in, from 1 at the head of the text; `notices` what the reader
    left out or guessed.
    """

    tune: Tune
    characters: int
    lost: int
    dropped: int
    lines: tuple[int, ...]
    notices: tuple[str, ...]

    def tell(self) -> str:
        """The account, in one line."""
        text = f"{_count(self.characters, 'character')}, {_count(len(self.tune.bars), 'bar')} kept"
        if self.dropped:
            places = ", ".join(map(str, self.lines[:LINES_TOLD])) + (" ..." if len(self.lines) > LINES_TOLD else "")
            lines = "line" if len(self.lines) == 1 else "lines"
            text += f", {self.dropped} dropped as no music ({_count(self.lost, 'character')} in {lines} {places})"
        return "; ".join((text, *self.notices))


def read_sampled(header: str, body: str) -> SampledTune | None:
    """The music in `body`, the text that a model wrote behind `header`; None where there is no note in it.

    Time grows with the length of the text times the number of its bars that are no music.
    """
    lines = list(enumerate((header + body).split("\n"), 1))
    first = header.count("\n") + 1
    head = [line for number, line in lines if number < first]
    # A blank line would end the tune.
    rest = [(number, line) for number, line in lines if number >= first and line.strip()]
    lost, dropped, touched = 0, 0, set()
    while rest:
        found = next(abc.read_each("\n".join([*head, *(line for _, line in rest)])))
        if not isinstance(found, AbcError):
            if not any(note.pitches for note in found.tune.notes()):
                return None
            numbers = [number for number, _ in lines[: first - 1]] + [number for number, _ in rest]
            notices = tuple(f"line {numbers[notice.line - 1]}: {notice.message}" for notice in found.notices)
            return SampledTune(found.tune, len(body), lost, dropped, tuple(sorted(touched)), notices)
        place = found.line - first
        if place < 0:
            return None
        number, line = rest[place]
        kept = _without_bar(line, found.column)
        lost += len(line) - len(kept)
        dropped += 1
        touched.add(number)
        rest[place : place + 1] = [(number, kept)] if kept.strip() else []
    return None


def _without_bar(line: str, column: int | None) -> str:
    """A line without the bar in its `column` (from 1), up to the bar line behind it.

    Nothing is left of fields, of lines that are too long, and of those of which a field would be left.
    """
    if _FIELD.match(line) or column is None or len(line) > MAXIMUM_LINE:
        return ""
    at = min(column, len(line)) - 1
    start, end = line.rfind("|", 0, at) + 1, line.find("|", at) + 1
    kept = line[:start] + line[end:] if end else line[:start]
    return "" if _FIELD.match(kept) else kept


def _count(number: int, name: str) -> str:
    return f"{number} {name}" + ("" if number == 1 else "s")
