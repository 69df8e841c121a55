"""One list of dependencies, pinned and all used; a wheel that is whole and works from any folder."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import hoyomusic
from tests.conftest import ROOT

PACKAGE = ROOT / "hoyomusic"
MODEL = ROOT / "models" / "default.pth"
INDEX = ROOT / "models" / "default.index"
STEP = ROOT / "models" / "default.onnx"
LIBRARY = "hoyomusic/native/library.bin"
LARGEST_MODEL = 30_000_000

# Parts that are installed only by those who need them: an extra names them.
OPTIONAL = {"h5py", "pyarrow"}
# Packages that are installed under another name than they are imported by.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def read_requirements() -> dict[str, str]:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def find_foreign_imports() -> set[str]:
    names = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    return {DISTRIBUTIONS.get(name, name) for name in names - sys.stdlib_module_names - {"hoyomusic"}}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_requirements_are_what_is_imported() -> None:
    assert read_requirements().keys() == find_foreign_imports() - OPTIONAL


def test_every_optional_part_has_an_extra(project: dict) -> None:
    extras = " ".join(line for lines in project["project"]["optional-dependencies"].values() for line in lines)
    assert all(name in extras for name in OPTIONAL)


def test_requirements_are_pinned_and_installed() -> None:
    for name, version in read_requirements().items():
        assert metadata.version(name).partition("+")[0] == version


def test_there_is_one_list_of_dependencies_and_one_version(project: dict) -> None:
    assert set(project["project"]["dynamic"]) == {"version", "dependencies"}
    assert "dependencies" not in project["project"]
    assert project["tool"]["hatch"]["metadata"]["hooks"]["requirements_txt"]["files"] == ["requirements.txt"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", hoyomusic.__version__)


def test_only_a_shipped_model_can_be_committed() -> None:
    def is_ignored(path: str) -> bool:
        return subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0

    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    assert is_ignored("models/hoyomusic_generator.pth")
    assert is_ignored("music/mondstadt-0001-1.mid")
    assert is_ignored("data/hoyomusic/genshin.jsonl")
    assert is_ignored("models/hoyomusic_generator.index")
    assert not is_ignored("models/default.pth")
    assert not is_ignored("models/default.index")
    assert not is_ignored("models/default.onnx")
    assert not is_ignored("models/README.md")
    assert not is_ignored("data/book.abc")


def test_an_old_python_is_told_so(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    # `false` answers every question of the Makefile with no, as a Python below 3.11 does.
    command = ["make", "PYTHON=false", f"VENV={tmp_path / 'venv'}", "demo"]
    # Called by `make test`, a make inside would tell of its folders.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == "HoyoMusic needs Python 3.11 or newer: make PYTHON=python3.11 demo\n"
    assert not list(tmp_path.iterdir())


def test_the_default_model_is_small_enough() -> None:
    assert 0 < MODEL.stat().st_size <= LARGEST_MODEL


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    [path] = folder.iterdir()
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_data_and_the_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        text = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
        assert archive.read("hoyomusic/models/default.pth") == MODEL.read_bytes()
        assert archive.read("hoyomusic/models/default.index") == INDEX.read_bytes()
        assert archive.read("hoyomusic/models/default.onnx") == STEP.read_bytes()
    paths = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    files = {str(path.relative_to(ROOT)) for path in paths}
    packed = {name for name in names if ".dist-info/" not in name}
    # The step in C is compiled where there is a compiler, and then is in the wheel.
    assert packed | {LIBRARY} == files | {LIBRARY} | {f"hoyomusic/models/default{end}" for end in (".pth", ".index", ".onnx")}
    wanted = re.findall(r"^Requires-Dist: ([^;\n]+)$", text, re.MULTILINE)
    assert sorted(line.replace("_", "-").lower() for line in wanted) == sorted(
        f"{name}=={version}".replace("_", "-").lower() for name, version in read_requirements().items()
    )


@pytest.mark.slow
def test_the_wheel_generates_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "hoyomusic", "generate", "--region", "Mondstadt", "--bars", "8", "--seed", "1"],
        cwd=work, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert f"model: {site / 'hoyomusic' / 'models' / 'default.onnx'}" in done.stdout
    assert sorted(path.name for path in (work / "music").iterdir()) == ["mondstadt-0001-1.abc", "mondstadt-0001-1.mid"]
