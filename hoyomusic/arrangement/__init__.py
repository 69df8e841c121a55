"""A band for the melody: chords, bass, drone and drums in the manner of a nation; the melody stays untouched.

The first section is thin; from the second on, repeats included, the texture grows and drums come in.
The last bar is held and slows down through the tempo map, so that ticks stay exact. Only accompaniment
is humanised, by a hash of (seed, track, tick, pitch): one changed note moves no other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from hoyomusic.arrangement.levels import drum_volume, gain_factor, volume
from hoyomusic.arrangement.texture import Drums, Event, Texture, drums_for, patterns, style_of, texture_for
from hoyomusic.arrangement.voicing import bass_pitch, chord_pitches, drone_pitches
from hoyomusic.harmony import Chord, ChordSpan, harmonise_timeline
from hoyomusic.regions import Region
from hoyomusic.score import (
    TICKS_PER_QUARTER,
    TICKS_PER_WHOLE,
    VELOCITY,
    GridBar,
    PlayedBar,
    Score,
    SoundingNote,
    TempoChange,
    TimedNote,
    Timeline,
    Track,
    bar_grid,
    in_parts,
    lay_out,
    perform_timeline,
    to_ticks,
)
from hoyomusic.tune import Metre, Tune

__all__ = ["arrange"]

HUMANISE_SECONDS = 0.008
HUMANISE_VELOCITY = 0.05
# The last bar and a half slow down in four steps.
RITARDANDO = (0.97, 0.92, 0.86, 0.80)
RITARDANDO_BARS = Fraction(3, 2)
SHORTEST_WITH_RITARDANDO = 4
# Without a melody above it a chord stays below this.
REST_CEILING = 71


class Sound(NamedTuple):
    """An accompanying note before it is humanised: ticks, MIDI pitch, factor on velocity.

    It may not begin before `earliest` nor end behind `latest`. Many make an array, a row each; an array of floats
    holds all of it exactly.
    """

    onset: int
    end: int
    earliest: int
    latest: int
    pitch: int
    accent: float


# A note of four numbers; `TimedNote` itself takes twice the time.
as_timed_note = partial(tuple.__new__, TimedNote)

# What a track plays: where each stretch of it begins in ticks, and the sounds (N, 6) told from there.
Part = list[tuple[int, np.ndarray]]


class Place(NamedTuple):
    """A bar of `length` parts, of which `tick` make a tick: it begins `late` parts behind the tick it is told from."""

    tick: int
    late: int
    length: int

    def sounds(self, pitches: Iterable[int], onset: int, end: int, accent: float) -> list[Sound]:
        """Sounds between two times in the bar, told in parts."""
        times = [self.to_tick(time) for time in (onset, end, 0, self.length)]
        return [Sound(*times, pitch, accent) for pitch in pitches]

    def to_tick(self, time: int) -> int:
        """The tick nearest to a time in the bar, halves rounded up; a tick is an even number of parts (`score.PARTS`)."""
        return (self.late + time + self.tick // 2) // self.tick


@dataclass(frozen=True, eq=False)
class Figure:
    """What a nation plays in bars of a metre, in 1/`whole` of a whole note. In caches it stands for itself alone."""

    texture: Texture
    drums: Drums
    whole: int
    bass_gain: float
    chord_gain: float


def arrange(tune: Tune, region: Region, *, seed: int = 0, tempo: float | None = None) -> Score:
    """The tune as `score.perform` plays it, with the accompaniment of a nation.

    The first track is ``melody``, with the pitches, ticks and velocities of `perform`; then as the
    nation has them ``chords``, ``bass``, ``drone``, ``doubling`` and ``drums``. The same arguments give
    the same score. Raises what `perform` raises.
    """
    timeline = lay_out(tune)
    score = perform_timeline(tune, timeline, tempo=tempo, region=region)
    grid = bar_grid(timeline.bars, timeline.whole)
    style = style_of(region.name)
    parts = _play(grid, timeline, harmonise_timeline(tune, timeline, region), region)
    if style.doubling:
        parts["doubling"] = _doubling(timeline)

    levels, pan = patterns()["level_db_below_melody"], patterns()["pan"]
    programs = {"chords": style.chord, "bass": style.bass, "drone": style.drone, "doubling": style.chord}
    roles = {"chords": "chord", "doubling": "second melody"}
    quarter = score.tempi[0].microseconds_per_quarter
    pitches = [note.pitch for note in score.melody.notes]
    instrument = next(program for program in region.programs if program != style.chord)
    tracks = [replace(score.melody, program=instrument, volume=volume(instrument, pitches), pan=pan["melody"])]
    for name, part in parts.items():
        timed = _humanised(part, name, seed, quarter)
        if timed and name == "drums":
            tracks.append(_drum_track(timed, grid, region, pan["drums"]))
        elif timed:
            program, role = programs[name], roles.get(name, name)
            level = volume(program, [note.pitch for note in timed], levels[role])
            tracks.append(Track(name, program, timed, volume=level, pan=pan[role]))
    return replace(score, tracks=tuple(tracks), tempi=_slowing(quarter, grid, timeline.whole))


# ------------------------------------------------------------------ playing the figures


def _play(
    grid: Sequence[GridBar], timeline: Timeline, spans: Sequence[ChordSpan], region: Region
) -> dict[str, Part]:
    """What each accompanying track plays, bar by bar."""
    parts: dict[str, Part] = {"chords": [], "bass": [], "drone": [], "drums": []}
    whole, bars, notes = timeline
    ceilings = _ceilings(grid, notes)
    onsets = [bar.onset for bar in bars]
    changes = [span.onset for span in spans]
    figures: dict[tuple[Metre | None, int, bool], Figure] = {}
    for position, (bar, ceiling) in enumerate(zip(grid, ceilings, strict=True)):
        if position == 0 and not bar.whole and len(grid) > 1:
            continue  # the band comes in on the first whole bar
        start, stop = bar.onset, bar.onset + bar.length
        full = bars[bisect_right(onsets, start) - 1].section > 0
        key = bar.metre, 0 if bar.metre is not None else bar.length, full
        if key not in figures:
            length = Fraction(bar.length, whole) if bar.metre is None else bar.metre.length
            figures[key] = _figure(region, bar.metre, length, full, whole)
        figure = figures[key]
        chords = tuple(
            [
                ChordSpan(max(0, span.onset - start), min(bar.length, span.end - start), span.chord)
                for span in spans[bisect_right(changes, start) - 1 : bisect_left(changes, stop)]
            ]
        )
        last = position == len(grid) - 1
        tick, late = divmod(start, whole // TICKS_PER_WHOLE)
        for name, sounds in _band(figure, late, bar.length, chords, ceiling, last).items():
            parts[name].append((tick, sounds))
        if full and not last and bar.whole and position % figure.drums.every_bars == 0 and figure.drums.hits:
            parts["drums"].append((tick, _strokes(figure, late, bar.length)))
    return parts


@lru_cache(maxsize=256)
def _figure(region: Region, metre: Metre | None, length: Fraction, full: bool, whole: int) -> Figure:
    """The figure of a nation for bars of a metre, or of a `length` in whole notes."""
    texture = texture_for(region, metre, length, full=full)
    levels = patterns()["level_db_below_melody"]
    softer = patterns()["level_db_overrides"].get(texture.name, {})
    bass_gain, chord_gain = (gain_factor(softer.get(role, levels[role]) - levels[role]) for role in ("bass", "chord"))
    return Figure(_in_parts(texture, whole), drums_for(region, metre), whole, bass_gain, chord_gain)


@lru_cache(maxsize=2048)
def _band(
    figure: Figure, late: int, length: int, chords: tuple[ChordSpan, ...], ceiling: int, last: bool
) -> dict[str, np.ndarray]:
    """Track -> its sounds in one bar, told from the bar's first tick; tracks without a sound are left out.

    The bar begins `late` parts behind that tick and is `length` parts long; so are `chords` told.
    """
    texture = _held(figure.texture, chords) if last else figure.texture
    parts: dict[str, list[Sound]] = {"chords": [], "bass": [], "drone": []}
    place = Place(figure.whole // TICKS_PER_WHOLE, late, length)
    for event in texture.bass:
        for onset, end, what, chord in _pieces(event, length, chords, "R"):
            pitches = bass_pitch(chord, what, ceiling)
            parts["bass"] += place.sounds(pitches, onset, end, event.accent * figure.bass_gain)
    for event in texture.chord:
        for onset, end, what, chord in _pieces(event, length, chords, ""):
            pitches = chord_pitches(chord, what, ceiling)
            parts["chords"] += place.sounds(pitches, onset, end, event.accent * figure.chord_gain)
            break
    for event in texture.drone:
        for onset, end, _, chord in _pieces(event, length, chords, "O"):
            parts["drone"] += place.sounds(drone_pitches(chord, ceiling), onset, end, event.accent)
    return {name: np.array(sounds, float) for name, sounds in parts.items() if sounds}


def _in_parts(texture: Texture, whole: int) -> Texture:
    """A texture whose events are told in 1/`whole` of a whole note."""
    return Texture(
        texture.name,
        *(
            tuple(
                event._replace(onset=in_parts(event.onset, whole), length=in_parts(event.length, whole))
                for event in events
            )
            for events in texture[1:]
        ),
    )


def _ceilings(grid: Sequence[GridBar], notes: Sequence[SoundingNote]) -> list[int]:
    """For each bar the highest pitch that is below all of the melody in it."""
    ceilings = [REST_CEILING] * len(grid)
    onsets = [bar.onset for bar in grid]
    for onset, length, pitch, _, _ in notes:
        position = bisect_right(onsets, onset) - 1
        while position < len(grid) and onsets[position] < onset + length:
            if pitch <= ceilings[position]:
                ceilings[position] = pitch - 1
            position += 1
    return ceilings


def _held(texture: Texture, chords: Sequence[ChordSpan]) -> Texture:
    """The last bar: each chord struck once and held."""
    if not texture.bass:
        return texture
    bass = tuple(Event(span.onset, span.end - span.onset, "R", 0.9) for span in chords)
    # A nation that doubles the melody has a drone in place of chords.
    chord = () if texture.drone else tuple(event._replace(what="T", accent=0.7) for event in bass)
    return texture._replace(bass=bass, chord=chord)


def _pieces(
    event: Event, length: int, chords: Sequence[ChordSpan], restruck: str
) -> Iterator[tuple[int, int, str, Chord]]:
    """(onset, end, what, chord) of an event, cut where the chord changes and at the end of its bar.

    Behind a change comes `restruck`. A fifth that would open a chord becomes its root.
    """
    onset, end = event.onset, min(event.onset + event.length, length)
    first = True
    for span in chords:
        piece_onset, piece_end = max(onset, span.onset), min(end, span.end)
        if piece_onset < piece_end:
            opening = event.what == "5" and span.onset == piece_onset and span is not chords[0]
            what = (("R" if opening else event.what) if first else restruck) or event.what
            yield piece_onset, piece_end, what, span.chord
            first = False


@lru_cache(maxsize=256)
def _strokes(figure: Figure, late: int, length: int) -> np.ndarray:
    """The strokes of a bar (see `_band`)."""
    place = Place(figure.whole // TICKS_PER_WHOLE, late, length)
    sounds: list[Sound] = []
    for hit in figure.drums.hits:
        onset = in_parts(hit.onset, figure.whole)
        sounds += place.sounds([hit.key], onset, min(onset + figure.whole // 8, length), hit.accent)
    return np.array(sounds, float)


def _doubling(timeline: Timeline) -> Part:
    """The melody an octave lower from the second section on, where it is a single line."""
    whole, bars, notes = timeline
    start = next((bar.onset for bar in bars if bar.section > 0), None)
    if start is None:
        return []
    single: list[Sound] = []
    for position, note in enumerate(notes):
        end = note.onset + note.length
        alone = position + 1 == len(notes) or notes[position + 1].onset >= end
        alone = alone and (position == 0 or notes[position - 1].onset + notes[position - 1].length <= note.onset)
        if note.onset >= start and alone and note.pitch >= 24:
            place = Place(whole // TICKS_PER_WHOLE, note.onset, note.length)
            single += place.sounds([note.pitch - 12], 0, note.length, note.accent)
    return [(0, np.array(single, float))] if single else []


# ------------------------------------------------------------------ from sounds to tracks


def _humanised(part: Part, track: str, seed: int, quarter: int) -> tuple[TimedNote, ...]:
    """Notes in ticks, each moved a little in time and loudness by a hash of its own place and pitch."""
    if not part:
        return ()
    sounds = np.concatenate([sounds for _, sounds in part])
    sounds[:, :4] += np.repeat([tick for tick, _ in part], [len(sounds) for _, sounds in part])[:, None]
    onset, end, earliest, latest, pitch, accent = sounds.T
    duration = np.maximum(1, end - onset)
    name, places = f"{seed} {track}".encode(), sounds[:, [0, 4]].astype(np.int64).tolist()
    hashed = b"".join([blake2b(b"%b %d %d" % (name, *place), digest_size=8).digest() for place in places])
    late, loud = np.frombuffer(hashed, ">u4").reshape(-1, 2).T / 0xFFFFFFFF * 2 - 1
    swing = HUMANISE_SECONDS * TICKS_PER_QUARTER * 1_000_000 / quarter  # in ticks
    moved = np.maximum(earliest, onset + np.rint(late * swing))
    stop = np.minimum(moved + duration, latest)
    moved, stop = np.where(moved < stop, (moved, stop), (onset, onset + duration))  # too short to be moved
    velocity = np.minimum(127, np.maximum(1, np.rint(VELOCITY * accent * (1 + HUMANISE_VELOCITY * loud))))
    return _without_overlap(np.array((moved, stop, pitch, velocity)).astype(np.int64))


def _without_overlap(notes: np.ndarray) -> tuple[TimedNote, ...]:
    """Notes of one track, (onset, end, pitch, velocity) x N, put in order, each cut where its own pitch is struck again.

    Of those that begin together on one pitch the last is kept.
    """
    notes = notes[:, np.lexsort(notes[[0, 2]])]  # by pitch, then onset
    onset, end, pitch, velocity = notes
    again = pitch[1:] == pitch[:-1]
    np.minimum(end[:-1], onset[1:], out=end[:-1], where=again)
    order = np.lexsort((pitch, onset))
    order = order[onset[order] < end[order]]  # of two that begin together the first has now no length
    rows = np.array((onset, end - onset, pitch, velocity))[:, order].T
    return tuple(map(as_timed_note, rows.tolist()))


def _drum_track(notes: tuple[TimedNote, ...], grid: Sequence[GridBar], region: Region, pan: int) -> Track:
    overrides = patterns()["level_db_overrides"].get(f"nation {region.name}", {})
    level = overrides.get("drums", patterns()["level_db_below_melody"]["drums"])
    keys = [note.pitch for note in notes]
    metres = dict.fromkeys(bar.metre for bar in grid)
    program = next((drums.program for drums in (drums_for(region, metre) for metre in metres) if drums.hits), None)
    if program is not None:
        return Track("drums", program, notes, volume=volume(program, keys, level), pan=pan)
    return Track("drums", 0, notes, is_drum=True, volume=drum_volume(keys, level), pan=pan)


def _slowing(quarter: int, grid: Sequence[GridBar], whole: int) -> tuple[TempoChange, ...]:
    """The tempo map: steady, and slower in four steps over the last bar and a half."""
    tempi = [TempoChange(0, quarter)]
    if len(grid) >= SHORTEST_WITH_RITARDANDO and grid[-1].metre is not None:
        length = in_parts(RITARDANDO_BARS * grid[-1].metre.length, whole)
        start = grid[-1].onset + grid[-1].length - length
        for step, factor in enumerate(RITARDANDO):
            tick = to_ticks(start + length * step // len(RITARDANDO), whole)
            if tick > tempi[-1].tick:
                tempi.append(TempoChange(tick, round(quarter / factor)))
    return tuple(tempi)
