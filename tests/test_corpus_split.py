"""The split keeps clusters whole, judges every nation, and depends on the tunes alone."""

import hashlib
import random

import pytest

from hoyomusic.corpus.split import TRAIN, VALIDATION, choose_split


def make(seed, count=2000):
    chance = random.Random(seed)
    clusters = [chance.randrange(count * 2 // 3) for _ in range(count)]
    # One tune in fifty has another nation than its cluster.
    homes = [chance.choice([0, 0, 0, 0, 1, 1, 2, 3, 3, 3]) for _ in range(count)]
    regions = [chance.randrange(4) if chance.random() < 0.02 else homes[cluster] for cluster in clusters]
    digests = [hashlib.sha256(f"{seed}:{index}".encode()).hexdigest() for index in range(count)]
    return clusters, regions, digests


@pytest.mark.parametrize("seed", range(4))
def test_clusters_stay_whole_and_each_nation_is_judged(seed):
    clusters, regions, digests = make(seed)
    split = choose_split(clusters, regions, digests)
    sides = {}
    for cluster, side in zip(clusters, split, strict=True):
        assert sides.setdefault(cluster, side) == side
    for region in set(regions):
        share = [side for name, side in zip(regions, split, strict=True) if name == region].count(VALIDATION)
        assert share / regions.count(region) == pytest.approx(0.05, abs=0.02)


def test_order_and_cluster_numbers_do_not_matter():
    clusters, regions, digests = make(9)
    before = dict(zip(digests, choose_split(clusters, regions, digests), strict=True))
    order = list(range(len(clusters)))
    random.Random(1).shuffle(order)
    renamed = [10_000 - clusters[index] for index in order]
    after = choose_split(renamed, [regions[index] for index in order], [digests[index] for index in order])
    assert dict(zip((digests[index] for index in order), after, strict=True)) == before


def test_few_tunes():
    assert choose_split([0], [1], ["a"]) == [TRAIN]
    assert choose_split([0, 0], [1, 1], ["a", "b"]) == [TRAIN, TRAIN]
    assert sorted(choose_split([0, 1], [1, 1], ["a", "b"])) == [TRAIN, VALIDATION]
    # The large cluster teaches, the single tune judges.
    assert choose_split([0, 0, 0, 1], [1] * 4, ["a", "b", "c", "d"]) == [TRAIN, TRAIN, TRAIN, VALIDATION]
    assert choose_split([], [], []) == []


def test_one_tune_a_nation_still_leaves_a_judge():
    split = choose_split([0, 1, 2, 3], ["a", "b", "c", "d"], ["w", "x", "y", "z"])
    assert sorted(split) == [TRAIN, TRAIN, TRAIN, VALIDATION]
