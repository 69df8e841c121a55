"""Titles and names from data: no control character reaches a screen, no markup a page, no path leads outside."""

from __future__ import annotations

import io
import json
import re
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hoyomusic import abc
from hoyomusic.render import SUFFIXES, audio, write
from hoyomusic.score import perform
from hoyomusic.text import UNSHOWABLE

HOSTILE = {
    "escape sequence": "Fox\x1b[31m red\x1b]0;owned\x07",
    "C1 escape": "Fox\x9b31m red",
    "null and backspace": "Fo\x00x\x08\x08\x7f",
    "lines": "Fox\nK:C\nX:2\rT:other\u2028T:third",
    "bidi": "Fox \u202egnp.exe\u2066",
    "rich markup": "[red]Fox[/b] :smile:",
    "html": "<script>alert(1)</script> <b onload='x'>&amp; &lt; \"",
    "end of section": "]]><!-- --> <?php x ?>",
    "svg": "</text></svg><image href=\"file:///etc/passwd\"/>",
    "entity": "&xxe; %xxe; <!ENTITY x SYSTEM 'file:///etc/passwd'>",
    "percent and backslash": "100% fox \\ \\'e \\u001b %%begintext",
    "abc fields": "[K:D] |: \"Am\" +: X:1",
    "path": "../../../etc/passwd",
    "absolute path": "/etc/passwd",
    "option": "-rf --force",
    "reserved": "CON",
    "nothing": "",
    "blanks": "   ",
    "long": "提瓦特" * 700,
    "composed twice": "Cafe\u0301 Café",
    "emoji": "👩‍👩‍👧 🏴",
    "halves": "Fox \ud800 \udfff",
}
MUSIC = "X:1\nL:1/8\nM:4/4\nK:C\nabcdefga|c8|]\n"


def make_tune(text: str, region: str = "Liyue") -> Any:
    tune = abc.parse_one(MUSIC)
    told = dict.fromkeys(("title", "composer", "origin", "rhythm", "source", "notes", "transcription"), text)
    return replace(tune, header=replace(tune.header, **told, region=region))


def is_clean(shown: str) -> bool:
    """Whether a terminal would obey nothing in it; line ends are the program's own."""
    return not any(unicodedata.category(sign) in UNSHOWABLE for sign in shown.replace("\n", ""))


TEXTUAL = [suffix for suffix in SUFFIXES if suffix not in audio.FORMATS]


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        *((suffix, name) for suffix in TEXTUAL for name in HOSTILE),
        *((suffix, "escape sequence") for suffix in audio.FORMATS),
    ],
)
def test_every_format_holds_a_hostile_title_as_text(suffix: str, name: str, tmp_path: Path) -> None:
    path = write(perform(make_tune(HOSTILE[name])), tmp_path / f"tune{suffix}")
    assert [file.name for file in tmp_path.iterdir()] == [f"tune{suffix}"]
    data = path.read_bytes()
    if suffix == ".abc":
        (again,) = abc.parse(data.decode())
        assert again.bars == abc.parse_one(MUSIC).bars
        assert is_clean(again.header.title) or "\u202e" in HOSTILE[name] or "\u200d" in HOSTILE[name]
        return
    if suffix == ".mxl":
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            names = opened.namelist()
            assert not any(".." in each or each.startswith("/") for each in names)
            data = opened.read(next(each for each in names if not each.startswith("META-INF")))
    if suffix in (".svg", ".musicxml", ".mxl"):
        # Pages from outside are read by browsers: what the title says must be text, and nothing else be there.
        root = ElementTree.fromstring(data)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert not tags & {"script", "image", "b", "foreignObject"}
        assert b"<!ENTITY" not in data and b"<?php" not in data
        assert is_clean("".join(root.itertext()).replace("\t", "").replace("\r", ""))
    else:
        assert not re.search(rb"\x1b\[31m|\x1b\]0;|\xc2\x9b31m", data)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "halves"])
def test_no_command_shows_what_a_terminal_would_obey(hoyo: Callable[..., Any], name: str) -> None:
    """Titles as they lie in a file, raw: of tunes, of nations, of rows; and where they are quoted in errors."""
    text = HOSTILE[name]
    Path("tune.abc").write_text(MUSIC.replace("L:", f"T:{text}\n%%hoyo-region {text}\nL:", 1), newline="")
    Path("broken.abc").write_text(MUSIC.replace("abcdefga", f"abc {text} \x1b[31m"), newline="")
    Path("key.abc").write_text(MUSIC.replace("K:C", f"K:{text}\x1b[31m"), newline="")
    Path("rows.jsonl").write_text(json.dumps({"data": MUSIC, "label": text, "prompt": text}) + "\n")
    for command in (
        ("render", "tune.abc", "-o", "out.mid"), ("render", "tune.abc", "-o", "json.mid", "--json"),
        ("render", "tune.abc", "-o", "folder/", "--format", "mid,abc"), ("render", "broken.abc", "-o", "broken.mid"),
        ("render", "key.abc", "-o", "key.mid"), ("corpus", "stats", "--corpus", "tune.abc"),
        ("corpus", "stats", "--corpus", "rows.jsonl"), ("corpus", "stats", "--corpus", "broken.abc", "--json"),
        ("render", "tune.abc", "-o", "region.mid", "--region", text), ("generate", "--like", "tune.abc"),
    ):
        said = hoyo(*command)
        assert said.code in (0, 1, 2) and "Traceback" not in said.err, (command, said)
        assert is_clean(said.out) and is_clean(said.err), (command, said)
    inside = {"tune.abc", "broken.abc", "key.abc", "rows.jsonl"}
    made = {str(path) for path in Path().rglob("*") if path.is_file()} - inside
    assert all(re.fullmatch(r"(folder/)?[\w.-]+", path) and len(path.encode()) < 130 for path in made), made
    assert {path.name for path in Path("..").iterdir()} == {"work", "home"}


def test_hostile_file_names_are_shown_harmless(hoyo: Callable[..., Any]) -> None:
    for name in ("a\x1b[31m.abc", "a\x9b31m.abc", "a\u202e.abc", "[red]a[b].abc", "-rf.abc", "Cafe\u0301.abc"):
        Path(name).write_text(MUSIC)
        missing = hoyo("render", f"no {name}", "--out", "x.mid")
        assert missing.code == 1 and is_clean(missing.err)
        for command in (
            ("render", "--out", "folder/", "--format", "mid", "--force", "--", name),
            ("render", "--out", "x.mid", "--json", "--force", "--", name),
            ("corpus", "stats", f"--corpus=./{name}"), ("corpus", "stats", "--json", f"--corpus=./{name}"),
        ):
            said = hoyo(*command)
            assert said.code == 0 and is_clean(said.out) and is_clean(said.err), (command, said)
    assert all(is_clean(path.name) for path in Path("folder").iterdir())


def test_a_page_holds_hostile_names_as_text() -> None:
    from hoyomusic.evaluation.page import _write_table
    from hoyomusic.evaluation.report import Table

    for text in HOSTILE.values():
        page = _write_table(Table(text, "", (text, "b"), ((text, "1"),)))
        root = ElementTree.fromstring(page)
        assert {element.tag for element in root.iter()} <= {"div", "table", "tr", "td", "th"}
        assert is_clean("".join(root.itertext()))
