"""Which of several candidates to keep, and why: a score of what can be told of a tune without hearing it.

The score is the mean of three marks, each from 0 to 1:

- likelihood: a tune that the model finds far likelier than real tunes is dull, one far less likely is
  lost. 1 within `BAND` of the nats per note that held-out real tunes cost, falling to 0 at three times that;
- structure: of its bars a real tune says some again and some not. 1 where the share of bars that stood
  before lies within `RETURNS`, falling to 0 at none and at all;
- novelty: 1 where no `QUOTATION` notes in a row are those of a training tune, falling to 0 at twice as many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hoyomusic.novelty import QUOTATION, Novelty
from hoyomusic.tune import Tune

# Half the width of the natural band, as a share of what real tunes cost; and the shares of bars that return in
# held-out tunes of Mondstadt, of which a tenth lie below and a tenth above.
BAND = 0.3
RETURNS = (0.05, 0.4)


@dataclass(frozen=True, slots=True)
class Mark:
    """What was found of one candidate: nats per note, share of bars that return, and the three marks."""

    nats_per_note: float
    returning_bars: float
    likelihood: float
    structure: float
    novelty: float

    @property
    def score(self) -> float:
        """The mean of the marks."""
        return (self.likelihood + self.structure + self.novelty) / 3

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values, rounded."""
        values = {name: getattr(self, name) for name in (*self.__slots__, "score")}
        return {name: round(value, 4) for name, value in values.items()}


def mark(tune: Tune, nats_per_note: float, expected: float | None, novelty: Novelty | None) -> Mark:
    """The marks of a candidate that cost the model `nats_per_note`, real tunes costing `expected` (None: not known)."""
    returning = share_of_returning_bars(tune)
    distance = 0.0 if expected is None else abs(nats_per_note / expected - 1) / BAND
    low, high = RETURNS
    return Mark(
        nats_per_note=nats_per_note,
        returning_bars=returning,
        likelihood=_fall(distance, 1, 3),
        structure=min(1.0, returning / low, (1 - returning) / (1 - high)),
        novelty=1.0 if novelty is None else _fall(novelty.longest, QUOTATION - 1, 2 * QUOTATION),
    )


def share_of_returning_bars(tune: Tune) -> float:
    """The share of the written bars whose notes stood in an earlier bar, 0 to 1."""
    bars = [bar.notes for bar in tune.bars]
    return 1 - len(set(bars)) / len(bars)


def _fall(value: float, top: float, bottom: float) -> float:
    """1 up to `top`, 0 from `bottom`, straight between."""
    return min(1.0, max(0.0, (bottom - value) / (bottom - top)))
