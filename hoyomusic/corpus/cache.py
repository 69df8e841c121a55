"""Results kept between runs, never trusted: a damaged or outdated entry is as good as none.

An entry is one file: a line of JSON (format, key, SHA-256 of the rest), then compressed JSON. The key is
made of what the result was computed from, the program's own reading rules among it, so that neither
clocks nor version numbers decide whether an entry still holds.

What is too large for that, or to be used without being read first, is a mapped entry: `HEAD`, the bytes
themselves, a line of JSON (key, note, size and SHA-256 of the bytes), and at the very end the SHA-256 of
that line and its length in 8 bytes, little-endian. It is written in one go and opened as a memory map.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import platformdirs

from hoyomusic.errors import StorageError
from hoyomusic.storage import remove_leftovers, write_atomically

FORMAT = "hoyomusic corpus cache"
ENVIRONMENT_VARIABLE = "HOYOMUSIC_CACHE"

# What a mapped entry begins with; its length keeps the bytes behind it aligned for any kind of number.
HEAD = b"hoyomusic mapped cache 1".ljust(63) + b"\n"
_TAIL_BYTES = hashlib.sha256().digest_size + 8
_PIECE_BYTES = 1 << 20
# Text of tunes shrinks to a tenth; what unpacks to so many times its size was made to fill the memory.
MOST_UNPACKED = 100

# What a corpus is made with: another reading of the same bytes is another corpus.
CORPUS_RULES = ("tune.py", "regions.py", "abc", "corpus")


class Mapped(NamedTuple):
    """A mapped entry: the whole file, whose bytes [`start`, `start` + `size`) were stored, and the note beside them."""

    mapping: mmap.mmap
    start: int
    size: int
    note: Any


class Cache:
    """Entries in one folder; `notices` collects a line for each entry that was damaged or not kept."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_folder() if folder is None else folder
        self.notices: list[str] = []
        remove_leftovers(self.folder)

    def load(self, name: str, key: str) -> Any | None:
        """The value stored as `name` under `key`; None where there is none, or none that is whole and current."""
        path = self.folder / f"{name}.cache"
        with self._notes_errors(path), _open_regular(path) as file:
            header, _, body = file.read().partition(b"\n")
            fields = _read_header(header)
            value = None
            if fields is not None and fields.get("key") == key:
                value = _unpack(body) if fields.get("sha256") == hashlib.sha256(body).hexdigest() else None
                fields = None if value is None else fields
            if self._holds(path, fields, key):
                return value
        return None

    def store(self, name: str, key: str, value: Any) -> None:
        """Keep `value` (JSON) as `name` under `key`; a disk that is full or read-only costs a notice only."""
        body = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)
        header = {"format": FORMAT, "key": key, "sha256": hashlib.sha256(body).hexdigest()}
        self._write(self.folder / f"{name}.cache", [json.dumps(header).encode() + b"\n", body])

    def map(self, name: str, key: str) -> Mapped | None:
        """What `store_mapped` kept as `name` under `key`; None where there is none that is whole and current."""
        path = self.folder / f"{name}.map"
        with self._notes_errors(path), _open_regular(path) as file:
            fields = _read_footer(file)
            if fields and fields["key"] == key and _digest_bytes(file, fields["size"]) != fields["sha256"]:
                fields = None
            if self._holds(path, fields, key):
                mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                return Mapped(mapping, len(HEAD), fields["size"], fields["note"])
        return None

    def store_mapped(self, name: str, key: str, pieces: Iterable[bytes], note: Callable[[], Any]) -> bool:
        """Keep the bytes of `pieces`, and what `note` (JSON) says once they have all come; whether that was done."""
        return self._write(self.folder / f"{name}.map", _frame(key, pieces, note))

    def _write(self, path: Path, pieces: Iterable[bytes]) -> bool:
        try:
            write_atomically(path, pieces, overwrite=True)
        except StorageError as error:
            self.notices.append(f"the corpus is not cached: {error}")
            return False
        return True

    def _holds(self, path: Path, fields: dict[str, Any] | None, key: str) -> bool:
        """Whether an entry with these fields, None where it is not whole, is the one that is asked for."""
        if fields is None:
            self.notices.append(f"{path}: the cached corpus is damaged, computed anew")
        elif fields.get("key") != key:
            self.notices.append(f"{path}: the cached corpus is out of date, computed anew")
        else:
            return True
        return False

    @contextmanager
    def _notes_errors(self, path: Path) -> Iterator[None]:
        """A file that is not there is no entry; one that cannot be read costs a notice."""
        try:
            yield
        except FileNotFoundError:
            pass
        except OSError as error:
            self.notices.append(f"{path}: cannot be read ({error.strerror}), computed anew")


def _frame(key: str, pieces: Iterable[bytes], note: Callable[[], Any]) -> Iterator[bytes]:
    """The file of a mapped entry, piece by piece."""
    yield HEAD
    found, size = hashlib.sha256(), 0
    for piece in pieces:
        found.update(piece)
        size += len(piece)
        yield piece
    footer = json.dumps({"key": key, "note": note(), "size": size, "sha256": found.hexdigest()}).encode() + b"\n"
    yield footer + hashlib.sha256(footer).digest() + len(footer).to_bytes(8, "little")


def _read_footer(file: BinaryIO) -> dict[str, Any] | None:
    """What stands behind the bytes of a mapped entry; None where the file is no whole one."""
    if file.read(len(HEAD)) != HEAD:
        return None
    end = os.fstat(file.fileno()).st_size - _TAIL_BYTES
    if end < len(HEAD):
        return None
    file.seek(end)
    tail = file.read(_TAIL_BYTES)
    start = end - int.from_bytes(tail[-8:], "little")
    if start < len(HEAD):
        return None
    file.seek(start)
    footer = file.read(end - start)
    if hashlib.sha256(footer).digest() != tail[:-8]:
        return None
    fields = _read_json(footer)
    names = ("key", "note", "size", "sha256")
    whole = isinstance(fields, dict) and fields.keys() == set(names) and type(fields["size"]) is int
    return fields if whole and 0 <= fields["size"] <= start - len(HEAD) else None


def _digest_bytes(file: BinaryIO, size: int) -> str:
    """SHA-256 in hex of the bytes of a mapped entry: read, not mapped, so that they do not stay resident."""
    found = hashlib.sha256()
    file.seek(len(HEAD))
    while size > 0 and (piece := file.read(min(size, _PIECE_BYTES))):
        found.update(piece)
        size -= len(piece)
    return found.hexdigest()


def _read_header(line: bytes) -> dict[str, Any] | None:
    fields = _read_json(line)
    return fields if isinstance(fields, dict) and fields.get("format") == FORMAT else None


def _unpack(body: bytes) -> Any | None:
    """The value of an entry; None where it is none, or far larger than any corpus that small."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(body, MOST_UNPACKED * len(body))
    except zlib.error:
        return None
    return _read_json(text) if unpacking.eof else None


def _read_json(text: bytes) -> Any | None:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _open_regular(path: Path) -> BinaryIO:
    """A file opened to be read. Raises OSError for a folder, and for a pipe or device, which might never answer."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    return path.open("rb")


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
def rules_digest(rules: tuple[str, ...] = CORPUS_RULES) -> str:
    """A digest of the program text that turns bytes into tunes, or of other files and folders of the package."""
    root = resources.files("hoyomusic")
    texts: list[tuple[str, bytes]] = []
    pending = [(name, root / name) for name in rules]
    while pending:
        name, entry = pending.pop()
        if entry.is_dir():
            pending += [(f"{name}/{child.name}", child) for child in entry.iterdir()]
        elif entry.is_file() and name.endswith(".py"):
            texts.append((name, entry.read_bytes()))
    return digest(part for pair in sorted(texts) for part in pair)
