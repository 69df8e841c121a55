"""One tune on its way into the corpus: as its source hands it over, and as it is after examination."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hoyomusic.corpus.cleaning import NO_KEY, NO_METRE, NO_NOTES, Treatment, clean, find_reason
from hoyomusic.corpus.duplicates import sign
from hoyomusic.corpus.records import TuneWriter, digest_music, read_tunes
from hoyomusic.errors import AbcError
from hoyomusic.tune import Tune

EXACT_DUPLICATE = "exact duplicate"

# What the ABC reader refuses and cleaning refuses too is one reason.
_PLAIN_REASONS = {"the tune has no notes": NO_NOTES, "the tune has no K: field": NO_KEY}

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9]+")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source found at one place: a tune, or in `reason` why there is none.

    `place` is ``path#number``, the path relative to the source; `region` the nation's name, empty
    where the source does not know it; `work` names the larger piece that the tune is a part of, and is
    empty where it is a piece by itself.
    """

    place: str
    region: str
    tune: Tune | None
    reason: str = ""
    treatment: Treatment = Treatment()
    work: str = ""


class Source(Protocol):
    """A place that tunes come from; each module of this package with a source in its name makes one.

    `name` is what the user calls it, `slot` a file name for its cache entry, `licence` what must be
    said about a model that learned from it.
    """

    name: str
    slot: str
    licence: str

    def fingerprint(self) -> str:
        """A digest of all that `read` would read."""

    def read(self) -> Iterator[Reading]:
        """What it holds, in a fixed order."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tune after examination; `tune` is None exactly where `reason` says why it is not usable.

    `signature` is that of `duplicates.sign`, empty where nothing could be read; `digest` that of the
    cleaned music, empty where there is none; `metred` says that it has a metre and a key; `changes`
    are the names of what cleaning changed; `work` is that of its reading.
    """

    place: str
    region: str
    tune: Tune | None
    reason: str
    signature: str
    metred: bool
    changes: tuple[str, ...] = ()
    digest: str = ""
    work: str = ""


def examine(reading: Reading) -> Candidate:
    """Clean the tune of a reading and decide whether it is usable; its header then names its nation."""
    if reading.tune is None:
        return Candidate(reading.place, reading.region, None, reading.reason, "", False)
    tune, changes = clean(reading.tune, reading.treatment)
    reason = find_reason(tune)
    signature = "" if reason == NO_NOTES else sign(tune)
    metred = reason not in (NO_METRE, NO_KEY, NO_NOTES)
    if reason:
        return Candidate(reading.place, reading.region, None, reason, signature, metred)
    tune = replace(tune, header=replace(tune.header, region=reading.region))
    music = digest_music(tune)
    return Candidate(reading.place, reading.region, tune, "", signature, metred, tuple(changes), music, reading.work)


def mark_duplicates(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Of each group of exact duplicates keep the first usable one (else the first), in the order given."""
    kept: dict[str, int] = {}
    marked: list[Candidate] = []
    for index, candidate in enumerate(candidates):
        marked.append(candidate)
        if not candidate.signature:
            continue
        earlier = kept.setdefault(candidate.signature, index)
        if earlier == index:
            continue
        loser = index
        if candidate.tune is not None and marked[earlier].tune is None:
            kept[candidate.signature] = index
            loser = earlier
        marked[loser] = replace(marked[loser], tune=None, reason=EXACT_DUPLICATE, changes=(), digest="")
    return marked


def name_abc_error(error: AbcError) -> str:
    """The reason under which tunes with this error are counted: its message without what it quotes.

    >>> name_abc_error(AbcError("key 'Bn' has no known mode", line=7))
    'ABC: key ... has no known mode'
    """
    if error.message in _PLAIN_REASONS:
        return _PLAIN_REASONS[error.message]
    return f"ABC: {_QUOTED.sub('...', error.message)}"


def candidates_to_json(candidates: Iterable[Candidate]) -> dict[str, Any]:
    """Candidates as plain JSON values, for the cache."""
    writer = TuneWriter()
    rows = [
        [
            candidate.place,
            candidate.region,
            None if candidate.tune is None else writer.record(candidate.tune),
            candidate.reason,
            candidate.signature,
            candidate.metred,
            list(candidate.changes),
            candidate.digest,
            candidate.work,
        ]
        for candidate in candidates
    ]
    return {"notes": writer.notes, "bars": writer.bars, "rows": rows}


def candidates_from_json(value: dict[str, Any]) -> list[Candidate]:
    """The candidates that `candidates_to_json` wrote."""
    records = (row[2] for row in value["rows"] if row[2] is not None)
    tunes = iter(read_tunes(value["notes"], value["bars"], records))
    return [
        Candidate(place, region, next(tunes) if record else None, reason, signature, metred, tuple(changes), *rest)
        for place, region, record, reason, signature, metred, changes, *rest in value["rows"]
    ]
