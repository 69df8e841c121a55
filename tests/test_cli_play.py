"""`hoyo play`: what it says and sends, and how it ends."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable

import mido
import pytest

from hoyomusic import playing
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.request import Request
from tests.conftest import Said
from tests.test_playing import Clock, Tape, clock, generator, tape

__all__ = ["clock", "generator", "tape"]

Hoyo = Callable[..., Said]


@pytest.fixture
def play(
    hoyo: Hoyo, generator: HoyoMusicGenerator, clock: Clock, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> Hoyo:
    """`hoyo play` with one port, a tape, on a clock that does not wait."""
    monkeypatch.setattr(mido, "get_output_names", lambda: [tape.name])
    monkeypatch.setattr(mido, "open_output", lambda name: tape)
    monkeypatch.setattr(HoyoMusicGenerator, "load", lambda model: generator)
    monkeypatch.setattr(playing, "play", functools.partial(playing.play, now=clock.now, sleep=clock.sleep))
    monkeypatch.setattr("sys.setswitchinterval", lambda seconds: None)
    return lambda *arguments: hoyo("play", *arguments)


@pytest.mark.parametrize("melody_only", [False, True])
def test_the_tunes_are_those_of_generate(
    play: Hoyo, generator: HoyoMusicGenerator, tape: Tape, melody_only: bool
) -> None:
    wish = ["--region", "Mondstadt", "--bars", 4, "--seed", 7, "--tempo", 90, "--tunes", 2]
    said = play(*wish, *["--melody-only"] * melody_only)
    made = list(generator.compose(Request("Mondstadt", bars=4, seed=7, tempo=90, count=2)))
    assert said.code == 0
    assert said.err == "playing to a tape, seed 7; Ctrl-C ends it\n"
    assert said.lines == [
        f"{each.tune.header.title}: {each.tune.key}, {each.tune.metre}, 90 crotchets a minute" for each in made
    ]
    assert tape.is_silent()
    assert tape.closed
    assert {message.channel for _, message in tape.heard} == {0} if melody_only else {0, 1}


def test_json_tells_each_tune_and_quiet_none(play: Hoyo) -> None:
    said = play("--bars", 4, "--seed", 7, "--tunes", 2, "--json")
    first, second = map(json.loads, said.lines)
    assert first.keys() == {"index", "title", "key", "metre", "tempo", "seed", "region", "model"}
    assert (first["index"], second["index"], first["seed"], first["region"]) == (0, 1, 7, "Teyvat")
    assert play("--bars", 4, "--tunes", 1, "--quiet") == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("option", [[], ["--melody-only"]])
def test_endless_music_ends_in_silence(
    play: Hoyo, clock: Clock, tape: Tape, monkeypatch: pytest.MonkeyPatch, number: int, option: list[str]
) -> None:
    def sleep(seconds: float) -> None:
        Clock.sleep(clock, seconds)
        if clock.time > 1100:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(playing, "play", functools.partial(playing.play, sleep=sleep))
    before = signal.getsignal(signal.SIGTERM)
    said = play("--bars", 4, "--seed", 7, "--quiet", *option)
    assert said == (130, "", "")
    assert tape.is_silent()
    assert tape.closed
    assert signal.getsignal(signal.SIGTERM) == before


def test_ports_are_listed(play: Hoyo) -> None:
    assert play("--list-ports") == (0, "a tape\n", "")
    assert play("--list-ports", "--json") == (0, '{"port": "a tape"}\n', "")


@pytest.mark.parametrize("option", [[], ["--list-ports"]])
def test_without_a_port_there_is_one_line(hoyo: Hoyo, monkeypatch: pytest.MonkeyPatch, option: list[str]) -> None:
    monkeypatch.setattr(mido, "get_output_names", lambda: [])
    said = hoyo("play", "--region", "Mondstadt", *option)
    assert (said.code, said.out) == (1, "")
    assert said.err == (
        "hoyo: there is no MIDI port to play to; start a synthesizer that listens to MIDI,"
        " or write sound: hoyo generate --format wav\n"
    )


def test_without_the_extra_there_is_one_line(hoyo: Hoyo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rtmidi", None)
    monkeypatch.setattr(mido, "get_output_names", mido.Backend("mido.backends.rtmidi").get_output_names)
    monkeypatch.delitem(sys.modules, "mido.backends.rtmidi", raising=False)
    said = hoyo("play")
    assert said == (1, "", "hoyo: playing to a MIDI port needs python-rtmidi; run: pip install 'hoyomusic[play]'\n")


def test_senseless_wishes_are_refused_before_a_port_is_looked_for(hoyo: Hoyo) -> None:
    said = hoyo("play", "--tempo", 1000)
    assert said == (2, "", "hoyo: --tempo: 1000 crotchets a minute; ask for 20 to 400\n")
    assert hoyo("play", "--tunes", 0).code == 2
