"""Tunes to canonical ABC: what all readers of ABC 2.1 read alike, and `parse` reads back exactly.

Lengths are spelled out, repeats have their ``|:``, tuplets are written in full unless they are plain
triplets, and accidentals are repeated wherever two readers could differ on how far one reaches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from hoyomusic.abc.fields import WRITTEN_ACCIDENTALS, write_key, write_parts, write_tempo
from hoyomusic.abc.text import write_text
from hoyomusic.tune import Bar, Metre, Note, Pitch, Tune
from hoyomusic.tuplets import Tuplet, group_tuplets

BARS_A_LINE = 4
LINE_WIDTH = 100  # characters after which a bar is broken between notes
MAXIMUM_BEAM = 8  # notes under one beam
_BARE_NOTE = re.compile(r"^([A-Ga-g])(?= :)")
_UNIT = 8  # lengths are counted in quavers: L:1/8
_LARGEST_WRITTEN = 9999  # in a length under a bracket; beyond it the length is spelled out


def write(tune: Tune, *, comments: Iterable[str] = ()) -> str:
    """`tune` as canonical ABC, one ``X:`` block that ends with a line break; `comments` go below ``X:``.

    ``parse(write(tune)) == [tune]`` holds, header included, for every tune that `parse` gives. `Header.region`
    is written as ``%%hoyo-region``, which other programs pass over, `notes` as one ``N:`` a line. No tempo
    is made up: `header.tempo` None leaves out ``Q:``.
    Raises TuneError for a key that ABC cannot name (a tonic with two accidentals).
    """
    header = tune.header
    lines = [f"X:{header.number}", *(f"% {write_text(comment)}" for comment in comments)]
    texts = (("T", header.title), ("C", header.composer), ("O", header.origin), ("R", header.rhythm),
             ("S", header.source), ("Z", header.transcription))  # fmt: skip
    lines += [f"{name}:{write_text(text)}" for name, text in texts if text]
    lines += [f"N:{write_text(text)}" for text in header.notes.split("\n") if text]
    if header.region:
        lines.append(f"%%hoyo-region {write_text(header.region)}")
    if tune.parts:
        lines.append(f"P:{write_parts(tune.parts)}")
    lines += [f"M:{tune.metre or 'none'}", f"L:1/{_UNIT}"]
    if header.tempo is not None:
        lines.append(f"Q:{write_tempo(header.tempo)}")
    lines.append(f"K:{write_key(tune.key)}")
    return "\n".join(lines + _Writer(tune).lines()) + "\n"


def write_book(tunes: Iterable[Tune], *, comments: Iterable[str] = ()) -> str:
    """Many tunes as one text, numbered from 1, an empty line between them; `comments` head the text."""
    blocks = [write(replace(tune, header=replace(tune.header, number=number))) for number, tune in enumerate(tunes, 1)]
    head = "".join(f"% {write_text(comment)}\n" for comment in comments)
    return (head + "\n" if head else "") + "\n".join(blocks)


class _Writer:
    """The body of one tune, bar by bar, with what two kinds of readers hold in force."""

    def __init__(self, tune: Tune) -> None:
        self.tune = tune
        self.signature = tune.key.signature
        self.by_letter: dict[str, int] = {}  # accidentals as readers hold them that let one reach all octaves
        self.by_octave: dict[tuple[str, int], int] = {}  # and as readers that do not
        self.doubtful: set[str] = set()  # letters altered by a grace note or a tie, which may or may not reach on
        self.ties: tuple[Pitch, ...] = ()

    def lines(self) -> list[str]:
        """The music, some bars a line: a section starts a line, an ending does not."""
        bars, metres = self.tune.bars, self.tune.metres()
        opening, closing = {}, {}  # colons: more than one only where no ending says how often
        for section in self.tune.sections():
            opening[section.start] = ":" if section.endings else ":" * max(1, section.plays - 1)
            closing |= {ending.stop - 1: ":" for ending in section.endings}
        lines: list[str] = []
        words: list[str] = []
        bars_in_line = 0
        for index, bar in enumerate(bars):
            if bar.part:
                lines.append(f"P:{write_text(bar.part)}")
            if not words and (bar.opens or bar.ending):
                sign = f"|{opening[index]}" if bar.opens else ""
                words.append(sign + (f"[{_numbers(bar.ending)}" if bar.ending else ""))
            words += self._bar(bar, metres[index], upbeat=bar.opens or not index)
            bars_in_line += 1
            following = bars[index + 1] if index + 1 < len(bars) else None
            if bar.closes:
                sign = closing.get(index, ":" * (bar.closes - 1)) + "|"
            else:
                sign = "|]" if following is None else "||" if bar.double else "|"
            words[-1] += f" {sign}"
            if following is not None and not (following.opens or following.part):
                if following.ending:
                    words[-1] += _numbers(following.ending)
                    continue
                if not (bar.closes or bar.double) and bars_in_line < BARS_A_LINE:
                    continue
            lines += _wrapped(words)
            words, bars_in_line = [], 0
        return lines

    def _bar(self, bar: Bar, metre: Metre | None, *, upbeat: bool) -> list[str]:
        """The words of one bar: what stands under one beam, or under one bracket, is one word."""
        self.by_letter.clear()
        self.by_octave.clear()
        self.doubtful.clear()
        words = []
        if bar.metre is not None:
            words.append(f"[M:{bar.metre}]")
        if bar.key is not None:
            self.signature = bar.key.signature
            words.append(f"[K:{write_key(bar.key)}]")
        tuplets = {
            tuplet.start: tuplet
            for tuplet in group_tuplets([note.length for note in bar.notes], closed=False)
            if all(_writable(note.length, tuplet) for note in bar.notes[tuplet.start : tuplet.stop])
        }
        onset = max(metre.length - bar.length, Fraction(0)) if upbeat and metre is not None else Fraction(0)
        beam, beam_start = _beam(metre), 0
        tuplet: Tuplet | None = None
        for position, note in enumerate(bar.notes):
            left = tuplet is not None and position == tuplet.stop
            tuplet = tuplets.get(position, None if left else tuplet)
            opens = position in tuplets
            inside = tuplet is not None and not opens
            joins = inside or (
                position > beam_start
                and not (opens or left)
                and position - beam_start < MAXIMUM_BEAM
                and _is_beamed(note)
                and _is_beamed(bar.notes[position - 1])
                and onset % beam != 0
            )
            text = self._note(note, tuplet, at_bar_line=position == 0)
            if opens:
                plain = (tuplet.p, tuplet.q, tuplet.stop - tuplet.start) == (3, 2, 3)
                text = ("(3" if plain else f"({tuplet.p}:{tuplet.q}:{tuplet.stop - tuplet.start}") + text
            if joins and len(words[-1]) < LINE_WIDTH:
                words[-1] += text
            else:
                words.append(text)
                beam_start = position
            onset += note.length
        return words

    def _note(self, note: Note, tuplet: Tuplet | None, *, at_bar_line: bool) -> str:
        text = "".join(self._grace(pitch) for pitch in note.graces)
        text = f"{{{text}}}" if text else ""
        if note.symbol:
            text += '"' + write_text(note.symbol).replace('"', "") + '"'
        length = _length(note.length if tuplet is None else note.length * tuplet.p / tuplet.q)
        ties = set(note.ties)
        pitches = [
            self._pitch(pitch, at_bar_line) + length + ("-" if pitch in ties else "") for pitch in note.pitches
        ]
        self.ties = note.ties
        if not pitches:
            return f"{text}z{length}"
        return text + (pitches[0] if len(pitches) == 1 else f"[{''.join(pitches)}]")

    def _pitch(self, pitch: Pitch, at_bar_line: bool) -> str:
        tied = [tie for tie in self.ties if tie.letter == pitch.letter and tie.octave == pitch.octave]
        if tied and tied[0] != pitch:
            return self._altered(pitch)
        if self._agreed(pitch):
            return self._bare(pitch)
        if tied and at_bar_line:
            self.doubtful.add(pitch.letter)
            return self._bare(pitch)
        return self._altered(pitch)

    def _grace(self, pitch: Pitch) -> str:
        if self._agreed(pitch):
            return self._bare(pitch)
        text = self._altered(pitch)
        self.doubtful.add(pitch.letter)
        return text

    def _agreed(self, pitch: Pitch) -> bool:
        """Whether all readers take a bare letter here for `pitch`."""
        usual = self.signature.get(pitch.letter, 0)
        return (
            pitch.letter not in self.doubtful
            and self.by_letter.get(pitch.letter, usual) == pitch.accidental
            and self.by_octave.get((pitch.letter, pitch.octave), usual) == pitch.accidental
        )

    def _altered(self, pitch: Pitch) -> str:
        self.by_letter[pitch.letter] = self.by_octave[pitch.letter, pitch.octave] = pitch.accidental
        self.doubtful.discard(pitch.letter)
        return WRITTEN_ACCIDENTALS[pitch.accidental] + self._bare(pitch)

    @staticmethod
    def _bare(pitch: Pitch) -> str:
        if pitch.octave >= 5:
            return pitch.letter.lower() + "'" * (pitch.octave - 5)
        return pitch.letter + "," * (4 - pitch.octave)


def _length(length: Fraction) -> str:
    """A length behind a note, in quavers: nothing for one, ``3``, ``/2``, ``3/2``."""
    count = length * _UNIT
    above = "" if count.numerator == 1 else str(count.numerator)
    return above if count.denominator == 1 else f"{above}/{count.denominator}"


def _writable(length: Fraction, tuplet: Tuplet) -> bool:
    written = length * tuplet.p / tuplet.q
    return max(written.numerator, written.denominator) <= _LARGEST_WRITTEN


def _numbers(ending: tuple[int, ...]) -> str:
    """The numbers of an ending, neighbours as a range: ``1``, ``1,3``, ``1-3``."""
    runs: list[list[int]] = []
    for number in ending:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _beam(metre: Metre | None) -> Fraction:
    """The stretch within which short notes share a beam."""
    if metre is None:
        return Fraction(1, 4)
    if metre.beats == 3 and metre.unit == 8:
        return metre.length
    return Fraction(1, 2) if (metre.beats, metre.unit) == (4, 4) else max(metre.beat, Fraction(1, 4))


def _is_beamed(note: Note) -> bool:
    return bool(note.pitches) and note.length < Fraction(1, 4)


def _wrapped(words: list[str]) -> list[str]:
    """The words of one line, broken where it grows too wide."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > LINE_WIDTH:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    # A line that starts with a letter and a colon is taken for a field by some, also with a space between.
    return [_BARE_NOTE.sub(r"\g<1>1", line) for line in lines]
