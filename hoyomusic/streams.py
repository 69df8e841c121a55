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
from hoyomusic.samples import Sample, Samples, recall_of

# Which use of (seed, epoch) a stream of random numbers belongs to.
ORDER, REGION = 0, 1


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
    """One epoch: a line of all samples, never laid out, of which any segment is read where its tokens lie.

    `order`, `begins` and `regions` (count,) tell of each sample of the line in turn its number in `samples`,
    where in the line it begins, and what it is labelled. A row is `length` of the line's `total` positions.
    """

    samples: Samples
    order: np.ndarray
    begins: np.ndarray
    regions: np.ndarray
    total: int
    rows: int
    length: int
    segments: int
    boundary_id: int

    def __len__(self) -> int:
        return self.segments

    def __getitem__(self, segment: int) -> Batch:
        """Segment number `segment`, ids and the like as int64; any segment can be had without those before it."""
        if not 0 <= segment < self.segments:
            raise IndexError(segment)
        first, behind = (self.length * edge // self.segments for edge in (segment, segment + 1))
        # One position more than is given: what is asked at the last one.
        line = np.arange(self.rows)[:, None] * self.length + np.arange(first, behind + 1)
        inside = line < self.total
        line = np.minimum(line, self.total - 1)
        at = np.searchsorted(self.begins, line, side="right") - 1
        offset = line - self.begins[at]
        number = self.order[at]
        tokens = self.samples.read(self.samples.starts[number] + offset)
        valid = inside & (offset < self.samples.lengths[number] - 1)
        regions = np.where(inside, self.regions[at], 0)
        return _cut(tokens, regions, valid, inside, self.boundary_id, reset=~valid)

    @property
    def tokens(self) -> int:
        """How many positions of the epoch count."""
        return self.total - len(self.order)


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
    laid = Samples.of(samples)
    order = np.argsort(_draw(seed, epoch, ORDER, len(laid)), kind="stable")
    dropped = (_draw(seed, epoch, REGION, len(laid)) >> np.uint64(11)) * 2.0**-53 < region_dropout
    ends = np.cumsum(laid.lengths[order])
    total = int(ends[-1])
    length = -(-total // rows)
    return Streams(
        laid, order, ends - laid.lengths[order], np.where(dropped, 0, laid.regions)[order],
        total, rows, length, -(-length // steps), boundary_id,
    )


def whole(samples: Sequence[Sample], *, rows: int) -> Iterator[Batch]:
    """Every sample whole and from a fresh state, `rows` of like length at a time, padded at the end."""
    laid = Samples.of(samples)
    order = np.argsort(laid.lengths, kind="stable")
    for start in range(0, len(order), rows):
        chosen = laid.select(order[start : start + rows])
        lengths = chosen.lengths[:, None] - 1
        places = np.arange(int(lengths[-1, 0]) + 1)
        tokens = chosen.read(chosen.starts[:, None] + np.minimum(places, lengths))
        valid = places < lengths
        regions = np.broadcast_to(chosen.regions[:, None], valid.shape)
        yield _cut(tokens, regions, valid, valid, 0, reset=np.zeros_like(valid))


def _cut(
    tokens: np.ndarray, regions: np.ndarray, valid: np.ndarray, inside: np.ndarray, rest: int, reset: np.ndarray
) -> Batch:
    """The batch of arrays (B, T + 1): column t is given what stands there and asked for the id at t + 1.

    Ids where nothing is asked are `rest`; what is not `inside` a sample has neither clock nor recall.
    """
    valid, inside, reset = valid[:, :-1], inside[:, :-1], reset[:, :-1]
    now, following = tokens[:, :-1], tokens["id"][:, 1:]
    numbers = (
        np.where(valid, now["id"], rest), np.where(valid, following, rest), regions[:, :-1],
        np.where(inside, now["clock"], 0), np.where(inside[..., None, None], recall_of(now), 0),
    )
    marks = (np.ascontiguousarray(part) for part in (valid, reset))
    return Batch(*(part.astype(np.int64, order="C") for part in numbers), *marks)


def _draw(seed: int, epoch: int, use: int, count: int) -> np.ndarray:
    """`count` uniform 64-bit words; raw words of Philox, which numpy promises not to change (NEP 19)."""
    return np.random.Philox(np.random.SeedSequence((seed, epoch, use))).random_raw(count)
