"""A training loop that knows nothing of music: samples in, events out, exactly repeatable and resumable.

Truncated backpropagation through packed streams, AdamW, clipped gradients, a plateau schedule and early
stopping on validation nats per token, and an average of the weights over the last steps, which is what
is validated and kept. Randomness is a function of (seed, epoch, step), so a `FitState` holds all it takes
to go on as if nothing had happened, in the middle of an epoch too. Several processes may train together
(see `ranks`): each takes its share of the rows, and all come to the weights that one would. The loop prints nothing.
"""

from __future__ import annotations

from hoyomusic.fit.events import EpochEnded, Event, RunStarted, StepDone, Stopped, WentBack
from hoyomusic.fit.loop import fit
from hoyomusic.fit.measuring import IGNORED, measure
from hoyomusic.fit.settings import FitConfig
from hoyomusic.fit.state import FitState

__all__ = [
    "IGNORED", "EpochEnded", "Event", "FitConfig", "FitState", "RunStarted", "StepDone", "Stopped", "WentBack",
    "fit", "measure",
]
