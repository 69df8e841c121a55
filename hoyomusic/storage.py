"""Writing files: a file is old or new, never half, and what a user made is never overwritten unasked.

Everything that HoyoMusic writes goes through `write_together`: a temporary file in the same folder, flushed and
fsynced, then renamed (or linked, where the name must be free) over the target. Who dies meanwhile leaves the
temporary file behind; whoever writes there next removes it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hoyomusic.errors import StorageError

TEMPORARY_PREFIX = ".hoyo-"
TEMPORARY_SUFFIX = ".tmp"
TEMPORARY = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}[0-9a-f]{{16}}{re.escape(TEMPORARY_SUFFIX)}")


def write_atomically(path: str | os.PathLike[str], data: bytes | Iterable[bytes], *, overwrite: bool) -> Path:
    """Write `data` to `path` so that at every moment the old file or the whole new one is there.

    Data too large to hold come piece by piece. The folder is made if need be. A link is followed: what it
    points to is replaced, the link stays.
    Raises StorageError when the target exists and `overwrite` is false, when it is a folder, or when
    the disk is full, read-only or otherwise unwilling.
    """
    (written,) = write_together({Path(path): data}, overwrite=overwrite)
    return written


def write_together(
    files: Mapping[Path, bytes | Iterable[bytes]], *, overwrite: bool, numbered: bool = False
) -> list[Path]:
    """`write_atomically` for files that belong together: all get their names once all are written, or none does.

    `numbered`: where a name is taken, all files take the first number under which all are free (``name-2.abc``,
    ``name-2.mid``), whoever else writes at that moment. Returns the paths as written.
    """
    with contextlib.ExitStack() as stack:
        pending = [_prepare(path, data, overwrite, numbered, stack) for path, data in files.items()]
        with _uninterrupted() if len(pending) > 1 else contextlib.nullcontext():
            for number in itertools.count(1):
                named = [each.numbered(number) for each in pending]
                clash = _publish(named, overwrite)
                if clash is None:
                    break
                if not numbered:
                    raise taken(clash)
        for folder, path in {each.target.parent: each.path for each in named}.items():
            with _storage_errors(path):
                _sync_folder(folder)
    return [each.path for each in named]


def remove_leftovers(folder: Path) -> int:
    """Remove from `folder` what writers that are gone left unfinished; how many files. The living lock theirs."""
    removed = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    descriptor = os.open(entry.path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
                    try:
                        _lock(descriptor)
                        os.unlink(entry.path)
                        removed += 1
                    finally:
                        os.close(descriptor)
    return removed


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise StorageError unless a file can be written at `path`: to be asked before long work starts."""
    target = Path(os.path.realpath(path))
    with _storage_errors(path):
        if target.is_dir():
            raise StorageError("is a folder", where=str(path), remedy="name a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _Temporary(target.parent) as probe:
            _write_new(probe, ())


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


class _Temporary:
    """A new file in `folder` under a name of ours, locked for as long as it is held, gone when it is let go."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        while True:
            self.path = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
            self.descriptor = os.open(self.path, flags, 0o666)
            with contextlib.suppress(OSError):
                _lock(self.descriptor)
            if self.path.exists():  # else it was swept away before it was locked
                return
            os.close(self.descriptor)

    def __enter__(self) -> _Temporary:
        return self

    def __exit__(self, *error: object) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class _Pending(NamedTuple):
    """A file that is written but not named yet: its path as asked for, where that leads, and what holds it."""

    path: Path
    target: Path
    temporary: _Temporary

    def numbered(self, number: int) -> _Pending:
        """The same with a number behind its name; number 1 is the name itself."""
        if number == 1:
            return self
        name = f"{self.path.stem}-{number}{self.path.suffix}"
        return self._replace(path=self.path.with_name(name), target=self.target.with_name(name))


def _prepare(
    path: Path, data: bytes | Iterable[bytes], overwrite: bool, numbered: bool, stack: contextlib.ExitStack
) -> _Pending:
    """Write the file under a temporary name, which `stack` lets go."""
    with _storage_errors(path):
        # A link that has the name takes it, where another name will do as well.
        target = Path(os.path.realpath(path.parent), path.name) if numbered else Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        if not numbered:
            if target.exists() and not target.is_file():
                raise StorageError("is not a regular file", where=str(path), remedy="name another file")
            if target.exists() and not overwrite:
                raise taken(path)
        _remove_leftovers_once(target.parent)
        temporary = stack.enter_context(_Temporary(target.parent))
        _write_new(temporary, [data] if isinstance(data, bytes) else data)
        if overwrite and target.exists():
            os.chmod(temporary.path, target.stat().st_mode & 0o7777)
    return _Pending(path, target, temporary)


def _write_new(temporary: _Temporary, pieces: Iterable[bytes]) -> None:
    with os.fdopen(temporary.descriptor, "wb", closefd=False) as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(temporary.descriptor)


def _publish(named: list[_Pending], overwrite: bool) -> Path | None:
    """Give all files their names, or if one cannot have it none; the path of one whose name is taken."""
    with contextlib.ExitStack() as undoing:
        for path, target, temporary in named:
            with _storage_errors(path):
                if overwrite:
                    os.replace(temporary.path, target)
                    continue
                try:
                    _claim(temporary.path, target)
                except FileExistsError:
                    return path
                undoing.callback(_take_back, temporary.path, target)
        undoing.pop_all()
    return None


def _take_back(temporary: Path, target: Path) -> None:
    if temporary.exists():
        target.unlink()
    else:
        os.replace(target, temporary)


def _claim(temporary: Path, target: Path) -> None:
    """Give the finished file its name; FileExistsError if it is not free (a link fails where a rename would not)."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without hard links: the window between the test and the rename cannot be closed.
        if os.path.lexists(target):
            raise FileExistsError from None
        os.replace(temporary, target)


@cache
def _remove_leftovers_once(folder: Path) -> None:
    """Once a process and folder: who writes here first sweeps here."""
    remove_leftovers(folder)


def _lock(descriptor: int) -> None:
    """Hold a file until it is closed; raises OSError where another process holds it."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals that ask to stop wait until the end. Outside of the main thread there are none to be waited for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    asking = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in asking}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


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
