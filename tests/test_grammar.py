"""The grammar: along every path that its mask allows, what comes out is music that adds up."""

from __future__ import annotations

import copy
import random
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from checker import check_strictly, split_sections
from hypothesis import given, settings
from hypothesis import strategies

from hoyomusic.errors import UsageError
from hoyomusic.grammar import CLOCKS, FORMS, Grammar, Phase, Wish, clock_of, clocks
from hoyomusic.grammar.notes import CHOICES_WEIGHT, build_notes
from hoyomusic.tune import Bar, Key, Metre, Tune
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


@cache
def policies(vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """How much each id is liked by those who choose: at random, or as no composer would."""
    kinds = np.array([token.kind for token in vocabulary.tokens])
    ticks = np.array([token.ticks for token in vocabulary.tokens], float)
    timed = np.isin(kinds, [Kind.NOTE, Kind.LENGTH])
    signs = np.isin(kinds, [Kind.OPEN, Kind.ENDING, Kind.CLOSE, Kind.DOUBLE, Kind.UPBEAT])
    return {
        "random": weigh(vocabulary),
        "longest": np.where(timed, (1 + ticks) ** 6, 1),
        "shortest": np.where(timed, (1 + ticks) ** -6, 1e-20),
        "ties": np.where(kinds == Kind.TIE, 1e6, 1.0),
        "chords": np.where(kinds == Kind.JOIN, 1e6, 1.0),
        "tuplets": np.where(timed & (ticks % (TICKS_PER_WHOLE // 64) != 0), 1e6, 1.0),
        "signs": np.where(signs, 1e6, 1.0),
        # Each kind as often as any other, so that what is rare comes too.
        "rarest": 1 / np.bincount(kinds)[kinds],
    }


def walk(grammar: Grammar, seed: int, policy: str = "random") -> tuple[list[int], list[int]]:
    """A random tune of the grammar: its ids and the clock beside each."""
    numbers = random.Random(seed)
    weights = policies(grammar.vocabulary)[policy]
    state, ids, told = grammar.start(), [], []
    while state.phase is not Phase.DONE:
        allowed = grammar.mask(state).nonzero()[0]
        assert len(allowed), f"dead end behind {[grammar.vocabulary.names[index] for index in ids[-12:]]}: {state}"
        ids += numbers.choices(allowed.tolist(), weights[allowed].tolist())
        grammar.advance(state, ids[-1])
        told.append(grammar.clock(state))
        assert len(ids) < 40_000
    return ids, told


def check_walk(grammar: Grammar, seed: int, policy: str = "random") -> Tune:
    """Walk once and check what must hold for every wish."""
    vocabulary, wish = grammar.vocabulary, grammar.wish
    ids, told = walk(grammar, seed, policy)
    tune = vocabulary.decode(ids)
    check_strictly(tune, bars=wish.bars, form=wish.form, finals=wish.finals)
    assert clocks(vocabulary, ids) == told
    written = vocabulary.encode(tune)
    if wish.length is not None:
        assert 0.9 * wish.length <= len(ids) <= wish.length
        written[4] = ids[4]  # the header of a long tune could not know its number of bars
    assert written == ids
    return tune


METRES = ((2, 4), (3, 4), (4, 4), (6, 8), (9, 8), (5, 8), (7, 8), (12, 8))
WISHES = [
    Wish(),
    *(Wish(metre=Metre(*metre), bars=8) for metre in METRES),
    *(Wish(bars=bars) for bars in (1, 2, 3, 70)),
    Wish(tonic=("E", -1), mode="major", metre=Metre(2, 2), bars=16),
    Wish(mode="phrygian", scale=(0, 1, 5, 7, 8), bars=8),
    *(Wish(form=form) for form in FORMS),
    *(Wish(form=form, bars=bars) for form, bars in (("AABB", 2), ("AABB", 13), ("AABA", 3), ("AABA", 24))),
    *(Wish(form=form, length=200) for form in FORMS),
    Wish(length=24),
    Wish(length=100, metre=Metre(4, 1)),
    Wish(length=150, metre=Metre(12, 8)),
    Wish(form="AABA", bars=12, finals=(0,)),
    Wish(bars=6, finals=(7, 9), scale=(0, 2, 4, 7, 9), lowest=60, highest=72),
    Wish(length=120, finals=(4,), lowest=76, highest=96),
    Wish(bars=24, changes=True),
    Wish(length=300, changes=True),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_every_walk_is_a_sound_tune(layout: str, wish: Wish) -> None:
    grammar = Grammar(VOCABULARIES[layout], wish)
    for seed in range(2):
        check_walk(grammar, seed)


@pytest.mark.parametrize("policy", policies(VOCABULARIES["fused"]))
@pytest.mark.parametrize("form", [None, *FORMS])
@pytest.mark.parametrize("asked", [{"bars": 5}, {"length": 100}, {"length": 160}], ids=str)
def test_no_player_breaks_it(policy: str, form: str | None, asked: dict[str, int]) -> None:
    for seed, metre in enumerate([(3, 4), (12, 8)] if "bars" in asked else [(3, 4), (12, 8), (4, 1)]):
        wish = Wish(form=form, metre=Metre(*metre), finals=(0, 7) if seed else None, **asked)
        check_walk(Grammar(VOCABULARIES["fused"], wish), seed, policy)


@settings(max_examples=40, deadline=None)
@given(
    layout=strategies.sampled_from(LAYOUTS),
    policy=strategies.sampled_from(sorted(policies(VOCABULARIES["fused"]))),
    metre=strategies.none() | strategies.sampled_from(METRES),
    asked=strategies.one_of(
        strategies.fixed_dictionaries({"length": strategies.integers(48, 400)}),
        strategies.fixed_dictionaries({"bars": strategies.integers(3, 20)}),
    ),
    form=strategies.none() | strategies.sampled_from(sorted(FORMS)),
    finals=strategies.none() | strategies.tuples(strategies.integers(0, 11)),
    changes=strategies.booleans(),
    seed=strategies.integers(0, 2**16),
)
def test_any_wish_is_granted(layout, policy, metre, asked, form, finals, changes, seed) -> None:
    wish = Wish(metre=metre and Metre(*metre), form=form, finals=finals, changes=changes, **asked)
    check_walk(Grammar(VOCABULARIES[layout], wish), seed, policy)


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


def test_changes_are_made_unless_the_wish_forbids_them() -> None:
    vocabulary = VOCABULARIES["fused"]

    def bars_of(**named: object) -> list[Bar]:
        grammar = Grammar(vocabulary, Wish(bars=24, changes=True, **named))
        return [bar for seed in range(4) for bar in check_walk(grammar, seed, "rarest").bars]

    free = bars_of()
    assert any(bar.metre for bar in free)
    assert any(bar.key for bar in free)
    named = bars_of(metre=Metre(3, 4), mode="dorian")
    assert not any(bar.metre for bar in named)
    assert {bar.key.mode for bar in named if bar.key} == {"dorian"}
    assert not any(bar.key for bar in bars_of(metre=Metre(3, 4), tonic=("D", 0), mode="dorian"))


@pytest.mark.parametrize("form", ["AABB", "AABA"])
def test_the_model_measures_sections_in_phrases(form: str) -> None:
    for seed in range(4):
        tune = check_walk(Grammar(VOCABULARIES["fused"], Wish(form=form, metre=Metre(2, 4))), seed)
        sections = split_sections(tune)
        written = [len(section) - (tune.bars[section[0]].length < Fraction(1, 2)) for section in sections]
        if not any(bar.ending for bar in tune.bars):
            assert all(bars % 4 == 0 for bars in written)


def test_bars_are_shared_out_among_sections() -> None:
    for form, bars, expected in (("AABB", 16, [8, 8]), ("AABB", 14, [8, 6]), ("AABA", 24, [8, 8, 8])):
        grammar = Grammar(VOCABULARIES["fused"], Wish(form=form, bars=bars, metre=Metre(2, 4)))
        for seed in range(3):
            sections = split_sections(check_walk(grammar, seed, "longest"))
            assert [len(section) for section in sections] == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_return_says_again_what_the_first_section_said(layout: str) -> None:
    grammar = Grammar(VOCABULARIES[layout], Wish(form="AABA", bars=3))
    for seed in range(3):
        check_walk(grammar, seed)


def test_a_return_leaves_out_a_length_that_is_in_force() -> None:
    grammar = Grammar(VOCABULARIES["sticky"], Wish(form="AABA", bars=3))
    head = "<s> tonic:G mode:major metre:2/4 bars:3 |: length:1/2 pitch:1 :|"
    assert allowed_names(grammar, f"{head} length:1/4 pitch:2 pitch:2 ||") == {"length:1/2"}
    assert allowed_names(grammar, f"{head} pitch:2 ||") == {"pitch:1"}
    assert allowed_names(grammar, f"{head} pitch:2 || pitch:1") == {"|]"}
    assert allowed_names(grammar, f"{head} pitch:2 || pitch:1 |]") == {"</s>"}


def test_a_tune_ends_on_its_finals() -> None:
    grammar = Grammar(VOCABULARIES["fused"], Wish(bars=1, finals=(0,), metre=Metre(2, 4)))
    head = "<s> tonic:G mode:major metre:2/4 bars:1"
    for place, length in ((head, "1/2"), (f"{head} 5@1/4", "1/4"), (f"{head} 2@1/4 tie 2@1/8", "1/8")):
        last = {name for name in allowed_names(grammar, place) if name.endswith(f"@{length}")}
        assert last == {f"{name}@{length}" for name in ("1,", "1", "1'")}
    tied = allowed_names(grammar, f"{head} 2@1/4 tie")
    assert "2@1/8" in tied
    assert "2@1/4" not in tied
    assert {"|]", "join"} == allowed_names(grammar, f"{head} 1@1/2")
    assert allowed_names(grammar, f"{head} 1@1/2 join") == {"pitch:1'"}


def test_no_section_begins_just_before_the_end() -> None:
    grammar = Grammar(VOCABULARIES["fused"])
    four = " | ".join(["1@1/2"] * 4)
    assert "||" in allowed_names(grammar, f"{LONG} {four}")
    assert "||" not in allowed_names(grammar, f"{LONG} {four} | 1@1/2")
    assert "ending:1" not in allowed_names(grammar, f"{LONG} |: 1@1/2 | 1@1/2 | 1@1/2 |")
    assert "ending:1" in allowed_names(grammar, f"{LONG} |: 1@1/2 | 1@1/2 |")


@pytest.mark.parametrize("asked", ["bars", "length"])
def test_any_bars_can_be_gone_on_from(asked: str) -> None:
    """Music that this wish would not have allowed: another range, more bars, more tokens than a bar's share."""
    vocabulary = VOCABULARIES["fused"]
    for seed in range(30):
        elsewhere = Grammar(vocabulary, Wish(bars=8, metre=Metre(2, 4)))
        ids = walk(elsewhere, seed, ("tuplets", "signs", "longest")[seed % 3])[0]
        numbers = random.Random(seed)
        prime = ids[: numbers.randrange(6, min(len(ids) - 2, 150))]
        grammar = Grammar(vocabulary, Wish(lowest=60, highest=74, finals=(0,), **{asked: len(prime) + 24}))
        state = grammar.start()
        for index in prime:
            grammar.advance(state, index)
        while state.phase is not Phase.DONE:
            grammar.advance(state, numbers.choice(grammar.allowed(state)))
            assert state.taken < 50_000


def test_a_batch_is_stepped_like_its_tunes() -> None:
    grammar = Grammar(VOCABULARIES["fused"], Wish(bars=4, form="AABA"))
    tunes = [walk(grammar, seed)[0] for seed in range(5)]
    states, alone = [grammar.start() for _ in tunes], [grammar.start() for _ in tunes]
    for ids in zip(*tunes, strict=False):
        grammar.advance_all(states, np.array(ids))
        for state, index in zip(alone, ids, strict=True):
            grammar.advance(state, index)
        assert states == alone
        masks = grammar.masks(states)
        assert (masks == np.stack([grammar.mask(state) for state in alone])).all()
        assert [grammar.choices(state).tolist() for state in states] == [np.flatnonzero(row).tolist() for row in masks]


def test_tables_are_bounded_and_may_be_renewed_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    grammar = Grammar(VOCABULARIES["fused"], Wish(length=200))
    expected = walk(grammar, 3)
    monkeypatch.setattr("hoyomusic.grammar.notes.MOST_KEPT", 50)
    assert walk(grammar, 3) == expected
    assert build_notes(VOCABULARIES["fused"]).store.kept < 50 + 2 + CHOICES_WEIGHT
    states = [grammar.start() for _ in range(8)]
    for step in range(80):
        masks = grammar.masks(states)
        assert (masks == np.stack([grammar.mask(state) for state in states])).all()
        choices = [mask.nonzero()[0] for mask in masks]
        grammar.advance_all(states, [ids[(7 * step + row) % len(ids)] for row, ids in enumerate(choices)])


def test_states_are_values() -> None:
    grammar = Grammar(VOCABULARIES["fused"], Wish(bars=4))
    state = grammar.start()
    for _ in range(6):
        grammar.advance(state, grammar.allowed(state)[0])
    fork = copy.copy(state)
    grammar.advance(fork, grammar.allowed(fork)[-1])
    assert fork != state
    assert state.taken == 6
    assert grammar.start() == grammar.start()


def allowed_names(grammar: Grammar, text: str) -> set[str]:
    state = grammar.start()
    for name in text.split():
        index = grammar.vocabulary.ids[name]
        assert index in grammar.allowed(state), f"{name} is not allowed in {text}"
        grammar.advance(state, index)
    return {grammar.vocabulary.names[index] for index in grammar.allowed(state)}


HEAD = "<s> tonic:G mode:major metre:2/4 bars:4"
LONG = "<s> tonic:G mode:major metre:2/4 bars:8"


@pytest.mark.parametrize("opening", [f"{LONG} upbeat:1/8 5@1/8 |", f"{LONG} |: upbeat:1/8 5@1/8 |"])
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


def test_a_plain_bar_line_stands_before_a_repeat() -> None:
    """The reader knows no double bar in front of a repeat, which says as much; nor does the grammar write one."""
    grammar = Grammar(VOCABULARIES["fused"])
    head = f"{HEAD.replace('bars:4', 'bars:9')} 1@1/2"
    assert "|:" in allowed_names(grammar, f"{head} |")
    assert "|:" not in allowed_names(grammar, f"{head} ||")
    assert "|:" in allowed_names(grammar, f"{head.replace(' 1@', ' |: 1@')} :|")
    assert "|:" not in allowed_names(grammar, f"{head.replace(' 1@', ' |: 1@')} |")
    ending = f"{head.replace(' 1@', ' |: 1@')} | ending:1 1@1/2 :| ending:2 1@1/2"
    for sign in ("|", "||"):  # only a double bar says plainly where a second ending ends
        assert "|:" not in allowed_names(grammar, f"{ending} {sign}")


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
        ({"lowest": 60, "highest": 65}, "--range: a range of less than an octave; widen it"),
        ({"form": "ABC"}, "--form: there is no form 'ABC'; choose one of AABB, AABA, through"),
        ({"form": "AABA", "bars": 2}, "--bars: 2 bars are too few for AABA; ask for 3 or more"),
        ({"form": "AABB", "length": 30}, "--length: 30 tokens are too few for AABB; ask for 32 or more"),
        ({"finals": ()}, "finals are semitones above the tonic; name one or more from 0 to 11"),
        ({"finals": (12,)}, "finals are semitones above the tonic; name one or more from 0 to 11"),
        ({"finals": (1,), "scale": (0, 2, 4)}, "none of the finals is in the scale; name one that is"),
    ],
)
def test_senseless_wishes_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Wish(**values)
    assert str(caught.value) == message


def test_an_unknown_metre_is_refused() -> None:
    with pytest.raises(UsageError, match="--metre: no metre 13/16"):
        Wish(metre=Metre(13, 16))
