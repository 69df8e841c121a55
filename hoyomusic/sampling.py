"""From logits to the next ids, in whole numbers, so that the same seed gives the same ids on every machine.

Nothing here keeps state: what is drawn for a tune hangs on the seed, the tune's index, the step and the
stream alone, not on the batch it is drawn in. A platform's `exp` differs from another's in the last bits,
and a sum of floats hangs on its order; here the weights come from one table of whole numbers, and sums of
whole numbers are exact. The random numbers are Philox4x32-10 (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3").
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hoyomusic.errors import UsageError
from hoyomusic.native import POINTER, address, find_library

# Logits are rounded to 1/1024 nat; 21 nats below the best the weight is less than 1 in 2^30 and counts as 0.
STEPS_PER_NAT = 1024
TABLE_SIZE = 21 * STEPS_PER_NAT
LARGEST_WEIGHT = 2**30
WORD = 2**32
# Random words of so many steps of a tune are made together, which is quicker than one by one.
BLOCK = 128
# Rows of a batch are drawn for so many at a time, whose choices the processor's nearest memory holds.
ROWS_AT_ONCE = 32
# The library takes room on its stack for so many ids, as library.h says too.
MOST_CHOICES = 4096


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How to choose.

    `temperature` divides the logits; at 0 the best id is taken. `top_k` keeps the k best ids (0: all),
    `top_p` the fewest best ids that hold this share of the probability left by `top_k`. `repetition` is taken, in nats,
    from the logits of ids that would repeat the last `repetition_span` ids of a tune (see `repeating`).

    Raises UsageError for a value out of bounds.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition: float = 0.0
    repetition_span: int = 16

    def __post_init__(self) -> None:
        for name, least, most in (("temperature", 0.0, 100.0), ("top_p", 0.0, 1.0), ("repetition", 0.0, 100.0)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(f"{name} is {value!r}", remedy=f"give a number from {least:g} to {most:g}")
        if 0 < self.temperature < 0.01:
            raise UsageError(f"temperature is {self.temperature!r}", remedy="give 0.01 or more, or 0 for the best id")
        if self.top_p == 0:
            raise UsageError("top_p is 0", remedy="give a share above 0, or top_k=1 for the best id")
        for name, least in (("top_k", 0), ("repetition_span", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise UsageError(f"{name} is {value!r}", remedy=f"give a whole number, {least} or more")

    @property
    def narrows(self) -> bool:
        """Whether ids are left out that the model and the mask allow."""
        return bool(self.top_k) or self.top_p < 1


def sample(
    logits: np.ndarray,
    mask: np.ndarray,
    config: SamplingConfig,
    *,
    seed: int,
    tunes: Sequence[int] | np.ndarray,
    step: int,
    stream: int = 0,
    repeats: np.ndarray | None = None,
) -> np.ndarray:
    """Ids (B,) int64 drawn from `logits` (B, V) float32 where `mask` (B, V) bool allows; all else as in `draw`."""
    choices = [row.nonzero()[0] for row in mask]
    return draw(logits, choices, config, seed=seed, tunes=tunes, step=step, stream=stream, repeats=repeats)


def draw(
    logits: np.ndarray,
    choices: Sequence[np.ndarray],
    config: SamplingConfig,
    *,
    seed: int,
    tunes: Sequence[int] | np.ndarray,
    step: int,
    stream: int = 0,
    repeats: np.ndarray | None = None,
) -> np.ndarray:
    """Ids (B,) int64 drawn from `logits` (B, V) float32, of each row one of its `choices`.

    `choices` are B arrays of the allowed ids, rising. `tunes` (B,) are the tunes' indices within the wish,
    `step` counts the ids of each from 0, `stream` keeps later edits apart from the tune itself (0). `repeats`
    (B, V) bool marks the ids that `config.repetition` makes less likely. Raises ValueError for a row that allows
    nothing or whose allowed logits are not finite: that is a fault of the grammar or the model, not of a wish.
    """
    if find_library() is not None and logits.shape[1] <= MOST_CHOICES:
        return _draw_in_c(logits, choices, config, seed, step, tunes, stream, repeats)
    if len(choices) == 1:
        return np.array([_draw_alone(logits[0], choices[0], config, seed, step, int(tunes[0]), stream, repeats)])
    found = np.empty(len(choices), np.int64)
    for first in range(0, len(choices), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        marks = None if repeats is None else repeats[rows]
        found[rows] = _draw_together(logits[rows], choices[rows], config, seed, step, tunes[rows], stream, marks, first)
    return found


def _draw_in_c(
    logits: np.ndarray,
    choices: Sequence[np.ndarray],
    config: SamplingConfig,
    seed: int,
    step: int,
    tunes: Sequence[int] | np.ndarray,
    stream: int,
    repeats: np.ndarray | None,
) -> np.ndarray:
    """`draw` by the library (`native/draw.c`)."""
    rows, counts = len(choices), list(map(len, choices))
    # Counts, tunes, room for what is chosen, and all choices lie in one array: asking where it lies takes its time.
    told = np.empty(3 * rows + sum(counts), np.int64)
    if rows == 1:
        told[0], told[1], told[3:] = counts[0], tunes[0], choices[0]
    else:
        told[:rows], told[rows : 2 * rows] = counts, tunes
        np.concatenate(choices, out=told[3 * rows :])
    logits = np.ascontiguousarray(logits, np.float32)
    marks = None if repeats is None or not config.repetition else np.ascontiguousarray(repeats, bool)
    wish = tell_library(config, seed % WORD**2, stream % WORD, logits.shape[1])
    failed = find_library().hoyo_draw(
        ctypes.addressof(wish), rows, address(logits), None if marks is None else address(marks), step % WORD,
        address(told),
    )  # fmt: skip
    if failed >= 0:
        raise _nothing_to_choose(failed, counts[failed])
    return told[2 * rows : 3 * rows]


class _Wish(ctypes.Structure):
    """`Wish` of draw.c."""

    _fields_ = [
        ("levels_a_nat", ctypes.c_double),
        ("top_p", ctypes.c_double),
        ("repetition", ctypes.c_float),
        ("top_k", ctypes.c_int32),
        *((name, ctypes.c_uint32) for name in ("seed_low", "seed_high", "stream", "width")),
        ("weights", POINTER),
    ]


@functools.lru_cache(maxsize=64)
def tell_library(config: SamplingConfig, seed: int, stream: int, width: int) -> ctypes.Structure:
    """How to choose from rows of `width` logits, as draw.c takes it."""
    return _Wish(
        levels_a_nat=STEPS_PER_NAT / config.temperature if config.temperature else 0,
        top_p=config.top_p,
        repetition=config.repetition,
        top_k=min(config.top_k, MOST_CHOICES),
        seed_low=seed % WORD,
        seed_high=seed // WORD,
        stream=stream,
        width=width,
        weights=address(_weights_in_c()),
    )


@functools.cache
def _weights_in_c() -> np.ndarray:
    """`weights_table` as draw.c takes it; int32."""
    return weights_table().astype(np.int32)


def _draw_alone(
    logits: np.ndarray,
    ids: np.ndarray,
    config: SamplingConfig,
    seed: int,
    step: int,
    tune: int,
    stream: int,
    repeats: np.ndarray | None,
) -> int:
    """`draw` for one row of `logits` (V,)."""
    if not len(ids):
        raise _nothing_to_choose(0, 0)
    values = logits.take(ids)
    if config.repetition and repeats is not None:
        values = np.where(repeats[0].take(ids), values - np.float32(config.repetition), values)
    best = values.argmax()
    if not math.isfinite(values[best]):
        raise _nothing_to_choose(0, len(ids))
    if not config.temperature or len(ids) == 1:
        return ids[best]
    levels = _levels(values, config)
    # What lies beyond the table is brought to its end, where the weight is 0.
    np.subtract(levels[best], levels, out=levels)
    np.minimum(levels, TABLE_SIZE, out=levels)
    distances = levels.astype(np.int64)
    weights = weights_table().take(distances)
    if config.narrows:
        _cut(weights, distances, config)
    sums = weights.cumsum()
    # One product, rounded once, as everywhere: both factors are whole numbers below 2^53.
    drawn = int(words_ahead(seed, step // BLOCK, tune, stream)[step % BLOCK] * float(sums[-1]) / WORD)
    return ids[sums.searchsorted(drawn, side="right")]


def _draw_together(
    logits: np.ndarray,
    choices: Sequence[np.ndarray],
    config: SamplingConfig,
    seed: int,
    step: int,
    tunes: Sequence[int] | np.ndarray,
    stream: int,
    repeats: np.ndarray | None,
    first: int,
) -> np.ndarray:
    """`draw` for rows from number `first` on: their choices lie in one array (N,), and one sum runs through all."""
    counts = np.fromiter(map(len, choices), np.int64, len(choices))
    if not counts.all():
        raise _nothing_to_choose(first + int(counts.argmin()), 0)
    ids = np.concatenate(choices)
    ends = counts.cumsum()
    starts = ends - counts
    places = ids + np.arange(0, logits.size, logits.shape[1]).repeat(counts)
    values = logits.take(places)
    if config.repetition and repeats is not None:
        values = np.where(repeats.take(places), values - np.float32(config.repetition), values)
    highest = np.maximum.reduceat(values, starts)
    if not np.isfinite(highest).all():
        row = int(np.isfinite(highest).argmin())
        raise _nothing_to_choose(first + row, int(counts[row]))
    if not config.temperature:
        best = np.flatnonzero(values == highest.repeat(counts))
        return ids.take(best.take(best.searchsorted(starts)))
    levels = _levels(values, config)
    np.subtract(_levels(highest, config).repeat(counts), levels, out=levels)
    np.minimum(levels, TABLE_SIZE, out=levels)
    distances = levels.astype(np.int64)
    weights = weights_table().take(distances)
    if config.narrows:
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            _cut(weights[start:end], distances[start:end], config)
    sums = weights.cumsum()
    before = sums.take(starts) - weights.take(starts)
    block, place = divmod(step, BLOCK)
    words = np.array([words_ahead(seed, block, int(tune), stream)[place] for tune in tunes], np.float64)
    drawn = words * (sums.take(ends - 1) - before).astype(np.float64) / WORD
    return ids.take(sums.searchsorted(before + drawn.astype(np.int64), side="right"))


def _levels(values: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """Logits in steps of 1/1024 nat, float64, halves rounded up."""
    levels = values * np.float64(STEPS_PER_NAT / config.temperature)
    levels += 0.5
    return np.floor(levels, out=levels)


def _cut(weights: np.ndarray, distances: np.ndarray, config: SamplingConfig) -> None:
    """Make 0 the `weights` of all that `top_k` and `top_p` leave out; of equal ones the lower id is the better."""
    order = distances.astype(np.uint16).argsort(kind="stable")  # 16 bits: numpy sorts them by digits
    kept = min(config.top_k or len(order), len(order))
    if config.top_p < 1:
        sums = weights.take(order[:kept]).cumsum()
        kept = sums.searchsorted(math.floor(config.top_p * float(sums[-1])), side="left") + 1
    weights[order[kept:]] = 0


class Repetition:
    """Which ids would repeat the last `span` ids of a tune, kept up to date as it grows: `take` each id of it.

    `marked` (V,) bool: the ids with which the last `span` ids would be ones that came before. An id is marked if it
    followed, anywhere earlier, the same `span` - 1 ids that stand at the end now.
    """

    def __init__(self, span: int, vocabulary: int) -> None:
        self._context = span - 1
        self._end: tuple[int, ...] = ()
        self._followed: dict[tuple[int, ...], set[int]] = {}
        self._none = np.zeros(vocabulary, bool)
        self._none.flags.writeable = False

    def take(self, index: int) -> None:
        """Hear the next id of the tune."""
        if len(self._end) == self._context:
            self._followed.setdefault(self._end, set()).add(index)
        self._end = (*self._end, index)[-self._context :] if self._context else ()

    @property
    def marked(self) -> np.ndarray:
        """The marks (V,) for the next id; not to be written to."""
        followed = self._followed.get(self._end)
        if followed is None:
            return self._none
        marked = self._none.copy()
        marked[list(followed)] = True
        return marked


def repeating(history: Sequence[int], span: int, vocabulary: int) -> np.ndarray:
    """`Repetition.marked` (V,) behind the ids of `history`."""
    repetition = Repetition(span, vocabulary)
    for index in history:
        repetition.take(index)
    return repetition.marked


@functools.cache
def weights_table() -> np.ndarray:
    """floor(2^30 exp(-d / 1024) + 1/2) for d = 0 ..., and a last 0 for all that is farther; int64.

    No entry lies nearer than 4e-5 to a rounding edge, so every `exp` gives the same table.
    """
    weights = LARGEST_WEIGHT * np.exp(np.arange(TABLE_SIZE) / -STEPS_PER_NAT)
    table = np.append(np.floor(weights + 0.5), 0).astype(np.int64)
    table.flags.writeable = False
    return table


def random_word(seed: int, step: int, tune: int, stream: int = 0) -> int:
    """32 random bits for one draw; `seed` counts modulo 2^64, the others modulo 2^32."""
    return philox((step % WORD, tune % WORD, stream % WORD, 0), (seed % WORD, (seed >> 32) % WORD))[0]


@functools.lru_cache(maxsize=4096)
def words_ahead(seed: int, block: int, tune: int, stream: int = 0) -> list[int]:
    """`random_word` of the steps of one block of `BLOCK`, made together; those asked for of late are kept."""
    counters = np.zeros((4, BLOCK), np.uint64)
    counters[0] = np.arange(block * BLOCK, (block + 1) * BLOCK) % WORD
    counters[1:3] = [[tune % WORD], [stream % WORD]]
    return philox_rows(counters, (seed % WORD, (seed >> 32) % WORD))[0].tolist()


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10: four random words of 32 bits from a counter and a key.

    >>> [f"{word:08x}" for word in philox((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = counter
    low, high = key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (second >> 32) ^ b ^ low, second & 0xFFFFFFFF, (first >> 32) ^ d ^ high, first & 0xFFFFFFFF
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return a, b, c, d


def philox_rows(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """`philox` of many counters, uint64 (4, N) of 32 bits each, with one key."""
    multipliers = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
    half, low_bits = np.uint64(32), np.uint64(WORD - 1)
    even, odd = counters[::2], counters[1::2]
    low, high = key
    for _ in range(10):
        products = even * multipliers
        even = (products >> half)[::-1] ^ odd
        even ^= np.array([[low], [high]], np.uint64)
        odd = (products & low_bits)[::-1]
        low, high = (low + 0x9E3779B9) % WORD, (high + 0xBB67AE85) % WORD
    return np.stack((even[0], odd[0], even[1], odd[1]))


def _nothing_to_choose(row: int, allowed: int) -> ValueError:
    return ValueError(f"row {row}: no id is allowed" if not allowed else f"row {row}: the logits are not finite")
