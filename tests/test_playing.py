"""Playing in real time, on a clock and a port of our own: nobody sleeps here."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import mido
import pytest

from hoyomusic import playing
from hoyomusic.arrangement import arrange
from hoyomusic.errors import HoyoError, MissingPartError, PlayError
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.playing import (
    ALL_NOTES_OFF,
    BREATH_SECONDS,
    Passage,
    Piece,
    assign_channels,
    list_ports,
    make_ahead,
    open_port,
    play,
    play_band,
    play_melody,
)
from hoyomusic.request import Request
from hoyomusic.score import perform
from hoyomusic.vocab import Vocabulary
from tests.test_generator import HashRuntime


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds


class Tape:
    """A port that writes down what it is sent, and when."""

    name = "a tape"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.heard: list[tuple[float, mido.Message]] = []
        self.closed = False

    def send(self, message: mido.Message) -> None:
        self.heard.append((self.clock.time - 1000, message))

    def close(self) -> None:
        self.closed = True

    def notes(self, channel: int) -> list[tuple[float, int, int]]:
        """(second, pitch, velocity) of what begins (or, with velocity 0, ends) on a channel."""
        return [
            (second, message.note, message.velocity)
            for second, message in self.heard
            if message.type in ("note_on", "note_off") and message.channel == channel
        ]

    def is_silent(self) -> bool:
        """Whether every note that began has ended, and all channels that were used were told so."""
        begun = [(message.channel, message.note) for _, message in self.heard if message.type == "note_on"]
        ended = [(message.channel, message.note) for _, message in self.heard if message.type == "note_off"]
        told = {message.channel for _, message in self.heard if message.is_cc(ALL_NOTES_OFF)}
        return sorted(begun) == sorted(ended) and told == {message.channel for _, message in self.heard}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tape(clock: Clock) -> Tape:
    return Tape(clock)


@pytest.fixture(scope="module")
def generator() -> HoyoMusicGenerator:
    vocabulary, learned = Vocabulary.build(), {"learned": ["Mondstadt"]}
    return HoyoMusicGenerator(
        HashRuntime(len(vocabulary)), vocabulary, identity="0", provenance=learned, path=Path("fake.pth")
    )


def check_alike(heard: list[tuple[float, int, int]], expected: list[tuple[float, int, int]]) -> None:
    """That these are the same notes, at the same seconds but for the dust of floating point."""
    heard, expected = (sorted(notes, key=lambda note: (note[1], note[2], note[0])) for notes in (heard, expected))
    assert [note[1:] for note in heard] == [note[1:] for note in expected]
    assert [note[0] for note in heard] == pytest.approx([note[0] for note in expected], abs=1e-6)


def run(passages: Iterator[Passage] | list[Passage], clock: Clock, tape: Tape) -> list[Piece]:
    pieces: list[Piece] = []
    play(passages, tape, on_piece=pieces.append, now=clock.now, sleep=clock.sleep)
    return pieces


def note(kind: str, pitch: int, channel: int = 0) -> mido.Message:
    return mido.Message(kind, note=pitch, channel=channel, velocity=70)


def test_the_band_plays_each_note_at_its_second(generator: HoyoMusicGenerator, clock: Clock, tape: Tape) -> None:
    made = list(generator.compose(Request("Mondstadt", seed=3, bars=8, count=2)))
    pieces = run(play_band(made), clock, tape)
    assert [(piece.index, piece.title) for piece in pieces] == [(tune.index, tune.tune.header.title) for tune in made]
    assert tape.is_silent()
    expected: dict[int, list[tuple[float, int, int]]] = {}
    start = 0.0
    for tune in made:
        score = arrange(tune.tune, tune.region, seed=tune.seed)
        start += BREATH_SECONDS if tune.index else 0
        ends = [score.end_tick]
        for track, channel in zip(score.tracks, assign_channels(score.tracks), strict=True):
            for each in track.notes:
                expected.setdefault(channel, []).extend(
                    [
                        (start + score.seconds(each.onset_ticks), each.pitch, each.velocity),
                        (start + score.seconds(each.end_ticks), each.pitch, 0),
                    ]
                )
                ends.append(each.end_ticks)
            now = [message for second, message in tape.heard if abs(second - start) < 1e-6]
            assert mido.Message("program_change", channel=channel, program=track.program) in now
            assert mido.Message("control_change", channel=channel, control=7, value=track.volume) in now
        start += score.seconds(max(ends))
    assert set(expected) > {0}
    for channel, notes in expected.items():
        check_alike(tape.notes(channel), notes)
    assert clock.time - 1000 == pytest.approx(start)


def test_drums_play_on_their_channel(generator: HoyoMusicGenerator) -> None:
    (made,) = generator.compose(Request("Mondstadt", seed=1, bars=16, form="AABB", metre="4/4"))
    tracks = arrange(made.tune, made.region).tracks
    drums = [channel for track, channel in zip(tracks, assign_channels(tracks), strict=True) if track.is_drum]
    others = [channel for track, channel in zip(tracks, assign_channels(tracks), strict=True) if not track.is_drum]
    assert drums == [9]
    assert others == list(range(len(others)))


@pytest.mark.parametrize("tempo", [None, 60])
def test_the_melody_is_the_stream_in_time(
    generator: HoyoMusicGenerator, clock: Clock, tape: Tape, tempo: int | None
) -> None:
    request = Request("Mondstadt", seed=3, bars=8, count=3, tempo=tempo)
    made = list(generator.compose(request))
    pieces = run(play_melody(generator.stream(request), made[0].region, request.seed), clock, tape)
    assert [piece.title for piece in pieces] == [each.tune.header.title for each in made]
    assert [piece.tempo for piece in pieces] == [each.tune.header.tempo.bpm for each in made]
    expected, start = [], 0.0
    for tune in made:
        score = perform(tune.tune, region=tune.region)
        start += BREATH_SECONDS if tune.index else 0
        for each in score.melody.notes:
            expected.append((start + score.seconds(each.onset_ticks), each.pitch, each.velocity))
            expected.append((start + score.seconds(each.end_ticks), each.pitch, 0))
        start += score.seconds(score.end_tick)
    check_alike(tape.notes(0), expected)
    assert clock.time - 1000 == pytest.approx(start)
    assert tape.is_silent()
    programs = [message.program for _, message in tape.heard if message.type == "program_change"]
    assert programs == [made[0].region.programs[0]] * 3


def test_no_note_is_left_sounding_when_it_is_interrupted(clock: Clock, tape: Tape) -> None:
    chord = [(0.0, note("note_on", pitch, channel)) for channel, pitch in ((0, 60), (0, 64), (9, 36))]
    passage = Passage((*chord, (1.0, note("note_off", 60)), (5.0, note("note_off", 64))), 6.0)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.time > 1003:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play([passage], tape, on_piece=print, now=clock.now, sleep=sleep)
    assert tape.is_silent()
    assert len(tape.notes(0)) == 4


def test_what_was_held_up_moves_on_and_does_not_rush(clock: Clock, tape: Tape) -> None:
    passage = Passage(tuple((float(second), note("note_on", 60 + second)) for second in range(6)), 6.0)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds + (100 if clock.time == 1002 else 0))

    play([passage, passage], tape, on_piece=print, now=clock.now, sleep=sleep)
    seconds = [second for second, message in tape.heard if message.type == "note_on"]
    assert seconds == [0, 1, 2, *range(103, 112)]


def test_a_little_late_is_made_up_for(clock: Clock, tape: Tape) -> None:
    passage = Passage(tuple((float(second), note("note_on", 60 + second)) for second in range(4)), 4.0)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds + (0.125 if clock.time == 1001 else 0))

    play([passage], tape, on_piece=print, now=clock.now, sleep=sleep)
    assert [second for second, message in tape.heard if message.type == "note_on"] == [0, 1, 2.125, 3]


def test_a_port_that_goes_away_is_told_in_one_line(clock: Clock, tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(message: mido.Message) -> None:
        if clock.time > 1000:
            raise OSError("MidiOutAlsa::sendMessage: error sending MIDI message")
        tape.heard.append((0.0, message))

    monkeypatch.setattr(tape, "send", fail)
    passage = Passage(((0.0, note("note_on", 60)), (1.0, note("note_off", 60))), 2.0)
    with pytest.raises(PlayError, match="^a tape: the port can no longer be reached$"):
        run([passage], clock, tape)
    assert len(tape.heard) == 1


def test_nothing_to_play_is_no_error(clock: Clock, tape: Tape) -> None:
    assert run([], clock, tape) == []
    assert tape.heard == []


def test_items_are_made_ahead_in_order_and_no_further() -> None:
    made: list[int] = []
    asked = threading.Semaphore(0)

    def source() -> Iterator[int]:
        for number in itertools.count():
            made.append(number)
            asked.release()
            yield number

    ahead = make_ahead(source(), 3)
    taken = [next(ahead) for _ in range(10)]
    for _ in range(12):
        assert asked.acquire(timeout=10)
    ahead.close()
    assert taken == list(range(10))
    assert 12 <= len(made) <= 13
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hoyo-make-ahead")]


def test_all_items_come_and_an_error_comes_in_its_place() -> None:
    assert list(make_ahead(iter(range(20)), 4)) == list(range(20))

    def source() -> Iterator[int]:
        yield 1
        raise PlayError("no more")

    ahead = make_ahead(source(), 4)
    assert next(ahead) == 1
    with pytest.raises(PlayError, match="no more"):
        next(ahead)


# ------------------------------------------------------------------ ports


@pytest.fixture
def with_ports(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``with_ports("a", "b")``: these are the ports of the system; opening one gives its name."""

    def install(*names: str) -> None:
        monkeypatch.setattr(mido, "get_output_names", lambda: list(names))
        monkeypatch.setattr(mido, "open_output", lambda name: f"opened {name}")

    return install


def test_which_port_is_opened(with_ports: Callable[..., None]) -> None:
    with_ports("Midi Through:Midi Through Port-0 14:0", "FLUID Synth (77):Synth input port 128:0", "Piano")
    assert len(list_ports()) == 3
    assert open_port() == "opened FLUID Synth (77):Synth input port 128:0"
    assert open_port("piano") == open_port("Piano") == "opened Piano"
    assert open_port("through") == "opened Midi Through:Midi Through Port-0 14:0"
    with_ports("Midi Through:Midi Through Port-0 14:0")
    assert open_port() == "opened Midi Through:Midi Through Port-0 14:0"


def raising(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("names", "opening", "kind", "message"),
    [
        (list, None, PlayError, "there is no MIDI port to play to; start a synthesizer that listens to MIDI, or write"),
        (
            raising(OSError("MidiOutAlsa::initialize")), None, PlayError,
            "this system has no MIDI to play to; start a synthesizer that listens to MIDI, or write",
        ),
        (
            raising(ModuleNotFoundError("No module named 'rtmidi'")), None, MissingPartError,
            "playing to a MIDI port needs python-rtmidi; run: pip install 'hoyomusic[play]'",
        ),
        (lambda: ["Oboe", "Harp"], None, PlayError, "--port: there is no MIDI port 'organ'; choose one of Oboe, Harp"),
        (
            lambda: ["Organ"], raising(OSError("busy")), PlayError,
            "Organ: the port cannot be opened; close what else uses it",
        ),
    ],
)  # fmt: skip
def test_ports_that_cannot_be_had(
    names: Callable[[], list[str]],
    opening: Callable[[str], None] | None,
    kind: type[HoyoError],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mido, "get_output_names", names)
    monkeypatch.setattr(mido, "open_output", opening)
    with pytest.raises(kind) as caught:
        open_port("organ")
    assert str(caught.value).startswith(message)


def test_what_the_system_writes_about_midi_is_hushed(capfd: pytest.CaptureFixture[str]) -> None:
    with playing._hushed():
        os.write(2, b"ALSA lib seq_hw.c: open /dev/snd/seq failed\n")
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"
