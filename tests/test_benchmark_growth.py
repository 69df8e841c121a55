"""The benchmark of growth measures what it says: its corpora are what `prepare` would make, its pictures are SVG."""

from __future__ import annotations

from math import isclose
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks import growth
from benchmarks.__main__ import PARTS, write_page
from benchmarks.plots import draw_lines
from benchmarks.table import Row, format_rows, read_rows, write_rows
from hoyomusic.dataset import TOKEN, Encoder
from hoyomusic.grammar import clocks
from hoyomusic.recall import recall
from hoyomusic.vocab import Vocabulary

SVG = "{http://www.w3.org/2000/svg}"


def test_synthetic_tunes_are_sound_and_different() -> None:
    tunes = [entry.tune for entry in growth.synthesise(20)]
    assert not any(tune.faults() for tune in tunes)
    assert len(set(tunes)) == 20
    assert tunes == [entry.tune for entry in growth.synthesise(20)]


def test_tunes_with_exchanged_notes_are_what_the_encoder_would_make() -> None:
    vocabulary = Vocabulary.build()
    tokens = np.concatenate(list(Encoder(vocabulary).tokens(growth.synthesise(1))))
    others = [growth.exchange_notes(tokens, vocabulary, number) for number in (1, 2)]
    for other in others:
        ids = other["id"].tolist()
        assert ids != tokens["id"].tolist()
        expected = recall(vocabulary, ids)
        assert other["clock"].tolist() == clocks(vocabulary, ids)
        np.testing.assert_array_equal(other["guess"], expected[..., 0])
        np.testing.assert_array_equal(other["agreement"], expected[..., 1])
    assert others[0]["id"].tolist() != others[1]["id"].tolist()


def test_a_corpus_is_as_large_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "DRAWN", 3)
    growth._draw_tokens.cache_clear()
    growth.write_corpus(tmp_path, 9)
    samples = growth.open_corpus(tmp_path, 9)
    growth._draw_tokens.cache_clear()
    assert len(samples) == 9 and samples.tokens.dtype == TOKEN
    vocabulary = Vocabulary.build()
    for sample in samples:
        assert sample.ids[0] == vocabulary.ids["<s>"] and sample.ids[-1] == vocabulary.ids["</s>"]
        assert sample.clock.tolist() == clocks(vocabulary, sample.ids.tolist())
    assert len({tuple(sample.ids.tolist()) for sample in samples}) == 9


@pytest.mark.parametrize("log_up", [False, True])
def test_lines_stand_where_their_numbers_say(log_up: bool) -> None:
    series = {"one & only": [(1000.0, 2.0), (100_000.0, 20.0)], "other": [(1000.0, 7.0)]}
    root = ElementTree.fromstring(draw_lines("A <title>", "tunes", "us", series, log_up=log_up, limit=15.0))
    (first, second), (third,) = (
        [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        for line in root.iter(f"{SVG}polyline")
    )
    labels = {text.text: (float(text.get("x")), float(text.get("y"))) for text in root.iter(f"{SVG}text")}
    assert {"A <title>", "tunes", "us", "one & only", "other", "1,000", "100,000"} <= labels.keys()
    assert isclose(first[0], labels["1,000"][0], abs_tol=0.1) and isclose(second[0], labels["100,000"][0], abs_tol=0.1)
    assert first[0] == third[0] and second[1] < third[1] < first[1]
    ten, most = labels["10"][1] - 4, labels["100" if log_up else "20"][1] - 4
    assert (most < second[1] < ten) if log_up else isclose(second[1], most, abs_tol=0.1)
    circles = [(float(circle.get("cx")), float(circle.get("cy"))) for circle in root.iter(f"{SVG}circle")]
    assert circles == [first, second, third]


def test_rows_tell_whether_a_goal_is_met(tmp_path: Path) -> None:
    rows = [
        Row("faster", 12.0, 3.0, 4.0, 3.5, "tokens a second", "a peer", 11.0),
        Row("slower", 12.0, 4.0, 3.0, 3.5),
        Row("small", 100.0, goal=2048, unit="MiB", at_most=True),
        Row("share", 3.0, 2.0, 1.5, 1.2, at_most=True),
        Row("told", 1234.5),
    ]
    assert [row.met for row in rows] == [True, False, True, False, None]
    write_rows(rows, tmp_path / "rows.json")
    assert read_rows(tmp_path / "rows.json") == rows
    lines = format_rows(rows).splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == 2 + len(rows)
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "faster / a peer", "12", "3", "tokens a second", "4", ">= 3.5", "11", "yes",
    ]  # fmt: skip
    assert "<= 2,048" in lines[4] and "1,234" in lines[6]


def test_the_page_has_each_part_that_was_measured() -> None:
    row = Row("something", 1.0)
    machine = {"cores": 2, "system": "Linux x86_64"}
    page = write_page({"growth": [row], "train": [row]}, {"growth": machine, "train": machine})
    assert page.index("## Training") < page.index("## Cost as the work grows")
    assert PARTS["curves"].title not in page
    assert "![memory](pictures/memory.svg)" in page
    assert "- growth, train: cores 2; system Linux x86_64." in page
