"""`hoyo doctor`: what this machine has, what is installed, and the one command that mends what is missing."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from typing import Annotated, Any, NamedTuple

import typer

from hoyomusic.cli.console import examples, new_table, output, write_json
from hoyomusic.errors import HoyoError
from hoyomusic.text import printable

EXAMPLES = examples("hoyo doctor", "hoyo doctor --json")

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:==(?P<version>[^;\s]+))?")
_EXTRA = re.compile(r"""extra\s*==\s*['"](?P<extra>[\w-]+)['"]""")


class Part(NamedTuple):
    """A package that HoyoMusic uses: what is wanted, what there is (empty: nothing), and for which extra."""

    name: str
    wanted: str
    found: str
    extra: str

    @property
    def fits(self) -> bool:
        """Whether it is there in the wanted version; ``2.13.0+cpu`` is 2.13.0 as PEP 440 has it."""
        return bool(self.found) and self.wanted in ("", self.found, self.found.partition("+")[0])


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON object.")] = False) -> None:
    """Look at this machine and this installation; exit code 1 if something needed is missing."""
    parts = find_parts()
    model = describe_model()
    needed = [part for part in parts if not part.extra and not part.fits]
    machine = {} if any(part.name == "torch" and not part.found for part in needed) else _describe_machine()
    remedy = mend(parts)
    if as_json:
        told = [{**part._asdict(), "fits": part.fits} for part in parts]
        write_json({"machine": machine, "model": model, "parts": told, "remedy": remedy})
    else:
        _show(machine, model, parts, remedy)
    if needed or "error" in model:
        raise typer.Exit(1)


def find_parts() -> list[Part]:
    """What the installed HoyoMusic says it needs, against what is installed."""
    try:
        requirements = metadata.requires("hoyomusic") or []
    except metadata.PackageNotFoundError:
        return [Part("hoyomusic", "", "", "")]
    parts = []
    for line in requirements:
        match, extra = _REQUIREMENT.match(line), _EXTRA.search(line)
        try:
            found = metadata.version(match["name"])
        except metadata.PackageNotFoundError:
            found = ""
        parts.append(Part(match["name"], match["version"] or "", found, extra["extra"] if extra else ""))
    return parts


def mend(parts: list[Part]) -> str:
    """The command that installs what is needed and missing; empty where nothing is."""
    missing = [
        f"{part.name}=={part.wanted}" if part.wanted else part.name for part in parts if not (part.extra or part.fits)
    ]
    if not missing:
        return ""
    if missing == ["hoyomusic"]:
        return f"{sys.executable} -m pip install ."
    return f"{sys.executable} -m pip install {' '.join(missing)}"


def describe_model() -> dict[str, Any]:
    """The model that `hoyo generate` would use, or under ``error`` why there is none."""
    from hoyomusic.generator import HoyoMusicGenerator

    try:
        generator = HoyoMusicGenerator.load()
    except HoyoError as error:
        return {"error": str(error)}
    return {
        "path": str(generator.path),
        "sha256": generator.identity,
        "runtime": type(generator.runtime).__name__,
        "provenance": generator.provenance,
    }


def _describe_machine() -> dict[str, Any]:
    from hoyomusic.device import describe

    return describe()


def _show(machine: dict[str, Any], model: dict[str, Any], parts: list[Part], remedy: str) -> None:
    console = output()
    for name, value in machine.items():
        if name == "cards":
            for card in value:
                memory = f"{card['memory_bytes'] / 2**30:.0f} GiB"
                console.print(f"card: {card['name']}, {memory}, bf16 {_yes(card['bf16'])}")
        elif name == "memory":
            console.print(f"memory in use: {value['process'] / 2**20:,.0f} MiB")
        else:
            console.print(f"{name}: {_yes(value) if isinstance(value, bool) else value or 'none'}")
    if "error" in model:
        console.print(f"model: {printable(model['error'])}")
    else:
        console.print(f"model: {printable(model['path'])}, sha256 {model['sha256'][:12]}, run by {model['runtime']}")
    table = new_table("part", "wanted", "found", "for")
    for part in parts:
        table.add_row(part.name, part.wanted or "any", part.found or "-", part.extra or "HoyoMusic")
    console.print(table)
    console.print(f"to mend: {remedy}" if remedy else "all that is needed is installed")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
