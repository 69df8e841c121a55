"""Which bars of a tune a variation changes, so that its form, its cadences and its beginnings stay."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from hoyomusic import sampling
from hoyomusic.errors import UsageError
from hoyomusic.tune import Tune
from hoyomusic.vocab import count_bars, find_upbeats

BARS_STREAM = 4

# The indices of bars that have the same notes, rising.
Group = tuple[int, ...]


def choose_groups(tune: Tune, amount: float, seed: int, may_change: Callable[[int], bool]) -> list[Group]:
    """The groups of like bars that change, so that together they are as near to this share of the bars as may be.

    At least one group changes. Upbeats stay, and each group that holds a cadence or a bar (told by its index) for which
    `may_change` is false. Groups that hold the first bar of a section change only where the others are too few.
    Raises UsageError where every bar has to stay.
    """
    wanted = max(1, math.floor(amount * count_bars(tune) + 0.5))
    cadences, beginnings = find_cadences(tune), find_beginnings(tune)
    free: list[Group] = []
    reserve: list[Group] = []
    for group in group_bars(tune):
        if cadences.isdisjoint(group) and all(map(may_change, group)):
            (free if beginnings.isdisjoint(group) else reserve).append(group)
    for groups in (free, reserve):
        groups.sort(key=lambda group: sampling.random_word(seed, group[0], 0, BARS_STREAM))
    available = sum(map(len, free))
    if not free and not reserve:
        raise UsageError("no bar may change: all are cadences or upbeats", remedy="give a longer tune")
    if wanted <= available or not reserve:
        return _take(free, wanted)
    return free + (_take(reserve, wanted - available) if wanted > available else [])


def group_bars(tune: Tune) -> list[Group]:
    """The bars of a tune, upbeats left out, by groups with the same notes in the same key and metre."""
    groups: dict[object, list[int]] = defaultdict(list)
    keys, metres, upbeats = tune.keys(), tune.metres(), find_upbeats(tune)
    for index, bar in enumerate(tune.bars):
        if not upbeats[index]:
            groups[bar.notes, keys[index], metres[index]].append(index)
    return [tuple(group) for group in groups.values()]


def find_cadences(tune: Tune) -> set[int]:
    """The last bar of each section, of each ending, before each double bar line and part, and of the tune."""
    found = {index for index, bar in enumerate(tune.bars) if bar.double}
    found |= {index - 1 for index, bar in enumerate(tune.bars) if bar.part and index}
    for section in tune.sections():
        found |= {ending.stop - 1 for ending in section.endings} | {section.stop - 1}
    return found


def find_beginnings(tune: Tune) -> set[int]:
    """The first bar of the tune and those behind cadences, upbeats passed over."""
    starts = {0} | {cadence + 1 for cadence in find_cadences(tune)}
    found, behind = set(), False
    for index, upbeat in enumerate(find_upbeats(tune)):
        behind = behind or index in starts
        if behind and not upbeat:
            found.add(index)
            behind = False
    return found


def _take(groups: Sequence[Group], wanted: int) -> list[Group]:
    """Some of `groups`, at least one, whose sizes add up to `wanted` or as near as can be; earlier ones come first."""
    reached: dict[int, tuple[Group, ...]] = {0: ()}
    for group in groups:
        for total, chosen in list(reached.items()):
            if total < wanted:
                reached.setdefault(total + len(group), (*chosen, group))
    del reached[0]
    return list(reached[min(reached, key=lambda total: (abs(total - wanted), total))])
