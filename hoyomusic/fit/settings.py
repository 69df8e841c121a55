"""How to train, as numbers with bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from hoyomusic.device import Precision
from hoyomusic.errors import UsageError


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to train. `epochs` is the total, whether or not the run is resumed.

    A step learns from `rows` x `steps` ids. `clip` bounds the gradient's norm. After `plateau_patience`
    epochs that bring nothing the learning rate is multiplied by `plateau_factor`; after `patience` such
    epochs the run ends. `averaging` is the share of the averaged weights that a step keeps (0: no
    averaging; Polyak & Juditsky 1992). `region_dropout` of the samples are labelled 0 in each epoch.
    `save_seconds` is the longest time without a save.

    Raises UsageError for a value out of bounds.
    """

    epochs: int = 30
    # 64 x 16 learns more in the first hundred CPU seconds, 32 x 32 after two hundred; more ids a step teach less.
    rows: int = 32
    steps: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    plateau_factor: float = 0.5
    plateau_patience: int = 1
    patience: int = 5
    averaging: float = 0.999
    region_dropout: float = 0.1
    boundary_id: int = 0
    precision: Precision = "auto"
    seed: int = 0
    save_seconds: float = 300.0

    def __post_init__(self) -> None:
        for name, least, largest in (
            ("epochs", 1, 1_000_000), ("rows", 1, 4096), ("steps", 1, 4096), ("plateau_patience", 0, 1_000_000),
            ("patience", 1, 1_000_000), ("boundary_id", 0, 100_000), ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= largest:
                raise UsageError(
                    f"{name} is {value!r}", remedy=f"give a whole number, {least} or more, but at most {largest}"
                )
        if self.precision not in get_args(Precision):
            raise UsageError(f"there is no precision {self.precision!r}", remedy="choose auto, fp32 or bf16")
        for name, most in (
            ("learning_rate", 1.0), ("weight_decay", 1.0), ("clip", math.inf), ("plateau_factor", 1.0),
            ("averaging", 1.0), ("region_dropout", 1.0), ("save_seconds", math.inf),
        ):
            value = getattr(self, name)
            may_be_zero = name in ("weight_decay", "averaging", "region_dropout")
            if not (0 < value < most or may_be_zero and value == 0):
                raise UsageError(
                    f"{name} is {value!r}",
                    remedy=f"give a number {'from' if may_be_zero else 'above'} 0"
                    + (f" to less than {most:g}" if most < math.inf else ""),
                )


# The order of samples and what dropout drops hang on these: they cannot change in the middle of an epoch.
FIXED_WITHIN_EPOCH = ("rows", "steps", "seed", "boundary_id", "region_dropout")
