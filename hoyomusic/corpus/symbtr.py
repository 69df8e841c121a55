"""SymbTr, scores of Turkish makam music on the user's disk: rounded to twelve tones and cut into tunes for Sumeru.

The set (github.com/MTG/SymbTr, CC BY-NC-SA 4.0; Karaosmanoğlu, "A Turkish makam music symbolic database for
music information retrieval: SymbTr", ISMIR 2012) is never shipped and never fetched. A score is a text
file ``makam--form--usul--title--composer.txt``, a row an event, with these columns among others:

``Kod``            51 where a metre begins; what else it says was not needed
``Nota53``         a note's name in Turkish solfège with its octave: ``Do5``, ``Si4b1``; empty for a rest
``Koma53``         its pitch in 53rds of an octave, 318 for C5; -1 for a rest
``Pay``, ``Payda`` its length, or the metre, as a fraction of a whole note; 0 or empty for an ornament or a mark

Every row with a length takes its time, whatever its code, and no note crosses the line between two cycles of
its usul: so a cycle is a bar. Both were checked against the column ``Offset`` of all 2,200 scores.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from hoyomusic.corpus.cache import digest
from hoyomusic.corpus.candidates import Reading
from hoyomusic.corpus.cleaning import BARS_DO_NOT_ADD_UP, NO_KEY, NO_METRE, NO_NOTES
from hoyomusic.corpus.files import MEGABYTE, FoundFile, digest_files, find_files, open_file, read_file
from hoyomusic.corpus.modes import MOST_FIFTHS, degree_shares
from hoyomusic.errors import CorpusError
from hoyomusic.tune import NATURAL_SEMITONES, Bar, Header, Key, Metre, Note, Pitch, Tune

LICENCE = "CC BY-NC-SA 4.0 (SymbTr): non-commercial, share alike"
REGION = "Sumeru"

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tar.xz")
LARGEST_ARCHIVE = 512 * MEGABYTE
LARGEST_SCORE = 2 * MEGABYTE

NO_SCORE = "text that is no SymbTr score"
BAD_ROW = "row of a score that cannot be read"
MICROTONAL = "more than 5 % of its notes far from twelve tones"
ODD_USUL = "usul that is no metre of ours"
SHORT_PASSAGE = "passage of fewer than 4 bars"

# Farther than this from the nearest of twelve equal tones, a note is another note to the ear.
FARTHEST_CENTS = 20
LARGEST_SHARE_FAR = Fraction(5, 100)

# The usuls that are written as one bar. Longer ones (devrikebir, 28/4; zencir, 120/4) are not heard as one.
METRES = frozenset(
    [*((beats, 4) for beats in range(2, 10)), *((beats, 8) for beats in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15))]
    + [(6, 2), (9, 16), (12, 16)]
)

# A score lasts as long as six tunes: it is cut into tunes of about so many whole notes, in fours of bars.
USUAL_LENGTH = 16
FEWEST_BARS, USUAL_BARS = 4, (8, 32)

# The key note of makams whose scores do not all end on it; all others end where they are at home.
KEY_NOTES = {
    **dict.fromkeys(("hicaz", "ussak", "huseyni", "muhayyer", "saba", "beyati", "buselik", "karcigar"), "A"),
    **dict.fromkeys(("rast", "nihavent", "mahur", "hicazkar", "kurdilihicazkar"), "G"),
    **dict.fromkeys(("segah", "huzzam"), "B"),
    "acemasiran": "F",
}

# Of two modes that fit equally well the earlier one is taken.
_MODES = ("major", "minor", "dorian", "mixolydian", "phrygian", "lydian", "locrian")

_FILE_NAME = re.compile(r"(?:.*/)?([^/]*)--([^/]*)--([^/]*)--([^/]*)--([^/]*)\.txt")
_NOTE_NAME = re.compile(r"(Do|Re|Mi|Fa|Sol|La|Si)(\d)(?:[b#]\d)?")
_LETTERS = {"Do": "C", "Re": "D", "Mi": "E", "Fa": "F", "Sol": "G", "La": "A", "Si": "B"}
_COLUMNS = {"Kod", "Nota53", "Koma53", "Pay", "Payda"}
_METRE_CODE = "51"


class _Passage(NamedTuple):
    """The notes under one usul; its metre is None where the usul is free."""

    metre: Metre | None
    notes: list[Note]


class SymbTrScores:
    """The scores of a clone of the repository, of a part of it, or of a tar archive of either (see `Source`).

    All teach `region`, or Sumeru where none is given. Grace notes have no length there and are left out.
    """

    licence = LICENCE

    def __init__(self, path: Path, name: str, region: str = "") -> None:
        self.name = name
        self.slot = f"symbtr-{digest([str(path.resolve()), region])[:16]}"
        self.files = find_scores(path)
        if not self.files:
            raise CorpusError("holds no SymbTr scores", where=str(path))
        self._region = region or REGION

    def fingerprint(self) -> str:
        """A digest of names and bytes of the files, and of the nation that was given."""
        return digest([self.name, self._region, digest_files(self.files)])

    def read(self) -> Iterator[Reading]:
        """One reading a tune, named ``source/file#tune`` with tunes counted from 1 in each score."""
        for file in self.files:
            for name, data in _unpack(file):
                for number, found in enumerate(read_score(name or file.path.name, data), start=1):
                    place = FoundFile(name, file.path).place(self.name, number)
                    if isinstance(found, str):
                        yield Reading(place, self._region, None, found)
                    else:
                        yield Reading(place, self._region, found, work=f"{self.name}/{name}")


def find_scores(path: Path) -> list[FoundFile]:
    """The files at or below `path` that hold scores: a tar archive, or texts with the name and the head of one."""
    if path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES):
        return find_files(path, ARCHIVE_SUFFIXES)
    texts = [file for file in find_files(path, (".txt",)) if _FILE_NAME.fullmatch(file.path.name)]
    return texts if any(_has_head(file.path) for file in texts) else []


def _has_head(path: Path) -> bool:
    with open_file(path, LARGEST_SCORE) as file:
        return set(file.readline(4096).decode("utf-8", "replace").split("\t")) >= _COLUMNS


def _unpack(file: FoundFile) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each score in a file: itself, or those in an archive."""
    if not file.path.name.lower().endswith(ARCHIVE_SUFFIXES):
        yield file.name, read_file(file.path, LARGEST_SCORE)
        return
    found = False
    try:
        with open_file(file.path, LARGEST_ARCHIVE) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for member in archive:
                if member.isfile() and _FILE_NAME.fullmatch(member.name) and member.size <= LARGEST_SCORE:
                    found = True
                    yield member.name, archive.extractfile(member).read()
    except tarfile.TarError as error:
        raise CorpusError("is no whole tar archive", where=str(file.path)) from error
    if not found:
        raise CorpusError("holds no SymbTr scores", where=str(file.path))


def read_score(name: str, data: bytes) -> list[Tune | str]:
    """The tunes of a score, whose file has the name `name`; in the place of what is left out the reason why."""
    makam, form, usul, title, composer = _FILE_NAME.fullmatch(name).groups()
    try:
        passages = _read_passages(data)
        notes = [note for passage in passages for note in passage.notes]
        key = _choose_key(notes, makam)
    except CorpusError as error:
        return [error.message]
    header = Header(
        title=_in_words(title),
        composer=_in_words(composer).title(),
        rhythm=_in_words(usul),
        notes=_in_words(f"{makam} {form}"),
    )
    found: list[Tune | str] = []
    for passage in passages:
        found += _cut_passage(passage, key, header)
    return found


def _in_words(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()


def _read_passages(data: bytes) -> list[_Passage]:
    """The notes of a score by usul. Raises CorpusError with the reason where they cannot be used."""
    text = io.StringIO(data.decode("utf-8-sig", "replace"))
    # What a row that breaks off lacks must not pass for empty.
    rows = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE, restval="missing")
    passages = [_Passage(None, [])]
    sounding = far = 0
    try:
        if not _COLUMNS <= set(rows.fieldnames or ()):
            raise CorpusError(NO_SCORE)
        for row in rows:
            beats, unit = int(row["Pay"] or 0), int(row["Payda"] or 0)
            if row["Kod"] == _METRE_CODE:
                passages.append(_Passage(Metre(beats, unit) if beats > 0 and unit > 0 else None, []))
            elif beats > 0 and unit > 0:
                note, cents = _read_note(row["Nota53"], row["Koma53"], beats, unit)
                passages[-1].notes.append(note)
                sounding += bool(note.pitches)
                far += cents > FARTHEST_CENTS
    except (ValueError, csv.Error) as error:
        raise CorpusError(BAD_ROW) from error
    if not sounding:
        raise CorpusError(NO_NOTES)
    if far > LARGEST_SHARE_FAR * sounding:
        raise CorpusError(MICROTONAL)
    return [passage for passage in passages if passage.notes]


@lru_cache(maxsize=2**14)
def _read_note(name: str, koma: str, beats: int, unit: int) -> tuple[Note, Fraction]:
    """The note on the nearest of twelve tones, spelled by the letter of its name, and how far that is in cents.

    Raises ValueError where the name is none, or the pitch no number.
    """
    length = Fraction(beats, unit)
    if int(koma) < 0:
        return Note((), length), Fraction(0)
    semitones = Fraction(12 * (int(koma) - 318), 53)
    midi = 72 + round(semitones)
    match = _NOTE_NAME.fullmatch(name)
    if match is None or not 0 <= midi <= 127:
        raise ValueError(name)
    natural = Pitch(_LETTERS[match[1]], 0, int(match[2]))
    accidental = midi - natural.midi
    pitch = natural._replace(accidental=accidental) if abs(accidental) <= 2 else Pitch.from_midi(midi)
    return Note((pitch,), length), 100 * abs(semitones - round(semitones))


def _choose_key(notes: Sequence[Note], makam: str) -> Key:
    """The key of a score: its last note, or the last of the makam's own key note, and the mode nearest to its notes.

    The nearest mode is the one whose scale sounds for the largest share of the time: a hicaz, which no
    mode has, is phrygian with a raised third. Raises CorpusError where no signature has such a tonic.
    """
    pitches = [note.top for note in notes if note.pitches]
    home = KEY_NOTES.get(makam)
    tonic = next((pitch for pitch in reversed(pitches) if pitch.letter == home), pitches[-1])
    shares = degree_shares(Tune(Key("C"), None, (Bar(tuple(notes)),)), Key("C"))
    keys = [Key(tonic.letter, tonic.accidental, mode) for mode in _MODES]
    keys = [key for key in keys if abs(key.fifths) <= MOST_FIFTHS]
    if not keys:
        raise CorpusError(NO_KEY)
    return max(keys, key=lambda key: sum(shares[semitone] for semitone in _scale(key)))


def _scale(key: Key) -> set[int]:
    """The semitones above C on which the notes of a key's signature lie."""
    return {(natural + key.signature.get(letter, 0)) % 12 for letter, natural in NATURAL_SEMITONES.items()}


def _cut_passage(passage: _Passage, key: Key, header: Header) -> list[Tune | str]:
    """The tunes of one passage, or why it has none."""
    metre = passage.metre
    if metre is None:
        return [NO_METRE]
    if (metre.beats, metre.unit) not in METRES:
        return [ODD_USUL]
    bars = _draw_bars(passage.notes, metre.length)
    if bars is None:
        return [BARS_DO_NOT_ADD_UP]
    while bars and not any(note.pitches for note in bars[0].notes):
        del bars[0]
    while bars and not any(note.pitches for note in bars[-1].notes):
        del bars[-1]
    if len(bars) < FEWEST_BARS:
        return [SHORT_PASSAGE]
    return [Tune(key, metre, tuple(part), header=header) for part in _cut_bars(bars, metre.length)]


def _draw_bars(notes: Sequence[Note], length: Fraction) -> list[Bar] | None:
    """Notes in bars of one length, a rest behind the last; None where a note crosses from one into the next."""
    bars: list[Bar] = []
    held: list[Note] = []
    room = length
    for note in notes:
        held.append(note)
        room -= note.length
        if room < 0:
            return None
        if not room:
            bars.append(Bar(tuple(held)))
            held, room = [], length
    if held:
        bars.append(Bar((*held, Note((), room))))
    return bars


def _cut_bars(bars: list[Bar], length: Fraction) -> list[list[Bar]]:
    """Bars in tunes of the usual length, each cut where the longest note stands at the end of a bar nearby."""
    fewest, most = USUAL_BARS
    usual = min(max(4 * round(USUAL_LENGTH / length / 4), fewest), most)
    parts = []
    while len(bars) > usual * 7 // 4:
        sizes = range(usual * 3 // 4, usual * 5 // 4 + 1)
        size = max(sizes, key=lambda size: (_end_length(bars[size - 1]), -abs(size - usual)))
        parts.append(bars[:size])
        bars = bars[size:]
    return [*parts, bars]


def _end_length(bar: Bar) -> Fraction:
    """The length of a bar's last note with the rests behind it."""
    length = Fraction(0)
    for note in reversed(bar.notes):
        length += note.length
        if note.pitches:
            break
    return length
