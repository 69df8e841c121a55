"""Writing files: old or new, never half; never over what a user made; whatever fails, and whenever."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hoyomusic import storage
from hoyomusic.errors import StorageError
from hoyomusic.storage import (
    check_room,
    check_writable,
    free_path,
    hold,
    keep_numbered,
    remove_leftovers,
    taken,
    write_atomically,
)

OLD, NEW = b"old " * 1000, b"new!" * 2000


def listing(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("overwrite", [True, False])
def test_writes_a_new_file_and_its_folders(tmp_path, overwrite):
    path = tmp_path / "a" / "b" / "tune.abc"
    assert write_atomically(path, NEW, overwrite=overwrite) == path
    assert path.read_bytes() == NEW
    assert listing(path.parent) == ["tune.abc"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_writes_pieces_as_they_come_or_nothing(tmp_path):
    path = tmp_path / "large"
    write_atomically(path, (bytes([number]) * 3 for number in range(5)), overwrite=False)
    whole = path.read_bytes()
    assert whole == b"".join(bytes([number]) * 3 for number in range(5))

    def broken():
        yield b"new"
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_atomically(path, broken(), overwrite=True)
    assert path.read_bytes() == whole and listing(tmp_path) == ["large"]


def test_overwrites_only_when_told_and_keeps_the_mode(tmp_path):
    path = tmp_path / "tune.abc"
    path.write_bytes(OLD)
    path.chmod(0o640)
    with pytest.raises(StorageError) as caught:
        write_atomically(path, NEW, overwrite=False)
    assert str(caught.value) == f"{path}: already exists; choose another name or add --force" == str(taken(path))
    assert path.read_bytes() == OLD
    write_atomically(path, NEW, overwrite=True)
    assert path.read_bytes() == NEW and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert listing(tmp_path) == ["tune.abc"]


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    target = tmp_path / "there" / "real.abc"
    target.parent.mkdir()
    target.write_bytes(OLD)
    link = tmp_path / "link.abc"
    link.symlink_to(target)
    write_atomically(link, NEW, overwrite=True)
    assert link.is_symlink() and target.read_bytes() == NEW
    assert listing(target.parent) == ["real.abc"] and listing(tmp_path) == ["link.abc", "there"]


def test_the_name_is_claimed_even_if_it_was_free_a_moment_ago(tmp_path, monkeypatch):
    """Between the look and the claim another program makes the file: theirs stays."""
    path = tmp_path / "tune.abc"
    write = storage._write_new

    def interrupted(temporary: Path, data: bytes) -> None:
        write(temporary, data)
        path.write_bytes(b"theirs")

    monkeypatch.setattr(storage, "_write_new", interrupted)
    with pytest.raises(StorageError, match="already exists"):
        write_atomically(path, NEW, overwrite=False)
    assert path.read_bytes() == b"theirs" and listing(tmp_path) == ["tune.abc"]


def test_without_hard_links_it_works_as_well(tmp_path, monkeypatch):
    def no_links(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "tune.abc"
    write_atomically(path, NEW, overwrite=False)
    assert path.read_bytes() == NEW and listing(tmp_path) == ["tune.abc"]
    with pytest.raises(StorageError, match="already exists"):
        write_atomically(path, OLD, overwrite=False)


CALLS = ("open", "fsync", "replace", "link", "chmod")


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_whatever_call_fails_the_file_is_old_or_new(tmp_path, monkeypatch, call, number, overwrite):
    """SQLite's way: the n-th call of each kind fails, for n = 1, 2, ..."""
    path = tmp_path / "tune.abc"
    if overwrite:
        path.write_bytes(OLD)
    real, calls = getattr(os, call), []

    def failing(*arguments, **options):
        calls.append(arguments)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    failed = False
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        try:
            write_atomically(path, NEW, overwrite=overwrite)
        except StorageError as error:
            failed = True
            assert str(error) == f"{path}: cannot be written: no space left on the disk; choose another place"
    assert failed == (len(calls) >= number)
    assert listing(tmp_path) in ([path.name], [] if not overwrite else None)
    if path.exists():
        assert path.read_bytes() in ((OLD, NEW) if failed else (NEW,))
    write_atomically(path, NEW, overwrite=True)
    assert path.read_bytes() == NEW


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "permission denied"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_the_reason_is_told_in_words(tmp_path, monkeypatch, number, words):
    def failing(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    for attempt in (lambda path: write_atomically(path, NEW, overwrite=True), check_writable):
        with pytest.raises(StorageError) as caught:
            attempt(tmp_path / "tune.abc")
        assert str(caught.value) == f"{tmp_path / 'tune.abc'}: cannot be written: {words}; choose another place"
    assert listing(tmp_path) == []


def test_places_that_cannot_hold_a_file(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    below = tmp_path / "file" / "tune.abc"
    with pytest.raises(StorageError, match="tune.abc: cannot be written: a part of its path is a file, not a folder; "):
        write_atomically(below, NEW, overwrite=True)
    with pytest.raises(StorageError, match="the name is too long"):
        write_atomically(tmp_path / ("琴" * 100), NEW, overwrite=True)
    with pytest.raises(StorageError, match="is not a regular file; name another file"):
        write_atomically(tmp_path, NEW, overwrite=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="is not a regular file"):
        write_atomically(tmp_path / "pipe", NEW, overwrite=True)
    assert listing(tmp_path) == ["file", "pipe"]


def test_check_writable_leaves_nothing_behind(tmp_path):
    path = tmp_path / "models" / "model.pth"
    check_writable(path)
    assert listing(tmp_path / "models") == []
    path.write_bytes(OLD)
    check_writable(path)
    assert path.read_bytes() == OLD and listing(path.parent) == ["model.pth"]
    with pytest.raises(StorageError, match="is a folder; name a file"):
        check_writable(tmp_path)
    with pytest.raises(StorageError, match="below: cannot be written: .*; choose another place"):
        check_writable(path / "below")


def test_free_path_counts_on(tmp_path):
    path = tmp_path / "tune.abc"
    assert free_path(path) == path
    path.touch()
    (tmp_path / "tune-2.abc").symlink_to(tmp_path / "nowhere")
    assert free_path(path) == tmp_path / "tune-3.abc"


WRITER = """
import sys
from hoyomusic.storage import write_atomically
number = 0
while True:
    number += 1
    write_atomically(sys.argv[1], bytes([number % 256]) * 2_000_000, overwrite=True)
    if number == 1:
        print("ready", flush=True)
"""


def test_killed_at_any_moment_the_file_is_whole(tmp_path):
    path = tmp_path / "model.pth"
    for attempt in range(8):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(0.003 * attempt)
            writer.send_signal(signal.SIGKILL)
        data = path.read_bytes()
        assert len(data) == 2_000_000 and len(set(data)) == 1
    assert all(
        name == "model.pth" or name.startswith(storage.TEMPORARY_PREFIX) and name.endswith(storage.TEMPORARY_SUFFIX)
        for name in listing(tmp_path)
    )


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "model.pth")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"ready\n"
        writer.send_signal(signal.SIGSTOP)
        try:
            # A paused process still holds what it has open; the sweep takes none of it.
            before = listing(tmp_path)
            assert remove_leftovers(tmp_path) == 0
            assert listing(tmp_path) == before
        finally:
            writer.send_signal(signal.SIGCONT)
        while not any(map(storage.TEMPORARY.fullmatch, listing(tmp_path))):
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
    (tmp_path / ".hoyo-0000000000000000.tmp").write_bytes(b"half")
    (tmp_path / ".hoyo-000000000000000f.tmp").mkdir()
    (tmp_path / ".hoyo-00000000000000ff.tmp").symlink_to(tmp_path / "model.pth")
    (tmp_path / ".hoyo-notes.tmp").write_bytes(b"of the user")
    assert remove_leftovers(tmp_path) >= 1
    assert listing(tmp_path) == [
        ".hoyo-000000000000000f.tmp", ".hoyo-00000000000000ff.tmp", ".hoyo-notes.tmp", "model.pth"
    ]
    assert remove_leftovers(tmp_path / "nowhere") == 0


HOLDER = """
import sys
from hoyomusic.storage import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def holder(path):
    """Another process that holds `path`."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_one_process_holds_a_file_and_who_asks_is_told_which(tmp_path):
    path, lock = tmp_path / "m.pth", tmp_path / "m.pth.lock"
    (tmp_path / "link.pth").symlink_to(path)
    with holder(path) as other:
        for name in (path, tmp_path / "link.pth"):
            with pytest.raises(StorageError) as caught, hold(name):
                pass
            assert str(caught.value) == (
                f"{name}: is being written by process {other.pid}; wait for it, or name another file"
            )
        with hold(tmp_path / "n.pth"):
            pass
        assert lock.read_text() == f"{other.pid}\n"
    # It was killed: its lock is still there, and free.
    assert lock.exists()
    with hold(path) as is_removed:
        assert lock.read_text() == f"{os.getpid()}\n"
        assert not is_removed()
    assert listing(tmp_path) == ["link.pth"]
    with holder(path) as other:
        other.communicate(b"end\n")
        assert other.returncode == 0
    assert listing(tmp_path) == ["link.pth"]


def test_a_removed_folder_is_told_from_the_new_one_in_its_place(tmp_path):
    folder = tmp_path / "models"
    with hold(folder / "m.pth") as is_removed:
        shutil.rmtree(folder)
        assert is_removed()
        folder.mkdir()
        assert is_removed()
        # Another's lock in it is not ours to remove.
        (folder / "m.pth.lock").write_text("1\n")
    assert listing(folder) == ["m.pth.lock"]


@pytest.mark.parametrize("make", [lambda path: path.write_text("my notes"), lambda path: os.mkfifo(path)])
def test_what_is_no_lock_is_not_taken_for_one(tmp_path, make):
    lock = tmp_path / "m.pth.lock"
    make(lock)
    before = lock.lstat()
    with pytest.raises(StorageError, match="m.pth.lock: is no lock, but lies where one goes; move it elsewhere"):
        with hold(tmp_path / "m.pth"):
            pass
    assert lock.lstat().st_size == before.st_size and lock.lstat().st_mode == before.st_mode


def test_a_lock_is_never_a_link_to_a_file_of_the_user(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "m.pth.lock").symlink_to(tmp_path / "empty")
    with pytest.raises(StorageError, match="m.pth: cannot be written"), hold(tmp_path / "m.pth"):
        pass
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_disk_that_cannot_lock_leaves_it_to_the_user(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with hold(tmp_path / "m.pth"), hold(tmp_path / "m.pth"):
        write_atomically(tmp_path / "m.pth", NEW, overwrite=True)
    assert listing(tmp_path) == ["m.pth"]


def test_files_are_kept_together_under_the_first_number_that_is_free_for_all(tmp_path):
    path = tmp_path / "m.pth"
    assert keep_numbered(path, (".index", ".onnx")) is None
    for name in ("m.pth", "m.index", "m.onnx", "m-2.onnx", "m-3.pth"):
        (tmp_path / name).write_text(f"was {name}")
    assert keep_numbered(path, (".index", ".onnx")) == tmp_path / "m-4.pth"
    for name in ("m.pth", "m.index", "m.onnx"):
        write_atomically(tmp_path / name, NEW, overwrite=True)
        assert (tmp_path / name.replace(".", "-4.")).read_text() == f"was {name}"
    assert (tmp_path / "m-2.onnx").read_text() == "was m-2.onnx" and (tmp_path / "m-3.pth").read_text() == "was m-3.pth"
    (tmp_path / "m.index").unlink()
    assert keep_numbered(path, (".index", ".onnx")) == tmp_path / "m-5.pth"
    assert not (tmp_path / "m-5.index").exists()


@pytest.mark.parametrize("number", range(1, 4))
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EEXIST])
def test_if_one_cannot_be_kept_none_is(tmp_path, monkeypatch, number, error):
    for suffix in ("pth", "index", "onnx"):
        (tmp_path / f"m.{suffix}").write_text(suffix)
    real, calls = os.link, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == number:
            raise OSError(error, os.strerror(error))
        real(source, target)

    monkeypatch.setattr(os, "link", failing)
    if error == errno.ENOSPC:
        with pytest.raises(StorageError, match="m.pth: cannot be written: no space left"):
            keep_numbered(tmp_path / "m.pth", (".index", ".onnx"))
        assert listing(tmp_path) == ["m.index", "m.onnx", "m.pth"]
    else:
        # Somebody took the name at that moment: the next number.
        assert keep_numbered(tmp_path / "m.pth", (".index", ".onnx")) == tmp_path / "m-3.pth"
        assert listing(tmp_path) == ["m-3.index", "m-3.onnx", "m-3.pth", "m.index", "m.onnx", "m.pth"]


def test_where_there_is_no_room_work_does_not_start(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    check_room(tmp_path / "m.pth", free // 2)
    with pytest.raises(StorageError) as caught:
        check_room(tmp_path / "m.pth", 2**60)
    assert re.fullmatch(
        r".*m\.pth: there is no space for it: [\d,.]+ MiB are free, 1,099,511,627,776\.0 MiB are needed; make room or"
        " choose another place",
        str(caught.value),
    )


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EDQUOT, "the quota is used up"), (errno.EFBIG, "a file may not be so large here")]
)
def test_no_space_has_several_numbers(tmp_path, monkeypatch, number, words):
    def failing(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError, match=f"no space left: {words}"):
        write_atomically(tmp_path / "m.pth", NEW, overwrite=True)
