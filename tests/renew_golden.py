"""The golden tunes: what the default model makes of fixed requests, kept as files; this module makes them anew.

    python -m tests.renew_golden

Whoever changes the model, the grammar, the vocabulary or the sampler changes every tune that users have asked for by
a seed. Where that is meant, the files are made anew and their difference is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hoyomusic import abc
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.request import Request
from hoyomusic.sampling import SamplingConfig

FOLDER = Path(__file__).parent / "golden"
COMMAND = "python -m tests.renew_golden"

PRIME = "X:1\nM:6/8\nL:1/8\nK:D\nd3 fed|A3 def|\n"


class Golden(NamedTuple):
    """A tune to be made: the name of its file, the model's precision, its number, and what is asked for."""

    name: str
    precision: str
    index: int
    request: Request

    @property
    def path(self) -> Path:
        """Where the tune is kept."""
        return FOLDER / f"{self.name}.abc"


def list_golden() -> list[Golden]:
    """All golden tunes: each nation once, each kind of wish, both models."""
    return list(_list_golden())


def _list_golden() -> Iterator[Golden]:
    wishes: dict[str, dict[str, Any]] = {
        "plain": {},
        "mondstadt": {"region": "Mondstadt", "bars": 8, "seed": 7},
        "liyue": {"region": "璃月", "bars": 8, "seed": 42, "guidance": 1.5},
        "fontaine": {"region": "Fontaine", "bars": 16, "form": "AABA", "metre": "3/4", "seed": 3},
        "inazuma": {"region": "Inazuma", "bars": 8, "key": "D", "seed": 2**63 - 1},
        "sumeru": {"region": "Sumeru", "length": 90, "seed": 1},
        "natlan": {"region": "Natlan", "bars": 8, "form": "AABB", "range": "C4-C6", "tempo": 132, "seed": 5},
        "candidates": {"region": "Mondstadt", "bars": 4, "candidates": 3, "seed": 9},
        "novel": {"region": "Liyue", "bars": 4, "novel": True, "seed": 11},
        "narrow": {"bars": 4, "seed": 4, "sampling": SamplingConfig(0.8, top_k=20, top_p=0.9, repetition=2.0)},
        "likeliest": {"region": "Fontaine", "bars": 4, "seed": 6, "sampling": SamplingConfig(0.0)},
        "primed": {"prime": abc.parse_one(PRIME), "bars": 6, "seed": 8},
    }
    for name, wish in wishes.items():
        yield Golden(name, "int8", 0, Request(**wish))
    for index in (1, 70):
        yield Golden(f"mondstadt-{index + 1}", "int8", index, Request(**wishes["mondstadt"]))
    for name in ("mondstadt", "liyue", "primed"):
        yield Golden(f"{name}-fp32", "fp32", 0, Request(**wishes[name]))


def make(golden: Golden, generator: HoyoMusicGenerator) -> str:
    """The tune as ABC, as the program makes it now."""
    (made,) = generator.compose(golden.request, range(golden.index, golden.index + 1))
    return abc.write(made.tune)


def main() -> None:
    """Make all files anew."""
    generators = {precision: HoyoMusicGenerator.load("default", precision=precision) for precision in ("int8", "fp32")}
    FOLDER.mkdir(exist_ok=True)
    for golden in list_golden():
        golden.path.write_text(make(golden, generators[golden.precision]), encoding="utf-8")
        print(golden.path)


if __name__ == "__main__":
    main()
