"""Ten thousand damaged files, and worse ones made by hand: each is read, or refused in one line, soon."""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from hoyomusic import abc
from hoyomusic.abc import reader, text
from hoyomusic.corpus import hoyomusic_rows, load_corpus
from hoyomusic.corpus.files import find_files, read_file
from hoyomusic.errors import AbcError, CorpusError, HoyoError, RenderError, TuneError
from hoyomusic.render import audio
from hoyomusic.score import perform
from tests import fuzzing
from tests.conftest import ROOT

# Files of each reader in the default run; those that take longer get fewer.
USUAL = 150
FEWER = {"sheet": 10, "arranged": 60, "abc": 100, "ids": 60, "corpus": 40, "abc.gz": 40}


def list_faults(faults: dict[str, bytes]) -> str:
    return "; ".join(f"{fault}: {data[:200]!r}" for fault, data in faults.items())


@pytest.mark.parametrize("name", fuzzing.READERS)
def test_mutated_files_are_read_or_refused(name: str) -> None:
    inputs = FEWER.get(name, USUAL)
    tried, faults = fuzzing.run(name, seconds=300, inputs=inputs, seed=0)
    assert tried == inputs and not faults, list_faults(faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.READERS)
def test_ten_minutes_of_mutated_files_are_read_or_refused(name: str) -> None:
    _, faults = fuzzing.run(name, seconds=600, inputs=10**9, seed=1)
    assert not faults, list_faults(faults)


FOUND = sorted(path for path in fuzzing.FAILURES.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: str(path.relative_to(fuzzing.FAILURES)))
def test_what_once_failed_no_longer_does(path: Path) -> None:
    assert fuzzing.find_fault(fuzzing.READERS[path.parent.name], path.read_bytes()) is None


def test_the_fuzzer_finds_what_is_wrong() -> None:
    """Each kind of fault: another error, one of several lines, too slow."""

    def fail(data: bytes) -> None:
        if data == b"slow":
            while True:
                pass
        raise HoyoError("two\nlines") if data == b"lines" else KeyError("other")

    broken = fuzzing.Reader(lambda: [b"x"], (b"y",), fail)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuzzing, "LIMIT_SECONDS", 0.2)
        assert fuzzing.find_fault(broken, b"slow") == "takes more than 0.2 s"
    assert fuzzing.find_fault(broken, b"lines").startswith("an error of several lines")
    assert fuzzing.find_fault(broken, b"") == "KeyError: 'other'"


# ----------------------------------------------------------------------------------- ABC made to take for ever

HEAD = "X:1\nL:1/8\nM:4/4\nK:C\n"
HOSTILE = {
    "brackets": HEAD + "[" * 9_000,
    "chords in chords": HEAD + "[C" * 4_000,
    "braces": HEAD + "{" * 9_000,
    "quotation marks": HEAD + '"a' * 4_500,
    "exclamation marks": HEAD + ("!" + "a" * 9_000 + "\n") * 2,
    "plus signs": HEAD + "+a " * 3_000,
    "voices": HEAD + "".join(f"V:{number}\nabc|\n" for number in range(5_000)),
    "voices in a line": HEAD + "".join(f"[V:{number}]a" for number in range(1_000)),
    "tuplets": HEAD + "(3:2:3" * 1_500 + "abc",
    "repeats": HEAD + "|:a:|" * 1_900,
    "endings": HEAD + "|:a|1 b:|2 c:|3 d:|4" * 490,
    "endings of many plays": HEAD + "|:a|" + ",".join(map(str, range(1, 1000))) + " b:|",
    "ties": HEAD + "a-" * 4_900,
    "ties through endings": HEAD + "|:a-|1 a-:|2 a-:|" * 500,
    "parts in parts": "X:1\nP:" + "(" * 4_000 + "A" + ")" * 4_000 + "\nK:C\nP:A\na|\n",
    "parts by the million": "X:1\nP:((((A99)99)99)99)\nK:C\nP:A\na|\n",
    "macros": "X:1\nm:~a = " + "bb" * 4_000 + "\nK:C\n" + "~a" * 4_000,
    "metres": "X:1\nM:" + "1+" * 4_000 + "1/8\nK:C\na|\n",
    "key accidentals": "X:1\nK:C " + "^c " * 3_000 + "\na|\n",
    "titles": "X:1\n" + ("T:" + "a" * 9_000 + "\n") * 200 + "K:C\na|\n",
    "one title in many lines": "X:1\nT:a\n" + ("+:" + "a" * 9_000 + "\n") * 200 + "K:C\na|\n",
    "lines of nothing": "X:1\nK:C\na\n" + "\n" * 500_000,
    "tunes": "X:1\nK:C\na|\n\n" * 3_000,
    "a text that never ends": "X:1\nK:C\na\n%%begintext\n" + "x\n" * 100_000,
    "entities": "X:1\nT:" + "&amp;" * 1_900 + "\nK:C\na\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_abc_made_to_take_for_ever_does_not(name: str) -> None:
    assert fuzzing.find_fault(fuzzing.READERS["abc"], HOSTILE[name].encode()) is None


def test_reading_time_grows_as_the_text_does() -> None:
    """Ten times the text takes at most about ten times as long, whatever the text is made of."""
    for name, (begin, part) in {
        "notes": (HEAD, "abcd efga|\n"), "chords": (HEAD, "[CEG]2[FAc]2|\n"), "voices": (HEAD, "V:1\nab|\nV:2\ncd|\n"),
        "tunes": ("", "X:1\nK:C\nabc|\n\n"), "texts": ("X:1\n", "N:abc\n"), "repeats": (HEAD, "|:ab|1c:|2d|\n"),
    }.items():
        ending = "K:C\na|\n" if name == "texts" else ""
        took = []
        for count in (500, 5_000):
            text = begin + part * count + ending
            started = time.process_time()
            list(abc.parse_each(text))
            took.append(time.process_time() - started)
        assert took[1] < 40 * took[0] + 0.5, (name, took)


def test_a_tune_of_endless_notes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAXIMUM_NOTES", 1_000)
    with pytest.raises(AbcError, match="line 6, column .*: a tune of more than 1000 notes; cut it"):
        abc.parse(HEAD + "abcdefga|" * 100 + "\n" + "abcdefga|" * 100)
    with pytest.raises(AbcError, match="more than 1000 notes; give its tunes in several files"):
        abc.parse((HEAD + "abcdefga|" * 100 + "\n\n") * 2)
    assert len(list(abc.parse_each((HEAD + "abcdefga|" * 100 + "\n\n") * 2))) == 2


def test_a_file_of_endless_tunes_or_rows_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(text, "MAXIMUM_TUNES", 10)
    monkeypatch.setattr(hoyomusic_rows, "MOST_ROWS", 10)
    for name, content, message in (
        ("tunes.abc", "X:\n" * 11, "a text of more than 10 tunes"), ("rows.jsonl", "{}\n" * 11, "more than 10 rows"),
        ("rows.json", f"[{','.join(['{}'] * 11)}]", "more than 10 rows"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(HoyoError, match=message):
            load_corpus([tmp_path / name], use_cache=False)


@pytest.mark.parametrize(
    ("music", "message"),
    [
        ("|:" + "abcdefga" * 1_100 + "|1-1000 c:|", "plays more than 200000 notes"),
        ("a99999" * 100, "plays more than 200000 notes or 50000 whole notes"),
        ("a/12497a/12491a/12487a/12479a/12473", "in too many ways"),
    ],
)
def test_what_would_play_for_ever_is_refused(hoyo: Callable[..., Any], music: str, message: str) -> None:
    Path("tune.abc").write_text(HEAD + music + "\n")
    for suffix in ("mid", "wav", "svg", "musicxml"):
        said = hoyo("render", "tune.abc", "-o", f"tune.{suffix}")
        assert said.code == 1 and message in said.err and "\n" not in said.err.strip()
    with pytest.raises(TuneError, match=message):
        perform(abc.parse_one(HEAD + music))


def test_a_sound_of_hours_is_refused_before_it_is_made() -> None:
    score = perform(abc.parse_one("X:1\nL:1/1\nQ:1/4=30\nK:C\n" + "c8|" * 200))
    with pytest.raises(RenderError, match="would last 12800 seconds, more than 1200"):
        audio.to_bytes(score, ".wav")


# ------------------------------------------------------------------------------------------- packed and listed


def test_no_name_in_an_archive_leads_outside(hoyo: Callable[..., Any], tmp_path: Path) -> None:
    """Names with .., absolute ones, links and devices: nothing is written, nothing is followed."""
    outside = tmp_path / "outside.txt"
    score = fuzzing.score_seeds()[0]
    with tarfile.open("hostile.tar", "w") as made:
        for folder in ("..", tmp_path, "x/../.."):
            member = tarfile.TarInfo(f"{folder}/outside--a--b--c--d.txt")
            member.size = len(score)
            made.addfile(member, BytesIO(score))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo("link--a--b--c--d.txt")
            member.type, member.linkname = kind, str(outside)
            made.addfile(member)
    before = sorted(tmp_path.rglob("*"))
    corpus = load_corpus([Path("hostile.tar")], use_cache=False)
    assert len(corpus.tunes) == 1
    assert sorted(tmp_path.rglob("*")) == before


READING = """
import resource, sys
from pathlib import Path
from hoyomusic.corpus import hoyomusic_rows, load_corpus
from hoyomusic.errors import HoyoError
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 500 * 2**20,) * 2)
for file in sys.argv[1:]:
    try:
        load_corpus([Path(file)], use_cache=False)
        print("read")
    except HoyoError as error:
        print(error)
"""


def test_bombs_take_less_than_500_megabytes(tmp_path: Path) -> None:
    """Each a small file that asks for gigabytes: as a packed one, as a list of rows, as an archive's dictionary."""
    zeros = bytes(2**20)
    packed = tmp_path / "bomb.abc.gz"
    with gzip.open(packed, "wb") as file:
        for _ in range(100):
            file.write(zeros)
    archive = tmp_path / "bomb.tar.xz"
    member = tarfile.TarInfo("a--b--c--d--e.txt")
    member.size = 2**30
    head = member.tobuf()
    archive.write_bytes(lzma.compress(head + zeros * 100))
    # The byte behind filter LZMA2 says how large its dictionary is; the checksum of the header comes behind it.
    greedy = bytearray(lzma.compress(head, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**16}]))
    place = greedy.index(b"\x21\1", 12) + 2
    greedy[place] = 39
    header_end = 12 + (greedy[12] + 1) * 4
    greedy[header_end - 4 : header_end] = zlib.crc32(greedy[12 : header_end - 4]).to_bytes(4, "little")
    dictionary = tmp_path / "dictionary.tar.xz"
    dictionary.write_bytes(greedy)
    rows = tmp_path / "rows.json"
    rows.write_bytes(b"[[" + b"{}," * 10_000_000 + b"{}]]")
    done = subprocess.run(
        [sys.executable, "-c", READING, packed, archive, dictionary, rows], cwd=ROOT, capture_output=True, text=True,
        timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-500:]
    said = done.stdout.splitlines()
    assert len(said) == 4 and "read" not in said
    assert said[2] == f"{dictionary}: is no whole xz archive"


def test_links_pipes_and_devices_in_a_folder_of_tunes_are_passed_by(tmp_path: Path) -> None:
    folder, secret = tmp_path / "tunes", tmp_path / "secret.abc"
    folder.mkdir()
    secret.write_text(fuzzing.ABC_SEEDS[0])
    (folder / "good.abc").write_text(fuzzing.ABC_SEEDS[0])
    (folder / "outside.abc").symlink_to(secret)
    (folder / "zero.abc").symlink_to("/dev/zero")
    (folder / "loop.abc").symlink_to(folder / "loop.abc")
    (folder / "self").symlink_to(folder)
    os.mkfifo(folder / "pipe.abc")
    assert [file.name for file in find_files(folder, (".abc",))] == ["good.abc"]
    for other in ("pipe.abc", "zero.abc"):
        with pytest.raises(CorpusError, match="is not a regular file|is neither a file nor a folder"):
            read_file(folder / other, 100)


# --------------------------------------------------------------------------------------- files of other kinds

OTHERS = {
    "tune.mid": b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\4\0\xff/\0",
    "tune.musicxml": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    "tune.mxl": b"PK\3\4" + bytes(100),
    "tune.wav": b"RIFF\0\0\0\0WAVEfmt " + bytes(100),
    "tune.xml": b"<a>" * 1000,
    "tune.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10,
    "tune.pth": b"PK\3\4" + bytes(range(256)) * 10,
    "empty.abc": b"",
    "nul.abc": bytes(10_000),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_abc_is_told_in_one_line_by_each_command(hoyo: Callable[..., Any], name: str) -> None:
    """No command reads MIDI, MusicXML or sound: what they hold is never looked at, and no entity in it resolved."""
    Path(name).write_bytes(OTHERS[name])
    for command in (
        ("render", name, "-o", "out.mid"), ("generate", "--prime", name), ("infill", name, "--bars", "1"),
        ("vary", name, "--amount", "0.5"), ("corpus", "stats", "--corpus", name), ("generate", "--like", name),
    ):
        said = hoyo(*command)
        lines = said.err.splitlines()
        assert said.code == 1 and len(lines) == 1 and name in lines[0], (command, said)
        assert all(sign >= " " for sign in lines[0]) and not said.out
    assert os.listdir() == [name]

