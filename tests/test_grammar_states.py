"""No dead end: every state of the automaton that can be reached allows an id and leads to a tune's end.

Without an asked length the automaton reads no count of tokens, so that a state is its place within the bar and the
counters of bars and sections; there are finitely many, since the bars are counted down. With an asked length the
tokens that were taken belong to the state; they are finitely many too. Left out is what no rule reads: what the first
section of an AABA says (its return takes one id after another, whatever they are), and the pitch of the last note
where neither tie nor chord may follow. Ids that lead to the same place (`Tones.alike`) are followed once.

The walks use vocabularies of few pitches and lengths; one that is marked slow has all lengths.
"""

from __future__ import annotations

import copy
from dataclasses import fields
from fractions import Fraction
from functools import cache

import pytest

from hoyomusic.grammar import Grammar, Phase, State, Wish
from hoyomusic.grammar.notes import AMPLE, build_notes
from hoyomusic.grammar.rhythm import has_between
from hoyomusic.grammar.tables import GRID
from hoyomusic.tune import Metre
from hoyomusic.vocab import LAYOUTS, Vocabulary
from hoyomusic.vocab.tokens import LENGTHS, TICKS_PER_WHOLE, Kind, Relative, list_names, parse_token

FEW = ("1/16", "1/8", "1/4", "1/2", "1/24")
PITCHES = (None, (0, 0), (4, 0), (9, 1))  # of which one is fused only at common lengths


def build_small(
    layout: str,
    lengths: tuple[str, ...],
    *,
    pitches: tuple[Relative, ...] = PITCHES,
    upbeats: tuple[str, ...] = ("1/8",),
    metres: tuple[str, ...] = (),
) -> Vocabulary:
    """A vocabulary of few pitches, lengths, upbeats and key notes."""
    ticks = {int(Fraction(length) * TICKS_PER_WHOLE) for length in lengths}
    kept = []
    for name in list_names(layout):
        token = parse_token(name)
        if token.kind in (Kind.NOTE, Kind.LENGTH) and token.ticks not in ticks:
            continue
        if token.kind in (Kind.NOTE, Kind.PITCH) and token.value not in pitches:
            continue
        if token.kind is Kind.UPBEAT and name.partition(":")[2] not in upbeats:
            continue
        if (token.kind is Kind.TONIC and name not in ("tonic:C", "tonic:D")) or (
            token.kind is Kind.MODE and name not in ("mode:major", "mode:minor")
        ):
            continue
        if token.kind is Kind.METRE and metres and name.partition(":")[2] not in metres:
            continue
        kept.append(name)
    return Vocabulary(kept, layout)


UNREAD = {"taken", "tokens_at_body", "first_tokens", "trail", "returning", "last", "watched", "node"}


def identify(grammar: Grammar, state: State) -> tuple:
    """All of a state that any rule reads."""
    place = state.node.place
    told = [getattr(state, field.name) for field in fields(State) if field.name not in UNREAD]
    if place.chord or place.ties:
        told.append(grammar.vocabulary.tokens[state.last].value)
    if grammar.wish.length is not None:
        told += [state.taken, state.tokens_at_body, state.first_tokens]
    return place, *told


def explore(grammar: Grammar) -> int:
    """Walk all states; returns how many there are."""
    start = grammar.start()
    numbers = {identify(grammar, start): 0}
    sources: list[list[int]] = [[]]
    ends, todo = [], [start]
    while todo:
        state = todo.pop()
        number = numbers[identify(grammar, state)]
        if state.phase is Phase.DONE:
            ends.append(number)
            length = grammar.wish.length
            assert length is None or 0.9 * length <= state.taken <= length
            continue
        allowed = grammar.allowed(state)
        assert allowed, f"a dead end: {state} {state.node.place}"
        alike = state.node.alike
        for index in {alike[index] if alike else index for index in allowed}:
            following = copy.copy(state)
            grammar.advance(following, index)
            key = identify(grammar, following)
            if key not in numbers:
                numbers[key] = len(numbers)
                sources.append([])
                todo.append(following)
            sources[numbers[key]].append(number)
    reached, todo = set(ends), list(ends)
    while todo:
        for source in sources[todo.pop()]:
            if source not in reached:
                reached.add(source)
                todo.append(source)
    assert len(reached) == len(numbers), "from every state a tune can end"
    return len(numbers)


METRES = ("2/4", "3/4", "4/4", "6/8", "9/8", "5/8", "7/8", "12/8")


def metre_of(name: str) -> Metre:
    return Metre(*map(int, name.split("/")))


@pytest.mark.parametrize("metre", METRES)
def test_no_dead_end_in_any_metre(metre: str) -> None:
    grammar = Grammar(build_small("fused", FEW), Wish(tonic=("C", 0), mode="major", metre=metre_of(metre), bars=2))
    assert explore(grammar) > 100


@pytest.mark.parametrize(
    "wish",
    [
        {"form": "AABB", "bars": 5},
        {"form": "AABA", "bars": 4},
        {"form": "through", "bars": 3},
        {"bars": 6},
        {"bars": 3, "finals": (0,)},
        {"bars": 4, "form": "AABA", "finals": (7,)},
        {"bars": 3, "finals": (0, 7), "scale": (0, 2, 4, 7, 9), "lowest": 60, "highest": 72},
        {"length": 26},
        {"length": 30, "finals": (0,)},
        {"length": 34, "form": "AABB"},
        {"length": 26, "form": "through"},
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_dead_end_in_any_wish(layout: str, wish: dict) -> None:
    grammar = Grammar(
        build_small(layout, FEW), Wish(tonic=("C", 0), mode="major", metre=Metre(1, 4), **wish)
    )
    assert explore(grammar) > 100


def test_no_dead_end_with_changes() -> None:
    vocabulary = build_small("fused", FEW, metres=("1/4", "3/8"))
    assert explore(Grammar(vocabulary, Wish(metre=Metre(1, 4), bars=5, changes=True))) > 100
    assert explore(Grammar(vocabulary, Wish(tonic=("C", 0), mode="major", bars=5, changes=True))) > 100


@pytest.mark.slow
@pytest.mark.parametrize("wish", [{}, {"finals": (0,)}], ids=str)
@pytest.mark.parametrize("metre", ["2/4", "3/4", "5/8", "6/8"])
def test_no_dead_end_with_all_lengths(metre: str, wish: dict) -> None:
    vocabulary = build_small("fused", tuple(map(str, LENGTHS)))
    grammar = Grammar(vocabulary, Wish(tonic=("C", 0), mode="major", metre=metre_of(metre), bars=1, **wish))
    assert explore(grammar) > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("form", "length"), [(None, 50), ("AABB", 88), ("AABA", 108), ("through", 60)])
def test_no_dead_end_where_bars_are_forecast(form: str | None, length: int) -> None:
    """Tunes so long that their header does not tell their bars."""
    vocabulary = build_small("fused", ("1/16", "1/8", "1/4"), pitches=(None, (0, 0)), upbeats=())
    grammar = Grammar(vocabulary, Wish(tonic=("C", 0), mode="major", metre=Metre(1, 4), length=length, form=form))
    state = grammar.start()
    for name in ("<s>", "tonic:C", "mode:major", "metre:1/4"):
        grammar.advance(state, vocabulary.ids[name])
    assert grammar.allowed(state) == [vocabulary.ids["bars:more"]]
    assert explore(grammar) > 10_000


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_ample_is_enough(layout: str) -> None:
    """Behind any length that fits, the rest of a bar needs so few tokens that AMPLE leaves a choice of all."""
    rhythm = build_notes(Vocabulary.build(layout)).rhythm
    seen, todo = set(), [(ticks, 0, 0) for ticks in range(GRID, TICKS_PER_WHOLE + 1, GRID)]
    while todo:
        room, tuplet, done = todo.pop()
        if (room, tuplet, done) in seen:
            continue
        seen.add((room, tuplet, done))
        for length in rhythm.fitting(room, tuplet, done):
            rest = (room - length, *rhythm.follow(tuplet, done, length))
            counts = rhythm.counts(*rest, 0, None)
            fewest = (counts & -counts).bit_length() - 1
            # The note itself, a tie, a tied note of two tokens, a last note that must stand alone.
            assert fewest + 2 + 1 + 1 + 2 <= AMPLE
            todo.append(rest)
    assert len(seen) > 1000


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_three_numbers_of_tokens_hold_one_that_fills_a_bar(layout: str) -> None:
    """Between what a bar needs and what it is trusted to take: so the last bar can meet a tenth of any length."""
    rhythm = build_notes(Vocabulary.build(layout)).rhythm
    for ticks in range(4 * GRID, 4 * TICKS_PER_WHOLE + 1, GRID):
        for least in range(2 * rhythm.fewest(ticks) - 1, ticks // GRID - 1):
            assert has_between(rhythm.counts(ticks, 0, 0, 0, None), least, least + 2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_counts_are_those_of_all_fillings(layout: str) -> None:
    """By their definition: every length that fits, one after the other, at the tokens that it costs."""
    vocabulary = Vocabulary.build(layout)
    notes = build_notes(vocabulary)
    rhythm = notes.rhythm
    final = (4, 0)
    tones = notes.tones("major", frozenset({(0, 0), final}), frozenset({final}))
    costs = {
        ticks: 1 if f"z@{Fraction(ticks, TICKS_PER_WHOLE)}" in vocabulary.ids else 2 for ticks in notes.tables.lengths
    }
    last_costs = {
        ticks: 1 if f"5@{Fraction(ticks, TICKS_PER_WHOLE)}" in vocabulary.ids else 2 for ticks in notes.tables.lengths
    }

    @cache
    def count(room: int, tuplet: int, done: int, in_force: int, ends: bool) -> frozenset[int]:
        if not room:
            return frozenset({0})
        found: set[int] = set()
        for length in rhythm.fitting(room, tuplet, done):
            if not tuplet and length % GRID:
                continue  # another tuplet is not counted
            cost = last_costs[length] if ends and length == room else costs[length]
            if layout == "sticky":
                cost = 1 if length == in_force else 2
            behind = count(room - length, *rhythm.follow(tuplet, done, length), length, ends)
            found |= {cost + tokens for tokens in behind}
        return frozenset(found)

    whole = Fraction(TICKS_PER_WHOLE)
    places = [(ticks, 0, 0) for ticks in range(GRID, TICKS_PER_WHOLE // 2, GRID)]
    for tuplet in (whole / 12, whole / 24, whole / 20, whole / 28):
        places += [(ticks, int(tuplet), int(tuplet)) for ticks in range(int(tuplet), int(12 * tuplet), int(tuplet / 2))]
    for place in places:
        for ends in (False, True):
            in_force = TICKS_PER_WHOLE // 8
            bits = rhythm.counts(*place, in_force, tones if ends else None)
            assert {bit for bit in range(bits.bit_length()) if bits >> bit & 1} == count(*place, in_force, ends)
