"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from tests.conftest import ROOT


def find_modules_with_examples() -> list[str]:
    paths = [path for path in (ROOT / "hoyomusic").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]
    return sorted(name_of(path) for path in paths)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", find_modules_with_examples())
def test_examples(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0
    assert failed == 0
