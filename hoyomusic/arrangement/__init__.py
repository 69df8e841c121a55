"""A band for the melody: chords, bass, drone and drums in the manner of a nation; the melody stays untouched.

The first section is thin; from the second on, repeats included, the texture grows and drums come in.
The last bar is held and slows down through the tempo map, so that ticks stay exact. Only accompaniment
is humanised, by a hash of (seed, track, tick, pitch): one changed note moves no other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
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


# When each chord of a bar begins and ends.
Times = tuple[tuple[int, int], ...]
# Track -> the pitches of a chord, for what is struck (`Event.what`) below a ceiling.
VOICES = {"chords": chord_pitches, "bass": bass_pitch, "drone": drone_pitches}
# What a track plays: where each stretch of it begins in ticks, and the sounds (N, 6) told from there.
Part = list[tuple[int, np.ndarray]]


class Place(NamedTuple):
    """A bar of `length` parts, of which `tick` make a tick: it begins `late` parts behind the tick it is told from."""

    tick: int
    late: int
    length: int

    def ticks(self, onset: int, end: int) -> tuple[int, ...]:
        """The first four numbers of a `Sound` between two times in the bar, told in parts."""
        return tuple(map(self.to_tick, (onset, end, 0, self.length)))

    def to_tick(self, time: int) -> int:
        """The tick nearest to a time in the bar, halves rounded up; its parts are an even number (`score.PARTS`)."""
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
    for name, timed in _humanised(parts, seed, quarter).items():
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
        inside = spans[bisect_right(changes, start) - 1 : bisect_left(changes, stop)]
        times = tuple([(max(0, onset - start), min(bar.length, end - start)) for onset, end, _ in inside])
        chords = tuple([span.chord for span in inside])
        last = position == len(grid) - 1
        tick, late = divmod(start, whole // TICKS_PER_WHOLE)
        for name, sounds in _band(figure, late, bar.length, times, last, chords, ceiling).items():
            parts[name].append((tick, sounds))
        if full and not last and bar.whole and position % figure.drums.every_bars == 0 and figure.drums.hits:
            parts["drums"].append((tick, _drum_strokes(figure, late, bar.length)))
    return parts


@lru_cache(maxsize=256)
def _figure(region: Region, metre: Metre | None, length: Fraction, full: bool, whole: int) -> Figure:
    """The figure of a nation for bars of a metre, or of a `length` in whole notes."""
    texture = texture_for(region, metre, length, full=full)
    levels = patterns()["level_db_below_melody"]
    softer = patterns()["level_db_overrides"].get(texture.name, {})
    bass_gain, chord_gain = (gain_factor(softer.get(role, levels[role]) - levels[role]) for role in ("bass", "chord"))
    return Figure(_in_parts(texture, whole), drums_for(region, metre), whole, bass_gain, chord_gain)


@lru_cache(maxsize=4096)
def _band(
    figure: Figure, late: int, length: int, times: Times, last: bool, chords: tuple[Chord, ...], ceiling: int
) -> dict[str, np.ndarray]:
    """Track -> its sounds in one bar, told from the bar's first tick; tracks without a sound are left out."""
    parts: dict[str, list[Sound]] = {"chords": [], "bass": [], "drone": []}
    for track, ticks, what, number, accent in _strikes(figure, late, length, times, last):
        pitches = VOICES[track](chords[number], what, ceiling)
        parts[track] += [Sound(*ticks, pitch, accent) for pitch in pitches]
    return {name: _in_array(sounds) for name, sounds in parts.items() if sounds}


class Strike(NamedTuple):
    """What a track strikes in a bar: onset, end, earliest and latest tick, what (`Event.what`) of which chord."""

    track: str
    ticks: tuple[int, ...]
    what: str
    chord: int
    accent: float


@lru_cache(maxsize=1024)
def _strikes(figure: Figure, late: int, length: int, times: Times, last: bool) -> list[Strike]:
    """What a bar's figure strikes, whatever its chords are.

    The bar begins `late` parts behind the tick it is told from and is `length` parts long; `times` are those of its
    chords, in parts from its start.
    """
    texture = _held(figure.texture, times) if last else figure.texture
    bar = Place(figure.whole // TICKS_PER_WHOLE, late, length)
    strikes = []
    for event in texture.bass:
        for onset, end, what, chord in _pieces(event, length, times, "R"):
            strikes.append(Strike("bass", bar.ticks(onset, end), what, chord, event.accent * figure.bass_gain))
    for event in texture.chord:
        for onset, end, what, chord in _pieces(event, length, times, ""):
            strikes.append(Strike("chords", bar.ticks(onset, end), what, chord, event.accent * figure.chord_gain))
            break
    for event in texture.drone:
        for onset, end, what, chord in _pieces(event, length, times, "O"):
            strikes.append(Strike("drone", bar.ticks(onset, end), what, chord, event.accent))
    return strikes


def _in_array(sounds: Sequence[Sound]) -> np.ndarray:
    return np.fromiter(chain.from_iterable(sounds), float).reshape(-1, len(Sound._fields))


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


def _held(texture: Texture, times: Times) -> Texture:
    """The last bar: each chord struck once and held."""
    if not texture.bass:
        return texture
    bass = tuple(Event(onset, end - onset, "R", 0.9) for onset, end in times)
    # A nation that doubles the melody has a drone in place of chords.
    chord = () if texture.drone else tuple(event._replace(what="T", accent=0.7) for event in bass)
    return texture._replace(bass=bass, chord=chord)


def _pieces(event: Event, length: int, times: Times, restruck: str) -> Iterator[tuple[int, int, str, int]]:
    """(onset, end, what, number of the chord) of an event, cut where the chord changes and at the end of its bar.

    Behind a change comes `restruck`. A fifth that would open a chord becomes its root.
    """
    onset, end = event.onset, min(event.onset + event.length, length)
    first = True
    for number, (begin, stop) in enumerate(times):
        piece_onset, piece_end = max(onset, begin), min(end, stop)
        if piece_onset < piece_end:
            opening = event.what == "5" and begin == piece_onset and number > 0
            what = (("R" if opening else event.what) if first else restruck) or event.what
            yield piece_onset, piece_end, what, number
            first = False


@lru_cache(maxsize=256)
def _drum_strokes(figure: Figure, late: int, length: int) -> np.ndarray:
    """The drums of a bar, told as `_strikes` does."""
    bar = Place(figure.whole // TICKS_PER_WHOLE, late, length)
    sounds = []
    for hit in figure.drums.hits:
        onset = in_parts(hit.onset, figure.whole)
        sounds.append(Sound(*bar.ticks(onset, min(onset + figure.whole // 8, length)), hit.key, hit.accent))
    return _in_array(sounds)


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
            single.append(Sound(*place.ticks(0, note.length), note.pitch - 12, note.accent))
    return [(0, _in_array(single))] if single else []


# ------------------------------------------------------------------ from sounds to tracks


def _humanised(parts: dict[str, Part], seed: int, quarter: int) -> dict[str, tuple[TimedNote, ...]]:
    """Track -> its notes in ticks, each moved a little in time and loudness by a hash of its own place and pitch."""
    # All tracks in one array: most of what an operation on arrays takes is the same for few notes and for many.
    stretches = [(track, tick, sounds) for track, part in enumerate(parts.values()) for tick, sounds in part]
    if not stretches:
        return {}
    sounds = np.concatenate([sounds for _, _, sounds in stretches])
    lengths = np.array([len(sounds) for _, _, sounds in stretches])
    track, tick = np.array([stretch[:2] for stretch in stretches]).repeat(lengths, axis=0).T
    sounds[:, :4] += tick[:, None]
    onset, end, earliest, latest, pitch, accent = sounds.T
    names = [f"{seed} {name}" for name in parts]
    places = zip(*np.array((track, onset, pitch), np.int64).tolist(), strict=True)
    texts = [f"{names[number]} {tick} {key}" for number, tick, key in places]
    hashes = b"".join([blake2b(text.encode(), digest_size=8).digest() for text in texts])
    late, loud = np.frombuffer(hashes, ">u4").reshape(-1, 2).T / 0xFFFFFFFF * 2 - 1
    swing = HUMANISE_SECONDS * TICKS_PER_QUARTER * 1_000_000 / quarter  # in ticks
    duration = np.maximum(1, end - onset)
    moved = np.maximum(earliest, onset + np.rint(late * swing))
    stop = np.minimum(moved + duration, latest)
    moved, stop = np.where(moved < stop, (moved, stop), (onset, onset + duration))  # too short to be moved
    velocity = np.minimum(127, np.maximum(1, np.rint(VELOCITY * accent * (1 + HUMANISE_VELOCITY * loud))))
    notes = _without_overlap(np.array((track, moved, stop, pitch, velocity)).astype(np.int64))
    bounds = np.searchsorted(notes[0], range(len(parts) + 1)).tolist()
    timed = tuple(map(TimedNote._make, zip(*notes[1:].tolist(), strict=True)))
    return {name: timed[start:stop] for name, start, stop in zip(parts, bounds, bounds[1:], strict=False)}


def _without_overlap(notes: np.ndarray) -> np.ndarray:
    """(track, onset, end, pitch, velocity) x N put in order, with durations for ends.

    A note is cut where its track strikes its pitch again; of those that begin together the last is kept.
    """
    track, onset, end, pitch, _ = notes = notes[:, np.lexsort(notes[[1, 3, 0]])]
    again = (track[1:] == track[:-1]) & (pitch[1:] == pitch[:-1])
    np.minimum(end[:-1], onset[1:], out=end[:-1], where=again)
    end -= onset
    order = np.lexsort((pitch, onset, track))
    return notes[:, order[end[order] > 0]]  # of two that begin together the first has been cut to nothing


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
