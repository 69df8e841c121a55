"""From a score to files, one module a format; the suffix of the path chooses."""

from __future__ import annotations

import os
from pathlib import Path

from hoyomusic.errors import RenderError
from hoyomusic.render import audio, midi, musicxml, sheet
from hoyomusic.score import Score
from hoyomusic.storage import check_writable, taken, write_atomically

__all__ = ["SUFFIXES", "write"]


def _abc(score: Score) -> bytes:
    from hoyomusic import abc

    return abc.write(score.tune).encode("utf-8")


_WRITERS = {
    ".abc": _abc,
    ".mid": midi.to_bytes,
    ".midi": midi.to_bytes,
    ".svg": sheet.to_bytes,
    ".musicxml": musicxml.to_bytes,
    ".xml": musicxml.to_bytes,
    ".mxl": musicxml.to_compressed_bytes,
}

SUFFIXES = (*_WRITERS, *audio.FORMATS)


def write(
    score: Score,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    soundfont: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a score in the format that the suffix of `path` names, in any case; returns the path.

    MIDI and sound hold all tracks; ABC, MusicXML and the sheet hold the tune as written. `soundfont`
    is an .sf2 file for sound. Raises RenderError for an unknown suffix or an unusable soundfont and
    StorageError for a place that cannot be written; both before the work starts where possible.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise RenderError(
            f"there is no format {suffix!r}" if suffix else "has no suffix to choose a format by",
            where=str(path),
            remedy=f"choose one of {', '.join(SUFFIXES)}",
        )
    if Path(path).exists() and not overwrite:
        raise taken(path)
    check_writable(path)
    if suffix in audio.FORMATS:
        data = audio.to_bytes(score, suffix, soundfont=soundfont)
    else:
        data = _WRITERS[suffix](score)
    return write_atomically(path, data, overwrite=overwrite)
