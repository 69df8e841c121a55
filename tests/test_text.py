"""Nothing that a terminal would obey gets through, and nothing is wider than asked."""

from __future__ import annotations

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.text import cells, printable


def test_what_a_terminal_obeys_is_replaced() -> None:
    assert printable("a\x1b[31mb\x9bc\x07d\x00") == "a\ufffd[31mb\ufffdc\ufffdd\ufffd"
    assert printable("right-to-left \u202egnp.exe") == "right-to-left \ufffdgnp.exe"
    assert printable("two\nlines\r\u2028\u2029") == "two\ufffdlines\ufffd\ufffd\ufffd"
    assert printable("half \ud83d pair") == "half \ufffd pair"


def test_markup_is_left_as_it_is() -> None:
    assert printable("Jig [/b] in D, The [red] Fox, :smile:") == "Jig [/b] in D, The [red] Fox, :smile:"


def test_width_counts_cells() -> None:
    assert printable("提瓦特", 6) == "提瓦特"
    assert printable("提瓦特", 5) == "提瓦…"
    assert printable("e\u0301tude", 5) == "e\u0301tude"
    assert cells("蒙德 x") == 6


@settings(deadline=None)
@given(st.text(st.characters(), max_size=60), st.integers(1, 40))
def test_any_text_is_safe_and_fits(text: str, width: int) -> None:
    shown = printable(text, width)
    assert not {"Cc", "Cf", "Cs", "Zl", "Zp"} & {unicodedata.category(sign) for sign in shown}
    assert cells(shown) <= width
    shown.encode("utf-8")
