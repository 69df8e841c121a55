"""`hoyo evaluate` from end to end: two small nations, a model that has learned nothing, tables, JSON and page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from hoyomusic.checkpoint import Checkpoint, save
from hoyomusic.evaluation.judge import FEWEST_REAL
from hoyomusic.grammar import CLOCKS
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.regions import REGIONS
from hoyomusic.sizes import ModelConfig
from hoyomusic.vocab import Vocabulary
from tests.conftest import Said

Hoyo = Callable[..., Said]

LETTERS = {"Mondstadt": "DEFGABd", "Liyue": "DFAd"}
TITLES = [
    "Goals", "Likelihood", "Validity",
    *(
        f"Who is it? {length}, {kind} tunes"
        for length in ("32 notes from the middle", "64 notes from the middle", "whole tunes")
        for kind in ("real", "generated")
    ),
    "Who is it? 64 notes, generated tunes of styled nations and real ones of learned nations",
    "Styled nations: is the rule kept?", "Diversity within a nation", "Histograms of intervals and rhythm",
    "Form: Liyue", "Novelty",
]  # fmt: skip
CHOICE = ("--region", "Liyue", "--region", "稻妻", "--tunes", 5, "--seed", 4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nations, each in a folder of its name; their tunes are drawn from different letters."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = np.random.Generator(np.random.Philox(key=5))
    for nation, letters in LETTERS.items():
        (folder / nation).mkdir()
        tunes = []
        for number in range(FEWEST_REAL + 10):
            bars = ["".join(generator.choice(list(letters), 4)) for _ in range(10)]
            tunes.append(f"X:{number + 1}\nM:2/4\nL:1/8\nK:D\n{'|'.join(bars)}|]\n")
        (folder / nation / "tunes.abc").write_text("\n".join(tunes), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vocabulary = Vocabulary.build()
    sizes = ModelConfig(len(vocabulary), len(REGIONS), CLOCKS, embedding=4, hidden=8, layers=1)
    path = tmp_path_factory.mktemp("model") / "tiny.pth"
    provenance = {"learned": ["Mondstadt", "Liyue", "Fontaine"], "corpus": "another"}
    return save(Checkpoint(sizes, vocabulary.to_dict(), HoyoMusicLSTM(sizes).state_dict(), provenance), path)


class Page(HTMLParser):
    """What a page is made of; `unclosed` are the elements that are open at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.unclosed: list[str] = []
        self.titles: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "action")]
        if tag != "meta":
            self.unclosed.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.unclosed and self.unclosed[-1] == "h2":
            self.titles.append(data)


def check_page(text: str, titles: list[str]) -> None:
    """A page that stands by itself, with a headline for each table and plots that stay within their frames."""
    page = Page(text)
    assert page.unclosed == []
    assert page.addresses == []
    assert "<script" not in text
    assert page.titles == titles
    plots = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(plots) == 12
    for plot in map(ElementTree.fromstring, plots):
        _, _, width, height = map(float, plot.get("viewBox").split())
        for shape in plot.iter():
            if shape.tag.endswith("rect"):
                assert float(shape.get("x")) + float(shape.get("width")) <= width
                assert float(shape.get("y")) + float(shape.get("height")) <= height
            elif shape.tag.endswith("circle"):
                assert 0 <= float(shape.get("cx")) <= width


def test_tables_page_and_json(hoyo: Hoyo, model: Path, corpus: Path) -> None:
    said = hoyo("evaluate", model, "--corpus", corpus, *CHOICE, "--jobs", 1, "--html", "pages/model.html")
    assert said.code == 0, said.err
    assert said.lines[0].startswith(f"model {model} (sha256 ")
    assert said.lines[0].endswith("5 tunes of each nation, seed 4, guidance 1, temperature 1")
    assert re.search(r"^tunes that are wholly valid +all +10 of 10 +yes *$", said.out, re.MULTILINE)
    assert re.search(r"^Inazuma +5 +\d[\d,]* +0 +\d+ +0 +0 ", said.out, re.MULTILINE)
    assert re.search(r"^\(Liyue, held-out real\) +3 ", said.out, re.MULTILINE)
    assert said.err.splitlines() == [
        "hoyo: the model learned from another corpus: it may know tunes that are held out here",
        f"hoyo: Fontaine is not judged: the corpus has 0 tunes of it, not {FEWEST_REAL}",
        "hoyo: the model has no index of what it learned from: novelty is measured against this corpus",
        "the page is in pages/model.html",
    ]
    assert "\x1b" not in said.out
    check_page(Path("pages/model.html").read_text(encoding="utf-8"), TITLES)
    assert [line for line in said.lines if line in TITLES] == TITLES

    again = hoyo("evaluate", model, "--corpus", corpus, *CHOICE, "--jobs", 2, "--json")
    assert again.code == 0, again.err
    assert again.err.splitlines() == said.err.splitlines()[:-1]
    [line] = again.lines
    check_figures(json.loads(line), said.out)


def check_figures(found: dict, tables: str) -> None:
    """The figures of the JSON object, some of which the tables must say too: they came from more processes."""
    assert found["validity"].keys() == {"Liyue", "Inazuma"}
    assert [row["nation"] for row in found["likelihood"]] == ["Mondstadt", "Liyue", "all"]
    assert [each["notes"] for each in found["fidelity"]] == [32, 64, None]
    for each in found["fidelity"]:
        assert each["real"]["nations"] == ["Mondstadt", "Liyue"]
        assert each["real"]["balanced_accuracy"] > 0.8
        assert sum(each["generated"]["counts"][1]) == 5
        assert f"fidelity {100 * each['fidelity']:.1f} % of the ceiling" in tables
    assert found["styles"]["nations"] == ["Mondstadt", "Liyue", "Inazuma"]
    assert f"balanced accuracy {found['styles']['balanced_accuracy']:.3f}; " in tables
    assert [each["complete"] for each in found["obedience"]] == [True]
    for row in found["histograms"] + found["forms"]:
        assert f"{row['distance']['found']:.4f}" in tables
    assert {row["trait"] for row in found["histograms"]} == {"intervals", "rhythm"}
    assert [goal["met"] for goal in found["goals"] if goal["what"] == "tunes that are wholly valid"] == [True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tunes", 4), "--tunes: 4 tunes; ask for 5 to 10000 of each nation"),
        (("--seed", -1), "--seed: the seed -1; give 0 to 1000000000000000"),
        (("--jobs", 0), "--jobs: 0 processes; ask for 1 to 64"),
        (("--region", "Atlantis"), "there is no nation 'Atlantis'; "),
        (("--guidance", 11), "--guidance: 11; give a number from 0 to 10"),
        (("--temperature", -1), "temperature is -1.0; give a number from 0 to 100"),
    ],
)
def test_what_makes_no_sense_is_refused(hoyo: Hoyo, model: Path, options: tuple[object, ...], message: str) -> None:
    said = hoyo("evaluate", model, *options)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"hoyo: {message}")


def test_a_page_is_not_written_over(hoyo: Hoyo, model: Path) -> None:
    Path("mine.html").write_text("mine", encoding="utf-8")
    said = hoyo("evaluate", model, "--html", "mine.html")
    assert said == Said(1, "", "hoyo: mine.html: already exists; choose another name or add --force\n")
    assert Path("mine.html").read_text(encoding="utf-8") == "mine"


def test_no_model(hoyo: Hoyo) -> None:
    said = hoyo("evaluate", "no.pth")
    assert said.code == 1
    assert said.err.startswith("hoyo: no.pth: ")
