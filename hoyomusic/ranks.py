"""Several processes that train one model together: which one this is, and what they tell each other.

``torchrun --nproc-per-node 2 -m hoyomusic train`` starts the processes and says in their environment who
they are. Each takes its share of the rows of every step. What they exchange is summed or gathered by
PyTorch's own engine (gloo between processors, NCCL between graphics cards), which gives all of them the same
bits: so they decide alike, and one of them, the first, speaks and writes for all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from hoyomusic.errors import TrainingError, UsageError

# A process that dies is noticed at once. This is for one that neither answers nor dies; it must be longer than
# the first process may take alone, to read a corpus that is in no cache or to index it for novelty.
TIMEOUT = timedelta(hours=1)
# All are started at the same time; import of libraries on a busy machine is what they may wait for.
MEETING_TIMEOUT = timedelta(minutes=5)

# How many processes other launchers say they started; without torchrun's words each would train for itself.
FOREIGN_COUNTS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process, number `rank` of `count`, number `local` on its computer; alone by default.

    Every method that speaks to the others must be called by all of them, in the same order. They raise
    TrainingError when another process has ended or does not answer.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that speaks and writes."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """Which of a step's `total` rows are ours. Raises UsageError if the processes cannot share them evenly."""
        share, rest = divmod(total, self.count)
        if rest or not share:
            raise UsageError(
                f"{self.count} processes cannot share {total} rows evenly",
                remedy=f"use {max(share, 1) * self.count} rows",
            )
        return slice(self.rank * share, (self.rank + 1) * share)

    def device(self, wish: str) -> str:
        """The device to ask for where `wish` leaves a choice between cards: each process its own."""
        if self.count > 1 and (wish == "cuda" or wish == "auto" and torch.cuda.is_available()):
            return f"cuda:{self.local}"
        return wish

    def add(self, tensor: Tensor) -> Tensor:
        """Make `tensor` the sum of those of all processes, in place."""
        if self.count > 1:
            self._exchange(lambda: distributed.all_reduce(tensor))
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, alike in shape, as one with a first dimension more, in the order of ranks."""
        if self.count == 1:
            return tensor[None]
        parts = [torch.empty_like(tensor) for _ in range(self.count)]
        self._exchange(lambda: distributed.all_gather(parts, tensor.contiguous()))
        return torch.stack(parts)

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """For each wish, whether any process has it."""
        if self.count == 1:
            return wishes
        return tuple(bool(count) for count in self.add(torch.tensor(wishes, dtype=torch.int64)))

    def wait(self) -> None:
        """Go on when all have come here."""
        self.agree(True)

    def check_same(self, text: str, what: str) -> None:
        """Raise TrainingError unless all processes have the same `text`, which says `what` they begin with."""
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        if len(set(self.gather(torch.tensor(digest)).tolist())) > 1:
            raise TrainingError(
                f"the processes do not begin with the same {what}", where=self._name(),
                remedy="give all of them the same files and options",
            )

    def _exchange(self, call: Callable[[], object]) -> None:
        try:
            call()
        except RuntimeError as error:
            raise TrainingError(
                "another process of this run has ended or does not answer", where=self._name(),
                remedy="go on from the last save with hoyo resume",
            ) from error

    def _name(self) -> str:
        return f"process {self.rank + 1} of {self.count}"


ALONE = Ranks()


@contextmanager
def join() -> Iterator[Ranks]:
    """Meet the other processes of this run, if torchrun has started any, and part from them at the end.

    Raises UsageError where the environment is not torchrun's, TrainingError when the others do not come.
    """
    count = _number("WORLD_SIZE", 1)
    if count == 1:
        for name in FOREIGN_COUNTS:
            if _number(name) > 1:
                raise UsageError(
                    f"{os.environ[name]} processes were started that know nothing of each other", where=name,
                    remedy="start them with torchrun",
                )
        yield ALONE
        return
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise UsageError("is missing", where=name, remedy="start the processes with torchrun")
    if not _number("MASTER_PORT"):
        # torchrun hands a port of 0 on as it is, and nobody would ever meet there.
        raise UsageError("is 0", where="MASTER_PORT", remedy="start with torchrun --standalone, which finds a free one")
    ranks = Ranks(_number("RANK"), count, _number("LOCAL_RANK"))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"

    def meet() -> None:
        store, rank, _ = next(distributed.rendezvous("env://", timeout=MEETING_TIMEOUT))
        distributed.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT)

    ranks._exchange(meet)
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()


def _number(name: str, default: int = 0) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise UsageError(f"is {text!r}, no number", where=name, remedy="start the processes with torchrun")
    return int(text)
