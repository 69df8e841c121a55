"""Traits of form in small tunes, and the table of distances."""

from __future__ import annotations

from collections import Counter

import pytest

from hoyomusic import abc
from hoyomusic.evaluation.form import compare_forms, compare_histograms, name_contour, read_form
from hoyomusic.tune import Tune
from tests.conftest import BOOK


def read(body: str, key: str = "D") -> Tune:
    return abc.parse_one(f"X:1\nM:2/4\nL:1/8\nK:{key}\n{body}\n")


def numbers(body: str, key: str = "D") -> dict[str, float | None]:
    return read_form(read(body, key)).numbers


def test_bars_that_recur() -> None:
    assert numbers("D2F2|A4|D2F2|d4|]")["bars that recur"] == 0.5
    assert numbers("D2F2|A4|D2F2|A4|]")["bars that recur"] == 1
    assert numbers("D2F2|A4|FDF2|DFF2|]")["bars that recur"] == 0


def test_similarity_counts_notes_that_stand_in_the_same_place() -> None:
    found = numbers("D2F2|D2A2|D2F2|A2F2|]")
    assert found["similar 1 bar on"] == pytest.approx((0.5 + 0.5 + 0.5) / 3)
    assert found["similar 2 bars on"] == pytest.approx((1 + 0) / 2)
    assert found["similar 4 bars on"] is None
    assert numbers("D4|D2D2|]")["similar 1 bar on"] == 0
    assert numbers("z4|D4|z4|z4|]")["similar 2 bars on"] == 0


def test_cadences() -> None:
    found = numbers("|:A4|d2z2:|D4|E4|]")
    assert (found["ends on the tonic"], found["sections end on the tonic"]) == (0, 0.5)
    assert numbers("A4|D4|]")["ends on the tonic"] == 1
    assert numbers("A4|D4|]", "G")["ends on the tonic"] == 0
    assert numbers("D4|z4|]")["sections end on the tonic"] is None


def test_size_and_signs() -> None:
    found = numbers("|:A|D2d2|F3:|")
    assert (found["ambitus"], found["notes a bar"], found["bars"]) == (12, pytest.approx(4 / 3), 3)
    assert (found["repeat signs"], found["upbeat"]) == (1, 1)
    assert (numbers("D4|]")["repeat signs"], numbers("D4|]")["upbeat"]) == (0, 0)


def test_counts() -> None:
    counts = read_form(read("D2F2|A4|", "Dm")).counts
    assert counts["intervals"] == Counter({3: 1, 4: 1})
    assert counts["rhythm"] == Counter({(1, 2): 1})
    assert (counts["metre"], counts["mode"]) == (Counter({"2/4": 1}), Counter({"minor": 1}))


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ([60, 67, 60], "arch"), ([67, 60, 65], "valley"), ([60, 62, 65], "rising"), ([65, 62, 60], "falling"),
        ([60, 58, 62, 60], "level"),
    ],
)  # fmt: skip
def test_contours(phrase: list[int], name: str) -> None:
    assert name_contour(phrase) == name


def test_phrases_are_four_bars_behind_the_upbeat() -> None:
    found = read_form(read("A|D4|E4|F4|G4|G4|F4|E4|D3|]")).counts["contour of phrases"]
    assert found == Counter({"rising": 1, "falling": 1})
    assert read_form(read("D4|E4|F4|]")).counts["contour of phrases"] == Counter()


def test_the_table_sets_each_distance_beside_chance() -> None:
    forms = [read_form(tune) for tune in abc.parse(BOOK.read_text(encoding="utf-8"))]
    rows = compare_forms("Liyue", forms[:3], forms[3:5], forms, seed=1)
    assert [row.trait for row in rows] == [*forms[0].numbers, *forms[0].counts]
    by_name = {row.trait: row for row in rows}
    ambitus = [form.numbers["ambitus"] for form in forms]
    assert by_name["ambitus"].means == pytest.approx((sum(ambitus[:3]) / 3, sum(ambitus[3:5]) / 2))
    assert by_name["rhythm"].means is None
    assert all(row.nation == "Liyue" and row.distance.found >= -1e-12 for row in rows)
    assert compare_forms("Liyue", forms[:3], forms[3:5], forms, seed=1) == rows
    same = compare_forms("Liyue", forms, forms, forms, seed=1)
    assert all(row.distance.found == pytest.approx(0, abs=1e-9) for row in same)


def test_histograms_stand_beside_chance() -> None:
    forms = [read_form(tune) for tune in abc.parse(BOOK.read_text(encoding="utf-8"))]
    rows = compare_histograms("Liyue", forms[:4], forms[4:], seed=1)
    assert [row.trait for row in rows] == ["intervals", "rhythm"]
    assert all(0 < row.distance.found < 1 and 0 < row.distance.chance < 1 for row in rows)
