"""A score as a standard MIDI file (type 1, 480 ticks a crotchet), assembled event by event.

The bytes are those of the Standard MIDI File 1.0 specification: a header, a track of what holds for all (title,
tempi, metres, keys, where the music comes from), and a track for each part. Every track ends at the same tick,
which leaves instruments two seconds to fade. The score keeps ticks as the file does, so nothing is rounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache

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


def to_bytes(score: Score) -> bytes:
    """The MIDI file; the same score gives the same bytes."""
    last = max([score.end_tick, *(note.end_ticks for track in score.tracks for note in track.notes)])
    tail = round(TAIL_SECONDS * 1_000_000 / score.tempi[-1].microseconds_per_quarter * TICKS_PER_QUARTER)
    goal = max([last, *(change.tick for change in (*score.tempi, *score.metres, *score.keys))]) + tail
    tracks = [_conductor(score, goal)]
    tracks += [_part(track, CHANNELS[number % len(CHANNELS)], goal) for number, track in enumerate(score.tracks)]
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


def _part(track: Track, channel: int, goal: int) -> bytes:
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
    starts = [onset << TICK_BITS | pitch << PITCH_BITS | velocity for onset, _, pitch, velocity in track.notes]
    ends = [onset + duration << TICK_BITS | pitch << PITCH_BITS for onset, duration, pitch, _ in track.notes]
    moments = sorted(starts + ends)
    notes = b"".join(_note_events(moments))
    if notes:  # the status byte stands once, behind the first delta time; all later events run on under it
        first = len(variable_length(moments[0] >> TICK_BITS))
        notes = notes[:first] + bytes((NOTE_ON | channel,)) + notes[first:]
    last = moments[-1] >> TICK_BITS if moments else 0
    name = b"\0" + _meta(TRACK_NAME, track.name.encode(CHARSET)) if track.name else b""
    return name + setting + notes + variable_length(goal - last) + _meta(END_OF_TRACK)


def _note_events(moments: Iterable[int]) -> Iterable[bytes]:
    """Delta time, pitch and velocity (0: the end) of notes' starts and ends, told in order as one number each."""
    before = 0
    for moment in moments:
        yield _note_event(moment - before)
        before = moment >> TICK_BITS << TICK_BITS


@lru_cache(maxsize=8192)
def _note_event(moment: int) -> bytes:
    return variable_length(moment >> TICK_BITS) + bytes((moment >> PITCH_BITS & 0x7F, moment & 0x7F))


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
