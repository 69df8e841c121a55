"""`hoyo infill` and `hoyo vary`: files, the way to them again, what is said of them, and wishes that make no sense."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hoyomusic import abc
from hoyomusic.checkpoint import Checkpoint, save
from hoyomusic.grammar import CLOCKS
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.regions import REGIONS
from hoyomusic.sizes import ModelConfig
from hoyomusic.tune import Tune
from hoyomusic.vocab import Vocabulary
from tests.conftest import BOOK, Said

Hoyo = Callable[..., Said]

JIG = abc.parse(BOOK.read_text(encoding="utf-8"))[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned nothing."""
    vocabulary = Vocabulary.build()
    sizes = ModelConfig(len(vocabulary), len(REGIONS), CLOCKS, embedding=4, hidden=8, layers=1)
    path = tmp_path_factory.mktemp("model") / "tiny.pth"
    return save(Checkpoint(sizes, vocabulary.to_dict(), HoyoMusicLSTM(sizes).state_dict(), {"learned": []}), path)


@pytest.fixture
def rewrite(hoyo: Hoyo, model: Path) -> Hoyo:
    """``rewrite("infill", ...)`` with that model, on our jig."""
    Path("my jig.abc").write_text(abc.write(JIG), encoding="utf-8")
    return lambda command, *arguments: hoyo(command, "my jig.abc", "--model", model, *arguments)


def read(path: str | Path) -> Tune:
    return abc.parse_one(Path(path).read_text(encoding="utf-8"))


def test_an_infill_its_files_and_the_way_to_it(rewrite: Hoyo, model: Path) -> None:
    said = rewrite("infill", "--bars", "5-8", "--seed", 7)
    assert (said.code, said.err) == (0, "")
    assert said.lines[1].endswith("music/my jig-infill-0007.abc .mid")
    assert said.lines[2] == "new bars: 5, 6, 7, 8"
    assert re.fullmatch(rf"model: {re.escape(str(model))} \(sha256 [0-9a-f]{{12}}\)", said.lines[3])
    assert said.lines[4] == f"again: hoyo infill 'my jig.abc' --bars 5-8 --seed 7 --model {model}"
    tune = read("music/my jig-infill-0007.abc")
    assert [old == new for old, new in zip(JIG.bars, tune.bars, strict=True)] == [True] * 5 + [False] * 4 + [True] * 9
    assert "seed 7, infill --bars 5-8" in tune.header.notes
    assert tune.header.title == JIG.header.title


def test_a_variation_as_json(rewrite: Hoyo) -> None:
    said = rewrite("vary", "--amount", 0.25, "--seed", 3, "--json", "--format", "abc", "--out", "varied")
    (told,) = map(json.loads, said.lines)
    assert told["files"] == ["varied/my jig-vary-0003.abc"]
    assert (told["bars_changed"], told["seed"], told["region"], told["bars"]) == (4, 3, "Mondstadt", 16)
    assert len(told["changed"]) == 4
    assert re.fullmatch("[0-9a-f]{64}", told["model"])
    assert told["nats_before"] < 0
    assert told["nats_after"] < 0
    assert told["tokens"] > 50
    new = read("varied/my jig-vary-0003.abc")
    assert sum(old != bar for old, bar in zip(JIG.bars, new.bars, strict=True)) == 4


@pytest.mark.parametrize("command", [("infill", "--bars", "2"), ("vary", "--amount", "0.5")])
def test_the_command_it_prints_makes_the_same_again(
    hoyo: Hoyo, rewrite: Hoyo, command: tuple[str, ...]
) -> None:
    first = rewrite(*command, "--temperature", 0.9, "--top-k", 40, "--particles", 5, "--out", "first/")
    again = first.lines[-1].removeprefix("again: hoyo ").replace("'my jig.abc'", "my-jig.abc").split()
    Path("my jig.abc").rename("my-jig.abc")
    assert hoyo(*again, "--out", "again/").code == 0
    one, other = (sorted(Path(folder).iterdir()) for folder in ("first", "again"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert len(one) == 2


def test_a_named_file_is_exactly_that_and_never_written_over(rewrite: Hoyo) -> None:
    assert rewrite("infill", "--bars", 3, "-o", "new.abc", "--seed", 1).code == 0
    before = Path("new.abc").read_bytes()
    said = rewrite("infill", "--bars", 3, "-o", "new.abc", "--seed", 2)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("hoyo: new.abc: ")
    assert Path("new.abc").read_bytes() == before
    assert rewrite("infill", "--bars", 3, "-o", "new.abc", "--seed", 2, "--force").code == 0
    assert Path("new.abc").read_bytes() != before
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["my jig.abc", "new.abc"]


def test_without_a_seed_one_is_drawn(rewrite: Hoyo) -> None:
    wish = ("infill", "--bars", 3, "--particles", 1, "--format", "abc", "--json")
    assert len({json.loads(rewrite(*wish).out)["seed"] for _ in range(3)}) > 1  # 10,000 seeds: one in 10^8


def test_what_the_reader_left_out_is_said(hoyo: Hoyo, model: Path) -> None:
    Path("song.abc").write_text("X:1\nM:2/4\nL:1/8\nK:G\nG2 A2|B2 ?c2|d4|]\nw:la la\n", encoding="utf-8")
    said = hoyo("infill", "song.abc", "--bars", 1, "--model", model, "--particles", 2)
    assert said.code == 0
    assert said.err.startswith("hoyo: song.abc, line ")
    assert "left out or guessed" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("infill", "--bars", "17"), "--bars: there are no bars 17; the tune has bars 1-16"),
        (("infill", "--bars", "3-"), "--bars: '3-' names no bars; write 5-8, or 5 for a single bar"),
        (("infill", "--bars", "3", "--region", "Atlantis"), "there is no nation 'Atlantis'; "),
        (("infill", "--bars", "3", "--particles", "0"), "--particles: 0 candidates; "),
        (("infill", "--bars", "3", "--temperature", "nan"), "temperature is nan; "),
        (("infill", "--bars", "3", "--format", "pdf"), "--format: there is no format 'pdf'; choose one of "),
        (("vary", "--amount", "1.5"), "--amount: 1.5; give a share from 0 to 1"),
        (("vary", "--amount", "nan"), "--amount: nan; give a share from 0 to 1"),
        (("vary", "--amount", "0.5", "--seed", "-3"), "--seed: the seed -3; "),
    ],
)
def test_senseless_wishes_are_refused(rewrite: Hoyo, arguments: tuple[str, ...], message: str) -> None:
    said = rewrite(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"hoyo: {message}")
    assert said.err.count("\n") == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["my jig.abc"]


def test_one_tune_is_asked_for(hoyo: Hoyo, model: Path) -> None:
    said = hoyo("infill", BOOK, "--bars", 3, "--model", model)
    assert said == (1, "", f"hoyo: {BOOK}: one tune expected, 8 found; leave one X: field in it\n")
    assert hoyo("vary", "nothing.abc", "--amount", 0.5).err.startswith("hoyo: nothing.abc: cannot be read")
