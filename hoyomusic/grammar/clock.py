"""The clock: where in the bar, the section and the tune an id stands, as one small number for the model."""

from __future__ import annotations

from collections.abc import Sequence

from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import BAR_ENDS, TICKS_PER_WHOLE, Kind

# Sixteenths since the bar line x bar within its section (mod 8) x bars left in the tune.
SIXTEENTH = TICKS_PER_WHOLE // 16
CLOCK_POSITIONS = 32
CLOCK_BARS = 8
CLOCK_LEFT = 6
CLOCKS = CLOCK_POSITIONS * CLOCK_BARS * CLOCK_LEFT


def clock_of(position: int, bar_in_section: int, bars_left: int) -> int:
    """The clock id of a place: ticks since the bar line, bars since the section began, bars left (this one included).

    Bars left are told exactly up to four, then as 5-8 and more.
    """
    return sixteenth_of(position) + clock_of_bar(bar_in_section, bars_left)


def sixteenth_of(position: int) -> int:
    """What the place within the bar adds to the clock id."""
    place = position // SIXTEENTH
    return place if place < CLOCK_POSITIONS else CLOCK_POSITIONS - 1


def clock_of_bar(bar_in_section: int, bars_left: int) -> int:
    """What the bar adds to the clock id."""
    left = bars_left if bars_left <= 4 else 5 if bars_left <= 8 else CLOCK_LEFT
    if left < 1:
        left = 1
    return ((left - 1) * CLOCK_BARS + bar_in_section % CLOCK_BARS) * CLOCK_POSITIONS


def clocks(vocabulary: Vocabulary, ids: Sequence[int]) -> list[int]:
    """The clock beside each id of a finished tune, as `Grammar.clock` would have told it.

    Unlike the grammar it follows any tune that the vocabulary can say, also one whose bars do not add up.
    """
    tokens = vocabulary.tokens
    bars = sum(tokens[index].kind in BAR_ENDS for index in ids)
    bars -= sum(tokens[index].kind is Kind.UPBEAT for index in ids)
    bars_left = 1  # the header must not tell the count before its own token does
    position = bar_in_section = full = length = ending_start = 0
    in_upbeat = joining = False
    found = []
    for index in ids:
        token = tokens[index]
        kind = token.kind
        if kind is Kind.NOTE:
            length = token.ticks
            position += length
        elif kind is Kind.PITCH:
            position += 0 if joining else length
            joining = False
        elif kind is Kind.LENGTH:
            length = token.ticks
        elif kind in BAR_ENDS:
            if in_upbeat:
                in_upbeat = False
            else:
                bars_left -= 1
                bar_in_section += 1
            position = 0
            if kind is not Kind.BAR:
                bar_in_section = 0
        elif kind is Kind.UPBEAT:
            in_upbeat, position = True, full - token.ticks
        elif kind is Kind.METRE:
            full = token.ticks
        elif kind is Kind.BARS:
            bars_left = bars
        elif kind is Kind.OPEN:
            bar_in_section = 0
        elif kind is Kind.ENDING:
            if 1 in token.value:
                ending_start = bar_in_section
            else:
                bar_in_section = ending_start
        elif kind is Kind.JOIN:
            joining = True
        found.append(clock_of(position, bar_in_section, bars_left))
    return found
