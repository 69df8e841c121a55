"""Where numbers run: processor or graphics card, in which precision, with how much memory.

torch is imported only by the functions that need it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from hoyomusic.errors import UsageError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16"]

# With fewer rows than this the products of a time step are too small to gain much from bf16: see `recurrence`.
BF16_ROWS_ON_CPU = 32

# Parameters of glibc's mallopt (malloc.h). The largest value is what its int takes.
MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD, NEVER_TRIM = 1 << 30, 2**31 - 1


def choose_device(wish: str = "auto") -> torch.device:
    """The device called `wish`: ``auto`` (a CUDA card if there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises UsageError for other names and for a card that is not there.
    """
    import torch

    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wish == "auto":
        return torch.device("cuda" if cards else "cpu")
    if wish == "cpu":
        return torch.device("cpu")
    kind, _, number = wish.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise UsageError(f"there is no device {wish!r}", remedy="choose auto, cpu, cuda or cuda:N")
    if int(number or 0) >= cards:
        raise UsageError(f"this machine has {cards} CUDA cards, no {wish}", remedy="choose auto or cpu")
    return torch.device(wish)


def choose_dtype(precision: Precision, device: torch.device, *, rows: int) -> torch.dtype:
    """The type to train in: ``auto`` is bfloat16 where the hardware has it and `rows` are enough to gain.

    Raises UsageError for bf16 on hardware that lacks it: it would be emulated, slower than float32.
    """
    import torch

    if precision not in get_args(Precision):
        raise UsageError(f"there is no precision {precision!r}", remedy="choose auto, fp32 or bf16")
    native = has_bf16(device)
    if precision == "bf16" and not native:
        raise UsageError(f"{device} has no bfloat16 arithmetic", remedy="choose precision auto or fp32")
    gains = native and (device.type == "cuda" or rows >= BF16_ROWS_ON_CPU)
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and gains) else torch.float32


def has_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))


def tune_allocator() -> bool:
    """Keep freed memory instead of handing it back to the system at each step; True where that can be asked for.

    To be called before the first tensor. Only glibc has the switch; it is worth up to 1.2x in training.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(
        library.mallopt(MALLOC_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        and library.mallopt(MALLOC_TRIM_THRESHOLD, NEVER_TRIM)
    )


def memory_used() -> dict[str, int]:
    """Bytes in use, where the system tells: ``process`` (resident; on macOS the most so far), ``cuda`` (reserved)."""
    used = {}
    if Path("/proc/self/statm").exists():
        used["process"] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    elif sys.platform == "darwin":
        import resource

        used["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        used["cuda"] = sum(torch.cuda.memory_reserved(card) for card in range(torch.cuda.device_count()))
    return used


def describe() -> dict[str, object]:
    """What this machine has, as plain values: Python, system, cores, torch and its threads, cards, bfloat16."""
    import torch

    cards = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(number)
        cards.append({
            "name": properties.name,
            "memory_bytes": properties.total_memory,
            "bf16": has_bf16(torch.device("cuda", number)),
        })
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "cards": cards,
        "bf16": has_bf16(torch.device("cpu")),
        "memory": memory_used(),
    }
