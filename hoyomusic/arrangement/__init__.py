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
from typing import NamedTuple

from hoyomusic.arrangement.levels import drum_volume, gain_factor, volume
from hoyomusic.arrangement.texture import Drums, Event, Texture, drums_for, patterns, style_of, texture_for
from hoyomusic.arrangement.voicing import bass_pitch, chord_pitches, drone_pitches
from hoyomusic.harmony import Chord, ChordSpan, harmonise
from hoyomusic.regions import Region
from hoyomusic.score import (
    TICKS_PER_QUARTER,
    VELOCITY,
    GridBar,
    PlayedBar,
    Score,
    SoundingNote,
    TempoChange,
    TimedNote,
    Track,
    bar_grid,
    perform,
    played_bars,
    sounding_notes,
    to_ticks,
    to_timed,
)
from hoyomusic.tune import Tune

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
    """An accompanying note before it is humanised: whole notes, MIDI pitch, factor on velocity.

    It may not begin before `earliest` nor end behind `latest`.
    """

    onset: Fraction
    end: Fraction
    pitch: int
    accent: float
    earliest: Fraction
    latest: Fraction


def arrange(tune: Tune, region: Region, *, seed: int = 0, tempo: float | None = None) -> Score:
    """The tune as `score.perform` plays it, with the accompaniment of a nation.

    The first track is ``melody``, with the pitches, ticks and velocities of `perform`; then as the
    nation has them ``chords``, ``bass``, ``drone``, ``doubling`` and ``drums``. The same arguments give
    the same score. Raises what `perform` raises.
    """
    score = perform(tune, tempo=tempo, region=region)
    bars = [bar for bar in played_bars(tune) if bar.length]
    grid = bar_grid(bars)
    notes = sounding_notes(tune, bars)
    style = style_of(region.name)
    parts = _play(grid, bars, notes, harmonise(tune, bars, region), region)
    if style.doubling:
        parts["doubling"] = _doubling(bars, notes)

    levels, pan = patterns()["level_db_below_melody"], patterns()["pan"]
    programs = {"chords": style.chord, "bass": style.bass, "drone": style.drone, "doubling": style.chord}
    roles = {"chords": "chord", "doubling": "second melody"}
    quarter = score.tempi[0].microseconds_per_quarter
    pitches = [note.pitch for note in score.melody.notes]
    instrument = next(program for program in region.programs if program != style.chord)
    tracks = [replace(score.melody, program=instrument, volume=volume(instrument, pitches), pan=pan["melody"])]
    for name, sounds in parts.items():
        timed = _humanised(sounds, name, seed, quarter)
        if timed and name == "drums":
            tracks.append(_drum_track(timed, grid, region, pan["drums"]))
        elif timed:
            program, role = programs[name], roles.get(name, name)
            level = volume(program, [note.pitch for note in timed], levels[role])
            tracks.append(Track(name, program, timed, volume=level, pan=pan[role]))
    return replace(score, tracks=tuple(tracks), tempi=_slowing(quarter, grid))


# ------------------------------------------------------------------ playing the figures


def _play(
    grid: Sequence[GridBar],
    bars: Sequence[PlayedBar],
    notes: Sequence[SoundingNote],
    spans: Sequence[ChordSpan],
    region: Region,
) -> dict[str, list[Sound]]:
    """What each accompanying track plays, bar by bar."""
    parts: dict[str, list[Sound]] = {"chords": [], "bass": [], "drone": [], "drums": []}
    ceilings = _ceilings(grid, notes)
    onsets = [bar.onset for bar in bars]
    changes = [span.onset for span in spans]
    overrides = patterns()["level_db_overrides"]
    levels = patterns()["level_db_below_melody"]
    for position, (bar, ceiling) in enumerate(zip(grid, ceilings, strict=True)):
        if position == 0 and not bar.whole and len(grid) > 1:
            continue  # the band comes in on the first whole bar
        stop = bar.onset + bar.length
        full = bars[bisect_right(onsets, bar.onset) - 1].section > 0
        length = bar.length if bar.metre is None else bar.metre.length
        texture = texture_for(region, bar.metre, length, full=full)
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
            for onset, end, what, chord in list(_pieces(event, bar.onset, stop, inside, ""))[:1]:
                voices = chord_pitches(chord, what, ceiling)
                parts["chords"] += _sounds(voices, onset, end, event.accent * chord_gain, bar.onset, stop)
        for event in texture.drone:
            for onset, end, _, chord in _pieces(event, bar.onset, stop, inside, "O"):
                parts["drone"] += _sounds(drone_pitches(chord, ceiling), onset, end, event.accent, bar.onset, stop)
        if full and not last:
            parts["drums"] += _strokes(drums_for(region, bar.metre), bar, position)
    return parts


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


def _held(texture: Texture, spans: Sequence[ChordSpan], start: Fraction) -> Texture:
    """The last bar: each chord struck once and held."""
    if not texture.bass:
        return texture
    bass, chord = [], []
    for span in spans:
        onset = max(Fraction(0), span.onset - start)
        length = span.end - start - onset
        bass.append(Event(onset, length, "R", 0.9))
        chord.append(Event(onset, length, "T", 0.7))
    # A nation that doubles the melody has a drone in place of chords.
    return texture._replace(bass=tuple(bass), chord=() if texture.drone else tuple(chord))


def _pieces(
    event: Event, start: Fraction, stop: Fraction, spans: Sequence[ChordSpan], restruck: str
) -> Iterator[tuple[Fraction, Fraction, str, Chord]]:
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
    pitches: Iterable[int], onset: Fraction, end: Fraction, accent: float, earliest: Fraction, latest: Fraction
) -> list[Sound]:
    return [Sound(onset, end, pitch, accent, earliest, latest) for pitch in pitches]


def _strokes(drums: Drums, bar: GridBar, position: int) -> list[Sound]:
    if position % drums.every_bars or not bar.whole:
        return []
    stop = bar.onset + bar.length
    return [
        Sound(
            bar.onset + hit.onset,
            min(bar.onset + hit.onset + Fraction(1, 8), stop),
            hit.key,
            hit.accent,
            bar.onset,
            stop,
        )
        for hit in drums.hits
    ]


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


def _humanised(sounds: Iterable[Sound], track: str, seed: int, quarter: int) -> tuple[TimedNote, ...]:
    """Notes in ticks, each moved a little in time and loudness by a hash of its own place and pitch."""
    swing = HUMANISE_SECONDS * TICKS_PER_QUARTER * 1_000_000 / quarter  # in ticks
    found: dict[tuple[int, int], TimedNote] = {}
    for sound in sounds:
        onset, duration, pitch, _ = to_timed(sound.onset, sound.end - sound.onset, sound.pitch, 1)
        digest = hashlib.blake2b(f"{seed} {track} {onset} {pitch}".encode(), digest_size=8).digest()
        late, loud = (int.from_bytes(half) / 0xFFFFFFFF * 2 - 1 for half in (digest[:4], digest[4:]))
        moved = max(to_ticks(sound.earliest), onset + round(late * swing))
        end = min(moved + duration, to_ticks(sound.latest))
        if moved >= end:  # too short to be moved
            moved, end = onset, onset + duration
        velocity = min(127, max(1, round(VELOCITY * sound.accent * (1 + HUMANISE_VELOCITY * loud))))
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


def _slowing(quarter: int, grid: Sequence[GridBar]) -> tuple[TempoChange, ...]:
    """The tempo map: steady, and slower in four steps over the last bar and a half."""
    tempi = [TempoChange(0, quarter)]
    if len(grid) >= SHORTEST_WITH_RITARDANDO and grid[-1].metre is not None:
        length = RITARDANDO_BARS * grid[-1].metre.length
        start = grid[-1].onset + grid[-1].length - length
        for step, factor in enumerate(RITARDANDO):
            tick = to_ticks(start + length * step / len(RITARDANDO))
            if tick > tempi[-1].tick:
                tempi.append(TempoChange(tick, round(quarter / factor)))
    return tuple(tempi)
