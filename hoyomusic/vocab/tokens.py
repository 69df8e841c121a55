"""What there is to say: the closed list of tokens, by name and taken apart.

A name is what a checkpoint stores; a `Token` is what encoding, decoding and the grammar work with.
"""

from __future__ import annotations

import re
from enum import IntEnum
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from hoyomusic.errors import VocabularyError
from hoyomusic.tune import ACCIDENTAL_NAMES, LETTERS, MODE_FIFTHS

# The tick of the grammar: 1/6720 of a whole note divides 64ths, triplets, quintuplets and septuplets.
TICKS_PER_WHOLE = 6720

# Scale steps from the tonic of C4..B4, and alterations against the scale of the key.
LOWEST_STEP, HIGHEST_STEP = -14, 24
ALTERATIONS = (-2, -1, 0, 1, 2)

_PLAIN = [Fraction(1, 64) * 2**power for power in range(9)]
LENGTHS: tuple[Fraction, ...] = tuple(
    sorted(
        {
            *_PLAIN,
            *(length * Fraction(3, 2) for length in _PLAIN[1:]),
            *(length * Fraction(7, 4) for length in _PLAIN[2:]),
            *(Fraction(5, unit) for unit in (4, 8, 16, 32)),
            *(Fraction(9, unit) for unit in (4, 8, 16)),
            *(Fraction(1, 3 * 2**power) for power in range(6)),
            *(Fraction(1, 5 * 2**power) for power in range(5)),
            *(Fraction(3, 5 * 2**power) for power in range(1, 5)),
            *(Fraction(1, 7 * 2**power) for power in range(5)),
        }
    )
)
METRES: tuple[tuple[int, int], ...] = (
    *((beats, 4) for beats in (1, 2, 3, 4, 5, 6, 7, 8, 9)),
    *((beats, 1) for beats in (2, 3, 4)),
    *((beats, 2) for beats in (1, 2, 3, 4, 5, 6)),
    *((beats, 8) for beats in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15)),
    *((beats, 16) for beats in (3, 6, 9, 12)),
)
UPBEATS: tuple[Fraction, ...] = tuple(
    sorted({*(Fraction(count, 32) for count in range(1, 64)), *(Fraction(count, 24) for count in range(1, 24))})
)
ENDINGS: tuple[tuple[int, ...], ...] = ((1,), (2,), (3,), (4,), (1, 2), (1, 3), (2, 4), (1, 2, 3), (2, 3), (3, 4))
MOST_BARS = 64

# Notes that get a token of their own in the fused layout: the range of folk tunes and its usual lengths.
FUSED_STEPS = range(-7, 16)
FUSED_LENGTHS = tuple(
    map(Fraction, ("1/32", "1/24", "1/16", "1/12", "3/32", "1/8", "3/16", "1/4", "3/8", "1/2", "3/4", "1"))
)
FUSED_ALTERED_LENGTHS = tuple(map(Fraction, ("1/16", "1/12", "1/8", "3/16", "1/4", "3/8", "1/2")))


class Kind(IntEnum):
    """What a token says; the order is that of the vocabulary's blocks."""

    START = 0
    END = 1
    BOUNDARY = 2
    TONIC = 3
    MODE = 4
    METRE = 5
    BARS = 6
    UPBEAT = 7
    OPEN = 8
    ENDING = 9
    BAR = 10
    DOUBLE = 11
    CLOSE = 12
    FINAL = 13
    TIE = 14
    JOIN = 15
    LENGTH = 16
    PITCH = 17
    NOTE = 18


BAR_ENDS = frozenset((Kind.BAR, Kind.DOUBLE, Kind.CLOSE, Kind.FINAL))

# A pitch relative to the key: (scale steps from the tonic, alteration against the key's scale); None: a rest.
Relative = tuple[int, int] | None


class Token(NamedTuple):
    """One entry of the vocabulary, taken apart.

    `ticks` is the length that a note or length token stands for, or that an upbeat has; `value` what
    else the token says: a relative pitch, a tonic, a mode, a metre, a count, the numbers of an ending.
    """

    kind: Kind
    value: object = None
    ticks: int = 0


def list_names(layout: str) -> list[str]:
    """The names of all tokens of this version in a layout, in the order of their ids."""
    names = ["<s>", "</s>", "<boundary>"]
    names += [f"tonic:{letter}{ACCIDENTAL_NAMES[sign]}" for letter in LETTERS for sign in (-1, 0, 1)]
    names += [f"mode:{mode}" for mode in MODE_FIFTHS]
    names += [f"metre:{beats}/{unit}" for beats, unit in METRES]
    names += [f"bars:{count}" for count in range(1, MOST_BARS + 1)] + ["bars:more"]
    names += [f"upbeat:{length}" for length in UPBEATS]
    names += ["|:", *(f"ending:{','.join(map(str, numbers))}" for numbers in ENDINGS)]
    names += ["|", "||", ":|", "::|", "|]", "tie", "join"]
    names += [f"length:{length}" for length in LENGTHS]
    pitches: list[Relative] = [None]
    pitches += [(step, sign) for step in range(LOWEST_STEP, HIGHEST_STEP + 1) for sign in ALTERATIONS]
    spelt = [(pitch, name_relative(pitch)) for pitch in pitches]
    names += [f"pitch:{name}" for _, name in spelt]
    if layout == "fused":
        plain, altered = (
            [f"@{length}" for length in lengths] for lengths in (FUSED_LENGTHS, FUSED_ALTERED_LENGTHS)
        )
        for pitch, name in spelt:
            if pitch is not None and (pitch[0] not in FUSED_STEPS or abs(pitch[1]) > 1):
                continue
            names += [name + length for length in (plain if pitch is None or pitch[1] == 0 else altered)]
    return names


_SIGNS = {text: sign for sign, text in ACCIDENTAL_NAMES.items()}
_RELATIVE = re.compile(r"(##|bb|#|b)?([1-7])(,*|'*)\Z")


def name_relative(relative: Relative) -> str:
    """A relative pitch as written in token names: ``5``, ``#4'``, ``b7,``; a rest is ``z``.

    >>> name_relative((4, 0)), name_relative((10, 1)), name_relative((-1, -1)), name_relative(None)
    ('5', "#4'", 'b7,', 'z')
    """
    if relative is None:
        return "z"
    step, alteration = relative
    octave, degree = divmod(step, 7)
    return f"{ACCIDENTAL_NAMES[alteration]}{degree + 1}{chr(39) * octave if octave > 0 else ',' * -octave}"


@cache
def parse_relative(name: str) -> Relative:
    """The inverse of `name_relative`."""
    if name == "z":
        return None
    match = _RELATIVE.match(name)
    if match is None:
        raise VocabularyError(f"{name!r} is no relative pitch")
    octave = match[3].count("'") - match[3].count(",")
    return int(match[2]) - 1 + 7 * octave, _SIGNS[match[1] or ""]


_NOTE = Kind.NOTE  # to name a member of an enumeration anew costs as much as to make a token
_FIXED = {
    "<s>": Token(Kind.START),
    "</s>": Token(Kind.END),
    "<boundary>": Token(Kind.BOUNDARY),
    "|:": Token(Kind.OPEN),
    "|": Token(Kind.BAR),
    "||": Token(Kind.DOUBLE),
    ":|": Token(Kind.CLOSE, 2),
    "::|": Token(Kind.CLOSE, 3),
    "|]": Token(Kind.FINAL),
    "tie": Token(Kind.TIE),
    "join": Token(Kind.JOIN),
}


def parse_token(name: str) -> Token:
    """What a token's name says; raises VocabularyError for a name that says nothing."""
    if name in _FIXED:
        return _FIXED[name]
    try:
        if "@" in name:  # nearly all of them
            pitch, length = name.split("@")
            return Token(_NOTE, parse_relative(pitch), _ticks(length))
        head, _, value = name.partition(":")
        match head:
            case "tonic" if value[:1] in LETTERS:
                return Token(Kind.TONIC, (value[0], _SIGNS[value[1:]]))
            case "mode" if value in MODE_FIFTHS:
                return Token(Kind.MODE, value)
            case "metre":
                beats, unit = map(int, value.split("/"))
                return Token(Kind.METRE, (beats, unit), _ticks(value))
            case "bars":
                return Token(Kind.BARS, None if value == "more" else int(value))
            case "upbeat":
                return Token(Kind.UPBEAT, None, _ticks(value))
            case "ending":
                return Token(Kind.ENDING, tuple(map(int, value.split(","))))
            case "length":
                return Token(Kind.LENGTH, None, _ticks(value))
            case "pitch":
                return Token(Kind.PITCH, parse_relative(value))
    except (ValueError, KeyError, ZeroDivisionError, IndexError) as error:
        raise VocabularyError(f"there is no token {name!r}") from error
    raise VocabularyError(f"there is no token {name!r}")


@cache
def _ticks(text: str) -> int:
    numerator, slash, denominator = text.partition("/")
    ticks, rest = divmod(int(numerator) * TICKS_PER_WHOLE, int(denominator) if slash else 1)
    if rest or ticks <= 0:
        raise ValueError(text)
    return ticks
