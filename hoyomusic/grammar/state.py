"""What is wished for, and where one tune stands: the two values that the automaton works on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hoyomusic.errors import UsageError
from hoyomusic.tune import Metre
from hoyomusic.vocab.tokens import METRES

# Tokens within which a header and a bar or two find room.
SHORTEST_LENGTH = 24


@dataclass(frozen=True, slots=True)
class Wish:
    """What a tune must be; None leaves it to the model.

    `bars` counts as a musician does (upbeats are not counted), `length` counts tokens; name at most one.
    `scale` are the semitones above the tonic that may sound; `lowest`, `highest` MIDI note numbers.
    """

    tonic: tuple[str, int] | None = None
    mode: str | None = None
    metre: Metre | None = None
    bars: int | None = None
    length: int | None = None
    scale: tuple[int, ...] | None = None
    lowest: int = 50
    highest: int = 88

    def __post_init__(self) -> None:
        if self.bars is not None and self.length is not None:
            raise UsageError("--bars and --length exclude each other", remedy="name one of them")
        if self.bars is not None and not 1 <= self.bars <= 10_000:
            raise UsageError(f"{self.bars} bars", where="--bars", remedy="ask for 1 to 10000")
        if self.length is not None and not SHORTEST_LENGTH <= self.length <= 100_000:
            raise UsageError(f"{self.length} tokens", where="--length", remedy=f"ask for {SHORTEST_LENGTH} to 100000")
        if self.metre is not None and (self.metre.beats, self.metre.unit) not in METRES:
            names = ", ".join(f"{beats}/{unit}" for beats, unit in METRES)
            raise UsageError(f"no metre {self.metre}", where="--metre", remedy=f"choose one of {names}")
        if self.highest - self.lowest < 12:
            raise UsageError("a range of less than an octave", remedy="widen it")


class Phase(IntEnum):
    """What the automaton waits for."""

    START = 0
    TONIC = 1
    MODE = 2
    METRE = 3
    BARS = 4
    OPENING = 5  # at a bar's start, where signs may stand
    OPENED = 6  # behind a repeat sign or an ending's number
    FILLING = 7  # within a bar
    PITCHING = 8  # behind a length, where its pitch must follow
    JOINING = 9  # behind a join, where a higher pitch must follow
    ENDING = 10
    DONE = 11


@dataclass(slots=True)
class State:
    """Where one tune stands. A plain value: `copy.copy` forks it."""

    phase: Phase = Phase.START
    taken: int = 0
    tonic: tuple[str, int] = ("C", 0)
    mode: str = "major"
    full: int = 0
    upbeat: int = -1  # ticks; -1 while the first bar has not begun
    bars_left: int = 1
    tokens_at_body: int = 0
    bars_done: int = 0
    # The bar.
    position: int = 0
    in_upbeat: bool = False
    limit: int = 0  # where the bar must stop
    section_start: bool = True
    bar_in_section: int = 0
    repeat_open: bool = False
    ending: int = 0  # 1 within the first, 2 before the second, 3 within the second
    ending_start: int = 0
    # The note.
    length: int = 0  # ticks in force (layout sticky) or just chosen
    tuplet: int = 0  # ticks of the tuplet's first note, 0 outside
    tuplet_done: int = 0
    pitch: tuple[int, int] | None = None  # the last note's highest pitch
    chord_notes: int = 0  # 0: the last token was no note
    tied: bool = False
