"""What can go wrong, as one tree; the library raises these, only the command line prints them.

::

    HoyoError                     exit code 1
    ├── UsageError                exit code 2: a wish that cannot be granted as it was put
    ├── AbcError                  ABC text that is not music: file, line and column
    ├── TuneError                 a tune that contradicts itself or cannot be changed as asked
    ├── CorpusError               no tunes where tunes were expected, or rows that cannot be read
    ├── VocabularyError           ids that are no tune, or a tune that the vocabulary cannot say
    ├── CheckpointError           a model file that is missing, damaged, or of another kind
    ├── TrainingError             a run that cannot start or cannot go on
    ├── GenerationError           a tune that could not be made as asked, though the wish makes sense
    ├── RenderError               a file that cannot be written in the asked format
    ├── PlayError                a MIDI port that is not there or no longer answers
    ├── StorageError              the disk: full, read-only, already there
    └── MissingPartError          an optional part that is not installed

Every message is one line that says what is wrong; `where` names the place, `remedy` the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What a word must share with a name to be taken for it, mistyped (`difflib`'s ratio); Chinese names are so short that
# one sign in common is much.
NEAR_ENOUGH = 0.6
NEAR_ENOUGH_IN_CHINESE = 0.5


class HoyoError(Exception):
    """The root of all errors that HoyoMusic raises on purpose.

    >>> print(HoyoError("no tunes", where="songs/", remedy="add .abc files"))
    songs/: no tunes; add .abc files
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.message = message
        self.where = where
        self.remedy = remedy
        super().__init__(message)

    def __str__(self) -> str:
        text = self.message if self.where is None else f"{self.where}: {self.message}"
        return text if self.remedy is None else f"{text}; {self.remedy}"


class UsageError(HoyoError):
    """An option, or a combination of options, that makes no sense."""

    exit_code = 2


class AbcError(HoyoError):
    """ABC text that cannot be read; `line` and `column` count from 1 in the text that was given."""

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        column: int | None = None,
        where: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.line = line
        self.column = column
        if line is not None:
            place = f"line {line}" if column is None else f"line {line}, column {column}"
            where = place if where is None else f"{where}, {place}"
        super().__init__(message, where=where, remedy=remedy)


class TuneError(HoyoError):
    """A tune that contradicts itself, or a change that it does not allow."""


class CorpusError(HoyoError):
    """A corpus that is absent, empty or unreadable."""


class VocabularyError(HoyoError):
    """A tune that has no ids, or ids that have no tune."""


class CheckpointError(HoyoError):
    """A model file that is missing, damaged, newer than this program, or no model at all."""


class TrainingError(HoyoError):
    """A training run that cannot start or cannot go on."""


class GenerationError(HoyoError):
    """A tune that could not be made as asked, though the wish makes sense."""


class RenderError(HoyoError):
    """A score that cannot be written in the asked format."""


class PlayError(HoyoError):
    """A MIDI port that is not there, cannot be opened, or no longer answers."""


class StorageError(HoyoError):
    """A file that cannot be written: disk full, folder read-only, name taken."""


class MissingPartError(HoyoError):
    """An optional part that is not installed; the remedy is the command that installs it."""


def find_nearest(word: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `word` is likeliest meant for, in any case of letters; None where none is like it.

    >>> find_nearest("monstadt", ["Teyvat", "Mondstadt"]), find_nearest("蒙得", ["蒙德"]), find_nearest("x", ["Liyue"])
    ('Mondstadt', '蒙德', None)
    """
    folded = {name.casefold(): name for name in names}
    wanted = word.strip().casefold()
    near = NEAR_ENOUGH if wanted.isascii() else NEAR_ENOUGH_IN_CHINESE
    found = difflib.get_close_matches(wanted, folded, n=1, cutoff=near)
    return folded[found[0]] if found else None


def suggest(word: str, names: Iterable[str], others: Iterable[str] = ()) -> str:
    """The remedy for a name that there is not: the nearest that there is, else all of `names`, but not the `others`.

    >>> suggest("midd", ["abc", "mid"]), suggest("pdf", ["abc", "mid"])
    ('did you mean mid?', 'choose one of abc, mid')
    """
    known = list(names)
    nearest = find_nearest(word, [*known, *others])
    return f"choose one of {', '.join(known)}" if nearest is None else f"did you mean {nearest}?"
