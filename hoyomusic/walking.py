"""Tunes go on together in C, step after step, until one comes to what its grammar has not told before.

Within a bar a grammar is a finite automaton: the same places and the same ways between them come again in all tunes
of a wish, and in other wishes too. Each is told to the library (`native/walk.c`) once, when it is first met. There the
model's step, recall and the draw follow each other without Python, whose working memory a step's weights have swept
from the processor's caches each time. At bar lines and signs, and where nobody has been yet, the grammar is asked.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from hoyomusic.grammar import Grammar, Phase, State
from hoyomusic.grammar.notes import Node, Store
from hoyomusic.native import POINTER, address, find_library
from hoyomusic.recall import SOURCES, NativeMemories
from hoyomusic.runtime import NativeRuntime
from hoyomusic.sampling import SamplingConfig, tell_library

# Steps that are made at most without Python.
STEPS = 32
# The columns of a row: see `Row` of walk.c.
PLACE, TUNE, LABEL, CLOCK_OF_BAR, WATCHED, WAITS = range(6)
# What a walk may say in place of the number of its steps; from the second downward it names the row.
NO_MEMORY, NO_CHOICE = -1, -2


class Voice(Protocol):
    """One tune under way: its ids so far, what allows them, the label that the model hears, the number of its draws."""

    grammar: Grammar
    state: State
    ids: list[int]
    label: int
    number: int


class _Walk(ctypes.Structure):
    """`Walk` of walk.c."""

    _fields_ = [
        *((name, POINTER) for name in ("model", "wish", "automaton", "recalls", "rows", "ids", "tokens", "told")),
        ("states", POINTER * 2),
        *((name, POINTER) for name in ("scratch", "logits")),
        *((name, ctypes.c_int64) for name in ("columns", "count", "steps", "taken", "current")),
    ]


class Automaton:
    """The places of a grammar's store, and the ways between them, as far as tunes have come there."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.nodes: list[Node] = []
        self._library = find_library()
        self._numbers: dict[Node, int] = {}
        self._alike: dict[int, np.ndarray] = {}  # by the list that it was made of, which its nodes keep
        self.at = self._library.hoyo_begin_automaton()
        weakref.finalize(self, self._library.hoyo_end_automaton, self.at)
        if not self.at:
            raise MemoryError("no room for an automaton")

    def number_of(self, grammar: Grammar, state: State) -> int:
        """The number of the place where a tune stands."""
        choices = grammar.choices(state)
        node = state.node
        found = self._numbers.get(node)
        if found is None:
            alike = None
            if node.alike:
                alike = self._alike.get(id(node.alike))
                if alike is None:
                    alike = self._alike[id(node.alike)] = np.array(node.alike, np.int64)
            found = self._library.hoyo_add_place(
                self.at, address(choices), len(choices), None if alike is None else address(alike), node.sixteenth
            )
            if found < 0:
                raise MemoryError("no room for an automaton")
            self._numbers[node] = found
            self.nodes.append(node)
        return found

    def lead(self, place: int, alike: int, behind: int) -> None:
        """Tell that ids which are alike lead from one place to another."""
        if not self._library.hoyo_lead(self.at, place, alike, behind):
            raise MemoryError("no room for an automaton")


def walk(
    runtime: NativeRuntime, automaton: Automaton, config: SamplingConfig, seed: int, voices: Sequence[Voice]
) -> Iterator[None]:
    """Fill the voices, none of which has begun, with ids until each has ended. Pauses whenever Python is needed.

    The ids are those that come of step, draw and grammar one by one.
    """
    library, count = find_library(), len(voices)
    vocabulary = voices[0].grammar.vocabulary
    wish, memories = tell_library(config, seed, 0, len(vocabulary)), NativeMemories(vocabulary, count)
    rows = np.zeros((count, 6), np.int64)
    rows[:, TUNE], rows[:, LABEL] = [voice.number for voice in voices], [voice.label for voice in voices]
    rows[:, WAITS] = 1
    ids = np.empty((STEPS + 1) * count, np.int64)
    ids[:count] = [voice.grammar.choices(voice.state)[0] for voice in voices]  # only <s> may begin
    tokens, told = np.empty((count, 3), np.int64), np.empty((count, SOURCES, 2), np.int64)
    logits, scratch = np.empty((count, runtime.columns), np.float32), runtime.scratch(count)
    states = [runtime.start(count), runtime.start(count)]
    rows[:, PLACE] = [automaton.number_of(voice.grammar, voice.state) for voice in voices]
    given = _Walk(
        model=runtime.at, wish=ctypes.addressof(wish), automaton=automaton.at, ids=address(ids),
        tokens=address(tokens), told=address(told), scratch=address(scratch), logits=address(logits),
        columns=runtime.columns, steps=STEPS,
    )  # fmt: skip
    first, behind = 0, 1  # rows of `ids` that are new
    while True:
        new = ids[first * count : behind * count].reshape(-1, count)
        for voice, column in zip(voices, new.T.tolist(), strict=True):
            voice.ids += column
        ended = [row for row in rows[:, WAITS].nonzero()[0].tolist() if not _ask(automaton, voices[row], rows[row])]
        yield
        if len(ended) == count:
            return
        last = new[-1]
        if ended or first == 0:
            going_on = np.delete(np.arange(count), ended)
            voices, rows, last, count = [voices[row] for row in going_on], rows[going_on], last[going_on], len(going_on)
            memories.select(going_on)
            states = [runtime.select(states[given.current], going_on), np.empty_like(states[0][:count])]
            given.states[:] = list(map(address, states))
            given.rows, given.recalls, given.count, given.current = address(rows), memories.at, count, 0
        ids[:count] = last
        given.taken = len(voices[0].ids)
        made = library.hoyo_walk(ctypes.addressof(given))
        if made == NO_MEMORY:
            raise MemoryError("no room for what a tune recalls")
        if made < 0:
            raise ValueError(f"row {NO_CHOICE - made}: the logits are not finite")
        first, behind = 1, made + 1


def _ask(automaton: Automaton, voice: Voice, row: np.ndarray) -> bool:
    """Let the grammar take the last id of a voice that waits, and tell the library where that leads, if it goes on."""
    grammar, state, ids, place = voice.grammar, voice.state, voice.ids, int(row[PLACE])
    before = state.node = automaton.nodes[place]
    state.taken, state.last = len(ids) - 1, ids[-2] if len(ids) > 1 else 0
    grammar.advance(state, ids[-1])
    after = state.node
    if state.phase is Phase.DONE:
        return False
    number = automaton.number_of(grammar, state)
    if before.after and before.after.get(before.alike[ids[-1]]) is after:
        automaton.lead(place, before.alike[ids[-1]], number)
    row[PLACE], row[CLOCK_OF_BAR] = number, grammar.clock(state) - state.node.sixteenth
    row[WATCHED] = state.watched
    return True
