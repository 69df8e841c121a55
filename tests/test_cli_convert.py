"""`hoyo convert`: what was found, how it was tested, what was written; one line for what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hoyomusic.cli import convert as command
from hoyomusic.legacy import load_converted
from tests.conftest import Said

Hoyo = Callable[..., Said]
KERAS = Path(__file__).parent / "keras"


@pytest.fixture
def old(hoyo: Hoyo) -> str:
    """An old generator and its map in a folder of the user's."""
    Path("models").mkdir()
    for name in ("hoyomusic_generator.h5", "hoyomusic_mappings.pkl"):
        shutil.copy(KERAS / name, "models")
    return "models/hoyomusic_generator.h5"


def test_what_is_told(hoyo: Hoyo, old: str) -> None:
    said = hoyo("convert", old, "--check", KERAS / "hoyomusic_generator.npz")
    assert (said.code, said.err) == (0, "models/hoyomusic_mappings.pkl belongs to it and is kept in the file\n")
    assert said.lines[0] == f"{old}: Sequential of Keras 2.15.0, 12 layers, 11,330 parameters"
    assert said.lines[1].split() == ["layer", "class", "weights", "parameters"]
    assert said.lines[2].split() == ["embedding", "Embedding", "embeddings", "44x14", "616"]
    assert said.lines[-2].startswith("the reference: output_0: largest difference ")
    assert said.lines[-1] == "wrote models/hoyomusic_generator.pth and models/hoyomusic_generator_info.json"


def test_as_json(hoyo: Hoyo, old: str) -> None:
    told = json.loads(hoyo("convert", old, "--json", "--out", "new.pth").out)
    assert told["files"] == ["new.pth", "new_info.json"]
    assert told["tests"][0]["differences"][0]["largest"] <= 1e-5
    assert told == json.loads(Path("new_info.json").read_text(encoding="utf-8"))


def test_a_folder_to_put_one_model_in(hoyo: Hoyo, old: str) -> None:
    Path("new").mkdir()
    assert hoyo("convert", old, "--out", "new").code == 0
    assert sorted(path.name for path in Path("new").iterdir()) == [
        "hoyomusic_generator.pth", "hoyomusic_generator_info.json",
    ]


def test_a_refusal_is_one_line_and_leaves_nothing(hoyo: Hoyo) -> None:
    said = hoyo("convert", KERAS / "lambda.h5", "--out", "out/a.pth")
    assert (said.code, said.out) == (1, "")
    assert len(said.err.splitlines()) == 1
    assert f"{KERAS / 'lambda.h5'}: layer double_it (Lambda)" in said.err
    assert not Path("out").exists()


def test_a_wrong_reference_is_an_error(hoyo: Hoyo) -> None:
    wrong = KERAS / "keras3_legacy_wrong.npz"
    said = hoyo("convert", KERAS / "keras3_legacy.h5", "--out", "a.pth", "--check", wrong, "--json")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"hoyo: {wrong}: output_0: largest difference 0.004")
    assert list(Path().iterdir()) == []


def test_files_are_kept_unless_forced(hoyo: Hoyo) -> None:
    Path("a.pth").write_text("mine")
    said = hoyo("convert", KERAS / "chunked_names.h5", "--out", "a.pth")
    assert (said.code, said.err) == (1, "hoyo: a.pth: already exists; choose another name or add --force\n")
    assert Path("a.pth").read_text() == "mine"
    assert hoyo("convert", KERAS / "chunked_names.h5", "--out", "a.pth", "--force").code == 0
    assert load_converted("a.pth")


def test_what_is_not_exact_is_measured_and_told(hoyo: Hoyo, old: str) -> None:
    said = hoyo("convert", old, "--precision", "float16", "--prune", 0.1)
    assert said.code == 0, said.err
    assert said.lines[-3].startswith("with 10% of each matrix zero, against the exact model: output_0: largest")
    assert said.lines[-2].startswith("in float16, against the exact model: output_0: largest difference ")


@pytest.fixture
def folder(hoyo: Hoyo) -> Path:
    Path("old").mkdir()
    for name in ("chunked_names.h5", "lambda.h5", "not_hdf5.h5"):
        shutil.copy(KERAS / name, "old")
    return Path("old")


def test_a_folder(hoyo: Hoyo, folder: Path) -> None:
    said = hoyo("convert", folder, "--out", "new")
    assert said.code == 1
    first, second = said.err.splitlines()
    assert first.startswith("hoyo: old/lambda.h5: layer double_it (Lambda)")
    assert second.startswith("hoyo: old/not_hdf5.h5: is no HDF5 file")
    assert said.lines[-1] == "1 converted, 2 refused"
    assert [line.split()[0] for line in said.lines[:-1]] == ["model", "chunked_names.h5", "lambda.h5", "not_hdf5.h5"]
    assert sorted(path.name for path in Path("new").iterdir()) == ["chunked_names.pth", "chunked_names_info.json"]


def test_a_folder_as_json(hoyo: Hoyo, folder: Path) -> None:
    said = hoyo("convert", folder, "--out", "new", "--json")
    told = [json.loads(line) for line in said.lines]
    assert [("refused" in each) for each in told] == [False, True, True]
    assert said.code == 1


def test_what_belongs_to_one_model_is_refused_for_a_folder(hoyo: Hoyo, folder: Path) -> None:
    said = hoyo("convert", folder, "--out", "new", "--check", "a.npz")
    assert (said.code, said.err) == (2, "hoyo: --check: belongs to one model; name the model, not its folder\n")
    assert "--params: belongs to one model" in hoyo("convert", folder, "--out", "new", "--params", "a.json").err
    assert "--out is missing" in hoyo("convert", folder).err


class TestOffering:
    def test_without_a_terminal_the_command_is_named(self, hoyo: Hoyo, old: str) -> None:
        said = hoyo("generate", "--model", old)
        assert (said.code, said.out) == (1, "")
        assert said.err == (
            f"hoyo: {old}: is a model of Keras, not converted yet; convert it: hoyo convert {old}\n"
        )

    def test_on_a_terminal_it_is_asked_for(self, hoyo: Hoyo, old: str, monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal:
            def isatty(self) -> bool:
                return True

        asked = []
        monkeypatch.setattr(command, "sys", type("System", (), {"stdin": Terminal(), "stderr": Terminal()}))
        answers = iter([False, True])
        monkeypatch.setattr(command.typer, "confirm", lambda text, err: asked.append(text) or next(answers))
        assert hoyo("generate", "--model", old, "--out", "m").code == 1
        assert not Path("models/hoyomusic_generator.pth").exists()
        said = hoyo("generate", "--model", old, "--seed", 5, "--out", "m")
        assert said.code == 0, said.err
        assert asked == [f"{old} is a model of Keras. Convert it now (hoyo convert {old})?"] * 2
        assert Path("models/hoyomusic_generator.pth").exists()

    def test_a_converted_one_is_preferred(self, hoyo: Hoyo, old: str) -> None:
        hoyo("convert", old)
        Path(old).unlink()
        said = hoyo("generate", "--model", old, "--seed", 5)
        assert said.code == 0, said.err
        assert "models/hoyomusic_generator.pth is used" in said.err
        assert "--model models/hoyomusic_generator.pth" in said.lines[-1]

    def test_there_is_neither(self, hoyo: Hoyo) -> None:
        said = hoyo("generate", "--model", "none.h5")
        assert (said.code, said.err) == (1, "hoyo: none.h5: there is no such file; name a .pth file, or default\n")


def test_a_tune_and_the_way_to_it(hoyo: Hoyo, old: str) -> None:
    hoyo("convert", old)
    said = hoyo("generate", "--model", "models/hoyomusic_generator.pth", "--seed", 5, "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert "bars kept" in told["remarks"][1]
    assert said.err.startswith("tune 1: ")
    path = Path(told["files"][0])
    again = hoyo("generate", "--like", path, "--model", "models/hoyomusic_generator.pth", "--out", "again")
    assert again.code == 0, again.err
    assert (Path("again") / path.name).read_bytes() == path.read_bytes()


def test_other_commands_say_in_one_line_what_takes_it(hoyo: Hoyo, old: str) -> None:
    hoyo("convert", old)
    for words in (("export",), ("play", "--model"), ("evaluate",)):
        said = hoyo(*words, "models/hoyomusic_generator.pth")
        assert said.code == 1
        assert "comes from the old program, and writes no tokens" in said.err
