"""Music in real time: each message goes to a MIDI port at its moment, while what comes next is made ahead of it."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from hoyomusic.arrangement import arrange
from hoyomusic.errors import MissingPartError, PlayError
from hoyomusic.regions import Region
from hoyomusic.score import MELODY, Track
from hoyomusic.streaming import StreamedBar
from hoyomusic.styling import name_tune
from hoyomusic.text import printable
from hoyomusic.tune import Key, Metre

if TYPE_CHECKING:
    from mido import Message

    from hoyomusic.generator import Composition

# Silence between two tunes.
BREATH_SECONDS = 1.5
# So far ahead of what sounds music is made.
BARS_AHEAD, TUNES_AHEAD = 32, 2
# Who is later than this was held up (a lid that was closed): the rest moves on instead of coming all at once.
HELD_UP_SECONDS = 0.25

DRUM_CHANNEL = 9
MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
VOLUME_CONTROL, PAN_CONTROL, ALL_NOTES_OFF = 7, 10, 123
# The loop-back of ALSA: it is always there, and nothing sounds unless something is connected to it.
LOOP_BACK = "midi through"

Item = TypeVar("Item")


class Port(Protocol):
    """Where messages go; a port of mido is one."""

    name: str

    def send(self, message: Message) -> None:
        """Hand a message over, to be played at once."""

    def close(self) -> None:
        """Let go of it."""


class Piece(NamedTuple):
    """What is told of a tune as it begins: its number, title, key, metre and crotchets a minute."""

    index: int
    title: str
    key: Key
    metre: Metre
    tempo: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of music: messages in order, each with its second since the passage began, and its whole length.

    `piece` is the tune that begins with it, if one does.
    """

    messages: tuple[tuple[float, Message], ...]
    seconds: float
    piece: Piece | None = None


# ------------------------------------------------------------------ from music to passages


def play_band(made: Iterable[Composition]) -> Iterator[Passage]:
    """Each tune as one passage, with the band of its nation; between tunes there is a breath."""
    for composition in made:
        tune, region = composition.tune, composition.region
        score = arrange(tune, region, seed=composition.seed)
        breath = BREATH_SECONDS if composition.index else 0.0
        channels = assign_channels(score.tracks)
        messages = [(breath, message) for track, channel in zip(score.tracks, channels, strict=True)
                    for message in _set_up(track, channel)]  # fmt: skip
        timed: list[tuple[int, int, int, int]] = []  # tick, velocity, channel, pitch: ends come before beginnings
        for track, channel in zip(score.tracks, channels, strict=True):
            for note in track.notes:
                timed.append((note.onset_ticks, note.velocity, channel, note.pitch))
                timed.append((note.end_ticks, 0, channel, note.pitch))
        timed.sort()
        messages += [
            (breath + score.seconds(tick), _note(channel, pitch, velocity)) for tick, velocity, channel, pitch in timed
        ]
        length = breath + score.seconds(max(score.end_tick, timed[-1][0]))
        tempo = round(tune.header.tempo.quarters_per_minute)
        yield Passage(
            tuple(messages), length, Piece(composition.index, tune.header.title, tune.key, tune.metre, tempo)
        )


def play_melody(bars: Iterable[StreamedBar], region: Region, seed: int) -> Iterator[Passage]:
    """Each bar as one passage, on the first instrument of the nation; between tunes there is a breath."""
    for bar in bars:
        begins, start = bar.number == 0, bar.seconds(bar.onset_ticks)
        breath = BREATH_SECONDS if begins and bar.tune else 0.0
        piece, messages = None, []
        if begins:
            tempo = round(60_000_000 / bar.microseconds_per_quarter)
            piece = Piece(bar.tune, name_tune(region, seed, bar.tune), bar.key, bar.metre, tempo)
            track = Track(MELODY, region.programs[0], ())
            messages = [(breath, message) for message in _set_up(track, MELODIC_CHANNELS[0])]
        messages += [
            (breath + bar.seconds(event.tick) - start, _note(MELODIC_CHANNELS[0], event.pitch, event.velocity))
            for event in bar.events
        ]
        yield Passage(tuple(messages), breath + bar.seconds(bar.end_ticks) - start, piece)


def assign_channels(tracks: Sequence[Track]) -> list[int]:
    """A MIDI channel for each track: General MIDI's own for drums, the others in order."""
    melodic = iter(MELODIC_CHANNELS)
    return [DRUM_CHANNEL if track.is_drum else next(melodic) for track in tracks]


def _set_up(track: Track, channel: int) -> list[Message]:
    from mido import Message

    program = Message("program_change", channel=channel, program=track.program)
    return [program, _control(channel, VOLUME_CONTROL, track.volume), _control(channel, PAN_CONTROL, track.pan)]


def _control(channel: int, control: int, value: int) -> Message:
    from mido import Message

    return Message("control_change", channel=channel, control=control, value=value)


def _note(channel: int, pitch: int, velocity: int) -> Message:
    from mido import Message

    kind = "note_on" if velocity else "note_off"
    return Message(kind, channel=channel, note=pitch, velocity=velocity)


# ------------------------------------------------------------------ time


def make_ahead(source: Iterator[Item], ahead: int) -> Iterator[Item]:
    """The items of `source`, made in a thread of its own up to `ahead` before they are asked for.

    The first goes out as soon as it is there. What making one raises is raised where it is asked for. To be closed.
    """
    end = object()
    with ThreadPoolExecutor(1, "hoyo-make-ahead") as thread:
        waiting = deque(thread.submit(next, source, end) for _ in range(ahead))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(next, source, end))
                yield item
        finally:
            for future in waiting:
                future.cancel()


def play(
    passages: Iterable[Passage],
    port: Port,
    *,
    on_piece: Callable[[Piece], None],
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Send passages one behind the other, each message at its second; however it ends, no note is left sounding.

    `on_piece` hears of each tune as it begins. Raises PlayError where the port can no longer be reached.
    """
    sounding: set[tuple[int, int]] = set()
    used: set[int] = set()
    start: float | None = None
    try:
        for passage in passages:
            if start is None:
                start = now()
            if passage.piece is not None:
                on_piece(passage.piece)
            for seconds, message in passage.messages:
                late = now() - (start + seconds)
                if late < 0:
                    sleep(-late)
                    late = now() - (start + seconds)
                if late > HELD_UP_SECONDS:
                    start += late
                used.add(message.channel)
                if message.type == "note_on":
                    sounding.add((message.channel, message.note))
                _send(port, message)
                if message.type == "note_off":
                    sounding.discard((message.channel, message.note))
            start += passage.seconds
        if start is not None and start > now():
            sleep(start - now())
    except PlayError:
        sounding, used = set(), set()  # there is nobody left to tell
        raise
    finally:
        for channel, pitch in sorted(sounding):
            _send(port, _note(channel, pitch, 0))
        for channel in sorted(used):
            _send(port, _control(channel, ALL_NOTES_OFF, 0))


def _send(port: Port, message: Message) -> None:
    try:
        port.send(message)
    except OSError as error:
        raise PlayError("the port can no longer be reached", where=printable(port.name)) from error


# ------------------------------------------------------------------ ports


def list_ports() -> list[str]:
    """The names of all MIDI ports that can be played to.

    Raises MissingPartError where python-rtmidi is not installed and PlayError where there is no port.
    """
    with _reaching():
        import mido

        names = list(mido.get_output_names())
    if not names:
        raise PlayError("there is no MIDI port to play to", remedy=START_ONE)
    return names


def open_port(name: str | None = None) -> Port:
    """The MIDI port of this name, or whose name holds it in any case; with None the first that may sound.

    Raises what `list_ports` raises, and PlayError where there is no port of that name or it is in use.
    """
    names = list_ports()
    if name is None:
        found = next((each for each in names if not each.casefold().startswith(LOOP_BACK)), names[0])
    else:
        alike = [each for each in names if name.casefold() in each.casefold()]
        found = name if name in names else next(iter(alike), None)
        if found is None:
            known = ", ".join(printable(each) for each in names)
            raise PlayError(f"there is no MIDI port {name!r}", where="--port", remedy=f"choose one of {known}")
    with _reaching(printable(found)):
        import mido

        return mido.open_output(found)


START_ONE = "start a synthesizer that listens to MIDI, or write sound: hoyo generate --format wav"


@contextmanager
def _reaching(where: str | None = None) -> Iterator[None]:
    """Within it the ways in which MIDI fails are one line each; what ALSA's library writes to stderr itself is not."""
    try:
        with _hushed():
            yield
    except ImportError as error:
        raise MissingPartError(
            "playing to a MIDI port needs python-rtmidi", remedy="run: pip install 'hoyomusic[play]'"
        ) from error
    except OSError as error:
        if where is None:
            raise PlayError("this system has no MIDI to play to", remedy=START_ONE) from error
        raise PlayError("the port cannot be opened", where=where, remedy="close what else uses it") from error


@contextmanager
def _hushed() -> Iterator[None]:
    """Within it nothing reaches the stderr of the process, not even from C."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


__all__ = [
    "Passage",
    "Piece",
    "Port",
    "assign_channels",
    "list_ports",
    "make_ahead",
    "open_port",
    "play",
    "play_band",
    "play_melody",
]
