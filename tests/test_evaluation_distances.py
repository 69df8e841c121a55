"""Distances: bounds and symmetry, known values, and that chance stays beside them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.evaluation.distances import Distance, beside_chance, measure_divergence, measure_shift, shuffle

histograms = st.dictionaries(st.integers(0, 5), st.integers(1, 20), min_size=1).map(Counter)
samples = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=12)


@given(histograms, histograms)
@settings(deadline=None, max_examples=100)
def test_divergence_is_symmetric_and_between_none_and_all(one: Counter, other: Counter) -> None:
    found = measure_divergence(one, other)
    assert found == pytest.approx(measure_divergence(other, one), abs=1e-12)
    assert -1e-12 <= found <= 1 + 1e-12
    trebled = Counter({kind: 3 * count for kind, count in one.items()})
    assert measure_divergence(one, trebled) == pytest.approx(0, abs=1e-9)


def test_divergence_of_strangers_is_one_bit() -> None:
    assert measure_divergence(Counter("aab"), Counter("cd")) == pytest.approx(1)
    assert measure_divergence(Counter(a=1), Counter(a=1, b=1)) == pytest.approx(0.3112781)
    assert measure_divergence(Counter(), Counter("a")) == 0


@given(samples, st.integers(-5, 5))
@settings(deadline=None, max_examples=100)
def test_a_moved_sample_is_as_far_as_it_was_moved(values: list[float], by: int) -> None:
    assert measure_shift(values, [value + by for value in values]) == pytest.approx(abs(by))


@given(samples, samples)
@settings(deadline=None, max_examples=100)
def test_shift_is_what_it_costs_to_move_equal_parts(one: list[float], other: list[float]) -> None:
    ones, others = (np.sort(np.repeat(values, times)) for values, times in ((one, len(other)), (other, len(one))))
    assert measure_shift(one, other) == pytest.approx(np.abs(ones - others).mean())


def test_no_values_are_nowhere() -> None:
    assert measure_shift([], [1.0]) == measure_shift([1.0], []) == 0


def test_a_shuffle_hangs_on_its_arguments_alone() -> None:
    assert shuffle(50, 1, "a") == shuffle(50, 1, "a")
    assert sorted(shuffle(50, 1, "a")) == list(range(50))
    assert len({tuple(shuffle(50, seed, what)) for seed in (1, 2) for what in "ab"}) == 4


def test_what_is_drawn_from_the_pool_is_as_far_as_chance_and_strangers_farther() -> None:
    pool = [float(value) for value in shuffle(1000, 0, "pool")]
    own = beside_chance(pool[:100], pool[100:], pool, measure_shift, seed=3)
    moved = beside_chance([value + 300 for value in pool[:100]], pool[100:], pool, measure_shift, seed=3)
    assert 0.2 < own.ratio < 3
    assert moved.ratio > 8
    assert own.chance == moved.chance


def test_the_parts_of_the_pool_are_disjoint_and_as_large_as_what_is_compared() -> None:
    seen = []

    def watch(one, other) -> float:
        seen.append((len(one), len(other)))
        assert not set(one) & set(other) or one == ["made"]
        return 1.0

    beside_chance(["made"], ["a"] * 3, list("abcdefgh"), watch, seed=0)
    beside_chance(["made"] * 30, ["a"] * 90, list("abcdefgh"), watch, seed=0)
    beside_chance(["made"] * 30, ["a"], ["a", "b"], watch, seed=0)
    assert set(seen[:9]) == {(1, 3)}
    assert set(seen[9:17]) == {(2, 6)}
    assert set(seen[18:26]) == {(1, 1)}


def test_without_chance_there_is_no_ratio() -> None:
    assert Distance(1.0, 0.0).ratio is None
    assert Distance(3.0, 2.0).ratio == 1.5
