"""Files that others made: found in a fixed order, opened with care, unpacked within limits.

A user may point at any folder. Links that leave it, FIFOs and devices are not opened, a folder that
contains itself ends, and a small archive cannot fill the memory.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hoyomusic.errors import CorpusError

DEEPEST_FOLDER = 12
MEGABYTE = 2**20

# A packed file may grow to this many times its size; ABC text grows about 4 times.
LARGEST_RATIO = 100
# An xz file says how much memory it wants to be unpacked with; the largest of its usual settings asks for 65 MiB.
MOST_UNPACKING_MEMORY = 100 * MEGABYTE


class FoundFile(NamedTuple):
    """A file to read: its path, and `name`, the path relative to where the search began, with slashes.

    The name is empty where the search began at the file itself.
    """

    name: str
    path: Path

    def place(self, source: str, number: int) -> str:
        """How the tune or row `number` of this file is called: ``source/name#number``."""
        return f"{source}/{self.name}#{number}" if source and self.name else f"{source or self.name}#{number}"


def find_files(root: Path, suffixes: Sequence[str]) -> list[FoundFile]:
    """The regular files at or below `root` whose names end in one of `suffixes` (lower case), by name.

    Raises CorpusError where nothing is at `root`, or something that is neither file nor folder.
    """
    try:
        mode = root.stat().st_mode
    except OSError as error:
        raise _unreadable("cannot be opened", root, error) from error
    if stat.S_ISREG(mode):
        return [FoundFile("", root)] if _fits(root.name, suffixes) else []
    if not stat.S_ISDIR(mode):
        raise CorpusError("is neither a file nor a folder", where=str(root), remedy="name one of these")
    found = _walk(root, "", os.path.realpath(root), suffixes, DEEPEST_FOLDER)
    return sorted(found, key=lambda file: file.name.split("/"))


def _walk(folder: Path, prefix: str, home: str, suffixes: Sequence[str], depth: int) -> Iterator[FoundFile]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise _unreadable("cannot be opened", folder, error) from error
    for entry in entries:
        path = Path(entry.path)
        if entry.is_symlink() and not _stays_inside(path, home):
            continue
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link to itself
            continue
        if is_folder:
            # Links to folders would show files twice, or without end.
            if depth and not entry.is_symlink():
                yield from _walk(path, f"{prefix}{entry.name}/", home, suffixes, depth - 1)
        elif is_file and _fits(entry.name, suffixes):
            yield FoundFile(prefix + entry.name, path)


def _stays_inside(path: Path, home: str) -> bool:
    target = os.path.realpath(path)
    return os.path.commonpath([target, home]) == home


def _fits(name: str, suffixes: Sequence[str]) -> bool:
    return name.lower().endswith(tuple(suffixes))


@contextmanager
def open_file(path: Path, limit: int) -> Iterator[BinaryIO]:
    """A regular file, unpacked where its name ends in ``.gz`` or ``.xz``, of at most `limit` bytes.

    Raises CorpusError for anything else, for a damaged archive and for the disk's errors, also while
    it is read.
    """
    with _open_regular(path) as file:
        kind = next((suffix for suffix in _UNPACKERS if _fits(path.name, (suffix,))), None)
        if kind is None:
            yield _Limited(file, path, limit)
            return
        packed = os.fstat(file.fileno()).st_size
        name, unpack = _UNPACKERS[kind]
        try:
            with unpack(file) as unpacked:
                yield _Limited(unpacked, path, min(limit, max(packed * LARGEST_RATIO, MEGABYTE)))
        except (gzip.BadGzipFile, lzma.LZMAError, EOFError, zlib.error) as error:
            raise CorpusError(f"is no whole {name} archive", where=str(path)) from error


class _UnpackedXz:
    """What an xz file holds, piece by piece; unlike `lzma.LZMAFile` with a limit to the memory that it may ask for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._packed = b""
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, MOST_UNPACKING_MEMORY)

    def read(self, size: int) -> bytes:
        while size:
            if self._unpacker.eof:
                self._packed = (self._unpacker.unused_data + self._packed).lstrip(b"\0") or self._take().lstrip(b"\0")
                if not self._packed:
                    return b""
                self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, MOST_UNPACKING_MEMORY)
            elif self._unpacker.needs_input and not self._packed:
                self._packed = self._take()
                if not self._packed:
                    raise EOFError("an xz file that ends too soon")
            data = self._unpacker.decompress(self._packed, size)
            self._packed = b""
            if data:
                return data
        return b""

    def _take(self) -> bytes:
        return self._file.read(MEGABYTE)


# Suffix -> what a packed file is called, and the file that unpacks it.
_UNPACKERS = {
    ".gz": ("gzip", lambda file: gzip.GzipFile(fileobj=file)),
    ".xz": ("xz", lambda file: nullcontext(_UnpackedXz(file))),
}


class _Limited:
    """A binary file that raises CorpusError once more than `limit` bytes came out of it."""

    def __init__(self, file: BinaryIO, path: Path, limit: int) -> None:
        self._file = file
        self._path = path
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        wanted = size if 0 <= size <= self._left else self._left + 1
        pieces = []
        # Piece by piece: memory for all that is asked for would be taken before a byte is read.
        while wanted and (piece := self._file.read(min(wanted, MEGABYTE))):
            pieces.append(piece)
            wanted -= len(piece)
        return self._count(b"".join(pieces))

    def readline(self, size: int) -> bytes:
        return self._count(self._file.readline(size))

    def _count(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise CorpusError("is too large, or packed to an absurd degree", where=str(self._path))
        return data


def read_file(path: Path, limit: int) -> bytes:
    """All bytes of a file, with the care of `open_file`."""
    with open_file(path, limit) as file:
        return file.read()


def digest_files(files: Sequence[FoundFile]) -> str:
    """SHA-256 in hex over the names and the bytes, as they lie on the disk, of files."""
    found = hashlib.sha256()
    for file in files:
        name = file.name.encode("utf-8", "surrogateescape")
        with _open_regular(file.path) as raw:
            found.update(len(name).to_bytes(8, "little") + name + hashlib.file_digest(raw, "sha256").digest())
    return found.hexdigest()


@contextmanager
def _open_regular(path: Path) -> Iterator[BinaryIO]:
    try:
        # Without O_NONBLOCK a FIFO would wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CorpusError("is not a regular file", where=str(path), remedy="name another file")
            yield file
    except OSError as error:
        raise _unreadable("cannot be read", path, error) from error


def _unreadable(what: str, path: Path, error: OSError) -> CorpusError:
    return CorpusError(f"{what} ({error.strerror})", where=str(path), remedy="name what there is and may be read")
