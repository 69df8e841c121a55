"""Writing files: a file is old or new, never half, and what a user made is never overwritten unasked.

Everything that HoyoMusic writes goes through `write_together`: a temporary file in the same folder, flushed and
fsynced, then renamed (or linked, where the name must be free) over the target. Who dies meanwhile leaves the
temporary file behind; whoever writes there next removes it. Who writes to one file for hours holds it (`hold`).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hoyomusic.errors import StorageError

TEMPORARY_PREFIX = ".hoyo-"
TEMPORARY_SUFFIX = ".tmp"
TEMPORARY = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}[0-9a-f]{{16}}{re.escape(TEMPORARY_SUFFIX)}")
LOCK_SUFFIX = ".lock"
# What is told by file systems that have no hard links, or no locks.
UNSUPPORTED = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.ENOLCK)


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
                        _lock(descriptor, wait=False)
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
        if target.exists() and not target.is_file():
            # A pipe or a device would be moved aside, or replaced.
            raise StorageError("is not a regular file", where=str(path), remedy="name another file")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _Temporary(target.parent) as probe:
            _write_new(probe, ())


def check_room(path: str | os.PathLike[str], needed: int) -> None:
    """Raise StorageError unless `needed` bytes are free where `path` lies: to be asked before long work starts."""
    with _storage_errors(path):
        free = shutil.disk_usage(Path(os.path.realpath(path)).parent).free
    if free < needed:
        raise StorageError(
            f"there is no space for it: {free / 2**20:,.1f} MiB are free, {needed / 2**20:,.1f} MiB are needed",
            where=str(path), remedy="make room or choose another place",
        )


@contextlib.contextmanager
def hold(path: str | os.PathLike[str]) -> Iterator[Callable[[], bool]]:
    """Be the one process that writes to `path`, for as long as this lasts; a locked file beside it says who that is.

    What is given tells whether the folder that `path` lay in has been removed since, be there a new one or not.

    The system lets go of the lock of a process that ends, however it ends, so what a dead one left is taken
    over. Raises StorageError where another process holds the file, and for disks that are unwilling. Other
    systems than POSIX ones, and disks that cannot lock, leave it to the user not to write twice.
    """
    if os.name != "posix":
        yield lambda: not Path(path).parent.exists()
        return
    with _storage_errors(path):
        target = Path(os.path.realpath(path))
        beside = target.with_name(target.name + LOCK_SUFFIX)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _take(beside, path)
        # While it is open no other folder gets its number.
        folder = os.open(target.parent, os.O_RDONLY)
    try:
        yield lambda: not _is_at(folder, target.parent)
    finally:
        # Only who holds the lock removes its file, and who takes one looks whether it is still there.
        with contextlib.suppress(OSError):
            if _is_at(descriptor, beside):
                beside.unlink()
        os.close(folder)
        os.close(descriptor)


def _take(beside: Path, path: str | os.PathLike[str]) -> int:
    """The descriptor of the lock file, locked, and with the number of this process in it."""
    while True:
        with contextlib.ExitStack() as undoing:
            descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
            undoing.callback(os.close, descriptor)
            holder = os.read(descriptor, 64) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b"?"
            if not re.fullmatch(rb"([0-9]+\n)?", holder):
                raise StorageError("is no lock, but lies where one goes", where=str(beside), remedy="move it elsewhere")
            try:
                _lock(descriptor, wait=False)
            except BlockingIOError:
                who = f"process {int(holder)}" if holder else "another process"
                raise StorageError(
                    f"is being written by {who}", where=str(path), remedy="wait for it, or name another file"
                ) from None
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
            if _is_at(descriptor, beside):
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, b"%d\n" % os.getpid())
                undoing.pop_all()
                return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file or folder is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def keep_numbered(path: Path, beside: Sequence[str] = ()) -> Path | None:
    """Give the file at `path` a further name with the first number that is free, as ``name-2.pth``; that name.

    What lies beside it with a suffix of `beside` is kept with it, under the same number. The file can then be
    written anew: there is no moment at which none has its name. None where there is no file.
    """
    with _storage_errors(path):
        target = Path(os.path.realpath(path))
        if not target.exists():
            return None
        files = [file for file in (*map(target.with_suffix, beside), target) if file.is_file()]
        for number in itertools.count(2):
            kept = [file.with_name(f"{target.stem}-{number}{file.suffix}") for file in files]
            if not any(map(os.path.lexists, kept)) and _link_all(files, kept):
                _sync_folder(target.parent)
                return kept[-1] if path.is_symlink() else path.with_name(kept[-1].name)


def _link_all(files: Sequence[Path], names: Sequence[Path]) -> bool:
    """Give each file a further name; False, and no file has one, where a name is taken by now."""
    with contextlib.ExitStack() as undoing:
        for file, name in zip(files, names, strict=True):
            try:
                _claim(file, name)
            except FileExistsError:
                return False
            undoing.callback(_take_back, file, name)
        undoing.pop_all()
    return True


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
                _lock(self.descriptor, wait=True)
            if self.path.exists():  # else it was swept away before it was locked
                return
            os.close(self.descriptor)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> _Temporary:
        return self

    def __exit__(self, *error: object) -> None:
        if os.name != "posix":
            self.close()
        # Where that cannot be done now, the next one to write here does it.
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()


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
    if os.name != "posix":
        # An open file cannot be renamed there.
        temporary.close()


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
        if error.errno not in UNSUPPORTED:
            raise
        # A file system without hard links: the window between the test and the rename cannot be closed.
        if os.path.lexists(target):
            raise FileExistsError from None
        os.replace(temporary, target)


@cache
def _remove_leftovers_once(folder: Path) -> None:
    """Once a process and folder: who writes here first sweeps here."""
    remove_leftovers(folder)


def _lock(descriptor: int, *, wait: bool) -> None:
    """Hold a file until it is closed; BlockingIOError where another process does and we are not to `wait`."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


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
            errno.EDQUOT: "no space left: the quota is used up",
            errno.EFBIG: "no space left: a file may not be so large here",
            errno.EROFS: "the disk is read-only",
            errno.EACCES: "permission denied",
            errno.ENOTDIR: "a part of its path is a file, not a folder",
            errno.EEXIST: "a part of its path is a file, not a folder",
            errno.ENAMETOOLONG: "the name is too long",
        }.get(error.errno, error.strerror or str(error))
        raise StorageError(f"cannot be written: {reason}", where=str(path), remedy="choose another place") from error
