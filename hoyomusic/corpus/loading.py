"""From names and paths to a corpus: read each source, drop duplicates, cluster, split, account for all.

Reading is slow and its result is cached for each source by itself, so that adding one tune to a folder
does not read the shipped corpus again.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from hoyomusic.corpus.abc_files import AbcFiles
from hoyomusic.corpus.cache import Cache, digest, rules_digest
from hoyomusic.corpus.candidates import (
    EXACT_DUPLICATE,
    Candidate,
    Source,
    candidates_from_json,
    candidates_to_json,
    examine,
    mark_duplicates,
)
from hoyomusic.corpus.collection import STAGES, Corpus, CorpusReport, CorpusTune, hash_tunes
from hoyomusic.corpus.duplicates import cluster_near_duplicates, join_works
from hoyomusic.corpus.files import find_files
from hoyomusic.corpus.hoyomusic_rows import ROW_SUFFIXES, HoyoMusicRows, find_hoyomusic
from hoyomusic.corpus.registry import registered
from hoyomusic.corpus.shipped import ShippedCorpus
from hoyomusic.corpus.split import choose_split
from hoyomusic.corpus.symbtr import SymbTrScores, find_scores
from hoyomusic.errors import CorpusError, find_nearest
from hoyomusic.regions import REGIONS, find_region

DEFAULT = "default"

# Called with what is going on (a source's name, or "near duplicates") and how many tunes it has seen.
Progress = Callable[[str, int], None]

# How often a source under way reports.
_REPORT_EVERY = 100


def load_corpus(
    sources: Sequence[str | Path] = (DEFAULT,),
    *,
    hoyomusic: str | Path | None | Literal[False] = False,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> Corpus:
    """The corpus of `sources`: ``"default"`` (what music21 ships), registered names, or paths.

    `hoyomusic` adds the hoyoMusic set: a path, or None to look for it in its usual places. The same
    music in two sources is kept from the first. Raises CorpusError where a source cannot be found or
    read, or where not one tune is usable; MissingPartError where a format needs a further package.
    """
    opened = open_sources(sources, hoyomusic=hoyomusic)
    return assemble(opened, Cache() if use_cache else None, progress or (lambda what, count: None))


def open_sources(
    sources: Sequence[str | Path], *, hoyomusic: str | Path | None | Literal[False] = False
) -> list[Source]:
    """The sources that `load_corpus` reads; none of their tunes is read yet. Raises as it does."""
    opened = [find_source(source) for source in sources]
    if hoyomusic is not False:
        opened.append(HoyoMusicRows(find_hoyomusic(None if hoyomusic is None else Path(hoyomusic))))
    return opened


def find_source(source: str | Path) -> Source:
    """The source that a name or a path means. A path object is always a path, a text first a name.

    Raises CorpusError where there is neither.
    """
    if source in (DEFAULT, "music21"):
        return ShippedCorpus()
    corpora = registered() if isinstance(source, str) else {}
    if source in corpora:
        return _open_path(Path(corpora[source].path), str(source), corpora[source].region)
    path = Path(source)
    if not source or not os.path.exists(path):
        known = [DEFAULT, *corpora]
        nearest = find_nearest(str(source), known)
        listed = f"name a path or one of: {', '.join(known)}; hoyo corpus add registers your own"
        raise CorpusError(
            "there is no corpus, file or folder of this name",
            where=str(source) or repr(source),
            remedy=listed if nearest is None else f"did you mean {nearest}?",
        )
    return _open_path(path, str(source), "")


def _open_path(path: Path, name: str, region: str) -> Source:
    """ABC where there is any, else SymbTr's scores, else rows."""
    if not find_files(path, AbcFiles.suffixes):
        if find_scores(path):
            return SymbTrScores(path, name, region)
        if find_files(path, ROW_SUFFIXES):
            return HoyoMusicRows(path, name, region)
    return AbcFiles(path, name, region)


def assemble(sources: Sequence[Source], cache: Cache | None, progress: Progress) -> Corpus:
    """Read `sources`, or their cache entries, and make one corpus of them."""
    candidates: list[Candidate] = []
    counts: dict[str, int] = {}
    for source in sources:
        found = read_source(source, cache, progress)
        counts[source.name] = len(found)
        candidates += found
    candidates = mark_duplicates(candidates)
    usable = [candidate for candidate in candidates if candidate.tune is not None]
    report = CorpusReport(
        stages=_count_stages(candidates),
        rejected=_count(candidate.reason for candidate in candidates if candidate.reason),
        simplified=_count(change for candidate in usable for change in candidate.changes),
        sources=counts,
        licences=tuple(dict.fromkeys(source.licence for source in sources if source.licence)),
    )
    if not usable:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.rejected.items()) or "nothing was found"
        raise CorpusError(f"no usable tune ({reasons})", where=", ".join(counts))
    clusters = _cluster(usable, [source.slot for source in sources], cache, progress)
    tunes = _place(usable, join_works(clusters, [candidate.work for candidate in usable]))
    if cache is not None:
        report = replace(report, notices=tuple(cache.notices))
    return Corpus(tunes, report, hash_tunes(tunes))


def read_source(source: Source, cache: Cache | None, progress: Progress) -> list[Candidate]:
    """The examined tunes of one source, exact duplicates within it marked; from its cache entry if that holds."""
    key = digest(["source", rules_digest(), source.fingerprint()])
    if cache is not None and (value := cache.load(source.slot, key)) is not None:
        return candidates_from_json(value)
    candidates = []
    for reading in source.read():
        candidates.append(examine(reading))
        if len(candidates) % _REPORT_EVERY == 0:
            progress(source.name, len(candidates))
    progress(source.name, len(candidates))
    candidates = mark_duplicates(candidates)
    if cache is not None:
        cache.store(source.slot, key, candidates_to_json(candidates))
    return candidates


def _cluster(usable: list[Candidate], slots: list[str], cache: Cache | None, progress: Progress) -> list[int]:
    digests = [candidate.digest for candidate in usable]
    key = digest(["clusters", rules_digest(), *digests])
    name = f"clusters-{digest(slots)[:16]}"
    if cache is not None and (value := cache.load(name, key)) is not None:
        return value
    progress("near duplicates", len(usable))
    clusters = cluster_near_duplicates([candidate.tune for candidate in usable])
    if cache is not None:
        cache.store(name, key, clusters)
    return clusters


def _place(usable: list[Candidate], clusters: list[int]) -> tuple[CorpusTune, ...]:
    regions = [find_region(candidate.region).label for candidate in usable]
    splits = choose_split(clusters, regions, [candidate.digest for candidate in usable])
    return tuple(
        CorpusTune(candidate.tune, region, candidate.place, cluster, split, candidate.digest)
        for candidate, region, cluster, split in zip(usable, regions, clusters, splits, strict=True)
    )


def _count_stages(candidates: list[Candidate]) -> dict[str, dict[str, int]]:
    stages: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(STAGES, 0))
    for candidate in candidates:
        counts = stages[candidate.region]
        unique = candidate.reason != EXACT_DUPLICATE
        counts["raw"] += 1
        counts["unique"] += unique
        counts["metred"] += unique and candidate.metred
        counts["usable"] += candidate.tune is not None
    order = ["", *(region.name for region in REGIONS)]
    return {region: stages[region] for region in order if region in stages}


def _count(names) -> dict[str, int]:
    """How often each name occurs, the most frequent first."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))
