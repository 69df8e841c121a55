"""A score as a MIDI file (type 1, 480 ticks a crotchet) through pretty_midi.

pretty_midi keeps seconds, the score keeps ticks: the object gets the score's whole tempo map, so that
each second it holds falls on the tick it came from. What it cannot say is added with mido: the title,
and an end of track that leaves instruments two seconds to fade.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from hoyomusic.score import TICKS_PER_QUARTER, Score, Track
from hoyomusic.text import printable
from hoyomusic.tune import Key

if TYPE_CHECKING:
    from pretty_midi import Instrument, PrettyMIDI

TAIL_SECONDS = 2
VOLUME_CONTROL, PAN_CONTROL = 7, 10
# Texts have no declared encoding in a MIDI file; UTF-8 is what today's programs write.
CHARSET = "utf-8"
LONGEST_TEXT = 2000


def to_bytes(score: Score) -> bytes:
    """The MIDI file; the same score gives the same bytes."""
    import mido

    raw = io.BytesIO()
    to_pretty_midi(score).write(raw)
    raw.seek(0)
    file = mido.MidiFile(file=raw, charset=CHARSET)
    if score.title:
        file.tracks[0].insert(0, mido.MetaMessage("track_name", name=printable(score.title), time=0))
    tail = round(TAIL_SECONDS * 1_000_000 / score.tempi[-1].microseconds_per_quarter * TICKS_PER_QUARTER)
    ends = [sum(message.time for message in track[:-1]) for track in file.tracks]
    goal = max(score.end_tick, *ends) + tail
    for track, end in zip(file.tracks, ends, strict=True):
        track[-1].time = goal - end
    result = io.BytesIO()
    file.save(file=result)
    return result.getvalue()


def to_pretty_midi(score: Score) -> PrettyMIDI:
    """The score as a `pretty_midi.PrettyMIDI` object, one instrument a track."""
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(resolution=TICKS_PER_QUARTER, charset=CHARSET)
    # pretty_midi has no public call for a tempo map. It rounds a tempo down to whole microseconds when
    # it writes: a quarter of one is added, so that the dust of floating point cannot take one away.
    midi._tick_scales = [
        (change.tick, (change.microseconds_per_quarter + 0.25) / 1_000_000 / TICKS_PER_QUARTER)
        for change in score.tempi
    ]
    midi._update_tick_to_time(
        max([score.end_tick, *(note.end_ticks for track in score.tracks for note in track.notes)])
    )
    midi.time_signature_changes = [
        pretty_midi.TimeSignature(change.metre.beats, change.metre.unit, midi.tick_to_time(change.tick))
        for change in score.metres
    ]
    midi.key_signature_changes = [
        pretty_midi.KeySignature(key_number(change.key), midi.tick_to_time(change.tick)) for change in score.keys
    ]
    if score.provenance:
        midi.text_events.append(pretty_midi.Text(printable(score.provenance, LONGEST_TEXT), 0.0))
    midi.instruments = [_instrument(midi, track) for track in score.tracks]
    return midi


def _instrument(midi: PrettyMIDI, track: Track) -> Instrument:
    import pretty_midi

    instrument = pretty_midi.Instrument(track.program, track.is_drum, track.name)
    instrument.control_changes = [
        pretty_midi.ControlChange(VOLUME_CONTROL, track.volume, 0.0),
        pretty_midi.ControlChange(PAN_CONTROL, track.pan, 0.0),
    ]
    instrument.notes = [
        pretty_midi.Note(
            note.velocity, note.pitch, midi.tick_to_time(note.onset_ticks), midi.tick_to_time(note.end_ticks)
        )
        for note in track.notes
    ]
    return instrument


def key_number(key: Key) -> int:
    """The key as pretty_midi counts it: 0-11 major, 12-23 minor; other modes by their signature.

    >>> key_number(Key("A", 0, "minor")), key_number(Key("D", 0, "dorian"))
    (21, 0)
    """
    major = 7 * key.fifths % 12
    return 12 + (major + 9) % 12 if key.mode == "minor" else major
