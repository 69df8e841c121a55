"""The command line as a whole: help, usage errors, errors in one line, interrupts and pipes that close."""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hoyomusic import __version__
from hoyomusic.cli import console as speaking
from hoyomusic.cli import run
from hoyomusic.cli.commands import find_program
from tests.conftest import ROOT, Said

Hoyo = Callable[..., Said]


def find_commands() -> list[tuple[str, ...]]:
    """Every command's words, groups walked through."""
    found = []
    for name, announced in find_program().commands.items():
        command = announced.load()
        found += [(name, inner) for inner in command.commands] if hasattr(command, "commands") else [(name,)]
    return found


def test_the_commands_are_these() -> None:
    assert sorted(" ".join(words) for words in find_commands()) == [
        "convert", "corpus add", "corpus build", "corpus stats", "doctor", "evaluate", "export", "generate", "infill",
        "play", "regions", "render", "resume", "train", "vary",
    ]  # fmt: skip


@pytest.mark.parametrize("announced", find_program().commands.values(), ids=lambda command: command.name)
def test_what_a_command_is_for_is_the_first_sentence_of_its_help(announced: Any) -> None:
    everything = 10_000
    assert announced.help == announced.load().get_short_help_str(everything)


@pytest.mark.parametrize("words", find_commands(), ids=" ".join)
def test_every_help_has_an_example_of_its_own_command(hoyo: Hoyo, words: tuple[str, ...]) -> None:
    said = hoyo(*words, "--help")
    assert (said.code, said.err) == (0, "")
    assert f"\n    hoyo {' '.join(words)}" in said.out.partition("Examples:")[2]


def test_no_line_of_help_is_cut_by_a_narrow_terminal(hoyo: Hoyo) -> None:
    for words in ([], *find_commands()):
        usage = hoyo(*words, "--help").out.partition("Examples:")[0]
        assert max(map(len, usage.splitlines())) <= 80


def test_version(hoyo: Hoyo) -> None:
    assert hoyo("--version") == (0, f"hoyomusic {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rander"], "there is no command 'rander'; did you mean render?"),
        (["genrate"], "there is no command 'genrate'; did you mean generate?"),
        (["sing"], "there is no command 'sing'; choose one of generate, play, infill, "),
        (["corpus", "stas"], "corpus: there is no command 'stas'; did you mean stats?"),
        (["--debug"], "missing command; see hoyo --help"),
        (["render"], "render: TUNE.abc... is missing; see hoyo render --help"),
        (["render", "a.abc"], "render: -o/--out is missing; see hoyo render --help"),
        (["corpus", "add"], "corpus add: PATH is missing; see hoyo corpus add --help"),
        (["generate", "--lenght", "3"], "generate: there is no option '--lenght'; did you mean --length?"),
        (["generate", "--regoin", "Liyue"], "generate: there is no option '--regoin'; did you mean --region?"),
        (["generate", "--debug"], "generate: there is no option '--debug'; write it before the command: hoyo --debug "),
        (["generate", "-x"], "generate: there is no option '-x'; see hoyo generate --help"),
        (["generate", "--length", "many"], "--length: 'many' is not a whole number; see hoyo generate --help"),
        (["generate", "--guidance", "much"], "--guidance: 'much' is not a number; see hoyo generate --help"),
        (["generate", "--length"], "--length: its value is missing; write it behind the option"),
        (["generate", "--force=3"], "--force: takes no value; write --force alone"),
        (["generate", "Liyue"], "generate: got unexpected extra argument(s) (Liyue); see hoyo generate --help"),
        (["generate", "--region", "Monstadt"], "there is no nation 'Monstadt'; did you mean Mondstadt?"),
        (["generate", "--region", "蒙地"], "there is no nation '蒙地'; did you mean 蒙德?"),
        (["render", "a.abc", "-o", "o/", "--format", "midd"], "--format: there is no format 'midd'; did you mean mid?"),
    ],
)  # fmt: skip
def test_usage_errors_cost_one_line(hoyo: Hoyo, arguments: list[str], message: str) -> None:
    Path("a.abc").write_text("X:1\nK:C\nCDEF|\n", encoding="utf-8")
    said = hoyo(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"hoyo: {message}")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("words", [(), ("corpus",)], ids=["hoyo", "hoyo corpus"])
def test_who_names_no_command_is_shown_them(hoyo: Hoyo, words: tuple[str, ...]) -> None:
    said = hoyo(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err == hoyo(*words, "--help").out


def test_our_errors_cost_one_line(hoyo: Hoyo) -> None:
    said = hoyo("render", "nothing.abc", "-o", "x.mid")
    assert said == (1, "", "hoyo: nothing.abc: cannot be read (No such file or directory); name what there is and may be read\n")


def test_debug_shows_where_an_error_arose(hoyo: Hoyo) -> None:
    said = hoyo("--debug", "render", "nothing.abc", "-o", "x.mid")
    assert said.code == 1
    assert said.err.startswith("Traceback (most recent call last):\n")
    assert said.err.endswith("\nhoyo: nothing.abc: cannot be read (No such file or directory); name what there is and may be read\n")


def test_an_interrupt_ends_with_130_and_no_word(hoyo: Hoyo, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(value: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hoyomusic.cli.regions.write_json", interrupt)
    said = hoyo("regions", "--json")
    assert (said.code, said.out.strip(), said.err.strip()) == (130, "", "")


def test_a_fault_of_ours_is_not_hidden(hoyo: Hoyo, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(value: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("hoyomusic.cli.regions.write_json", fail)
    with pytest.raises(ZeroDivisionError):
        run(["regions", "--json"])


def test_a_reader_that_goes_away_is_no_error() -> None:
    """Without care the interpreter says ``Exception ignored ... BrokenPipeError`` when it ends."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "hoyomusic", "regions", "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("start", [ROOT / "cli.py", "hoyomusic"], ids=["cli.py", "python -m hoyomusic"])
def test_all_ways_to_start_it_are_one(
    start: Path | str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hoyo", "--version"])
    # A program that ends leaves these as they are: here others come behind it.
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    before, thresholds = signal.getsignal(signal.SIGINT), gc.get_threshold()
    try:
        with pytest.raises(SystemExit) as ending:
            (runpy.run_path if isinstance(start, Path) else runpy.run_module)(str(start), run_name="__main__")
    finally:
        signal.signal(signal.SIGINT, before)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    assert ending.value.code == 0
    assert capfd.readouterr().out == f"hoyomusic {__version__}\n"


def test_a_terminal_without_chinese_gets_question_marks() -> None:
    command = [sys.executable, "-m", "hoyomusic", "regions", "--json"]
    environment = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.splitlines()[1])["chinese"] == "??"


class TestConsole:
    def test_warnings_are_one_line_without_control_codes(self, capfd: pytest.CaptureFixture[str]) -> None:
        speaking.warn("bar 3\x1b[2J\nof 4")
        assert capfd.readouterr().err == "hoyo: bar 3\ufffd[2J\ufffdof 4\n"

    def test_tables_take_data_as_it_is(self, capfd: pytest.CaptureFixture[str]) -> None:
        table = speaking.new_table("title", "bars", numbers=("bars",))
        table.add_row("Jig [/b] in [red] :smile:", "8")
        table.add_row("蒙德", "16")
        speaking.output().print(table)
        assert [line.rstrip() for line in capfd.readouterr().out.splitlines()] == [
            "title                      bars",
            "Jig [/b] in [red] :smile:     8",
            "蒙德                         16",
        ]

    @pytest.mark.parametrize("rows", [
        [("Jig", "8")],
        [("Reel [b] :smile:", ""), ("", "1,600")],
        [("a b  c" * 30, "2")],
        [("long enough to be folded " * 12, "3"), ("x" * 300, "4")],
        [("蒙德", "16"), ("Jig", "8")],
    ])  # fmt: skip
    def test_a_table_in_a_pipe_is_as_rich_sets_it(
        self, rows: list[tuple[str, str]], capfd: pytest.CaptureFixture[str]
    ) -> None:
        speaking.show_table(("title", "bars"), rows, ("bars",))
        shown = capfd.readouterr().out
        table = speaking.new_table("title", "bars", numbers=("bars",))
        for row in rows:
            table.add_row(*row)
        speaking.output().print(table)
        assert shown == capfd.readouterr().out


def test_regions_table(hoyo: Hoyo) -> None:
    said = hoyo("regions")
    assert (said.code, said.err) == (0, "")
    rows = {line.split()[0]: line for line in said.lines[1:9]}
    assert rows.keys() == {"Teyvat", "Mondstadt", "Liyue", "Inazuma", "Sumeru", "Fontaine", "Natlan", "Snezhnaya"}
    assert "蒙德" in rows["Mondstadt"]
    assert "learned" in rows["Mondstadt"]
    assert "6/8 31 %" in rows["Mondstadt"]
    assert "styled" in rows["Inazuma"]
    assert "Shakuhachi" in rows["Inazuma"]
    assert "Inazuma: styled by rule: Japanese five-note scales built of tetrachords, calm duple metre." in said.out


def test_regions_json(hoyo: Hoyo) -> None:
    regions = [json.loads(line) for line in hoyo("regions", "--json").lines]
    assert [region["label"] for region in regions] == list(range(8))
    natlan = regions[6]
    assert (natlan["name"], natlan["chinese"], natlan["tempo"]) == ("Natlan", "纳塔", [100, 138])
    assert natlan["scales"]["minor pentatonic"] == [0, 3, 5, 7, 10]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What an installed HoyoMusic says it requires, whether or not it is installed here."""
    lines = (ROOT / "requirements.txt").read_text().split()
    extras = ["pytest==9.2.0; extra == 'test'", "nothing; extra == 'more'"]
    monkeypatch.setattr(metadata, "requires", lambda name: [*lines, *extras])
    return lines


def test_doctor_says_what_there_is(hoyo: Hoyo, installed: list[str]) -> None:
    said = hoyo("doctor", "--json")
    found = json.loads(said.out)
    parts = {part["name"]: part for part in found["parts"]}
    assert parts["torch"]["fits"]
    assert parts["torch"]["found"].startswith(parts["torch"]["wanted"])
    assert parts["pytest"] == {"name": "pytest", "wanted": "9.2.0", "found": "9.2.0", "extra": "test", "fits": True}
    assert parts["nothing"] == {"name": "nothing", "wanted": "", "found": "", "extra": "more", "fits": False}
    assert found["machine"]["python"] == sys.version.split()[0]
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory"]["process"] > 2**20
    assert found["remedy"] == ""
    assert (said.code == 0) == ("error" not in found["model"])
    assert hoyo("doctor").lines[-1] == "all that is needed is installed"


def test_doctor_names_the_command_that_mends(hoyo: Hoyo, installed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def find(name: str) -> str:
        if name == "verovio":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "typer" else version(name)

    monkeypatch.setattr(metadata, "version", find)
    said = hoyo("doctor")
    assert said.code == 1
    wanted = [line for line in installed if line.startswith(("typer==", "verovio=="))]
    assert said.lines[-1] == f"to mend: {sys.executable} -m pip install {' '.join(wanted)}"


def test_doctor_of_a_program_that_is_not_installed(hoyo: Hoyo, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", find)
    said = hoyo("doctor")
    assert (said.code, said.lines[-1]) == (1, f"to mend: {sys.executable} -m pip install .")
