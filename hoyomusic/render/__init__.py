"""From a score to files, one module a format; the suffix of the path chooses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hoyomusic.errors import RenderError
from hoyomusic.score import Score
from hoyomusic.storage import check_writable, free_path, taken, write_together

__all__ = ["SUFFIXES", "write", "write_all"]


SUFFIXES = (".abc", ".mid", ".midi", ".svg", ".musicxml", ".xml", ".mxl", ".wav", ".flac", ".ogg", ".mp3")


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
    (written,) = write_all(score, [Path(path)], overwrite=overwrite, soundfont=soundfont)
    return written


def write_all(
    score: Score,
    paths: Sequence[Path],
    *,
    overwrite: bool = False,
    numbered: bool = False,
    soundfont: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """`write` for several files of one score, of which all are written or none; the paths that they got.

    `numbered`: where one of the names is taken, all get the next number that is free for all.
    """
    for path in paths:
        _check_suffix(path)
        if os.path.exists(path) and not (overwrite or numbered):
            raise taken(path)
        check_writable(free_path(path) if numbered else path)
    data = {path: _make(score, path.suffix.lower(), soundfont) for path in paths}
    return write_together(data, overwrite=overwrite, numbered=numbered)


def _check_suffix(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise RenderError(
            f"there is no format {suffix!r}" if suffix else "has no suffix to choose a format by",
            where=str(path),
            remedy=f"choose one of {', '.join(SUFFIXES)}",
        )


def _make(score: Score, suffix: str, soundfont: str | os.PathLike[str] | None) -> bytes:
    """The file; a format's module is imported when it is asked for, as some take longer than a tune does."""
    match suffix:
        case ".abc":
            from hoyomusic import abc

            return abc.write(score.tune).encode("utf-8")
        case ".mid" | ".midi":
            from hoyomusic.render import midi

            return midi.to_bytes(score)
        case ".svg":
            from hoyomusic.render import sheet

            return sheet.to_bytes(score)
        case ".musicxml" | ".xml":
            from hoyomusic.render import musicxml

            return musicxml.to_bytes(score)
        case ".mxl":
            from hoyomusic.render import musicxml

            return musicxml.to_compressed_bytes(score)
    from hoyomusic.render import audio

    return audio.to_bytes(score, suffix, soundfont=soundfont)
