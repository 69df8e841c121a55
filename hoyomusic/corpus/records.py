"""Tunes as plain JSON values and back, without loss and quickly: how the corpus is kept on disk.

Few distinct notes make up many bars, and many bars return, so that notes and bars are listed once and
tunes hold the numbers of their bars. That makes the file small and reading it back mostly a look-up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from fractions import Fraction
from typing import Any

from hoyomusic.tune import Bar, Header, Key, Metre, Note, Pitch, Tempo, Tune

_PLAIN_BAR = Bar(())
_PLAIN_HEADER = Header()


class TuneWriter:
    """Turns tunes into records; `notes` and `bars` are the lists that `read_tunes` needs beside the records."""

    def __init__(self) -> None:
        self.notes: list[list[Any]] = []
        self.bars: list[list[int] | dict[str, Any]] = []
        self._note_numbers: dict[Note, int] = {}
        self._bar_numbers: dict[Bar, int] = {}

    def record(self, tune: Tune) -> list[Any]:
        """One tune as JSON values: key, metre, bars, parts, header."""
        bars = [self._number_bar(bar) for bar in tune.bars]
        return [_key_record(tune.key), _metre_record(tune.metre), bars, list(tune.parts), _header_record(tune.header)]

    def _number_bar(self, bar: Bar) -> int:
        number = self._bar_numbers.get(bar)
        if number is None:
            number = self._bar_numbers[bar] = len(self.bars)
            self.bars.append(self._bar(bar))
        return number

    def _bar(self, bar: Bar) -> list[int] | dict[str, Any]:
        notes = [self._number_note(note) for note in bar.notes]
        signs = {
            field.name: getattr(bar, field.name)
            for field in fields(Bar)
            if field.name != "notes" and getattr(bar, field.name) != getattr(_PLAIN_BAR, field.name)
        }
        if not signs:
            return notes
        if "metre" in signs:
            signs["metre"] = _metre_record(bar.metre)
        if "key" in signs:
            signs["key"] = _key_record(bar.key)
        return {"notes": notes, **signs}

    def _number_note(self, note: Note) -> int:
        number = self._note_numbers.get(note)
        if number is None:
            number = self._note_numbers[note] = len(self.notes)
            pitches = [[list(pitch) for pitch in group] for group in (note.pitches, note.ties, note.graces)]
            self.notes.append([*pitches, *note.length.as_integer_ratio(), note.symbol])
        return number


def digest_music(tune: Tune) -> str:
    """SHA-256 in hex of a tune's music: equal for equal tunes, whatever their headers say."""
    writer = TuneWriter()
    music = writer.record(tune)[:4]
    return hashlib.sha256(json.dumps([music, writer.bars, writer.notes]).encode()).hexdigest()


def read_tunes(notes: Sequence[Any], bars: Sequence[Any], records: Iterable[Sequence[Any]]) -> list[Tune]:
    """The tunes of `records`, which one `TuneWriter` made, with its `notes` and `bars`."""
    note_table = [_read_note(row) for row in notes]
    bar_table = [_read_bar(bar, note_table) for bar in bars]
    return [_read_tune(record, bar_table) for record in records]


def _read_tune(record: Sequence[Any], table: list[Bar]) -> Tune:
    key, metre, bars, parts, header = record
    played = tuple([table[number] for number in bars])
    return Tune(_read_key(key), _read_metre(metre), played, tuple(parts), _read_header(header))


def _read_bar(bar: list[int] | dict[str, Any], table: list[Note]) -> Bar:
    if isinstance(bar, list):
        return Bar(tuple([table[number] for number in bar]))
    signs = dict(bar)
    notes = tuple([table[number] for number in signs.pop("notes")])
    if "ending" in signs:
        signs["ending"] = tuple(signs["ending"])
    if "metre" in signs:
        signs["metre"] = _read_metre(signs["metre"])
    if "key" in signs:
        signs["key"] = _read_key(signs["key"])
    return Bar(notes, **signs)


def _read_note(row: Sequence[Any]) -> Note:
    pitches, ties, graces, numerator, denominator, symbol = row
    groups = (tuple(Pitch(*pitch) for pitch in group) for group in (pitches, ties, graces))
    sounding, tied, ornaments = groups
    return Note(sounding, Fraction(numerator, denominator), tied, ornaments, symbol)


def _key_record(key: Key) -> list[Any]:
    return [key.letter, key.accidental, key.mode, [list(pair) for pair in key.explicit]]


def _read_key(record: Sequence[Any]) -> Key:
    letter, accidental, mode, explicit = record
    return Key(letter, accidental, mode, tuple((name, value) for name, value in explicit))


def _metre_record(metre: Metre | None) -> list[Any] | None:
    return None if metre is None else [metre.beats, metre.unit, list(metre.groups)]


def _read_metre(record: Sequence[Any] | None) -> Metre | None:
    return None if record is None else Metre(record[0], record[1], tuple(record[2]))


def _header_record(header: Header) -> dict[str, Any]:
    record = {
        field.name: getattr(header, field.name)
        for field in fields(Header)
        if getattr(header, field.name) != getattr(_PLAIN_HEADER, field.name)
    }
    if header.tempo is not None:
        record["tempo"] = [*header.tempo.beat.as_integer_ratio(), header.tempo.bpm, header.tempo.text]
    return record


def _read_header(record: dict[str, Any]) -> Header:
    if "tempo" in record:
        numerator, denominator, bpm, text = record["tempo"]
        return Header(**{**record, "tempo": Tempo(Fraction(numerator, denominator), bpm, text)})
    return Header(**record)
