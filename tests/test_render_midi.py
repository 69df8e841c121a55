"""MIDI files, read back by three other readers."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import mido
import pretty_midi
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st
from mido.midifiles.meta import encode_variable_int

from hoyomusic.arrangement import arrange
from hoyomusic.regions import REGIONS, find_region
from hoyomusic.render import midi
from hoyomusic.score import TimedNote, Track, perform
from hoyomusic.tune import Bar, Header, Key, Metre, Note, Pitch, Tune

NATIONS = [pytest.param(region, id=region.name) for region in REGIONS]


def note(number: int, length: Fraction = Fraction(1, 8)) -> Note:
    return Note((Pitch.from_midi(number),), length)


TUNE = Tune(
    Key("E", 0, "dorian"),
    Metre(6, 8),
    (
        Bar((note(71),), opens=True),
        *(Bar(tuple(note(76 + step) for step in (0, 3, 7, 5, 3, 2))) for _ in range(7)),
        Bar(tuple(note(76, Fraction(1, 12)) for _ in range(3)) + (note(76, Fraction(3, 8)),), closes=2),
        Bar(tuple(note(74 + step) for step in (0, 2, 4, 5)), metre=Metre(2, 4), key=Key("D")),
        Bar((note(74, Fraction(1, 2)),)),
    ),
    header=Header(title="风 & wind", transcription="HoyoMusic, model 0a1b", notes="seed 5"),
)


@pytest.mark.parametrize("region", NATIONS)
def test_three_readers_find_what_the_score_holds(region):
    score = arrange(TUNE, region, seed=5)
    data = midi.to_bytes(score)
    file = mido.MidiFile(file=io.BytesIO(data), charset="utf-8")
    assert (file.type, file.ticks_per_beat, len(file.tracks)) == (1, 480, len(score.tracks) + 1)
    pretty = pretty_midi.PrettyMIDI(io.BytesIO(data))
    other = symusic.Score.from_midi(data)
    assert [part.name for part in pretty.instruments] == [part.name for part in score.tracks]
    assert pretty.instruments[0].name == "melody"
    for part, read, track in zip(score.tracks, pretty.instruments, file.tracks[1:], strict=True):
        assert (read.program, read.is_drum) == (part.program, part.is_drum)
        channels = {message.channel for message in track if not message.is_meta}
        assert channels == {9} if part.is_drum else 9 not in channels
        controls = {message.control: message.value for message in track if message.type == "control_change"}
        assert controls == {7: part.volume, 10: part.pan}
        again = next(track for track in other.tracks if track.name == part.name)
        assert sorted((each.time, each.duration, each.pitch, each.velocity) for each in again.notes) == sorted(
            part.notes
        )
        assert sorted(
            (pretty.time_to_tick(each.start), pretty.time_to_tick(each.end), each.pitch) for each in read.notes
        ) == sorted((each.onset_ticks, each.end_ticks, each.pitch) for each in part.notes)
    assert [(change.time, change.numerator, change.denominator) for change in other.time_signatures] == [
        (change.tick, change.metre.beats, change.metre.unit) for change in score.metres
    ]


def meta(data: bytes, kind: str) -> list[tuple[int, mido.MetaMessage]]:
    found, time = [], 0
    for message in mido.MidiFile(file=io.BytesIO(data), charset="utf-8").tracks[0]:
        time += message.time
        if message.type == kind:
            found.append((time, message))
    return found


def test_the_tempo_map_is_exact():
    score = arrange(TUNE, find_region("Mondstadt"), tempo=97)
    found = [(time, message.tempo) for time, message in meta(midi.to_bytes(score), "set_tempo")]
    assert found == [tuple(change) for change in score.tempi]
    assert len(found) == 5


def test_title_key_metre_and_provenance_are_written():
    data = midi.to_bytes(perform(TUNE))
    assert [message.name for _, message in meta(data, "track_name")] == ["风 & wind"]
    assert [message.text for _, message in meta(data, "text")] == ["seed 5; HoyoMusic, model 0a1b"]
    # E dorian has the signature of D major; the second section is in D major itself.
    section = 240 + 7 * 1440 + 1200
    assert [(time, message.key) for time, message in meta(data, "key_signature")] == [(0, "D"), (2 * section, "D")]
    metres = [(time, message.numerator, message.denominator) for time, message in meta(data, "time_signature")]
    assert metres == [(0, 1, 8), (240, 6, 8), (2 * section - 1200, 5, 8), (2 * section, 2, 4)]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (Key("C"), "C"), (Key("A", 0, "minor"), "Am"), (Key("B", -1), "Bb"), (Key("F", 1, "minor"), "F#m"),
        (Key("G", 0, "mixolydian"), "C"), (Key("C", 0, "none"), "C"), (Key("C", -1), "B"), (Key("F", 1), "F#"),
        (Key("D", -1, "minor"), "C#m"), (Key("C", 1), "Db"), (Key("E", -1, "minor"), "D#m"),
        (Key("B", -1, "minor"), "Bbm"),
    ],
)  # fmt: skip
def test_keys_are_read_as_they_sound(key, name):
    tune = Tune(key, Metre(4, 4), (Bar((note(60, Fraction(1)),)),))
    assert [(time, message.key) for time, message in meta(midi.to_bytes(perform(tune)), "key_signature")] == [(0, name)]


def test_a_tune_without_bars_is_a_file_too():
    data = midi.to_bytes(perform(Tune(Key("C"), None, ())))
    assert [(time, message.numerator) for time, message in meta(data, "time_signature")] == [(0, 4)]
    assert pretty_midi.PrettyMIDI(io.BytesIO(data)).get_end_time() == 0


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**28 - 1))
def test_numbers_are_told_as_mido_tells_them(number):
    assert list(midi.variable_length(number)) == encode_variable_int(number)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2**21), st.integers(1, 2**15), st.integers(0, 127), st.integers(1, 127))))
def test_notes_are_told_in_order_as_mido_reads_them(notes):
    track = Track("", 0, tuple(TimedNote(*note) for note in notes))
    data = midi.to_bytes(replace(perform(TUNE), tracks=(track,)))
    tick, read = 0, []
    for message in mido.MidiFile(file=io.BytesIO(data)).tracks[1]:
        tick += message.time
        if message.type == "note_on":
            read.append((tick, message.note, message.velocity))
    starts = [(onset, pitch, velocity) for onset, _, pitch, velocity in notes]
    assert read == sorted(starts + [(onset + length, pitch, 0) for onset, length, pitch, _ in notes])


def test_every_track_ends_two_seconds_after_the_music():
    score = arrange(TUNE, find_region("Mondstadt"), tempo=120)
    file = mido.MidiFile(file=io.BytesIO(midi.to_bytes(score)))
    ends = {sum(message.time for message in track) for track in file.tracks}
    assert len(ends) == 1
    tail = ends.pop() - score.end_tick
    assert tail * score.tempi[-1].microseconds_per_quarter / 480 / 1e6 == pytest.approx(2, abs=0.01)


def test_equal_scores_give_equal_bytes():
    score = arrange(TUNE, find_region("Natlan"), seed=3)
    assert midi.to_bytes(score) == midi.to_bytes(replace(score))
    assert midi.to_bytes(score) != midi.to_bytes(arrange(TUNE, find_region("Natlan"), seed=4))


def test_a_repeated_note_ends_before_it_starts_again():
    tune = Tune(Key("C"), Metre(4, 4), (Bar(tuple(note(72, Fraction(1, 4)) for _ in range(4))),))
    file = mido.MidiFile(file=io.BytesIO(midi.to_bytes(perform(tune))))
    sounding = 0
    for message in file.tracks[1]:
        if message.type == "note_on":
            sounding += 1 if message.velocity else -1
            assert sounding in (0, 1)


def test_a_long_slow_tune_keeps_its_last_tick():
    tune = Tune(Key("C"), None, (Bar(tuple(note(60 + index % 12, Fraction(7, 24)) for index in range(3000))),))
    score = perform(tune, tempo=5)
    read = symusic.Score.from_midi(midi.to_bytes(score))
    assert read.tracks[0].notes[-1].time == score.melody.notes[-1].onset_ticks
