"""The grammar: along every path that its mask allows, what comes out is music that adds up."""

from __future__ import annotations

import copy
import random
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from hoyomusic.errors import UsageError
from hoyomusic.grammar import CLOCKS, Grammar, Phase, State, Wish, clock_of, clocks
from hoyomusic.tune import Key, Metre, Tune
from hoyomusic.vocab import LAYOUTS, Vocabulary
from hoyomusic.vocab.tokens import TICKS_PER_WHOLE, Kind

VOCABULARIES = {layout: Vocabulary.build(layout) for layout in LAYOUTS}

# Kinds that a random walk should meet more or less often than their number of tokens makes it.
WEIGHTS = {Kind.LENGTH: 0.1, Kind.JOIN: 0.3, Kind.OPEN: 40, Kind.ENDING: 30, Kind.CLOSE: 40, Kind.UPBEAT: 0.5}


@cache
def weigh(vocabulary: Vocabulary) -> np.ndarray:
    return np.array(
        [WEIGHTS.get(token.kind, 1) * (4 if token.ticks >= TICKS_PER_WHOLE // 8 else 1) for token in vocabulary.tokens]
    )


def walk(grammar: Grammar, seed: int) -> tuple[list[int], list[int]]:
    """A random tune of the grammar: its ids and the clock beside each."""
    numbers = random.Random(seed)
    weights = weigh(grammar.vocabulary)
    state, ids, told = grammar.start(), [], []
    while state.phase is not Phase.DONE:
        sums = (weights * grammar.mask(state)).cumsum()
        assert sums[-1], f"dead end behind {[grammar.vocabulary.names[index] for index in ids[-12:]]}: {state}"
        ids.append(int(sums.searchsorted(numbers.random() * sums[-1], side="right")))
        grammar.advance(state, ids[-1])
        told.append(grammar.clock(state))
        assert len(ids) < 20_000
    return ids, told


def check_strictly(tune: Tune) -> None:
    """The rules of the printed page, checked on fractions by code that shares nothing with the grammar."""
    assert not tune.faults()
    full, bars = tune.metre.length, tune.bars
    sections: list[list[int]] = [[]]
    for index, bar in enumerate(bars):
        if bar.opens and sections[-1]:
            sections.append([])
        sections[-1].append(index)
        if bar.closes or bar.double:
            sections.append([])
    sections = [section for section in sections if section]
    upbeat = bars[0].length if bars[0].length < full and len(sections[0]) > 1 else Fraction(0)
    for section in sections:
        lengths = [bars[index].length for index in section]
        if bars[section[0]].ending:  # a later ending goes on where the first one began
            assert lengths[:-1] == [full] * (len(lengths) - 1)
        elif upbeat:
            assert lengths[0] == upbeat, "each section starts with the tune's upbeat"
            assert lengths[1:-1] == [full] * (len(lengths) - 2)
        else:
            assert lengths[:-1] == [full] * (len(lengths) - 1)
        assert lengths[-1] == full - upbeat, "each section ends with the complement"
    order = tune.play_order()
    assert set(order) == set(range(len(bars))), "every bar is played"


WISHES = [
    Wish(),
    *(Wish(metre=Metre(*metre), bars=8) for metre in ((2, 4), (3, 4), (4, 4), (6, 8), (9, 8), (5, 8), (7, 8), (12, 8))),
    *(Wish(bars=bars) for bars in (1, 2, 3, 70)),
    Wish(tonic=("E", -1), mode="major", metre=Metre(2, 2), bars=16),
    Wish(mode="phrygian", scale=(0, 1, 5, 7, 8), bars=8),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_every_walk_is_a_sound_tune(layout: str, wish: Wish) -> None:
    vocabulary = VOCABULARIES[layout]
    grammar = Grammar(vocabulary, wish)
    for seed in range(4):
        ids, told = walk(grammar, seed)
        tune = vocabulary.decode(ids)
        check_strictly(tune)
        assert clocks(vocabulary, ids) == told
        assert vocabulary.decode(vocabulary.encode(tune)) == tune


def test_the_wish_is_kept_in_every_note() -> None:
    wish = Wish(
        tonic=("D", 0), mode="phrygian", metre=Metre(4, 4), bars=12, scale=(0, 1, 5, 7, 8), lowest=60, highest=80
    )
    for seed in range(10):
        tune = VOCABULARIES["fused"].decode(walk(Grammar(VOCABULARIES["fused"], wish), seed)[0])
        assert (tune.key, tune.metre) == (Key("D", 0, "phrygian"), Metre(4, 4))
        pitches = [pitch for note in tune.notes() for pitch in note.pitches]
        assert pitches
        assert {(pitch.midi - 62) % 12 for pitch in pitches} <= {0, 1, 5, 7, 8}
        assert 60 <= min(pitch.midi for pitch in pitches) <= max(pitch.midi for pitch in pitches) <= 80


@pytest.mark.parametrize("bars", [1, 2, 5, 16, 70])
def test_the_asked_number_of_bars_is_met(bars: int) -> None:
    grammar = Grammar(VOCABULARIES["fused"], Wish(bars=bars))
    for seed in range(5):
        tune = VOCABULARIES["fused"].decode(walk(grammar, seed)[0])
        upbeats = sum(bar.length != tune.metre.length for bar in tune.bars)
        sections = sum(bool(bar.closes or bar.double) for bar in tune.bars[:-1]) + 1
        # With an upbeat each section has two short bars, of which one is no bar of its own;
        # a second ending has the complement alone.
        second_endings = sum(bar.ending == (2,) for bar in tune.bars)
        expected = bars + (sections - second_endings if upbeats else 0)
        assert len(tune.bars) == expected


@pytest.mark.parametrize("length", [40, 100, 400])
def test_the_asked_length_is_not_passed(length: int) -> None:
    grammar = Grammar(VOCABULARIES["fused"], Wish(length=length, metre=Metre(3, 4)))
    found = []
    for seed in range(12):
        ids, _ = walk(grammar, seed)
        check_strictly(VOCABULARIES["fused"].decode(ids))
        found.append(len(ids))
    assert max(found) <= length
    assert sorted(found)[len(found) // 2] >= 0.85 * length


def test_states_are_values() -> None:
    grammar = Grammar(VOCABULARIES["fused"], Wish(bars=4))
    state = grammar.start()
    for _ in range(6):
        grammar.advance(state, grammar.allowed(state)[0])
    fork = copy.copy(state)
    grammar.advance(fork, grammar.allowed(fork)[-1])
    assert fork != state
    assert state.taken == 6


def allowed_names(grammar: Grammar, text: str) -> set[str]:
    state = grammar.start()
    for name in text.split():
        index = grammar.vocabulary.ids[name]
        assert index in grammar.allowed(state), f"{name} is not allowed in {text}"
        grammar.advance(state, index)
    return {grammar.vocabulary.names[index] for index in grammar.allowed(state)}


HEAD = "<s> tonic:G mode:major metre:2/4 bars:4"


@pytest.mark.parametrize("opening", [f"{HEAD} upbeat:1/8 5@1/8 |", f"{HEAD} |: upbeat:1/8 5@1/8 |"])
def test_a_section_with_an_upbeat_ends_with_its_complement(opening: str) -> None:
    grammar = Grammar(VOCABULARIES["fused"])
    before = allowed_names(grammar, f"{opening} 1@1/4")
    assert not before & {"||", ":|", "|]", "|"}
    at_complement = allowed_names(grammar, f"{opening} 1@3/8")
    assert at_complement & {"||", ":|"} == ({":|"} if "|:" in opening else {"||"})
    full = allowed_names(grammar, f"{opening} 1@3/8 1@1/8")
    assert full & {"||", ":|", "|]", "|"} == {"|"}


def test_the_last_bar_must_end() -> None:
    grammar = Grammar(VOCABULARIES["fused"])
    bars = "1@1/2 | 1@1/2 | 1@1/2 |"
    assert allowed_names(grammar, f"{HEAD} {bars} 1@1/2") == {"|]", "join"}
    assert allowed_names(grammar, f"{HEAD} |: {bars} 1@1/2") == {":|", "join"}
    assert allowed_names(grammar, f"{HEAD} {bars} 1@1/2 |]") == {"</s>"}


def test_a_first_ending_leads_to_a_second() -> None:
    grammar = Grammar(VOCABULARIES["fused"])
    assert allowed_names(grammar, f"{HEAD} |: 1@1/2 | 1@1/2 | ending:1 1@1/2 :|") == {"ending:2"}
    assert "|]" in allowed_names(grammar, f"{HEAD} |: 1@1/2 | 1@1/2 | ending:1 1@1/2 :| ending:2 1@1/2")


def test_endings_are_short() -> None:
    grammar = Grammar(VOCABULARIES["fused"])
    head = f"{HEAD.replace('bars:4', 'bars:9')} |: 1@1/2 | 1@1/2 | ending:1 1@1/2"
    assert allowed_names(grammar, head) == {"|", ":|", "tie", "join"}
    assert allowed_names(grammar, f"{head} | 1@1/2") == {":|", "join"}
    assert allowed_names(grammar, f"{head} :| ending:2 1@1/2 | 1@1/2") == {"||", "join"}


def test_a_tie_leads_to_its_pitch() -> None:
    grammar = Grammar(VOCABULARIES["fused"])
    found = allowed_names(grammar, f"{HEAD} 3@1/2 tie | ")
    assert found
    assert all(name.startswith(("3@", "length:")) for name in found)


def test_a_tuplet_closes() -> None:
    grammar = Grammar(VOCABULARIES["fused"])
    found = allowed_names(grammar, f"{HEAD} 1@3/8 3@1/24")
    lengths = {name.split("@")[1] for name in found if "@" in name} | {
        name.split(":")[1] for name in found if name.startswith("length:")
    }
    assert lengths == {"1/48", "1/24", "1/12"}
    assert "|" not in found


def test_keys_that_nobody_writes_are_not_offered() -> None:
    grammar = Grammar(VOCABULARIES["fused"])
    assert "mode:major" not in allowed_names(grammar, "<s> tonic:G#")
    assert "mode:phrygian" in allowed_names(grammar, "<s> tonic:G#")
    assert "mode:none" not in allowed_names(grammar, "<s> tonic:C")


def test_clock_is_within_its_bounds() -> None:
    found = {
        clock_of(position, bar, left)
        for position in range(0, 5 * TICKS_PER_WHOLE, 105)
        for bar in range(20)
        for left in range(15)
    }
    assert found == set(range(CLOCKS))


def test_the_header_does_not_tell_how_long_the_tune_will_be() -> None:
    vocabulary = VOCABULARIES["fused"]
    for bars in (4, 30):
        ids, _ = walk(Grammar(vocabulary, Wish(bars=bars)), 1)
        assert clocks(vocabulary, ids)[:4] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bars": 8, "length": 100}, "--bars and --length exclude each other; name one of them"),
        ({"bars": 0}, "--bars: 0 bars; ask for 1 to 10000"),
        ({"length": 5}, "--length: 5 tokens; ask for 24 to 100000"),
        ({"lowest": 60, "highest": 65}, "a range of less than an octave; widen it"),
    ],
)
def test_senseless_wishes_are_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Wish(**values)
    assert str(caught.value) == message


def test_an_unknown_metre_is_refused() -> None:
    with pytest.raises(UsageError, match="--metre: no metre 13/16"):
        Wish(metre=Metre(13, 16))


def test_start_is_a_fresh_state() -> None:
    assert Grammar(VOCABULARIES["fused"]).start() == State()
