"""Samples into batches: packed streams for training, padded batches of whole samples for measuring.

A packed epoch joins all samples, in an order drawn for that epoch, into one long line, cuts the line into
equal rows and walks the rows in segments; the model's state is carried from segment to segment. Each
sample of n ids takes n positions. At position k < n - 1 the model is given id k and asked for id k + 1;
at the last one, the boundary, it is given `boundary_id`, asked for nothing, and its state is reset::

    given    <s>  t1   t2   ...  tn    boundary  <s>  t1 ...
    asked    t1   t2   t3   ...  </s>  -         t1   t2 ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hoyomusic.errors import TrainingError

# Which use of (seed, epoch) a stream of random numbers belongs to.
ORDER, REGION = 0, 1


class Sample(NamedTuple):
    """One sequence to learn: `ids` (n,) from start id to end id, one `region`, and beside each id what else is given.

    `clock` (n,) is a value for each id, `recall` (n, S, 2) guesses and agreements of S sources, of which there may be none.
    """

    ids: np.ndarray
    region: int
    clock: np.ndarray
    recall: np.ndarray | None = None


class Batch(NamedTuple):
    """Arrays (B, T): what the model is given, what it is asked for, which positions count, where it is reset.

    `recall` is (B, T, S, 2), S perhaps 0.
    """

    ids: np.ndarray
    targets: np.ndarray
    region: np.ndarray
    clock: np.ndarray
    recall: np.ndarray
    valid: np.ndarray
    reset: np.ndarray

    @property
    def tokens(self) -> int:
        """How many positions count."""
        return int(self.valid.sum())


@dataclass(frozen=True)
class Streams:
    """One epoch: `line` (B, length) arrays, walked in `len(streams)` segments of nearly equal width."""

    line: Batch
    edges: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __getitem__(self, segment: int) -> Batch:
        """Segment number `segment`, ids and the like as int64; any segment can be had without those before it."""
        if not 0 <= segment < len(self):
            raise IndexError(segment)
        cut = slice(self.edges[segment], self.edges[segment + 1])
        return Batch(*(_for_torch(part[:, cut]) for part in self.line))

    @property
    def tokens(self) -> int:
        """How many positions of the epoch count."""
        return self.line.tokens


def pack(
    samples: Sequence[Sample],
    *,
    rows: int,
    steps: int,
    seed: int,
    epoch: int,
    boundary_id: int = 0,
    region_dropout: float = 0.0,
) -> Streams:
    """The batches of one epoch, a function of the arguments alone.

    `rows` x `steps` positions make a segment; the last positions of the last row are padding, which is
    reset and does not count. Of the samples a share `region_dropout` is labelled 0, the general region;
    the choice is made by (seed, epoch, sample). Raises TrainingError when there is nothing to pack.
    """
    if not samples:
        raise TrainingError("there are no samples to train on", remedy="use a larger corpus")
    for index, sample in enumerate(samples):
        if not 2 <= len(sample.ids) == len(sample.clock):
            raise TrainingError(
                f"{len(sample.ids)} ids and {len(sample.clock)} clock values",
                where=f"sample {index}", remedy="give two ids or more, and as many clock values",
            )
    order = np.argsort(_draw(seed, epoch, ORDER, len(samples)), kind="stable")
    dropped = (_draw(seed, epoch, REGION, len(samples)) >> np.uint64(11)) * 2.0**-53 < region_dropout
    chosen = [samples[index] for index in order]
    lengths = np.array([len(sample.ids) for sample in chosen])
    regions = np.where(dropped[order], 0, [sample.region for sample in chosen])
    length = -(-int(lengths.sum()) // rows)
    ends = np.cumsum(lengths) - 1

    ids = _fill(rows * length, np.concatenate([sample.ids for sample in chosen]), boundary_id)
    targets = _fill(rows * length, ids[1 : ends[-1] + 1], boundary_id)
    valid = _fill(rows * length, np.ones(ends[-1] + 1, bool), False)
    for part, at_boundary in ((ids, boundary_id), (targets, boundary_id), (valid, False)):
        part[ends] = at_boundary
    line = Batch(
        ids, targets,
        _fill(rows * length, np.repeat(regions, lengths).astype(np.uint16), 0),
        _fill(rows * length, np.concatenate([sample.clock for sample in chosen]), 0),
        _fill(rows * length, np.concatenate([_recall_of(sample) for sample in chosen]), 0),
        valid, ~valid,
    )
    segments = -(-length // steps)
    edges = tuple(length * segment // segments for segment in range(segments + 1))
    return Streams(Batch(*(part.reshape(rows, length, *part.shape[1:]) for part in line)), edges)


def whole(samples: Sequence[Sample], *, rows: int) -> Iterator[Batch]:
    """Every sample whole and from a fresh state, `rows` of like length at a time, padded at the end."""
    order = sorted(range(len(samples)), key=lambda index: (len(samples[index].ids), index))
    for start in range(0, len(order), rows):
        chosen = [samples[index] for index in order[start : start + rows]]
        width = len(chosen[-1].ids) - 1
        lengths = np.array([len(sample.ids) - 1 for sample in chosen])
        valid = np.arange(width) < lengths[:, None]
        regions = np.array([sample.region for sample in chosen], np.int64)
        yield Batch(
            np.stack([_fill(width, sample.ids[:-1].astype(np.int64), 0) for sample in chosen]),
            np.stack([_fill(width, sample.ids[1:].astype(np.int64), 0) for sample in chosen]),
            np.repeat(regions[:, None], width, axis=1),
            np.stack([_fill(width, sample.clock[:-1].astype(np.int64), 0) for sample in chosen]),
            np.stack([_fill(width, _recall_of(sample)[:-1].astype(np.int64), 0) for sample in chosen]),
            valid, np.zeros_like(valid),
        )


def _fill(length: int, values: np.ndarray, rest: int | bool) -> np.ndarray:
    """`values`, continued to `length` with `rest`."""
    filled = np.full((length, *values.shape[1:]), rest, values.dtype)
    filled[: len(values)] = values
    return filled


def _recall_of(sample: Sample) -> np.ndarray:
    return np.zeros((len(sample.ids), 0, 2), np.uint16) if sample.recall is None else sample.recall


def _for_torch(part: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(part) if part.dtype == bool else part.astype(np.int64, order="C")


def _draw(seed: int, epoch: int, use: int, count: int) -> np.ndarray:
    """`count` uniform 64-bit words; raw words of Philox, which numpy promises not to change (NEP 19)."""
    return np.random.Philox(np.random.SeedSequence((seed, epoch, use))).random_raw(count)
