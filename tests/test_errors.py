"""The tree of errors is the one that its docstring draws, and each says what, where and the way out."""

from __future__ import annotations

import inspect
import re

import pytest

from hoyomusic import errors
from hoyomusic.errors import AbcError, HoyoError, UsageError


def find_classes() -> list[type[HoyoError]]:
    return [thing for _, thing in inspect.getmembers(errors, inspect.isclass) if issubclass(thing, HoyoError)]


def test_the_docstring_draws_every_class() -> None:
    drawn = set(re.findall(r"\b[A-Z]\w+Error\b", errors.__doc__))
    assert drawn == {each.__name__ for each in find_classes()}


@pytest.mark.parametrize("kind", find_classes())
def test_every_class_is_a_sentence_and_below_the_root(kind: type[HoyoError]) -> None:
    assert kind.__doc__.strip()
    assert kind is HoyoError or kind.__base__ is HoyoError
    assert kind.exit_code == (2 if kind is UsageError else 1)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (HoyoError("no tunes"), "no tunes"),
        (HoyoError("no tunes", where="songs/"), "songs/: no tunes"),
        (HoyoError("no tunes", remedy="add some"), "no tunes; add some"),
        (HoyoError("no tunes", where="songs/", remedy="add some"), "songs/: no tunes; add some"),
        (AbcError("no key", line=3), "line 3: no key"),
        (AbcError("no key", line=3, column=7), "line 3, column 7: no key"),
        (AbcError("no key", line=3, column=7, where="a.abc"), "a.abc, line 3, column 7: no key"),
        (AbcError("no key", where="a.abc", remedy="add K:"), "a.abc: no key; add K:"),
    ],
)
def test_text(error: HoyoError, text: str) -> None:
    assert str(error) == text
    assert error.args == (error.message,)


def test_an_abc_error_keeps_its_place() -> None:
    error = AbcError("no key", line=3, column=7)
    assert (error.line, error.column) == (3, 7)
