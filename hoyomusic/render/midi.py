"""A score as a standard MIDI file (type 1, 480 ticks a crotchet), assembled event by event.

The bytes are those of the Standard MIDI File 1.0 specification: a header, a track of what holds for all (title,
tempi, metres, keys, where the music comes from), and a track for each part. Every track ends at the same tick,
which leaves instruments two seconds to fade. The score keeps ticks as the file does, so nothing is rounded.
"""

from __future__ import annotations

import struct
from itertools import chain

import numpy as np

from hoyomusic.score import TICKS_PER_QUARTER, Score, Track
from hoyomusic.text import printable
from hoyomusic.tune import Key, Metre

TAIL_SECONDS = 2
# Texts have no declared encoding in a MIDI file; UTF-8 is what today's programs write.
CHARSET = "utf-8"
LONGEST_TEXT = 2000

# Events: the first byte of those of a channel, and the type of those that only a file has.
NOTE_ON, CONTROL_CHANGE, PROGRAM_CHANGE = 0x90, 0xB0, 0xC0
TEXT, TRACK_NAME, END_OF_TRACK, TEMPO, TIME_SIGNATURE, KEY_SIGNATURE = 0x01, 0x03, 0x2F, 0x51, 0x58, 0x59
VOLUME_CONTROL, PAN_CONTROL = 7, 10
DRUM_CHANNEL = 9
CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
# MIDI clocks a click of the metronome, and demisemiquavers a crotchet: what every file says.
METRE_CLOCKS = bytes((24, 8))

# A note's start or end as one number: tick, pitch, velocity.
TICK_BITS, PITCH_BITS = 14, 7

# The groups of a number of variable length, the lowest last: by how much each is shifted, and what is set in it.
GROUP_SHIFTS = np.arange(56, -1, -7)
GROUP_FLAGS = np.where(GROUP_SHIFTS, 0x80, 0)


def to_bytes(score: Score) -> bytes:
    """The MIDI file; the same score gives the same bytes."""
    parts = [_note_table(track) for track in score.tracks]
    last = max([score.end_tick, *(int((notes[0] + notes[1]).max()) for notes in parts if notes.size)])
    tail = round(TAIL_SECONDS * 1_000_000 / score.tempi[-1].microseconds_per_quarter * TICKS_PER_QUARTER)
    goal = max([last, *(change.tick for change in (*score.tempi, *score.metres, *score.keys))]) + tail
    tracks = [_conductor(score, goal)]
    tracks += [
        _part(track, notes, CHANNELS[number % len(CHANNELS)], goal)
        for number, (track, notes) in enumerate(zip(score.tracks, parts, strict=True))
    ]
    header = struct.pack(">4sLHHH", b"MThd", 6, 1, len(tracks), TICKS_PER_QUARTER)
    return header + b"".join(struct.pack(">4sL", b"MTrk", len(track)) + track for track in tracks)


def _conductor(score: Score, goal: int) -> bytes:
    """The first track: what holds for all parts. Events of one tick stand in the order in which they are named here."""
    events: list[tuple[int, bytes]] = []
    if score.title:
        events.append((0, _meta(TRACK_NAME, printable(score.title).encode(CHARSET))))
    events += [
        (change.tick, _meta(TEMPO, change.microseconds_per_quarter.to_bytes(3, "big"))) for change in score.tempi
    ]
    metres = [(change.tick, change.metre) for change in score.metres]
    if not metres or metres[0][0]:
        metres.insert(0, (0, Metre(4, 4)))
    events += [
        (tick, _meta(TIME_SIGNATURE, bytes((metre.beats, metre.unit.bit_length() - 1)) + METRE_CLOCKS))
        for tick, metre in metres
    ]
    events += [
        (change.tick, _meta(KEY_SIGNATURE, struct.pack(">bB", *key_signature(change.key)))) for change in score.keys
    ]
    if score.provenance:
        events.append((0, _meta(TEXT, printable(score.provenance, LONGEST_TEXT).encode(CHARSET))))
    events.sort(key=lambda event: event[0])
    events.append((goal, _meta(END_OF_TRACK)))
    ticks = [0, *(tick for tick, _ in events)]
    return b"".join(
        variable_length(tick - before) + event for before, (tick, event) in zip(ticks, events, strict=False)
    )


def _note_table(track: Track) -> np.ndarray:
    """Onset, duration, pitch and velocity (4, N) of a track's notes."""
    return np.fromiter(chain.from_iterable(track.notes), np.int64, 4 * len(track.notes)).reshape(-1, 4).T


def _part(track: Track, notes: np.ndarray, channel: int, goal: int) -> bytes:
    """One part's track. Of events of one tick ends come before starts of the same pitch, lower pitches first."""
    if track.is_drum:
        channel = DRUM_CHANNEL
    setting = bytes(
        (
            *(0, PROGRAM_CHANGE | channel, track.program),
            *(0, CONTROL_CHANGE | channel, VOLUME_CONTROL, track.volume),
            *(0, PAN_CONTROL, track.pan),
        )
    )
    events, last = _note_events(notes, NOTE_ON | channel)
    name = b"\0" + _meta(TRACK_NAME, track.name.encode(CHARSET)) if track.name else b""
    return name + setting + events + variable_length(goal - last) + _meta(END_OF_TRACK)


def _note_events(notes: np.ndarray, status: int) -> tuple[bytes, int]:
    """The events of a table of notes, each with its delta time, pitch and velocity (0: the end); and the last's tick.

    The status byte stands once, behind the first delta time: all later events run on under it.
    """
    if not notes.size:
        return b"", 0
    onset, duration, pitch, velocity = notes
    places = onset << TICK_BITS | pitch << PITCH_BITS
    moments = np.sort(np.concatenate((places | velocity, places + (duration << TICK_BITS))))
    ticks = moments >> TICK_BITS
    deltas = ticks.copy()
    deltas[1:] -= ticks[:-1]
    # As `variable_length`, for all events at once: a row each, where groups above the highest are not written.
    groups = len(variable_length(int(deltas.max())))
    remaining = deltas[:, None] >> GROUP_SHIFTS[-groups:]
    rows = np.empty((len(moments), groups + 2), np.uint8)
    rows[:, :groups] = remaining & 0x7F | GROUP_FLAGS[-groups:]
    rows[:, groups] = moments >> PITCH_BITS & 0x7F
    rows[:, groups + 1] = moments & 0x7F
    written = np.ones(rows.shape, bool)
    written[:, : groups - 1] = remaining[:, :-1] > 0
    events = rows[written].tobytes()
    first = len(variable_length(int(ticks[0])))
    return events[:first] + bytes((status,)) + events[first:], int(ticks[-1])


def _meta(kind: int, data: bytes = b"") -> bytes:
    return bytes((0xFF, kind)) + variable_length(len(data)) + data


def variable_length(number: int) -> bytes:
    """A number in groups of seven bits, the highest first; all but the last have their top bit set.

    >>> variable_length(0x40).hex(), variable_length(0x2000).hex(), variable_length(0x0FFFFFFF).hex()
    ('40', 'c000', 'ffffff7f')
    """
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))


def key_signature(key: Key) -> tuple[int, int]:
    """Sharps (flats below 0) and 1 for minor, else 0; other modes by their signature, at most five flats or six sharps.

    >>> key_signature(Key("A", 0, "minor")), key_signature(Key("D", 0, "dorian")), key_signature(Key("C", -1))
    ((0, 1), (0, 0), (5, 0))
    """
    return (key.fifths + 5) % 12 - 5, int(key.mode == "minor")
