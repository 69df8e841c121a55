"""Golden tunes: the default model's tunes of fixed requests are those that are kept, to the last sign."""

from __future__ import annotations

import re
from functools import cache

import pytest

from hoyomusic.generator import HoyoMusicGenerator
from tests.renew_golden import COMMAND, FOLDER, Golden, list_golden, make


@cache
def load(precision: str) -> HoyoMusicGenerator:
    return HoyoMusicGenerator.load("default", precision=precision)


def without_version(text: str) -> str:
    return re.sub(r"^Z:HoyoMusic [^,]+,", "Z:HoyoMusic,", text, flags=re.MULTILINE)


@pytest.mark.parametrize("golden", list_golden(), ids=lambda golden: golden.name)
def test_a_golden_tune_is_made_as_ever(golden: Golden) -> None:
    kept = golden.path.read_text(encoding="utf-8")
    generator = load(golden.precision)
    maker = re.search(r"model ([0-9a-f]{64})$", kept, re.MULTILINE)[1]
    renew = f"if that is meant, renew the golden tunes and look at what changed: {COMMAND}"
    assert generator.identity == maker, f"the default model ({golden.precision}) is another one than made them; {renew}"
    assert without_version(make(golden, generator)) == without_version(kept), (
        f"the model is the same, but the program makes another tune of it: seeds that users noted are lost; {renew}"
    )


def test_every_golden_tune_is_made() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(golden.path.name for golden in list_golden())
    assert len({golden.path.read_text(encoding="utf-8") for golden in list_golden()}) == len(list_golden())
