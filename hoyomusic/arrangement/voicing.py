"""Which octaves: chords become pitches that stay below the melody and out of the mud.

All functions take `ceiling`, the highest MIDI pitch that may sound; where there is no room below it
they leave tones out, in the end all of them.
"""

from __future__ import annotations

from functools import lru_cache

from hoyomusic.harmony import Chord

BASS_FLOOR, BASS_TOP = 36, 47
LOWEST_BASS = 24  # where a low melody pushes it
CHORD_FLOOR, CHORD_CENTRE = 38, 57
HIGHEST_PITCH = 127


@lru_cache(maxsize=4096)
def bass_pitch(chord: Chord, what: str, ceiling: int) -> tuple[int, ...]:
    """The bass note (``R``) or the fifth (``5``), upward if it stays by the range of the bass."""
    root = BASS_FLOOR + chord.bass
    while root > ceiling:
        root -= 12
    if root < LOWEST_BASS:
        return ()
    if what == "5":
        fifth = BASS_FLOOR + (chord.root + chord.fifth) % 12
        for pitch in (fifth + 12, fifth, fifth - 12):
            if root < pitch <= min(ceiling, BASS_TOP + 1):
                return (pitch,)
        for pitch in (fifth, fifth - 12):
            if LOWEST_BASS <= pitch <= min(ceiling, root):
                return (pitch,)
    return (root,)


@lru_cache(maxsize=4096)
def chord_pitches(chord: Chord, what: str, ceiling: int) -> tuple[int, ...]:
    """The pitches of a chord instrument for one event (`Event.what`), lowest first."""
    if what == "T":
        return close_position(chord, ceiling)
    return _open_position(chord, what, ceiling, CHORD_FLOOR, CHORD_CENTRE - 7)


@lru_cache(maxsize=4096)
def drone_pitches(chord: Chord, what: str, ceiling: int) -> tuple[int, ...]:
    """What a drone holds of a chord, mostly root, fifth and octave (``O``), in the lowest octave that it has."""
    return _open_position(chord, what, ceiling, LOWEST_BASS, BASS_FLOOR + chord.root)


def close_position(chord: Chord, ceiling: int) -> tuple[int, ...]:
    """All tones within an octave, round the middle of the range; fewer where the melody is too low."""
    for intervals in (chord.intervals, (0, chord.fifth), (0,)):
        positions = _close_positions(chord.root, intervals)
        found = next((pitches for pitches in positions if pitches[-1] <= ceiling), ())
        if found:
            return found
    return ()


@lru_cache(maxsize=512)
def _close_positions(root: int, intervals: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The tones above each of them within an octave, those nearest to the middle of the range first."""
    tones = {(root + interval) % 12 for interval in intervals}
    positions = [
        tuple(pitch for pitch in range(lowest, lowest + 12) if pitch % 12 in tones)
        for lowest in range(CHORD_FLOOR, HIGHEST_PITCH)
        if lowest % 12 in tones
    ]
    return sorted(positions, key=lambda pitches: (abs(sum(pitches) / len(pitches) - CHORD_CENTRE), pitches))


def _open_position(chord: Chord, what: str, ceiling: int, floor: int, centre: int) -> tuple[int, ...]:
    """Root position with open octave; the root as near to `centre` as the ceiling allows."""
    roots = [pitch for pitch in range(floor, ceiling + 1) if pitch % 12 == chord.root]
    roomy = [pitch for pitch in roots if pitch + 12 <= ceiling] or [
        pitch for pitch in roots if pitch + chord.fifth <= ceiling
    ]
    if not (roomy or roots):
        return ()
    root = min(roomy or roots, key=lambda pitch: abs(pitch - centre))
    tenth = 12 + (chord.third if chord.third is not None else chord.fifth)
    voices = [root + interval for interval in (0, chord.fifth, 12, tenth)]
    if what == "O":
        return tuple(sorted({pitch for pitch in voices[:3] if pitch <= ceiling}))
    # A voice without room falls back to the second, in the end to the root.
    wanted = voices[int(what) - 1]
    return (next(pitch for pitch in (wanted, voices[1], root) if pitch <= ceiling),)
