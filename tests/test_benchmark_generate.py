"""The benchmark of generation: turns, the equality of batches, and growth; no time is asserted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import generate
from benchmarks.generate import measure_batch, measure_generation_growth, take_turns
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.request import Request
from hoyomusic.vocab import Vocabulary
from tests.test_generator import HashRuntime


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> HoyoMusicGenerator:
    vocabulary = Vocabulary.build()
    found = HoyoMusicGenerator(
        HashRuntime(len(vocabulary)), vocabulary, identity="0", provenance={"learned": []}, path=Path("fake.pth")
    )
    monkeypatch.setattr(HoyoMusicGenerator, "load", lambda model: found)
    return found


def test_turns_are_taken_in_turn_and_medians_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []
    monkeypatch.setattr("time.process_time", lambda: clock[0])

    def make(name: str, seconds: list[float], tokens: int) -> Callable[[], int]:
        left = iter(seconds)

        def turn() -> int:
            order.append(name)
            clock[0] += next(left)
            return tokens

        return turn

    turns = {"a": make("a", [9, 1, 2, 30], 10), "b": make("b", [9, 4, 5, 6], 100)}
    assert take_turns(turns, rounds=3) == pytest.approx({"a": 2e5, "b": 5e4})
    assert order == ["a", "b"] * 4


def test_a_batch_is_measured_and_each_of_its_tunes_made_alone(generator: HoyoMusicGenerator) -> None:
    request = Request("Teyvat", bars=4, count=3, seed=1)
    assert measure_batch(generator, request, lambda: 1, rounds=1).keys() == {"batch", "against"}


def test_a_tune_that_hangs_on_its_batch_is_found(
    generator: HoyoMusicGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request("Teyvat", bars=4, count=3, seed=1)
    compose = generator.compose
    other = Request("Teyvat", bars=4, count=3, seed=2)
    monkeypatch.setattr(
        generator, "compose", lambda asked, indices=None: compose(other if indices == range(1, 2) else asked, indices)
    )
    with pytest.raises(AssertionError, match="tune 1 hangs on its batch"):
        measure_batch(generator, request, lambda: 1, rounds=1)


def test_growth_tells_each_length(generator: HoyoMusicGenerator) -> None:
    found = list(measure_generation_growth((100, 1000)))
    assert [tokens > 900 for tokens, _, _ in found] == [True, True]
    assert all(0 < composing < all_in for _, composing, all_in in found)


def test_what_the_machine_allows_is_measured() -> None:
    assert generate.read_once(10_000)() == 20
    assert generate.multiply_integers(1024 * 2048)() == 5 * generate.PRODUCT_ROWS
