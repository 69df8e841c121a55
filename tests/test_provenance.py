"""Each file tells how its tune was made; `--like` makes it again, bit for bit; no file can ask for more."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import __version__, abc
from hoyomusic.checkpoint import identity
from hoyomusic.errors import GenerationError, HoyoError, UsageError
from hoyomusic.export import export_model
from hoyomusic.provenance import name_maker, read_provenance, tell_making
from hoyomusic.regions import REGIONS
from hoyomusic.render import SUFFIXES
from hoyomusic.request import Request, describe_options, read_options
from hoyomusic.sampling import SamplingConfig
from tests.conftest import BOOK, Said
from tests.test_cli_generate import model  # noqa: F401
from tests.test_export import write_model

Hoyo = Callable[..., Said]

FORMATS = ",".join(suffix[1:] for suffix in SUFFIXES)
HASH = "0123456789abcdef" * 4


# ------------------------------------------------------------------ options in words


WISHES = st.fixed_dictionaries(
    {},
    optional={
        "region": st.sampled_from([name for region in REGIONS for name in (region.name, region.chinese)]),
        "bars": st.integers(1, 10_000),
        "key": st.sampled_from(["D", "F#m", "Bb", " A  dorian", "C major", "Gmix", "A\ndor", "D clef=bass"]),
        "metre": st.sampled_from(["6/8", "06/8", "3/4"]),
        "tempo": st.integers(20, 400),
        "range": st.sampled_from(["G3-D6", " c4-g#5 "]),
        "guidance": st.one_of(st.floats(0, 10), st.integers(0, 10)),
        "candidates": st.integers(1, 64),
        "novel": st.booleans(),
        "sampling": st.builds(
            SamplingConfig,
            temperature=st.one_of(st.floats(0.01, 100), st.integers(0, 100)),
            top_k=st.integers(0, 500),
            top_p=st.floats(0.01, 1),
            repetition=st.floats(0, 100),
            repetition_span=st.integers(1, 99),
        ),
    },
)


@settings(deadline=None, max_examples=150)
@given(WISHES)
def test_options_told_are_options_read(wish: dict[str, object]) -> None:
    try:
        request = Request(**wish)
    except UsageError:
        return
    told = describe_options(request)
    again = Request(**read_options(told.split(" ")))
    assert describe_options(again) == told
    assert (again.wish(), again.sampling, again.names_mode) == (request.wish(), request.sampling, request.names_mode)
    assert (again.guidance, again.candidates, again.novel) == (request.guidance, request.candidates, request.novel)


def test_a_value_is_told_in_one_way_however_it_was_asked_for() -> None:
    assert describe_options(Request("璃月", guidance=2, sampling=SamplingConfig(2))) == describe_options(
        Request("Liyue", guidance=2.0, sampling=SamplingConfig(2.0))
    )
    assert describe_options(Request(count=50)) == describe_options(Request())


@pytest.mark.parametrize(
    "words",
    ["bars 8", "--bars", "--bars x", "--bars 8 --bars 9", "--out /tmp", "--prime", "--count 3", "--seed 1", "--model m",
     "--novel 1", "--region", "--like x", "--force", "--", "--temperature warm", "--melody-only", "--BARS 8", "-bars"],
)  # fmt: skip
def test_other_words_are_no_options(words: str) -> None:
    with pytest.raises(UsageError):
        Request(**read_options(words.split(" ")))


# ------------------------------------------------------------------ the same again


@pytest.fixture
def generate(hoyo: Hoyo, model: Path) -> Hoyo:  # noqa: F811
    return lambda *arguments: hoyo("generate", "--model", model, *arguments)


def test_each_format_tells_it_and_gives_the_very_file_again(generate: Hoyo, model: Path) -> None:  # noqa: F811
    wish = ("--region", "Natlan", "--bars", 4, "--key", "A dorian", "--temperature", 2, "--tempo", 150, "--count", 2)
    assert generate(*wish, "--seed", 7, "--format", FORMATS).code == 0
    for path in sorted(Path("music").glob("natlan-0007-2.*")):
        told = path.read_bytes()
        for words in ("seed 7, tune 1, --region Natlan", f"HoyoMusic {__version__}, model {identity(model)}"):
            assert words.encode() in told
        said = generate("--like", path, "--out", f"again{path.suffix}", "--format", path.suffix[1:])
        assert said.code == 0, said.err
        assert (Path(f"again{path.suffix}") / path.name).read_bytes() == told
        assert said.lines[-1] == f"again: hoyo generate --like {path} --model {model}"
    assert len(list(Path("music").glob("natlan-0007-2.*"))) == len(SUFFIXES) - 1  # .midi is .mid
    texts = [message.text for message in mido.MidiFile("music/natlan-0007-2.mid").tracks[0] if message.type == "text"]
    assert texts == [
        "seed 7, tune 1, --region Natlan --bars 4 --key Ador --tempo 150 --temperature 2.0;"
        f" HoyoMusic {__version__}, model {identity(model)}"
    ]


def test_the_format_of_the_file_is_among_those_that_are_made(generate: Hoyo) -> None:
    generate("--bars", 4, "--seed", 7, "--format", "musicxml")
    assert generate("--like", "music/teyvat-0007-1.musicxml", "--out", "again").code == 0
    assert sorted(path.suffix for path in Path("again").iterdir()) == [".abc", ".mid", ".musicxml"]
    Path("music/teyvat-0007-1.musicxml").rename("renamed.txt")
    assert generate("--like", "renamed.txt", "--out", "renamed").code == 0
    assert sorted(path.suffix for path in Path("renamed").iterdir()) == [".abc", ".mid"]


def test_the_melody_alone_comes_alone_again(generate: Hoyo) -> None:
    said = generate("--bars", 4, "--seed", 7, "--melody-only")
    assert "--melody-only" in said.lines[-1]
    for name in ("teyvat-0007-1.mid", "teyvat-0007-1.abc"):
        assert generate("--like", f"music/{name}", "--out", "again", "--force").code == 0
        assert (Path("again") / name).read_bytes() == (Path("music") / name).read_bytes()


def test_a_rendered_file_leads_to_its_tune(generate: Hoyo, hoyo: Hoyo) -> None:
    generate("--bars", 4, "--seed", 7, "--format", "abc")
    assert hoyo("render", "music/teyvat-0007-1.abc", "-o", "tune.svg", "--tempo", 200).code == 0
    assert generate("--like", "tune.svg", "--out", "again").code == 0
    assert Path("again/teyvat-0007-1.abc").read_bytes() == Path("music/teyvat-0007-1.abc").read_bytes()


def test_the_right_model_is_found_by_its_hash(hoyo: Hoyo) -> None:
    """The user's own, its export, and the one that a later training put aside."""
    own = write_model(Path("models/hoyomusic_generator.pth"))
    export_model(own)
    for precision in ("fp32", "int8"):
        said = hoyo("generate", "--bars", 4, "--seed", 1, "--precision", precision, "--out", precision)
        assert said.code == 0, said.err
    own.rename("models/hoyomusic_generator-2.pth")
    own.with_suffix(".onnx").rename("models/hoyomusic_generator-2.onnx")
    write_model(own, tunes=2)
    for precision, file in (("fp32", "hoyomusic_generator-2.pth"), ("int8", "hoyomusic_generator-2.onnx")):
        said = hoyo("generate", "--like", f"{precision}/teyvat-0001-1.mid", "--out", f"{precision}-again")
        assert said.code == 0, said.err
        assert f"model: models/{file} " in said.out
        for name in ("teyvat-0001-1.mid", "teyvat-0001-1.abc"):
            assert Path(f"{precision}-again", name).read_bytes() == Path(precision, name).read_bytes()


def test_another_model_is_refused_with_both_hashes(hoyo: Hoyo, generate: Hoyo, model: Path) -> None:  # noqa: F811
    generate("--bars", 4, "--seed", 1)
    other = write_model(Path("other.pth"))
    said = hoyo("generate", "--like", "music/teyvat-0001-1.mid", "--model", other, "--out", "again")
    assert said == (
        1, "",
        f"hoyo: .: the tune was made by model {identity(model)[:12]} of HoyoMusic {__version__}, but other.pth is"
        f" {identity(other)[:12]}; name its file with --model\n",
    )  # fmt: skip
    said = hoyo("generate", "--like", "music/teyvat-0001-1.mid", "--model", "nothing.pth")
    assert said == (1, "", "hoyo: nothing.pth: there is no such file; train a model or name another file\n")
    assert not Path("again").exists()


def test_another_version_is_said(generate: Hoyo) -> None:
    generate("--bars", 4, "--seed", 1)
    path = Path("music/teyvat-0001-1.abc")
    path.write_text(path.read_text().replace(f"HoyoMusic {__version__},", "HoyoMusic 0.9.1,"))
    said = generate("--like", path, "--out", "again")
    assert said.code == 0
    assert said.err.startswith(f"hoyo: {path}: made by HoyoMusic 0.9.1; {__version__} may make another tune of it\n")


@pytest.mark.parametrize(
    "option",
    [("--bars", 8), ("--seed", 1), ("--temperature", 1), ("--novel",), ("--melody-only",), ("--precision", "int8"),
     ("--prime", "x.abc"), ("--count", 2)],
)  # fmt: skip
def test_other_options_beside_it_are_refused(generate: Hoyo, option: tuple[object, ...]) -> None:
    said = generate("--like", "x.mid", *option)
    assert said == (2, "", f"hoyo: --like brings its own options; leave out {option[0]}\n")


# ------------------------------------------------------------------ files of strangers


def telling(options: str, *, seed: object = 7, index: object = 0, model: str = HASH) -> str:  # noqa: F811
    return f"seed {seed}, tune {index}, {options}; HoyoMusic 1.0.0, model {model}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "does not tell how HoyoMusic made it; name a file of one tune that hoyo generate wrote"),
        (BOOK.read_text(encoding="utf-8"), "does not tell how HoyoMusic made it; "),
        (telling("--bars 8") + "\n" + telling("--bars 9"), "tells of 2 tunes; "),
        (telling("--bars 8 --prime --melody-only"), "goes on from another tune, which it does not hold; call hoyo gen"),
        (telling("--bars 8").replace(HASH, HASH + ", seed 3, infill --bars 2"), "was rewritten by hoyo infill; call "),
        (telling("--bars 8", index=10_000), "tells of tune 10000; use another file"),
        (telling("--bars 8", seed=2**63), "tells of options that there are not (--seed: the seed 922"),
        (telling("--bars 0"), "tells of options that there are not (--bars: 0 bars; "),
        (telling("--length 1000000000"), "tells of options that there are not (--length: "),
        (telling("--candidates 999999"), "tells of options that there are not (--candidates: "),
        (telling("--temperature nan"), "tells of options that there are not (temperature is nan"),
        (telling("--region ../../etc"), "tells of options that there are not (there is no nation '../../etc'"),
        (telling("--out /etc/passwd"), "tells of options that there are not ('--out' is no option"),
        (telling("--model ../evil.pth"), "tells of options that there are not ('--model' is no option"),
        (telling("--count 10000"), "tells of options that there are not ('--count' is no option"),
        (telling("--like other.mid"), "tells of options that there are not ('--like' is no option"),
        (telling("--bars 8 --bars 9"), "tells of options that there are not ('--bars' is out of place"),
        (telling("--bars 8", model=HASH[:11]), "does not tell how HoyoMusic made it; "),
        (telling("--key $(reboot)"), "does not tell how HoyoMusic made it; "),
        (telling("--region Mond\x1b[31mstadt"), "does not tell how HoyoMusic made it; "),
        ("seed 7, tune 0, " * 300_000, "does not tell how HoyoMusic made it; "),
    ],
)
def test_what_a_file_may_not_ask_for(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "strange.mid"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(GenerationError) as caught:
        read_provenance(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_what_is_no_file_is_told(hoyo: Hoyo) -> None:
    os.mkfifo("pipe.mid")
    Path("folder.mid").mkdir()
    for name in ("pipe.mid", "folder.mid", "nothing.mid"):
        said = hoyo("generate", "--like", name)
        assert (said.code, said.out) == (1, "")
        assert re.fullmatch(f"hoyo: {name}: [^\n]+\n", said.err)


def test_a_changed_file_asks_for_a_tune_or_is_refused(tmp_path: Path) -> None:
    request = Request("Liyue", seed=3, bars=8, key="D", guidance=1.5, sampling=SamplingConfig(0.8))
    told = f"{tell_making(request, 2)}; {name_maker(HASH)}".encode()
    dice, path, granted = random.Random(1), tmp_path / "tune.wav", 0
    for _ in range(1000):
        data = bytearray(b"RIFF" + told + b"\0data")
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] = dice.choice([dice.randrange(256), *b"09 -;,.az"])
        path.write_bytes(data)
        try:
            found = read_provenance(path)
        except HoyoError:
            continue
        granted += 1
        assert isinstance(found.request, Request) and found.request.prime is None and found.request.count == 1
        assert 0 <= found.index < 10_000 and re.fullmatch("[0-9a-f]{12,64}", found.model)
    assert 0 < granted < 1000


def test_an_edited_tune_still_tells(tmp_path: Path) -> None:
    path = tmp_path / "mine.abc"
    lines = ("X:3", "T:Mine", f"Z:{name_maker(HASH[:12])}", "N:seed 5, tune 3, --region Liyue --bars 4", "K:D", "ABc|")
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    found = read_provenance(path)
    assert (found.version, found.model, found.index, found.melody_only) == (__version__, HASH[:12], 3, False)
    assert found.request == Request("Liyue", seed=5, bars=4)
    assert abc.parse_one(path.read_text()).header.title == "Mine"
