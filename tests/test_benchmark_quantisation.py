"""The benchmark of whole numbers walks as training measures."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quantisation import walk
from hoyomusic.fit import measure
from hoyomusic.runtime import NumpyRuntime, fold
from hoyomusic.samples import Sample
from hoyomusic.sizes import ModelConfig
from tests.test_runtime import make_model


def test_float32_costs_what_training_measures() -> None:
    sizes = ModelConfig(30, 4, 6, embedding=12, hidden=24, layers=2)
    model, numbers = make_model(sizes), np.random.default_rng(1)
    samples = [
        Sample(
            numbers.integers(30, size=length).astype(np.uint16), int(numbers.integers(4)),
            numbers.integers(6, size=length).astype(np.uint16), np.zeros((length, 0, 2), np.uint16),
        )
        for length in (5, 9, 2, 7)
    ]  # fmt: skip
    nats, likeliest = walk(NumpyRuntime(fold(model.arrays())), samples)
    assert len(nats) == len(likeliest) == sum(len(sample.ids) - 1 for sample in samples)
    assert nats.mean() == pytest.approx(measure(model, samples), abs=1e-5)
