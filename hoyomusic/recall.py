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

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from hoyomusic.native import address, find_library
from hoyomusic.sizes import AGREEMENTS
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import BAR_ENDS, Kind

if TYPE_CHECKING:
    import ctypes

    import numpy as np

# How many bars back the sources look that go by the place in the bar.
LAGS = (1, 2, 4, 8)
SOURCES = 1 + len(LAGS)

# What an id does to the place where the next will stand. Those from `STANDS_NOWHERE` on have no place of their own.
KEEPS, NOTE, PITCH, LENGTH, JOIN, BAR_END, METRE, BARS, STANDS_NOWHERE, UPBEAT = range(10)
_MOVES = {
    Kind.NOTE: NOTE, Kind.PITCH: PITCH, Kind.LENGTH: LENGTH, Kind.JOIN: JOIN, Kind.METRE: METRE, Kind.BARS: BARS,
    Kind.OPEN: STANDS_NOWHERE, Kind.ENDING: STANDS_NOWHERE, Kind.UPBEAT: UPBEAT, **dict.fromkeys(BAR_ENDS, BAR_END),
}  # fmt: skip
# A place in a bar is one number: ticks since its bar line, times this, plus ids since then without a tick.
IDS_A_TICK = 1 << 20


class Recall:
    """The memory of one tune under way: `take` each id, then read `guesses` and `agreements`, one a source."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._moves, self._ticks = _read_moves(vocabulary)
        self._runs = Runs(len(vocabulary))
        # Where the next id will stand: bar (upbeats belong to the bar before), place in it; and what stood where.
        self._bar = self._position = self._count = 0
        self._full = self._length = 0
        self._in_body = self._joining = False
        self._stood: dict[int, dict[int, int]] = {}
        self._turn_to(0)
        self._right = [0] * len(LAGS)
        self._told = [0] * (2 * SOURCES)  # guess and agreement of each source

    @property
    def guesses(self) -> list[int]:
        """The id that each source suggests."""
        return self._told[::2]

    @property
    def agreements(self) -> list[int]:
        """How often in a row each source was right of late; 0: it suggests nothing."""
        return self._told[1::2]

    def take(self, index: int) -> None:
        """Hear the next id of the tune."""
        move, told, right = self._moves[index], self._told, self._right
        if self._in_body and move < STANDS_NOWHERE:
            for lag in range(len(LAGS)):
                if told[2 * lag + 3]:
                    right[lag] = right[lag] + 1 if told[2 * lag + 2] == index else 0
            self._here.setdefault(self._position * IDS_A_TICK + self._count, index)
            self._count += 1
        if move:
            self._move(move, self._ticks[index])
        runs = self._runs
        runs.take(index)
        run = runs.length
        told[0] = runs.following if run else 0
        told[1] = run if run < AGREEMENTS else AGREEMENTS - 1
        place = self._position * IDS_A_TICK + self._count
        for lag, earlier in enumerate(self._earlier):
            found = earlier.get(place)
            if found is None:
                told[2 * lag + 2] = told[2 * lag + 3] = 0
            else:
                told[2 * lag + 2] = found
                told[2 * lag + 3] = min(right[lag] + 1, AGREEMENTS - 1)

    def told(self) -> list[tuple[int, int]]:
        """Guess and agreement of each source, as the model takes them."""
        return list(zip(self.guesses, self.agreements, strict=True))

    def _move(self, move: int, ticks: int) -> None:
        """Walk to where the next id will stand."""
        if move == NOTE:
            self._length = ticks
            self._position += ticks
            self._count = 0
        elif move == PITCH:
            if not self._joining and self._length:
                self._position += self._length
                self._count = 0
            self._joining = False
        elif move == LENGTH:
            self._length = ticks
        elif move == JOIN:
            self._joining = True
        elif move == BAR_END:
            self._turn_to(self._bar + 1)
            self._position = self._count = 0
        elif move == UPBEAT:
            # Here a bar's complement ended; one id further on, its bar line stands in nobody's way.
            self._turn_to(self._bar - 1)
            self._position, self._count = self._full - ticks, 1
        elif move == METRE:
            self._full = ticks
        elif move == BARS:
            self._in_body = True

    def _turn_to(self, bar: int) -> None:
        """Have at hand what stood in a bar, and in those that the sources look at from there."""
        self._bar = bar
        self._here = self._stood.setdefault(bar, {})
        self._earlier = [self._stood.get(bar - lag, {}) for lag in LAGS]


class Runs:
    """The longest run of ids that was there before, as ids come in: at a cost that does not hang on how many came.

    A run goes on as long as it foretells what comes. Where it breaks, the longest run of up to `AGREEMENTS` ids
    is taken up that ends with the present one, and of equal ones the latest. It is found in a tree of all
    runs, read backwards from their last id: a node is a run and knows the place where it ended last. A run that came
    once is kept as short as tells it apart, and lengthened when it is met again.
    """

    def __init__(self, vocabulary: int) -> None:
        self._size = vocabulary
        self._ids: list[int] = []
        self._longer: dict[int, int] = {}  # (node, the id in front of its run) as one number -> node
        self._latest = [0]  # of each node; the complement of the place where the run came but once
        self._follow = 0
        self.length = 0

    @property
    def following(self) -> int:
        """The id that came behind the run when it was there before; of no meaning where its `length` is 0."""
        return self._ids[self._follow]

    def take(self, index: int) -> None:
        """Hear the next id."""
        ids, size, longer, latest = self._ids, self._size, self._longer, self._latest
        here, node, length, before = len(ids), 0, 0, -1
        ids.append(index)
        for place in range(here, max(here - AGREEMENTS, -1), -1):
            key = node * size + ids[place]
            node = longer.get(key)
            if node is None:
                longer[key] = len(latest)
                latest.append(~here)
                break
            before = latest[node]
            length += 1
            latest[node] = here
            if before < 0:
                before = ~before
                if length < AGREEMENTS and before >= length:
                    longer[node * size + ids[before - length]] = len(latest)
                    latest.append(~before)
        if self.length and ids[self._follow] == index:
            self._follow, self.length = self._follow + 1, self.length + 1
        else:
            self._follow, self.length = before + 1, length


class Memories:
    """The memories of several tunes under way, one a row: `take` the next id of each."""

    def __init__(self, vocabulary: Vocabulary, count: int) -> None:
        self._memories = [Recall(vocabulary) for _ in range(count)]

    def take(self, ids: Sequence[int]) -> np.ndarray:
        """Hear the next id of each row; what its sources say, (B, SOURCES, 2) int64, as a step takes it."""
        for memory, index in zip(self._memories, ids, strict=True):
            memory.take(index)
        return _tell(self._memories)

    def take_all(self, ids: Sequence[int]) -> np.ndarray:
        """The only row hears `ids` (n,); what its sources say behind each, (n, SOURCES, 2) int64."""
        import numpy as np

        [memory] = self._memories
        found = []
        for index in ids:
            memory.take(index)
            found.append(tuple(memory._told))
        return np.array(found, np.int64).reshape(-1, SOURCES, 2)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self._memories = [self._memories[row] for row in rows]


class NativeMemories:
    """`Memories` by the library (`native/recall.c`)."""

    def __init__(self, vocabulary: Vocabulary, count: int) -> None:
        import numpy as np

        self._library = find_library()
        self._moves = _moves_in_c(vocabulary)
        moves, ticks = map(address, self._moves)
        begun = [self._library.hoyo_begin_recall(moves, ticks, AGREEMENTS) for _ in range(count)]
        weakref.finalize(self, _end, self._library, begun)
        if not all(begun):
            raise MemoryError("no room for what a tune recalls")
        self._begun = np.array(begun, np.uint64)
        self.at = address(self._begun)

    def take(self, ids: Sequence[int]) -> np.ndarray:
        """As `Memories.take`."""
        return self._hear(self._library.hoyo_recall, self.at, ids)

    def take_all(self, ids: Sequence[int]) -> np.ndarray:
        """As `Memories.take_all`."""
        return self._hear(self._library.hoyo_recall_tune, int(self._begun[0]), ids)

    def _hear(self, function: Callable[..., int], memories: int, ids: Sequence[int]) -> np.ndarray:
        import numpy as np

        heard, told = np.array(ids, np.int64), np.empty((len(ids), SOURCES, 2), np.int64)
        if not function(memories, len(ids), address(heard), address(told)):
            raise MemoryError("no room for what a tune recalls")
        return told

    def select(self, rows: Sequence[int]) -> None:
        """As `Memories.select`."""
        self._begun = self._begun[rows]
        self.at = address(self._begun)


def _end(library: ctypes.CDLL, begun: list[int | None]) -> None:
    for memory in begun:
        library.hoyo_end_recall(memory)


def remember(vocabulary: Vocabulary, count: int) -> Memories | NativeMemories:
    """The memories of `count` tunes that have not begun."""
    return Memories(vocabulary, count) if find_library() is None else NativeMemories(vocabulary, count)


@lru_cache(maxsize=8)
def _read_moves(vocabulary: Vocabulary) -> tuple[list[int], list[int]]:
    """What each id does, and its ticks."""
    return [_MOVES.get(token.kind, KEEPS) for token in vocabulary.tokens], [token.ticks for token in vocabulary.tokens]


@lru_cache(maxsize=8)
def _moves_in_c(vocabulary: Vocabulary) -> np.ndarray:
    """`_read_moves` (2, V) as recall.c takes them; int64."""
    import numpy as np

    return np.array(_read_moves(vocabulary), np.int64)


def _tell(memories: Sequence[Recall]) -> np.ndarray:
    import numpy as np

    return np.array([memory._told for memory in memories]).reshape(-1, SOURCES, 2)


def recall(vocabulary: Vocabulary, ids: Iterable[int]) -> np.ndarray:
    """Guess and agreement of each source behind each id of a tune, uint16 (n, SOURCES, 2)."""
    import numpy as np

    return remember(vocabulary, 1).take_all(list(ids)).astype(np.uint16)
