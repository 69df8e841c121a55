"""Recall: guesses are what the tune's own past says, by definition and step by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import recall as room
from hoyomusic.native import find_library
from hoyomusic.recall import LAGS, SOURCES, Memories, NativeMemories, Recall, recall, remember
from hoyomusic.sizes import AGREEMENTS
from hoyomusic.vocab import LAYOUTS, Vocabulary
from hoyomusic.vocab.tokens import Kind

VOCABULARY = Vocabulary.build()
HEAD = "<s> tonic:G mode:major metre:2/4 bars:9"


@pytest.fixture(scope="module", autouse=True, params=["in C", "in Python"])
def way(request):
    """All that follows holds for the library and for what stands in for it."""
    if request.param == "in C" and find_library() is None:
        pytest.skip("the library was not compiled, or cannot run here")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in Python":
            patch.setattr(room, "find_library", lambda: None)
        yield request.param


def ids_of(text: str) -> list[int]:
    return [VOCABULARY.ids[name] for name in text.split()]


def guess_behind(text: str, source: int) -> tuple[str, int] | None:
    """The guess of a source behind the last id of `text` and its agreement, None where it has none."""
    index, agreement = recall(VOCABULARY, ids_of(text))[-1, source].tolist()
    return (VOCABULARY.names[index], agreement) if agreement else None


def find_run(ids: list[int]) -> int:
    """The length of the longest end of `ids` that stands in it before, by trying all."""
    for length in range(len(ids) - 1, 0, -1):
        if any(ids[start : start + length] == ids[-length:] for start in range(len(ids) - length)):
            return length
    return 0


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from([VOCABULARY.ids[name] for name in ("1@1/8", "2@1/8", "|", "tie")]), max_size=40))
def test_the_first_source_follows_the_longest_run(ids: list[int]) -> None:
    told = recall(VOCABULARY, ids)
    assert told.shape == (len(ids), SOURCES, 2)
    for count in range(1, len(ids) + 1):
        guess, agreement = told[count - 1, 0].tolist()
        run = min(find_run(ids[:count]), AGREEMENTS - 1)
        assert agreement == run
        if run:
            earlier = [place for place in range(run, count) if ids[place - run : place] == ids[count - run : count]]
            assert guess in {ids[place] for place in earlier}


BARS = "1@1/4 2@1/4 | 3@1/4 4@1/4 |"


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        (HEAD, 1, None),
        (f"{HEAD} {BARS}", 1, ("3@1/4", 2)),  # it foretold the bar line
        (f"{HEAD} {BARS} 5@1/4", 1, ("4@1/4", 1)),
        (f"{HEAD} {BARS}", 2, ("1@1/4", 1)),
        (f"{HEAD} {BARS} 1@1/4", 2, ("2@1/4", 2)),
        (f"{HEAD} {BARS} 1@1/4 2@1/4", 2, ("|", 3)),
        (f"{HEAD} {BARS} 5@1/4", 2, ("2@1/4", 1)),
        (f"{HEAD} {BARS} 5@1/8", 2, None),
        (f"{HEAD} |: {BARS.replace(' |', ' :|', 2)}", 2, ("1@1/4", 1)),
        # What stands behind a note without time of its own keeps its place.
        (f"{HEAD} 1@1/4 join pitch:3 2@1/4 | 1@1/4", 1, ("join", 2)),
        (f"{HEAD} 1@1/4 join pitch:3 2@1/4 | 1@1/4 join pitch:3", 1, ("2@1/4", 4)),
        # An upbeat belongs to the bar before: bars are counted as a musician does.
        (f"{HEAD} upbeat:1/8 5,@1/8 | 1@1/2 | 2@3/8 || upbeat:1/8 5,@1/8 |", 2, ("1@1/2", 3)),
        (f"{HEAD} upbeat:1/8 5,@1/8 | 1@1/2 | 2@3/8", 1, None),
    ],
)
def test_the_others_look_at_the_same_place_in_the_bar(text: str, source: int, expected: object) -> None:
    assert guess_behind(text, source) == expected


@pytest.mark.parametrize("lag", LAGS)
def test_a_tune_that_repeats_itself_is_foretold(lag: int) -> None:
    degrees = ["1", "2", "3", "4", "5", "6", "7", "1'"][:lag]
    bars = [f"{degree}@1/8 {degree}@1/8 {degree}@1/4 |" for degree in degrees]
    ids = ids_of(" ".join([HEAD, *bars, *bars]))
    told = recall(VOCABULARY, ids)
    first = len(ids) - 4 * lag
    for place in range(first, len(ids)):
        guess, agreement = told[place - 1, 1 + LAGS.index(lag)].tolist()
        assert guess == ids[place]
        assert agreement == min(place - first + 1, AGREEMENTS - 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_step_by_step_is_the_same_as_at_once(layout: str) -> None:
    vocabulary = Vocabulary.build(layout)
    notes = [index for index, token in enumerate(vocabulary.tokens) if token.kind in (Kind.NOTE, Kind.PITCH, Kind.LENGTH)]
    numbers = np.random.default_rng(3)
    ids = numbers.choice(notes[:12] + [vocabulary.ids["|"]], size=200).tolist()
    told, memory = recall(vocabulary, ids), Recall(vocabulary)
    for place, index in enumerate(ids):
        memory.take(index)
        assert memory.told() == [tuple(pair) for pair in told[place].tolist()]


def test_memories_are_of_the_way_that_is_there(way: str) -> None:
    assert type(remember(VOCABULARY, 1)) is (NativeMemories if way == "in C" else Memories)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(LAYOUTS), st.integers(0, 2**32), st.integers(1, 400),
    st.sampled_from([2, 6, 40, 5000]), st.sampled_from([0, 3, 150]),
)
def test_several_memories_are_each_its_own(layout: str, seed: int, length: int, kinds: int, again: int) -> None:
    """Any ids: few and many kinds, with long parts that come again, all signs among them."""
    vocabulary, numbers = Vocabulary.build(layout), np.random.default_rng(seed)
    ids = numbers.choice(numbers.integers(len(vocabulary), size=kinds), size=(length, 3))
    ids[:, 1] = [vocabulary.ids[name] for name in HEAD.split()][numbers.integers(5)]
    ids[0, 2] = next(index for index, token in enumerate(vocabulary.tokens) if token.kind is Kind.BARS)
    ids = np.concatenate((ids, ids[:again]))
    memories, plain = remember(vocabulary, 3), [Recall(vocabulary) for _ in range(3)]
    rows = [0, 1, 2]
    for step, heard in enumerate(ids.tolist()):
        if step == length // 2:
            memories.select([0, 2])
            rows = [0, 2]
        told = memories.take([heard[row] for row in rows])
        for row in rows:
            plain[row].take(heard[row])
        assert told.dtype == np.int64
        assert told.tolist() == [[list(pair) for pair in plain[row].told()] for row in rows]
    assert recall(vocabulary, ids[:, 2]).tolist()[-1] == told[-1].tolist()


def test_nothing_heard_is_nothing_recalled() -> None:
    assert recall(VOCABULARY, []).shape == (0, SOURCES, 2)
