"""Packed streams: every target once, in the drawn order, cut where the contract says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.errors import TrainingError
from hoyomusic.streams import Sample, pack, whole

BOUNDARY = 9


def make_sample(number: int, length: int, region: int = 1) -> Sample:
    """A sample whose ids tell it from all others: 100 * number, and up; beside each id its double is recalled."""
    ids = np.arange(length, dtype=np.uint16) + 100 * number + 100
    recall = np.stack((ids * 2, ids % 7), axis=1)[:, None]
    return Sample(ids, region, np.arange(length, dtype=np.uint16) + 1000, recall)


samples_of = st.lists(st.integers(2, 40), min_size=1, max_size=12).map(
    lambda lengths: [make_sample(number, length) for number, length in enumerate(lengths)]
)


def line_of(streams) -> dict[str, np.ndarray]:
    """All segments joined again and the rows laid end to end."""
    batches = [streams[segment] for segment in range(len(streams))]
    joined = [np.concatenate(parts, axis=1) for parts in zip(*batches, strict=True)]
    joined = [part.reshape(-1, *part.shape[2:]) for part in joined]
    return dict(zip(batches[0]._fields, joined, strict=True))


@settings(deadline=None, max_examples=60)
@given(samples_of, st.integers(1, 7), st.integers(1, 20), st.integers(0, 3))
def test_every_sample_stands_whole_in_the_line_once(samples, rows, steps, epoch):
    streams = pack(samples, rows=rows, steps=steps, seed=3, epoch=epoch, boundary_id=BOUNDARY)
    line = line_of(streams)
    total = sum(len(sample.ids) for sample in samples)
    position, met = 0, []
    while position < total:
        number = (line["ids"][position] - 100) // 100
        sample = samples[number]
        met.append(number)
        end = position + len(sample.ids) - 1
        assert line["ids"][position:end].tolist() == sample.ids[:-1].tolist()
        assert line["targets"][position:end].tolist() == sample.ids[1:].tolist()
        assert line["clock"][position:end].tolist() == sample.clock[:-1].tolist()
        assert line["recall"][position:end].tolist() == sample.recall[:-1].tolist()
        assert (line["region"][position:end] == 1).all()
        assert line["valid"][position:end].all() and not line["reset"][position:end].any()
        assert line["ids"][end] == BOUNDARY and line["reset"][end] and not line["valid"][end]
        position = end + 1
    assert sorted(met) == list(range(len(samples)))
    # Only the last cut pads: fewer positions than there are rows.
    assert len(line["ids"]) - total < rows
    assert line["reset"][total:].all() and not line["valid"][total:].any()
    assert streams.tokens == total - len(samples)
    widths = [streams[segment].ids.shape[1] for segment in range(len(streams))]
    assert max(widths) <= steps and max(widths) - min(widths) <= 1
    assert len(widths) == -(-sum(widths) // steps)


def lay_out(samples, *, rows, steps, seed, epoch, boundary_id, region_dropout) -> list[dict[str, np.ndarray]]:
    """The plain way to the batches: the whole line is laid out in memory, then cut. The oracle of `pack`."""

    def draw(use: int) -> np.ndarray:
        return np.random.Philox(np.random.SeedSequence((seed, epoch, use))).random_raw(len(samples))

    dropped = (draw(1) >> np.uint64(11)) / 2**53 < region_dropout
    parts = {name: [] for name in ("ids", "targets", "region", "clock", "recall", "valid")}
    for index in np.argsort(draw(0), kind="stable"):
        sample = samples[index]
        count = len(sample.ids)
        parts["ids"] += [*sample.ids[:-1], boundary_id]
        parts["targets"] += [*sample.ids[1:], boundary_id]
        parts["region"] += [0 if dropped[index] else sample.region] * count
        parts["clock"] += list(sample.clock)
        parts["recall"] += list(sample.recall)
        parts["valid"] += [True] * (count - 1) + [False]
    length = -(-len(parts["ids"]) // rows)
    rest = {"ids": boundary_id, "targets": boundary_id, "recall": np.zeros_like(sample.recall[0]), "valid": False}
    line = {}
    for name, values in parts.items():
        values += [rest.get(name, 0)] * (rows * length - len(values))
        line[name] = np.array(values).reshape(rows, length, *np.shape(values[0]))
    line["reset"] = ~line["valid"]
    segments = -(-length // steps)
    edges = [length * segment // segments for segment in range(segments + 1)]
    cuts = [slice(*pair) for pair in zip(edges, edges[1:], strict=False)]
    return [{name: part[:, cut] for name, part in line.items()} for cut in cuts]


@settings(deadline=None, max_examples=60)
@given(samples_of, st.integers(1, 7), st.integers(1, 20), st.integers(0, 3), st.sampled_from([0.0, 0.4]))
def test_segments_read_one_by_one_are_those_of_a_line_laid_out(samples, rows, steps, epoch, dropout):
    wish = {"rows": rows, "steps": steps, "seed": 5, "epoch": epoch, "boundary_id": BOUNDARY, "region_dropout": dropout}
    expected, streams = lay_out(samples, **wish), pack(samples, **wish)
    assert len(streams) == len(expected)
    for segment in reversed(range(len(streams))):
        found = streams[segment]._asdict()
        assert found.keys() == expected[segment].keys()
        for name, part in found.items():
            np.testing.assert_array_equal(part, expected[segment][name])


def test_segments_are_had_in_any_order():
    samples = [make_sample(number, 20) for number in range(8)]
    streams = pack(samples, rows=3, steps=7, seed=1, epoch=0)
    again = pack(samples, rows=3, steps=7, seed=1, epoch=0)
    last = len(streams) - 1
    assert all(map(np.array_equal, streams[last], again[last]))
    for segment in (-1, last + 1):
        with pytest.raises(IndexError):
            streams[segment]


def test_the_order_is_a_function_of_seed_and_epoch():
    samples = [make_sample(number, 5) for number in range(50)]

    def ids(seed: int, epoch: int) -> list[int]:
        return line_of(pack(samples, rows=2, steps=10, seed=seed, epoch=epoch))["ids"].tolist()

    assert ids(1, 0) == ids(1, 0)
    assert len({tuple(ids(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


def test_the_order_is_the_same_for_ever():
    """Golden: another order would make every resumed run another run."""
    samples = [make_sample(number, 2) for number in range(8)]
    line = line_of(pack(samples, rows=1, steps=16, seed=7, epoch=2))["ids"]
    assert ((line[line != 0] - 100) // 100).tolist() == [0, 3, 5, 1, 4, 2, 6, 7]


def test_a_share_of_the_regions_is_dropped_by_sample_whatever_the_packing():
    samples = [make_sample(number, 3, region=1 + number % 7) for number in range(600)]

    def dropped(epoch: int, rows: int) -> set[int]:
        line = line_of(pack(samples, rows=rows, steps=8, seed=4, epoch=epoch, region_dropout=0.2))
        numbers = (line["ids"] - 100) // 100
        for number, region in zip(numbers[line["valid"]], line["region"][line["valid"]], strict=True):
            assert region in (0, samples[number].region)
        return set(numbers[line["valid"] & (line["region"] == 0)].tolist())

    assert 80 < len(dropped(0, 1)) < 160
    assert dropped(0, 1) == dropped(0, 5)
    assert dropped(0, 1) != dropped(1, 1)


def test_arrays_are_what_torch_takes():
    batch = pack([make_sample(0, 30)], rows=2, steps=8, seed=0, epoch=0)[1]
    assert [part.dtype for part in batch] == [np.int64] * 5 + [bool] * 2
    assert all(part.flags.c_contiguous for part in batch)


@settings(deadline=None, max_examples=40)
@given(samples_of, st.integers(1, 5))
def test_whole_samples_come_once_each_from_their_start(samples, rows):
    met = []
    for batch in whole(samples, rows=rows):
        assert len(batch.ids) <= rows and not batch.reset.any()
        for row in range(len(batch.ids)):
            sample = samples[(batch.ids[row, 0] - 100) // 100]
            count = len(sample.ids) - 1
            assert batch.ids[row, :count].tolist() == sample.ids[:-1].tolist()
            assert batch.targets[row, :count].tolist() == sample.ids[1:].tolist()
            assert batch.clock[row, :count].tolist() == sample.clock[:-1].tolist()
            assert batch.recall[row, :count].tolist() == sample.recall[:-1].tolist()
            assert batch.valid[row].tolist() == [True] * count + [False] * (batch.ids.shape[1] - count)
            met.append(int(batch.ids[row, 0]))
    assert sorted(met) == [int(sample.ids[0]) for sample in samples]


def test_samples_without_recall_have_no_sources():
    samples = [make_sample(0, 5)._replace(recall=None), make_sample(1, 8)._replace(recall=None)]
    packed = pack(samples, rows=2, steps=4, seed=0, epoch=0)[0]
    assert packed.recall.shape == (*packed.ids.shape, 0, 2)
    assert next(whole(samples, rows=2)).recall.shape == (2, 7, 0, 2)


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(TrainingError, match="no samples to train on; use a larger corpus"):
        pack([], rows=1, steps=1, seed=0, epoch=0)
    bad = [make_sample(0, 5), Sample(np.arange(5), 1, np.arange(4))]
    with pytest.raises(TrainingError, match="sample 1: 5 ids and 4 clock values; give two ids or more"):
        pack(bad, rows=1, steps=1, seed=0, epoch=0)
    with pytest.raises(TrainingError, match="sample 0: 1 ids and 1 clock values"):
        pack([make_sample(0, 1)], rows=1, steps=1, seed=0, epoch=0)
