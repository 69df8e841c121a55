"""The character map of an old generator: what it must be, and what the old program did with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.errors import CheckpointError
from hoyomusic.legacy.characters import CharacterMap

PARAMS: dict[str, Any] = {
    "char_to_int": {"\n": 0, " ": 1, "A": 2, "B": 3},
    "int_to_char": {0: "\n", 1: " ", 2: "A", 3: "B"},
    "vocab_size": 4,
    "seq_length": 3,
}


def test_what_the_old_program_did_with_it() -> None:
    characters = CharacterMap.read(PARAMS, "old.pkl")
    assert characters.encode("A?B") == [2, 0, 3], "an unknown character is id 0"
    assert characters.fill([2]) == [1, 1, 2], "blanks stand in front of a short text"
    assert characters.fill([1, 2, 3, 2]) == [2, 3, 2]
    assert characters.unknown("A?B!?") == "?!"


def test_without_a_blank_id_0_fills_up() -> None:
    characters = CharacterMap.read({"char_to_int": {"a": 0, "b": 1}, "seq_length": 3}, "old.pkl")
    assert characters.fill([1]) == [0, 0, 1]


def test_no_map_is_none() -> None:
    assert CharacterMap.read({"nb_filters": 8}, "tcn.pickle") is None


def test_json_has_words_for_numbers() -> None:
    words = {str(index): character for index, character in PARAMS["int_to_char"].items()}
    assert CharacterMap.read({**PARAMS, "int_to_char": words}, "old.json") == CharacterMap.read(PARAMS, "old.pkl")


@settings(deadline=None)
@given(st.lists(st.characters(), min_size=1, unique=True), st.data())
def test_text_of_known_characters_comes_back(known: list[str], data: st.DataObject) -> None:
    ids = {character: index for index, character in enumerate(known)}
    characters = CharacterMap.read({"char_to_int": ids, "seq_length": 5}, "old.pkl")
    text = "".join(data.draw(st.lists(st.sampled_from(known))))
    assert characters.decode(characters.encode(text)) == text
    assert characters.unknown(text) == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"char_to_int": [1]}, "char_to_int is no map of characters"),
        ({"char_to_int": {}}, "char_to_int is no map of characters"),
        ({"char_to_int": {"ab": 0}}, "something else than single characters"),
        ({"char_to_int": {3: 0}}, "something else than single characters"),
        ({"char_to_int": {"a": 1}}, "does not give 1 characters the ids from 0 on"),
        ({"char_to_int": {"a": 0, "b": 0}}, "does not give 2 characters the ids from 0 on"),
        ({"char_to_int": {"a": "0"}}, "does not give 1 characters"),
        ({"vocab_size": 5}, "vocab_size is 5, but 4 characters have an id"),
        ({"int_to_char": {0: "x"}}, "int_to_char is not char_to_int backwards"),
        ({"seq_length": 0}, "seq_length is 0, not a whole number from 1 to 10000"),
        ({"seq_length": None}, "seq_length is None"),
        ({"seq_length": True}, "seq_length is True"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        CharacterMap.read({**PARAMS, **changed}, "old.pkl")
    assert message in str(caught.value)
    assert str(caught.value).startswith("old.pkl: ")
