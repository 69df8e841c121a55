"""A tune as MusicXML, through music21: the written music, with repeats, endings, tuplets and ties.

The sheet is engraved from the same file. music21 puts dates and random names into what it writes;
they are taken out, so that equal tunes give equal bytes.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from statistics import median
from typing import TYPE_CHECKING

from hoyomusic.errors import RenderError
from hoyomusic.harmony.chord import FIFTH, MAJOR, MINOR, read_symbol
from hoyomusic.score import Score
from hoyomusic.text import printable
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune
from hoyomusic.tuplets import Tuplet, group_tuplets

if TYPE_CHECKING:
    from music21 import base, clef, duration, key, note, stream
    from music21 import pitch as music21_pitch

FILE_IN_ARCHIVE = "tune.musicxml"
# The earliest time a zip archive can hold, in place of today.
NO_TIME = (1980, 1, 1, 0, 0, 0)
ACCIDENTALS = {-2: "--", -1: "-", 0: "", 1: "#", 2: "##"}
SHORTEST_VALUE = Fraction(1, 1024)
LONGEST_TEXT = 2000

KINDS = {
    MAJOR: "major", MINOR: "minor", FIFTH: "power", (0, 4, 7, 10): "dominant-seventh", (0, 4, 7, 11): "major-seventh",
    (0, 4, 7, 9): "major-sixth", (0, 3, 7, 10): "minor-seventh", (0, 3, 7, 9): "minor-sixth", (0, 3, 6): "diminished",
    (0, 3, 6, 9): "diminished-seventh", (0, 3, 6, 10): "half-diminished-seventh", (0, 4, 8): "augmented",
    (0, 5, 7): "suspended-fourth", (0, 2, 7): "suspended-second", (0, 5, 7, 10): "suspended-fourth-seventh",
}  # fmt: skip


def to_bytes(score: Score) -> bytes:
    """The tune of a score as MusicXML text in UTF-8; the same score gives the same bytes.

    Raises RenderError for notes that are too short to be printed.
    """
    from music21.musicxml.m21ToXml import GeneralObjectExporter

    exporter = GeneralObjectExporter(to_music21(score))
    # What music21 would add is there already, and in time that grows with the tune, not with its square.
    exporter.makeNotation = False
    text = exporter.parse().decode("utf-8")
    text = re.sub(r"\s*<encoding-date>.*?</encoding-date>", "", text)
    for number, name in enumerate(dict.fromkeys(re.findall(r'\bid="([A-Z][0-9a-f]{32})"', text)), start=1):
        text = text.replace(name, f"{name[0]}{number}")
    # One part needs no name in the margin.
    return text.replace("<part-name>", '<part-name print-object="no">').encode("utf-8")


def to_compressed_bytes(score: Score) -> bytes:
    """The same as a compressed archive (.mxl, MusicXML 4.0), whose own comment is the provenance."""
    container = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<container><rootfiles><rootfile full-path="{FILE_IN_ARCHIVE}"/></rootfiles></container>\n'
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = printable(score.provenance, LONGEST_TEXT).encode("utf-8")
        for name, data in (("META-INF/container.xml", container.encode()), (FILE_IN_ARCHIVE, to_bytes(score))):
            archive.writestr(zipfile.ZipInfo(name, NO_TIME), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def to_music21(score: Score) -> stream.Score:
    """The tune of a score as a music21 stream: one part, one measure a bar."""
    from music21 import expressions, metadata, spanner, stream

    tune = score.tune
    part = stream.Part(id="P1")
    part.partName = "Melody"
    metres, keys = tune.metres(), tune.keys()
    measures, tied = [], set()
    starts, _ = tune.section_edges()
    number = 0 if _is_upbeat(tune) else 1
    for index, bar in enumerate(tune.bars):
        measure = stream.Measure(number=number + index)
        if index == 0 or keys[index] != keys[index - 1]:
            measure.insert(0, _key_signature(keys[index]))
        if metres[index] is not None and (index == 0 or metres[index] != metres[index - 1]):
            measure.insert(0, _time_signature(metres[index]))
        tied = _put_notes(measure, bar, tied, keys[index].signature)
        _put_marks(measure, bar, last=index == len(tune.bars) - 1)
        missing = Fraction(0) if metres[index] is None else 4 * (metres[index].length - bar.length)
        if missing:
            # Beams follow the beats that are left.
            side = "paddingLeft" if starts[index] else "paddingRight"
            setattr(measure, side, missing)
            measure.showNumber = stream.enums.ShowNumber.NEVER
        measures.append(measure)
    if measures:
        measures[0].insert(0, _clef(tune))
        measures[0].insert(0, _tempo_mark(score))
        if tune.parts:
            measures[0].insert(0, expressions.TextExpression(printable("play " + " ".join(tune.parts))))
    part.append(measures)
    if tune.metre is not None:
        part.makeBeams(inPlace=True)
    for start, stop in _endings(tune):
        bracket = spanner.RepeatBracket(measures[start:stop], number=",".join(map(str, tune.bars[start].ending)))
        part.insert(0, bracket)

    whole = stream.Score(id="tune")
    whole.metadata = metadata.Metadata()
    whole.metadata.movementName = printable(score.title or "Untitled")
    whole.metadata.composer = printable(tune.header.composer)
    if score.region:
        whole.metadata.addCustom("nation", printable(score.region))
    if score.provenance:
        whole.metadata.addCustom("provenance", printable(score.provenance, LONGEST_TEXT))
    whole.insert(0, part)
    return whole


def _is_upbeat(tune: Tune) -> bool:
    """Whether the tune starts with a short bar."""
    return bool(tune.metre and tune.bars and tune.bars[0].length < tune.metre.length)


def _endings(tune: Tune) -> Iterator[tuple[int, int]]:
    """The first bar of each ending and the one behind its last."""
    for start, bar in enumerate(tune.bars):
        if bar.ending:
            stop = start + 1
            while stop < len(tune.bars):
                before, following = tune.bars[stop - 1], tune.bars[stop]
                if before.closes or before.double or following.ending or following.opens:
                    break
                stop += 1
            yield start, stop


# ------------------------------------------------------------------ notes


class Accidentals:
    """Which signs a bar needs: those that neither the signature nor the bar so far has set (by octave)."""

    def __init__(self, signature: dict[str, int]) -> None:
        self.signature = signature
        self.seen: dict[tuple[str, int], int] = {}

    def spell(self, pitch: Pitch, *, held: bool = False) -> music21_pitch.Pitch:
        """The pitch for music21, which shows its sign or not; a tied one (`held`) repeats no sign."""
        from music21 import pitch as music21_pitch

        place = (pitch.letter, pitch.octave)
        shown = not held and self.seen.get(place, self.signature.get(pitch.letter, 0)) != pitch.accidental
        spelled = music21_pitch.Pitch(step=pitch.letter, octave=pitch.octave)
        if shown or pitch.accidental:
            spelled.accidental = music21_pitch.Accidental(pitch.accidental)
            spelled.accidental.displayStatus = shown
        if not held:
            self.seen[place] = pitch.accidental
        return spelled


def _put_notes(measure: stream.Measure, bar: Bar, tied: set[int], signature: dict[str, int]) -> set[int]:
    """Fill a measure; `tied` are the MIDI pitches held from the bar before, the result those held on."""
    from music21 import note

    accidentals = Accidentals(signature)
    brackets = {position: tuplet for tuplet in _tuplets(bar) for position in range(tuplet.start, tuplet.stop)}
    for position, written in enumerate(bar.notes):
        if written.symbol:
            measure.append(_symbol(written.symbol))
        for grace in written.graces:
            measure.append(note.Note(accidentals.spell(grace), type="eighth").getGrace())
        tuplet = brackets.get(position) or _lonely(written.length)
        pieces = list(_durations(written.length, tuplet.p, tuplet.q))
        if position in brackets:
            opens, closes = position == tuplet.start, position == tuplet.stop - 1
            if opens:
                pieces[0].tuplets[0].type = "start"
            if closes:
                pieces[-1].tuplets[0].type = "startStop" if opens and len(pieces) == 1 else "stop"
        for number, piece in enumerate(pieces):
            starts = {pitch.midi for pitch in (written.ties if number == len(pieces) - 1 else written.pitches)}
            measure.append(_element(written, piece, tied, starts, accidentals))
            tied = starts
    return tied


def _tuplets(bar: Bar) -> list[Tuplet]:
    return group_tuplets([written.length for written in bar.notes])


def _lonely(length: Fraction) -> Tuplet:
    """The ratio for a note under no bracket: 1:1, or its own where it is part of a broken-off tuplet."""
    odd = length.denominator // (length.denominator & -length.denominator)
    return Tuplet(0, 0, odd, 1 << (odd.bit_length() - 1))


def _element(
    written: Note, length: duration.Duration, tied: set[int], starts: set[int], accidentals: Accidentals
) -> note.GeneralNote:
    """A music21 note, chord or rest; `tied`: MIDI pitches held from before, `starts`: held into the next."""
    from music21 import chord, note, tie

    if not written.pitches:
        return note.Rest(duration=length)
    notes = []
    for pitch in written.pitches:
        one = note.Note(accidentals.spell(pitch, held=pitch.midi in tied), duration=length)
        kinds = (pitch.midi in tied, pitch.midi in starts)
        if any(kinds):
            one.tie = tie.Tie({(False, True): "start", (True, False): "stop", (True, True): "continue"}[kinds])
        notes.append(one)
    return notes[0] if len(notes) == 1 else chord.Chord(notes, duration=length)


def _durations(length: Fraction, actual: int, normal: int) -> Iterator[duration.Duration]:
    """The note values that make up `length` (whole notes) inside of a tuplet of `actual` in the time of `normal`.

    Raises RenderError below a 1024th, the shortest that MusicXML names.
    """
    from music21 import duration

    rest = length * actual / normal
    while rest:
        value, dots = _largest_value(rest)
        if value < SHORTEST_VALUE:
            raise RenderError(f"a note of {length} has no printed value", remedy="write .mid or .abc instead")
        found = duration.Duration(type=duration.typeFromNumDict[1 / value], dots=dots)
        if actual != 1:
            found.appendTuplet(duration.Tuplet(actual, normal))
        yield found
        rest -= value * (2 - Fraction(1, 2**dots))


def _largest_value(length: Fraction) -> tuple[Fraction, int]:
    """The longest note value, with up to two dots, that fits into `length`.

    >>> _largest_value(Fraction(5, 8)), _largest_value(Fraction(3, 8))
    ((Fraction(1, 2), 0), (Fraction(1, 4), 1))
    """
    value = Fraction(2)
    while value > length:
        value /= 2
    dots = 0
    if value > SHORTEST_VALUE:
        dots = next((dots for dots in (2, 1) if value * (2 - Fraction(1, 2**dots)) == length), 0)
    return value, dots


def _symbol(text: str) -> base.Music21Object:
    """A chord symbol as harmony, any other text as text."""
    from music21 import expressions, harmony

    chord = read_symbol(text)
    if chord is None:
        return expressions.TextExpression(printable(text))
    letters = re.findall(r"(?:^\(?|/)([A-G])([#b♯♭]?)", text.strip())
    root, *bass = (letter + {"b": "-", "♭": "-", "♯": "#"}.get(sign, sign) for letter, sign in letters)
    return harmony.ChordSymbol(root=root, bass=bass[0] if bass else None, kind=KINDS[chord.intervals])


# ------------------------------------------------------------------ signatures and marks


def _key_signature(signature: Key) -> key.KeySignature:
    from music21 import key

    if signature.mode == "none" or signature.explicit:
        found = key.KeySignature(0)
        if signature.signature:
            found.alteredPitches = [letter + ACCIDENTALS[sign] for letter, sign in signature.signature.items()]
        return found
    return key.Key(signature.letter + ACCIDENTALS[signature.accidental], signature.mode)


def _time_signature(metre: Metre) -> base.Music21Object:
    from music21 import meter

    return meter.TimeSignature(
        "+".join(f"{group}/{metre.unit}" for group in metre.groups) or f"{metre.beats}/{metre.unit}"
    )


def _clef(tune: Tune) -> clef.Clef:
    """A bass clef where most of the tune lies below middle C."""
    from music21 import clef

    pitches = [pitch.midi for written in tune.notes() for pitch in written.pitches]
    return clef.BassClef() if pitches and median(pitches) < 60 else clef.TrebleClef()


def _tempo_mark(score: Score) -> base.Music21Object:
    from music21 import duration, tempo

    written = score.tune.header.tempo
    beat = score.tune.metre.beat if score.tune.metre else Fraction(1, 4)
    if written is not None and written.beat >= Fraction(1, 64):
        beat = written.beat
    value, dots = _largest_value(beat)
    quarters = Fraction(60_000_000, score.tempi[0].microseconds_per_quarter)
    bpm = round(quarters / (4 * value * (2 - Fraction(1, 2**dots))))
    referent = duration.Duration(type=duration.typeFromNumDict[1 / value], dots=dots)
    return tempo.MetronomeMark(number=bpm, referent=referent)


def _put_marks(measure: stream.Measure, bar: Bar, *, last: bool) -> None:
    from music21 import bar as barline
    from music21 import expressions

    if bar.part:
        measure.insert(0, expressions.RehearsalMark(printable(bar.part)))
    if bar.opens:
        measure.leftBarline = barline.Repeat(direction="start")
    if bar.closes:
        measure.rightBarline = barline.Repeat(direction="end", times=bar.closes if bar.closes > 2 else None)
    elif last or bar.double:
        measure.rightBarline = barline.Barline("final" if last else "double")
