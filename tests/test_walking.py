"""Walking: in C from bar to bar the same tunes are made as step by step in Python."""

from __future__ import annotations

import ctypes

import pytest

from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.grammar import notes
from hoyomusic.native import find_library
from hoyomusic.request import Request
from hoyomusic.sampling import SamplingConfig

pytestmark = pytest.mark.skipif(find_library() is None, reason="the library was not compiled, or cannot run here")

REQUESTS = {
    "plain": Request("Mondstadt", seed=1, count=20),
    "few bars": Request("Liyue", bars=3, seed=2, count=9),
    "a length": Request("Fontaine", length=150, seed=3, count=5),
    "a long one": Request("Sumeru", length=2500, seed=4),
    "a form": Request("Snezhnaya", bars=24, form="AABB", seed=5, count=3),
    "a form that returns": Request("Mondstadt", bars=24, form="AABA", seed=5, count=2),
    "a metre": Request("Natlan", metre="7/8", bars=12, seed=6, count=3),
    "hot": Request("Inazuma", seed=7, count=4, sampling=SamplingConfig(temperature=1.5)),
    "cut": Request("Mondstadt", seed=2**62, count=4, sampling=SamplingConfig(0.9, top_k=20, top_p=0.9)),
    "likeliest": Request("Teyvat", seed=1, bars=8, sampling=SamplingConfig(temperature=0)),
    "unlike itself": Request("Teyvat", seed=1, bars=8, sampling=SamplingConfig(repetition=2.0)),
    "guided": Request("Liyue", seed=1, bars=8, guidance=1.5),
    "the best of three": Request("Liyue", seed=1, bars=8, candidates=3),
}


@pytest.fixture(scope="module")
def generator() -> HoyoMusicGenerator:
    return HoyoMusicGenerator.load("default", precision="int8")


@pytest.mark.parametrize("name", REQUESTS)
def test_the_tunes_are_those_made_step_by_step(
    name: str, generator: HoyoMusicGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = list(generator.compose(REQUESTS[name]))
    monkeypatch.setattr(HoyoMusicGenerator, "_may_walk", lambda self, voices, request: False)
    assert walked == list(generator.compose(REQUESTS[name]))


def test_who_may_walk_does(generator: HoyoMusicGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a step was made in Python")

    monkeypatch.setattr(HoyoMusicGenerator, "_steps", fail)
    assert len(list(generator.compose(Request("Mondstadt", seed=1, count=3)))) == 3


def test_places_may_be_forgotten_on_the_way(generator: HoyoMusicGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(generator.compose(REQUESTS["plain"]))
    monkeypatch.setattr(notes, "MOST_KEPT", 300)
    assert list(generator.compose(REQUESTS["plain"])) == expected
    assert list(generator.compose(REQUESTS["plain"])) == expected


def test_two_streams_may_take_turns(generator: HoyoMusicGenerator) -> None:
    requests = [Request("Mondstadt", seed=1, bars=8), Request("Liyue", seed=2, bars=8)]
    alone = [list(generator.stream(request)) for request in requests]
    streams = [generator.stream(request) for request in requests]
    by_turns = [next(streams[number % 2], None) for number in range(2 * max(map(len, alone)))]
    for number in range(2):
        assert [bar for bar in by_turns[number::2] if bar is not None] == alone[number]


def test_logits_that_are_not_finite_are_refused() -> None:
    generator = HoyoMusicGenerator.load("default", precision="int8")
    bias = (ctypes.c_float * len(generator.vocabulary)).from_address(generator.runtime._model.output_bias)
    bias[:] = [float("nan")] * len(bias)
    with pytest.raises(ValueError, match="^row 0: the logits are not finite$"):
        list(generator.compose(Request("Mondstadt", seed=1)))
