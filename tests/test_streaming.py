"""Bars as they are made: the same notes as those of the whole tune, and no id asked for too early."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import abc
from hoyomusic.errors import UsageError
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.grammar import Grammar, Phase, Wish
from hoyomusic.regions import REGIONS, TEYVAT
from hoyomusic.request import Request
from hoyomusic.score import TimedNote, perform
from hoyomusic.streaming import StreamedBar, stream_bars
from hoyomusic.tune import Metre, Tune
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import BAR_ENDS, Kind
from tests.test_generator import HashRuntime

VOCABULARIES = {layout: Vocabulary.build(layout) for layout in ("fused", "sticky", "split")}
# What makes forms and ties: without help a draw among hundreds of notes would seldom find it.
FAVOURED = (Kind.TIE, Kind.OPEN, Kind.ENDING, Kind.UPBEAT, Kind.DOUBLE, Kind.CLOSE, Kind.BAR)
WISHES = [
    Wish(bars=1, metre=Metre(3, 8)),
    Wish(bars=9),
    Wish(bars=9, form="through", metre=Metre(3, 8)),
    Wish(bars=17, form="through", metre=Metre(3, 8)),
    Wish(bars=12, form="AABB"),
    Wish(bars=12, form="AABA"),
    Wish(length=150),
    Wish(bars=16, changes=True),
]


def draw_ids(vocabulary: Vocabulary, wish: Wish, seed: int) -> list[int]:
    """The ids of a tune that nobody would write, but that the grammar allows."""
    generator = np.random.Generator(np.random.Philox(seed))
    grammar = Grammar(vocabulary, wish)
    state, ids = grammar.start(), []
    while state.phase is not Phase.DONE:
        allowed = grammar.allowed(state)
        weights = np.array([20.0 if vocabulary.tokens[index].kind in FAVOURED else 1.0 for index in allowed])
        ids.append(int(generator.choice(allowed, p=weights / weights.sum())))
        grammar.advance(state, ids[-1])
    return ids


def in_order(bars: list[StreamedBar]) -> tuple[TimedNote, ...]:
    return tuple(sorted((note for bar in bars for note in bar.notes), key=lambda note: (note.onset_ticks, note.pitch)))


def check_same(bars: list[StreamedBar], tune: Tune, region: object = TEYVAT) -> None:
    """That bars are `tune` as it is performed: notes, time, keys, metres, and events that say the same."""
    score = perform(tune, region=region)
    assert in_order(bars) == score.melody.notes
    assert bars[0].onset_ticks == 0
    assert bars[-1].end_ticks == score.end_tick
    assert bars[-1].seconds(score.end_tick) == pytest.approx(score.seconds(score.end_tick), abs=1e-9)
    assert {change.key for change in score.keys} == {bar.key for bar in bars}
    sounding: dict[int, tuple[int, int]] = {}
    heard, latest = [], 0
    for number, bar in enumerate(bars):
        assert bar.number == number
        for tick, pitch, velocity in bar.events:
            assert bar.onset_ticks <= tick <= bar.end_ticks
            assert tick >= latest
            latest = tick
            if velocity:
                assert pitch not in sounding
                sounding[pitch] = (tick, velocity)
            else:
                onset, began = sounding.pop(pitch)
                heard.append(TimedNote(onset, tick - onset, pitch, began))
        assert number + 1 == len(bars) or bar.end_ticks == bars[number + 1].onset_ticks
    assert not sounding
    assert tuple(sorted(heard)) == tuple(sorted(score.melody.notes))


@given(st.sampled_from(sorted(VOCABULARIES)), st.sampled_from(WISHES), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_bars_that_come_one_by_one_are_the_whole_tune(layout: str, wish: Wish, seed: int) -> None:
    vocabulary = VOCABULARIES[layout]
    ids = draw_ids(vocabulary, wish, seed)
    check_same(list(stream_bars(iter(ids), vocabulary, TEYVAT)), vocabulary.decode(ids))


@pytest.mark.parametrize(
    "music",
    [
        "M:2/4\nL:1/4\nK:D\n|:D-|D-D|1 E-E:|2 F-F|]",
        "M:2/4\nL:1/4\nK:D\n|:DE|F G-|1 GA|B c:|2 GB|]",
        "M:6/8\nL:1/8\nK:G\nD|:GAB dBG|cBA G2:|",
        "M:2/4\nL:1/4\nK:C\n[CEG]-[CEG]|c-c|[CE]-[CEG]|C2|]",
    ],
)
def test_ties_endings_and_chords(music: str) -> None:
    vocabulary = VOCABULARIES["fused"]
    (tune,) = abc.parse(f"X:1\n{music}\n")
    check_same(list(stream_bars(vocabulary.encode(tune), vocabulary, TEYVAT)), tune)


def test_a_bar_comes_out_with_its_last_id_and_a_repeat_without_any() -> None:
    vocabulary = VOCABULARIES["fused"]
    (tune,) = abc.parse("X:1\nM:2/4\nL:1/4\nK:D\n|:DE|FG:|\nGA|B2|]\n")
    ids = vocabulary.encode(tune)
    asked: list[int] = []

    def ask() -> Iterator[int]:
        for index in ids:
            asked.append(index)
            yield index

    ends = [place + 1 for place, index in enumerate(ids) if vocabulary.tokens[index].kind in BAR_ENDS]
    after = [len(asked) for _ in stream_bars(ask(), vocabulary, TEYVAT)]
    assert after == [ends[0], ends[1], ends[1], ends[1], ends[2], ends[3]]


class CountingRuntime(HashRuntime):
    """Counts its steps."""

    steps = 0

    def step(self, *arguments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.steps += 1
        return super().step(*arguments)


@pytest.fixture
def generator() -> HoyoMusicGenerator:
    vocabulary, learned = VOCABULARIES["fused"], {"learned": ["Mondstadt"]}
    runtime = CountingRuntime(len(vocabulary))
    return HoyoMusicGenerator(runtime, vocabulary, identity="0", provenance=learned, path=Path("x"))


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.name)
def test_a_stream_is_what_compose_makes(generator: HoyoMusicGenerator, region: object) -> None:
    request = Request(region.name, seed=4, count=3, length=120, tempo=77 if region.label % 2 else None)
    bars = list(generator.stream(request))
    for made in generator.compose(request):
        check_same([bar for bar in bars if bar.tune == made.index], made.tune, region)
    assert [tune for tune, _ in itertools.groupby(bar.tune for bar in bars)] == [0, 1, 2]


def test_a_stream_of_chosen_tunes_is_what_compose_makes(generator: HoyoMusicGenerator) -> None:
    request = Request("Mondstadt", seed=4, count=2, bars=8, candidates=3)
    bars = list(generator.stream(request))
    for made in generator.compose(request):
        check_same([bar for bar in bars if bar.tune == made.index], made.tune, made.region)


def test_a_stream_goes_on_from_a_prime(generator: HoyoMusicGenerator) -> None:
    (prime,) = abc.parse("X:1\nM:6/8\nL:1/8\nK:G\nD|GAB dBG|cBA G2\n")
    request = Request("Mondstadt", seed=4, bars=8, prime=prime)
    (made,) = generator.compose(request)
    check_same(list(generator.stream(request)), made.tune, made.region)


def test_the_first_bar_costs_the_steps_to_its_bar_line(generator: HoyoMusicGenerator) -> None:
    request = Request("Mondstadt", seed=2, bars=16)
    first = next(generator.stream(request))
    (made,) = generator.compose(request)
    ids = generator.vocabulary.encode(made.tune)
    ends = [place for place, index in enumerate(ids) if generator.vocabulary.tokens[index].kind in BAR_ENDS]
    whole = len(ids) - 1  # nothing is stepped behind the last id
    counted, generator.runtime.steps = generator.runtime.steps - whole, 0
    assert first.events[0].velocity
    assert counted == ends[0]


def test_an_endless_stream_makes_tune_after_tune(generator: HoyoMusicGenerator) -> None:
    request = Request("Liyue", seed=1, bars=4)
    stream = generator.stream(request, endless=True)
    bars = list(itertools.takewhile(lambda bar: bar.tune < 40, stream))
    made = list(generator.compose(Request("Liyue", seed=1, bars=4, count=40)))
    assert [bars[-1].tune, made[-1].index] == [39, 39]
    check_same([bar for bar in bars if bar.tune == 39], made[39].tune, made[39].region)


def test_tunes_can_be_composed_by_their_numbers(generator: HoyoMusicGenerator) -> None:
    request = Request("Liyue", seed=1, bars=4, count=9)
    assert list(generator.compose(request, range(5, 8))) == list(generator.compose(request))[5:8]


def test_an_impossible_tempo_is_refused() -> None:
    vocabulary = VOCABULARIES["fused"]
    with pytest.raises(UsageError, match="5 to 1000 crotchets"):
        next(stream_bars(draw_ids(vocabulary, Wish(bars=4), 1), vocabulary, TEYVAT, tempo=2))
