"""Sampled text as music: one wrong character costs one bar, and all that is lost is accounted for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import abc
from hoyomusic.legacy.sampled import read_sampled

HEAD = "X:1\nM:2/4\nL:1/8\nK:D\n"


def test_clean_text_is_taken_whole() -> None:
    found = read_sampled(HEAD, "ABcd|efga|\nd4|]")
    assert found.tune == abc.parse_one(HEAD + "ABcd|efga|\nd4|]")
    assert found.tell() == "15 characters, 3 bars kept"


@pytest.mark.parametrize(
    ("body", "same_as", "told"),
    [
        ("ABcd|ef^|d4|", "ABcd|d4|", "12 characters, 2 bars kept, 1 dropped as no music (4 characters in line 5)"),
        ("^|ABcd|d4|", "ABcd|d4|", "10 characters, 2 bars kept, 1 dropped as no music (2 characters in line 5)"),
        ("ABcd|d4|^", "ABcd|d4|", "9 characters, 2 bars kept, 1 dropped as no music (1 character in line 5)"),
        ("ABcd|\n^\nd4|", "ABcd|d4|", "11 characters, 2 bars kept, 1 dropped as no music (1 character in line 6)"),
        ("ABcd|\nK:xyz\nd4|", "ABcd|d4|", "15 characters, 2 bars kept, 1 dropped as no music (5 characters in line 6)"),
        ("^|X:2|ABcd|", None, None),
        ("ABcd|\n^|X:2|d4|\nefga|", "ABcd|efga|", None),
    ],
)
def test_what_is_no_music_is_dropped_and_told(body: str, same_as: str | None, told: str | None) -> None:
    found = read_sampled(HEAD, body)
    if same_as is None:
        assert found is None
        return
    assert found.tune == abc.parse_one(HEAD + same_as)
    if told is not None:
        assert found.tell() == told


def test_a_blank_line_does_not_end_the_tune() -> None:
    assert len(read_sampled(HEAD, "ABcd|\n  \nd4|").tune.bars) == 2


def test_many_lines_are_told_in_part() -> None:
    found = read_sampled(HEAD, "ABcd|\n" + "^|\n" * 9)
    assert found.lines == tuple(range(6, 15))
    assert found.tell().endswith("in lines 6, 7, 8, 9, 10 ...)")


def test_what_the_reader_leaves_out_is_told_with_its_line_in_the_text() -> None:
    found = read_sampled(HEAD, "ABcd|\n^\nw:la la\nd4|")
    assert found.notices == ("line 7: lyrics",)


def test_a_line_beyond_all_music_is_dropped_whole() -> None:
    found = read_sampled(HEAD, "ABcd|\n" + "a|" * 6000)
    assert (len(found.tune.bars), found.lost, found.dropped) == (1, 12_000, 1)


@pytest.mark.parametrize("body", ["", "\n \n", "|||", "z4|", "^", "K:D"])
def test_text_without_a_note_is_no_tune(body: str) -> None:
    assert read_sampled(HEAD, body) is None


def test_a_head_that_cannot_be_read_is_no_tune() -> None:
    assert read_sampled("X:1\nK:nonsense\n", "ABcd|") is None


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="\n |:[]()ABCabc12/^_=,'zXK<>-\"!~{}%w\\", max_size=120))
def test_any_text_is_read_or_has_no_note(body: str) -> None:
    found = read_sampled(HEAD, body)
    if found is not None:
        assert any(note.pitches for note in found.tune.notes())
        assert 0 <= found.lost <= len(body) == found.characters
        assert abc.parse_one(abc.write(found.tune)) == found.tune
