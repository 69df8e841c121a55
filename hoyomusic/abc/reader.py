"""ABC 2.1 text to tunes, in one pass: each line is cut into symbols by one pattern, each symbol read once.

What is no music is an AbcError with line and column. What is left out or guessed (lyrics, second voices,
a tie that leads nowhere) is a `Notice`. Reading takes time linear in the text, whatever the text is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from hoyomusic.abc.fields import (
    ACCIDENTALS,
    NO_KEY,
    default_length,
    read_key,
    read_length,
    read_metre,
    read_parts,
    read_tempo,
)
from hoyomusic.abc.repeats import MAXIMUM_PLAYS, Form, Sign, resolve
from hoyomusic.abc.text import Piece, cut, normalise, read_text, without_comment
from hoyomusic.errors import AbcError, TuneError
from hoyomusic.tune import MAXIMUM_PLAYED_BARS, Bar, Header, Key, Metre, Note, Pitch, Tempo, Tune, height

MAXIMUM_LINE = 10_000  # characters
MAXIMUM_TEXT = 2_000  # characters of one text of the header
MAXIMUM_DIGITS = 6  # of a number in a note's length
MAXIMUM_LENGTH_TERM = 100_000  # numerator and denominator of a sounding length
MAXIMUM_TUPLET_NUMBER = 99
MAXIMUM_TOGETHER = 32  # notes of a chord, grace notes before a note


class Notice(NamedTuple):
    """Something that was left out or guessed: its first place in the tune, and what it is."""

    line: int
    column: int
    message: str


class Reading(NamedTuple):
    """A tune, and what of its text is not in it; each kind of notice once, at its first place."""

    tune: Tune
    notices: tuple[Notice, ...]


def read(text: str, *, source: str | None = None) -> list[Reading]:
    """All tunes of a text with their notices; raises AbcError at the first that cannot be read."""
    readings = []
    for reading in read_each(text, source=source):
        if isinstance(reading, AbcError):
            raise reading
        readings.append(reading)
    return readings


def read_each(text: str, *, source: str | None = None) -> Iterator[Reading | AbcError]:
    """The tunes of a text one by one, an AbcError (not raised) in the place of each that cannot be read.

    A tune starts at an ``X:`` at a line's start and ends at an empty line; a text without ``X:`` is one
    tune. `source` names the text in errors.
    """
    for piece in cut(normalise(text)):
        try:
            yield _TuneReader(piece, source).read()
        except AbcError as error:
            yield error


def parse(text: str, *, source: str | None = None) -> list[Tune]:
    """All tunes of a text; raises AbcError, with line and column, at the first that cannot be read.

    >>> [tune] = parse("X:1\\nL:1/8\\nK:D\\n|:d2 (3efg|a4:|")
    >>> [str(note.length) for note in tune.bars[0].notes], tune.play_order()
    (['1/4', '1/12', '1/12', '1/12'], [0, 1, 0, 1])
    """
    return [reading.tune for reading in read(text, source=source)]


def parse_each(text: str, *, source: str | None = None) -> Iterator[Tune | AbcError]:
    """The tunes of a text one by one, an AbcError (not raised) in the place of each that cannot be read."""
    for reading in read_each(text, source=source):
        yield reading if isinstance(reading, AbcError) else reading.tune


def parse_one(text: str, *, source: str | None = None) -> Tune:
    """The only tune of a text; raises AbcError where there is none or more than one."""
    tunes = parse(text, source=source)
    if len(tunes) != 1:
        raise AbcError(f"one tune expected, {len(tunes)} found", where=source, remedy="give a text with one X: field")
    return tunes[0]


# ---------------------------------------------------------------------- symbols

_LENGTH = r"[0-9]*(?:/+[0-9]*)?"
_NOTE = rf"(?:\^\^?|__?|=)?[A-Ga-g][,']*{_LENGTH}-?"
_SYMBOL = re.compile(
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
_IN_CHORD = re.compile(rf'(?P<note>{_NOTE})|[\s~.H-Wh-w()`]+|"[^"]*"|![^!]*!|(?P<rest>[zx]{_LENGTH})|(?P<other>.)')
_FIELD = re.compile(r"[A-Za-z+]:")
# After K:, a note letter and a repeat sign at a line's start are music, not a field (A:| and the like).
_MUSIC_LINE = re.compile(r"[A-Ga-g]:[|:]")
_CHORD_SYMBOL = re.compile(
    r"\(?[A-G][#b♯♭]?(?:maj|min|dim|aug|sus|add|[mM+°øo#b♯♭0-9(),-])*(?:/[A-Ga-g][#b♯♭+]?)?\)?"
)
_VOICE = re.compile(r"\s*(\S+)(.*)")

_TEXT_FIELDS = {
    "T": "title", "C": "composer", "O": "origin", "R": "rhythm", "S": "source", "B": "book", "N": "notes",
    "Z": "transcription",
}  # fmt: skip
_DEFAULT_Q = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # notes in the time of how many (ABC 2.1, section 4.13)


class _NoteSymbol(NamedTuple):
    accidental: int | None
    letter: str
    octave: int
    numerator: int
    denominator: int
    tied: bool


@lru_cache(maxsize=8192)
def _read_note(text: str) -> _NoteSymbol:
    sign, letter, marks, length, tie = _NOTE_PARTS.fullmatch(text).groups()
    octave = (5 if letter.islower() else 4) + marks.count("'") - marks.count(",")
    accidental = None if sign is None else ACCIDENTALS[sign]
    return _NoteSymbol(accidental, letter.upper(), octave, *_read_multiple(length), bool(tie))


@lru_cache(maxsize=1024)
def _read_multiple(text: str) -> tuple[int, int]:
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
def _pitch(letter: str, accidental: int, octave: int) -> Pitch:
    pitch = Pitch(letter, accidental, octave)
    if not 0 <= pitch.midi <= 127:
        raise AbcError("a pitch outside MIDI", remedy="check its octave marks")
    return pitch


@lru_cache(maxsize=8192)
def _length(numerator: int, denominator: int) -> Fraction:
    length = Fraction(numerator, denominator)
    if max(length.numerator, length.denominator) > MAXIMUM_LENGTH_TERM:
        raise AbcError("a note length beyond all music", remedy="check L:, the tuplets and the lengths")
    return length


@lru_cache(maxsize=256)
def _read_endings(text: str) -> tuple[int, ...]:
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
def _read_symbol(text: str) -> str:
    """A quoted text as a chord symbol, or nothing for annotations, fingerings and words."""
    text = text.strip()
    return text if _CHORD_SYMBOL.fullmatch(text) else ""


# ---------------------------------------------------------------------- one tune


@dataclass(slots=True)
class _Bar:
    """A bar while it is read; a note is [pitches, numerator, denominator, ties, graces, symbol]."""

    sign: Sign = field(default_factory=Sign)
    notes: list[list] = field(default_factory=list)
    key: Key = NO_KEY
    metre: Metre | None = None
    part: str = ""


class _TuneReader:
    """The state of reading one tune; `read` drives it line by line."""

    def __init__(self, piece: Piece, source: str | None) -> None:
        self.piece = piece
        self.source = source
        self.line, self.column = piece.first_line, 0
        self.found: dict[str, Notice] = {}
        self.number = 1
        self.texts: dict[str, list[list[str]]] = {}  # of each text field its values, each in parts
        self.text_field = ""  # the one that +: goes on with
        self.region = ""
        self.tempo_text = ""
        self.in_body = False
        self.in_text_block = False
        self.key, self.metre, self.unit = NO_KEY, None, None
        self.tempo: Tempo | None = None
        self.parts: tuple[str, ...] = ()
        self.part = ""
        self.octaves = 0
        self.scope = "pitch"  # how far an accidental reaches: all octaves, its own octave, or nowhere
        self.voice = self.melody = None
        self.first_voice = None
        self.skipping = ""  # "voice" or "overlay" while its notes are left out
        self.bars: list[_Bar] = []
        self.bar = _Bar()
        self.last: list | None = None  # the last note, which > and - may still change
        self.factor = (1, 1)  # what > leaves for the next note
        self.tuplet = (1, 1)
        self.tuplet_left = 0
        self.open_ties: tuple[Pitch, ...] = ()
        self.graces: tuple[Pitch, ...] = ()
        self.symbol = ""
        self.named_endings = 0
        self.rest_bars = 0
        self.signature: dict = {}
        self.held: dict = {}

    def notice(self, message: str) -> None:
        if message not in self.found:
            self.found[message] = Notice(self.line, self.column + 1, message)

    # ------------------------------------------------------------------ lines

    def read(self) -> Reading:
        try:
            return self._read()
        except AbcError as error:
            if error.line is not None:
                raise
            raise AbcError(
                error.message, line=self.line, column=self.column + 1, where=self.source, remedy=error.remedy
            ) from None

    def _read(self) -> Reading:
        for number, line in self.piece.file_fields:
            self.line = number
            self._header_line(line)
        for number, line in enumerate(self.piece.lines, self.piece.first_line):
            self.line, self.column = number, 0
            if len(line) > MAXIMUM_LINE:
                raise AbcError(f"a line of more than {MAXIMUM_LINE} characters", remedy="break it")
            if not line or line.isspace():
                self._check_rest(number)
                break
            if line.startswith("%"):
                self._directive(line)
                continue
            if self.in_text_block:
                continue
            line = without_comment(line)
            if not self.in_body:
                self._header_line(line)
            elif not _FIELD.match(line) or _MUSIC_LINE.match(line):
                self._music_line(line)
            else:
                self._body_field(line[0], line[2:].strip())
        self.column = 0
        if not self.in_body:
            self.line = self.piece.first_line
            raise AbcError("the tune has no K: field", remedy="end its header with a key, as in K:G")
        return self._finish()

    def _check_rest(self, number: int) -> None:
        """Say so if there is text behind the empty line that ends the tune."""
        rest = self.piece.lines[number - self.piece.first_line :]
        if any(line.strip() and not line.startswith("%") for line in rest):
            self.notice("text behind the empty line that ends the tune")

    def _directive(self, line: str) -> None:
        word, _, value = line[2:].partition(" ") if line.startswith("%%") else ("", "", "")
        if word in ("begintext", "beginps", "beginsvg"):
            self.in_text_block = True
        elif word in ("endtext", "endps", "endsvg"):
            self.in_text_block = False
        elif word == "hoyo-region":
            self.region = self._cut(read_text(value))
        elif word == "propagate-accidentals":
            self._set_scope(value)

    def _set_scope(self, value: str) -> None:
        if value.strip() in ("pitch", "octave", "not"):
            self.scope = value.strip()

    def _header_line(self, line: str) -> None:
        if not _FIELD.match(line):
            self.notice("line in the header that is no field")
            return
        name, value = line[0], line[2:].strip()
        self.column = len(line) - len(line[2:].lstrip())
        if name == "X":
            self.number = int(value) if value.isascii() and value.isdigit() and len(value) <= 9 else 1
        elif name in _TEXT_FIELDS:
            self.text_field = _TEXT_FIELDS[name]
            self.texts.setdefault(self.text_field, []).append([read_text(value)])
        elif name == "+" and self.text_field:
            self.texts[self.text_field][-1].append(read_text(value))
        elif name == "P":
            self.parts = read_parts(value) or ()
            if not self.parts:
                self.notice("unreadable play order")
        elif name == "Q":
            self.tempo_text = value
        elif name == "K":
            self._field_in_force("K", value)
            if self.unit is None:
                self.unit = default_length(self.metre)
            self._set_tempo(self.tempo_text)
            self.in_body = True
        else:
            self._field_in_force(name, value)

    def _set_tempo(self, value: str) -> None:
        self.tempo = read_tempo(value, self.unit)
        if value and self.tempo is None:
            self.notice("tempo without a number")

    def _body_field(self, name: str, value: str, *, inline: bool = False) -> None:
        if name == "V":
            self._field_in_force(name, value)
        elif name == "P" and not (inline and self.skipping):
            self._start_part(self._cut(read_text(value)))
        elif self.skipping == "voice":
            return
        elif name == "Q":
            if self.tempo is None and not self.bars and not self.bar.notes:
                self._set_tempo(value)
            else:
                self.notice("change of tempo")
        elif name in "wWs":
            self.notice("lyrics")
        else:
            self._field_in_force(name, value)

    def _field_in_force(self, name: str, value: str) -> None:
        """K:, M:, L:, V:, I: and m:, which mean the same in header and body."""
        if name == "K":
            reading = read_key(value)
            if reading.notice:
                self.notice(reading.notice)
            self.octaves = reading.octaves
            if reading.key is not None:
                self.key = reading.key
                self.signature = dict.fromkeys("CDEFGAB", 0) | self.key.signature
                self.held = self.signature.copy()
            elif not self.in_body:
                self.signature = dict.fromkeys("CDEFGAB", 0)
                self.held = self.signature.copy()
        elif name == "M":
            metre, notice = read_metre(value)
            if notice:
                self.notice(notice)
            if metre is None and (self.bars or self.bar.notes):
                self.notice("change to free metre")
            else:
                self.metre = metre
        elif name == "L":
            self.unit = read_length(value)
        elif name == "V":
            self._set_voice(value)
        elif name == "I" and value.startswith("propagate-accidentals"):
            self._set_scope(value.removeprefix("propagate-accidentals"))
        elif name == "m":
            self.notice("macro")

    def _set_voice(self, value: str) -> None:
        match = _VOICE.match(value)
        if match is None:
            return
        if self.first_voice is None:
            self.first_voice = match[1]
        if not self.in_body:
            return
        self.voice = match[1]
        melody = self.first_voice if self.melody is None else self.melody
        if self.bars or self.bar.notes:
            self.skipping = "" if self.voice == melody else "voice"
        else:
            self.melody = self.voice

    def _start_part(self, label: str) -> None:
        if self.bar.notes:
            self._end_bar()
        self.part = label

    # ------------------------------------------------------------------ music

    def _music_line(self, line: str) -> None:
        handlers = self._HANDLERS
        for match in _SYMBOL.finditer(line):
            kind = match.lastgroup
            if kind is None:
                continue
            self.column = match.start()
            if self.skipping and not (kind == "inline" or (kind == "bar" and self.skipping == "overlay")):
                if self.skipping == "voice":
                    self.notice("second voice")
                continue
            if kind == "note":
                self._note(match[0])
            else:
                handlers[kind](self, match[0])

    def _note(self, text: str) -> None:
        symbol = _read_note(text)
        pitch = self._sounding(symbol, self.open_ties)
        self._append((pitch,), symbol.numerator, symbol.denominator, (pitch,) if symbol.tied else ())

    def _sounding(self, symbol: _NoteSymbol, ties: tuple[Pitch, ...] = ()) -> Pitch:
        """The pitch that a note stands for here; an accidental holds to the bar line, in all octaves."""
        accidental, letter, octave = symbol[:3]
        octave += self.octaves
        place = letter if self.scope == "pitch" else (letter, octave)
        if accidental is not None:
            if self.scope != "not":
                self.held[place] = accidental
            return _pitch(letter, accidental, octave)
        for tied in ties:
            if tied.letter == letter and tied.octave == octave:
                return tied
        accidental = self.held.get(place)
        return _pitch(letter, self.signature[letter] if accidental is None else accidental, octave)

    def _append(self, pitches: tuple[Pitch, ...], numerator: int, denominator: int, ties: tuple[Pitch, ...]) -> None:
        if not self.bar.notes:
            self._start_bar()
        numerator *= self.unit[0] * self.factor[0]
        denominator *= self.unit[1] * self.factor[1]
        self.factor = (1, 1)
        if self.tuplet_left:
            numerator *= self.tuplet[1]
            denominator *= self.tuplet[0]
            self.tuplet_left -= 1
        self.last = [pitches, numerator, denominator, ties, self.graces, self.symbol]
        self.bar.notes.append(self.last)
        self.open_ties = ties
        self.graces, self.symbol = (), ""

    def _start_bar(self) -> None:
        bar = self.bar
        bar.key, bar.metre, bar.part = self.key, self.metre, self.part
        bar.sign.part = bool(self.part and self.parts)
        self.part = ""

    def _end_bar(self) -> None:
        self.bars.append(self.bar)
        self.bar = _Bar()

    def _bar_line(self, text: str) -> None:
        self.skipping = ""
        begins = bool(self.bar.notes)
        if begins:
            self._end_bar()
        self.held = self.signature.copy()
        numbers = text.lstrip("|:[]")
        symbols = text[: len(text) - len(numbers)].rstrip("[")
        before = len(symbols) - len(symbols.lstrip(":"))
        behind = len(symbols) - len(symbols.rstrip(":"))
        if before == len(symbols) == 1:
            self.notice("colon without a bar line")
            before, behind = (1, 0) if begins else (0, 1)
        elif before == len(symbols):
            before, behind = before - before // 2, before // 2
        if max(before, behind) >= MAXIMUM_PLAYS:
            raise AbcError(f"a repeat of more than {MAXIMUM_PLAYS} plays", remedy="write fewer colons")
        sign = self.bar.sign
        sign.closes = max(sign.closes, before)
        sign.opens = max(sign.opens, behind)
        sign.double |= "||" in symbols or "|]" in symbols or "[|" in symbols
        if numbers:
            sign.ending = _read_endings(numbers)
            self.named_endings = sign.ending[-1]

    def _named_ending(self, text: str) -> None:
        self.notice("named ending read as a number")
        following = 1 if self.bar.sign.opens or not self.bar.sign.closes else self.named_endings + 1
        self._bar_line(f"[{following}")

    def _rest(self, text: str) -> None:
        if text.endswith("-"):
            self.notice("tie into or from a rest")
        self._append((), *_read_multiple(text[1:].rstrip("-")), ())

    def _bar_rests(self, text: str) -> None:
        count = text[1:] or "1"
        self.rest_bars += int(count) if len(count) <= MAXIMUM_DIGITS else MAXIMUM_PLAYED_BARS
        if self.rest_bars > MAXIMUM_PLAYED_BARS or not int(count):
            raise AbcError("a rest of too many bars, or of none", remedy="write it as in Z4")
        length = Fraction(1) if self.metre is None else self.metre.length
        length /= Fraction(*self.unit)
        for index in range(int(count)):
            if index:
                self._end_bar()
            self._append((), length.numerator, length.denominator, ())

    def _chord(self, text: str) -> None:
        inner, _, outer = text[1:].rpartition("]")
        all_tied = outer.endswith("-")
        above, below = _read_multiple(outer.removesuffix("-"))
        pitches: set[Pitch] = set()
        ties: set[Pitch] = set()
        lengths: list[tuple[int, int]] = []
        for match in _IN_CHORD.finditer(inner):
            if match.lastgroup == "note":
                symbol = _read_note(match[0])
                pitch = self._sounding(symbol, self.open_ties)
                pitches.add(pitch)
                if symbol.tied or all_tied:
                    ties.add(pitch)
                lengths.append((symbol.numerator, symbol.denominator))
            elif match.lastgroup == "rest":
                self.notice("rest inside a chord")
            elif match.lastgroup == "other":
                self.column += match.start() + 1
                raise AbcError(f"{match[0]!a} in a chord", remedy="write chords as in [CEG]")
        if not lengths:
            self.notice("brackets without notes")
            return
        if len(pitches) > MAXIMUM_TOGETHER:
            raise AbcError(f"a chord of more than {MAXIMUM_TOGETHER} notes", remedy="leave some of them out")
        if len(set(lengths)) > 1:
            self.notice("unequal lengths in a chord")
        numerator, denominator = lengths[0]
        self._append(
            tuple(sorted(pitches, key=height)), numerator * above, denominator * below, tuple(sorted(ties, key=height))
        )

    def _grace(self, text: str) -> None:
        graces = []
        for match in _IN_CHORD.finditer(text[1:-1].lstrip("/")):
            if match.lastgroup == "note":
                graces.append(self._sounding(_read_note(match[0])))
        self.graces += tuple(graces)
        if len(self.graces) > MAXIMUM_TOGETHER:
            raise AbcError(f"more than {MAXIMUM_TOGETHER} grace notes before a note", remedy="write them as notes")

    def _broken(self, text: str) -> None:
        count = len(text)
        if self.last is None or count > 3 or len(set(text)) > 1:
            raise AbcError("a broken rhythm sign that joins no two notes", remedy="write it as in A>B or A<<B")
        if self.factor != (1, 1):
            raise AbcError("two broken rhythm signs between two notes", remedy="leave one of them out")
        long, short = 2 ** (count + 1) - 1, 1
        mine, others = (long, short) if text[0] == ">" else (short, long)
        self.last[1] *= mine
        self.last[2] *= 2**count
        self.factor = (others, 2**count)

    def _tuplet(self, text: str) -> None:
        terms = [*text[1:].split(":"), "", ""][:3]
        if any(len(term) > 2 for term in terms):
            raise AbcError("a tuplet of too many notes", remedy=f"write at most {MAXIMUM_TUPLET_NUMBER}")
        p = int(terms[0])
        q = int(terms[1] or 0) or _DEFAULT_Q.get(p) or (3 if self.metre is not None and self.metre.compound else 2)
        count = int(terms[2] or 0) or p
        if p < 2:
            raise AbcError(f"a tuplet of {p}", remedy="write it as in (3abc")
        if not terms[1] and p > 9:
            raise AbcError(f"a tuplet of {p} that does not say in which time", remedy=f"write it as in ({p}:8")
        if self.tuplet_left:
            self.notice("tuplet inside a tuplet")
        self.tuplet, self.tuplet_left = (p, q), count

    def _quote(self, text: str) -> None:
        symbol = _read_symbol(text[1:-1])
        if not symbol:
            self.notice("annotation")
        elif not self.symbol:
            self.symbol = symbol

    def _tie(self, text: str) -> None:
        if self.last is None or not self.last[0]:
            self.notice("tie into or from a rest")
            return
        self.last[3] = self.open_ties = self.last[0]

    def _inline_field(self, text: str) -> None:
        self._body_field(text[1], text[3:-1].strip(), inline=True)

    def _overlay(self, text: str) -> None:
        self.notice("overlay")
        self.skipping = "overlay"

    def _drop(self, text: str) -> None:
        self.notice("decorations")

    def _junk(self, text: str) -> None:
        self.notice(f"{text} that means nothing here")

    def _ignore(self, text: str) -> None:
        pass

    def _refuse(self, text: str) -> None:
        reasons = {
            '"': "a quotation mark that is never closed",
            "{": "a grace note bracket that is never closed",
            "[": "a bracket that is never closed",
        }
        if text in "0123456789":
            raise AbcError("a number where a note was expected", remedy="put lengths behind notes, without blanks")
        if text in "^_=":
            raise AbcError("an accidental without a note", remedy="write it as in ^f; quarter tones are not read")
        raise AbcError(reasons.get(text, f"{text!a} where a note was expected"))

    _HANDLERS = {
        "inline": _inline_field, "bar": _bar_line, "rest": _rest, "broken": _broken, "tuplet": _tuplet,
        "shorthand": _drop, "quote": _quote, "chord": _chord, "named": _named_ending, "grace": _grace,
        "decoration": _drop, "tie": _tie, "rests": _bar_rests, "overlay": _overlay, "space": _ignore,
        "junk": _junk, "ignored": _ignore, "other": _refuse,
    }  # fmt: skip

    # ------------------------------------------------------------------ the end

    def _finish(self) -> Reading:
        if self.factor != (1, 1):
            raise AbcError("a broken rhythm sign that joins no two notes", remedy="write it as in A>B or A<<B")
        if self.tuplet_left:
            self.notice("tuplet with too few notes")
        final = Sign()
        if self.bar.notes:
            self._end_bar()
        else:
            final = self.bar.sign
        if not self.bars:
            raise AbcError("the tune has no notes")
        labels = {bar.part for bar in self.bars}
        if not labels.issuperset(self.parts):
            self.notice("play order that names parts the tune does not have")
            self.parts = ()
            for bar in self.bars:
                bar.sign.part = False
        form = resolve([*(bar.sign for bar in self.bars), final], self.notice)
        tune = Tune(self.bars[0].key, self.bars[0].metre, self._make_bars(form), self.parts, self._make_header())
        tune = self._without_loose_ties(tune)
        try:
            tune.play_order()
        except TuneError as error:
            raise AbcError(error.message) from None
        return Reading(tune, tuple(self.found.values()))

    def _make_bars(self, form: Form) -> tuple[Bar, ...]:
        bars = []
        key, metre = self.bars[0].key, self.bars[0].metre
        for index, bar in enumerate(self.bars):
            notes = tuple(
                Note(pitches, _length(numerator, denominator), ties, graces, symbol)
                for pitches, numerator, denominator, ties, graces, symbol in bar.notes
            )
            bars.append(
                Bar(
                    notes,
                    form.opens[index],
                    form.closes[index],
                    form.endings[index],
                    form.double[index],
                    None if bar.metre == metre else bar.metre,
                    None if bar.key == key else bar.key,
                    bar.part,
                )
            )
            key, metre = bar.key, bar.metre
        return tuple(bars)

    def _without_loose_ties(self, tune: Tune) -> Tune:
        loose = {id(note): ties for _, note, ties in tune.tie_targets() if ties != note.ties}
        if not loose:
            return tune
        self.notice("tie that leads nowhere")
        bars = tuple(
            replace(bar, notes=tuple(replace(note, ties=loose[id(note)]) if id(note) in loose else note for note in bar.notes))
            for bar in tune.bars
        )
        return replace(tune, bars=bars)

    def _make_header(self) -> Header:
        texts = {name: self._values(name) for name in _TEXT_FIELDS.values()}
        if len(texts["title"]) > 1:
            self.notice("further titles")
        joined = {name: self._cut("; ".join(values)) for name, values in texts.items()}
        return Header(
            number=self.number,
            title=texts["title"][0] if texts["title"] else "",
            composer=joined["composer"],
            origin=joined["origin"],
            rhythm=joined["rhythm"],
            source=joined["source"] or joined["book"],
            notes="\n".join(texts["notes"]),
            transcription=joined["transcription"],
            region=self.region,
            tempo=self.tempo,
        )

    def _values(self, name: str) -> list[str]:
        values = (self._cut(" ".join(parts)) for parts in self.texts.get(name, ()))
        return [value for value in values if value]

    def _cut(self, text: str) -> str:
        text = text.strip()
        if len(text) > MAXIMUM_TEXT:
            self.notice(f"text behind {MAXIMUM_TEXT} characters of a field")
        return text[:MAXIMUM_TEXT].rstrip()
