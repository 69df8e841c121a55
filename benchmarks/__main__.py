"""All that is measured of speed, in one table: ``make bench`` or ``python -m benchmarks [PART ...]``

Each part (train, generate and so on) runs in a process of its own, one after the other, in its short form;
together they take less than twenty minutes on two cores. The table and the pictures are written to
``benchmarks/results.md`` and ``benchmarks/pictures``. Without arguments all parts run; with some the others keep the
figures they had.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.plots import PICTURES
from benchmarks.table import Row, format_rows, read_rows

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results.md"
# What each part found, and on what machine, so that one of them can be measured anew.
KEPT = ROOT / "benchmarks" / "results"

LIBRARIES = ("torch", "onnxruntime", "numpy")
# Of what a processor can do, that which products of matrices hang on.
_WIDE = re.compile("avx|amx|arm|asimd|neon|sve")


@dataclass(frozen=True, slots=True)
class Part:
    """A module of this package, what it measures, the options of its short form, and the pictures it draws."""

    title: str
    options: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()


PARTS = {
    "train": Part("Training"),
    "generate": Part("Generation and start"),
    "quantisation": Part("Whole numbers beside float32"),
    "ranks": Part("More than one process"),
    "growth": Part(
        "Cost as the work grows", ("--brief",), ("training", "memory", "preparing", "generating", "reading")
    ),
    "curves": Part("Learning: ours less the peer's nats at equal CPU seconds", ("--brief",)),
}


def run_part(name: str) -> bool:
    """Measure one part and keep what it found; whether it came to its end. What it prints passes through."""
    print(f"\n{PARTS[name].title} (python -m benchmarks.{name}) ...", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", *PARTS[name].options, "--rows", str(path)]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if not done.returncode:
            found = {"machine": describe_machine(), "rows": [row.to_dict() for row in read_rows(path)]}
            KEPT.mkdir(exist_ok=True)
            _kept(name).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{PARTS[name].title}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    return not done.returncode


def _kept(name: str) -> Path:
    return KEPT / f"{name}.json"


def describe_machine() -> dict[str, Any]:
    """What the figures hang on: cores, what the processor can do, and the versions of what does the work."""
    import torch

    from hoyomusic.device import describe

    found = describe()
    can = [name for name, has in sorted(torch.cpu.get_capabilities().items()) if has is True and _WIDE.match(name)]
    return {
        "system": found["system"],
        "cores": found["cores"],
        "processor": ", ".join(can),
        "cards": len(found["cards"]),
        "Python": found["python"],
        **{name: _version(name) for name in LIBRARIES},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def write_page(rows: Mapping[str, list[Row]], machines: Mapping[str, dict[str, Any]]) -> str:
    """The page of results: for each part its table and pictures; the machines that they were measured on."""
    lines = [
        "# What is fast, and by how much",
        "",
        "Written by `make bench`; what each part measures, and how, stands at the head of its module. Figures are",
        "process CPU time, medians, compared by turns within one process. A ratio says how many times better we are,",
        "unless its goal is to stay below (`<=`): then it is a share. The limit is the ratio that the machine allows.",
    ]
    for name, part in PARTS.items():
        if name in rows:
            lines += ["", f"## {part.title}", "", f"    python -m benchmarks.{name}", "", format_rows(rows[name])]
            lines += ["", *(f"![{each}](pictures/{each}.svg)" for each in part.pictures)] if part.pictures else []
    lines += ["", "## The machine", ""]
    by_machine: dict[str, list[str]] = {}
    for name, machine in machines.items():
        said = "; ".join(f"{key} {value}" for key, value in machine.items())
        by_machine.setdefault(said, []).append(name)
    lines += [f"- {', '.join(names)}: {said}." for said, names in by_machine.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := set(chosen) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    started = time.monotonic()
    failed = [name for name in chosen if not run_part(name)]
    found = {name: json.loads(_kept(name).read_text(encoding="utf-8")) for name in PARTS if _kept(name).exists()}
    rows = {name: [Row.from_dict(values) for values in each["rows"]] for name, each in found.items()}
    RESULTS.write_text(write_page(rows, {name: each["machine"] for name, each in found.items()}), encoding="utf-8")
    print()
    for name, each in rows.items():
        print(f"{PARTS[name].title}\n{format_rows(each)}\n")
    print(f"{(time.monotonic() - started) / 60:.1f} minutes; the table is in {RESULTS.relative_to(ROOT)}, "
          f"the pictures in {PICTURES.relative_to(ROOT)}")  # fmt: skip
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
