"""Bar signs made exact: where repeats that the text leaves implied start, and how often all are played.

Follows ABC 2.1, sections 4.8 to 4.10. A repeat without ``|:`` goes back to the latest of the tune's start,
a double bar, the end of another repeat, and the end of the last ending.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hoyomusic.errors import AbcError

MAXIMUM_PLAYS = 1000


@dataclass(slots=True)
class Sign:
    """What stands between two bars: all bar symbols there, merged.

    `closes` and `opens` count colons before and behind the bar; `ending` are the numbers of the ending
    that starts here; `part`: a part starts here that a play order names.
    """

    closes: int = 0
    double: bool = False
    opens: int = 0
    ending: tuple[int, ...] = ()
    part: bool = False


@dataclass(slots=True)
class Form:
    """For each bar what a `hoyomusic.tune.Bar` says of repeats."""

    opens: list[bool]
    closes: list[int]
    endings: list[tuple[int, ...]]
    double: list[bool]


@dataclass(slots=True)
class _Section:
    """The section being read: where its ``|:`` or implied start is, and its endings as [numbers, start, stop]."""

    start: int = 0
    opened: int = 0  # colons of an open |:, 0 where the start is implied
    closed: int = 0  # colons of the :| signs behind its endings
    endings: list[list] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)


def resolve(signs: list[Sign], notice: Callable[[str], None]) -> Form:
    """The form of n bars from the n + 1 signs around them; `notice` is told what is dropped or guessed.

    Every closed repeat gets an explicit start; a ``|:`` that is never closed goes; all endings but those
    of the last turn are closed; a double bar stays only where no repeat sign says the same.
    Raises AbcError for more than `MAXIMUM_PLAYS` plays.
    """
    count = len(signs) - 1
    form = Form([False] * count, [0] * count, [()] * count, [False] * count)
    section = _Section()
    for index, sign in enumerate(signs):
        if index:
            section = _end(section, index, sign, form, notice)
        if index == count:
            break
        if sign.opens:
            if section.opened:
                notice("repeat sign |: that is never closed")
            section = _Section(index, sign.opens)
        if sign.ending:
            section.endings.append([sign.ending, index, index])
            section.numbers.update(sign.ending)
    for index in range(count):
        last = index == count - 1
        form.double[index] &= not (last or form.closes[index] or form.opens[index + 1])
    return form


def _end(section: _Section, index: int, sign: Sign, form: Form, notice: Callable[[str], None]) -> _Section:
    """Let `sign`, which stands before bar `index`, end what it ends; return the section that goes on."""
    form.double[index - 1] = sign.double
    at_end = index == len(form.opens)
    if section.endings:
        if not (sign.ending or sign.closes or sign.double or sign.opens or sign.part or at_end):
            return section
        section.endings[-1][2] = index
        section.closed = max(section.closed, sign.closes)
        if sign.ending and not (sign.opens or sign.part) and section.numbers.isdisjoint(sign.ending):
            if not (sign.closes or min(section.endings[-1][0]) > min(sign.ending)):
                notice("ending without :| before the next one")
            return section
        _finish(section, form, notice)
        return _Section(index)
    if sign.closes:
        plays = _bounded(max(section.opened, sign.closes) + 1)
        form.opens[section.start] = True
        form.closes[index - 1] = plays
        return _Section(index)
    if section.opened and (sign.part or at_end):
        notice("repeat sign |: that is never closed")
        return _Section(index)
    if sign.part or (sign.double and not section.opened and not sign.ending):
        return _Section(index)
    return section


def _finish(section: _Section, form: Form, notice: Callable[[str], None]) -> None:
    plays = max(section.numbers)
    if section.closed:
        plays = max(plays, 2)
    _bounded(plays)
    if plays == 1:
        notice("first ending that is never repeated")
        return
    form.opens[section.start] = True
    for numbers, start, stop in section.endings:
        form.endings[start] = numbers
        if min(numbers) < plays:
            form.closes[stop - 1] = plays
        else:
            form.double[stop - 1] = True


def _bounded(plays: int) -> int:
    if plays > MAXIMUM_PLAYS:
        raise AbcError(f"a repeat of more than {MAXIMUM_PLAYS} plays", remedy="write at most |1 to |1000")
    return plays
