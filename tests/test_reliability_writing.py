"""What is written is whole: killed, short of disk, or raced by its like, a command leaves whole files only."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hoyomusic import abc, storage
from hoyomusic.cli import run
from hoyomusic.errors import StorageError
from hoyomusic.render import SUFFIXES, write_all
from hoyomusic.score import perform
from hoyomusic.storage import remove_leftovers, write_together
from tests.conftest import BOOK, ROOT, Said
from tests.test_cli_generate import model  # noqa: F401

Hoyo = Callable[..., Said]

JIG = abc.parse(BOOK.read_text(encoding="utf-8"))[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def leftovers(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.startswith(storage.TEMPORARY_PREFIX)]


def start(*arguments: object) -> int:
    """A process of its own that runs a command, without the time that a start takes."""
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        code = 99
        try:
            code = run([str(argument) for argument in arguments])
        finally:
            os._exit(code)
    return child


def kill_again_and_again(hoyo: Hoyo, model: Path, kills: int, formats: str, longest: float) -> None:  # noqa: F811
    """Kill a command that writes tunes at random moments; each time all that is there must be whole."""
    wish = ("generate", "--model", model, "--bars", 2, "--seed", 1, "--format", formats, "--out")
    assert hoyo(*wish, "whole", "--count", 16).code == 0
    whole = {name: Path("whole", name).read_bytes() for name in names(Path("whole"))}
    dice = random.Random(7)
    found, split, stale = 0, 0, []
    for number in range(kills):
        out = Path(f"killed-{number}")
        child = start(*wish, out, "--count", 16)
        while not names(out):
            time.sleep(0.001)
        time.sleep(dice.uniform(0, longest))
        os.kill(child, (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[number % 4])
        os.waitpid(child, 0)
        tunes = defaultdict(set)
        for name in sorted(set(names(out)) - set(leftovers(out))):
            assert Path(out, name).read_bytes() == whole[name]
            tunes[Path(name).stem].add(Path(name).suffix[1:])
            found += 1
        split += sum(suffixes != set(formats.split(",")) for suffixes in tunes.values())
        stale += [out] if leftovers(out) else []
    # A kill that cannot be caught may fall between the names of one tune's files: some microseconds of each second.
    assert split <= 1 + kills // 200
    assert found and stale
    for out in stale[:3]:
        assert hoyo(*wish, out).code == 0
        assert leftovers(out) == []


def test_killed_while_generating(hoyo: Hoyo, model: Path) -> None:  # noqa: F811
    kill_again_and_again(hoyo, model, 40, "abc,mid", 0.06)


@pytest.mark.slow
def test_killed_while_generating_many_times(hoyo: Hoyo, model: Path) -> None:  # noqa: F811
    kill_again_and_again(hoyo, model, 500, "abc,mid", 0.1)


@pytest.mark.slow
def test_killed_while_playing_into_files(hoyo: Hoyo, model: Path) -> None:  # noqa: F811
    kill_again_and_again(hoyo, model, 50, "wav,abc", 2)


def test_asked_to_stop_between_two_names_it_takes_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C falls behind the first of two files: the second gets its name before anybody hears of it."""
    link = os.link

    def interrupted(source: Path, target: Path) -> None:
        link(source, target)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_together({tmp_path / "a.abc": b"1", tmp_path / "a.mid": b"2"}, overwrite=False)
    assert names(tmp_path) == ["a.abc", "a.mid"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 700, 3000])
def test_a_full_disk_leaves_no_file_of_a_tune(tmp_path: Path, size: int) -> None:
    score = perform(JIG)
    paths = [tmp_path / f"jig{suffix}" for suffix in (".abc", ".mid", ".musicxml")]
    with room_for(size), pytest.raises(StorageError, match=r"jig\.\w+: cannot be written: "):
        write_all(score, paths)
    assert names(tmp_path) == []
    assert write_all(score, paths) == paths


def test_a_full_disk_in_words(hoyo: Hoyo, model: Path) -> None:  # noqa: F811
    wish = ("generate", "--model", model, "--bars", 4, "--seed", 1, "--format", "abc,wav")
    with room_for(20_000):
        said = hoyo(*wish)
    assert (said.code, said.out) == (1, "")
    assert re.fullmatch(r"hoyo: music/teyvat-0001-1\.wav: cannot be written: [^\n]+; choose another place\n", said.err)
    assert names(Path("music")) == []
    assert hoyo(*wish).code == 0
    assert names(Path("music")) == ["teyvat-0001-1.abc", "teyvat-0001-1.wav"]


@pytest.mark.parametrize("call", ["link", "fsync", "open"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_whichever_call_fails_all_files_are_there_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    real, calls = getattr(os, call), []

    def failing(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == number:
            raise OSError(28, "No space left on device")
        return real(*arguments, **options)

    files = {tmp_path / f"a{suffix}": suffix.encode() for suffix in (".abc", ".mid", ".svg")}
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(StorageError, match="no space left on the disk"):
            write_together(files, overwrite=False)
    assert names(tmp_path) == []
    write_together(files, overwrite=False)
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.parametrize("links", [True, False])
def test_files_share_the_first_number_that_is_free_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def no_links(source: Path, target: Path) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "a.mid").write_text("mine")
    (tmp_path / "a-2.abc").symlink_to("nowhere")
    (tmp_path / "a-3.mid").mkdir()
    files = {tmp_path / "a.abc": b"1", tmp_path / "a.mid": b"2"}
    assert write_together(files, overwrite=False, numbered=True) == [tmp_path / "a-4.abc", tmp_path / "a-4.mid"]
    assert names(tmp_path) == ["a-2.abc", "a-3.mid", "a-4.abc", "a-4.mid", "a.mid"]
    assert (tmp_path / "a.mid").read_text() == "mine"
    assert os.readlink(tmp_path / "a-2.abc") == "nowhere"


WRITER = """
import sys
from pathlib import Path
from hoyomusic.storage import write_together
for number in range(12):
    for suffixes in ((".abc", ".mid"), (".mid", ".svg"), (".svg", ".abc")):
        files = {Path(f"a{suffix}"): sys.argv[1].encode() for suffix in suffixes}
        print(*write_together(files, overwrite=False, numbered=True))
"""


def test_writers_at_the_same_time_share_no_name(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER]
    writers = [
        subprocess.Popen([*command, name], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=-1)
        for name in "xyz"
    ]
    written = {}
    for name, writer in zip("xyz", writers, strict=True):
        out, _ = writer.communicate(timeout=100)
        assert writer.returncode == 0
        for line in out.decode().splitlines():
            stems = {Path(path).stem for path in line.split()}
            assert len(stems) == 1
            for path in line.split():
                assert path not in written
                written[path] = name
    assert len(written) == 3 * 12 * 3 * 2
    assert names(tmp_path) == sorted(written)
    assert all((tmp_path / path).read_text() == name for path, name in written.items())


def test_leftovers_of_the_dead_go_those_of_the_living_stay(tmp_path: Path) -> None:
    stale = tmp_path / f"{storage.TEMPORARY_PREFIX}0123456789abcdef{storage.TEMPORARY_SUFFIX}"
    stale.write_text("half")
    other = "0123456789abcdef.tmp.abc", "fedcba9876543210.tmp", "00000000000000ff.tmp"
    others = [".hoyo-mine.tmp", *(f".hoyo-{name}" for name in other)]
    (tmp_path / others[0]).write_text("mine")
    (tmp_path / others[1]).write_text("mine")
    (tmp_path / others[2]).symlink_to(tmp_path / others[0])
    os.mkfifo(tmp_path / others[3])
    with storage._Temporary(tmp_path) as held:
        assert remove_leftovers(tmp_path) == 1
        assert names(tmp_path) == sorted([*others, held.path.name])
    assert names(tmp_path) == sorted(others)
    assert remove_leftovers(tmp_path / "nowhere") == 0


def test_whoever_writes_first_sweeps(hoyo: Hoyo, tmp_path: Path) -> None:
    (tmp_path / "jig.abc").write_text(abc.write(JIG), encoding="utf-8")
    Path("out").mkdir()
    Path("out", ".hoyo-0123456789abcdef.tmp").write_text("half")
    assert hoyo("render", tmp_path / "jig.abc", "-o", "out/jig.mid").code == 0
    assert names(Path("out")) == ["jig.mid"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_there_stays_in_every_format(hoyo: Hoyo, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "jig.abc").write_text(abc.write(JIG), encoding="utf-8")
    Path(f"mine{suffix}").write_text("mine")
    for command in (("render",), ("vary", "--amount", 0.1), ("infill", "--bars", 2)):
        said = hoyo(*command, tmp_path / "jig.abc", "-o", f"mine{suffix}")
        assert said == (1, "", f"hoyo: mine{suffix}: already exists; choose another name or add --force\n")
    assert Path(f"mine{suffix}").read_text() == "mine"
    assert names(Path.cwd()) == [f"mine{suffix}"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda name: os.symlink("nowhere", name)])
def test_whatever_has_the_name_of_a_tune_keeps_it(
    hoyo: Hoyo, model: Path, make: Callable[[str], None]  # noqa: F811
) -> None:
    Path("music").mkdir()
    make("music/teyvat-0001-1.mid")
    before = os.lstat("music/teyvat-0001-1.mid")
    said = hoyo("generate", "--model", model, "--bars", 2, "--seed", 1)
    assert said.code == 0, said.err
    assert "music/teyvat-0001-1 is taken, the tune goes to music/teyvat-0001-1-2" in said.err
    assert names(Path("music")) == ["teyvat-0001-1-2.abc", "teyvat-0001-1-2.mid", "teyvat-0001-1.mid"]
    assert os.lstat("music/teyvat-0001-1.mid") == before


def test_a_link_stays_a_link(hoyo: Hoyo, tmp_path: Path, model: Path) -> None:  # noqa: F811
    (tmp_path / "jig.abc").write_text(abc.write(JIG), encoding="utf-8")
    Path("real").mkdir()
    Path("folder").symlink_to("real")
    Path("tune.mid").symlink_to("real/there.mid")
    assert hoyo("render", tmp_path / "jig.abc", "-o", "tune.mid").code == 0
    assert hoyo("render", tmp_path / "jig.abc", "-o", "tune.mid").code == 1
    assert hoyo("render", tmp_path / "jig.abc", "-o", "tune.mid", "--force").code == 0
    assert hoyo("generate", "--model", model, "--bars", 2, "--seed", 1, "--format", "abc", "--out", "folder").code == 0
    assert os.readlink("tune.mid") == "real/there.mid" and os.readlink("folder") == "real"
    assert names(Path("real")) == ["teyvat-0001-1.abc", "there.mid"]


@pytest.mark.parametrize("name", ["琴" * 300, "file", "file/below", "/proc/hoyo", "loop"])
def test_places_that_cannot_be_are_told_in_a_line(hoyo: Hoyo, model: Path, name: str) -> None:  # noqa: F811
    Path("file").write_text("mine")
    Path("loop").symlink_to("loop")
    said = hoyo("generate", "--model", model, "--bars", 2, "--seed", 1, "--out", name)
    assert (said.code, said.out) == (1, "")
    assert re.fullmatch("hoyo: [^\n]+\n", said.err)
    assert names(Path.cwd()) == ["file", "loop"]


@pytest.mark.parametrize("name", ["", "-rf", "CON", "Cafe\u0301", "🎵", "琴" * 80, "a b\nc", "..", "%s"])
def test_places_that_can_be_hold_the_tune(hoyo: Hoyo, model: Path, name: str) -> None:  # noqa: F811
    said = hoyo("generate", "--model", model, "--bars", 2, "--seed", 1, "--format", "abc", "--out", name)
    assert said.code == 0, said.err
    assert Path(name, "teyvat-0001-1.abc").is_file()


@pytest.mark.parametrize("stem", ["琴" * 80, "Cafe\u0301", "🎵" * 25, "CON", "-rf", "a\x1b[31mb", "x" * 250, ".hidden"])
def test_files_named_after_their_source_have_names_of_120_bytes(hoyo: Hoyo, tmp_path: Path, stem: str) -> None:
    source = tmp_path / f"{stem}.abc"
    source.write_text(abc.write(JIG) + "\n" + abc.write(JIG), encoding="utf-8")
    assert hoyo("render", source, "-o", "out/", "--format", "musicxml", "--melody-only").code == 0
    found = names(Path("out"))
    assert len(found) == 2
    for name in found:
        assert len(name.encode()) <= 120 and name.isprintable() and not name.startswith("CON.")


@pytest.mark.parametrize(
    "command", ["generate --json --count 300 --bars 2", "generate --count 2 --bars 2", "regions", "--help"]
)
def test_a_reader_that_leaves_is_no_matter(tmp_path: Path, model: Path, command: str) -> None:  # noqa: F811
    arguments = [sys.executable, "-m", "hoyomusic", *command.split()]
    if command.startswith("generate"):
        arguments += ["--model", str(model), "--format", "abc"]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=-1, stderr=-1
    ) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in (err := process.stderr.read().decode()) and "Error" not in err
        assert process.wait(60) in (0, 1)
    assert leftovers(tmp_path / "music") == []
