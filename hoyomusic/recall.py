"""Recall: what a tune's own past suggests should come next, from several sources, and how often each was right of late.

Tunes repeat themselves, exactly and with changes, but an LSTM that has heard a bar twice foretells its
third sounding little better than the first: a phrase passes through its state only once. So the model
is told what a memory would say (the idea of match models in text compression, Mahoney 2005, "Adaptive
weighing of context models for lossless data compression", and of the pointer of Merity et al. 2017,
"Pointer sentinel mixture models"). It learns how far to trust each source: see `HoyoMusicLSTM`.

A source guesses one id. The first finds the longest run of ids that was there before and guesses what
followed it then; the others look at the same place in the bar, 1, 2, 4 or 8 bars back. Beside each guess
stands its agreement: 0 where there is no guess, else 1 + the number of ids in a row that the source
foretold (the length of the run, for the first), at most `AGREEMENTS` - 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hoyomusic.sizes import AGREEMENTS
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import BAR_ENDS, Kind

if TYPE_CHECKING:
    import numpy as np

# How many bars back the sources look that go by the place in the bar.
LAGS = (1, 2, 4, 8)
SOURCES = 1 + len(LAGS)

# A place in a tune: bar (upbeats belong to the bar before), ticks since its bar line, ids since then without a tick.
Place = tuple[int, int, int]


class Recall:
    """The memory of one tune under way: `take` each id, then read `guesses` and `agreements`, one a source."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._tokens = vocabulary.tokens
        self._ids: list[int] = []
        # The run of ids that was there before: the place in `_ids` that follows it, and its length.
        self._follow = self._run = 0
        self._seen: dict[int, list[int]] = {}
        # Where the next id will stand, and what stood where.
        self._bar = self._position = self._count = 0
        self._full = self._length = 0
        self._in_body = self._joining = False
        self._stood: dict[Place, int] = {}
        self.guesses = [0] * SOURCES
        self.agreements = [0] * SOURCES
        self._right = [0] * len(LAGS)

    def take(self, index: int) -> None:
        """Hear the next id of the tune."""
        kind = self._tokens[index].kind
        if self._in_body and kind not in (Kind.OPEN, Kind.ENDING, Kind.UPBEAT):
            for lag in range(len(LAGS)):
                if self.agreements[lag + 1]:
                    self._right[lag] = self._right[lag] + 1 if self.guesses[lag + 1] == index else 0
            self._stood.setdefault((self._bar, self._position, self._count), index)
            self._count += 1
        self._move(index)
        self._match(index)
        self._guess()

    def told(self) -> list[tuple[int, int]]:
        """Guess and agreement of each source, as the model takes them."""
        return list(zip(self.guesses, self.agreements, strict=True))

    def _move(self, index: int) -> None:
        """Walk to where the next id will stand."""
        token = self._tokens[index]
        kind, before = token.kind, (self._bar, self._position)
        if kind is Kind.NOTE:
            self._length = token.ticks
            self._position += token.ticks
        elif kind is Kind.PITCH:
            self._position += 0 if self._joining else self._length
            self._joining = False
        elif kind is Kind.LENGTH:
            self._length = token.ticks
        elif kind is Kind.JOIN:
            self._joining = True
        elif kind in BAR_ENDS:
            self._bar, self._position = self._bar + 1, 0
        elif kind is Kind.UPBEAT:
            # Here a bar's complement ended; one id further on, its bar line stands in nobody's way.
            self._bar, self._position, self._count = self._bar - 1, self._full - token.ticks, 1
            return
        elif kind is Kind.METRE:
            self._full = token.ticks
        elif kind is Kind.BARS:
            self._in_body = True
        if (self._bar, self._position) != before:
            self._count = 0

    def _match(self, index: int) -> None:
        """Lengthen the run that was there before, or find the longest, latest one that ends with `index`."""
        ids, last = self._ids, len(self._ids)
        ids.append(index)
        earlier = self._seen.setdefault(index, [])
        if self._run and ids[self._follow] == index:
            self._follow, self._run = self._follow + 1, self._run + 1
        else:
            self._run = 0
            for place in reversed(earlier):
                length = 1
                while length < AGREEMENTS and length <= place and ids[place - length] == ids[last - length]:
                    length += 1
                if length > self._run:
                    self._follow, self._run = place + 1, length
        earlier.append(last)

    def _guess(self) -> None:
        self.guesses[0] = self._ids[self._follow] if self._run else 0
        self.agreements[0] = min(self._run, AGREEMENTS - 1)
        for lag, bars in enumerate(LAGS):
            found = self._stood.get((self._bar - bars, self._position, self._count)) if self._in_body else None
            self.guesses[lag + 1] = 0 if found is None else found
            self.agreements[lag + 1] = 0 if found is None else min(self._right[lag] + 1, AGREEMENTS - 1)


def recall(vocabulary: Vocabulary, ids: Iterable[int]) -> np.ndarray:
    """Guess and agreement of each source behind each id of a tune, uint16 (n, SOURCES, 2)."""
    import numpy as np

    memory = Recall(vocabulary)
    found = []
    for index in ids:
        memory.take(index)
        found.append((*memory.guesses, *memory.agreements))
    return np.array(found, np.uint16).reshape(-1, 2, SOURCES).transpose(0, 2, 1)
