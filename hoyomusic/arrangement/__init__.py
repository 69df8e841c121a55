"""A band for the melody: chords, bass, drone and drums in the manner of a nation; the melody stays untouched.

The first section is thin; from the second on, repeats included, the texture grows and drums come in.
The last bar is held and slows down through the tempo map, so that ticks stay exact. Only accompaniment
is humanised, by a hash of (seed, track, tick, pitch): one changed note moves no other.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from struct import Struct
from typing import NamedTuple

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
HALVES = Struct(">II")  # the hash of a note: how late, how loud
# The last bar and a half slow down in four steps.
RITARDANDO = (0.97, 0.92, 0.86, 0.80)
RITARDANDO_BARS = Fraction(3, 2)
SHORTEST_WITH_RITARDANDO = 4
# Without a melody above it a chord stays below this.
REST_CEILING = 71


class Sound(NamedTuple):
    """An accompanying note before it is humanised: times as the timeline counts, MIDI pitch, factor on velocity.

    It may not begin before `earliest` nor end behind `latest`.
    """

    onset: int
    end: int
    pitch: int
    accent: float
    earliest: int
    latest: int


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
        parts["doubling"] = _doubling(timeline.bars, timeline.notes)

    levels, pan = patterns()["level_db_below_melody"], patterns()["pan"]
    programs = {"chords": style.chord, "bass": style.bass, "drone": style.drone, "doubling": style.chord}
    roles = {"chords": "chord", "doubling": "second melody"}
    quarter = score.tempi[0].microseconds_per_quarter
    pitches = [note.pitch for note in score.melody.notes]
    instrument = next(program for program in region.programs if program != style.chord)
    tracks = [replace(score.melody, program=instrument, volume=volume(instrument, pitches), pan=pan["melody"])]
    for name, sounds in parts.items():
        timed = _humanised(sounds, name, seed, quarter, timeline.whole)
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
) -> dict[str, list[Sound]]:
    """What each accompanying track plays, bar by bar."""
    parts: dict[str, list[Sound]] = {"chords": [], "bass": [], "drone": [], "drums": []}
    whole, bars, notes = timeline
    ceilings = _ceilings(grid, notes)
    onsets = [bar.onset for bar in bars]
    changes = [span.onset for span in spans]
    overrides = patterns()["level_db_overrides"]
    levels = patterns()["level_db_below_melody"]
    figures: dict[tuple[Metre | None, int, bool], Texture] = {}
    strokes: dict[Metre | None, Drums] = {}
    for position, (bar, ceiling) in enumerate(zip(grid, ceilings, strict=True)):
        if position == 0 and not bar.whole and len(grid) > 1:
            continue  # the band comes in on the first whole bar
        stop = bar.onset + bar.length
        full = bars[bisect_right(onsets, bar.onset) - 1].section > 0
        figure = bar.metre, 0 if bar.metre is not None else bar.length, full
        if figure not in figures:
            length = Fraction(bar.length, whole) if bar.metre is None else bar.metre.length
            figures[figure] = _in_parts(texture_for(region, bar.metre, length, full=full), whole)
            strokes[bar.metre] = drums_for(region, bar.metre)
        texture = figures[figure]
        inside = spans[bisect_right(changes, bar.onset) - 1 : bisect_left(changes, stop)]
        last = position == len(grid) - 1
        if last:
            texture = _held(texture, inside, bar.onset)
        softer = overrides.get(texture.name, {})
        bass_gain = gain_factor(softer.get("bass", levels["bass"]) - levels["bass"])
        chord_gain = gain_factor(softer.get("chord", levels["chord"]) - levels["chord"])
        for event in texture.bass:
            for onset, end, what, chord in _pieces(event, bar.onset, stop, inside, "R"):
                pitch = bass_pitch(chord, what, ceiling)
                parts["bass"] += _sounds(pitch, onset, end, event.accent * bass_gain, bar.onset, stop)
        for event in texture.chord:
            for onset, end, what, chord in _pieces(event, bar.onset, stop, inside, ""):
                voices = chord_pitches(chord, what, ceiling)
                parts["chords"] += _sounds(voices, onset, end, event.accent * chord_gain, bar.onset, stop)
                break
        for event in texture.drone:
            for onset, end, _, chord in _pieces(event, bar.onset, stop, inside, "O"):
                parts["drone"] += _sounds(drone_pitches(chord, ceiling), onset, end, event.accent, bar.onset, stop)
        if full and not last:
            parts["drums"] += _strokes(strokes[bar.metre], bar, position, whole)
    return parts


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
    for note in notes:
        position = bisect_right(onsets, note.onset) - 1
        while position < len(grid) and grid[position].onset < note.onset + note.length:
            ceilings[position] = min(ceilings[position], note.pitch - 1)
            position += 1
    return ceilings


def _held(texture: Texture, spans: Sequence[ChordSpan], start: int) -> Texture:
    """The last bar: each chord struck once and held."""
    if not texture.bass:
        return texture
    bass, chord = [], []
    for span in spans:
        onset = max(0, span.onset - start)
        length = span.end - start - onset
        bass.append(Event(onset, length, "R", 0.9))
        chord.append(Event(onset, length, "T", 0.7))
    # A nation that doubles the melody has a drone in place of chords.
    return texture._replace(bass=tuple(bass), chord=() if texture.drone else tuple(chord))


def _pieces(
    event: Event, start: int, stop: int, spans: Sequence[ChordSpan], restruck: str
) -> Iterator[tuple[int, int, str, Chord]]:
    """(onset, end, what, chord) of an event, cut where the chord changes and at the end of its bar.

    Behind a change comes `restruck`. A fifth that would open a chord becomes its root.
    """
    onset, end = start + event.onset, min(start + event.onset + event.length, stop)
    first = True
    for span in spans:
        piece_onset, piece_end = max(onset, span.onset), min(end, span.end)
        if piece_onset < piece_end:
            opening = event.what == "5" and span.onset == piece_onset and span is not spans[0]
            what = (("R" if opening else event.what) if first else restruck) or event.what
            yield piece_onset, piece_end, what, span.chord
            first = False


def _sounds(
    pitches: Iterable[int], onset: int, end: int, accent: float, earliest: int, latest: int
) -> list[Sound]:
    return [Sound(onset, end, pitch, accent, earliest, latest) for pitch in pitches]


def _strokes(drums: Drums, bar: GridBar, position: int, whole: int) -> list[Sound]:
    if position % drums.every_bars or not bar.whole:
        return []
    stop = bar.onset + bar.length
    sounds = []
    for hit in drums.hits:
        onset = bar.onset + in_parts(hit.onset, whole)
        sounds.append(Sound(onset, min(onset + whole // 8, stop), hit.key, hit.accent, bar.onset, stop))
    return sounds


def _doubling(bars: Sequence[PlayedBar], notes: Sequence[SoundingNote]) -> list[Sound]:
    """The melody an octave lower from the second section on, where it is a single line."""
    start = next((bar.onset for bar in bars if bar.section > 0), None)
    if start is None:
        return []
    single: list[Sound] = []
    for position, note in enumerate(notes):
        end = note.onset + note.length
        alone = position + 1 == len(notes) or notes[position + 1].onset >= end
        alone = alone and (position == 0 or notes[position - 1].onset + notes[position - 1].length <= note.onset)
        if note.onset >= start and alone and note.pitch >= 24:
            single.append(Sound(note.onset, end, note.pitch - 12, note.accent, note.onset, end))
    return single


# ------------------------------------------------------------------ from sounds to tracks


def _humanised(
    sounds: Iterable[Sound], track: str, seed: int, quarter: int, whole: int
) -> tuple[TimedNote, ...]:
    """Notes in ticks, each moved a little in time and loudness by a hash of its own place and pitch."""
    swing = HUMANISE_SECONDS * TICKS_PER_QUARTER * 1_000_000 / quarter  # in ticks
    tick = whole // TICKS_PER_WHOLE  # a whole number of parts, and even (`score.PARTS`)
    half = tick // 2
    found: dict[tuple[int, int], TimedNote] = {}
    for exact_onset, exact_end, pitch, accent, earliest, latest in sounds:
        onset = (exact_onset + half) // tick
        duration = max(1, (exact_end + half) // tick - onset)
        digest = hashlib.blake2b(f"{seed} {track} {onset} {pitch}".encode(), digest_size=8).digest()
        late, loud = HALVES.unpack(digest)
        moved = max((earliest + half) // tick, onset + round((late / 0xFFFFFFFF * 2 - 1) * swing))
        end = min(moved + duration, (latest + half) // tick)
        if moved >= end:  # too short to be moved
            moved, end = onset, onset + duration
        louder = 1 + HUMANISE_VELOCITY * (loud / 0xFFFFFFFF * 2 - 1)
        velocity = min(127, max(1, round(VELOCITY * accent * louder)))
        found[moved, pitch] = TimedNote(moved, end - moved, pitch, velocity)
    return _without_overlap([found[place] for place in sorted(found)])


def _without_overlap(notes: Sequence[TimedNote]) -> tuple[TimedNote, ...]:
    """The notes of one track, each cut where its own pitch is struck again."""
    kept: list[TimedNote] = []
    latest: dict[int, int] = {}
    for note in notes:
        before = latest.get(note.pitch)
        if before is not None and kept[before].end_ticks > note.onset_ticks:
            kept[before] = kept[before]._replace(duration_ticks=note.onset_ticks - kept[before].onset_ticks)
        latest[note.pitch] = len(kept)
        kept.append(note)
    return tuple(kept)


def _drum_track(notes: tuple[TimedNote, ...], grid: Sequence[GridBar], region: Region, pan: int) -> Track:
    overrides = patterns()["level_db_overrides"].get(f"nation {region.name}", {})
    level = overrides.get("drums", patterns()["level_db_below_melody"]["drums"])
    keys = [note.pitch for note in notes]
    program = next((drums.program for drums in (drums_for(region, bar.metre) for bar in grid) if drums.hits), None)
    if program is not None:
        return Track("drums", program, notes, volume=volume(program, keys, level), pan=pan)
    return Track("drums", 0, notes, is_drum=True, volume=drum_volume(keys, level), pan=pan)


def _slowing(quarter: int, grid: Sequence[GridBar], whole: int) -> tuple[TempoChange, ...]:
    """The tempo map: steady, and slower in four steps over the last bar and a half."""
    tempi = [TempoChange(0, quarter)]
    if len(grid) >= SHORTEST_WITH_RITARDANDO and grid[-1].metre is not None:
        length = RITARDANDO_BARS * grid[-1].metre.length
        start = Fraction(grid[-1].onset + grid[-1].length, whole) - length
        for step, factor in enumerate(RITARDANDO):
            tick = to_ticks(start + length * step / len(RITARDANDO))
            if tick > tempi[-1].tick:
                tempi.append(TempoChange(tick, round(quarter / factor)))
    return tuple(tempi)
