"""The symbols of ABC music: one pattern that cuts a line into them, and what each says by itself.

What a symbol means among others (its key, its bar, a tuplet it stands in) is the reader's. All readings
are cached, for a file of tunes holds few different ones.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from hoyomusic.abc.fields import ACCIDENTALS
from hoyomusic.abc.repeats import MAXIMUM_PLAYS
from hoyomusic.errors import AbcError
from hoyomusic.tune import Pitch

MAXIMUM_DIGITS = 6  # of a number in a note's length
MAXIMUM_LENGTH_TERM = 100_000  # numerator and denominator of a sounding length

_LENGTH = r"[0-9]*(?:/+[0-9]*)?"
_NOTE = rf"(?:\^\^?|__?|=)?[A-Ga-g][,']*{_LENGTH}-?"
SYMBOL = re.compile(
    rf"""(?P<note>{_NOTE})
    |[\ \t`]+
    |(?P<inline>\[[A-Za-z]:[^\]]*\])
    |(?P<bar>(?:[|:]|\[(?=[|0-9])|\](?=[|:]))(?:[|:\]]|\[(?=[|\]:0-9]))*(?:[0-9]+(?:[,.-][0-9]+)*)?)
    |(?P<rest>[zx]{_LENGTH}-?)
    |(?P<broken>[<>]+)
    |(?P<tuplet>\([0-9]+(?::[0-9]*){{0,2}})
    |(?P<shorthand>[~.H-Wh-w)]+|\((?![0-9]))
    |(?P<quote>"[^"]*")
    |(?P<chord>\[(?:[^\[\]|"]|"[^"]*")*\]{_LENGTH}-?)
    |(?P<named>\["[^"]*")
    |(?P<grace>\{{[^\}}]*\}})
    |(?P<decoration>![^!\s|"\[\]]+!|\+[^+\s|]+\+)
    |(?P<tie>-)
    |(?P<rests>[ZX][0-9]*)
    |(?P<overlay>&)
    |(?P<space>y{_LENGTH})
    |(?P<junk>[!*;?@\]]|\+(?=\s))
    |(?P<ignored>[$\\]|\s)
    |(?P<other>.)""",
    re.VERBOSE,
)
_NOTE_PARTS = re.compile(rf"(\^\^?|__?|=)?([A-Ga-g])([,']*)({_LENGTH})(-?)")
IN_CHORD = re.compile(rf'(?P<note>{_NOTE})|[\s~.H-Wh-w()`]+|"[^"]*"|![^!]*!|(?P<rest>[zx]{_LENGTH})|(?P<other>.)')
_CHORD_SYMBOL = re.compile(
    r"\(?[A-G][#b♯♭]?(?:maj|min|dim|aug|sus|add|[mM+°øo#b♯♭0-9(),-])*(?:/[A-Ga-g][#b♯♭+]?)?\)?"
)


class NoteSymbol(NamedTuple):
    accidental: int | None
    letter: str
    octave: int
    numerator: int
    denominator: int
    tied: bool


@lru_cache(maxsize=8192)
def read_note(text: str) -> NoteSymbol:
    sign, letter, marks, length, tie = _NOTE_PARTS.fullmatch(text).groups()
    octave = (5 if letter.islower() else 4) + marks.count("'") - marks.count(",")
    accidental = None if sign is None else ACCIDENTALS[sign]
    return NoteSymbol(accidental, letter.upper(), octave, *read_multiple(length), bool(tie))


@lru_cache(maxsize=1024)
def read_multiple(text: str) -> tuple[int, int]:
    """A length behind a note as a multiple of the unit: ``3/2``, ``/`` for 1/2, ``//`` for 1/4."""
    above, slashes, below = text.partition("/")
    digits = below.lstrip("/")
    halvings = len(below) - len(digits) + 1
    if max(len(above), len(digits), halvings) > MAXIMUM_DIGITS:
        raise AbcError("a note length of too many digits", remedy=f"write at most {MAXIMUM_DIGITS}")
    numerator = int(above or 1)
    denominator = 1 if not slashes else int(digits) * 2 ** (halvings - 1) if digits else 2**halvings
    if not numerator or not denominator:
        raise AbcError("a note length of 0")
    return numerator, denominator


@lru_cache(maxsize=4096)
def make_pitch(letter: str, accidental: int, octave: int) -> Pitch:
    pitch = Pitch(letter, accidental, octave)
    if not 0 <= pitch.midi <= 127:
        raise AbcError("a pitch outside MIDI", remedy="check its octave marks")
    return pitch


@lru_cache(maxsize=8192)
def make_length(numerator: int, denominator: int) -> Fraction:
    length = Fraction(numerator, denominator)
    if max(length.numerator, length.denominator) > MAXIMUM_LENGTH_TERM:
        raise AbcError("a note length beyond all music", remedy="check L:, the tuplets and the lengths")
    return length


@lru_cache(maxsize=256)
def read_endings(text: str) -> tuple[int, ...]:
    """The numbers of an ending: ``1``, ``1,3``, ``1-3``."""
    numbers: set[int] = set()
    for item in re.split(r"[,.]", text):
        ends = item.split("-")
        if any(len(end) > MAXIMUM_DIGITS or int(end) > MAXIMUM_PLAYS for end in ends):
            raise AbcError(f"an ending of more than {MAXIMUM_PLAYS} plays", remedy="write at most |1 to |1000")
        numbers.update(range(int(ends[0]), int(ends[-1]) + 1))
    if not numbers or 0 in numbers:
        raise AbcError("an ending without a number from 1", remedy="write it as in |1 or [1,3")
    return tuple(sorted(numbers))


@lru_cache(maxsize=1024)
def read_chord_symbol(text: str) -> str:
    """A quoted text as a chord symbol, or nothing for annotations, fingerings and words."""
    text = text.strip()
    return text if _CHORD_SYMBOL.fullmatch(text) else ""
