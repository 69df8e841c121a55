"""Where in bar, section and tune a word stands, computed from the words up to it and nothing else.

A `Clock` reads a tune word by word and interprets lengths, unit, metre, broken rhythm, tuplets and chords.
It trusts no tune to be right: a bar that is too long merely runs on, and a bar line always begins anew.
What it tells before a word is known is an input that an autoregressive model may have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np

from benchmarks.folkwiki.tokens import DEFAULT_KEY, MODES, START, Language, read_key, read_pitch

# Ticks of a whole note: 32nds of triplets and of quintuplets are whole numbers of ticks.
WHOLE = 11520
LENGTH = re.compile(r"(\d*)(?:(/)(\d+))?")
TUPLET = re.compile(r"\((\d)")
FIELD = re.compile(r"\[([LM]):(\d+)/(\d+)\]")
BAR_LINES = {"|": False, "|1": False, "|2": False, "|:": True, ":|": True}
# What > and >> take from the following note and give to the one before; < and << the other way round.
BROKEN = {">": Fraction(1, 2), ">>": Fraction(3, 4), "<": -Fraction(1, 2), "<<": -Fraction(3, 4)}
# Notes of a tuplet -> in the time of how many (ABC 2.1, section 4.13; compound metres are taken for simple ones).
TIME_OF = {2: 3, 3: 2, 4: 3, 5: 2, 6: 2, 7: 2, 8: 3, 9: 2}

# The columns of `read_clock` and how many values each has; those with 0 hold ids of the language.
COLUMNS = {
    "place": 193, "left": 130, "bar": 32, "section": 8, "phase": 64, "sounding": 97, "mode": len(MODES),
    "metre": 0, "unit": 0, "key": 0,
}
LAGS = (1, 2, 4, 8)


@lru_cache(maxsize=None)
def _classify(word: str) -> tuple[str, object]:
    if word == "z" or read_pitch(word) is not None:
        return "note", None
    if word in BAR_LINES:
        return "bar", BAR_LINES[word]
    if word in BROKEN:
        return "broken", BROKEN[word]
    if word in "[]":
        return word, None
    if found := TUPLET.fullmatch(word):
        return "tuplet", int(found[1])
    if found := FIELD.fullmatch(word):
        return found[1], Fraction(int(found[2]), max(int(found[3]), 1))
    if found := LENGTH.fullmatch(word):
        return "length", Fraction(int(found[1] or 1), max(int(found[3] or 1), 1))
    return ("key" if read_key(word) else "other"), None


class Clock:
    """The state of reading. Positions and lengths are in ticks; `notes` holds [word, length] of each note or rest."""

    def __init__(self) -> None:
        self.unit, self.measure, self.key = WHOLE // 8, WHOLE, DEFAULT_KEY
        self.position = self.bar = self.section = self.bar_in_section = 0
        self.in_chord = self.awaits_length = False
        self.chord_word, self.chord_factor = "", Fraction(1)
        self.notes: list[list] = []
        self.next_factor = Fraction(1)
        self.tuplet_left, self.tuplet_factor = 0, Fraction(1)
        self.kind = "start"

    def advance(self, word: str) -> None:
        """Read one word."""
        kind, value = _classify(word)
        awaited, self.awaits_length = self.awaits_length, False
        if kind == "note":
            if self.in_chord:
                self.chord_word = self.chord_word or word
            else:
                self._begin_note(word, Fraction(1))
            self.awaits_length = True
        elif kind == "length" and awaited:
            if self.in_chord:
                self.chord_factor = value
            else:
                self._resize(value)
        elif kind == "bar":
            # Nothing lies between :| and |: nor between :| and |2; that is no bar, and no section.
            if self.position:
                self.bar, self.bar_in_section = self.bar + 1, self.bar_in_section + 1
            if value and self.bar_in_section:
                self.section, self.bar_in_section = self.section + 1, 0
            self.position = 0
            self.in_chord, self.tuplet_left, self.next_factor = False, 0, Fraction(1)
        elif kind == "[":
            self.in_chord, self.chord_word, self.chord_factor = True, "", Fraction(1)
        elif kind == "]" and self.in_chord:
            self.in_chord = False
            self._begin_note(self.chord_word or "z", self.chord_factor)
            self.awaits_length = True
        elif kind == "broken" and self.notes:
            self._resize(1 + value)
            self.next_factor = 1 - value
        elif kind == "tuplet":
            self.tuplet_left, self.tuplet_factor = value, Fraction(TIME_OF.get(value, 2), max(value, 1))
        elif kind == "L":
            self.unit = int(WHOLE * value)
        elif kind == "M":
            self.measure = int(WHOLE * value)
        elif kind == "key":
            self.key = read_key(word)
        self.kind = kind

    def _begin_note(self, word: str, factor: Fraction) -> None:
        factor = factor * self.next_factor
        self.next_factor = Fraction(1)
        if self.tuplet_left:
            self.tuplet_left -= 1
            factor *= self.tuplet_factor
        length = self.unit * factor.numerator // factor.denominator
        self.notes.append([word, length])
        self.position += length

    def _resize(self, factor: Fraction) -> None:
        before = self.notes[-1][1]
        after = before * factor.numerator // factor.denominator
        self.notes[-1][1] = after
        self.position += after - before

    @property
    def phase(self) -> int:
        """What was read last, whether a length may follow, whether a chord is open, how much of a tuplet is left."""
        kinds = {"note": 1, "length": 2, "bar": 3, "broken": 4, "tuplet": 5, "[": 6, "]": 7}
        return kinds.get(self.kind, 0) + 8 * self.in_chord + 16 * min(self.tuplet_left, 3)


def read_clock(words: Sequence[str], language: Language, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """For each of `ids` but the last: the clock after it (n, len(COLUMNS)), and what stood here in bars before.

    The second array (n, len(LAGS) + 1) holds ids: what followed at the same place of the bar one, two, four
    and eight bars earlier, and in the same bar of the section before; `START` where nothing did.
    """
    clock = Clock()
    in_force = {"metre": START, "unit": START, "key": START}
    rows, lagged = [], []
    by_bar: dict[tuple, int] = {}
    by_section: dict[tuple, int] = {}
    for number, index in enumerate(ids[:-1]):
        if number:
            word = words[number - 1]
            clock.advance(word)
            if word[0] == "[" and len(word) > 2:
                in_force[{"M": "metre", "L": "unit", "K": "key"}.get(word[1], "unit")] = index
        left = (clock.measure - clock.position) * 96 // WHOLE
        rows.append((
            min(max(clock.position * 96 // WHOLE, 0), 192),
            min(max(left, -32), 97) + 32,
            min(clock.bar_in_section, 31),
            min(clock.section, 7),
            clock.phase,
            min(clock.notes[-1][1] * 96 // WHOLE, 96) if clock.notes else 0,
            list(MODES.values()).index(clock.key.mode),
            in_force["metre"], in_force["unit"], in_force["key"],
        ))
        place = (clock.position, clock.in_chord, clock.awaits_length)
        found = [by_bar.get((clock.bar - lag, *place), START) for lag in LAGS]
        found.append(by_section.get((clock.section - 1, clock.bar_in_section, *place), START))
        lagged.append(found)
        # The id that follows is stored for later bars: in the words before it, it is not looked up.
        by_bar.setdefault((clock.bar, *place), ids[number + 1])
        by_section.setdefault((clock.section, clock.bar_in_section, *place), ids[number + 1])
    return np.array(rows, np.int16), np.array(lagged, np.int16)


def read_melody(words: Sequence[str]) -> list[tuple[int | None, Fraction]]:
    """MIDI number (None: a rest) and length in whole notes of each note; of a chord its first note."""
    clock, signs, melody = Clock(), {}, []
    for word in words:
        count = len(clock.notes)
        clock.advance(word)
        if clock.kind in ("bar", "key"):
            signs = {}
        pitch = read_pitch(word)
        if pitch is not None and pitch.accidental is not None:
            signs[pitch.height] = pitch.accidental
        if len(clock.notes) > count:
            sounding = read_pitch(clock.notes[-1][0])
            melody.append(None if sounding is None else _midi(sounding.height, signs, clock))
    return [(number, Fraction(length, WHOLE)) for number, (_, length) in zip(melody, clock.notes, strict=True)]


def _midi(height: int, signs: dict[int, int], clock: Clock) -> int:
    octave, letter = divmod(height, 7)
    natural = (0, 2, 4, 5, 7, 9, 11)[letter]
    return 60 + 12 * octave + natural + signs.get(height, clock.key.signature.get("CDEFGAB"[letter], 0))
