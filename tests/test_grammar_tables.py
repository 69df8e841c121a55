"""What the grammar looks up in bits is what its definitions say token by token."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.grammar import Grammar, Wish
from hoyomusic.grammar.notes import build_notes
from hoyomusic.grammar.rhythm import has_between
from hoyomusic.grammar.tables import CHORD_SPAN, Tones, degrees_above, pitches_within, sounding
from hoyomusic.tune import LETTERS, MODE_FIFTHS, Key, Metre
from hoyomusic.vocab import LAYOUTS, Vocabulary
from hoyomusic.vocab.tokens import Kind

VOCABULARIES = {layout: Vocabulary.build(layout) for layout in LAYOUTS}
KEYS = st.tuples(st.sampled_from(LETTERS), st.integers(-1, 1))
PENTATONIC = (0, 2, 4, 7, 9)


def bits(mask: int) -> set[int]:
    return {index for index in range(mask.bit_length()) if mask >> index & 1}


@given(tonic=KEYS, mode=st.sampled_from(sorted(MODE_FIFTHS)))
@settings(deadline=None, max_examples=60)
def test_degrees_lie_where_they_sound(tonic: tuple[str, int], mode: str) -> None:
    key = Key(*tonic, mode)
    for step in range(-14, 25):
        above = 12 * (step // 7) + degrees_above(tonic, mode)[step % 7]
        assert key.tonic_pitch.midi + above == sounding(key, (step, 0))


@given(
    tonic=KEYS, mode=st.sampled_from(sorted(MODE_FIFTHS)), scale=st.none() | st.just(PENTATONIC),
    lowest=st.integers(40, 70), span=st.integers(12, 40),
)  # fmt: skip
@settings(deadline=None, max_examples=40)
def test_pitches_within_sound_within(
    tonic: tuple[str, int], mode: str, scale: tuple[int, ...] | None, lowest: int, span: int
) -> None:
    key = Key(*tonic, mode)
    found = pitches_within(VOCABULARIES["fused"], tonic, mode, scale, lowest, lowest + span)
    sounds = [sounding(key, pitch) for pitch in found]
    assert all(lowest <= midi <= lowest + span for midi in sounds)
    if scale is None:
        assert {(step, 0) for step in range(-14, 25) if lowest <= sounding(key, (step, 0)) <= lowest + span} <= found
    else:
        assert len(set(sounds)) == len(sounds)
        assert all((midi - key.tonic_pitch.midi) % 12 in scale for midi in sounds)


def build_tones(layout: str) -> Tones:
    pitches = pitches_within(VOCABULARIES[layout], ("D", 0), "dorian", None, 55, 81)
    return Tones(build_notes(VOCABULARIES[layout]).tables, "dorian", pitches, frozenset({(0, 0), (4, 0), (11, 0)}))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_joins_are_the_pitches_within_a_chord_above(layout: str) -> None:
    tones, vocabulary = build_tones(layout), VOCABULARIES[layout]
    key = Key("D", 0, "dorian")
    allowed = {final: tones.finals if final else tones.pitches(0, None, False) for final in (False, True)}
    for lowest in vocabulary.pitches:
        for final in (False, True):
            above = {
                index
                for index, token in enumerate(vocabulary.tokens)
                if token.kind is Kind.PITCH
                and token.value is not None
                and (token.value in tones.finals if final else allowed[False] >> index & 1)
                and 0 < sounding(key, token.value) - sounding(key, lowest) <= CHORD_SPAN
            }
            assert bits(tones.joins(lowest, final)) == above
            assert tones.can_join(lowest, final) == bool(above)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_notes_are_said_as_the_vocabulary_says_them(layout: str) -> None:
    tones, vocabulary = build_tones(layout), VOCABULARIES[layout]
    names, pitches = vocabulary.names, {None, *pitches_within(vocabulary, ("D", 0), "dorian", None, 55, 81)}
    fused = {(token.value, token.ticks) for token in vocabulary.tokens if token.kind is Kind.NOTE}
    for tied, final in ((None, False), (None, True), ((4, 0), False), ((4, 0), True), ((3, 0), True)):
        chosen = tones.finals if final else pitches
        if tied is not None:
            chosen = chosen & {tied}
        found = bits(tones.notes(tied, final))
        for index, token in enumerate(vocabulary.tokens):
            if token.kind is Kind.NOTE:
                assert (index in found) == (token.value in chosen), names[index]
            elif token.kind is Kind.LENGTH:
                apart = {pitch for pitch in chosen if (pitch, token.ticks) not in fused}
                assert (index in found) == bool(apart), names[index]
                behind = {vocabulary.tokens[each].value for each in bits(tones.pitches(token.ticks, tied, final))}
                assert behind == apart, names[index]


def test_ids_are_alike_that_differ_in_nothing_that_matters_behind_them() -> None:
    tones, vocabulary = build_tones("fused"), VOCABULARIES["fused"]
    lengths = {pitch: set() for pitch in (None, *vocabulary.pitches)}
    for token in vocabulary.tokens:
        if token.kind is Kind.NOTE:
            lengths[token.value].add(token.ticks)
    first: dict[tuple, int] = {}
    for index, token in enumerate(vocabulary.tokens):
        what: tuple = (index,)
        if token.kind in (Kind.NOTE, Kind.PITCH):
            pitch = token.value
            like = pitch and (
                pitch in tones.finals,
                tones.can_join(pitch, False),
                tones.can_join(pitch, True),
                frozenset(lengths[pitch]),
            )
            what = token.kind, token.ticks, like
        assert tones.alike[index] == first.setdefault(what, index)


@given(counts=st.integers(0, 2**12), least=st.integers(-3, 12), most=st.integers(-3, 14))
def test_bits_between_are_counted_one_by_one(counts: int, least: int, most: int) -> None:
    assert has_between(counts, least, most) == any(counts >> bit & 1 for bit in range(max(least, 0), most + 1))


def test_tunes_with_other_ends_share_the_places_before_them() -> None:
    vocabulary = VOCABULARIES["fused"]
    wish = {"metre": Metre(2, 4), "bars": 4, "form": "through"}
    grammars = [Grammar(vocabulary, Wish(finals=finals, **wish)) for finals in (None, (0,), (0, 7))]
    states = [grammar.start() for grammar in grammars]
    shared = []
    for name in "<s> tonic:G mode:major metre:2/4 bars:4 1@1/2 | 1@1/2 | 1@1/2 | 1@1/4 1@1/4 |] </s>".split():
        for grammar, state in zip(grammars, states, strict=True):
            assert vocabulary.ids[name] in grammar.allowed(state)
            grammar.advance(state, vocabulary.ids[name])
        shared.append(len({id(state.node) for state in states}) == 1)
    # Only the last bar, which asks for a note to end on, is another for each.
    assert shared == [True] * 10 + [False] * 3 + [True] * 2
