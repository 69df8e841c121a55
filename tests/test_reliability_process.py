"""A whole process of the command line: faults, interrupts, streams that are closed or full, odd terminals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from hoyomusic.text import UNSHOWABLE
from tests.conftest import ROOT

START = """
import sys
from hoyomusic import cli
{before}
print("started", file=sys.stderr, flush=True)
cli.main()
"""
FAIL = "import hoyomusic.cli.regions as r; r.write_json = lambda value: 1 / 0"
SECONDS_TO_HANG = 60


def start(*arguments: str, before: str = "pass", **options: object) -> subprocess.Popen[bytes]:
    """`hoyo` in a process of its own, from the moment on that its module is there."""
    command = [sys.executable, "-c", START.format(before=before), *arguments]
    return subprocess.Popen(command, cwd=ROOT, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes, list[str]]:
    """Its exit code, stdout, and the lines of stderr behind the one that says that it started."""
    out, err = process.communicate(timeout=SECONDS_TO_HANG)
    lines = err.decode("utf-8", "replace").splitlines()
    assert lines[:1] == ["started"]
    return process.returncode, out, lines[1:]


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A shell's command line, in which ``hoyo`` is this program."""
    text = command.replace("hoyo", f"'{sys.executable}' -m hoyomusic")
    return subprocess.run(
        ["/bin/sh", "-c", text], cwd=ROOT, capture_output=True, timeout=SECONDS_TO_HANG, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


class TestFaultOfTheProgram:
    def test_is_told_in_one_line(self) -> None:
        code, out, lines = finish(start("regions", "--json", before=FAIL))
        assert (code, out) == (1, b"")
        assert lines == [
            "hoyo: a fault of the program itself, not yours: ZeroDivisionError: division by zero (<string>, line 4);"
            " please report what the same command prints as hoyo --debug ..."
        ]

    def test_is_shown_to_who_asks(self) -> None:
        code, _, lines = finish(start("--debug", "regions", "--json", before=FAIL))
        assert code == 1
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[-2] == "ZeroDivisionError: division by zero"
        assert lines[-1].startswith("hoyo: a fault of the program itself")

    @pytest.mark.parametrize("debug", [["--debug"], []], ids=["debug", "plain"])
    def test_carries_no_control_signs(self, debug: list[str]) -> None:
        fail = r"import hoyomusic.cli.regions as r; r.write_json = lambda value: {}['\x1b[31m\x9b\u202e' + chr(7)]"
        code, _, lines = finish(start(*debug, "regions", "--json", before=fail))
        assert code == 1
        assert not [sign for line in lines for sign in line if unicodedata.category(sign) in UNSHOWABLE]

    def test_memory_that_is_used_up_is_none(self) -> None:
        before = "import hoyomusic.cli.regions as r; r.write_json = lambda value: bytearray(1 << 62)"
        code, out, lines = finish(start("regions", "--json", before=before))
        assert (code, out) == (1, b"")
        assert lines == ["hoyo: the memory is used up; close other programs, or ask for less at a time"]

    def test_warnings_of_libraries_are_not_shown(self) -> None:
        before = "import warnings, hoyomusic.cli.regions as r; r.write_json = lambda value: warnings.warn('old')"
        assert finish(start("regions", "--json", before=before)) == (0, b"", [])


class TestInterrupt:
    @pytest.mark.parametrize("delay", [0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8])
    def test_at_any_moment_it_ends_quietly(self, tmp_path: Path, delay: float) -> None:
        process = start("generate", "--count", "500", "--out", str(tmp_path), "--format", "abc")
        assert process.stderr.readline() == b"started\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS_TO_HANG)
        assert (process.returncode, b"Traceback" in err, b"KeyboardInterrupt" in err) == (130, False, False)

    def test_one_that_a_library_takes_for_its_own_is_one_all_the_same(self) -> None:
        """numpy, interrupted while it is imported, raises an ImportError."""
        before = (
            "import os, hoyomusic.cli.regions as r\n"
            "def fail(value):\n"
            "    try: os.kill(os.getpid(), 2); [None for _ in range(10**6)]\n"
            "    except KeyboardInterrupt: raise ImportError('initialization failed')\n"
            "r.write_json = fail\n"
        )
        assert finish(start("regions", "--json", before=before)) == (130, b"", [])

    def test_who_ignores_it_goes_on_ignoring_it(self) -> None:
        """As a shell has it for what it starts in the background."""
        before = (
            "import os, signal, hoyomusic.cli.regions as r\n"
            "signal.signal(2, signal.SIG_IGN)\n"
            "write = r.write_json\n"
            "r.write_json = lambda value: (os.kill(os.getpid(), 2), write(value))"
        )
        code, out, lines = finish(start("regions", "--json", before=before))
        assert (code, out.count(b"\n"), lines) == (0, 8, [])


class TestStreams:
    @pytest.mark.parametrize("command", ["hoyo regions", "hoyo regions --json", "hoyo --help", "hoyo corpus --help"])
    def test_a_full_disk_behind_stdout(self, command: str) -> None:
        done = shell(f"{command} > /dev/full")
        said = b"hoyo: the system refused to read or write (No space left on device); look where the output goes\n"
        assert (done.returncode, done.stderr) == (1, said)

    @pytest.mark.parametrize(
        ("command", "code"),
        [
            ("hoyo regions --json >&-", 0),
            ("hoyo regions --json <&- >&- 2>&-", 0),
            ("hoyo regions 2>&-", 0),
            ("hoyo regions 2> /dev/full", 0),
            ("hoyo regions --model none 2>&-", 1),
            ("hoyo regions --model none 2> /dev/full", 1),
            ("hoyo generate --length 0 >&- 2>&-", 2),
        ],
    )
    def test_closed_ones_change_no_exit_code(self, command: str, code: int) -> None:
        done = shell(command)
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False)

    def test_a_closed_stdout_is_not_another_file(self, tmp_path: Path) -> None:
        """The next file that is opened gets the lowest free number, which is that of stdout."""
        done = shell(f"hoyo generate --bars 2 --seed 1 --format abc --out {tmp_path}/a >&- 2>&-")
        assert done.returncode == 0
        done = shell(f"hoyo generate --bars 2 --seed 1 --format abc --out {tmp_path}/b")
        assert done.returncode == 0
        [first] = (tmp_path / "a").iterdir()
        assert first.read_bytes() == (tmp_path / "b" / first.name).read_bytes()

    def test_a_reader_that_has_enough(self) -> None:
        done = shell("hoyo regions --json | head -1")
        assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")

    @pytest.mark.parametrize(
        "environment",
        [
            {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "none"},
            {"PYTHONIOENCODING": "ascii"}, {"COLUMNS": "1"}, {"COLUMNS": "many"}, {"TERM": "dumb"}, {"NO_COLOR": "1"},
        ],
        ids=str,
    )  # fmt: skip
    def test_odd_environments(self, environment: dict[str, str]) -> None:
        done = shell("hoyo regions && hoyo generate --region Monstadt", **environment)
        assert done.returncode == 2
        assert b"Mondstadt" in done.stdout
        assert done.stderr == b"hoyo: there is no nation 'Monstadt'; did you mean Mondstadt?\n"

    @pytest.mark.parametrize("environment", [{"COLUMNS": "20"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=str)
    def test_odd_terminals(self, environment: dict[str, str]) -> None:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "hoyomusic", "regions"],
            cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **environment},
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        os.close(ours)
        assert process.wait(timeout=SECONDS_TO_HANG) == 0
        assert b"Fontaine" in shown
        assert b"Traceback" not in shown
        assert b"\x1b[3" not in shown


def _read(terminal: int) -> bytes:
    """What comes next from the other side of a terminal; nothing once it is closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
