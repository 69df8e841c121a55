"""Results kept between runs, never trusted: a damaged or outdated entry is as good as none.

An entry is one file: a line of JSON (format, key, SHA-256 of the rest), then compressed JSON. The key is
made of what the result was computed from, the program's own reading rules among it, so that neither
clocks nor version numbers decide whether an entry still holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import platformdirs

from hoyomusic.errors import StorageError
from hoyomusic.storage import write_atomically

FORMAT = "hoyomusic corpus cache"
ENVIRONMENT_VARIABLE = "HOYOMUSIC_CACHE"

# What a corpus is made with: another reading of the same bytes is another corpus.
_RULES = ("tune.py", "regions.py", "abc.py", "abc", "corpus")


class Cache:
    """Entries in one folder; `notices` collects a line for each entry that was damaged or not kept."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_folder() if folder is None else folder
        self.notices: list[str] = []

    def load(self, name: str, key: str) -> Any | None:
        """The value stored as `name` under `key`; None where there is none, or none that is whole and current."""
        path = self._path(name)
        try:
            header, _, body = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            self.notices.append(f"{path}: cannot be read ({error.strerror}), computed anew")
            return None
        fields = _read_header(header)
        if fields is None or fields.get("sha256") != hashlib.sha256(body).hexdigest():
            self.notices.append(f"{path}: the cached corpus is damaged, computed anew")
            return None
        if fields.get("key") != key:
            self.notices.append(f"{path}: the cached corpus is out of date, computed anew")
            return None
        return json.loads(zlib.decompress(body))

    def store(self, name: str, key: str, value: Any) -> None:
        """Keep `value` (JSON) as `name` under `key`; a disk that is full or read-only costs a notice only."""
        body = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)
        header = {"format": FORMAT, "key": key, "sha256": hashlib.sha256(body).hexdigest()}
        try:
            write_atomically(self._path(name), json.dumps(header).encode() + b"\n" + body, overwrite=True)
        except StorageError as error:
            self.notices.append(f"the corpus is not cached: {error}")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.cache"


def _read_header(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and fields.get("format") == FORMAT else None


def cache_folder() -> Path:
    """The folder of cached corpora: `HOYOMUSIC_CACHE` where it is set, else the user's cache folder."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("hoyomusic"))


def digest(parts: Iterable[bytes | str]) -> str:
    """SHA-256 in hex of a sequence of texts; where one ends and the next begins matters."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.hexdigest()


@cache
def rules_digest() -> str:
    """A digest of the program text that turns bytes into tunes."""
    root = resources.files("hoyomusic")
    texts: list[tuple[str, bytes]] = []
    pending = [(name, root / name) for name in _RULES]
    while pending:
        name, entry = pending.pop()
        if entry.is_dir():
            pending += [(f"{name}/{child.name}", child) for child in entry.iterdir()]
        elif entry.is_file() and name.endswith(".py"):
            texts.append((name, entry.read_bytes()))
    return digest(part for pair in sorted(texts) for part in pair)
