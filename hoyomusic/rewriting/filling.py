"""Which ids may come next within one bar that has to last so many ticks, whatever the tune around it does.

`hoyomusic.grammar` makes whole tunes that obey its own form. Here the form is given, and may be one that the
grammar would not make; free are the notes of a bar alone. Along every path that `Filler.mask` allows the notes
fill the bar, tuplets close within it, ties lead to the same pitch and chords rise; no path is a dead end.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from hoyomusic.grammar.tables import GRID, sounding
from hoyomusic.tune import Key
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import LENGTHS, TICKS_PER_WHOLE, Kind

# The widest interval between neighbours in a chord, in semitones, and the most notes in one.
CHORD_SPAN = 16
CHORD_NOTES = 4

_LENGTHS = frozenset(int(length * TICKS_PER_WHOLE) for length in LENGTHS)

Pitched = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one bar stands; a value, so that it can be kept and gone back to.

    `room` ticks are left. `owed` are the pitches that the next note must have, lowest first: those that a tie has
    promised. `tuplet` is the first length of an open tuplet (0: none is open) and `tuplet_done` what of it has
    sounded; `length` a length whose pitch must follow (0: none); `chord` counts the pitches of the last note
    (0: there is none, it is a rest, or it is tied) and `top` is its highest.
    """

    room: int
    owed: tuple[Pitched, ...] = ()
    tuplet: int = 0
    tuplet_done: int = 0
    length: int = 0
    chord: int = 0
    top: Pitched | None = None
    joining: bool = False

    @property
    def ends(self) -> bool:
        """Whether the bar is full and nothing is promised within it."""
        return not (self.room or self.length or self.joining)


def can_fill(ticks: int) -> bool:
    """Whether notes can fill a bar of so many ticks: whole 64ths."""
    return ticks > 0 and ticks % GRID == 0


class Filler:
    """The automaton for one vocabulary, key and set of `pitches` relative to it; `chords`: may they sound together.

    >>> vocabulary = Vocabulary.build()
    >>> filler = Filler(vocabulary, Key("G"), {(0, 0), (4, 0)}, chords=False)
    >>> place = filler.advance(Place(room=6720 // 4), vocabulary.ids["1@3/16"])
    >>> mask = filler.mask(place, end=vocabulary.ids["|"])
    >>> [vocabulary.names[index] for index in mask.nonzero()[0] if "5" in vocabulary.names[index]]
    ['5@1/32', '5@1/24', '5@1/16']
    """

    def __init__(self, vocabulary: Vocabulary, key: Key, pitches: Collection[Pitched], *, chords: bool) -> None:
        self._tokens = vocabulary.tokens
        self._pitches = frozenset(pitches)
        self._chords = chords
        self._tie, self._join = vocabulary.ids["tie"], vocabulary.ids["join"]
        self._lengths = {
            token.ticks: index for index, token in enumerate(self._tokens) if token.kind is Kind.LENGTH
        }
        self._notes = [
            (index, token.value, token.ticks) for index, token in enumerate(self._tokens) if token.kind is Kind.NOTE
        ]
        self._fused = {(pitch, ticks) for _, pitch, ticks in self._notes}
        self._bare = [(index, token.value) for index, token in enumerate(self._tokens) if token.kind is Kind.PITCH]
        self._heights = {pitch: sounding(key, pitch) for _, pitch in self._bare if pitch is not None}
        self._masks: dict[tuple[Place, int, bool], np.ndarray] = {}

    def notes_of(self, pitch: Pitched) -> list[int]:
        """The ids of the notes, and of the bare pitch, that sound so."""
        return [index for index, value, _ in self._notes if value == pitch] + [
            index for index, value in self._bare if value == pitch
        ]

    def mask(self, place: Place, end: int, *, may_tie_on: bool = False) -> np.ndarray:
        """Which ids may come next, as bool (V,); `end` is the id of the bar line, `may_tie_on` lets a tie cross it."""
        key = (place, end, may_tie_on)
        found = self._masks.get(key)
        if found is None:
            found = self._masks[key] = self._build(place, end, may_tie_on)
        return found

    def advance(self, place: Place, index: int) -> Place:
        """The place behind an id that `mask` allowed and that is not the bar line."""
        token = self._tokens[index]
        match token.kind:
            case Kind.LENGTH:
                return replace(place, length=token.ticks, chord=0)
            case Kind.NOTE:
                return self._sound(place, token.value, token.ticks)
            case Kind.JOIN:
                return replace(place, joining=True)
            case Kind.TIE:
                return replace(place, owed=(place.top,), chord=0)
        if place.joining:
            owed = place.owed[1:] if place.owed else ()
            return replace(place, owed=owed, joining=False, chord=place.chord + 1, top=token.value)
        return self._sound(place, token.value, place.length)

    def _sound(self, place: Place, pitch: Pitched | None, ticks: int) -> Place:
        tuplet, done = place.tuplet, place.tuplet_done
        if tuplet or ticks % GRID:
            tuplet, done = tuplet or ticks, done + ticks
            if done % GRID == 0:
                tuplet = done = 0
        chord = 0 if pitch is None else 1
        return Place(place.room - ticks, place.owed[1:], tuplet, done, chord=chord, top=pitch)

    def _build(self, place: Place, end: int, may_tie_on: bool) -> np.ndarray:
        mask = np.zeros(len(self._tokens), bool)
        if place.joining:
            mask[[index for index, pitch in self._bare if pitch in self._above(place)]] = True
        elif place.length:
            mask[[index for index, pitch in self._bare if self._may_sound(place, pitch, place.length)]] = True
        elif place.owed and place.chord:
            mask[self._join] = True
        else:
            self._allow_notes(mask, place)
            if place.ends:
                mask[end] = True
            if place.chord == 1 and (place.room or may_tie_on):
                mask[self._tie] = True
            if self._chords and 0 < place.chord < CHORD_NOTES and self._above(place):
                mask[self._join] = True
        mask.flags.writeable = False
        return mask

    def _allow_notes(self, mask: np.ndarray, place: Place) -> None:
        fitting = {length for length in self._lengths if _fits(length, place.room, place.tuplet, place.tuplet_done)}
        allowed = self._sounding_next(place)
        mask[[index for index, pitch, ticks in self._notes if ticks in fitting and pitch in allowed]] = True
        for length in fitting:
            if any((pitch, length) not in self._fused for pitch in allowed):
                mask[self._lengths[length]] = True

    def _may_sound(self, place: Place, pitch: Pitched | None, length: int) -> bool:
        """Whether a bare pitch may follow a bare length: where there is a note of both, that is the way to say it."""
        return pitch in self._sounding_next(place) and (pitch, length) not in self._fused

    def _sounding_next(self, place: Place) -> frozenset[Pitched | None]:
        return frozenset(place.owed[:1]) if place.owed else self._pitches | {None}

    def _above(self, place: Place) -> frozenset[Pitched]:
        """The pitches that may join the last note."""
        if place.owed:
            return frozenset(place.owed[:1])
        top = self._heights[place.top]
        return frozenset(pitch for pitch in self._pitches if top < self._heights[pitch] <= top + CHORD_SPAN)


@lru_cache(maxsize=65536)
def _fits(length: int, room: int, tuplet: int, done: int) -> bool:
    """Whether a length may come next, with `room` ticks left, `done` ticks into a tuplet that `tuplet` began."""
    if length > room:
        return False
    if not tuplet:
        return length % GRID == 0 or _can_close(length, length, room - length)
    return length in (tuplet, 2 * tuplet, tuplet / 2) and _can_close(tuplet, done + length, room - length)


def _can_close(tuplet: int, done: int, room: int) -> bool:
    """Whether a tuplet that `tuplet` began is closed `done` ticks on, or `room` ticks suffice to close it."""
    divisor = next(prime for prime in (3, 5, 7) if tuplet * prime % GRID == 0)
    span = divisor * tuplet
    ends = [span // 2, span] if divisor == 3 and span % (2 * GRID) == 0 else [span]
    step = tuplet // 2 if tuplet / 2 in _LENGTHS else tuplet
    return any(0 <= end - done <= room and (end - done) % step == 0 for end in ends)
