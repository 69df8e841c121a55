"""`hoyo render`: the very file that was named, notes exactly as composed, nothing overwritten, names that fit."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import mido
import pytest

from hoyomusic import abc
from hoyomusic.cli.console import tune_progress
from hoyomusic.cli.targets import plan_targets, read_formats, short_stem
from hoyomusic.errors import UsageError
from tests.conftest import BOOK, ROOT, Said

Hoyo = Callable[..., Said]

ORACLE = ROOT.parent / "shared" / "data" / "abc_oracle_dev.json"
JIG = abc.write(abc.parse(BOOK.read_text(encoding="utf-8"))[1])


@pytest.fixture
def jig(tmp_path: Path) -> Path:
    path = tmp_path / "jig.abc"
    path.write_text(JIG, encoding="utf-8")
    return path


def read_melody(path: Path) -> list[tuple[int, int, int]]:
    """(onset, duration, pitch) in ticks of the track called melody; 480 ticks a crotchet."""
    file = mido.MidiFile(path)
    assert file.ticks_per_beat == 480
    track = next(track for track in file.tracks if track.name == "melody")
    found, sounding, now = [], {}, 0
    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        if message.note in sounding:
            found.append((sounding[message.note], now - sounding.pop(message.note), message.note))
        if message.type == "note_on" and message.velocity:
            sounding[message.note] = now
    return sorted(found)


def test_one_tune_and_a_file_name_give_exactly_that_file(hoyo: Hoyo, jig: Path) -> None:
    said = hoyo("render", jig, "-o", "here/tune.mid")
    assert (said.code, said.err) == (0, "")
    assert said.lines == [
        "title          key      metre  bars  seconds  files",
        "Dandelion Jig  G major  6/8      16     48.3  here/tune.mid",
    ]
    assert [str(path) for path in Path.cwd().rglob("*.*")] == [str(Path.cwd() / "here" / "tune.mid")]
    names = [track.name for track in mido.MidiFile("here/tune.mid").tracks]
    assert names[:2] == ["Dandelion Jig", "melody"]
    assert len(names) > 3


def test_melody_only_is_the_melody_and_nothing_else(hoyo: Hoyo, jig: Path) -> None:
    assert hoyo("render", jig, "-o", "full.mid").code == 0
    assert hoyo("render", jig, "-o", "alone.mid", "--melody-only").code == 0
    alone = mido.MidiFile("alone.mid")
    assert [track.name for track in alone.tracks] == ["Dandelion Jig", "melody"]
    assert read_melody(Path("alone.mid")) == read_melody(Path("full.mid"))
    # The upbeat d, then g a b of the first bar: quavers of 240 ticks.
    assert read_melody(Path("alone.mid"))[:4] == [(0, 240, 62), (240, 240, 67), (480, 240, 69), (720, 240, 71)]


def test_every_format_of_a_folder(hoyo: Hoyo, jig: Path) -> None:
    said = hoyo("render", jig, "-o", "out", "--format", "abc,midi,wav,svg,musicxml", "--melody-only", "--json")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    names = ["jig.abc", "jig.mid", "jig.wav", "jig.svg", "jig.musicxml"]
    assert found["files"] == [str(Path("out") / name) for name in names]
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(names)
    assert (found["title"], found["key"], found["metre"], found["bars"]) == ("Dandelion Jig", "G major", "6/8", 16)
    assert found["faults"] == []
    assert abc.parse(Path("out/jig.abc").read_text(encoding="utf-8")) == abc.parse(JIG)
    assert Path("out/jig.wav").read_bytes()[:4] == b"RIFF"
    assert "Dandelion Jig" in Path("out/jig.svg").read_text(encoding="utf-8")


def test_several_tunes_of_several_files_are_numbered(hoyo: Hoyo, jig: Path) -> None:
    said = hoyo("render", BOOK, jig, "-o", "out/", "--format", "mid")
    assert said.code == 0
    numbered = [f"book-{number}.mid" for number in range(1, 9)]
    assert sorted(path.name for path in Path("out").iterdir()) == [*numbered, "jig.mid"]
    assert len(said.lines) == 10


def test_several_tunes_and_a_file_name_are_numbered_through(hoyo: Hoyo, jig: Path) -> None:
    assert hoyo("render", jig, jig, "-o", "both.mid").code == 0
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["both-1.mid", "both-2.mid"]


def test_what_exists_stays_unless_forced(hoyo: Hoyo, jig: Path) -> None:
    Path("mine.mid").write_text("mine")
    said = hoyo("render", jig, "-o", "mine.mid")
    assert said == (1, "", "hoyo: mine.mid: already exists; choose another name or add --force\n")
    assert Path("mine.mid").read_text() == "mine"
    assert hoyo("render", jig, "-o", "mine.mid", "--force").code == 0
    assert Path("mine.mid").read_bytes()[:4] == b"MThd"


def test_what_was_written_before_an_error_is_said(hoyo: Hoyo, jig: Path) -> None:
    Path("both-2.mid").write_text("mine")
    said = hoyo("render", jig, jig, "-o", "both.mid")
    assert said.code == 1
    assert said.lines[1].endswith("both-1.mid")
    assert said.err == "hoyo: both-2.mid: already exists; choose another name or add --force\n"


def test_region_tempo_and_seed_are_heard(hoyo: Hoyo, jig: Path) -> None:
    for name, options in {
        "plain": [], "again": [], "liyue": ["--region", "璃月"], "fast": ["--tempo", "200"], "other": ["--seed", "5"],
    }.items():  # fmt: skip
        assert hoyo("render", jig, "-o", f"{name}.mid", *options).code == 0
    data = {path.stem: path.read_bytes() for path in Path.cwd().glob("*.mid")}
    assert data["plain"] == data["again"]
    assert len(set(data.values())) == 4
    assert len({str(read_melody(Path(f"{name}.mid"))) for name in data}) == 1
    tempi = [message.tempo for message in mido.MidiFile("fast.mid").tracks[0] if message.type == "set_tempo"]
    assert tempi[0] == 300_000


def test_a_title_cannot_speak_to_the_terminal(hoyo: Hoyo, tmp_path: Path) -> None:
    path = tmp_path / "evil.abc"
    path.write_text("X:1\nT:Jig [/b]\x1b[31m\x9b2J in [red]\u202e D\nM:2/4\nL:1/4\nK:D\nDE|F2|]\n", encoding="utf-8")
    said = hoyo("render", path, "-o", "evil.mid")
    assert said.code == 0
    assert "Jig [/b]" in said.out
    assert "in [red]" in said.out
    assert not [sign for sign in said.out + said.err if unicodedata.category(sign) in ("Cc", "Cf") and sign != "\n"]


def test_faults_and_notices_are_said_and_do_not_stop_the_music(hoyo: Hoyo, tmp_path: Path) -> None:
    path = tmp_path / "odd.abc"
    odd = "X:1\nT:Odd\nM:2/4\nL:1/4\nK:D\nDE|DEF|!trill!DE|D2|]\n"
    path.write_text(odd + "\n" + odd, encoding="utf-8")
    said = hoyo("render", path, "-o", "odd.mid")
    assert said.code == 0
    assert said.err == f"hoyo: {path}, line 6, column 8: left out or guessed: decorations (in 2 tunes)\n"
    assert said.lines[-2:] == ["Odd, bar 2: bar of 3/4 in 2/4"] * 2


def test_many_faults_are_counted(hoyo: Hoyo, tmp_path: Path) -> None:
    path = tmp_path / "odd.abc"
    path.write_text("X:1\nT:Odd\nM:2/4\nL:1/4\nK:D\n" + 9 * "DEF|" + "\n", encoding="utf-8")
    said = hoyo("render", path, "-o", "odd.mid")
    assert said.lines[-2:] == ["Odd, bar 5: bar of 3/4 in 2/4", "Odd: 4 more faults; --json tells all"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["empty.abc", "-o", "x.mid"], 1, "empty.abc: there is no tune in it; a tune begins with an X: field"),
        (["jig.abc", "-o", "x.doc"], 1, "x.doc: there is no format '.doc'; choose one of .abc, .mid"),
        (["jig.abc", "-o", "x"], 1, "x: has no suffix to choose a format by; choose one of .abc, .mid"),
        (["jig.abc", "-o", "out/"], 2, "--out: out/ is a folder; add --format, as in --format mid,wav,svg"),
        (["jig.abc", "-o", "out", "--format", "mid,pdf"], 2, "--format: there is no format 'pdf'; choose one of abc, mid"),
        (["jig.abc", "-o", "x.mid", "--region", "Mondstat"], 2, "there is no nation 'Mondstat'; did you mean "),
        (["jig.abc", "-o", "x.mid", "--tempo", "nan"], 2, "tempo nan; ask for 5 to 1000 crotchets a minute"),
        (["nokey.abc", "-o", "x.mid"], 1, "nokey.abc, line 1"),
    ],
)
def test_errors(hoyo: Hoyo, arguments: list[str], code: int, message: str) -> None:
    Path("jig.abc").write_text(JIG, encoding="utf-8")
    Path("empty.abc").write_text("\n")
    Path("nokey.abc").write_text("X:1\nT:No key\nABC\n")
    said = hoyo("render", *arguments)
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith(f"hoyo: {message}")
    assert said.err.count("\n") == 1
    assert sorted(path.name for path in Path.cwd().iterdir() if path.is_file()) == ["empty.abc", "jig.abc", "nokey.abc"]


class TestNames:
    def test_formats(self) -> None:
        assert read_formats("abc,midi, WAV ,.svg,mid") == [".abc", ".mid", ".wav", ".svg"]
        with pytest.raises(UsageError, match=r"--format: there is no format ''"):
            read_formats("mid,")

    def test_sources_of_one_name_stay_apart(self) -> None:
        planned = plan_targets([(Path("a/x.abc"), 1), (Path("b/x.abc"), 2), (Path("c/x.abc"), 1)], "out", "mid")
        names = [str(path) for paths in planned for path in paths]
        assert names == ["out/x.mid", "out/x-2-1.mid", "out/x-2-2.mid", "out/x-3.mid"]

    def test_long_and_decomposed_names_are_made_to_fit(self) -> None:
        assert len(short_stem("蒙" * 300).encode()) <= 120
        assert short_stem("Cafe\u0301") == "Caf\u00e9"
        assert short_stem("-rf") == "-rf"


def compare_with_oracle(hoyo: Hoyo, entries: list[dict]) -> list[str]:
    """Ids of the tunes that `hoyo render --melody-only` plays otherwise than the oracle says."""
    wrong = []
    for number, entry in enumerate(entries):
        source, target = Path(f"{number}.abc"), Path(f"{number}.mid")
        source.write_text(entry["abc"], encoding="utf-8")
        assert hoyo("render", source, "-o", target, "--melody-only").code == 0
        tops: dict[int, tuple[int, int, int]] = {}
        for note in read_melody(target):
            tops[note[0]] = max(tops.get(note[0], note), note, key=lambda each: each[2])
        heard = [tuple(Fraction(value, 480) for value in note[:2]) + note[2:] for note in sorted(tops.values())]
        expected = [(Fraction(str(onset)), Fraction(str(length)), pitch) for onset, length, pitch in entry["notes"]]
        near = Fraction(1, 96)
        if len(heard) != len(expected) or any(
            mine[2] != theirs[2] or abs(mine[0] - theirs[0]) > near or abs(mine[1] - theirs[1]) > near
            for mine, theirs in zip(heard, expected, strict=True)
        ):
            wrong.append(entry["id"])
    return wrong


@pytest.mark.parametrize("share", [pytest.param(40, id="some"), pytest.param(1000, id="all", marks=pytest.mark.slow)])
def test_real_tunes_sound_as_the_oracle_says(hoyo: Hoyo, share: int) -> None:
    if not ORACLE.exists():
        pytest.skip("the oracle of real tunes is not on this machine")
    entries = [entry for entry in json.loads(ORACLE.read_text(encoding="utf-8"))["tunes"] if not entry["contested"]]
    entries = random.Random(3).sample(entries, min(share, len(entries)))
    wrong = compare_with_oracle(hoyo, entries)
    assert len(wrong) <= len(entries) // 100, wrong


def test_a_bar_moves_on_a_terminal_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with tune_progress(3) as advance:
        advance()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with tune_progress(3) as advance:
        for _ in range(3):
            advance()
    assert "3/3" in capsys.readouterr().err
    with tune_progress(1) as advance:
        advance()
    assert capsys.readouterr().err == ""
