"""Samples in one flat array are the samples that were laid there, in memory or mapped."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import samples as room
from hoyomusic.errors import TrainingError
from hoyomusic.samples import Sample, Samples, token_type


def make_sample(number: int, length: int, sources: int) -> Sample:
    """A sample that differs from all others."""
    words = np.random.Generator(np.random.Philox(number)).integers(0, 250, (length, 2 + 2 * sources))
    words = words.astype(np.uint16)
    return Sample(words[:, 0], number % 9, words[:, 1], words[:, 2:].reshape(length, sources, 2))


@pytest.fixture
def mapped(tmp_path: Path) -> tuple[list[Sample], Samples]:
    """Many samples, and the same in a file."""
    listed = [make_sample(number, 2 + number % 50, 3) for number in range(400)]
    laid = Samples.of(listed)
    path = tmp_path / "samples"
    path.write_bytes(laid.tokens.astype(token_type(3)).tobytes())
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    tokens = np.frombuffer(mapping, token_type(3))
    return listed, Samples(tokens, laid.starts, laid.lengths, laid.regions, mapping)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(2, 20), max_size=8), st.integers(0, 3))
def test_samples_come_back_as_they_were_laid(lengths, sources):
    listed = [make_sample(number, length, sources) for number, length in enumerate(lengths)]
    laid = Samples.of(listed)
    assert len(laid) == len(listed)
    assert Samples.of(laid) is laid
    for one, other in zip(laid, listed, strict=True):
        assert one.region == other.region
        for name in ("ids", "clock", "recall"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == np.uint16


def test_some_are_chosen_without_copying():
    laid = Samples.of([make_sample(number, 5, 1) for number in range(6)])
    for chosen, places in ((laid[1:5:2], [1, 3]), (laid.select(np.array([4, 0])), [4, 0])):
        assert chosen.tokens is laid.tokens
        assert [sample.ids.tolist() for sample in chosen] == [laid[place].ids.tolist() for place in places]
    assert laid[-1].ids.tolist() == laid[5].ids.tolist()
    with pytest.raises(IndexError):
        laid[6]


def test_wide_numbers_stay_whole():
    sample = Sample(np.array([1, 2, 3], np.int16), 0, np.array([0, 70_000, 1 << 31], np.uint32))
    assert Samples.of([sample])[0].clock.tolist() == [0, 70_000, 1 << 31]


def test_mapped_samples_are_those_of_the_file_however_often_pages_are_given_back(mapped, monkeypatch):
    listed, laid = mapped
    monkeypatch.setattr(room, "_BLOCKS_KEPT", 0)
    for index in range(len(listed)):
        assert laid[index].ids.tolist() == listed[index].ids.tolist()
        np.testing.assert_array_equal(laid[index].recall, listed[index].recall)


# How many pages the system maps at once is its own affair, and differs from run to run: too uncertain for every run.
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell what is resident")
def test_what_was_read_does_not_stay_resident(tmp_path, monkeypatch):
    """32 MiB are read, in an order that no read-ahead guesses; at most 12 MiB of them are resident at any time."""
    size = 32 << 20
    path = tmp_path / "large"
    path.write_bytes(bytes(size))
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    tokens = np.frombuffer(mapping, token_type(0), size // 4)
    laid = Samples(tokens, np.arange(0, len(tokens), 1024), np.full(len(tokens) // 1024, 1024), np.zeros(1), mapping)
    order = np.random.Generator(np.random.Philox(1)).permutation(len(laid))
    monkeypatch.setattr(room, "_BLOCKS_KEPT", 128)
    most = 0
    for place, index in enumerate(order):
        laid.read(laid.starts[index] + np.arange(1024))
        if place % 100 == 0:
            most = max(most, resident_bytes(path))
    assert 0 < most <= 12 << 20


def resident_bytes(path: Path) -> int:
    """How much of a mapped file is resident in this process."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(path)):
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))
    return 0


def test_what_is_no_sample_is_refused():
    good = Sample(np.arange(5), 1, np.arange(5))
    with pytest.raises(TrainingError, match="sample 1: 5 ids and 4 clock values; give two ids or more"):
        Samples.of([good, good._replace(clock=np.arange(4))])
    with pytest.raises(TrainingError, match="sample 0: 1 ids and 1 clock values"):
        Samples.of([Sample(np.arange(1), 1, np.arange(1))])
