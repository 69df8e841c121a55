from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.curves.__main__ import RECIPES
from benchmarks.curves.learners import Material, PeerLearner, Recipe, bucket, make_learner, pack
from benchmarks.curves.points import (
    Point,
    draw_points,
    follow,
    format_points,
    keep_point,
    make_rows,
    read_points,
)
from hoyomusic.recall import SOURCES
from hoyomusic.samples import Sample, Samples

SMALL = {"embedding": 8, "hidden": 128, "layers": 1, "rows": 4, "steps": 8}
KINDS = {
    "ours": Recipe("ours", 1e-2, 0.1, recalls=SOURCES, **SMALL),
    "layer": Recipe("ours", 1e-2, 0.1, norm="layer", **SMALL),
    "plain": Recipe("folk_rnn", 1e-2, 0.1, **SMALL),
    "transformer": Recipe("transformer", 3e-3, 0.1, **SMALL),
}


def make_samples(count: int, seed: int) -> Samples:
    """Sequences that climb through 18 ids from a place of their own: easy to learn."""
    generator = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        length = int(generator.integers(3, 20))
        ids = (generator.integers(18) + np.arange(length)) % 18 + 2
        samples.append(Sample(
            ids.astype(np.uint16), 0, np.zeros(length, np.uint16), np.zeros((length, SOURCES, 2), np.uint16)
        ))
    return Samples.of(samples)


@pytest.fixture(scope="module")
def material() -> Material:
    return Material(make_samples(60, 1), make_samples(9, 2), vocabulary=20, boundary_id=0, notes_per_token=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_under_way_learns(kind: str, material: Material) -> None:
    learner = make_learner(KINDS[kind], material, seed=3)
    fresh = learner.measure()
    while learner.steps < 120:
        before = learner.steps
        learner.learn(learner.spent + 0.1)
        assert learner.steps > before
    # How far a schedule by CPU seconds has come hangs on the machine.
    assert learner.measure() < fresh - 0.2
    assert learner.steps < learner.tokens <= 4 * 8 * learner.steps


@pytest.mark.parametrize("vocabulary", [160, 1086])
def test_networks_compared_are_of_one_size(vocabulary: int, material: Material) -> None:
    larger = material._replace(vocabulary=vocabulary)
    counts = {name: make_learner(recipe, larger, 0).parameters for name, recipe in RECIPES.items()}
    for name, count in counts.items():
        assert abs(count / counts["ours, no recall"] - 1) < 0.02, name


def test_buckets_hold_each_tune_once_an_epoch(material: Material) -> None:
    samples, found, batches = material.training, [], bucket(material.training, tokens=40, seed=5)
    while len(found) < len(samples):
        ids, targets, anew = next(batches)
        assert anew and (ids.numel() <= 40 or len(ids) == 1)
        for row, asked in zip(ids, targets, strict=True):
            width = int((asked != -100).sum())
            assert (asked[width:] == -100).all() and torch.equal(row[1:width], asked[: width - 1])
            found.append((*row[:width].tolist(), int(asked[width - 1])))
    assert sorted(found) == sorted(tuple(sample.ids.tolist()) for sample in samples)


def test_an_epoch_of_buckets_is_drawn_from_the_seed(material: Material) -> None:
    first, again, other = (
        [ids.tolist() for ids, _, _ in islice(bucket(material.training, tokens=40, seed=seed), 5)] for seed in (5, 5, 6)
    )
    assert first == again != other


def test_packed_streams_begin_anew_with_each_epoch(material: Material) -> None:
    total = int(material.training.lengths.sum())
    batches = list(islice(pack(material, rows=4, steps=8, seed=0), 2 * -(-total // 32)))
    assert [anew for _, _, anew in batches].count(True) == 2 and batches[0][2]
    asked = sum(int((targets != -100).sum()) for _, targets, _ in batches)
    assert asked == 2 * (total - len(material.training))


@pytest.mark.parametrize("kind", ["plain", "transformer"])
def test_a_peer_is_measured_tune_by_tune_from_a_fresh_start(kind: str, material: Material) -> None:
    learner = make_learner(KINDS[kind], material, seed=1)
    assert isinstance(learner, PeerLearner)
    learner.learn(0.1)
    model, nats, tokens = learner.model.eval(), 0.0, 0
    for sample in material.validation:
        ids = torch.from_numpy(sample.ids.astype(np.int64))[None]
        with torch.inference_mode():
            found = model(ids[:, :-1])
        logits = found[0] if isinstance(found, tuple) else found
        nats += float(functional.cross_entropy(logits[0], ids[0, 1:], reduction="sum"))
        tokens += ids.shape[1] - 1
    assert learner.measure() == pytest.approx(nats / tokens, rel=1e-5)


def test_all_take_turns_and_leave_a_point_at_each_mark(material: Material, tmp_path: Path) -> None:
    recipes = {name: KINDS[name] for name in ("ours", "plain")}
    points = list(follow(recipes, material, 4, [0.1, 0.3]))
    assert [(point.network, point.seconds) for point in points] == [
        ("ours", 0.1), ("plain", 0.1), ("ours", 0.3), ("plain", 0.3)
    ]
    for before, after in zip(points[:2], points[2:], strict=True):
        assert after.tokens > before.tokens and after.nats_per_note == 2 * after.nats_per_token
    path = tmp_path / "curves.jsonl"
    assert read_points(path) == []
    for point in [*points, points[0]]:
        keep_point(point, path)
    assert read_points(path) == points


def make_point(network: str, seed: int, seconds: float, nats: float) -> Point:
    return Point(network, seed, seconds, 1.25 * seconds, 10, int(1000 * seconds), 7_000_000, 0.003, nats, 2 * nats)


def test_points_are_told_as_a_table() -> None:
    points = [make_point("ours", 0, 100, 2.5), make_point("ours", 0, 200, 2.0), make_point("ours", 1, 200, 2.25)]
    assert format_points([*points, make_point("peer", 0, 200, 3.0)]).splitlines() == [
        "| network | 100 s | 200 s | nats a note | tokens a CPU s | rate | parameters |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| ours | 2.500 | 2.125 (2.000-2.250) | 4.250 | 800 | 0.003 | 7,000,000 |",
        "| peer |  | 3.000 | 6.000 | 800 | 0.003 | 7,000,000 |",
    ]


def test_points_are_drawn_as_the_mean_over_seeds() -> None:
    points = [make_point("ours", 0, 100, 2.5), make_point("ours", 0, 200, 2.0), make_point("ours", 1, 200, 2.25)]
    picture = draw_points([*points, make_point("peer", 0, 200, 3.0)])
    assert [name in picture for name in ("ours: 2.5 at 100", "ours: 2.125 at 200", "peer: 3 at 200")] == [True] * 3
    assert picture.count("<circle") == 3


@pytest.mark.parametrize(("seconds", "met"), [(200.0, [True, False]), (30.0, [None, None])])
def test_points_are_told_as_rows_whose_goals_hold_for_their_time(seconds: float, met: list[bool | None]) -> None:
    points = [make_point("ours", 0, seconds, 2.0), make_point("plain LSTM", 0, seconds, 2.75)]
    rows = make_rows([*points, make_point("GPT-2 style", 0, seconds, 2.25)])
    assert [(row.versus, row.ours, row.met) for row in rows] == [
        ("plain LSTM", 0.75, met[0]), ("GPT-2 style", 0.25, met[1])
    ]


def test_the_recipes_differ_in_what_their_names_say() -> None:
    product = RECIPES["ours"]
    assert RECIPES["ours, no recall"] == replace(product, recalls=0)
    assert RECIPES["LayerNorm"] == replace(product, recalls=0, norm="layer")
