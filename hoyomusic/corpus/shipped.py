"""The ABC that the music21 package carries: some 13,000 tunes, read where they lie, without importing music21."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib import util
from pathlib import Path

from hoyomusic.corpus.abc_files import read_tunes
from hoyomusic.corpus.candidates import Reading, name_abc_error
from hoyomusic.corpus.cleaning import Treatment
from hoyomusic.corpus.files import digest_files, find_files
from hoyomusic.errors import AbcError, MissingPartError
from hoyomusic.regions import label_shipped_tune

LICENCE = "non-commercial use only (Essen collection, among the ABC files that music21 ships)"

# First match wins. The Essen files lack bar lines and modes; the key note of the Chinese ones is not
# their final, so that a mode counted from it would mean nothing.
_TREATMENTS = (
    ("essenFolksong/han*", Treatment(rebars=True, infers_metre=False)),
    ("essenFolksong/*", Treatment(rebars=True, infers_mode=True, infers_metre=False)),
    ("*", Treatment(infers_metre=False)),
)


def find_shipped_folder() -> Path:
    """The folder of the shipped corpora. Raises MissingPartError where music21 is not installed."""
    spec = util.find_spec("music21")
    if spec is None or spec.origin is None:
        raise MissingPartError("the default corpus is part of music21", remedy="run: pip install music21")
    return Path(spec.origin).parent / "corpus"


class ShippedCorpus:
    """All ABC tunes below music21's corpus folder (see `Source`), with nations by `regions.LABEL_RULES`."""

    name = "default"
    slot = "default"
    licence = LICENCE

    def __init__(self) -> None:
        self.files = find_files(find_shipped_folder(), (".abc",))

    def fingerprint(self) -> str:
        """A digest of names and bytes of the files."""
        return digest_files(self.files)

    def read(self) -> Iterator[Reading]:
        """One reading a tune, named ``folder/file#tune`` with tunes counted from 1."""
        for file in self.files:
            treatment = next(treatment for pattern, treatment in _TREATMENTS if fnmatchcase(file.name, pattern))
            for number, (origin, tune) in enumerate(read_tunes(file.path), start=1):
                place = file.place("", number)
                rule = label_shipped_tune(file.name, origin)
                if rule.region is None:
                    yield Reading(place, "", None, rule.why)
                elif isinstance(tune, AbcError):
                    yield Reading(place, rule.region, None, name_abc_error(tune))
                else:
                    yield Reading(place, rule.region, tune, treatment=treatment)
