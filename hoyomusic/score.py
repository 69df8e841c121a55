"""From written music to time: repeats played, ties joined, ticks and tempo; a `Score` is what a player needs.

A tick is 1/480 of a crotchet, which holds triplets and sixty-fourths exactly. Onsets are first exact
and rounded once, so that errors never add up: `Fraction`s of a whole note to whoever asks, and within a
`Timeline` whole numbers of a part of it that fits the tune, which is ten times quicker. The melody starts at tick 0
exactly as composed; an upbeat gets a short bar of its own, so that bar lines in a sequencer agree.

>>> from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune
>>> a = Note((Pitch("A", 0, 4),), Fraction(1, 4))
>>> score = perform(Tune(Key("D"), Metre(2, 4), (Bar((a, a), closes=2),)), tempo=120)
>>> [note.onset_ticks for note in score.melody.notes], score.end_tick, score.seconds(score.end_tick)
([0, 480, 960, 1440], 1920, 2.0)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import NamedTuple

from hoyomusic.errors import TuneError, UsageError
from hoyomusic.regions import REGIONS, TEYVAT, Region
from hoyomusic.tune import Key, Metre, Pitch, Tune

TICKS_PER_QUARTER = 480
TICKS_PER_WHOLE = 4 * TICKS_PER_QUARTER

MELODY = "melody"
VELOCITY = 80
# Dynamic accents of a melody: the bar's first note, notes on a beat, all others.
BAR_ACCENT, BEAT_ACCENT, OTHER_ACCENT = 1.0, 0.92, 0.86

SLOWEST, FASTEST = 5, 1000

# A timeline's parts of a whole note are so many at least, or a multiple: 20 a tick. Accompaniments are written in
# hundredths of quavers, and looked at in halves and quarters; so are the parts that a metre names.
PARTS, PARTS_PER_UNIT = 20 * TICKS_PER_WHOLE, 80
# Beyond these a tune is made to exhaust who plays it: a day of music, and times of more digits than numbers have.
MOST_PLAYED_NOTES, LONGEST_PLAYED = 200_000, 50_000
MOST_PARTS = 10**18

# The largest numerator that a MIDI reader can be expected to show.
MAXIMUM_BEATS = 64
MAXIMUM_UNIT = 64


class TimedNote(NamedTuple):
    """One sounding note: onset and duration in ticks, MIDI pitch, MIDI velocity (1-127)."""

    onset_ticks: int
    duration_ticks: int
    pitch: int
    velocity: int

    @property
    def end_ticks(self) -> int:
        """The tick at which it stops."""
        return self.onset_ticks + self.duration_ticks


@dataclass(frozen=True, slots=True)
class Track:
    """One instrument: General MIDI program (from 0), notes in order of onset, channel volume and pan (0-127).

    `is_drum`: the notes are General MIDI percussion keys, `program` is ignored.
    """

    name: str
    program: int
    notes: tuple[TimedNote, ...]
    is_drum: bool = False
    volume: int = 100
    pan: int = 64


class TempoChange(NamedTuple):
    """From `tick` on a crotchet lasts so many microseconds."""

    tick: int
    microseconds_per_quarter: int


class MetreChange(NamedTuple):
    """From `tick` on bars have this metre."""

    tick: int
    metre: Metre


class KeyChange(NamedTuple):
    """From `tick` on the music is in this key."""

    tick: int
    key: Key


@dataclass(frozen=True, slots=True)
class Score:
    """A performance: tracks, melody first, and the maps of tempo, metre and key along its ticks.

    `tune` is the written music, from which sheets are made; `provenance` is a free text about where
    the music comes from (seed, options, program, model), written into every file.
    """

    tune: Tune
    tracks: tuple[Track, ...]
    tempi: tuple[TempoChange, ...]
    metres: tuple[MetreChange, ...]
    keys: tuple[KeyChange, ...]
    end_tick: int
    region: str = ""
    provenance: str = ""

    @property
    def title(self) -> str:
        """The tune's title; may be empty."""
        return self.tune.header.title

    @property
    def melody(self) -> Track:
        """The track that plays the tune itself."""
        return self.tracks[0]

    def seconds(self, tick: int) -> float:
        """The time at `tick` by the tempo map."""
        microseconds_and_ticks = 0  # microseconds x ticks per quarter: whole numbers until the last step
        for change, following in zip(self.tempi, (*self.tempi[1:], None), strict=True):
            stop = tick if following is None else min(tick, following.tick)
            if stop <= change.tick:
                break
            microseconds_and_ticks += (stop - change.tick) * change.microseconds_per_quarter
        return microseconds_and_ticks / (TICKS_PER_QUARTER * 1_000_000)


# ------------------------------------------------------------------ form in time


class PlayedBar(NamedTuple):
    """One bar as it sounds: its index in the tune, onset and length in whole notes, metre and key.

    `section` counts the played sections from 0; `number` counts bars in the section from 0, an upbeat
    is -1. `section_end`: the section ends with this bar.
    """

    index: int
    onset: Fraction
    length: Fraction
    metre: Metre | None
    key: Key
    section: int
    number: int
    section_end: bool


class SoundingNote(NamedTuple):
    """A melody note in time, ties joined: onset and length in whole notes, MIDI pitch, and its accent.

    `on_beat`: it starts on a beat of its bar.
    """

    onset: Fraction
    length: Fraction
    pitch: int
    accent: float
    on_beat: bool


class Timeline(NamedTuple):
    """A tune as it is played. All times in `bars` and `notes` are whole numbers of 1/`whole` of a whole note."""

    whole: int
    bars: list[PlayedBar]
    notes: list[SoundingNote]


def lay_out(tune: Tune) -> Timeline:
    """The bars in the order in which they sound, and what sounds in them (see `played_bars`, `sounding_notes`)."""
    whole = _parts_for(tune)
    lengths = _note_lengths(tune, whole)
    bars = _play_bars(tune, whole, lengths)
    return Timeline(whole, bars, _sound_notes(tune, bars, whole, lengths))


def timeline_of(tune: Tune, bars: Sequence[PlayedBar]) -> Timeline:
    """The timeline of bars that are told in whole notes."""
    whole = _parts_for(tune, (time for bar in bars for time in (bar.onset, bar.length)))
    bars = [bar._replace(onset=in_parts(bar.onset, whole), length=in_parts(bar.length, whole)) for bar in bars]
    return Timeline(whole, bars, _sound_notes(tune, bars, whole, _note_lengths(tune, whole)))


def _parts_for(tune: Tune, times: Iterable[Fraction] = ()) -> int:
    """Parts of a whole note of which `times`, a tune's notes and all bars of its metres are whole numbers."""
    units = {metre.unit for metre in (tune.metre, *(bar.metre for bar in tune.bars)) if metre is not None}
    denominators = {note.length.denominator for bar in tune.bars for note in bar.notes}
    denominators |= {time.denominator for time in times}
    parts = lcm(PARTS, *(PARTS_PER_UNIT * unit for unit in units), *(4 * each for each in denominators))
    if parts > MOST_PARTS:
        raise TuneError("divides a whole note in too many ways at once", remedy="write lengths with common divisors")
    return parts


def in_parts(time: Fraction, whole: int) -> int:
    """How many parts a time of so many whole notes takes, where each has `whole` of them."""
    numerator, denominator = time.as_integer_ratio()
    return numerator * whole // denominator


@lru_cache(maxsize=256)
def _metre_in_parts(metre: Metre, whole: int) -> tuple[int, int]:
    """How many parts a bar and a beat of a metre take."""
    return in_parts(metre.length, whole), in_parts(metre.beat, whole)


def _note_lengths(tune: Tune, whole: int) -> list[list[int]]:
    """How many parts each note takes, by bar."""
    return [[in_parts(note.length, whole) for note in bar.notes] for bar in tune.bars]


def played_bars(tune: Tune) -> list[PlayedBar]:
    """The bars in the order in which they sound, placed in time and counted by sections.

    A section starts at repeat signs, behind double bars and at part labels, and again whenever it is
    repeated; endings belong to their section. A tune without such marks is cut into eights.
    Raises TuneError where the tune would last too long (`Tune.play_order`).
    """
    whole = _parts_for(tune)
    return [
        bar._replace(onset=Fraction(bar.onset, whole), length=Fraction(bar.length, whole))
        for bar in _play_bars(tune, whole, _note_lengths(tune, whole))
    ]


def _play_bars(tune: Tune, whole: int, note_lengths: Sequence[Sequence[int]]) -> list[PlayedBar]:
    order = tune.play_order()
    metres, keys = tune.metres(), tune.keys()
    lengths = list(map(sum, note_lengths))
    if (
        sum(len(tune.bars[index].notes) for index in order) > MOST_PLAYED_NOTES
        or sum(lengths[index] for index in order) > LONGEST_PLAYED * whole
    ):
        raise TuneError(
            f"plays more than {MOST_PLAYED_NOTES} notes or {LONGEST_PLAYED} whole notes", remedy="repeat less of it"
        )
    full = {metre: _metre_in_parts(metre, whole)[0] for metre in set(metres) if metre is not None}
    marked = any(bar.opens or bar.closes or bar.double or bar.part for bar in tune.bars[:-1])
    found: list[PlayedBar] = []
    onset, section, number, previous = 0, -1, 0, None
    for index in order:
        bar, metre, length = tune.bars[index], metres[index], lengths[index]
        begins = previous is None or bar.opens or bool(bar.part) or index <= previous or _ends_section(tune, previous)
        if not marked and number == 8 and length:
            begins = True
        if begins:
            if found:
                found[-1] = found[-1]._replace(section_end=True)
            section, number = section + 1, 0
            if metre is not None and length < full[metre] and len(order) > 1:
                number = -1
        found.append(PlayedBar(index, onset, length, metre, keys[index], section, number, False))
        onset, number, previous = onset + length, number + 1, index
    if found:
        found[-1] = found[-1]._replace(section_end=True)
    return found


def _ends_section(tune: Tune, index: int) -> bool:
    """Whether the section ends behind this bar, unless one of its further endings follows."""
    bar = tune.bars[index]
    following = tune.bars[index + 1] if index + 1 < len(tune.bars) else None
    return bool(bar.closes or bar.double) and not (following and following.ending)


class GridBar(NamedTuple):
    """One bar as a listener counts it: a short bar and the upbeat that completes it are one.

    Onset and length in whole notes. `whole`: it fills its metre (a bar of free metre does too).
    """

    onset: Fraction
    length: Fraction
    metre: Metre | None
    whole: bool


def bar_grid(bars: Sequence[PlayedBar], whole: int = 1) -> list[GridBar]:
    """The played bars as counted bars, empty ones left out; times in 1/`whole` of a whole note, as those of `bars`."""
    bars = [bar for bar in bars if bar.length]
    full: dict[Metre, Fraction] = {}
    for metre in {bar.metre for bar in bars} - {None}:
        length = metre.length * whole
        full[metre] = length.numerator if length.denominator == 1 else length  # whole numbers compare quicker
    grid: list[GridBar] = []
    index = 0
    while index < len(bars):
        bar = bars[index]
        length, stop = bar.length, index + 1
        if bar.metre is not None:
            while stop < len(bars) and length < full[bar.metre] and bars[stop].metre == bar.metre:
                length, stop = length + bars[stop].length, stop + 1
            if length != full[bar.metre]:
                length, stop = bar.length, index + 1
        grid.append(GridBar(bar.onset, length, bar.metre, bar.metre is None or length == full[bar.metre]))
        index = stop
    return grid


def sounding_notes(tune: Tune, bars: Sequence[PlayedBar]) -> list[SoundingNote]:
    """All notes that sound in `bars`, by onset then pitch; graces take no time and are left out."""
    whole, _, notes = timeline_of(tune, bars)
    return [
        note._replace(onset=Fraction(note.onset, whole), length=Fraction(note.length, whole)) for note in notes
    ]


class _WrittenNote(NamedTuple):
    """One note of a bar as it sounds whenever the bar is played: onset within the bar; its pitches, lowest first."""

    onset: int
    length: int
    pitches: list[int]
    tied: list[int]
    accent: float
    on_beat: bool


def _sound_notes(
    tune: Tune, bars: Sequence[PlayedBar], whole: int, lengths: Sequence[Sequence[int]]
) -> list[SoundingNote]:
    found: list[SoundingNote] = []
    held: dict[int, int] = {}  # pitch tied into the next note -> position of its beginning in `found`
    read: dict[tuple[int, bool], list[_WrittenNote]] = {}
    for bar in bars:
        key = bar.index, bar.number == -1
        if key not in read:
            read[key] = _read_bar(tune, bar, whole, lengths[bar.index])
        for offset, length, pitches, tied, accent, on_beat in read[key]:
            if not held and not tied:
                for pitch in pitches:
                    found.append(SoundingNote(bar.onset + offset, length, pitch, accent, on_beat))
                continue
            continued: dict[int, int] = {}
            for pitch in pitches:
                if pitch in held:
                    position = held[pitch]
                    found[position] = found[position]._replace(length=found[position].length + length)
                else:
                    position = len(found)
                    found.append(SoundingNote(bar.onset + offset, length, pitch, accent, on_beat))
                if pitch in tied:
                    continued[pitch] = position
            held = continued
    return found


def _read_bar(tune: Tune, bar: PlayedBar, whole: int, lengths: Sequence[int]) -> list[_WrittenNote]:
    full, beat = (0, whole // 4) if bar.metre is None else _metre_in_parts(bar.metre, whole)
    # An upbeat stands at the end of its bar.
    lead = full - bar.length if bar.number == -1 and bar.metre is not None else 0
    found, offset = [], 0
    for note, length in zip(tune.bars[bar.index].notes, lengths, strict=True):
        place = lead + offset
        on_beat = place % beat == 0
        accent = BAR_ACCENT if place == 0 else BEAT_ACCENT if on_beat else OTHER_ACCENT
        found.append(_WrittenNote(offset, length, _midi(note.pitches), _midi(note.ties), accent, on_beat))
        offset += length
    return found


@lru_cache(maxsize=4096)
def _midi(pitches: tuple[Pitch, ...]) -> list[int]:
    """The MIDI numbers of pitches, each once, lowest first."""
    return sorted({pitch.midi for pitch in pitches})


def to_ticks(time: Fraction, whole: int = 1) -> int:
    """The tick nearest to `time` (in 1/`whole` of a whole note), halves rounded up."""
    denominator = time.denominator * whole
    return (2 * time.numerator * TICKS_PER_WHOLE + denominator) // (2 * denominator)


# ------------------------------------------------------------------ tempo


# How far up its nation's range of tempi a dance stands; the first word found in the rhythm counts.
RHYTHM_PLACES = {
    "slow": 0.0, "air": 0.1, "lament": 0.0, "ballad": 0.1, "minuet": 0.3, "waltz": 0.5, "strathspey": 0.3,
    "march": 0.5, "slip": 0.8, "jig": 1.0, "reel": 1.0, "hornpipe": 0.7, "polka": 1.0, "quickstep": 1.0,
}  # fmt: skip
# The same by metre, where the rhythm is not known; other metres stand at 0.3.
METRE_PLACES = {
    (2, 2): 1.0, (6, 8): 0.8, (9, 8): 0.8, (12, 8): 0.8, (2, 4): 0.6, (3, 8): 0.6, (4, 4): 0.5, (3, 4): 0.35,
}  # fmt: skip


def choose_tempo(tune: Tune, region: Region, tempo: float | None = None) -> Fraction:
    """Crotchets a minute: the wish, else what the tune's header says, else a place in the nation's range.

    The place goes by the header's rhythm (an air low, a reel high), else by the metre; the result is a
    whole number. A header that asks for the impossible is passed over.
    Raises UsageError for a wish outside of 5-1000.
    """
    if tempo is not None:
        if not SLOWEST <= tempo <= FASTEST:
            raise UsageError(f"tempo {tempo:g}", remedy=f"ask for {SLOWEST} to {FASTEST} crotchets a minute")
        return Fraction(tempo)
    written = tune.header.tempo
    if written is not None and SLOWEST <= written.quarters_per_minute <= FASTEST:
        return written.quarters_per_minute
    words = tune.header.rhythm.lower()
    place = next((place for word, place in RHYTHM_PLACES.items() if word in words), None)
    if place is None:
        place = METRE_PLACES.get(tune.metre[:2], 0.3) if tune.metre else 0.0
    low, high = region.tempo
    return Fraction(round(low + place * (high - low)))


def microseconds_per_quarter(quarters_per_minute: Fraction) -> int:
    """The MIDI tempo: whole microseconds a crotchet."""
    return round(60_000_000 / quarters_per_minute)


def region_of(tune: Tune, region: Region | None) -> Region:
    """The given nation, else the one that the tune's header names, else Teyvat."""
    named = tune.header.region.casefold()
    return region or next((each for each in REGIONS if each.name.casefold() == named), TEYVAT)


# ------------------------------------------------------------------ the melody alone


def perform(tune: Tune, *, tempo: float | None = None, region: Region | None = None) -> Score:
    """The tune alone, as written, on the first instrument of its nation.

    Repeats, endings and parts are played, ties joined, chords kept; graces do not sound. `tempo` in
    crotchets a minute, else as `choose_tempo` finds. Raises UsageError for an impossible tempo and
    TuneError for a tune that would play too long.
    """
    return perform_timeline(tune, lay_out(tune), tempo=tempo, region=region)


def perform_timeline(
    tune: Tune, timeline: Timeline, *, tempo: float | None = None, region: Region | None = None
) -> Score:
    """`perform` for a tune that is laid out already."""
    nation = region_of(tune, region)
    whole, bars, sounding = timeline
    quarter = microseconds_per_quarter(choose_tempo(tune, nation, tempo))
    velocities = {accent: round(VELOCITY * accent) for accent in (BAR_ACCENT, BEAT_ACCENT, OTHER_ACCENT)}
    tick = whole // TICKS_PER_WHOLE
    half = tick // 2
    # Both ends are rounded on their own, so that neighbours still meet; a note is at least one tick long.
    notes = []
    for onset, length, pitch, accent, _ in sounding:
        start = (onset + half) // tick
        duration = (onset + length + half) // tick - start
        notes.append(TimedNote(start, duration or 1, pitch, velocities[accent]))
    header = tune.header
    return Score(
        tune=tune,
        tracks=(Track(MELODY, nation.programs[0], tuple(notes)),),
        tempi=(TempoChange(0, quarter),),
        metres=metre_changes(bar_grid(bars, whole), whole),
        keys=_key_changes(bars, whole),
        end_tick=to_ticks(bars[-1].onset + bars[-1].length, whole) if bars else 0,
        region=header.region if region is None else region.name,
        provenance="; ".join(text for text in (*header.notes.split("\n"), header.transcription) if text),
    )


def metre_changes(grid: Sequence[GridBar], whole: int = 1) -> tuple[MetreChange, ...]:
    """Metre events so that each counted bar starts on a bar line; times of `grid` in 1/`whole` of a whole note.

    A short bar in the middle becomes a bar of its own metre (an upbeat of 1/8). The last bar may stay
    incomplete. A length that no time signature can say (a triplet upbeat) is left to drift.
    """
    changes: list[MetreChange] = []
    for position, bar in enumerate(grid):
        unit = 4 if bar.metre is None else bar.metre.unit
        wanted = bar.metre
        if bar.metre is None or (not bar.whole and position + 1 < len(grid)):
            wanted = _metre_of(Fraction(bar.length, whole), unit)
        if wanted is None or not _is_printable(wanted):
            wanted = None if changes else Metre(4, 4)
        if wanted is not None and (not changes or changes[-1].metre[:2] != wanted[:2]):
            changes.append(MetreChange(to_ticks(bar.onset, whole), wanted))
    return tuple(changes)


def _metre_of(length: Fraction, unit: int) -> Metre | None:
    unit = max(unit, length.denominator)
    beats = length * unit
    return Metre(int(beats), unit) if beats.denominator == 1 else None


def _is_printable(metre: Metre) -> bool:
    """Whether MIDI can say it: the unit must be a power of two."""
    return metre.beats <= MAXIMUM_BEATS and metre.unit <= MAXIMUM_UNIT and metre.unit & (metre.unit - 1) == 0


def _key_changes(bars: Sequence[PlayedBar], whole: int) -> tuple[KeyChange, ...]:
    changes: list[KeyChange] = []
    for bar in bars:
        if not changes or changes[-1].key != bar.key:
            changes.append(KeyChange(to_ticks(bar.onset, whole), bar.key))
    return tuple(changes)
