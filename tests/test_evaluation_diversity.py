"""Diversity: the mean distance against all pairs counted one by one; copies lower it, real tunes equal themselves."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import sqrt

import numpy as np
import pytest

from hoyomusic.evaluation.diversity import NOTES, mean_distance, measure_diversity, share_distinct
from hoyomusic.evaluation.melody import Melody, list_patterns


def invent(number: int, notes: int = 40) -> Melody:
    generator = np.random.Generator(np.random.Philox(key=number))
    lengths = (Fraction(1, 8), Fraction(1, 4))
    return [(int(generator.integers(60, 80)), lengths[int(generator.integers(2))]) for _ in range(notes)]


def distance(one: Melody, other: Melody) -> float:
    counts = [Counter(list_patterns(melody).tolist()) for melody in (one, other)]
    roots = [{kind: sqrt(count) for kind, count in each.items()} for each in counts]
    norms = [sqrt(sum(root * root for root in each.values())) for each in roots]
    return 1 - sum(roots[0][kind] * roots[1].get(kind, 0) for kind in roots[0]) / (norms[0] * norms[1])


def test_mean_distance_is_that_of_all_pairs() -> None:
    melodies = [invent(number, 12) for number in range(6)]
    plain = [distance(one, other) for one, other in combinations(melodies, 2)]
    assert mean_distance(melodies) == pytest.approx(np.mean(plain))
    assert mean_distance([melodies[0]] * 3) == pytest.approx(0)


def test_distinct_runs() -> None:
    assert share_distinct([invent(1)]) == 1
    assert share_distinct([invent(1), invent(1)]) == 0.5


def test_real_tunes_are_as_various_as_real_tunes() -> None:
    real = [invent(number) for number in range(60)]
    found = measure_diversity("Liyue", real[:30], real, seed=1)
    assert (found.nation, found.tunes) == ("Liyue", 30)
    assert found.ratios == pytest.approx((1, 1), abs=0.05)
    assert measure_diversity("Liyue", real[:30], real, seed=1) == found


def test_a_generator_that_has_collapsed_is_seen() -> None:
    real = [invent(number) for number in range(60)]
    found = measure_diversity("Liyue", [invent(number % 3) for number in range(30)], real, seed=1)
    assert max(found.ratios) < 0.8


def test_short_tunes_are_passed_over() -> None:
    real = [invent(number) for number in range(10)]
    short = [invent(number, NOTES - 1) for number in range(10)]
    assert measure_diversity("Liyue", real[:1] + short, real, seed=1) is None
    assert measure_diversity("Liyue", real[:4] + short, real, seed=1).tunes == 4
