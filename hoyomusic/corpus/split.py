"""Which tunes judge and which teach: whole clusters of near duplicates go to one side, in every nation.

The choice depends on the tunes alone: not on their order, not on where their files lie.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

TRAIN = "train"
VALIDATION = "validation"

# The share of each nation's tunes that is kept from training.
VALIDATION_SHARE = 0.05


def choose_split(clusters: Sequence[int], regions: Sequence[Hashable], digests: Sequence[str]) -> list[str]:
    """`TRAIN` or `VALIDATION` for each tune, given its cluster, its nation and a digest of its music.

    A cluster belongs to the nation of most of its tunes. Each nation gives its clusters in an order
    drawn from their digests until a share of `VALIDATION_SHARE` of its tunes is reached, passing over those
    that are too large; it gives at least one if it has two. Where none has two, one gives its only one.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, cluster in enumerate(clusters):
        members[cluster].append(index)
    by_region: dict[Hashable, list[tuple[str, int]]] = defaultdict(list)
    for cluster, indices in members.items():
        counts = Counter(regions[index] for index in indices)
        region = min(counts, key=lambda name: (-counts[name], str(name)))
        by_region[region].append((_draw(min(digests[index] for index in indices)), cluster))
    chosen: set[int] = set()
    for candidates in by_region.values():
        chosen.update(_choose_clusters(sorted(candidates), members))
    if not chosen and len(members) > 1:
        # One cluster a nation: without a judge nothing could be trained on, so one of them is it.
        chosen.update(_choose_clusters(sorted(sum(by_region.values(), [])), members))
    return [VALIDATION if cluster in chosen else TRAIN for cluster in clusters]


def _choose_clusters(candidates: list[tuple[str, int]], members: dict[int, list[int]]) -> list[int]:
    if len(candidates) < 2:
        return []
    room = round(VALIDATION_SHARE * sum(len(members[cluster]) for _, cluster in candidates))
    chosen = []
    for _, cluster in candidates:
        if len(members[cluster]) <= room:
            chosen.append(cluster)
            room -= len(members[cluster])
    if not chosen:
        _, _, smallest = min((len(members[cluster]), digest, cluster) for digest, cluster in candidates)
        chosen = [smallest]
    return chosen


def _draw(digest: str) -> str:
    return hashlib.sha256(f"split:{digest}".encode()).hexdigest()
