"""Command lines in processes of their own, which start at once: they are forked from one that has imported torch."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import torch

from hoyomusic import cli, training  # noqa: F401
from hoyomusic.cli import commands, watching  # noqa: F401
from tests.conftest import ROOT

# Optimisers import much more when the first one is made: forked processes have it already.
torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], fused=True)

CONTEXT = multiprocessing.get_context("forkserver")
# No process of a test works so long: who does hangs.
SECONDS_TO_HANG = 60


class Hoyo:
    """One running command line, its standard streams in files beside each other: `out` and `err`."""

    def __init__(
        self, folder: Path, *arguments: object, before: Callable[[], None] | None = None, stdout: Path | None = None
    ) -> None:
        """`before` is called in the new process before anything else; `stdout` is where that goes."""
        self.folder = folder
        self._out = folder / "out" if stdout is None else stdout
        for path in (self._out, folder / "err"):
            if path.is_file():
                path.write_bytes(b"")
        # A forked process begins with what the server's environment was.
        chosen = {name: value for name, value in os.environ.items() if name.startswith("HOYOMUSIC_")}
        told = (folder, [str(argument) for argument in arguments], self._out, chosen, before)
        self.process = _context().Process(target=_run, args=told, daemon=True)
        self.process.start()

    @property
    def out(self) -> str:
        """What it wrote on stdout so far."""
        return self._out.read_text(encoding="utf-8") if self._out.exists() else ""

    @property
    def err(self) -> str:
        """What it wrote on stderr so far."""
        path = self.folder / "err"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def signal(self, number: int) -> None:
        """Send it a signal, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.signal(signal.SIGKILL)
        self.end()

    def wait_for(self, done: Callable[[], object]) -> bool:
        """Wait until `done` is true; False if the process ended before."""
        until = time.monotonic() + SECONDS_TO_HANG
        while not done():
            if not self.process.is_alive():
                return bool(done())
            assert time.monotonic() < until, f"hangs: {self.out[-500:]} {self.err}"
            time.sleep(0.001)
        return True

    def end(self) -> int:
        """Wait for its end: the exit code, that of a killed one less than 0."""
        self.process.join(SECONDS_TO_HANG)
        assert not self.process.is_alive(), f"hangs: {self.out[-500:]} {self.err}"
        return self.process.exitcode


def limit_files(octets: int) -> None:
    """No file may grow larger from now on, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, resource.RLIM_INFINITY))


def limit_memory(octets: int) -> None:
    """So many bytes of address space more than now, and no more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + octets, resource.RLIM_INFINITY))


def obey_modes() -> None:
    """Be refused what the mode of a file or folder refuses, as root is not (capabilities(7), version 3 of capset)."""
    header, sets = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    words = struct.unpack("6I", sets.raw)
    without = 0xFFFFFFFF ^ (1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, struct.pack("6I", words[0] & without, words[1] & without, *words[2:])) == 0


def take_terminal(path: str) -> None:
    """Make the terminal at `path` the one that this process belongs to and speaks on."""
    os.setsid()
    terminal = os.open(path, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(terminal, descriptor)


def _context() -> multiprocessing.context.ForkServerContext:
    """The context, its server running: a Python that can import these modules and has done so."""
    if forkserver._forkserver._forkserver_pid is None:
        CONTEXT.set_forkserver_preload(["pytest", "tests.processes"])
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = str(ROOT)
        forkserver.ensure_running()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return CONTEXT


def _run(
    folder: Path, arguments: list[str], out: Path, environment: dict[str, str], before: Callable[[], None] | None
) -> None:
    """In the new process: be `hoyo` with these arguments."""
    os.chdir(folder)
    os.environ.update(environment)
    for path, descriptor in ((out, 1), (folder / "err", 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    if before is not None:
        before()
    sys.stdout, sys.stderr = (open(descriptor, "w", encoding="utf-8", closefd=False) for descriptor in (1, 2))
    sys.argv = ["hoyo", *arguments]
    cli.main()


