"""A corpus: usable tunes with nation, cluster and split, and the account of all that did not get in."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from hoyomusic.corpus.split import TRAIN, VALIDATION
from hoyomusic.errors import UsageError
from hoyomusic.regions import find_learned
from hoyomusic.tune import Tune

STAGES = ("raw", "unique", "metred", "usable")


@dataclass(frozen=True, slots=True)
class CorpusTune:
    """One usable tune. `region` is its nation's label id, `source` its place (``path#number``).

    `cluster` is shared by near duplicates, which always have the same `split`. `digest` identifies the
    music: no two tunes of a corpus share it.
    """

    tune: Tune
    region: int
    source: str
    cluster: int
    split: str
    digest: str


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """What was read and what became of it.

    `stages`: nation -> stage (`STAGES`) -> tunes; tunes whose nation is unknown or that are left out
    on purpose stand under ``""``. `rejected`: reason -> tunes. `simplified`: change -> usable tunes.
    `notices`: what the user should know, a line each.
    """

    stages: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    simplified: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def read(self) -> int:
        """Tunes, rows and damaged entries found, usable or not."""
        return sum(counts["raw"] for counts in self.stages.values())


@dataclass(frozen=True, slots=True)
class Corpus:
    """Tunes to learn from. `hash` depends on music, nations and split only; not on order or place."""

    tunes: tuple[CorpusTune, ...]
    report: CorpusReport
    hash: str

    def of_split(self, split: str) -> tuple[CorpusTune, ...]:
        """The tunes of ``"train"`` or ``"validation"``."""
        return tuple(tune for tune in self.tunes if tune.split == split)

    def limited(self, count: int, seed: int = 0) -> Corpus:
        """At most `count` tunes, chosen by `seed`, in the corpus's proportions of nations and split.

        A part of the tunes for validation stays where there is one, down to `count` 2. The report
        stays that of the whole corpus. Raises UsageError for a `count` below 1.
        """
        if count < 1:
            raise UsageError(f"{count} tunes are too few", remedy="ask for at least 1")
        if count >= len(self.tunes):
            return self
        groups: dict[tuple[str, int], list[CorpusTune]] = defaultdict(list)
        for tune in self.tunes:
            groups[tune.split, tune.region].append(tune)
        quotas = _share_out(count, {group: len(tunes) for group, tunes in groups.items()})
        judges = [group for group in groups if group[0] == VALIDATION]
        if count > 1 and judges and not any(quotas[group] for group in judges):
            quotas[max(judges, key=lambda group: (len(groups[group]), group))] = 1
            quotas[max((group for group in groups if group[0] == TRAIN), key=lambda group: (quotas[group], group))] -= 1
        chosen = {
            tune.digest
            for group, tunes in groups.items()
            for tune in sorted(tunes, key=lambda tune: _draw(tune.digest, seed))[: quotas[group]]
        }
        tunes = tuple(tune for tune in self.tunes if tune.digest in chosen)
        return replace(self, tunes=tunes, hash=hash_tunes(tunes))

    def statistics(self) -> dict[str, Any]:
        """The whole account as plain JSON values, for ``hoyo corpus stats --json``."""
        report = self.report
        names = {tune.region: tune.tune.header.region for tune in self.tunes}
        regions = Counter(tune.region for tune in self.tunes)
        return {
            "read": report.read,
            "usable": len(self.tunes),
            "regions": {names[label]: count for label, count in sorted(regions.items())},
            "learned": [region.name for region in find_learned(regions)],
            "rejected": dict(report.rejected),
            "duplicates": report.rejected.get("exact duplicate", 0),
            "simplified": dict(report.simplified),
            "stages": {region: dict(counts) for region, counts in report.stages.items()},
            "sources": dict(report.sources),
            "notes": sum(len(bar.notes) for tune in self.tunes for bar in tune.tune.bars),
            "bars": sum(len(tune.tune.bars) for tune in self.tunes),
            "clusters": len({tune.cluster for tune in self.tunes}),
            "split": {split: len(self.of_split(split)) for split in (TRAIN, VALIDATION)},
            "hash": self.hash,
            "licences": list(report.licences),
            "notices": list(report.notices),
        }


def hash_tunes(tunes: Iterable[CorpusTune]) -> str:
    """SHA-256 in hex over the music, nation and split of each tune, in no particular order."""
    lines = sorted(f"{tune.digest} {tune.region} {tune.split}" for tune in tunes)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _share_out(count: int, sizes: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    """Whole quotas that sum to `count` and are nearest to proportional (largest remainders)."""
    total = sum(sizes.values())
    quotas = {group: count * size // total for group, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda group: (-(count * sizes[group] % total), group))
    for group in by_remainder[: count - sum(quotas.values())]:
        quotas[group] += 1
    return quotas


def _draw(digest: str, seed: int) -> str:
    """The key by which a seed shuffles tunes: the same for a tune in whatever corpus it is."""
    return hashlib.sha256(f"{seed}:{digest}".encode()).hexdigest()
