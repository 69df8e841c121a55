"""`hoyo corpus`: the account of what there is, and the user's own tunes under a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import BOOK, Said

Hoyo = Callable[..., Said]


def test_stats(hoyo: Hoyo) -> None:
    said = hoyo("corpus", "stats", "--corpus", BOOK)
    assert (said.code, said.err) == (0, "")
    assert said.lines[0] == f"read 8 tunes: {BOOK} (8)"
    assert said.lines[1].split() == ["nation", "read", "unique", "with", "metre", "usable"]
    assert said.lines[3].split() == ["Mondstadt", "1", "1", "1", "1"]
    assert said.lines[10].startswith("usable 8: 7 to learn from, 1 to judge by; 124 bars, ")


def test_stats_as_json(hoyo: Hoyo) -> None:
    said = hoyo("corpus", "stats", "--corpus", BOOK, "--json")
    counts = json.loads(said.out)
    assert counts["usable"] == 8
    assert counts["rejected"] == {}
    assert counts["regions"] == dict.fromkeys(
        ["Teyvat", "Mondstadt", "Liyue", "Inazuma", "Sumeru", "Fontaine", "Natlan", "Snezhnaya"], 1
    )


def test_rejected_tunes_are_counted_under_a_reason(hoyo: Hoyo, tmp_path: Path) -> None:
    path = tmp_path / "mixed.abc"
    free = "X:9\nM:none\nL:1/8\nK:D\nDEFG ABcd dcBA GFED|DEFG ABcd dcBA GFED|]\n"
    path.write_text(BOOK.read_text(encoding="utf-8") + "\n" + free, encoding="utf-8")
    counts = json.loads(hoyo("corpus", "stats", "--corpus", path, "--json").out)
    assert (counts["read"], counts["usable"]) == (9, 8)
    [reason] = counts["rejected"]
    lines = hoyo("corpus", "stats", "--corpus", path).lines
    at = next(number for number, line in enumerate(lines) if line.startswith("not usable"))
    assert lines[at + 1].split() == [*reason.split(), "1"]


def test_build_keeps_what_it_read(hoyo: Hoyo, tmp_path: Path) -> None:
    said = hoyo("corpus", "build", "--corpus", BOOK)
    cache = tmp_path / "home" / "cache"
    assert (said.code, said.out) == (0, "")
    assert said.err.startswith("8 usable tunes in ")
    assert said.err.endswith(f" s, kept in {cache}\n")
    assert list(cache.iterdir())


def test_a_damaged_cache_costs_one_line(hoyo: Hoyo, tmp_path: Path) -> None:
    before = hoyo("corpus", "stats", "--corpus", BOOK)
    for entry in (tmp_path / "home" / "cache").iterdir():
        entry.write_bytes(entry.read_bytes()[:-9])
    after = hoyo("corpus", "stats", "--corpus", BOOK)
    assert after.out == before.out
    assert after.err.count("hoyo: ") == after.err.count("damaged, computed anew\n") > 0


def test_add_gives_a_name(hoyo: Hoyo) -> None:
    said = hoyo("corpus", "add", BOOK, "--name", "mine", "--region", "纳塔")
    assert (said.code, said.out) == (0, "")
    assert said.err.splitlines() == [
        f"mine stands for {BOOK}; train with it: hoyo train --corpus default --corpus mine",
        "8 usable tunes; nations with tunes enough to be learned: none",
    ]
    counts = json.loads(hoyo("corpus", "stats", "--corpus", "mine", "--json").out)
    assert counts["regions"] == {"Natlan": 8}


def test_what_cannot_be_read_yet_is_remembered_all_the_same(hoyo: Hoyo, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    folder.mkdir()
    said = hoyo("corpus", "add", folder)
    assert (said.code, said.out) == (0, "")
    assert said.lines == []
    assert said.err.splitlines()[1] == f"hoyo: {folder}: holds no ABC files; tunes are .abc or .abc.gz files"


def test_stats_name_the_nations_that_become_learned(hoyo: Hoyo) -> None:
    line = "nations with tunes enough to be learned: Mondstadt, Liyue, Fontaine"
    assert line in hoyo("corpus", "stats", "--corpus", BOOK).lines
    counts = json.loads(hoyo("corpus", "stats", "--corpus", BOOK, "--json").out)
    assert counts["learned"] == ["Mondstadt", "Liyue", "Fontaine"]


def test_a_taken_name_is_kept(hoyo: Hoyo, tmp_path: Path) -> None:
    assert hoyo("corpus", "add", BOOK).err.startswith("book stands for ")
    other = tmp_path / "book.abc"
    other.write_bytes(BOOK.read_bytes())
    said = hoyo("corpus", "add", other)
    assert said == (2, "", f"hoyo: the name 'book' is taken by {BOOK}; choose another name or add --force\n")
    assert hoyo("corpus", "add", other, "--force").code == 0


def test_errors(hoyo: Hoyo) -> None:
    assert hoyo("corpus", "add", "nothing").err == "hoyo: nothing: there is no such file or folder; name one that there is\n"
    assert hoyo("corpus", "add", BOOK, "--name", "A tune").err.startswith("hoyo: 'A tune' cannot name a corpus; ")
    said = hoyo("corpus", "stats", "--corpus", "nothing")
    assert (said.code, said.err[:60]) == (1, "hoyo: nothing: there is no corpus, file or folder of this na")
    said = hoyo("corpus", "stats", "--use-hoyomusic")
    assert said.code == 1
    assert said.err.startswith("hoyo: the hoyoMusic set is not on this computer; put its file (genshin.jsonl) into ")
