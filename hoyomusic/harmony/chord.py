"""One chord: a root, intervals, a bass note; and the chord that a written symbol names."""

from __future__ import annotations

import re
from typing import NamedTuple

from hoyomusic.tune import NATURAL_SEMITONES

FIFTH = (0, 7)
MAJOR, MINOR = (0, 4, 7), (0, 3, 7)


class Chord(NamedTuple):
    """A root and a bass note as pitch classes (C = 0), and intervals above the root, 0 first.

    >>> Chord(7, (0, 4, 7, 10), 7).tones
    (7, 11, 2, 5)
    """

    root: int
    intervals: tuple[int, ...]
    bass: int

    @property
    def tones(self) -> tuple[int, ...]:
        """Its pitch classes, root first."""
        return tuple((self.root + interval) % 12 for interval in self.intervals)

    @property
    def fifth(self) -> int:
        """The interval that stands in the fifth's place: a fifth, else a fourth, else the root again."""
        return next((interval for interval in (7, 6, 8, 5) if interval in self.intervals), 0)

    @property
    def third(self) -> int | None:
        """The interval of its third, if it has one."""
        return next((interval for interval in (3, 4) if interval in self.intervals), None)


# Chord names as in ABC 2.1, section 4.18: a root, a kind, a bass note.
_SYMBOL = re.compile(r"([A-G])([#b♯♭]?)([^/]*)(?:/([A-G])([#b♯♭]?))?")
_ALTERATION = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}
_KINDS = {
    "": MAJOR, "maj": MAJOR, "M": MAJOR, "5": FIFTH, "m": MINOR, "min": MINOR, "-": MINOR,
    "7": (0, 4, 7, 10), "9": (0, 4, 7, 10), "11": (0, 4, 7, 10), "13": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11), "M7": (0, 4, 7, 11), "6": (0, 4, 7, 9), "add9": MAJOR, "2": (0, 2, 7),
    "m7": (0, 3, 7, 10), "min7": (0, 3, 7, 10), "-7": (0, 3, 7, 10), "m9": (0, 3, 7, 10), "m6": (0, 3, 7, 9),
    "dim": (0, 3, 6), "°": (0, 3, 6), "o": (0, 3, 6), "dim7": (0, 3, 6, 9), "m7b5": (0, 3, 6, 10),
    "aug": (0, 4, 8), "+": (0, 4, 8), "sus": (0, 5, 7), "sus4": (0, 5, 7), "sus2": (0, 2, 7), "7sus4": (0, 5, 7, 10),
}  # fmt: skip


def read_symbol(text: str) -> Chord | None:
    """The chord that a symbol names, or None where it is no chord (a fingering, a remark).

    >>> read_symbol("D7/F#"), read_symbol("Fine")
    (Chord(root=2, intervals=(0, 4, 7, 10), bass=6), None)
    """
    match = _SYMBOL.fullmatch(text.strip().strip("()"))
    if match is None or match[3].strip() not in _KINDS:
        return None
    root = (NATURAL_SEMITONES[match[1]] + _ALTERATION[match[2]]) % 12
    bass = root if match[4] is None else (NATURAL_SEMITONES[match[4]] + _ALTERATION[match[5]]) % 12
    return Chord(root, _KINDS[match[3].strip()], bass)
