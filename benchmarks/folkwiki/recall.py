"""What followed the longest match of the last ids: in the tune so far, and in the training tunes.

Both are computed from ids up to a position and say which ids are likely next. A training tune is never
matched with itself nor with its near duplicates, so that the network learns from it how far matches may be
trusted in a tune that it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.folkwiki.tokens import START

# Matches in the tune are counted up to this length, those in the training tunes up to 31 ids.
LONGEST_ECHO = 15
LEVELS = (1, 2, 4, 8, 16)
# How many neighbours on either side of the sorted contexts are asked, among how many, and how many answers are kept.
NEIGHBOURS, SEARCHED, ANSWERS = 16, 24, 2
# How a match's vote grows with each id of its length; steps in which the share of votes is told.
GROWTH, SHARES = 2.0, 8
CHUNK = 1 << 16


def find_echoes(ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """For each of `ids` but the last, what followed the longest match in this tune, and the longest that disagrees.

    Two arrays (n, 2): the ids that followed (`START`: no match) and the lengths of the matches, at most
    `LONGEST_ECHO`. Of matches of one length the latest counts.
    """
    given = np.asarray(ids, np.int32)
    count = len(given) - 1
    followers = np.full((count, 2), START, np.int16)
    lengths = np.zeros((count, 2), np.int16)
    places = np.arange(count, dtype=np.int32)
    sources = places - np.arange(1, count, dtype=np.int32)[:, None]  # (distance, place): the place so far back
    same = (given[sources] == given[places]) & (sources >= 0)
    # A match's length is the distance to the latest place where it broke.
    length = places - np.maximum.accumulate(np.where(same, -1, places), axis=1)
    following = given[sources + 1]
    for answer in range(2 if count > 1 else 0):
        best = length.argmax(0)  # the first of equals, which is the nearest
        longest = length[best, places]
        followers[:, answer] = np.where(longest > 0, following[best, places], START)
        lengths[:, answer] = np.minimum(longest, LONGEST_ECHO)
        length = np.where(following == following[best, places], 0, length)
    return followers, lengths


def find_kin(
    tunes: Sequence[Sequence[int]], groups: Sequence[int], may_answer: Sequence[bool]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each position of each tune but the last: what follows in the training tunes whose last ids are the same.

    `groups` numbers clusters of near duplicates: a tune gets no answer from its own. Only tunes marked in
    `may_answer` give any. For each tune two arrays (n, ANSWERS): ids, the one with most votes first, and
    their `strength`, (length of the longest match) * SHARES + (share of the votes in eighths).
    """
    sizes = np.array([len(ids) for ids in tunes])
    line = np.concatenate([np.asarray(ids, np.int64) for ids in tunes])
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    depth = np.minimum(np.arange(len(line)) - starts + 1, 31)
    group = np.repeat(np.asarray(groups, np.int64), sizes)
    follower = np.append(line[1:], START)
    is_last = np.zeros(len(line), bool)
    is_last[np.cumsum(sizes) - 1] = True
    answers = np.repeat(np.asarray(may_answer, bool), sizes) & ~is_last

    ranks = _rank_contexts(line, depth)
    longest = _join(ranks[-1], 16, depth)
    # Only what may answer is in the sorted list: what comes later in a tune that is read changes nothing in it.
    able = np.flatnonzero(answers)
    able = able[np.argsort(longest[able], kind="stable")]
    between = np.searchsorted(longest[able], longest)
    asked_at = np.flatnonzero(~is_last)
    found_ids = np.full((len(line), ANSWERS), START, np.int16)
    strength = np.zeros((len(line), ANSWERS), np.int16)
    distances = np.arange(SEARCHED)
    for start in range(0, len(asked_at), CHUNK):
        here = asked_at[start : start + CHUNK]
        rows = np.arange(len(here))[:, None]
        sides = []
        for beside in (between[here][:, None] - 1 - distances, between[here][:, None] + distances):
            inside = (beside >= 0) & (beside < len(able))
            there = able[np.where(inside, beside, 0)]
            allowed = inside & (group[there] != group[here][:, None])
            nearest = np.argsort(~allowed, axis=1, kind="stable")[:, :NEIGHBOURS]
            sides.append((there[rows, nearest], allowed[rows, nearest]))
        there, allowed = (np.concatenate(parts, 1) for parts in zip(*sides, strict=True))
        length = np.minimum(_common(ranks, here[:, None], there), np.minimum(depth[here][:, None], depth[there]))
        length = np.where(allowed, length, 0)
        votes = np.where(length > 0, GROWTH**length, 0.0)
        names = follower[there]
        total = np.maximum(votes.sum(1), 1e-9)
        for answer in range(ANSWERS):
            # The votes of all neighbours that say the same, for the neighbour with the longest match of its kind.
            sums = np.stack([(votes * (names == names[:, [column]])).sum(1) for column in range(names.shape[1])], 1)
            picked = (rows[:, 0], sums.argmax(1))
            share = np.minimum(sums[picked] / total * SHARES, SHARES - 1).astype(np.int64)
            same = names == names[picked][:, None]
            reach = np.where(same, length, 0).max(1)
            found_ids[here, answer] = np.where(sums[picked] > 0, names[picked], START)
            strength[here, answer] = np.where(sums[picked] > 0, reach * SHARES + share, 0)
            votes = np.where(same, 0.0, votes)
    ends = np.cumsum(sizes)
    cuts = [slice(end - size, end - 1) for end, size in zip(ends, sizes, strict=True)]
    return [found_ids[cut] for cut in cuts], [strength[cut] for cut in cuts]


def _rank_contexts(line: np.ndarray, depth: np.ndarray) -> list[np.ndarray]:
    """For each of `LEVELS`, a number for the last so many ids at each position: equal and ordered as they are."""
    ranks = [np.unique(line, return_inverse=True)[1]]
    for level in LEVELS[:-1]:
        ranks.append(np.unique(_join(ranks[-1], level, depth), return_inverse=True)[1])
    return ranks


def _join(ranks: np.ndarray, level: int, depth: np.ndarray) -> np.ndarray:
    """A number for twice as many ids, from those of the last `level` ids and of as many before; 0 before the tune."""
    joined = ranks.astype(np.int64) * (int(ranks.max()) + 2)
    joined[level:] += np.where(depth[level:] > level, ranks[:-level] + 1, 0)
    return joined


def _common(ranks: list[np.ndarray], here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """How many ids up to `here` and up to `there` are the same, at most 31."""
    here, there = np.broadcast_arrays(here, there)
    length = np.zeros(here.shape, np.int64)
    for level, rank in zip(LEVELS[::-1], ranks[::-1], strict=True):
        one, other = here - length, there - length
        same = (rank[np.maximum(one, 0)] == rank[np.maximum(other, 0)]) & (one >= 0) & (other >= 0)
        length = np.where(same, length + level, length)
    return length
