"""Tunes to be judged: made by several processes at once, the same tunes however many there are."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import repeat
from pathlib import Path

from hoyomusic.generator import Composition, HoyoMusicGenerator, Request

# Tunes that one process makes in one go; each go has a seed of its own.
TUNES_AT_A_TIME = 25

# Seeds of evaluations lie so far apart that no two share a tune, up to 25,000 tunes a nation.
SEED_STEP = 1000

def compose_all(
    model: Path, requests: Sequence[Request], jobs: int, advance: Callable[[int], None]
) -> list[Composition]:
    """The compositions of all requests, in order; `advance` is told how many more are done.

    `model` is loaded by each of `jobs` processes; with one job this process does the work.
    """
    parts = [part for request in requests for part in split_request(request)]
    found: list[Composition] = []
    if jobs == 1:
        for part in parts:
            found += _compose(model, part)
            advance(part.count)
        return found
    # Slow to import, and needed by one command only.
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_ignore_interrupts) as pool:
        for part, made in zip(parts, pool.map(_compose, repeat(model), parts), strict=False):
            found += made
            advance(part.count)
    return found


def split_request(request: Request) -> list[Request]:
    """The request as several of at most `TUNES_AT_A_TIME` tunes, with seeds of their own."""
    return [
        replace(
            request,
            count=min(TUNES_AT_A_TIME, request.count - first),
            seed=request.seed * SEED_STEP + first // TUNES_AT_A_TIME,
        )
        for first in range(0, request.count, TUNES_AT_A_TIME)
    ]


def _compose(model: Path, request: Request) -> list[Composition]:
    return list(_load(model).compose(request))


@lru_cache(maxsize=1)
def _load(model: Path) -> HoyoMusicGenerator:
    """The generator of this process, loaded when it is first asked to compose; figures need no last bits."""
    return HoyoMusicGenerator.load(model, exact=False)


def _ignore_interrupts() -> None:
    """Ctrl-C is for the process that the user started: it ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
