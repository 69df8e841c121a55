"""`hoyo generate`: files with free names, the seed to get them again, the model that made them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import mido
import pytest

from hoyomusic import abc
from hoyomusic.checkpoint import Checkpoint, save
from hoyomusic.grammar import CLOCKS
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.regions import REGIONS
from hoyomusic.sizes import ModelConfig
from hoyomusic.vocab import Vocabulary
from tests.conftest import BOOK, Said

Hoyo = Callable[..., Said]

JIG = abc.write(abc.parse(BOOK.read_text(encoding="utf-8"))[1])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned nothing: whatever it makes is music by the grammar alone."""
    vocabulary = Vocabulary.build()
    sizes = ModelConfig(len(vocabulary), len(REGIONS), CLOCKS, embedding=4, hidden=8, layers=1)
    path = tmp_path_factory.mktemp("model") / "tiny.pth"
    provenance = {"learned": ["Mondstadt"], "tunes": {"Teyvat": 5, "Mondstadt": 1234}}
    return save(Checkpoint(sizes, vocabulary.to_dict(), HoyoMusicLSTM(sizes).state_dict(), provenance), path)


@pytest.fixture
def generate(hoyo: Hoyo, model: Path) -> Hoyo:
    return lambda *arguments: hoyo("generate", "--model", model, *arguments)


def test_a_tune_its_table_and_the_way_to_it(generate: Hoyo, model: Path) -> None:
    said = generate("--region", "Mondstadt", "--bars", 8, "--seed", 42, "--key", "G", "--metre", "6/8")
    hint = "there is no export beside the model; one makes generating four times as quick: hoyo export"
    assert (said.code, said.err) == (0, f"{hint} {model}\n")
    assert said.lines[0].split() == ["title", "key", "metre", "bars", "seconds", "files"]
    assert re.search(r" of Mondstadt +G major +6/8 +\d+ +\d+\.\d +music/mondstadt-0042-1\.abc \.mid$", said.lines[1])
    assert re.fullmatch(rf"model: {model} \(sha256 [0-9a-f]{{12}}\)", said.lines[2])
    again = "hoyo generate --region Mondstadt --bars 8 --key G --metre 6/8 --seed 42"
    assert said.lines[3] == f"again: {again} --model {model}"
    [tune] = abc.parse(Path("music/mondstadt-0042-1.abc").read_text(encoding="utf-8"))
    assert tune.faults() == []
    assert "seed 42" in tune.header.notes
    assert "melody" in [track.name for track in mido.MidiFile("music/mondstadt-0042-1.mid").tracks]


def test_the_command_it_prints_makes_the_same_again(hoyo: Hoyo, generate: Hoyo) -> None:
    first = generate("--region", "蒙德", "--bars", 8, "--temperature", 0.8, "--tempo", 100, "--count", 2)
    assert first.code == 0, first.err
    again = first.lines[-1].removeprefix("again: hoyo ").split()
    assert hoyo(*again, "--out", "again").code == 0
    for name in ("music", "again"):
        assert len(list(Path(name).iterdir())) == 4
    for path in Path("music").iterdir():
        assert (Path("again") / path.name).read_bytes() == path.read_bytes()


def test_the_melody_alone(generate: Hoyo) -> None:
    generate("--region", "Mondstadt", "--bars", 4, "--seed", 7, "--melody-only", "--out", "alone")
    generate("--region", "Mondstadt", "--bars", 4, "--seed", 7)
    alone, band = (mido.MidiFile(f"{folder}/mondstadt-0007-1.mid").tracks for folder in ("alone", "music"))
    assert [track.name for track in alone if any(message.type == "note_on" for message in track)] == ["melody"]

    def sounding(tracks: list[mido.MidiTrack]) -> list[tuple[int, int]]:
        (melody,) = (track for track in tracks if track.name == "melody")
        return [(message.note, message.velocity) for message in melody if message.type == "note_on"]

    assert sounding(alone) == sounding(band)


def test_a_taken_name_gets_the_next_number(generate: Hoyo) -> None:
    arguments = ("--region", "Liyue", "--bars", 4, "--seed", 7)
    generate(*arguments)
    before = Path("music/liyue-0007-1.mid").read_bytes()
    Path("music/liyue-0007-1.mid").write_text("mine")
    said = generate(*arguments)
    assert said.err.startswith("music/liyue-0007-1 is taken, the tune goes to music/liyue-0007-1-2\n")
    assert Path("music/liyue-0007-1.mid").read_text() == "mine"
    assert Path("music/liyue-0007-1-2.mid").read_bytes() == before
    assert "taken" not in generate(*arguments, "--force").err
    assert Path("music/liyue-0007-1.mid").read_bytes() == before


def test_json_has_an_object_a_tune(generate: Hoyo) -> None:
    wish = ("--region", "Natlan", "--bars", 4, "--count", 3, "--seed", 5)
    said = generate(*wish, "--json", "--format", "mid", "--out", "here")
    tunes = [json.loads(line) for line in said.lines]
    assert [tune["files"] for tune in tunes] == [[f"here/natlan-0005-{number}.mid"] for number in (1, 2, 3)]
    for tune in tunes:
        assert (tune["seed"], tune["region"], tune["faults"]) == (5, "Natlan", [])
        assert tune["tokens"] > 10
        assert re.fullmatch("[0-9a-f]{64}", tune["model"])
        assert tune["title"].endswith(" of Natlan")


def test_without_a_seed_one_is_drawn(generate: Hoyo) -> None:
    seeds = {json.loads(generate("--bars", 4, "--format", "abc", "--json").out)["seed"] for _ in range(3)}
    assert len(seeds) > 1  # three equal draws of 10,000: one in 10^8


def test_the_users_own_model_comes_first(hoyo: Hoyo, model: Path) -> None:
    Path("models").mkdir()
    Path("models/hoyomusic_generator.pth").write_bytes(model.read_bytes())
    said = hoyo("generate", "--bars", 4, "--seed", 1)
    assert said.code == 0, said.err
    assert said.lines[2].startswith("model: models/hoyomusic_generator.pth (sha256 ")
    assert said.lines[3] == "again: hoyo generate --region Teyvat --bars 4 --seed 1"


def test_a_prime_is_gone_on_from(generate: Hoyo) -> None:
    Path("two bars.abc").write_text("X:1\nM:4/4\nL:1/4\nK:D\nDFAd|dAFD|]\n", encoding="utf-8")
    said = generate("--prime", "two bars.abc", "--bars", 8, "--seed", 3)
    assert said.code == 0, said.err
    assert " --prime 'two bars.abc' --seed 3 " in said.lines[-1]
    [tune] = abc.parse(Path("music/teyvat-0003-1.abc").read_text(encoding="utf-8"))
    assert [note.top.midi for note in tune.notes() if note.pitches][:8] == [62, 66, 69, 74, 74, 69, 66, 62]


def test_regions_tell_what_a_model_has_learned(hoyo: Hoyo, model: Path) -> None:
    regions = {region["name"]: region for region in map(json.loads, hoyo("regions", "--model", model, "--json").lines)}
    assert [name for name, region in regions.items() if region["learned"]] == ["Teyvat", "Mondstadt"]
    assert regions["Mondstadt"]["tunes"] == 1234
    assert any(re.match("Mondstadt +蒙德 +learned +1,234 ", line) for line in hoyo("regions", "--model", model).lines)
    said = hoyo("regions", "--model", "nothing.pth")
    assert said == (1, "", "hoyo: nothing.pth: there is no such file; train a model or name another file\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--region", "../../etc"], "there is no nation '../../etc'; choose one of Teyvat, "),
        (["--length", "1000000000"], ""),
        (["--bars", "0"], ""),
        (["--bars", "8", "--length", "100"], ""),
        (["--count", "0"], "--count: 0 tunes; ask for 1 to 10000"),
        (["--seed", "-1"], "--seed: the seed -1; "),
        (["--temperature", "nan"], "temperature is nan; give a number from 0 to 100"),
        (["--top-p", "0"], "top_p is 0; "),
        (["--top-k", "-1"], "top_k is -1; "),
        (["--tempo", "1000"], "--tempo: 1000 crotchets a minute; ask for 20 to 400"),
        (["--key", "H"], "--key: "),
        (["--metre", "six"], "--metre: 'six' is no metre; write it as 6/8"),
        (["--metre", "0/4"], ""),
        (["--format", "pdf"], "--format: there is no format 'pdf'; choose one of "),
    ],
)
def test_senseless_wishes_are_refused_at_once(generate: Hoyo, arguments: list[str], message: str) -> None:
    said = generate(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"hoyo: {message}")
    assert said.err.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nothing.pth"], "nothing.pth: there is no such file; "),
        (["--model", "tune.abc"], "tune.abc: is no model file"),
        (["--prime", "nothing.abc"], "nothing.abc: cannot be read"),
        (["--prime", "tunes.abc"], "tunes.abc: one tune expected, 2 found"),
        (["--out", "tune.abc/deep"], "tune.abc/deep/teyvat-0001-1.abc: cannot be written: "),
    ],
)
def test_what_cannot_be_read_or_written(hoyo: Hoyo, model: Path, arguments: list[str], message: str) -> None:
    Path("tune.abc").write_text(JIG, encoding="utf-8")
    Path("tunes.abc").write_text(JIG + "\n" + JIG, encoding="utf-8")
    said = hoyo("generate", "--model", model, "--bars", 4, "--seed", 1, *arguments)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"hoyo: {message}")
    assert said.err.count("\n") == 1
