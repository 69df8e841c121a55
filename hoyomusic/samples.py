"""Many samples laid end to end in one flat array, in memory or mapped from a file of any size.

So a corpus of a million tunes costs the memory of their lengths, and any position of any sample can be
read without those before it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np

from hoyomusic.errors import TrainingError

# A page fault maps so many bytes, or more where the system caches a file in larger pieces: up to some 2 MiB. After
# about so many faults the system may have the pages back; it keeps them in its cache as long as it likes.
_BLOCK = 1 << 16
_BLOCKS_KEPT = 64


class Sample(NamedTuple):
    """One sequence to learn: `ids` (n,) from start id to end id, one `region`, and beside each id what else is given.

    `clock` (n,) is a value for each id, `recall` (n, S, 2) guesses and agreements of S sources, of which there may
    be none.
    """

    ids: np.ndarray
    region: int
    clock: np.ndarray
    recall: np.ndarray | None = None


def token_type(
    sources: int,
    ids: np.dtype | type = np.uint16,
    clock: np.dtype | type = np.uint16,
    guess: np.dtype | type = np.uint16,
    agreement: np.dtype | type = np.uint8,
) -> np.dtype:
    """The record that stands for one token: `id`, `clock`, and `guess` and `agreement` of each of `sources`."""
    return np.dtype([("id", ids), ("clock", clock), ("guess", guess, (sources,)), ("agreement", agreement, (sources,))])


class Samples(Sequence[Sample]):
    """Sample number i is `tokens[starts[i] : starts[i] + lengths[i]]`, of region `regions[i]`.

    `tokens` (n,) are records of `token_type`; `starts`, `lengths` and `regions` (count,) whole numbers. Where
    `tokens` lie in a mapped file, `mapping` is that file: pages that were read are given back now and then, so
    that what stays resident does not grow with the file.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        regions: np.ndarray,
        mapping: mmap.mmap | None = None,
    ) -> None:
        self.tokens = tokens
        self.starts = starts
        self.lengths = lengths
        self.regions = regions
        self._mapping = mapping
        self._touched = 0

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Samples:
        """`samples` as they are if they are laid out already, else copied into memory.

        Raises TrainingError for a sample of fewer than two ids, or of another number of clock values.
        """
        if isinstance(samples, Samples):
            return samples
        for index, sample in enumerate(samples):
            if not 2 <= len(sample.ids) == len(sample.clock):
                raise TrainingError(
                    f"{len(sample.ids)} ids and {len(sample.clock)} clock values",
                    where=f"sample {index}", remedy="give two ids or more, and as many clock values",
                )
        lengths = np.array([len(sample.ids) for sample in samples], np.int64)
        if not len(lengths):
            return cls(np.empty(0, token_type(0)), lengths, lengths, lengths)
        ids = np.concatenate([sample.ids for sample in samples])
        clock = np.concatenate([sample.clock for sample in samples])
        recall = np.concatenate([_recall_of(sample) for sample in samples])
        tokens = np.empty(
            len(ids), token_type(recall.shape[1], ids.dtype, clock.dtype, recall.dtype, recall.dtype)
        )
        tokens["id"], tokens["clock"], tokens["guess"], tokens["agreement"] = ids, clock, recall[..., 0], recall[..., 1]
        regions = np.array([sample.region for sample in samples], np.int64)
        return cls(tokens, np.cumsum(lengths) - lengths, lengths, regions)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Samples: ...
    def __getitem__(self, index: int | slice) -> Sample | Samples:
        if isinstance(index, slice):
            return self.select(index)
        start = int(self.starts[index])
        tokens = self.read(np.arange(start, start + int(self.lengths[index])))
        return Sample(tokens["id"], int(self.regions[index]), tokens["clock"], recall_of(tokens))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def select(self, chosen: np.ndarray | slice) -> Samples:
        """Those that an array of places, of truth values, or a slice chooses; no token is copied."""
        return Samples(self.tokens, self.starts[chosen], self.lengths[chosen], self.regions[chosen], self._mapping)

    def read(self, places: np.ndarray) -> np.ndarray:
        """A copy of the tokens at `places`, in their shape."""
        found = self.tokens[places]
        if self._mapping is not None:
            self._give_back(places)
        return found

    def _give_back(self, places: np.ndarray) -> None:
        """Let the system have the pages again once many were read; Windows trims mapped pages by itself."""
        blocks = places.reshape(-1) * self.tokens.itemsize // _BLOCK
        self._touched += 1 + np.count_nonzero(blocks[1:] != blocks[:-1])
        if self._touched > _BLOCKS_KEPT and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def recall_of(tokens: np.ndarray) -> np.ndarray:
    """Guesses and agreements of an array of tokens, in one array of its shape and (S, 2) more."""
    return np.stack((tokens["guess"], tokens["agreement"]), axis=-1)


def _recall_of(sample: Sample) -> np.ndarray:
    return np.zeros((len(sample.ids), 0, 2), np.uint16) if sample.recall is None else sample.recall
