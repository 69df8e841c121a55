"""Music as it is made: ids come in one by one, and a bar goes out as soon as its last id is known.

A bar is what a player can count on: its length and all that begins in it. Where a note ends that is tied over
the bar line only the next bar tells. So a bar gives events: each note begins in one bar and ends in the same or
a later one, and no event lies before the bar that it comes with. Repeats are unrolled: what is played again goes
out again at once, without another id. The notes are, to the tick, those of `score.perform` for the whole tune.

    for bar in stream_bars(ids, vocabulary, region):
        for event in bar.events:
            print(bar.seconds(event.tick), event.pitch, event.velocity)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from hoyomusic.regions import Region
from hoyomusic.score import (
    TICKS_PER_QUARTER,
    VELOCITY,
    PlayedBar,
    TimedNote,
    choose_tempo,
    microseconds_per_quarter,
    timeline_of,
    to_ticks,
)
from hoyomusic.tune import Bar, Key, Metre, Tune
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import BAR_ENDS, Kind

HEADER = (Kind.START, Kind.TONIC, Kind.MODE, Kind.METRE, Kind.BARS)

# A tune without repeats and double bars is counted in sections of so many bars (`score.played_bars`).
PHRASE = 8


class NoteEvent(NamedTuple):
    """At `tick` a MIDI pitch begins with a velocity of 1-127, or ends, where the velocity is 0."""

    tick: int
    pitch: int
    velocity: int


@dataclass(frozen=True, slots=True)
class StreamedBar:
    """One bar as it sounds, in ticks since its tune began: bar `number` of those played in tune `tune`, from 0.

    `events` are in order, ends before beginnings, and lie between `onset_ticks` and `end_ticks`. `notes` are
    those that ended with one of these events, in the order of their ends: over all bars, all notes of the tune.
    """

    tune: int
    number: int
    onset_ticks: int
    end_ticks: int
    key: Key
    metre: Metre
    microseconds_per_quarter: int
    events: tuple[NoteEvent, ...]
    notes: tuple[TimedNote, ...]

    def seconds(self, tick: int) -> float:
        """The time at `tick` since the tune began, as `Score.seconds` has it for the melody alone."""
        return tick * self.microseconds_per_quarter / (TICKS_PER_QUARTER * 1_000_000)


class _Written(NamedTuple):
    """A bar as it is written, and what it inherits; `leads`: its notes stand at the end of their metre."""

    bar: Bar
    length: Fraction  # of the bar, summed once
    key: Key
    metre: Metre
    leads: bool


def stream_bars(
    ids: Iterable[int], vocabulary: Vocabulary, region: Region, *, tune: int = 0, tempo: float | None = None
) -> Iterator[StreamedBar]:
    """The melody that the ids of one tune say, ``<s>`` to ``</s>``, bar by bar as it is played.

    No id is asked for before all bars are out that are known without it. `tempo` in crotchets a minute, else as
    `score.choose_tempo` finds. At most two endings follow each other, as in all that the grammar allows.
    Raises VocabularyError where a bar's ids say none and UsageError for an impossible tempo.
    """
    onset, number, quarter = Fraction(0), 0, 0
    held: dict[int, TimedNote] = {}  # pitch tied into the next bar -> its note as it has begun
    for written in _unroll(_read(ids, vocabulary)):
        bar, length, key, metre, leads = written
        if not number:
            quarter = microseconds_per_quarter(choose_tempo(Tune(key, metre, ()), region, tempo))
        stop = onset + length
        begin, end = to_ticks(onset), to_ticks(stop)
        played = PlayedBar(0, onset, length, metre, key, 0, -1 if leads else 0, False)
        begun: list[TimedNote] = []
        whole, _, sounding = timeline_of(Tune(key, metre, (bar,)), [played])
        for note in sounding:
            start, finish = to_ticks(note.onset, whole), to_ticks(note.onset + note.length, whole)
            before = held.pop(note.pitch, None) if start == begin else None
            first = before or TimedNote(start, 0, note.pitch, round(VELOCITY * note.accent))
            begun.append(first._replace(duration_ticks=finish - first.onset_ticks))
        tied = {pitch.midi for pitch in bar.notes[-1].ties}
        ended = [note for note in begun if not (note.end_ticks == end and note.pitch in tied)]
        # A tie that leads to nothing ends with its bar.
        ended += [note._replace(duration_ticks=begin - note.onset_ticks) for note in held.values()]
        held = {note.pitch: note for note in begun if note.end_ticks == end and note.pitch in tied}
        events = [NoteEvent(note.end_ticks, note.pitch, 0) for note in ended]
        new = (note for note in begun if note.onset_ticks >= begin)
        events += [NoteEvent(note.onset_ticks, note.pitch, note.velocity) for note in new]
        events.sort(key=lambda event: (event.tick, event.velocity > 0, event.pitch))
        ended.sort(key=lambda note: (note.end_ticks, note.pitch))
        yield StreamedBar(tune, number, begin, end, key, metre, quarter, tuple(events), tuple(ended))
        onset, number = stop, number + 1


def _read(ids: Iterable[int], vocabulary: Vocabulary) -> Iterator[_Written]:
    """The bars of a tune as they are written, each as soon as the id of its bar line has come."""
    header: dict[Kind, int] = {}
    length: list[int] = []  # the length in force, for a layout that does not repeat it
    found: list[int] = []
    previous: Bar | None = None
    counted, marked = 0, False
    for index in ids:
        token = vocabulary.tokens[index]
        if token.kind in HEADER and len(header) < len(HEADER):
            header[token.kind] = index
            continue
        found.append(index)
        if token.kind not in BAR_ENDS:
            continue
        tune = vocabulary.decode([*header.values(), *length, *found])
        bar = tune.bars[0]
        key, metre = bar.key or tune.key, bar.metre or tune.metre
        # The same bars begin a section as in `score.played_bars`: only there can a short bar be an upbeat.
        begins = previous is None or bar.opens or ((previous.closes > 0 or previous.double) and not bar.ending)
        begins = begins or (token.kind is Kind.FINAL and not marked and counted and counted % PHRASE == 0)
        full = bar.length
        short = full < metre.length
        yield _Written(bar, full, key, metre, begins and short)
        counted += not (begins and short)
        marked = marked or bar.opens or bar.closes > 0 or bar.double
        previous = bar
        for each in found:
            kind = vocabulary.tokens[each].kind
            if kind in header:
                header[kind] = each
            elif kind is Kind.LENGTH:
                length = [each]
        found = []


def _unroll(bars: Iterable[_Written]) -> Iterator[_Written]:
    """The bars in the order in which they sound, as `Tune.play_order` has it."""
    body: list[_Written] = []
    collecting = False
    for written in bars:
        bar = written.bar
        if bar.opens:
            body, collecting = [], True
        if bar.ending:
            collecting = False
        if collecting:
            body.append(written)
        yield written
        if bar.closes:
            for _ in range(bar.closes - 1):
                yield from body
            body, collecting = [], False


__all__ = ["NoteEvent", "StreamedBar", "stream_bars"]
