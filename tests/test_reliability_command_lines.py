"""Every option of every command with every kind of wrong value: one line, exit code 1 or 2, and nothing written.

The table below has a row for each option and argument; a new one without a row fails a test.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from hoyomusic.cli.commands import find_program
from hoyomusic.text import UNSHOWABLE, printable
from tests.conftest import BOOK, Said
from tests.keras_models import KERAS

Hoyo = Callable[..., Said]

# Nothing here works for so long: who does waits for something.
SECONDS_TO_HANG = 60

NOT_WHOLE = [
    "", " ", "many", "nan", "inf", "-inf", "1.5", "1e9", "0x10", "½", "三", "１２3x", "--", "9" * 5000, "\x1b[31m",
]  # fmt: skip
NOT_A_NUMBER = ["", " ", "many", "nan", "-nan", "inf", "-inf", "1e400", "1,5", "½", "三", "0x10", "\x1b[31m"]
HUGE = [10**9, 10**30, -(10**9), -(10**30)]
NO_NAMES = [
    "", " ", "no such", "ñandú", "三三", "../../etc", "-1", "nan", "0x10", "\x1b[31mred", "\u202eabc", "a\nb",
    "x" * 5000,
]  # fmt: skip


class Row(NamedTuple):
    """Values that an option must refuse."""

    values: list[str]


def whole(least: int, most: int | None) -> Row:
    """A whole number within bounds; without an upper one (None) more than there is means all there is."""
    below = [least - 1, *(number for number in HUGE if number < least)]
    above = [] if most is None else [most + 1, *(number for number in HUGE if number > most)]
    outside = below + above
    return Row(NOT_WHOLE + [str(number) for number in dict.fromkeys(outside)])


def number(least: float, most: float, *more: str) -> Row:
    """A number within bounds, which are given as the nearest that are refused; `more` are refused as well."""
    return Row([*NOT_A_NUMBER, f"{least!r}", f"{most!r}", "-1e30", "1e30", *more])


def name(*more: str, but: tuple[str, ...] = ()) -> Row:
    """One of some names; `more` are refused as well, `but` are not wrong here."""
    return Row([value for value in NO_NAMES if value not in but] + list(more))


# Made by the fixture `places`.
NOTHING_TO_READ = [
    "", ".", "missing", "missing/missing", "folder", "pipe", "empty", "noise", "file/below", "dangling", "locked",
    "/proc/self/mem", "x" * 300, "提瓦特\x1b[31m", "\udcff", "-",
]  # fmt: skip
NOWHERE_TO_WRITE = ["", ".", "folder", "pipe", "file/below", "/proc/none", "x" * 300, "locked-folder/x"]


def readable(*more: str, but: tuple[str, ...] = ()) -> Row:
    """A file to read."""
    return Row([value for value in NOTHING_TO_READ if value not in but] + list(more))


def writable(suffix: str = "", *, but: tuple[str, ...] = ()) -> Row:
    """A file to write."""
    return Row([
        value if value in ("", ".", "folder", "pipe") else value + suffix
        for value in NOWHERE_TO_WRITE if value not in but
    ])  # fmt: skip


FLAG = Row(["=", "=3", "=yes", "=\x1b[31m"])
SEED = whole(0, 2**63 - 1)
REGION = name("Monstadt", "8", "璃")
TEMPERATURE = number(-0.001, 100.1, "0.001")
KEY = name("H", "D lx", "C" * 50)
METRE = name("6", "6/", "/8", "6/0", "0/8", "6/7", "1/1000", "100000/4", "6/8/8")
LENGTH, BARS, TEMPO = whole(24, 100_000), whole(1, 10_000), whole(20, 400)
FORMATS = name("abc,", ",", "abc,midd", "mid,../x", "a" * 300)
MODEL = readable("file")
TUNE = readable("file")
CORPUS = readable("no such", "defualt", but=(".", "/proc/self/mem"))
# What infill and vary both take.
REWRITING = {
    "--region": REGION,
    "--seed": SEED,
    "--model": MODEL,
    "--temperature": TEMPERATURE,
    "--top-k": whole(0, None),
    "--top-p": number(-0.001, 1.001, "0"),
    "--particles": whole(1, 1024),
    "--out": writable(but=(".", "folder")),
    "--format": FORMATS,
    "--melody-only": FLAG,
    "--force": FLAG,
    "--json": FLAG,
}


# For each command a command line that nothing is wrong with, but that its work would begin; then what is wrong.
COMMANDS: dict[str, tuple[list[str], dict[str, Row]]] = {
    "generate": (["--out", "out", "--format", "abc"], {
        "--region": REGION,
        "--length": LENGTH,
        "--bars": BARS,
        "--key": KEY,
        "--metre": METRE,
        "--tempo": TEMPO,
        "--range": name("G3", "D6-G3", "G3-A3", "C-1-C5", "H3-D6"),
        "--form": name("ABBA", "throu"),
        "--guidance": number(-0.001, 10.1),
        "--temperature": TEMPERATURE,
        "--top-k": whole(0, None),
        "--top-p": number(-0.001, 1.001, "0"),
        "--count": whole(1, 10_000),
        "--candidates": whole(1, 64),
        "--novel": FLAG,
        "--seed": SEED,
        "--model": MODEL,
        "--precision": name("int9", "fp16"),
        "--prime": TUNE,
        "--like": readable("file"),
        "--out": Row(["file", "pipe", "file/below", "/proc/none", "x" * 300, "locked-folder/x"]),
        "--format": FORMATS,
        "--melody-only": FLAG,
        "--force": FLAG,
        "--json": FLAG,
    }),
    "play": (["--tunes", "1"], {
        "--region": REGION,
        "--length": LENGTH,
        "--bars": BARS,
        "--key": KEY,
        "--metre": METRE,
        "--tempo": TEMPO,
        "--temperature": TEMPERATURE,
        "--seed": SEED,
        "--model": MODEL,
        "--tunes": whole(1, None),
        "--melody-only": FLAG,
        "--port": name("no such port", but=("", " ", "a\nb")),
        "--list-ports": FLAG,
        "--quiet": FLAG,
        "--json": FLAG,
    }),
    "infill": (["good.abc", "--bars", "2", "--format", "abc"], {
        "TUNE.abc": TUNE,
        "--bars": name("0", "0-1", "3-2", "17", "1-17", "1-", "-1", "1-2-3", "1000000000", "1-" + "9" * 5000),
        **REWRITING,
    }),
    "vary": (["good.abc", "--amount", "0.2", "--format", "abc"], {
        "TUNE.abc": TUNE,
        "--amount": number(-0.001, 1.001),
        **REWRITING,
    }),
    "render": (["good.abc", "--out", "good.mid"], {
        "TUNE.abc...": TUNE,
        "--out": writable(".mid"),
        "--format": FORMATS,
        "--region": REGION,
        "--melody-only": FLAG,
        "--tempo": number(4.9, 1000.1),
        "--seed": SEED,
        "--force": FLAG,
        "--json": FLAG,
    }),
    "regions": ([], {"--model": MODEL, "--json": FLAG}),
    "train": (
        ["--corpus", "tunes.abc", "--out", "new.pth", "--epochs", "1", "--hidden", "8", "--embedding", "8",
         "--layers", "1", "--rows", "2", "--steps", "64"], {
        "--max-samples": whole(2, None),
        "--epochs": whole(1, 1_000_000),
        "--corpus": CORPUS,
        "--use-hoyomusic": FLAG,
        "--hoyomusic": readable("file"),
        "--out": writable(".pth"),
        "--from": MODEL,
        "--seed": SEED,
        "--embedding": whole(1, 4096),
        "--hidden": whole(1, 4096),
        "--layers": whole(1, 16),
        "--dropout": number(-0.001, 1.0),
        "--weight-dropout": number(-0.001, 1.0),
        "--norm": name("bach"),
        "--rows": whole(1, 4096),
        "--steps": whole(1, 4096),
        "--learning-rate": number(0.0, 1.0),
        "--patience": whole(1, 1_000_000),
        "--precision": name("fp16"),
        "--device": name("cuda:", "cuda:99", "cuda:-1", "cpu:0", "cdua"),
        "--json": FLAG,
    }),
    "resume": (["good.pth", "--epochs", "9"], {
        "[CHECKPOINT]": MODEL,
        "--epochs": whole(1, 1_000_000),
        "--learning-rate": number(0.0, 1.0),
        "--force": FLAG,
        "--json": FLAG,
    }),
    "evaluate": (["default", "--tunes", "5", "--corpus", "tunes.abc"], {
        "MODEL": MODEL,
        "--tunes": whole(5, 10_000),
        "--region": REGION,
        "--seed": SEED,
        "--guidance": number(-0.001, 10.1),
        "--temperature": TEMPERATURE,
        "--corpus": CORPUS,
        "--jobs": whole(1, 64),
        "--html": writable(".html"),
        "--force": FLAG,
        "--json": FLAG,
    }),
    "export": (["good.pth", "--out", "new.onnx"], {
        "[MODEL]": MODEL,
        "--format": name("onnxx"),
        "--int8": FLAG,
        "--out": writable(".onnx"),
        "--force": FLAG,
    }),
    "convert": (["old.h5", "--out", "new.pth"], {
        "MODEL.h5|FOLDER": readable("file", but=("", ".")),
        "--params": readable("file"),
        "--out": writable(".pth", but=(".", "folder")),
        "--check": readable("file"),
        "--precision": name("float64", "int8"),
        "--int8": FLAG,
        "--prune": number(-0.001, 1.0),
        "--force": FLAG,
        "--json": FLAG,
    }),
    "doctor": ([], {"--json": FLAG}),
    "corpus stats": (["--corpus", "good.abc"], {
        "--corpus": CORPUS,
        "--use-hoyomusic": FLAG,
        "--hoyomusic": readable("file"),
        "--json": FLAG,
    }),
    "corpus build": (["--corpus", "good.abc"], {
        "--corpus": CORPUS,
        "--use-hoyomusic": FLAG,
        "--hoyomusic": readable("file"),
    }),
    "corpus add": (["good.abc", "--name", "good"], {
        "PATH": readable(but=("", ".", "folder", "empty", "noise", "locked", "/proc/self/mem")),
        "--name": name("a b", "default", "Ä", "-x", "_x", "x" * 65, but=("no such", "nan", "0x10")),
        "--region": REGION,
        "--force": FLAG,
    }),
}  # fmt: skip


def find_parameters() -> dict[str, list[Any]]:
    """Each command's words, and what it takes."""
    found = {}
    for name, announced in find_program().commands.items():
        command = announced.load()
        for inner, each in getattr(command, "commands", {"": command}).items():
            found[f"{name} {inner}".strip()] = each.params
    return found


def name_of(parameter: Any) -> str:
    """An option's long name, an argument's as the help shows it."""
    return parameter.opts[-1] if parameter.param_type_name == "option" else parameter.metavar or parameter.name.upper()


def test_every_option_has_a_row() -> None:
    wanted = {command: [name_of(each) for each in parameters] for command, parameters in find_parameters().items()}
    assert {command: list(rows) for command, (_, rows) in COMMANDS.items()} == wanted


@pytest.fixture
def places(hoyo: Hoyo, trained: bytes) -> Iterator[Hoyo]:
    """The command line in a folder full of traps; it ends who waits."""
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("file").write_text("no music", encoding="utf-8")
    Path("empty").touch()
    Path("noise").write_bytes(bytes(range(256)) * 40)
    Path("dangling").symlink_to("nothing")
    Path("locked").write_text("X:1\nK:C\nC|\n", encoding="utf-8")
    Path("locked-folder").mkdir()
    Path("locked").chmod(0)
    Path("locked-folder").chmod(0o500)
    book = BOOK.read_text(encoding="utf-8")
    # Of eight tunes of one nation one judges.
    Path("tunes.abc").write_text(re.sub(r"^%%hoyo-region.*\n", "", book, flags=re.MULTILINE), encoding="utf-8")
    Path("good.abc").write_text(book.split("\n\n")[1] + "\n", encoding="utf-8")
    Path("good.pth").write_bytes(trained)
    shutil.copy(KERAS / "char_rnn_k20.h5", "old.h5")

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS_TO_HANG)
    yield hoyo
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a small model that was trained on our book for an epoch."""
    from hoyomusic.fit import FitConfig
    from hoyomusic.training import TrainingConfig, train

    path = tmp_path_factory.mktemp("trained") / "m.pth"
    sizes = {"embedding": 8, "hidden": 8, "layers": 1}
    train(TrainingConfig(corpus=(str(BOOK),), out=path, fit=FitConfig(epochs=1, rows=2, steps=64), **sizes))
    return path.read_bytes()


def find_all() -> set[str]:
    """Everything in this folder."""
    return {str(path) for path in Path().rglob("*")}


def put(command: str, parameter: str, value: str) -> list[str]:
    """The command line of `command` with a value for one parameter."""
    base, _ = COMMANDS[command]
    words = command.split()
    if parameter.startswith("-"):
        if value.startswith("=") and COMMANDS[command][1][parameter] is FLAG:
            return [*words, *base, f"{parameter}{value}"]
        return [*words, *base, f"{parameter}={value}"]
    own = base[1:] if base and not base[0].startswith("-") else base
    return [*words, *own, "--", value]


def check(said: Said, line: list[str]) -> None:
    """One line on stderr, nothing on stdout, exit code 1 or 2."""
    assert said.code in (1, 2), line
    assert said.out == "", line
    assert said.err.startswith("hoyo: "), line
    assert said.err.endswith("\n"), line
    assert said.err.count("\n") == 1, line
    assert not [sign for sign in said.err[:-1] if unicodedata.category(sign) in UNSHOWABLE], line
    assert len(said.err) <= 1000, line
    what, semicolon, remedy = said.err.partition("; ")
    assert semicolon, line
    assert remedy.strip(), line


def tells_where(said: Said, parameter: str, value: str) -> bool:
    """Whether the line names the option, in one of the ways it is written, or the value."""
    option = parameter.lstrip("-")
    words = {parameter, option.replace("-", "_"), option.replace("-", " "), CALLED.get(parameter, parameter)}
    values = {printable(value or ".")[:100], repr(value)[1:-1][:100]}
    return any(word in said.err for word in words | values)


# What an option is called in a sentence.
CALLED = {"--region": "nation", "--port": "MIDI"}

ALL = [(command, parameter) for command, (_, rows) in COMMANDS.items() for parameter in rows]


@pytest.mark.parametrize(("command", "parameter"), ALL, ids=lambda value: value.replace(" ", "-"))
def test_wrong_values_cost_one_line(places: Hoyo, command: str, parameter: str) -> None:
    before = find_all()
    for value in COMMANDS[command][1][parameter].values:
        if os.geteuid() == 0 and value.startswith("locked"):
            continue  # to root nothing is locked
        line = put(command, parameter, value)
        said = places(*line)
        check(said, line)
        assert tells_where(said, parameter, value), (line, said.err)
        assert find_all() == before, line
