"""The READMEs are true: their commands run, their map is the tree, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hoyomusic.regions import LEARNED_FROM, REGIONS
from tests.conftest import ROOT, Said

READMES = ["README.md", "README.zh.md"]
PAGES = [*READMES, "models/README.md", "data/README.md"]

# A block of commands that are run here stands below this line.
MARK = "<!-- tested -->\n```sh\n"


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def marked_commands(page: str) -> list[str]:
    blocks = [block.partition("```")[0] for block in read(page).split(MARK)[1:]]
    return [line for block in blocks for line in block.splitlines() if line]


def test_every_marked_command_runs(hoyo: Callable[..., Said]) -> None:
    Path("data").mkdir()
    shutil.copy(ROOT / "data" / "book.abc", "data")
    for command in marked_commands("README.md"):
        program, *arguments = shlex.split(command, comments=True)
        said = hoyo(*arguments)
        assert (program, said.code) == ("hoyo", 0), f"{command}: {said.err}"
    assert sorted(path.name for path in Path("jigs").iterdir()) == [f"tune-{number}.mid" for number in range(1, 9)]
    assert len(list(Path("music").glob("liyue-0042-*.svg"))) == 3


def test_the_python_example_runs(hoyo: Callable[..., Said]) -> None:
    [code] = [block.partition("```")[0] for block in read("README.md").split("<!-- tested -->\n```python\n")[1:]]
    assert code in read("README.zh.md")
    exec(compile(code, "README.md", "exec"), {})
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["tune-1.mid", "tune-2.mid"]


def test_the_chinese_readme_has_the_same_commands() -> None:
    assert marked_commands("README.zh.md") == marked_commands("README.md")
    assert len(marked_commands("README.md")) >= 10


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", read(page)) if "://" not in link]
    for link in links:
        assert ((ROOT / page).parent / link).exists(), link


@pytest.mark.parametrize("page", READMES)
def test_the_map_is_the_tree(page: str) -> None:
    drawn = re.findall(r"^[├└]── (\S+)\s+\S", read(page), re.MULTILINE)
    files = [path.name for path in (ROOT / "hoyomusic").glob("*.py") if path.name != "__init__.py"]
    folders = [f"{path.name}/" for path in (ROOT / "hoyomusic").iterdir() if path.is_dir() and path.name[0] != "_"]
    assert sorted(drawn) == sorted(files + folders)


@pytest.mark.parametrize("page", READMES)
def test_the_map_is_in_the_order_of_the_floors(page: str) -> None:
    from tests.test_architecture import FLOORS

    drawn = re.findall(r"^[├└]── (\w+)", read(page), re.MULTILINE)
    floors = [FLOORS[name] for name in drawn if name in FLOORS]
    assert floors == sorted(floors)


@pytest.mark.parametrize(
    ("page", "learned", "styled"), [("README.md", "learned", "styled"), ("README.zh.md", "学习", "规则")]
)
def test_the_table_of_nations_is_true(page: str, learned: str, styled: str) -> None:
    rows = re.findall(r"^\| (\w+) \| (\S+) \| (\S+) \|", read(page), re.MULTILINE)
    expected = {(region.name, region.chinese, learned if region.learned else styled) for region in REGIONS}
    assert expected <= set(rows)


def test_figures_are_those_of_the_program() -> None:
    assert f"has {LEARNED_FROM} tunes of it" in " ".join(read("data/README.md").split())


def test_the_first_commands_are_the_makefiles() -> None:
    first = read("README.md").partition("```sh\n")[2].partition("```")[0]
    makefile = read("Makefile")
    for line in first.splitlines():
        make, target = line.split()[:2]
        assert make == "make"
        assert f"\n{target}: " in makefile
    assert "exec make test\n" in read(".ci/run")
