"""From logits to the next ids, in whole numbers, so that the same seed gives the same ids on every machine.

Nothing here keeps state: what is drawn for a tune hangs on the seed, the tune's index, the step and the
stream alone, not on the batch it is drawn in. A platform's `exp` differs from another's in the last bits,
and a sum of floats hangs on its order; here the weights come from one table of whole numbers, and sums of
whole numbers are exact. The random numbers are Philox4x32-10 (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3").
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hoyomusic.errors import UsageError

# Logits are rounded to 1/1024 nat; 21 nats below the best the weight is less than 1 in 2^30 and counts as 0.
STEPS_PER_NAT = 1024
TABLE_SIZE = 21 * STEPS_PER_NAT
LARGEST_WEIGHT = 2**30
WORD = 2**32


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
    """Ids (B,) int64 drawn from `logits` (B, V) float32 where `mask` (B, V) bool allows.

    `tunes` (B,) are the tunes' indices within the wish, `step` counts the ids of each from 0, `stream`
    keeps later edits apart from the tune itself (0). `repeats` (B, V) bool marks the ids that
    `config.repetition` makes less likely. Raises ValueError for a row that allows nothing or whose
    allowed logits are not finite: that is a fault of the grammar or the model, not of a wish.
    """
    if config.repetition and repeats is not None:
        logits = np.where(repeats, logits - np.float32(config.repetition), logits)
    if config.temperature == 0:
        best = np.where(mask, logits, -np.inf).argmax(axis=1)
        _check(np.take_along_axis(logits, best[:, None], 1)[:, 0], mask)
        return best
    ids = np.empty(len(logits), np.int64)
    scale = np.float64(STEPS_PER_NAT / config.temperature)
    narrowed = config.top_k or config.top_p < 1
    table = weights_table()
    for row, tune in enumerate(tunes):
        allowed = mask[row].nonzero()[0]
        if not len(allowed):
            raise _nothing_to_choose(row, 0)
        levels = np.floor(logits[row].take(allowed) * scale + 0.5)
        highest = levels.max()
        if not math.isfinite(highest):
            raise _nothing_to_choose(row, len(allowed))
        # Distances beyond the table are brought to its end, where the weight is 0.
        distances = np.minimum(highest - levels, TABLE_SIZE).astype(np.int64)
        weights = table.take(distances)
        if narrowed:
            weights = _cut(weights, distances, config)
        sums = weights.cumsum()
        # One product, rounded once, as everywhere: both factors are whole numbers below 2^53.
        draw = int(random_word(seed, step, int(tune), stream) * float(sums[-1]) / WORD)
        ids[row] = allowed[sums.searchsorted(draw, side="right")]
    return ids


def _cut(weights: np.ndarray, distances: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """`weights` with 0 for all that `top_k` and `top_p` leave out; of equal ones the lower id is the better."""
    order = distances.argsort(kind="stable")
    if config.top_k:
        order = order[: config.top_k]
    if config.top_p < 1:
        sums = weights[order].cumsum()
        order = order[: sums.searchsorted(math.floor(config.top_p * float(sums[-1])), side="left") + 1]
    kept = np.zeros_like(weights)
    kept[order] = weights[order]
    return kept


def repeating(history: Sequence[int], span: int, vocabulary: int) -> np.ndarray:
    """(V,) bool: the ids with which the last `span` ids of `history` would be ones that came before.

    An id is marked if it followed, anywhere earlier, the same `span` - 1 ids that stand at the end now.
    """
    marked = np.zeros(vocabulary, bool)
    ids = np.asarray(history, np.int64)
    context = span - 1
    if len(ids) > context:
        windows = np.lib.stride_tricks.sliding_window_view(ids, context + 1)
        marked[windows[(windows[:, :context] == ids[len(ids) - context :]).all(axis=1), context]] = True
    return marked


@functools.cache
def weights_table() -> np.ndarray:
    """floor(2^30 exp(-d / 1024) + 1/2) for d = 0 ..., and a last 0 for all that is farther; int64.

    No entry lies nearer than 4e-5 to a rounding edge, so every `exp` gives the same table.
    """
    entries = [math.floor(LARGEST_WEIGHT * math.exp(-distance / STEPS_PER_NAT) + 0.5) for distance in range(TABLE_SIZE)]
    table = np.array([*entries, 0], np.int64)
    table.flags.writeable = False
    return table


def random_word(seed: int, step: int, tune: int, stream: int = 0) -> int:
    """32 random bits for one draw; `seed` counts modulo 2^64, the others modulo 2^32."""
    return philox((step % WORD, tune % WORD, stream % WORD, 0), (seed % WORD, (seed >> 32) % WORD))[0]


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


def _check(best: np.ndarray, mask: np.ndarray) -> None:
    for row in np.flatnonzero(~(np.isfinite(best) & mask.any(axis=1))):
        raise _nothing_to_choose(int(row), int(mask[row].sum()))


def _nothing_to_choose(row: int, allowed: int) -> ValueError:
    return ValueError(f"row {row}: no id is allowed" if not allowed else f"row {row}: the logits are not finite")
