"""Where files go: formats by name, one file as named or numbered ones in a folder, none taken twice."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from hoyomusic.errors import UsageError, suggest
from hoyomusic.text import UNSHOWABLE

# The usual name of a format whose files are called otherwise.
SUFFIX_OF_NAME = {"midi": ".mid"}

# With a number and a suffix a name has 120 bytes at most; file systems take 255.
LONGEST_STEM = 100
# What Windows takes for a device, whatever the suffix.
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def read_formats(formats: str) -> list[str]:
    """Suffixes of a list of formats: ``abc,midi`` -> ``[".abc", ".mid"]``, each once, in order.

    Raises UsageError for a format that there is not.
    """
    from hoyomusic.render import SUFFIXES

    suffixes = []
    for name in formats.lower().split(","):
        suffix = SUFFIX_OF_NAME.get(name.strip(), f".{name.strip().lstrip('.')}")
        if suffix not in SUFFIXES:
            remedy = suggest(name, [suffix[1:] for suffix in SUFFIXES])
            raise UsageError(f"there is no format {name.strip()!r}", where="--format", remedy=remedy)
        suffixes.append(suffix)
    return list(dict.fromkeys(suffixes))


def plan_targets(sources: Sequence[tuple[Path, int]], out: str, formats: str | None) -> list[list[Path]]:
    """For each tune of `sources`, each a path and how many tunes it has, the files to write.

    `out` is a folder if it exists as one, ends in a slash, or if `formats` says what to put there; else
    it is a file, whose suffix is the format. One tune gets the very name; of several, in a folder those
    of one source are numbered after it, and beside a file's name they are numbered through.
    """
    if not out:
        raise UsageError("an empty name", where="--out", remedy="name a file, or a folder with a slash behind it")
    total = sum(count for _, count in sources)
    folder = Path(out)
    if formats is None and not (out.endswith(("/", "\\")) or folder.is_dir()):
        if total == 1:
            return [[folder]]
        return [[folder.with_name(f"{folder.stem}-{tune}{folder.suffix}")] for tune in range(1, total + 1)]
    if formats is None:
        raise UsageError(f"{out} is a folder", where="--out", remedy="add --format, as in --format mid,wav,svg")
    suffixes = read_formats(formats)
    return [[folder / f"{stem}{suffix}" for suffix in suffixes] for stem in _stems(sources)]


def _stems(sources: Sequence[tuple[Path, int]]) -> list[str]:
    """A file name without suffix for each tune; sources of the same name are told apart by a number."""
    stems: list[str] = []
    used: set[str] = set()
    for path, count in sources:
        base = stem = short_stem(path.stem)
        number = 1
        while stem in used:
            number += 1
            stem = f"{base}-{number}"
        used.add(stem)
        stems += [stem] if count == 1 else [f"{stem}-{tune}" for tune in range(1, count + 1)]
    return stems


def short_stem(name: str, longest: int = LONGEST_STEM) -> str:
    """`name` in Unicode's composed form, cut to so many bytes, without control characters: any file system takes it.

    >>> len(short_stem("\\N{CJK UNIFIED IDEOGRAPH-8499}" * 80).encode()), short_stem("a\\nb"), short_stem("CON")
    (99, 'a_b', 'CON_')
    """
    shown = "".join("_" if unicodedata.category(sign) in UNSHOWABLE else sign for sign in name)
    data = unicodedata.normalize("NFC", shown).encode("utf-8")
    stem = data[:longest].decode("utf-8", "ignore")
    return f"{stem}_" if stem.lower() in DEVICES else stem
