"""The tunes of files that were named on the command line; what of them was left out or guessed is said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hoyomusic.cli.console import warn

if TYPE_CHECKING:
    from hoyomusic.tune import Tune

LARGEST_FILE = 64 * 2**20


def read_tunes(path: Path) -> list[Tune]:
    """The tunes of an ABC file. Raises AbcError where there is none, CorpusError for what cannot be read."""
    from hoyomusic import abc
    from hoyomusic.corpus.files import read_file
    from hoyomusic.errors import AbcError

    readings = abc.read(abc.decode(read_file(path, LARGEST_FILE)), source=str(path))
    if not readings:
        raise AbcError("there is no tune in it", where=str(path), remedy="a tune begins with an X: field")
    notices: dict[str, list[str]] = {}
    for reading in readings:
        for notice in reading.notices:
            notices.setdefault(notice.message, []).append(f"line {notice.line}, column {notice.column}")
    for message, places in notices.items():
        several = f" (in {len(places)} tunes)" if len(places) > 1 else ""
        warn(f"{path}, {places[0]}: left out or guessed: {message}{several}")
    return [reading.tune for reading in readings]


def read_tune(path: Path) -> Tune:
    """The one tune of an ABC file; raises AbcError also where there are several."""
    from hoyomusic.errors import AbcError

    tunes = read_tunes(path)
    if len(tunes) > 1:
        raise AbcError(f"one tune expected, {len(tunes)} found", where=str(path), remedy="leave one X: field in it")
    return tunes[0]
