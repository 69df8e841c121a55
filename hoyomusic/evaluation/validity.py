"""Is it right: a checker of tunes that shares no code with what makes them right.

It reads bars, repeats and ties anew, in `Fraction`s of a whole note, and is stricter than `Tune.faults`:
what a printed book gets away with is a fault here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from hoyomusic import abc
from hoyomusic.errors import AbcError
from hoyomusic.tune import Bar, Key, Metre, Note, Tune


@dataclass(frozen=True, slots=True)
class Asked:
    """What a tune was asked to be; None where it was free. `bars` counts as a musician does, upbeats not."""

    key: Key | None = None
    metre: Metre | None = None
    bars: int | None = None
    lowest: int | None = None
    highest: int | None = None


@dataclass(frozen=True, slots=True)
class Validity:
    """How many of `tunes` are wholly `valid`, of how many `bars`; `faults`: kind of fault -> tunes that have it."""

    tunes: int
    valid: int
    bars: int
    faults: dict[str, int]

    @property
    def share(self) -> float:
        """The share of tunes that are wholly valid."""
        return self.valid / self.tunes


def count_valid(tunes: Sequence[Tune], asked: Asked = Asked()) -> Validity:
    """The account of some tunes that were all asked to be the same."""
    faults: Counter[str] = Counter()
    valid = 0
    for tune in tunes:
        found = {kind for kind, _ in list_faults(tune, asked)}
        valid += not found
        faults.update(found)
    return Validity(len(tunes), valid, sum(len(tune.bars) for tune in tunes), dict(sorted(faults.items())))


def list_faults(tune: Tune, asked: Asked = Asked()) -> list[tuple[str, int]]:
    """Every fault as (kind, index of its bar)."""
    if tune.metre is None:
        return [("no metre", 0)]
    if not any(note.pitches for note in tune.notes()):
        return [("no notes", 0)]
    return [
        *_check_bars(tune), *_check_repeats(tune.bars), *_check_ties(tune), *_check_writing(tune),
        *_check_wishes(tune, asked),
    ]  # fmt: skip


def _cut_sections(bars: Sequence[Bar]) -> list[list[int]]:
    """The indices of the bars, cut where a section ends; an ending belongs to the section that it ends."""
    sections: list[list[int]] = [[]]
    for index, bar in enumerate(bars):
        before = bars[index - 1] if index else None
        goes_to_next_ending = bool(bar.ending) and min(bar.ending) > 1
        if before is not None and (bar.opens or ((before.closes or before.double) and not goes_to_next_ending)):
            sections.append([])
        sections[-1].append(index)
    return sections


def _check_bars(tune: Tune) -> Iterator[tuple[str, int]]:
    """Each bar fills its metre, but for a section's upbeat and the complement where that section ends."""
    metre, fulls = tune.metre, []
    for bar in tune.bars:
        metre = bar.metre or metre
        fulls.append(Fraction(metre.beats, metre.unit))
    lengths = [sum((note.length for note in bar.notes), Fraction(0)) for bar in tune.bars]
    for section in _cut_sections(tune.bars):
        first, last = section[0], section[-1]
        upbeat = lengths[first] if lengths[first] < fulls[first] and first != last else Fraction(0)
        ends = {last} | {index - 1 for index in section if tune.bars[index].ending and min(tune.bars[index].ending) > 1}
        for index in section[1:] if upbeat else section:
            wanted = fulls[index] - upbeat if index in ends else fulls[index]
            if lengths[index] != wanted:
                what = "a section's end is no complement of its upbeat" if index in ends else "a bar does not add up"
                yield what, index
    for index, bar in enumerate(tune.bars):
        if any(note.length <= 0 for note in bar.notes) or not bar.notes:
            yield "a bar or a note without length", index


def _check_repeats(bars: Sequence[Bar]) -> Iterator[tuple[str, int]]:
    """Signs come in the order ``|: ... :|`` or ``|: ... |1 ... :|2 ...``."""
    open_at: int | None = None
    wanted_ending = 0  # the number of the ending that must start at the next bar
    ending = 0  # the number of the ending under way
    for index, bar in enumerate(bars):
        if wanted_ending and wanted_ending not in bar.ending:
            yield "a first ending without a second", index
        if bar.opens:
            if open_at is not None:
                yield "a repeat opens within a repeat", index
            open_at, ending = index, 0
        if bar.ending:
            if open_at is None or (min(bar.ending) > 1 and not wanted_ending):
                yield "an ending outside of a repeat", index
            ending = min(bar.ending)
        wanted_ending = 0
        if bar.closes:
            if open_at is None:
                yield "a repeat closes that never opened", index
            if ending:
                wanted_ending = ending + 1
            else:
                open_at = None
        elif ending > 1 and (bar.double or index == len(bars) - 1):
            open_at, ending = None, 0
    if wanted_ending:
        yield "a first ending without a second", len(bars) - 1
    elif open_at is not None:
        yield "a repeat opens and never closes", open_at


def _check_ties(tune: Tune) -> Iterator[tuple[str, int]]:
    """A tied note goes on as the same sound in the note that follows; no tie crosses a sign of form."""
    bars = tune.bars
    for index, bar in enumerate(bars):
        following: list[Note | None] = [*bar.notes[1:], None]
        if index + 1 < len(bars) and not (bar.closes or bars[index + 1].opens or bars[index + 1].ending):
            following[-1] = next(iter(bars[index + 1].notes), None)
        for note, later in zip(bar.notes, following, strict=False):
            sounds = set() if later is None else {pitch.midi for pitch in later.pitches}
            if {pitch.midi for pitch in note.ties} - sounds:
                yield "a tie leads to no note of its pitch", index


def _check_writing(tune: Tune) -> Iterator[tuple[str, int]]:
    """The tune can be written as ABC, ends there with a final bar line, and reads as the same tune again."""
    last = len(tune.bars) - 1
    text = abc.write(tune).rstrip()
    if not text.endswith(("|]", ":|")):
        yield "no final bar line", last
    try:
        if abc.parse_one(text) != _without_idle_signs(tune):
            yield "does not read as it was written", last
    except AbcError:
        yield "does not read as it was written", last


def _without_idle_signs(tune: Tune) -> Tune:
    """The tune without double bar lines in front of ``|:``: written they are one sign with it, which says as much."""
    following = [*(bar.opens for bar in tune.bars[1:]), False]
    bars = [replace(bar, double=bar.double and not opens) for bar, opens in zip(tune.bars, following, strict=True)]
    return replace(tune, bars=tuple(bars))


def _check_wishes(tune: Tune, asked: Asked) -> Iterator[tuple[str, int]]:
    last = len(tune.bars) - 1
    if asked.key is not None and any(key != asked.key for key in (tune.key, *(bar.key for bar in tune.bars)) if key):
        yield "not in the asked key", 0
    if asked.metre is not None and any(
        metre != asked.metre for metre in (tune.metre, *(bar.metre for bar in tune.bars)) if metre
    ):
        yield "not in the asked metre", 0
    sounds = [pitch.midi for note in tune.notes() for pitch in note.pitches]
    if asked.lowest is not None and min(sounds) < asked.lowest:
        yield "below the asked range", 0
    if asked.highest is not None and max(sounds) > asked.highest:
        yield "above the asked range", 0
    if asked.bars is not None and _count_bars(tune) != asked.bars:
        yield "not the asked number of bars", last


def _count_bars(tune: Tune) -> int:
    """Bars without upbeats: a short first bar of a section that has more bars."""
    metre, short = tune.metre, set()
    for index, bar in enumerate(tune.bars):
        metre = bar.metre or metre
        if sum((note.length for note in bar.notes), Fraction(0)) < Fraction(metre.beats, metre.unit):
            short.add(index)
    sections = _cut_sections(tune.bars)
    return len(tune.bars) - sum(section[0] in short and len(section) > 1 for section in sections)
