"""ABC 2.1 text to tunes, in one pass: each line is cut into symbols by one pattern, each symbol read once.

What is no music is an AbcError with line and column. What is left out or guessed (lyrics, second voices,
a tie that leads nowhere) is a `Notice`. Reading takes time linear in the text, whatever the text is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from hoyomusic.abc.fields import default_length, read_parts, read_tempo
from hoyomusic.abc.music import Music, Place
from hoyomusic.abc.repeats import resolve
from hoyomusic.abc.text import Piece, cut, normalise, read_text, without_comment
from hoyomusic.errors import AbcError, TuneError
from hoyomusic.tune import Header, Note, Tempo, Tune

MAXIMUM_LINE = 10_000  # characters
MAXIMUM_TEXT = 2_000  # characters of one text of the header
MAXIMUM_LINES_OF_NOTES = 50  # N: fields that are kept
MAXIMUM_NOTES = 1_000_000  # of all tunes of a text that are kept together, and of one tune


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
    """All tunes of a text with their notices; raises AbcError at the first that cannot be read, or for too many."""
    readings = []
    notes = 0
    for reading in read_each(text, source=source):
        if isinstance(reading, AbcError):
            raise reading
        notes += sum(len(bar.notes) for bar in reading.tune.bars)
        if notes > MAXIMUM_NOTES:
            raise AbcError(f"more than {MAXIMUM_NOTES} notes", where=source, remedy="give its tunes in several files")
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


# ---------------------------------------------------------------------- one tune

_FIELD = re.compile(r"[A-Za-z+]:")
# After K:, a note letter and a repeat sign at a line's start are music, not a field (A:| and the like).
_MUSIC_LINE = re.compile(r"[A-Ga-g]:[|:]")
_TEXT_FIELDS = {
    "T": "title", "C": "composer", "O": "origin", "R": "rhythm", "S": "source", "B": "book", "N": "notes",
    "Z": "transcription",
}  # fmt: skip


class _TuneReader:
    """Reads one tune line by line: fields here, music by `Music`."""

    def __init__(self, piece: Piece, source: str | None) -> None:
        self.piece = piece
        self.source = source
        self.place = Place(piece.first_line)
        self.music = Music(self.place, self._inline_field)
        self.number = 1
        self.texts: dict[str, list[list[str]]] = {}  # of each text field its values, each in parts
        self.text_field = ""  # the one that +: goes on with
        self.region = ""
        self.tempo_text = ""
        self.tempo: Tempo | None = None
        self.parts: tuple[str, ...] = ()
        self.in_body = False
        self.in_text_block = False

    def read(self) -> Reading:
        try:
            return self._read()
        except AbcError as error:
            if error.line is not None:
                raise
            line, column = self.place.line, self.place.column + 1
            raise AbcError(
                error.message, line=line, column=column, where=self.source, remedy=error.remedy
            ) from None

    def _read(self) -> Reading:
        for number, line in self.piece.file_fields:
            self.place.line = number
            self._header_line(line)
        for number, line in enumerate(self.piece.lines, self.piece.first_line):
            self.place.line, self.place.column = number, 0
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
                self.music.read_line(line)
                if self.music.count > MAXIMUM_NOTES:
                    raise AbcError(f"a tune of more than {MAXIMUM_NOTES} notes", remedy="cut it")
            else:
                self._body_field(line[0], line[2:].strip())
        self.place.column = 0
        if not self.in_body:
            self.place.line = self.piece.first_line
            raise AbcError("the tune has no K: field", remedy="end its header with a key, as in K:G")
        return self._finish()

    def _check_rest(self, number: int) -> None:
        """Say so if there is text behind the empty line that ends the tune."""
        rest = self.piece.lines[number - self.piece.first_line :]
        if any(line.strip() and not line.startswith("%") for line in rest):
            self.place.notice("text behind the empty line that ends the tune")

    def _directive(self, line: str) -> None:
        word, _, value = line[2:].partition(" ") if line.startswith("%%") else ("", "", "")
        if word in ("begintext", "beginps", "beginsvg"):
            self.in_text_block = True
        elif word in ("endtext", "endps", "endsvg"):
            self.in_text_block = False
        elif word == "hoyo-region":
            self.region = self._cut(read_text(value))
        elif word == "propagate-accidentals":
            self.music.set_scope(value)

    def _header_line(self, line: str) -> None:
        if not _FIELD.match(line):
            self.place.notice("line in the header that is no field")
            return
        name, value = line[0], line[2:].strip()
        self.place.column = len(line) - len(line[2:].lstrip())
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
                self.place.notice("unreadable play order")
        elif name == "Q":
            self.tempo_text = value
        elif name == "V":
            self.music.declare_voice(value)
        elif name == "K":
            self.music.set_key(value)
            if self.music.unit is None:
                self.music.unit = default_length(self.music.metre)
            self._set_tempo(self.tempo_text)
            self.in_body = True
        else:
            self._field_in_force(name, value)

    def _set_tempo(self, value: str) -> None:
        self.tempo = read_tempo(value, self.music.unit)
        if value and self.tempo is None:
            self.place.notice("tempo without a number")

    def _body_field(self, name: str, value: str) -> None:
        if name == "V":
            self.music.set_voice(value)
        elif name == "P":
            self.music.start_part(self._cut(read_text(value)))
        elif self.music.skipping == "voice":
            return
        elif name == "Q":
            if self.tempo is None and not self.music.begun:
                self._set_tempo(value)
            else:
                self.place.notice("change of tempo")
        elif name in "wWs":
            self.place.notice("lyrics")
        else:
            self._field_in_force(name, value)

    def _inline_field(self, name: str, value: str) -> None:
        if not (name == "P" and self.music.skipping):
            self._body_field(name, value)

    def _field_in_force(self, name: str, value: str) -> None:
        """The fields that mean the same in header and body; others say nothing that a tune keeps."""
        if name == "K":
            self.music.set_key(value)
        elif name == "M":
            self.music.set_metre(value)
        elif name == "L":
            self.music.set_unit(value)
        elif name == "I" and value.startswith("propagate-accidentals"):
            self.music.set_scope(value.removeprefix("propagate-accidentals"))
        elif name == "m":
            self.place.notice("macro")

    def _finish(self) -> Reading:
        signs, bars = self.music.finish(), self.music.bars
        if not {bar.part for bar in bars}.issuperset(self.parts):
            self.place.notice("play order that names parts the tune does not have")
            self.parts = ()
        if self.parts:
            for bar in bars:
                bar.sign.part = bool(bar.part)
        made = self.music.make_bars(resolve(signs, self.place.notice))
        tune = Tune(bars[0].key, bars[0].metre, made, self.parts, self._make_header())
        tune = self._without_loose_ties(tune)
        try:
            tune.play_order()
        except TuneError as error:
            raise AbcError(error.message) from None
        notices = tuple(Notice(*place, message) for message, place in self.place.found.items())
        return Reading(tune, notices)

    def _without_loose_ties(self, tune: Tune) -> Tune:
        loose = {id(note): ties for _, note, ties in tune.tie_targets() if ties != note.ties}
        if not loose:
            return tune
        self.place.notice("tie that leads nowhere")

        def corrected(note: Note) -> Note:
            return replace(note, ties=loose[id(note)]) if id(note) in loose else note

        return replace(tune, bars=tuple(replace(bar, notes=tuple(map(corrected, bar.notes))) for bar in tune.bars))

    def _make_header(self) -> Header:
        texts = {name: self._values(name) for name in _TEXT_FIELDS.values()}
        if len(texts["title"]) > 1:
            self.place.notice("further titles")
        joined = {name: self._cut("; ".join(values)) for name, values in texts.items()}
        return Header(
            number=self.number,
            title=texts["title"][0] if texts["title"] else "",
            composer=joined["composer"],
            origin=joined["origin"],
            rhythm=joined["rhythm"],
            source=joined["source"] or joined["book"],
            notes="\n".join(texts["notes"][:MAXIMUM_LINES_OF_NOTES]),
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
            self.place.notice(f"text behind {MAXIMUM_TEXT} characters of a field")
        return text[:MAXIMUM_TEXT].rstrip()
