"""Writing files: a file is old or new, never half, and what a user made is never overwritten unasked.

Everything that HoyoMusic writes goes through `write_atomically`: a temporary file in the same folder,
flushed and fsynced, then renamed (or linked, where the name must be free) over the target.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from hoyomusic.errors import StorageError

TEMPORARY_PREFIX = ".hoyo-"
TEMPORARY_SUFFIX = ".tmp"


def write_atomically(path: str | os.PathLike[str], data: bytes | Iterable[bytes], *, overwrite: bool) -> Path:
    """Write `data` to `path` so that at every moment the old file or the whole new one is there.

    Data too large to hold come piece by piece. The folder is made if need be. A link is followed: what it
    points to is replaced, the link stays.
    Raises StorageError when the target exists and `overwrite` is false, when it is a folder, or when
    the disk is full, read-only or otherwise unwilling.
    """
    target = Path(os.path.realpath(path))
    with _storage_errors(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():
            raise StorageError("is not a regular file", where=str(path), remedy="name another file")
        if target.exists() and not overwrite:
            raise taken(path)
        temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        try:
            _write_new(temporary, [data] if isinstance(data, bytes) else data)
            if target.exists():
                os.chmod(temporary, target.stat().st_mode & 0o7777)
            if overwrite:
                os.replace(temporary, target)
            else:
                _claim(temporary, target, path)
            _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return Path(path)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise StorageError unless a file can be written at `path`: to be asked before long work starts."""
    target = Path(os.path.realpath(path))
    with _storage_errors(path):
        if target.is_dir():
            raise StorageError("is a folder", where=str(path), remedy="name a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        try:
            _write_new(probe, ())
        finally:
            probe.unlink(missing_ok=True)


def free_path(path: Path) -> Path:
    """`path` if nothing is there, else the first of ``name-2.suffix``, ``name-3.suffix`` ... that is free."""
    number, candidate = 1, path
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def taken(path: str | os.PathLike[str]) -> StorageError:
    """The error for a name that holds a user's file."""
    return StorageError("already exists", where=str(path), remedy="choose another name or add --force")


def _write_new(path: Path, pieces: Iterable[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _claim(temporary: Path, target: Path, path: str | os.PathLike[str]) -> None:
    """Give the finished file its name only if the name is still free (a link fails where a rename would not)."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without hard links: the window between the test and the rename cannot be closed.
        if target.exists():
            raise taken(path) from None
        os.replace(temporary, target)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _storage_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = {
            errno.ENOSPC: "no space left on the disk",
            errno.EROFS: "the disk is read-only",
            errno.EACCES: "permission denied",
            errno.ENOTDIR: "a part of its path is a file, not a folder",
            errno.EEXIST: "a part of its path is a file, not a folder",
            errno.ENAMETOOLONG: "the name is too long",
        }.get(error.errno, error.strerror or str(error))
        raise StorageError(f"cannot be written: {reason}", where=str(path), remedy="choose another place") from error
