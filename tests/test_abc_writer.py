"""Tunes to canonical ABC: the very text, and that it reads back."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import abc
from hoyomusic.abc.writer import LINE_WIDTH
from hoyomusic.errors import TuneError
from hoyomusic.tune import Bar, Header, Key, Metre, Note, Pitch, Tempo, Tune

A4 = Pitch("A", 0, 4)
ONE = Bar((Note((A4,), Fraction(1, 8)),))


def body(text: str, key: str = "C", head: str = "M:4/4\nL:1/8\n") -> str:
    """The music lines of a tune as they are written again."""
    written = abc.write(abc.parse_one(f"X:1\n{head}K:{key}\n{text}\n"))
    return written.partition("\nK:")[2].partition("\n")[2].removesuffix("\n")


def test_the_whole_text():
    tune = abc.parse_one(
        "X:3\nT:A \\% of \\\\ &\nC:Trad\nO:Cork\nR:jig\nS:book\nZ:me\nN:one\nN:two\n%%hoyo-region Mondstadt\n"
        'M:C|\nL:1/4\nQ:"Fast" 1/2=90\nP:AB2\nK:Edor\nP:A\n"Em"E>F {A}G2:|\nP:B\n[Bd]4-|1[Bd]4:|2z4'
    )
    assert abc.write(tune, comments=["seed 7", "100 %"]) == (
        "X:3\n% seed 7\n% 100 \\%\nT:A \\% of \\\\ &\nC:Trad\nO:Cork\nR:jig\nS:book\nZ:me\nN:one\nN:two\n"
        "%%hoyo-region Mondstadt\nP:AB2\nM:2/2\nL:1/8\nQ:\"Fast\" 1/2=90\nK:Edor\n"
        'P:A\n|: "Em"E3 F {A}G4 :|\nP:B\n|: [B8-d8-] |1 [B8d8] :|2 z8 |]\n'
    )


def test_nothing_is_made_up():
    assert abc.write(Tune(Key("C"), None, (ONE,))) == "X:1\nM:none\nL:1/8\nK:C\nA |]\n"


WRITTEN = {
    "an accidental is repeated in every octave it might reach": ("^cc' c|c", "^c^c'c | c |]"),
    "and taken back in every octave": ("^c=c' c", "^c=c'=c |]"),
    "not at the end of a tie, but behind it": ("^c8-|c4c4", "^c8- | c4 =c4 |]"),
    "behind a grace note": ("{^c}c c", "{^c}^cc |]"),
    "lengths are spelled out": ("A>B c/2d3/2 e//", "A3/2B/2c/2d3/2e/4 |]"),
    "equal lengths inside a chord": ("[ac]3", "[c3a3] |]"),
    "triplets": ("(3abc (3:2:2a2b", "(3abc (3:2:2a2b |]"),
    "other tuplets in full": ("(5abcde", "(5:4:5a/2b/2c/2d/2e/2 |]"),
    "triplets over a bar line": ("c(3ab|c", "c (3:2:1a (3:2:1b | (3:2:1c |]"),
    "beams": ("abcd efga|a2bc def2", "abcd efga | a2 bc de f2 |]"),
    "upbeats": ("ab|cdef gabc", "ab | cdef gabc |]"),
    "sections on lines of their own": ("A:|B::c:|", "|: A :|\n|: B :|\n|: c :|"),
    "three plays": ("|::A::|", "|:: A ::|"),
    "endings on one line": ("A|[1,2B:|\n[3c||d", "|: A |1-2 B :|3 c ||\nd |]"),
    "four bars a line": ("A|B|c|d|e|f", "A | B | c | d |\ne | f |]"),
    "no line looks like a field": ("A|B|c|d|\nA:|", "|: A | B | c | d |\nA1 :|"),
    "changes": ("A4[K:D]|c4[M:3/4]|d6", "A4 | [K:D] c4 | [M:3/4] d6 |]"),
}  # fmt: skip


@pytest.mark.parametrize("text, written", WRITTEN.values(), ids=WRITTEN)
def test_canonical_music(text, written):
    assert body(text) == written
    assert body(written) == written


def test_wide_lines_are_broken_between_notes():
    text = "X:1\nL:1/8\nK:C\n" + "^a'3/2{bcd}[ceg]/4 " * 200
    tune = abc.parse_one(text)
    written = abc.write(tune)
    assert max(map(len, written.split("\n"))) < 2 * LINE_WIDTH
    assert abc.parse(written) == [tune]


def test_a_book_is_numbered():
    tunes = [Tune(Key("C"), None, (ONE,), header=Header(number=9, title=title)) for title in ("One", "Two")]
    text = abc.write_book(tunes, comments=["both"])
    assert text == "% both\n\nX:1\nT:One\nM:none\nL:1/8\nK:C\nA |]\n\nX:2\nT:Two\nM:none\nL:1/8\nK:C\nA |]\n"
    assert [tune.header.number for tune in abc.parse(text)] == [1, 2]


def test_what_abc_cannot_say_is_refused():
    with pytest.raises(TuneError, match="the key F## major cannot be written in ABC; transpose the tune"):
        abc.write(Tune(Key("F", 2), None, (ONE,)))
    with pytest.raises(TuneError, match="a play order with part 'Verse' cannot be written in ABC; label parts A to Z"):
        abc.write(Tune(Key("C"), None, (ONE,), parts=("Verse",)))


# What a text field can hold: any text on one line, without control characters or blanks at its ends.
TEXTS = st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20).map(str.strip)
HEADERS = st.builds(
    lambda number, texts, notes, tempo: Header(number, *texts[:5], "\n".join(filter(None, notes)), *texts[5:], tempo),
    st.integers(1, 999_999),
    st.lists(TEXTS, min_size=7, max_size=7),
    st.lists(TEXTS, max_size=3),
    st.none() | st.builds(
        lambda beat, bpm, text: Tempo(beat, bpm, text.replace('"', "").strip()),
        st.sampled_from([Fraction(1, 4), Fraction(3, 8), Fraction(1, 2)]), st.integers(1, 400), TEXTS,
    ),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(HEADERS)
def test_every_header_comes_back(header):
    tune = Tune(Key("G"), Metre(3, 4), (ONE,), header=header)
    [again] = abc.parse(abc.write(tune))
    assert again == tune and again.header == header


def test_hostile_texts_stay_in_their_field():
    title = "a\nK:D\r\nX:2\x1b[31m % \u2028T:b"
    [tune] = abc.parse(abc.write(Tune(Key("C"), None, (ONE,), header=Header(title=title, notes=title)), comments=[title]))
    assert tune.key == Key("C") and tune.header.title == "a K:D X:2 [31m %  T:b"


# Notes that any tune may hold, whatever the parser makes of text: all spellings, chords, ties, graces, odd lengths.
PITCHES = st.builds(lambda *parts: Pitch(*parts), st.sampled_from("CDEFGAB"), st.integers(-2, 2), st.integers(2, 7))
LENGTHS = st.sampled_from([Fraction(text) for text in ("1/8", "1/4", "3/16", "1/12", "1/6", "1/20", "1/36", "5/7", "1/37")])


@st.composite
def bars(draw) -> Bar:
    notes = []
    for _ in range(draw(st.integers(1, 5))):
        pitches = draw(st.sets(PITCHES, max_size=3))
        chord = tuple(sorted(pitches, key=lambda pitch: (pitch.midi, pitch.diatonic)))
        notes.append(Note(chord, draw(LENGTHS), graces=tuple(draw(st.lists(PITCHES, max_size=2)))))
        if chord and draw(st.booleans()):
            notes[-1:] = [Note(chord, notes[-1].length, ties=chord, graces=notes[-1].graces), Note(chord, draw(LENGTHS))]
    return Bar(tuple(notes), part=draw(st.sampled_from(["", "", "A"])))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["C", "F", "B"]),
    st.integers(-1, 1),
    st.sampled_from(["major", "phrygian"]),
    st.lists(bars(), min_size=1, max_size=4),
)
def test_parse_inverts_write(letter, accidental, mode, music):
    tune = Tune(Key(letter, accidental, mode), Metre(4, 4), tuple(music))
    assert abc.parse(abc.write(tune)) == [tune]
