"""`Vocabulary`: every tune it can say comes back the same; what it cannot say is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.corpus import load_corpus
from hoyomusic.errors import VocabularyError
from hoyomusic.tune import MODE_FIFTHS, Bar, Key, Metre, Note, Pitch, Tune, height
from hoyomusic.vocab import LAYOUTS, Vocabulary, count_bars, find_upbeats
from hoyomusic.vocab.tokens import (
    FUSED_LENGTHS,
    LENGTHS,
    METRES,
    TICKS_PER_WHOLE,
    UPBEATS,
    Kind,
    Token,
    name_relative,
    parse_relative,
    parse_token,
)

QUARTER = Fraction(1, 4)
VOCABULARIES = {layout: Vocabulary.build(layout) for layout in LAYOUTS}


def note(name: str, octave: int = 4, accidental: int = 0, length: Fraction = QUARTER, tied: bool = False) -> Note:
    pitch = Pitch(name, accidental, octave)
    return Note((pitch,), length, (pitch,) if tied else ())


def tune_of(*bars: Bar, key: Key = Key("D"), metre: Metre = Metre(3, 4)) -> Tune:
    return Tune(key, metre, bars)


def names(vocabulary: Vocabulary, tune: Tune) -> str:
    return " ".join(vocabulary.names[index] for index in vocabulary.encode(tune))


def test_each_layout_writes_lengths_its_own_way() -> None:
    tune = tune_of(Bar((note("D"), note("F", accidental=1), note("A", length=Fraction(5, 16)))))
    head = "<s> tonic:D mode:major metre:3/4 bars:1"
    assert names(VOCABULARIES["fused"], tune) == f"{head} 1@1/4 3@1/4 length:5/16 pitch:5 |] </s>"
    assert names(VOCABULARIES["sticky"], tune) == f"{head} length:1/4 pitch:1 pitch:3 length:5/16 pitch:5 |] </s>"
    assert (
        names(VOCABULARIES["split"], tune)
        == f"{head} length:1/4 pitch:1 length:1/4 pitch:3 length:5/16 pitch:5 |] </s>"
    )


def test_form_chords_and_ties_have_tokens() -> None:
    chord = Note((Pitch("D", 0, 4), Pitch("A", 0, 4)), QUARTER)
    tune = tune_of(
        Bar((note("A"),), opens=True),
        Bar((chord, note("F", accidental=1, tied=True), note("F", accidental=1))),
        Bar((note("G"), Note((), QUARTER)), ending=(1,), closes=2),
        Bar((note("D"), note("D")), ending=(2,)),
    )
    assert names(VOCABULARIES["fused"], tune) == (
        "<s> tonic:D mode:major metre:3/4 bars:3 |: upbeat:1/4 5@1/4 | 1@1/4 join pitch:5 3@1/4 tie 3@1/4 | "
        "ending:1 4@1/4 z@1/4 :| ending:2 1@1/4 1@1/4 |] </s>"
    )


def test_transposition_changes_one_token() -> None:
    tune = tune_of(Bar((note("D"), note("F", accidental=1), note("C", accidental=0, octave=5))))
    vocabulary = VOCABULARIES["fused"]
    here, there = vocabulary.encode(tune), vocabulary.encode(tune.transposed_to("F"))
    assert [vocabulary.names[index] for index, other in zip(here, there, strict=True) if index != other] == ["tonic:D"]


def test_changes_of_key_and_metre_hold_from_their_bar() -> None:
    tune = tune_of(
        Bar((note("D", length=Fraction(3, 4)),)),
        Bar((note("B", accidental=-1, length=Fraction(1, 2)),), metre=Metre(2, 4), key=Key("G", 0, "minor")),
    )
    for vocabulary in VOCABULARIES.values():
        assert vocabulary.decode(vocabulary.encode(tune)) == tune
    assert "metre:2/4 tonic:G mode:minor 3@1/2" in names(VOCABULARIES["fused"], tune)


lengths = st.sampled_from(LENGTHS)
keys = (
    st.tuples(st.sampled_from("CDEFGAB"), st.sampled_from((-1, 0, 1)), st.sampled_from(sorted(MODE_FIFTHS)))
    .map(lambda parts: Key(*parts))
    .filter(lambda key: abs(key.fifths) <= 7)
)
pitches = st.builds(Pitch, st.sampled_from("CDEFGAB"), st.sampled_from((-1, 0, 1)), st.integers(3, 6))


@st.composite
def notes(draw: st.DrawFn) -> Note:
    found = tuple(sorted(draw(st.lists(pitches, max_size=3, unique_by=lambda pitch: pitch.midi)), key=height))
    return Note(found, draw(lengths), found if found and draw(st.booleans()) else ())


@st.composite
def tunes(draw: st.DrawFn) -> Tune:
    metre = Metre(*draw(st.sampled_from(METRES)))
    bars = []
    for _ in range(draw(st.integers(1, 5))):
        closes = draw(st.sampled_from((0, 0, 2, 3)))
        bars.append(
            Bar(
                tuple(draw(st.lists(notes(), min_size=1, max_size=5))),
                opens=draw(st.booleans()),
                closes=closes,
                ending=draw(st.sampled_from(((), (), (1,), (2,), (1, 3)))),
                double=not closes and draw(st.booleans()),
                metre=draw(st.none() | st.just(Metre(3, 4))),
                key=draw(st.none() | keys),
            )
        )
    bars[-1] = replace(bars[-1], double=False)
    return Tune(draw(keys), metre, tuple(bars))


@settings(deadline=None, max_examples=200)
@given(tunes(), st.sampled_from(LAYOUTS))
def test_decode_inverts_encode(tune: Tune, layout: str) -> None:
    vocabulary = VOCABULARIES[layout]
    try:
        ids = vocabulary.encode(tune)
    except VocabularyError as error:
        # An alteration or an upbeat may lie outside of the list; it must then be named.
        assert "has no token" in error.message
        return
    assert vocabulary.decode(ids) == tune
    assert vocabulary.decode(ids[:-1]) == tune
    assert vocabulary.count_notes(ids) == sum(1 for _ in tune.notes())


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        (Tune(Key("C"), None, (Bar((note("C"),)),)), "free metre"),
        (Tune(Key("C"), Metre(13, 4), (Bar((note("C"),)),)), "the metre 13/4 has no token"),
        (Tune(Key("C"), Metre(5, 8, (2, 3)), (Bar((note("C"),)),)), "a metre with grouping"),
        (Tune(Key("C", 0, "major", (("B", -1),)), Metre(4, 4), ()), "a key with accidentals of its own"),
        (Tune(Key("C", 2), Metre(4, 4), ()), "the key note C## has no token"),
        (tune_of(Bar((note("C"),), part="A")), "a play order of parts"),
        (tune_of(Bar((note("C", length=Fraction(1, 11)),))), "the length 1/11 has no token"),
        (tune_of(Bar((note("C", octave=9),))), "the pitch b7'''' has no token"),
        (tune_of(Bar((note("C", accidental=-2),))), "the pitch Cbb4 has no token in D major"),
        (tune_of(Bar((note("C"),), closes=7)), "the sign a repeat played 7 times has no token"),
        (tune_of(Bar((note("C"),), ending=(9,), closes=2)), "the ending 9 has no token"),
        (tune_of(Bar((replace(note("C"), symbol="Am"),))), "grace notes or chord symbols"),
        (
            tune_of(Bar((Note((Pitch("C", 0, 4), Pitch("E", 0, 4)), QUARTER, (Pitch("C", 0, 4),)),))),
            "a chord of which only a part is tied",
        ),
    ],
)
def test_what_cannot_be_said_is_named(tune: Tune, message: str) -> None:
    with pytest.raises(VocabularyError) as caught:
        VOCABULARIES["fused"].encode(tune)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<s> tonic:C mode:major metre:4/4 bars:1 1@1/4", "the ids stop in the middle of a tune"),
        ("tonic:C", "token 0: tonic:C is out of place"),
        ("<s> mode:major", "token 1: mode:major is out of place"),
        ("<s> </s> |", "token 2: | is out of place"),
        ("<s> 1@1/4", "token 1: 1@1/4 is out of place"),
        ("<s> tonic:C mode:major metre:4/4 bars:1 pitch:1", "token 5: pitch:1 is out of place"),
        ("<s> tonic:C mode:major metre:4/4 bars:1 tie", "token 5: tie is out of place"),
    ],
)
def test_ids_that_are_no_tune_are_refused(text: str, message: str) -> None:
    vocabulary = VOCABULARIES["fused"]
    with pytest.raises(VocabularyError) as caught:
        vocabulary.decode([vocabulary.ids[name] for name in text.split()])
    assert str(caught.value) == message


def test_an_unknown_id_is_refused() -> None:
    with pytest.raises(VocabularyError, match="token 1: there is no id 99999"):
        VOCABULARIES["fused"].decode([0, 99999])


def test_names_and_tokens_are_one_to_one() -> None:
    for vocabulary in VOCABULARIES.values():
        assert len(set(vocabulary.tokens)) == len(vocabulary)
        assert all(parse_token(name) == token for name, token in zip(vocabulary.names, vocabulary.tokens, strict=True))
    assert parse_token("#4'@3/8") == Token(Kind.NOTE, (10, 1), 3 * TICKS_PER_WHOLE // 8)


def test_relative_names_round_trip() -> None:
    for step in range(-21, 30):
        for alteration in (-2, -1, 0, 1, 2):
            assert parse_relative(name_relative((step, alteration))) == (step, alteration)
    with pytest.raises(VocabularyError, match="'8' is no relative pitch"):
        parse_relative("8")


@pytest.mark.parametrize("name", ["", "nonsense", "mode:blue", "metre:4/0", "length:1/11", "1@", "tonic:H", "ending:x"])
def test_names_that_say_nothing_are_refused(name: str) -> None:
    with pytest.raises(VocabularyError, match="there is no token"):
        parse_token(name)


def test_a_vocabulary_travels_as_plain_data() -> None:
    for vocabulary in VOCABULARIES.values():
        assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary
    with pytest.raises(VocabularyError, match="vocabulary of version 99"):
        Vocabulary.from_dict({**VOCABULARIES["fused"].to_dict(), "version": 99})
    with pytest.raises(VocabularyError, match="there is no layout 'loose'"):
        Vocabulary(["<s>"], "loose")
    with pytest.raises(VocabularyError, match="stands twice"):
        Vocabulary(["<s>", "<s>"])
    with pytest.raises(VocabularyError, match="lacks </s>"):
        Vocabulary(["<s>"])


def test_ticks_are_whole() -> None:
    for length in (*LENGTHS, *UPBEATS, *FUSED_LENGTHS):
        assert (length * TICKS_PER_WHOLE).denominator == 1


def test_bars_are_counted_as_a_musician_does() -> None:
    short, full = Bar((note("C"),)), Bar((note("C", length=Fraction(3, 4)),))
    complement = Bar((note("C", length=Fraction(1, 2)),))
    tune = tune_of(
        short, full, replace(complement, closes=2), replace(short, opens=True), full, replace(complement, closes=2)
    )
    assert find_upbeats(tune) == [True, False, False, True, False, False]
    assert count_bars(tune) == 4
    assert count_bars(tune_of(short)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_shipped_tune_is_said_or_counted(layout: str) -> None:
    vocabulary, unsayable = VOCABULARIES[layout], Counter()
    tunes = [entry.tune for entry in load_corpus().tunes]
    for tune in tunes:
        try:
            assert vocabulary.decode(vocabulary.encode(tune)) == tune
        except VocabularyError as error:
            unsayable[error.message] += 1
    assert len(tunes) >= 11_200
    assert unsayable.total() <= 4, unsayable
