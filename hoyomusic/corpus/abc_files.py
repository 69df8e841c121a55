"""A user's own ABC: a file, or a folder with files at any depth, plain or packed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hoyomusic.abc import decode, parse_each
from hoyomusic.abc.text import Piece, cut
from hoyomusic.corpus.cache import digest
from hoyomusic.corpus.candidates import Reading, name_abc_error
from hoyomusic.corpus.files import MEGABYTE, digest_files, find_files, read_file
from hoyomusic.errors import AbcError, CorpusError
from hoyomusic.regions import LABEL_RULES, REGIONS, TEYVAT
from hoyomusic.tune import Tune

LARGEST_FILE = 50 * MEGABYTE

_NATION_NAMES = {name.casefold(): region.name for region in REGIONS for name in (region.name, region.chinese)}
_ORIGIN_FIELD = re.compile(r"O:(.*)")


class AbcFiles:
    """The tunes of ``.abc`` and ``.abc.gz`` files (see `Source`).

    What nation they teach: `region` where it is given; else what a tune that HoyoMusic wrote says of
    itself; else the nearest folder that has a nation's name; else the nation whose rule matches the
    tune's origin (``O:``); else Teyvat, the general label.
    """

    suffixes = (".abc", ".abc.gz")
    licence = ""

    def __init__(self, path: Path, name: str, region: str = "") -> None:
        self.name = name
        self.slot = f"abc-{digest([str(path.resolve()), region])[:16]}"
        self.files = find_files(path, self.suffixes)
        if not self.files:
            raise CorpusError("holds no ABC files", where=str(path), remedy="tunes are .abc or .abc.gz files")
        self._region = region
        self._folder = path.resolve() if path.is_dir() else path.resolve().parent

    def fingerprint(self) -> str:
        """A digest of names and bytes of the files, and of what else decides about their nations."""
        return digest([self.name, self._region, self._folder.name, digest_files(self.files)])

    def read(self) -> Iterator[Reading]:
        """One reading a tune, named ``source/file#tune`` with tunes counted from 1."""
        for file in self.files:
            folders = [self._folder.name, *file.name.split("/")[:-1]]
            homes = (_NATION_NAMES.get(name.casefold(), "") for name in reversed(folders))
            home = next(filter(None, homes), "")
            for number, (origin, tune) in enumerate(read_tunes(file.path), start=1):
                place = file.place(self.name, number)
                if isinstance(tune, AbcError):
                    region = self._region or home or label_by_origin(origin)
                    yield Reading(place, region, None, name_abc_error(tune))
                else:
                    said = _NATION_NAMES.get(tune.header.region.casefold(), "")
                    yield Reading(place, self._region or said or home or label_by_origin(origin), tune)


def read_tunes(path: Path) -> Iterator[tuple[str, Tune | AbcError]]:
    """The tunes of one file, each with its first ``O:`` field; an AbcError in the place of a damaged tune."""
    text = decode(read_file(path, LARGEST_FILE))
    for piece, tune in zip(cut(text), parse_each(text), strict=True):
        yield _find_origin(piece), tune


def _find_origin(piece: Piece) -> str:
    lines = [*piece.lines, *(line for _, line in piece.file_fields)]
    return next((match[1].strip() for line in lines if (match := _ORIGIN_FIELD.match(line))), "")


def label_by_origin(origin: str) -> str:
    """The nation of the first label rule whose origin matches, whatever file it was made for; else Teyvat."""
    for rule in LABEL_RULES:
        if rule.origin and rule.region and re.search(rule.origin, origin):
            return rule.region
    return TEYVAT.name
