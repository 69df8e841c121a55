"""The compiled library: taken only if it is ours and of this program's version."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hoyomusic import native


@pytest.fixture
def looked_for() -> Iterator[None]:
    """The library is looked for anew, within the test and behind it."""
    native.find_library.cache_clear()
    yield
    native.find_library.cache_clear()


@pytest.mark.usefixtures("looked_for")
class TestFindingTheLibrary:
    def test_none_where_nothing_was_compiled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(native, "LIBRARY", "missing.bin")
        assert native.find_library() is None

    def test_none_where_it_was_compiled_for_another_system(self, monkeypatch, tmp_path) -> None:
        (tmp_path / "library.bin").write_bytes(b"MZ of another system")
        monkeypatch.setattr(native, "LIBRARY", str(tmp_path / "library.bin"))
        assert native.find_library() is None

    @pytest.mark.skipif(native.find_library() is None, reason="the library was not compiled, or cannot run here")
    def test_none_where_it_is_of_another_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(native, "VERSION", native.VERSION + 1)
        assert native.find_library() is None


def test_an_address_is_that_of_the_first_number() -> None:
    numbers = np.arange(10)
    assert native.address(numbers[3:]) == native.address(numbers) + 3 * numbers.itemsize
    at = native.address(numbers)
    numbers.flags.writeable = False
    assert native.address(numbers) == at
    assert native.address(np.empty(0)) >= 0
