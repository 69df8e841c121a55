"""`Vocabulary`: a tune as a sequence of ids and back, without loss, in a closed list of tokens.

A tune is written as ``<s>``, its key, metre and number of bars, then its bars, then ``</s>``::

    <s> tonic:D mode:major metre:6/8 bars:16 |: upbeat:1/8 5,@1/8 | 1@1/4 3@1/8 ... :| ... |] </s>

Pitches are relative to the key: a degree of its scale, raised or lowered, so that a transposed tune is
the same sequence but for one token. Lengths are fractions of a whole note. The nation is no token: it
is an input of the model, so that one and the same road serves conditioning, dropping and guidance.

A note of a common length is one token (``5,@1/8``); a rare one is two (``length:5/8``, ``pitch:5,``).
That is the layout ``fused``; ``split`` always writes two, and ``sticky`` writes the length only where it
changes. Which is best was measured: `benchmarks/granularity.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from functools import cached_property

from hoyomusic.errors import VocabularyError
from hoyomusic.tune import ACCIDENTAL_NAMES, LETTERS, MODE_FIFTHS, Bar, Key, Metre, Note, Pitch, Tune, height

VERSION = 1
LAYOUTS = ("fused", "sticky", "split")

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
FUSED_LENGTHS = tuple(map(Fraction, ("1/32", "1/24", "1/16", "1/12", "3/32", "1/8", "3/16", "1/4", "3/8", "1/2", "3/4", "1")))
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


@dataclass(frozen=True, slots=True)
class Token:
    """One entry of the vocabulary, taken apart.

    `ticks` is the length that a note or length token stands for, or that an upbeat has; `value` what
    else the token says: a relative pitch, a tonic, a mode, a metre, a count, the numbers of an ending.
    """

    kind: Kind
    value: object = None
    ticks: int = 0


class Vocabulary:
    """A closed, ordered, versioned list of tokens; equal lists mean equal ids.

    Raises VocabularyError where a tune has no ids (`encode`) or ids are no tune (`decode`).
    """

    def __init__(self, tokens: Sequence[str], layout: str = "fused") -> None:
        if layout not in LAYOUTS:
            raise VocabularyError(f"there is no layout {layout!r}", remedy=f"choose one of {', '.join(LAYOUTS)}")
        self.names = tuple(tokens)
        self.layout = layout
        self.ids = {name: index for index, name in enumerate(self.names)}
        if len(self.ids) != len(self.names):
            raise VocabularyError("a token stands twice in the vocabulary")
        self.tokens = tuple(map(parse_token, self.names))
        for required in ("<s>", "</s>", "<boundary>", "|"):
            if required not in self.ids:
                raise VocabularyError(f"the vocabulary lacks {required}")
        self._relative: dict[tuple[Key, Pitch], Relative] = {}

    @classmethod
    def build(cls, layout: str = "fused") -> Vocabulary:
        """The vocabulary of this version, by rule and not from data, so that it fits any corpus."""
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
        names += [f"pitch:{name_relative(pitch)}" for pitch in pitches]
        if layout == "fused":
            for pitch in pitches:
                if pitch is not None and (pitch[0] not in FUSED_STEPS or abs(pitch[1]) > 1):
                    continue
                lengths = FUSED_LENGTHS if pitch is None or pitch[1] == 0 else FUSED_ALTERED_LENGTHS
                names += [f"{name_relative(pitch)}@{length}" for length in lengths]
        return cls(names, layout)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.names, self.layout) == (other.names, other.layout)

    def __hash__(self) -> int:
        return hash((self.names, self.layout))

    def to_dict(self) -> dict[str, object]:
        """The vocabulary as plain data, for a checkpoint."""
        return {"version": VERSION, "layout": self.layout, "tokens": list(self.names)}

    @classmethod
    def from_dict(cls, data: dict) -> Vocabulary:
        """The vocabulary that `to_dict` wrote; raises VocabularyError for a version that is not ours."""
        if data.get("version") != VERSION:
            raise VocabularyError(
                f"vocabulary of version {data.get('version')}, this program reads {VERSION}",
                remedy="use the program that made the model, or train again",
            )
        return cls(data["tokens"], data["layout"])

    # ------------------------------------------------------------------ tune -> ids

    def encode(self, tune: Tune) -> list[int]:
        """The ids of a tune, ``<s>`` to ``</s>``. Texts, graces, chord symbols and part names have none.

        Raises VocabularyError, naming what cannot be said, so that nothing is bent in silence.
        """
        if tune.metre is None:
            raise VocabularyError("free metre")
        if tune.parts or any(bar.part for bar in tune.bars):
            raise VocabularyError("a play order of parts")
        ids = [self.ids["<s>"], *self._key_ids(tune.key), self._metre_id(tune.metre)]
        ids.append(self.bars_id(count_bars(tune)))
        key, sounding = tune.key, None
        upbeats = find_upbeats(tune)
        for index, bar in enumerate(tune.bars):
            if bar.opens:
                ids.append(self.ids["|:"])
            if bar.ending:
                ids.append(self._id(f"ending:{','.join(map(str, bar.ending))}", "the ending"))
            if bar.metre is not None:
                ids.append(self._metre_id(bar.metre))
            if bar.key is not None:
                key = bar.key
                ids += self._key_ids(key)
            if upbeats[index]:
                ids.append(self._id(f"upbeat:{bar.length}", "an upbeat of"))
            for note in bar.notes:
                sounding = self._encode_note(note, key, sounding, ids)
            ids.append(self._bar_end_id(bar, last=index == len(tune.bars) - 1))
        ids.append(self.ids["</s>"])
        return ids

    def _id(self, name: str, what: str) -> int:
        found = self.ids.get(name)
        if found is None:
            raise VocabularyError(f"{what} {name.split(':', 1)[-1]} has no token")
        return found

    def _key_ids(self, key: Key) -> tuple[int, int]:
        if key.explicit:
            raise VocabularyError("a key with accidentals of its own")
        return self._id(f"tonic:{key.tonic}", "the key note"), self._id(f"mode:{key.mode}", "the mode")

    def _metre_id(self, metre: Metre) -> int:
        if metre.groups:
            raise VocabularyError("a metre with grouping")
        return self._id(f"metre:{metre}", "the metre")

    def bars_id(self, count: int) -> int:
        """The header token for a tune of `count` bars, upbeats not counted."""
        return self.ids[f"bars:{count}" if 1 <= count <= MOST_BARS else "bars:more"]

    def _bar_end_id(self, bar: Bar, last: bool) -> int:
        if bar.closes:
            return self._id({2: ":|", 3: "::|"}.get(bar.closes, f"a repeat played {bar.closes} times"), "the sign")
        if last:
            return self.ids["|]"]
        return self.ids["||" if bar.double else "|"]

    def _encode_note(self, note: Note, key: Key, sounding: Fraction | None, ids: list[int]) -> Fraction:
        """Append a note's tokens; returns the length that is in force behind it (layout ``sticky``)."""
        if note.graces or note.symbol:
            raise VocabularyError("grace notes or chord symbols")
        if note.ties and note.ties != note.pitches:
            raise VocabularyError("a chord of which only a part is tied")
        names = [name_relative(self.relative(key, pitch)) for pitch in note.pitches] or ["z"]
        fused = self.ids.get(f"{names[0]}@{note.length}")
        if fused is not None:
            ids.append(fused)
        else:
            if self.layout != "sticky" or note.length != sounding:
                ids.append(self._id(f"length:{note.length}", "the length"))
            ids.append(self._id(f"pitch:{names[0]}", "the pitch"))
        for name in names[1:]:
            ids += (self.ids["join"], self._id(f"pitch:{name}", "the pitch"))
        if note.ties:
            ids.append(self.ids["tie"])
        return note.length

    def relative(self, key: Key, pitch: Pitch) -> Relative:
        """A pitch as scale steps from the tonic and an alteration against the scale of the key."""
        found = self._relative.get((key, pitch))
        if found is None:
            alteration = pitch.accidental - key.signature.get(pitch.letter, 0)
            if alteration not in ALTERATIONS:
                raise VocabularyError(f"the pitch {pitch} has no token in {key}")
            found = self._relative[key, pitch] = (pitch.diatonic - key.tonic_pitch.diatonic, alteration)
        return found

    # ------------------------------------------------------------------ ids -> tune

    def decode(self, ids: Iterable[int]) -> Tune:
        """The tune of a sequence of ids, with or without its ``</s>``; the inverse of `encode`.

        Raises VocabularyError where the ids are no tune.
        """
        return _Decoder(self).decode(ids)

    @cached_property
    def note_ids(self) -> frozenset[int]:
        """The ids that start a note or rest: one of them is one note of the tune."""
        return frozenset(index for index, token in enumerate(self.tokens) if token.kind in (Kind.NOTE, Kind.PITCH))

    def count_notes(self, ids: Sequence[int]) -> int:
        """Notes and rests in a sequence; a chord counts once."""
        join = self.ids["join"]
        return sum(
            1 for before, this in zip([None, *ids], ids, strict=False) if this in self.note_ids and before != join
        )


class _Decoder:
    """Builds a tune token by token."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.bars: list[Bar] = []
        self.key: Key | None = None
        self.first_key: Key | None = None
        self.first_metre: Metre | None = None
        self.tonic: tuple[str, int] | None = None
        self.length: Fraction | None = None
        self._begin_bar()

    def _begin_bar(self) -> None:
        self.notes: list[Note] = []
        self.joining = self.opens = False
        self.ending: tuple[int, ...] = ()
        self.metre: Metre | None = None
        self.new_key: Key | None = None

    def decode(self, ids: Iterable[int]) -> Tune:
        ended = False
        for place, index in enumerate(ids):
            if not 0 <= index < len(self.vocabulary):
                raise VocabularyError(f"there is no id {index}", where=f"token {place}")
            token = self.vocabulary.tokens[index]
            if ended or (place == 0) != (token.kind is Kind.START):
                raise VocabularyError(f"{self.vocabulary.names[index]} is out of place", where=f"token {place}")
            ended = token.kind is Kind.END
            try:
                self._take(token)
            except (TypeError, IndexError, AttributeError) as error:
                name = self.vocabulary.names[index]
                raise VocabularyError(f"{name} is out of place", where=f"token {place}") from error
        if self.first_key is None or self.first_metre is None or not self.bars or self.notes:
            raise VocabularyError("the ids stop in the middle of a tune")
        return Tune(self.first_key, self.first_metre, tuple(self.bars))

    def _take(self, token: Token) -> None:
        match token.kind:
            case Kind.TONIC:
                self.tonic = token.value
            case Kind.MODE:
                self.key = Key(*self.tonic, token.value)
                if self.first_key is None:
                    self.first_key = self.key
                else:
                    self.new_key = self.key
            case Kind.METRE:
                if self.first_metre is None:
                    self.first_metre = Metre(*token.value)
                else:
                    self.metre = Metre(*token.value)
            case Kind.OPEN:
                self.opens = True
            case Kind.ENDING:
                self.ending = token.value
            case Kind.LENGTH:
                self.length = Fraction(token.ticks, TICKS_PER_WHOLE)
            case Kind.NOTE:
                self.length = Fraction(token.ticks, TICKS_PER_WHOLE)
                self._add_note(token.value)
            case Kind.PITCH:
                self._add_note(token.value)
            case Kind.JOIN:
                self.joining = bool(self.notes[-1].pitches)
            case Kind.TIE:
                last = self.notes[-1]
                self.notes[-1] = Note(last.pitches, last.length, last.pitches)
            case Kind.BAR | Kind.DOUBLE | Kind.CLOSE | Kind.FINAL:
                self._end_bar(token)

    def _add_note(self, relative: Relative) -> None:
        pitches = () if relative is None else (self._absolute(relative),)
        if self.joining:
            last = self.notes.pop()
            pitches = tuple(sorted(last.pitches + pitches, key=height))
            self.notes.append(Note(pitches, last.length))
            self.joining = False
        else:
            self.notes.append(Note(pitches, self.length + 0))

    def _absolute(self, relative: tuple[int, int]) -> Pitch:
        octave, letter = divmod(self.key.tonic_pitch.diatonic + relative[0], 7)
        accidental = self.key.signature.get(LETTERS[letter], 0) + relative[1]
        if abs(accidental) > 2:
            return Pitch.from_midi(Pitch(LETTERS[letter], accidental, octave).midi)
        return Pitch(LETTERS[letter], accidental, octave)

    def _end_bar(self, token: Token) -> None:
        closes = token.value if token.kind is Kind.CLOSE else 0
        self.bars.append(
            Bar(
                tuple(self.notes),
                opens=self.opens,
                closes=closes,
                ending=self.ending,
                double=token.kind is Kind.DOUBLE,
                metre=self.metre,
                key=self.new_key,
            )
        )
        self._begin_bar()


def find_upbeats(tune: Tune) -> list[bool]:
    """Which bars are upbeats: short bars at a section's start that do not end the section as well.

    Bars behind an ending's number are no upbeats: they go on from the bar before them.
    """
    starts, ends = tune.section_edges()
    metres = tune.metres()
    return [
        starts[index]
        and not ends[index]
        and not bar.ending
        and metres[index] is not None
        and bar.length < metres[index].length
        for index, bar in enumerate(tune.bars)
    ]


def count_bars(tune: Tune) -> int:
    """Written bars as a musician counts them: upbeats are not counted."""
    return len(tune.bars) - sum(find_upbeats(tune))


# ---------------------------------------------------------------------- token names

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


def parse_relative(name: str) -> Relative:
    """The inverse of `name_relative`."""
    if name == "z":
        return None
    match = _RELATIVE.match(name)
    if match is None:
        raise VocabularyError(f"{name!r} is no relative pitch")
    signs = {text: sign for sign, text in ACCIDENTAL_NAMES.items()}
    octave = match[3].count("'") - match[3].count(",")
    return int(match[2]) - 1 + 7 * octave, signs[match[1] or ""]


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
        if "@" in name:
            pitch, length = name.split("@")
            return Token(Kind.NOTE, parse_relative(pitch), _ticks(length))
        head, _, value = name.partition(":")
        match head:
            case "tonic" if value[:1] in LETTERS:
                sign = {text: sign for sign, text in ACCIDENTAL_NAMES.items()}[value[1:]]
                return Token(Kind.TONIC, (value[0], sign))
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


def _ticks(text: str) -> int:
    ticks = Fraction(text) * TICKS_PER_WHOLE
    if ticks.denominator != 1 or ticks <= 0:
        raise ValueError(text)
    return int(ticks)
