"""ABC to tunes, feature by feature, each with the smallest tune that shows it; then errors and hostile text."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hoyomusic import abc
from hoyomusic.errors import AbcError
from hoyomusic.tune import Bar, Key, Metre, Tempo, Tune


def tune(body: str, key: str = "C", head: str = "M:4/4\nL:1/4\n") -> Tune:
    return abc.parse_one(f"X:1\n{head}K:{key}\n{body}\n")


def names(body: str, key: str = "C", head: str = "M:4/4\nL:1/4\n") -> str:
    """The top notes as written: ``F#5 z A4``."""
    return " ".join(str(note.top) if note.pitches else "z" for note in tune(body, key, head).notes())


def lengths(body: str, head: str = "M:4/4\nL:1/4\n") -> str:
    """The lengths as multiples of a crotchet."""
    return " ".join(str(note.length * 4) for note in tune(body, head=head).notes())


def played(body: str, head: str = "M:4/4\nL:1/4\n") -> str:
    """The top notes' letters in the order in which they sound."""
    music = tune(body, head=head)
    return "".join(note.top.letter for index in music.play_order() for note in music.bars[index].notes)


def notices(body: str, key: str = "C", head: str = "M:4/4\nL:1/4\n") -> list[str]:
    [reading] = abc.read(f"X:1\n{head}K:{key}\n{body}\n")
    return [notice.message for notice in reading.notices]


# ---------------------------------------------------------------------- files and fields


def test_a_file_is_cut_at_its_tunes():
    text = "% a book\n\nX: 1\nK:C\nC\nX:0002\nT:no empty line before\nK:D\nD\n\nfree text\nX:2\nK:E\nE"
    tunes = abc.parse(text)
    assert [each.header.number for each in tunes] == [1, 2, 2]
    assert [each.key.letter for each in tunes] == ["C", "D", "E"]


def test_a_lone_tune_needs_no_number():
    assert abc.parse_one("T:Alone\nK:G\nG").header.title == "Alone"
    assert abc.parse("% only a comment\n\n") == []


def test_an_empty_line_ends_the_tune():
    [reading] = abc.read("X:1\nK:C\nC D|\n \nE F|")
    assert len(list(reading.tune.notes())) == 2
    assert [notice.message for notice in reading.notices] == ["text behind the empty line that ends the tune"]


def test_fields_at_the_head_of_a_file_hold_for_all_tunes():
    text = "M:3/4\nL:1/16\nC:Anon\n\nX:1\nK:C\nC\n\nX:2\nL:1/2\nK:C\nC\n"
    first, second = abc.parse(text)
    assert first.metre == second.metre == Metre(3, 4) and first.header.composer == "Anon"
    assert [each.bars[0].length for each in (first, second)] == [Fraction(1, 16), Fraction(1, 2)]


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
def test_line_ends_and_byte_order_mark(ends):
    data = b"\xef\xbb\xbf" + ends.join(["X:1", "T:One", "K:C", "C|"]).encode()
    assert abc.parse_one(abc.decode(data)).header.title == "One"


def test_decoding_falls_back_to_latin_1():
    assert abc.decode("T:Café".encode("latin-1")) == "T:Café"
    assert abc.decode("T:Café".encode()) == "T:Café"


def test_code_page_437_is_repaired_where_it_shows():
    assert abc.decode("T:Gr\x81\xe1e\nT:Gr\xfc\xdfe\n".encode()) == "T:Grüße\nT:Gr\xfc\xdfe\n"
    assert abc.parse_one("X:1\nT:Schw\x84n\nK:C\nC").header.title == "Schwän"


def test_header_texts():
    text = (
        "X:7\nT:One\nT:Two\nC:A\nC:B\nO:Here % comment\nR:jig\nB:Book\nZ:Me\nN:first\n+:goes on\nN:second\n"
        "%%hoyo-region Liyue\nK:C\nC"
    )
    header = abc.parse_one(text).header
    assert (header.number, header.title, header.composer, header.origin) == (7, "One", "A; B", "Here")
    assert (header.rhythm, header.source, header.transcription) == ("jig", "Book", "Me")
    assert (header.notes, header.region) == ("first goes on\nsecond", "Liyue")


@pytest.mark.parametrize(
    "written, shown",
    [
        (r"Caf\'e", "Café"), (r"Se\~nor", "Señor"), (r"\"Uber \ss", "Über ß"), (r"S\o", "Sø"),
        ("&eacute;&amp;", "é&"), (r"\u00e9", "é"), (r"100\%", "100%"), (r"back\\slash", "back\\slash"), (r"\zebra \qa", r"\zebra \qa"),
        ("bell\x07esc\x1b", "bell esc"),
    ],
)  # fmt: skip
def test_escapes_in_texts(written, shown):
    assert abc.parse_one(f"X:1\nT:{written}\nK:C\nC").header.title == shown


@pytest.mark.parametrize(
    "value, tempo",
    [
        ("1/4=96", Tempo(Fraction(1, 4), 96)),
        ('"Allegro" 3/8=120', Tempo(Fraction(3, 8), 120, "Allegro")),
        ('1/2=72 "Slow"', Tempo(Fraction(1, 2), 72, "Slow")),
        ("1/4 3/8=40", Tempo(Fraction(5, 8), 40)),
        ("120", Tempo(Fraction(1, 4), 120)),
        ("C=100", Tempo(Fraction(1, 8), 100)),
        ("C3=60", Tempo(Fraction(3, 8), 60)),
        ('"Allegro"', None),
        ("0", None),
        ("1/0=90", None),
    ],
)
def test_tempo(value, tempo):
    assert abc.parse_one(f"X:1\nL:1/8\nQ:{value}\nK:C\nC").header.tempo == tempo


@pytest.mark.parametrize(
    "field, metre",
    [
        ("6/8", Metre(6, 8)), ("C", Metre(4, 4)), ("C|", Metre(2, 2)), ("none", None),
        ("2+3+2/8", Metre(7, 8, (2, 3, 2))),
        ("(2+3)/8", Metre(5, 8, (2, 3))), (" 9/8 % comment", Metre(9, 8)), ("FREI4/4", None), ("2/2]", None),
    ],
)  # fmt: skip
def test_metre(field, metre):
    assert tune("C", head=f"M:{field}\n").metre == metre


@pytest.mark.parametrize(
    "head, length",
    [
        ("M:2/4\n", "1/16"), ("M:3/4\n", "1/8"), ("M:none\n", "1/8"), ("M:C|\n", "1/8"), ("", "1/8"),
        ("L:1/2\nM:2/4\n", "1/2"),
    ],
)  # fmt: skip
def test_unit_length_without_a_field(head, length):
    assert tune("C", head=head).bars[0].length == Fraction(length)


def test_a_metre_in_the_body_leaves_the_unit_length():
    bars = tune("CCC|\nM:2/4\nCC|[L:1/8]C4|", head="M:3/4\n").bars
    assert [bar.length for bar in bars] == [Fraction(3, 8), Fraction(2, 8), Fraction(1, 2)]
    assert [bar.metre for bar in bars] == [None, Metre(2, 4), None]


# ---------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "value, key",
    [
        ("G", Key("G")), ("Bb", Key("B", -1)), ("F#m", Key("F", 1, "minor")), ("E minor", Key("E", 0, "minor")),
        ("A Mixolydian", Key("A", 0, "mixolydian")), ("Ador", Key("A", 0, "dorian")), ("DLYD", Key("D", 0, "lydian")),
        ("EM", Key("E", 0, "minor")), ("HP", Key("A", 0, "mixolydian")), ("Hp", Key("A", 0, "mixolydian")),
        ("D exp _b", Key("D", 0, "none", (("B", -1),))), ("Dphr ^f", Key("D", 0, "phrygian", (("F", 1),))),
        ("Dphr^f", Key("D", 0, "phrygian", (("F", 1),))), ("Amix =c", Key("A", 0, "mixolydian", (("C", 0),))),
        ("none", Key("C", 0, "none")), ("", Key("C", 0, "none")), ("G clef=bass", Key("G")), ("D treble ^f", Key("D")),
    ],
)  # fmt: skip
def test_key(value, key):
    assert tune("C", key=value).key == key


def test_a_clef_moves_nothing_unless_it_says_by_an_octave():
    assert names("C", key="G clef=bass") == names("C", key="bass") == "C4"
    assert names("C", key="G treble-8") == names("C", key="G octave=-1") == "C3"


def test_key_changes_inline_and_by_line():
    music = tune("F F|[K:G]F F|\nK:D\nF C|K:|", key="F")
    assert [bar.key for bar in tune("F2|[K:G]F2|\nK:D\nF C|[K:]F|").bars] == [None, Key("G"), Key("D"), None]
    assert [str(note.top) for note in music.notes()][:6] == ["F4", "F4", "F#4", "F#4", "F#4", "C#4"]


def test_a_key_change_within_a_bar_ends_its_accidentals_and_holds_from_the_next():
    music = tune("^F F [K:D]F =F F|F")
    assert [str(note.top) for note in music.notes()] == ["F#4", "F#4", "F#4", "F4", "F4", "F#4"]
    assert [bar.key for bar in music.bars] == [None, Key("D")]


# ---------------------------------------------------------------------- pitches


def test_octave_marks_add_up():
    assert names("C,, C C' c c' c, C,'") == "C2 C4 C5 C5 C6 C4 C4"


def test_accidentals_hold_to_the_bar_line_in_all_octaves():
    assert names("^c c' C|c", key="G") == "C#5 C#6 C#4 C5"
    assert names("^^f __b =f\n_b f|f", key="D") == "F##5 Bbb5 F5 Bb5 F5 F#5"


@pytest.mark.parametrize("field", ["%%propagate-accidentals octave\n", "I:propagate-accidentals octave\n"])
def test_accidentals_may_be_told_to_keep_their_octave(field):
    assert names("^c C c|c", head=field) == "C#5 C4 C#5 C5"


def test_accidentals_may_be_told_to_hold_for_one_note():
    assert names("^c c", head="%%propagate-accidentals not\n") == "C#5 C5"


def test_a_tie_carries_its_accidental_over_the_bar_line_to_one_note():
    assert names("^c-|c c") == "C#5 C#5 C5"
    assert names("[^ce]-|[ce] c").split() == ["E5", "E5", "C5"]


def test_grace_notes_take_no_time_and_carry_accidentals():
    [bar] = tune("{^cd}c {/g}A").bars
    assert [len(note.graces) for note in bar.notes] == [2, 1] and bar.length == Fraction(1, 2)
    assert str(bar.notes[0].top) == "C#5"


def test_chords_keep_all_pitches_lowest_first():
    [note] = tune("[gCe]").notes()
    assert [str(pitch) for pitch in note.pitches] == ["C4", "E5", "G5"]
    assert lengths("[A2c2]2 [Ac]/ [A3/2c3/2]") == "4 1/2 3/2"
    assert "unequal lengths in a chord" in notices("[A2c]")


# ---------------------------------------------------------------------- lengths


def test_lengths():
    assert lengths("A A2 A/ A// A/4 A3/2 A3/ A3//") == "1 2 1/2 1/4 1/4 3/2 3/2 3/4"


def test_rests():
    assert lengths("z2 x/ z|Z|Z2|X|", head="M:3/4\nL:1/4\n") == "2 1/2 1 3 3 3 3"
    assert len(tune("Z4", head="M:3/4\n").bars) == 4


def test_broken_rhythm():
    assert lengths("A>B A>>B A>>>B A<B") == "3/2 1/2 7/4 1/4 15/8 1/8 1/2 3/2"
    assert lengths("[Ac]>B A>[Bd] A > B A>{g}B z>A") == " ".join(["3/2 1/2"] * 5)
    assert lengths("A>B2 (3A>Bc") == "3/2 1 1 1/3 2/3"


@pytest.mark.parametrize(
    "text, metre, expected",
    [
        ("(2AB", "6/8", "3/2 3/2"), ("(3ABc", "4/4", "2/3 2/3 2/3"), ("(4ABcd", "6/8", "3/4 3/4 3/4 3/4"),
        ("(5ABcde", "4/4", "2/5 2/5 2/5 2/5 2/5"), ("(5ABcde", "9/8", "3/5 3/5 3/5 3/5 3/5"),
        ("(5ABcde", "3/4", "2/5 2/5 2/5 2/5 2/5"), ("(3::2A2B C", "4/4", "4/3 2/3 1"),
        ("(3:2:4ABcd", "4/4", "2/3 2/3 2/3 2/3"),
        ("(3 A z [Bd]", "4/4", "2/3 2/3 2/3"), ("((3ABc) d", "4/4", "2/3 2/3 2/3 1"), ("(12:8:2AB", "4/4", "2/3 2/3"),
    ],
)  # fmt: skip
def test_tuplets(text, metre, expected):
    assert lengths(text, head=f"M:{metre}\nL:1/4\n") == expected


def test_ties_are_kept_where_they_lead_to_the_same_sound():
    def ties(body):
        return [len(note.ties) for note in tune(body).notes()]

    assert ties("c-|c") == ties("c -c") == ties("c-\n|\nc") == ties("^c-_d") == [1, 0]
    assert ties("[ce-]2[ce]") == [1, 0] and ties("[ce]-[ce]") == [2, 0]
    assert ties("c-d") == ties("c-z") == [0, 0]
    assert notices("c-d") == ["tie that leads nowhere"]


def test_a_tie_may_lead_back_over_a_repeat_or_into_each_ending():
    assert [len(note.ties) for note in tune("|:c d|e c-:|e|").notes()] == [0, 0, 0, 1, 0]
    assert [len(note.ties) for note in tune("|:d c-|1 d:|2 c|]").notes()] == [0, 1, 0, 0]


# ---------------------------------------------------------------------- form

REPEATS = {
    "no signs": ("A|B|c", "ABC"),
    "implied start of the tune": ("A|B:|c", "ABABC"),
    "implied start behind a repeat": ("A:|B:|c:|", "AABBCC"),
    "implied start behind a double bar": ("A||B:|", "ABB"),
    "implied start behind a thick bar": ("A|]B:|", "ABB"),
    "an open repeat reaches over a double bar": ("|:A||B:|", "ABAB"),
    "an opening that is never closed": ("A|:B|c", "ABC"),
    "openings that are never closed": ("|:A|:B:|c", "ABBC"),
    "both ways": ("A::B:|", "AABB"),
    "both ways, written out": ("A:|:B:|", "AABB"),
    "both ways, thick": ("A:||:B:|]", "AABB"),
    "both ways, exotic": ("A:|]|:B:|", "AABB"),
    "three plays": ("|::A::|", "AAA"),
    "endings": ("A|1B:|2c|]", "ABAC"),
    "endings in brackets": ("A[1B:|[2c|]", "ABAC"),
    "endings behind blanks and lines": ("A | [1 B :|\n[2 c |]", "ABAC"),
    "an ending on a new line": ("A|1B:|\n|2c||d", "ABACD"),
    "lists and ranges": ("A[1,3B:|[2c:|d", "ABACABD"),
    "ranges": ("A[1-2B:|[3c||", "ABABAC"),
    "the last ending closed by a repeat sign": ("A|1B:|2c:|d", "ABACD"),
    "the last ending closed by an opening": ("A|1B:|2c|:d:|", "ABACDD"),
    "repeat behind endings": ("A|1B:|2c||d:|", "ABACDD"),
    "a first ending that is not closed": ("A|1B|2c|]", "ABAC"),
    "a first ending alone": ("A|1B:|c", "ABAC"),
    "named endings": ('|:A["first"B:|["second"c|]', "ABAC"),
    "double bar before an ending": ("A||[1B:|[2c|]", "ABAC"),
    "signs around nothing": ("A:| || |: B:|", "AABB"),
    "closed behind an invisible bar": ("A[|]:|B", "AAB"),
    "opened between bar lines": ("A| |:|B:|", "ABB"),
    "colon on the next line": ("A|\n:B:|", "ABB"),
    "repeat within a line end": ("A|\\\nB:|", "ABAB"),
    "a line that begins like a field": ("G|\nA:|\nA::B|", "GAGAAAB"),
}  # fmt: skip


@pytest.mark.parametrize("body, order", REPEATS.values(), ids=REPEATS)
def test_repeats(body, order):
    assert played(body) == order


def test_repeats_are_made_explicit():
    assert tune("A|B:|c:|").bars[0].opens and tune("A|B:|c:|").bars[2].opens
    first, second, third = tune("A|1B:|2c:|").bars
    assert (first.opens, second.ending, second.closes, third.ending, third.closes) == (True, (1,), 2, (2,), 0)


def test_empty_bars_go_and_their_signs_merge():
    assert tune("|:A| :|\n|]").bars == (Bar(tune("A").bars[0].notes, opens=True, closes=2),)


def test_play_order_of_parts():
    body = "P:A\nA:|\nP:B\nB|1c:|2d|]"
    assert played(body, head="P:ABA\n") == "AABCBDAA"
    assert tune(body, head="P:(A.B)2A3\n").parts == ("A", "B", "A", "B", "A", "A", "A")
    assert played(body) == "AABCBD"
    assert [bar.part for bar in tune(body).bars] == ["A", "B", "", ""]


def test_a_part_may_begin_within_a_bar():
    assert played("A[P:A]B|[P:B]c", head="P:ABA\n") == "ABCB"


def test_a_play_order_without_its_parts_is_dropped():
    assert tune("P:A\nA", head="P:AB\n").parts == ()
    assert notices("A", head="P:AB\n") == ["play order that names parts the tune does not have"]
    assert notices("A", head="P:Verse\n") == ["unreadable play order"]


# ---------------------------------------------------------------------- what is left out

DROPPED = {
    "decorations": ("~A .B HC !trill!D +fermata+E uF vG", "ABCDEFG"),
    "slurs": ("(AB) (c(d)e)", "ABCDE"),
    "annotation": ('"^up"A "4"B "D.S."c "<("d', "ABCD"),
    "lyrics": ("A B|\nw:la - la|| :|\nc", "ABC"),
    "overlay": ("A B & c d |e", "ABE"),
    "second voice": ("[V:1]A|[V:2]B|\nV:1\nc|\nV:2\nd|", "AC"),
    "! that means nothing here": ("A!B", "AB"),
    "change of tempo": ("A|[Q:1/4=50]B", "AB"),
    "colon between bar lines": ("A|:|B", "AAB"),
    "macro": ("A\nm:~g3=g{a}g{f}g\nB", "AB"),
}


@pytest.mark.parametrize("notice", DROPPED)
def test_left_out_with_a_notice(notice):
    body, left = DROPPED[notice]
    assert played(body) == left
    assert notices(body) == ["decorations" if notice == "slurs" else notice]


def test_passed_over_in_silence():
    assert notices("A`B y c$\nr:remark\n%%directive\n% comment\nd e% comment \"[\nI:: ::\n[r:x]f") == []
    assert played("A\n%%begintext\nB\n%%endtext\nc") == "AC"


def test_the_melody_is_the_first_voice_with_notes():
    assert played("[V:2]B|\n[V:1]A|", head="V:1\nV:2\n") == "B"
    assert played("A|\nV:2\nB|\nV:1\nc|", head="V:1\nV:2\n") == "AC"


def test_accidentals_of_an_overlay_stay_there():
    assert names("C & ^C C | C") == "C4 C4"


def test_chord_symbols_stay():
    assert [note.symbol for note in tune('"Am7"A "F#m/C#"B "^x""G"c "tr"d').notes()] == ["Am7", "F#m/C#", "G", ""]


def test_a_notice_names_its_first_place():
    [reading] = abc.read("X:1\nK:C\nA B|\nc ~d ~e|")
    assert reading.notices == (abc.Notice(4, 3, "decorations"),)


# ---------------------------------------------------------------------- errors

ERRORS = {
    "X:1\nT:x\nC D E": "line 1, column 1: the tune has no K: field; end its header with a key, as in K:G",
    "X:1\nK:C\n\n": "line 3, column 1: the tune has no notes",
    "X:1\nK: H\nC": "line 2, column 4: there is no key 'H'; write a key as in K:G, K:Bb, K:Edor or K:none",
    "X:1\nK:Es\nC": "line 2, column 3: key 'Es' has no known mode; write one of maj, min, mix, dor, phr, lyd, loc",
    "X:1\nK:Gmaj exp ^f\nC": "line 2, column 3: key 'Gmaj exp ^f' has both a mode and exp; leave one of them out",
    "X:1\nK:G ^x\nC": "line 2, column 3: '^x' in a key is no accidental; write them as in K:D ^g _b",
    "X:1\nM:4/0\nK:C\nC": "line 2, column 3: there is no metre '4/0'; write it as in M:6/8, M:2+3/8, M:C or M:none",
    "X:1\nL:x\nK:C\nC": "line 2, column 3: there is no note length 'x'; write it as in L:1/8",
    "X:1\nK:C\nC | 3D": "line 3, column 5: a number where a note was expected; put lengths behind notes, without blanks",
    "X:1\nK:C\nC ^/D": "line 3, column 3: an accidental without a note; write it as in ^f; quarter tones are not read",
    'X:1\nK:C\nC "D': "line 3, column 3: a quotation mark that is never closed",
    "X:1\nK:C\nC {D": "line 3, column 3: a grace note bracket that is never closed",
    "X:1\nK:C\nC [D": "line 3, column 3: a bracket that is never closed",
    "X:1\nK:C\nC\x07D": "line 3, column 2: '\\x07' where a note was expected",
    "X:1\nK:C\nC [DW]é": "line 3, column 7: '\\xe9' where a note was expected",
    "X:1\nK:C\nC [D>E]": "line 3, column 5: '>' in a chord; write chords as in [CEG]",
    "X:1\nK:C\n>C": "line 3, column 1: a broken rhythm sign that joins no two notes; write it as in A>B or A<<B",
    "X:1\nK:C\nA>": "line 3, column 1: a broken rhythm sign that joins no two notes; write it as in A>B or A<<B",
    "X:1\nK:C\nA> >B": "line 3, column 4: two broken rhythm signs between two notes; leave one of them out",
    "X:1\nK:C\nA0": "line 3, column 1: a note length of 0",
    "X:1\nK:C\nA1234567": "line 3, column 1: a note length of too many digits; write at most 6",
    "X:1\nK:C\nA999999": "line 3, column 1: a note length beyond all music; check L:, the tuplets and the lengths",
    "X:1\nK:C\nA" + "'" * 9: "line 3, column 1: a pitch outside MIDI; check its octave marks",
    "X:1\nK:C\n(0A": "line 3, column 1: a tuplet of 0; write it as in (3abc",
    "X:1\nK:C\n(11A": "line 3, column 1: a tuplet of 11 that does not say in which time; write it as in (11:8",
    "X:1\nK:C\n(300A": "line 3, column 1: a tuplet of too many notes; write at most 99",
    "X:1\nK:C\nA[1-99999B:|": "line 3, column 2: an ending of more than 1000 plays; write at most |1 to |1000",
    "X:1\nK:C\nA|0B:|": "line 3, column 2: an ending without a number from 1; write it as in |1 or [1,3",
    "X:1\nK:C\nA" + ":" * 1000 + "|": "line 3, column 2: a repeat of more than 1000 plays; write fewer colons",
    "X:1\nK:C\nZ999999": "line 3, column 1: a rest of too many bars, or of none; write it as in Z4",
    "X:1\nP:A999999999\nK:C\nA": "line 2, column 3: its play order has more than 1000 parts; shorten the P: field",
    "X:1\nP:((((A)99)99)99)99\nK:C\nA": "line 2, column 3: its play order has more than 1000 parts; shorten the P: field",
    "X:1\nK:C\n" + "A" * 10_001: "line 3, column 1: a line of more than 10000 characters; break it",
    "X:1\nK:C\n{" + "c" * 33 + "}A": "line 3, column 1: more than 32 grace notes before a note; write them as notes",
    "X:1\nK:C\n[" + "".join(a + c for a in "^_=" for c in "CDEFGABcdefgab")[:80] + "]":
        "line 3, column 1: a chord of more than 32 notes; leave some of them out",
    "X:1\nK:C\n|:" + "A|" * 150 + "[1-1000A:|": "line 3, column 1: its repeats would play more than 100000 bars",
}  # fmt: skip


@pytest.mark.parametrize("text, message", ERRORS.items(), ids=range(len(ERRORS)))
def test_errors_name_the_place_and_the_remedy(text, message):
    with pytest.raises(AbcError) as caught:
        abc.parse(text)
    assert str(caught.value) == message


def test_errors_name_the_source():
    with pytest.raises(AbcError, match="^book.abc, line 3, column 1: "):
        abc.parse("X:1\nK:C\n}", source="book.abc")


def test_a_bad_tune_does_not_hide_the_others():
    good, bad, last = abc.parse_each("X:1\nK:C\nC\n\nX:2\nK:C\n}\n\nX:3\nK:D\nD\n")
    assert isinstance(good, Tune) and isinstance(last, Tune)
    assert isinstance(bad, AbcError) and (bad.line, bad.column) == (7, 1)


def test_exactly_one_tune():
    with pytest.raises(AbcError, match="one tune expected, 2 found; give a text with one X: field"):
        abc.parse_one("X:1\nK:C\nC\n\nX:2\nK:C\nD\n")


# ---------------------------------------------------------------------- hostile text

ALPHABET = [
    *"ABCDEFGabcgzxyZXTvh|:[](){}<>-^_=,'/0123456789 \n\t\"!+%\\&~.$*;?@`",
    "X:1\n", "K:G\n", "M:", "L:1/", "P:AB\n", "Q:", "V:2\n", "w:", "%%", "\n\n", "|:", ":|", "::", "|1", ":|2", "[2",
    "(3", "[K:", "[V:", "[P:A]", '["', "Z9", "[1-3", "é", "\x85", "\r", "\ud800", "\u2028", "[ceg]", "{g}", '"Am"',
]  # fmt: skip
HEADED = st.lists(st.sampled_from(ALPHABET), max_size=60).map(lambda parts: "X:1\nL:1/8\nK:D\nAB" + "".join(parts))


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=80), HEADED))
@example("X:1\nK:C\n" + "(" * 9000)
@example("X:1\nP:" + "(" * 9000 + "A" + ")" * 9000 + "\nK:C\nA")
@example("X:1\nK:C\n" + '["' * 4000)
def test_nothing_but_abc_errors_and_what_is_read_comes_back(text):
    for reading in abc.read_each(text):
        if isinstance(reading, AbcError):
            assert reading.line is not None and "\n" not in str(reading)
            continue
        [again] = abc.parse(abc.write(reading.tune))
        assert again == reading.tune and again.header == reading.tune.header
        assert not [f for f in reading.tune.faults() if "repeat" in f.message or "tie" in f.message]


LONG = {
    "notes": "G2A>B (3cde ^f-|f{a}g[GBd]2z2|\n",
    "one bar": "abcdefgabc\n",
    "endings": "GA|1Bcd:|2efa||\n",
    "first endings": "|1 BcdefgabC:|\n",
    "key changes": "[K:A][M:3/4]GABcd|[K:G][M:2/4]abcde|\n",
    "triplets that close nothing": "A2/3B2/5c2/7 A2/3B2/5c2/7\n",
}


@pytest.mark.parametrize("line", LONG.values(), ids=LONG)
def test_time_is_linear_in_the_notes(line):
    """Ten times the notes take about ten times as long; anything quadratic would take a hundred times."""

    def seconds(lines: int) -> float:
        text = "X:1\nL:1/16\nK:G\n" + line * lines
        start = time.process_time()
        abc.write(abc.parse_one(text))
        return time.process_time() - start

    seconds(20)  # fills the caches
    assert seconds(2000) < 30 * min(seconds(200) for _ in range(3))
