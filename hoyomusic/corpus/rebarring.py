"""Bars by arithmetic: bar lines that a source left out, and the metre where it says none.

The Essen collection writes a phrase on a line, and no bar line where the phrase ends with its bar. The
metre and the first written bar line tell where all the others belong; accidentals were resolved by the
written ones before, so that no pitch changes here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate

from hoyomusic.tune import Bar, Metre, Note, Tune


def rebar(tune: Tune) -> Tune:
    """The tune with a bar line wherever its metre wants one, if all the written bar lines agree.

    The first written bar, less any whole bars in it, is the upbeat. Notes that cross a new bar line
    are tied over it. The tune comes back as it is where a written bar line would fall inside a bar
    (the song changes metre, or its lengths are wrong), where it has no metre, or where it has form
    that belongs to its bars (repeats, endings, parts, changes of key or metre).
    """
    if tune.metre is None or any(bar != Bar(bar.notes) for bar in tune.bars):
        return tune
    length = tune.metre.length
    lines = list(accumulate(bar.length for bar in tune.bars))
    upbeat = lines[0] % length if len(lines) > 1 else Fraction(0)
    if any((line - upbeat) % length for line in lines[:-1]):
        return tune
    return replace(tune, bars=tuple(Bar(tuple(notes)) for notes in cut(tune.notes(), upbeat or length, length)))


def cut(notes: Iterable[Note], first: Fraction, length: Fraction) -> list[list[Note]]:
    """Notes in bars: one of length `first`, then bars of `length`, the last as long as what is left."""
    bars: list[list[Note]] = [[]]
    room = first
    for note in notes:
        while note.length > room:
            if room:
                bars[-1].append(replace(note, length=room, ties=note.pitches))
                note = replace(note, length=note.length - room, graces=(), symbol="")
            bars.append([])
            room = length
        bars[-1].append(note)
        room -= note.length
    return bars


def add_missing_lines(tune: Tune) -> Tune:
    """The tune with each bar of exactly two or more metres cut, where notes begin at all its new bar lines."""
    bars: list[Bar] = []
    for bar, metre in zip(tune.bars, tune.metres(), strict=True):
        bars += [bar] if metre is None else _cut_double(bar, metre.length)
    return tune if len(bars) == len(tune.bars) else replace(tune, bars=tuple(bars))


def _cut_double(bar: Bar, length: Fraction) -> list[Bar]:
    whole = bar.length
    if whole <= length or whole % length:
        return [bar]
    groups = cut(bar.notes, length, length)
    if sum(map(len, groups)) != len(bar.notes):
        return [bar]
    first = replace(bar, notes=tuple(groups[0]), closes=0, double=False)
    inner = [Bar(tuple(group)) for group in groups[1:-1]]
    return [first, *inner, Bar(tuple(groups[-1]), closes=bar.closes, double=bar.double)]


def remove_stray_lines(tune: Tune) -> Tune:
    """The tune with each two bars joined that are too short for where they stand but make one bar together."""
    starts, ends = tune.section_edges()
    metres = tune.metres()
    bars: list[Bar] = []
    joined = False
    for index, bar in enumerate(tune.bars):
        metre, plain = metres[index], bar == Bar(bar.notes, closes=bar.closes, double=bar.double)
        inside = 0 < index and plain and not (starts[index] or ends[index] or starts[index - 1] or ends[index - 1])
        if inside and not joined and metre is not None and tune.bars[index - 1].length + bar.length == metre.length:
            bars[-1] = replace(bars[-1], notes=bars[-1].notes + bar.notes)
            joined = True
        else:
            bars.append(bar)
            joined = False
    return tune if len(bars) == len(tune.bars) else replace(tune, bars=tuple(bars))


# How a bar of one length is most often written; 3/4 and 6/8 share one and are told apart by their notes.
USUAL_METRES = (Metre(4, 4), Metre(2, 4), Metre(3, 4), Metre(3, 8), Metre(9, 8), Metre(12, 8), Metre(5, 4), Metre(5, 8))


def infer_metre(tune: Tune) -> Metre | None:
    """The metre of a tune in free metre whose bars are all of one usual length; None for any other.

    The first and the last bar may be shorter. A bar of 3/4 of a whole note is 6/8 where more notes
    start on its second half than on its third quarter.
    """
    inner = {bar.length for bar in tune.bars[1:-1]} or {max(bar.length for bar in tune.bars)}
    length = inner.pop()
    if inner or any(bar.length > length for bar in (tune.bars[0], tune.bars[-1])):
        return None
    metre = next((metre for metre in USUAL_METRES if metre.length == length), None)
    if metre == Metre(3, 4):
        starts = [start for bar in tune.bars for start in accumulate((note.length for note in bar.notes[:-1]))]
        if starts.count(Fraction(3, 8)) > starts.count(Fraction(1, 4)):
            return Metre(6, 8)
    return metre
