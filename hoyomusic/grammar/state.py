"""What is wished for, and where one tune stands: the two values that the automaton works on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from hoyomusic.errors import UsageError, suggest
from hoyomusic.tune import Metre
from hoyomusic.vocab.tokens import METRES

if TYPE_CHECKING:
    from hoyomusic.grammar.notes import Node

# Tokens within which a header and a bar or two find room.
SHORTEST_LENGTH = 24

# More tokens than any tune takes.
NEVER = 1 << 60

# The forms that can be wished for, each with the fewest written bars that show it, and the fewest tokens.
FORMS = {"AABB": 2, "AABA": 3, "through": 1}
SHORTEST_FORMS = {"AABB": 32, "AABA": 48, "through": SHORTEST_LENGTH}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a tune must be; None leaves it to the model.

    `bars` counts written bars as a musician does (upbeats are not counted), `length` counts tokens; name at most
    one. `form`: ``AABB`` is two repeated sections; ``AABA`` a repeated section, another, and the first again, note
    for note; ``through`` one section without repeats. `scale` are the semitones above the tonic that may sound,
    `finals` those on which the tune must come to rest: its last token of a note then sounds one of them (the
    highest pitch, if it is a chord). `lowest`, `highest` are MIDI note numbers. `changes` lets later sections of a
    tune without upbeat change metre and key, as far as the wish names neither (never in AABA).
    Raises UsageError for what no tune can be.
    """

    tonic: tuple[str, int] | None = None
    mode: str | None = None
    metre: Metre | None = None
    bars: int | None = None
    length: int | None = None
    scale: tuple[int, ...] | None = None
    lowest: int = 50
    highest: int = 88
    form: str | None = None
    finals: tuple[int, ...] | None = None
    changes: bool = False

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
            raise UsageError("a range of less than an octave", where="--range", remedy="widen it")
        if self.form is not None and self.form not in FORMS:
            raise UsageError(f"there is no form {self.form!r}", where="--form", remedy=suggest(self.form, FORMS))
        if self.form is not None and self.bars is not None and self.bars < FORMS[self.form]:
            raise UsageError(
                f"{self.bars} bars are too few for {self.form}",
                where="--bars",
                remedy=f"ask for {FORMS[self.form]} or more",
            )
        if self.form is not None and self.length is not None and self.length < SHORTEST_FORMS[self.form]:
            raise UsageError(
                f"{self.length} tokens are too few for {self.form}",
                where="--length",
                remedy=f"ask for {SHORTEST_FORMS[self.form]} or more",
            )
        if self.finals is not None:
            if not self.finals or not all(0 <= semitones <= 11 for semitones in self.finals):
                raise UsageError("finals are semitones above the tonic", remedy="name one or more from 0 to 11")
            if self.scale is not None and not set(self.finals) & set(self.scale):
                raise UsageError("none of the finals is in the scale", remedy="name one that is")


class Phase(IntEnum):
    """What the automaton waits for."""

    START = 0
    TONIC = 1
    MODE = 2
    METRE = 3
    BARS = 4
    OPENING = 5  # at a bar's start, where signs may stand
    OPENED = 6  # behind a repeat sign, an ending's number or a change of metre or key
    FILLING = 7  # within a bar
    PITCHING = 8  # behind a length, where its pitch must follow
    JOINING = 9  # behind a join, where a higher pitch must follow
    ENDING = 10
    DONE = 11


@dataclass(slots=True)
class State:
    """Where one tune stands: a node of the note automaton, and what it need not know. `copy.copy` forks it."""

    node: Node
    taken: int = 0
    last: int = 0  # the id that was taken last
    tonic: tuple[str, int] = ("C", 0)
    mode: str = "major"
    full: int = 0  # ticks of a whole bar; 0 within the header
    upbeat: int = -1  # ticks; -1 while the first bar has not begun
    in_upbeat: bool = False
    watched: int = NEVER  # tokens taken when the bar's notes have but AMPLE left
    # The tune.
    bars_left: int = 1  # the present bar included; while `counting` is false, what the tokens seem to have room for
    bars_done: int = 0
    tokens_at_body: int = 0
    counting: bool = True  # whether `bars_left` is settled
    # The section.
    sections: int = 0  # how many have ended
    planned: int = 0  # bars that the section must have; 0 where that is open
    bar_in_section: int = 0  # as the clock tells it: a second ending goes on from where the first began
    section_bars: int = 0  # as they are written
    section_start: bool = True
    repeat_open: bool = False
    ending: int = 0  # 1 within the first, 2 before the second, 3 within the second
    ending_start: int = 0
    # The form AABA: what the first section says, newest token first, and the ids that its return must take.
    first_bars: int = 0
    first_tokens: int = 0
    trail: tuple | None = None
    returning: tuple[int, ...] = ()
    returned: int = -1  # how many of them are taken; -1 elsewhere

    @property
    def phase(self) -> Phase:
        """What the automaton waits for."""
        return self.node.place.phase

    @property
    def position(self) -> int:
        """Ticks since the bar line."""
        return self.node.place.position
