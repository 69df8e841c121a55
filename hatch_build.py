"""The build hook: compiles what is in C where a compiler is at hand; without one all is installed but that."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = "hoyomusic/native"
LIBRARY = f"{SOURCES}/library.bin"
# Sums of floats must be rounded after each operation, as everywhere else: no contraction.
FLAGS = ("-O3", "-ffp-contract=off", "-shared", "-fPIC")


class LibraryHook(BuildHookInterface):
    """Compiles what lies in `SOURCES` and puts `LIBRARY` into the wheel, which then is for this system only."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is built; `version` is ``"standard"`` or ``"editable"``."""
        library = Path(self.root) / LIBRARY
        compiler = find_compiler()
        if compiler is None:
            return
        command = [*compiler, *FLAGS, "-o", str(library), *map(str, sorted(library.parent.glob("*.c")))]
        for kinds in ([], ["-DHOYO_AVX2_ONLY"]):  # older compilers do not know the newest processors
            done = subprocess.run([*command, *kinds], capture_output=True, text=True)
            if not done.returncode:
                break
        if done.returncode:
            library.unlink(missing_ok=True)
            self.app.display_warning(f"what is in C was not compiled, Python takes its place: {done.stderr}")
            return
        build_data["artifacts"].append(LIBRARY)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def find_compiler() -> list[str] | None:
    """The command of a compiler like GCC or Clang for x86; None where there is none, or HOYOMUSIC_PURE is set."""
    if os.environ.get("HOYOMUSIC_PURE") or sys.platform == "win32" or platform.machine() not in ("x86_64", "AMD64"):
        return None
    named = os.environ.get("CC", "").split()
    if named:
        return named
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return None if found is None else [found]
