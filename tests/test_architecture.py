"""The house as data: every module's floor, and that whatever it imports lies below.

The floors are those of the drawing in README.md; modules of a package share its floor.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hoyomusic.native import find_library

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hoyomusic"

FLOORS = {
    "errors": 1,
    "native": 1,
    "archive": 2,
    "device": 2,
    "model": 2,
    "normalisation": 2,
    "ranks": 2,
    "recurrence": 2,
    "regions": 2,
    "samples": 2,
    "sampling": 2,
    "sizes": 2,
    "storage": 2,
    "text": 2,
    "tune": 2,
    "abc": 3,
    "checkpoint": 3,
    "harmony": 3,
    "score": 3,
    "streams": 3,
    "tuplets": 3,
    "arrangement": 4,
    "corpus": 4,
    "fit": 4,
    "vocab": 4,
    "grammar": 5,
    "novelty": 5,
    "recall": 5,
    "render": 5,
    "runtime": 5,
    "styling": 6,
    "audition": 6,
    "dataset": 6,
    "export": 6,
    "generator": 6,
    "legacy": 6,
    "provenance": 6,
    "request": 6,
    "streaming": 6,
    "rewriting": 6,
    "training": 6,
    "walking": 6,
    "evaluation": 7,
    "playing": 7,
    "cli": 8,
}

# A floor's rooms may stand on one another in this order only: a room -> those of its own floor that it may use.
SAME_FLOOR = {
    "abc": {"tuplets"},
    "generator": {"audition", "export", "provenance", "request", "streaming", "styling", "walking"},
    "harmony": {"score"},
    "legacy": {"generator", "provenance", "request", "styling"},
    "model": {"normalisation", "ranks", "recurrence", "sizes"},
    "normalisation": {"ranks"},
    "provenance": {"request"},
    "rewriting": {"generator", "provenance", "request"},
    "training": {"dataset", "export", "legacy"},
}

# The learning side, and the rooms where it meets the music: all others work without torch.
USES_TORCH = {"checkpoint", "device", "fit", "legacy", "model", "normalisation", "ranks", "recurrence", "training"}
# Told at import, these libraries cost each command its start.
HEAVY = {"h5py", "torch", "music21", "onnx", "onnxruntime", "verovio", "soundfile", "midirenderer", "matplotlib", "sklearn", "scipy"}
GROUND = {"errors", "storage", "text"}
MEETING_ROOMS = {"dataset", "grammar", "recall", "vocab", "styling", "provenance", "request", "streaming", "generator", "legacy", "playing", "rewriting", "training", "walking", "evaluation", "cli"}
MUSIC_SIDE = {"abc", "audition", "arrangement", "corpus", "harmony", "novelty", "regions", "render", "score", "tune", "tuplets"}
LEARNING_SIDE = {"archive", "checkpoint", "device", "export", "fit", "model", "native", "normalisation", "ranks", "recurrence", "runtime", "samples", "sampling", "sizes", "streams"}


def find_modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room that a module belongs to: the first name below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> set[str]:
    """Dotted names of all that is imported anywhere in a module, those for type checkers alone left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_used(path: Path) -> set[str]:
    """The rooms that a module imports from, its own and the package itself left out."""
    found = {name.split(".")[1] for name in imports_of(ast.parse(path.read_text())) if name.startswith("hoyomusic.")}
    return {name for name in found if not name.startswith("__")} - {room_of(path)}


@pytest.mark.parametrize("path", find_modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
class TestEachModule:
    def test_imports_lower_floors_only(self, path: Path) -> None:
        room = room_of(path)
        if room in ("__init__", "__main__"):
            assert rooms_used(path) <= {"cli"}
            return
        for used in rooms_used(path):
            allowed = FLOORS[used] < FLOORS[room] or used in SAME_FLOOR.get(room, ())
            assert allowed, f"{room} (floor {FLOORS[room]}) imports {used} (floor {FLOORS[used]})"

    def test_keeps_the_sides_apart(self, path: Path) -> None:
        room, used = room_of(path), rooms_used(path)
        if room in MUSIC_SIDE:
            assert not used & LEARNING_SIDE
        if room in LEARNING_SIDE:
            assert not used & MUSIC_SIDE
        if room not in USES_TORCH:
            assert not [name for name in imports_of(ast.parse(path.read_text())) if name.split(".")[0] == "torch"]

    def test_says_its_one_idea(self, path: Path) -> None:
        tree = ast.parse(path.read_text())
        idea = (ast.get_docstring(tree) or "").partition("\n")[0]
        assert 10 < len(idea) <= 120

    def test_is_of_a_readable_length(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= 800

    def test_never_catches_everything(self, path: Path) -> None:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None
                caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
                assert not caught & {"Exception", "BaseException"}

    def test_prints_on_the_command_line_only(self, path: Path) -> None:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert room_of(path) == "cli" or not prints

    def test_keeps_no_global_randomness(self, path: Path) -> None:
        forbidden = r"^import random|from random import|np\.random\.(seed|rand|choice)|torch\.manual_seed"
        assert not re.search(forbidden, path.read_text(), re.MULTILINE)

    def test_names_no_place_of_one_machine(self, path: Path) -> None:
        assert not re.search(r"/(home|work|root|Users)/", path.read_text())


def test_every_room_has_a_floor_and_every_floor_a_room() -> None:
    rooms = {room_of(path) for path in find_modules()} - {"__init__", "__main__"}
    assert rooms == FLOORS.keys()


def test_every_room_lies_on_one_side() -> None:
    assert sorted([*GROUND, *MEETING_ROOMS, *MUSIC_SIDE, *LEARNING_SIDE]) == sorted(FLOORS)


def test_generating_imports_no_torch() -> None:
    """In a fresh process: it would cost seconds at each start."""
    program = """
import sys
import hoyomusic.generator, hoyomusic.arrangement, hoyomusic.render
print(sorted({name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(ast.literal_eval(done.stdout)) & HEAVY


def test_the_command_line_starts_light() -> None:
    """In a fresh process: neither the import nor the help of every command may load a heavy library."""
    program = """
import contextlib, io, sys
from hoyomusic.cli import run
with contextlib.redirect_stdout(io.StringIO()):
    commands = (
        "", "generate", "play", "infill", "vary", "render", "train",
        "resume", "regions", "doctor", "corpus", "corpus stats", "evaluate",
    )
    for command in commands:
        assert run([*command.split(), "--help"]) == 0, command
print(sorted({name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert not loaded & (HEAVY | {"numpy", "pretty_midi", "pydantic", "rich"})


def test_the_list_of_commands_imports_none_of_them() -> None:
    """In a fresh process."""
    program = """
import contextlib, io, sys
from hoyomusic.cli import run
with contextlib.redirect_stdout(io.StringIO()):
    assert run(["--help"]) == 0
print(sorted(name for name in sys.modules if name.startswith("hoyomusic.")))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == [
        "hoyomusic.cli", "hoyomusic.cli.commands", "hoyomusic.cli.console", "hoyomusic.cli.usage", "hoyomusic.errors",
        "hoyomusic.text",
    ]  # fmt: skip


@pytest.mark.skipif(find_library() is None, reason="without the compiled library another runtime is imported")
def test_making_a_midi_file_imports_what_it_takes(tmp_path: Path) -> None:
    """In a fresh process: of foreign libraries these alone, and no room that a new tune has no use for."""
    program = """
import contextlib, io, sys
from hoyomusic.cli import run
with contextlib.redirect_stdout(io.StringIO()):
    assert run(["generate", "--bars", "4", "--model", "default", "--format", "mid", "--out", sys.argv[1]]) == 0
print(sorted(sys.modules))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    tops = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"hoyomusic"}
    assert {name for name in tops if not name.startswith("_")} <= {"annotated_doc", "numpy", "shellingham", "typer"}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("hoyomusic.")}
    assert not rooms & {"abc", "corpus", "legacy", "playing", "rewriting", "training"}
    assert not loaded & {"email", "hoyomusic.render.audio", "hoyomusic.render.musicxml", "urllib.request", "xml"}


def test_tune_abc_and_grammar_need_the_standard_library_only() -> None:
    """A browser is to run them too; in a fresh process."""
    program = """
import sys
import hoyomusic.tune, hoyomusic.abc, hoyomusic.vocab, hoyomusic.grammar
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"hoyomusic", "__main__"}
print(sorted(name for name in foreign if not name.startswith("_")))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == []
