"""Titles, file names and model paths that a terminal would obey go through every command, and none comes out."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from hoyomusic.checkpoint import find_default_model
from hoyomusic.text import UNSHOWABLE
from tests.conftest import BOOK, Said

Hoyo = Callable[..., Said]

# A colour, the same with one sign for the escape (C1), the writing turned round, markup of rich, a bell, a line's end.
HOSTILE = "\x1b[31m\x9b31m\u202e\u2066[b][red]:smile:\x07\x7f\n\u2028\ufeff\U000e0041"
TITLE = HOSTILE.replace("\n", "") + "[/b][/red]"
TUNES, MODEL, OUT = f"t{HOSTILE}.abc", f"m{HOSTILE}.pth", f"o{HOSTILE}"
TINY = ("--epochs", "1", "--hidden", "8", "--embedding", "8", "--layers", "1", "--rows", "2", "--steps", "64")


@pytest.fixture
def folder(hoyo: Hoyo) -> Hoyo:
    """The command line in a folder with a tune and a model of hostile names; the tune's title is hostile too."""
    tune = BOOK.read_text(encoding="utf-8").split("\n\n")[1].replace("T:", f"T:{TITLE}").replace("C:", f"C:{TITLE}")
    Path(TUNES).write_text(tune + "\n", encoding="utf-8")
    lines = BOOK.read_text(encoding="utf-8").splitlines(keepends=True)
    book = "".join(line for line in lines if not line.startswith("%%hoyo-region")).replace("T:", f"T:{TITLE}")
    guessed = f"\nX:99\nT:{TITLE}\nK:C\nCDEF ?c|\nw:{TITLE}\n"
    Path(f"book{HOSTILE}.abc").write_text(book + guessed, encoding="utf-8")
    shutil.copy(find_default_model(), MODEL)
    return hoyo


def is_clean(text: str) -> bool:
    """Whether a terminal would obey nothing in it but the ends of lines."""
    return not any(unicodedata.category(sign) in UNSHOWABLE for sign in text.replace("\n", ""))


BOOK_NAME = f"book{HOSTILE}.abc"
MISSING = f"missing{HOSTILE}"
COMMANDS = [
    ("render", TUNES, "-o", f"{OUT}/", "--format", "abc,mid,svg,musicxml"),
    ("render", TUNES, "-o", f"{OUT}.mid", "--json"),
    ("render", BOOK_NAME, "-o", f"{OUT}/", "--format", "abc"),
    ("generate", "--prime", TUNES, "--out", OUT, "--model", MODEL, "--format", "abc,mid"),
    ("generate", "--bars", "4", "--out", OUT, "--model", MODEL, "--json"),
    ("infill", TUNES, "--bars", "3", "--model", MODEL, "--particles", "2", "-o", f"{OUT}/", "--format", "abc"),
    ("infill", TUNES, "--bars", "3", "--model", MODEL, "--particles", "2", "-o", f"{OUT}.abc", "--json"),
    ("vary", TUNES, "--amount", "0.1", "--model", MODEL, "--particles", "2", "-o", f"{OUT}.abc"),
    ("regions", "--model", MODEL),
    ("regions", "--model", MODEL, "--json"),
    ("export", MODEL, "--out", f"{OUT}.onnx"),
    ("corpus", "stats", "--corpus", BOOK_NAME),
    ("corpus", "stats", "--corpus", BOOK_NAME, "--json"),
    ("corpus", "build", "--corpus", BOOK_NAME),
    ("corpus", "add", BOOK_NAME, "--name", "good"),
    ("train", "--corpus", BOOK_NAME, "--out", f"n{HOSTILE}.pth", *TINY),
    ("train", "--corpus", BOOK_NAME, "--out", f"n{HOSTILE}.pth", "--json", *TINY),
]
FAILING = [
    ("render", MISSING, "-o", "x.mid"),
    ("render", TUNES, "-o", f"x.{HOSTILE}"),
    ("render", TUNES, "-o", "x/", "--format", HOSTILE),
    ("render", TUNES, "-o", "x.mid", "--region", HOSTILE),
    ("generate", "--prime", MISSING),
    ("generate", "--model", MISSING),
    ("generate", "--model", TUNES),
    ("generate", "--key", HOSTILE),
    ("generate", "--like", TUNES),
    ("generate", "--length", HOSTILE),
    ("generate", HOSTILE),
    ("generate", f"--{HOSTILE}"),
    (HOSTILE,),
    ("corpus", HOSTILE),
    ("infill", MISSING, "--bars", "1"),
    ("infill", TUNES, "--bars", HOSTILE),
    ("vary", MISSING, "--amount", "0.5"),
    ("regions", "--model", MISSING),
    ("export", MISSING),
    ("export", TUNES),
    ("corpus", "stats", "--corpus", MISSING),
    ("corpus", "stats", "--hoyomusic", MISSING),
    ("corpus", "build", "--corpus", MODEL),
    ("corpus", "add", MISSING, "--name", "good"),
    ("corpus", "add", TUNES, "--name", HOSTILE),
    ("train", "--corpus", MISSING),
    ("train", "--corpus", BOOK_NAME, "--out", f"{TUNES}/{HOSTILE}.pth"),
    ("train", "--corpus", BOOK_NAME, "--from", MISSING),
    ("train", "--corpus", BOOK_NAME, "--device", HOSTILE),
    ("resume", MISSING),
    ("resume", MODEL),
    ("evaluate", MISSING),
    ("evaluate", TUNES),
    ("evaluate", "--region", HOSTILE),
    ("play", "--model", MISSING),
]


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: f"{line[0]}-{'json' in line[-1]}")
def test_what_is_done_is_told_without_them(folder: Hoyo, line: tuple[str, ...]) -> None:
    said = folder(*line)
    assert said.code == 0, said.err
    assert is_clean(said.out)
    assert is_clean(said.err)
    if "--json" in line:
        assert all(json.loads(each) for each in said.lines)


@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["plain", "debug"])
def test_what_fails_is_told_without_them(folder: Hoyo, debug: tuple[str, ...]) -> None:
    for line in FAILING:
        said = folder(*debug, *line)
        assert said.code in (1, 2), line
        assert is_clean(said.out), line
        assert is_clean(said.err), line
        assert debug or said.err.count("\n") == 1, line


def test_a_run_goes_on_without_them(folder: Hoyo) -> None:
    assert folder("train", "--corpus", BOOK_NAME, "--out", MODEL, *TINY).code == 0
    said = folder("resume", MODEL, "--epochs", "2")
    assert (said.code, is_clean(said.out), is_clean(said.err)) == (0, True, True)
    Path(BOOK_NAME).write_text("X:1\nK:C\nCDEF|\n", encoding="utf-8")
    said = folder("resume", MODEL, "--epochs", "3")
    assert (said.code, is_clean(said.out), is_clean(said.err)) == (1, True, True)


def test_json_keeps_what_the_terminal_does_not_see(folder: Hoyo) -> None:
    told = json.loads(folder("render", TUNES, "-o", f"{OUT}.mid", "--json").out)
    assert told["files"] == [f"{OUT}.mid"]


def test_an_evaluation_names_its_model_without_them(folder: Hoyo, monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(
        model=MODEL, identity="0" * 64, corpus="1" * 64, tunes=5, seed=0, guidance=1.0, temperature=1.0,
        notices=[f"the corpus {HOSTILE}"],
    )  # fmt: skip
    monkeypatch.setattr("hoyomusic.evaluation.evaluate", lambda config, progress: told)
    monkeypatch.setattr("hoyomusic.evaluation.report.list_tables", lambda report: [])
    said = folder("evaluate", MODEL)
    assert (said.code, is_clean(said.out), is_clean(said.err)) == (0, True, True)
    assert said.out.startswith("model m\ufffd[31m")
