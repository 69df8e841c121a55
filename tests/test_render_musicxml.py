"""MusicXML, read back by music21; sheets, read as XML."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from fractions import Fraction
from xml.etree import ElementTree

import pytest

from hoyomusic.errors import RenderError
from hoyomusic.regions import find_region
from hoyomusic.render import musicxml, sheet
from hoyomusic.score import Score, perform, played_bars, sounding_notes
from hoyomusic.tune import Bar, Header, Key, Metre, Note, Pitch, Tempo, Tune

EIGHTH, TRIPLET = Fraction(1, 8), Fraction(1, 12)
SVG = "{http://www.w3.org/2000/svg}"


def pitch(name: str) -> Pitch:
    return Pitch(name[0], {"#": 1, "b": -1}.get(name[1:-1], 0), int(name[-1]))


def note(name: str, length: Fraction = EIGHTH, *, tied: bool = False, **more) -> Note:
    pitches = tuple(map(pitch, name.split("+"))) if name != "z" else ()
    return Note(pitches, Fraction(length), ties=pitches if tied else (), **more)


def many(names: str, length: Fraction = EIGHTH) -> tuple[Note, ...]:
    return tuple(note(name, length) for name in names.split())


ENDINGS = Tune(
    Key("D"),
    Metre(4, 4),
    (
        Bar((note("A4"),), opens=True),
        Bar(
            (
                note("D5", symbol="D"),
                *many("E5 F#5 G5", TRIPLET),
                note("A5"),
                note("B5", Fraction(1, 4), tied=True),
                note("B5", Fraction(1, 4)),
            )
        ),
        Bar(
            (note("D5", Fraction(5, 8), graces=(pitch("E5"),), symbol="Em7/B"), note("E5", Fraction(3, 8))), ending=(1,)
        ),
        Bar((note("D5", Fraction(7, 8)),), closes=2),
        Bar((*many("D5 D5 D5 D5 D5", Fraction(1, 20)), note("C5", Fraction(3, 4))), ending=(2,)),
        Bar((note("F5", Fraction(7, 8)),), double=True),
        Bar(
            (note("C#4+E5", Fraction(1, 2), symbol="sweetly"), note("E5", Fraction(1, 4)), note("z", Fraction(1, 4))),
            key=Key("C", 0, "dorian"),
        ),
        Bar(many("C5 C5 C5 C5 C5"), metre=Metre(5, 8, (2, 3)), part="B"),
    ),
    header=Header(title='A <&"B"> 风', composer="trad.", tempo=Tempo(Fraction(3, 8), 80)),
)
THREE_TIMES = Tune(
    Key("B", -1),
    Metre(6, 8),
    (
        Bar(many("Bb4 C5 D5 Eb5 F5 G5"), opens=True),
        Bar((note("Bb4", Fraction(3, 4), tied=True),)),
        Bar((note("Bb4", Fraction(3, 4)),), closes=3),
    ),
)
CROSSING = Tune(  # a triplet across the bar line, under no bracket
    Key("C"),
    Metre(2, 4),
    (
        Bar((note("C5", Fraction(5, 12)), note("D5", TRIPLET, tied=True))),
        Bar((note("D5", TRIPLET), note("E5", Fraction(5, 12)))),
    ),
)
FREE = Tune(
    Key("C", 0, "none", (("F", 1), ("B", -1))), None, (Bar(many("C5 F#5 Bb5")), Bar((note("C3", Fraction(7, 8)),)))
)
DOUBLE_DOTS = Tune(
    Key("C"),
    Metre(4, 4),
    (Bar((note("C5", Fraction(7, 16)), note("C5", Fraction(1, 16)), note("C5", Fraction(1, 2)))),),
)
TUNES = {
    "endings": ENDINGS, "three times": THREE_TIMES, "crossing": CROSSING, "free": FREE, "double dots": DOUBLE_DOTS,
}  # fmt: skip
ALL = [pytest.param(tune, id=name) for name, tune in TUNES.items()]


def read(score: Score):
    from music21 import converter

    return converter.parseData(musicxml.to_bytes(score).decode("utf-8"), format="musicxml").parts[0]


def sounding(part) -> list[tuple[Fraction, Fraction, int]]:
    """Onset and length in whole notes and MIDI pitch of a music21 part, ties joined note by note."""
    from music21 import harmony

    found: list[tuple[Fraction, Fraction, int]] = []
    held: dict[int, int] = {}
    for element in part.flatten().notes:
        if element.duration.isGrace or isinstance(element, harmony.ChordSymbol):
            continue
        for one in element.notes if element.isChord else (element,):
            onset, length = Fraction(element.offset) / 4, Fraction(element.quarterLength) / 4
            if one.tie is not None and one.tie.type in ("stop", "continue"):
                before = found[held[one.pitch.midi]]
                found[held[one.pitch.midi]] = (before[0], before[1] + length, before[2])
            else:
                held[one.pitch.midi] = len(found)
                found.append((onset, length, one.pitch.midi))
    return found


@pytest.mark.parametrize("tune", ALL)
def test_music21_reads_back_the_same_notes(tune):
    part = read(perform(tune)).expandRepeats()
    expected = [(each.onset, each.length, each.pitch) for each in sounding_notes(tune, played_bars(tune))]
    assert [(float(onset), pytest.approx(float(length), abs=1e-3), number) for onset, length, number in expected] == [
        (pytest.approx(float(onset), abs=1e-3), float(length), number) for onset, length, number in sounding(part)
    ]


def test_written_spelling_comes_back():
    part = read(perform(ENDINGS))
    names = [each.nameWithOctave.replace("-", "b") for each in part.flatten().notes if each.isNote]
    assert names[:8] == ["A4", "D5", "E5", "F#5", "G5", "A5", "B5", "B5"]


def elements(score: Score, path: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(musicxml.to_bytes(score)).findall(f".//{path}")


def test_repeats_endings_and_short_bars_are_written():
    score = perform(ENDINGS)
    repeats = [element.get("direction") for element in elements(score, "repeat")]
    assert repeats == ["forward", "backward"]
    endings = [(element.get("number"), element.get("type")) for element in elements(score, "ending")]
    assert endings == [("1", "start"), ("1", "stop"), ("2", "start"), ("2", "stop")]
    measures = [(element.get("number"), element.get("implicit")) for element in elements(score, "measure")]
    assert measures[:3] == [("0", "yes"), ("1", "no"), ("2", "no")]
    assert [element.get("times") for element in elements(perform(THREE_TIMES), "repeat")] == [None, "3"]
    assert elements(perform(THREE_TIMES), "rest") == []


def test_tuplets_are_bracketed_where_they_close():
    brackets = [element.get("type") for element in elements(perform(ENDINGS), "tuplet")]
    assert brackets == ["start", "stop", "start", "stop"]
    ratios = [
        (element.findtext("actual-notes"), element.findtext("normal-notes"))
        for element in elements(perform(ENDINGS), "time-modification")
    ]
    assert ratios == [("3", "2")] * 3 + [("5", "4")] * 5


def test_words_symbols_and_tempo_are_written():
    score = replace(perform(ENDINGS), region="Liyue", provenance="seed <5>")
    assert [element.text for element in elements(score, "movement-title")] == ['A <&"B"> 风']
    assert [element.text for element in elements(score, "root-step")] == ["D", "E"]
    assert [element.text for element in elements(score, "bass-step")] == ["B"]
    assert [element.text for element in elements(score, "words")] == ["sweetly"]
    assert [element.text for element in elements(score, "rehearsal")] == ["B"]
    assert [element.text for element in elements(score, "miscellaneous-field")] == ["Liyue", "seed <5>"]
    assert (elements(score, "beat-unit")[0].text, len(elements(score, "beat-unit-dot"))) == ("quarter", 1)
    assert [element.text for element in elements(score, "per-minute")] == ["80"]


def test_low_tunes_get_a_bass_clef():
    low = Tune(Key("C"), None, (Bar(many("C3 D3 E3")),))
    assert [element.text for element in elements(perform(low), "clef/sign")] == ["F"]
    assert [element.text for element in elements(perform(ENDINGS), "clef/sign")] == ["G"]


@pytest.mark.parametrize("tune", ALL)
def test_the_same_score_gives_the_same_bytes(tune):
    score = perform(tune)
    assert musicxml.to_bytes(score) == musicxml.to_bytes(score)
    assert musicxml.to_compressed_bytes(score) == musicxml.to_compressed_bytes(score)
    assert b"encoding-date" not in musicxml.to_bytes(score)
    assert sheet.to_bytes(score) == sheet.to_bytes(score)


def test_the_archive_names_its_file():
    with zipfile.ZipFile(io.BytesIO(musicxml.to_compressed_bytes(perform(ENDINGS)))) as archive:
        assert archive.namelist() == ["META-INF/container.xml", "tune.musicxml"]
        assert archive.read("tune.musicxml") == musicxml.to_bytes(perform(ENDINGS))


# ------------------------------------------------------------------ sheet


def drawn(score: Score) -> ElementTree.Element:
    return ElementTree.fromstring(sheet.to_bytes(score))


def count(root: ElementTree.Element, kind: str) -> int:
    return sum(kind in (element.get("class") or "").split() for element in root.iter(f"{SVG}g"))


def test_the_sheet_shows_notes_and_form():
    root = drawn(perform(ENDINGS, region=find_region("Liyue")))
    written = sum(len(bar.notes) for bar in ENDINGS.bars)
    assert count(root, "note") == written + 1 + 1 + 1 - 1  # one grace, a second tone, a tied part; one rest
    assert (count(root, "rest"), count(root, "tuplet"), count(root, "measure")) == (1, 2, 8)
    assert count(root, "ending") == 2
    assert (count(root, "tempo"), count(root, "harm")) == (1, 2)
    texts = [element.text for element in root.findall(f"{SVG}text")]
    assert texts == ['A <&"B"> 风', "Liyue"]
    assert root.findtext(f"{SVG}title") == 'A <&"B"> 风'


def test_hostile_titles_stay_text():
    tune = replace(DOUBLE_DOTS, header=Header(title='</text><script>alert("1")</script>\x00\x1b'))
    root = drawn(perform(tune))
    assert list(root.iter(f"{SVG}script")) == []
    assert root.find(f"{SVG}text").text == '</text><script>alert("1")</script>��'
    assert [element.text for element in elements(perform(tune), "movement-title")] == [
        '</text><script>alert("1")</script>��'
    ]


def test_a_long_tune_is_one_tall_picture():
    short, long = (
        drawn(perform(Tune(Key("C"), Metre(4, 4), tuple(Bar(many("C5 D5 E5 F5 G5 A5 B5 C6")) for _ in range(bars)))))
        for bars in (4, 120)
    )
    assert short.get("width") == long.get("width")
    assert int(long.get("height")) > 10 * int(short.get("height"))
    assert count(long, "measure") == 120
    height = int(long.get("height"))
    inner = long.find(f"{SVG}svg")
    assert int(inner.get("y")) + int(inner.get("height").removesuffix("px")) == height


def test_what_verovio_cannot_read_is_an_error(monkeypatch):
    monkeypatch.setattr(musicxml, "to_bytes", lambda score: b"no music")
    with pytest.raises(RenderError, match="verovio cannot read the tune; write .musicxml"):
        sheet.to_bytes(perform(ENDINGS))


def test_signs_stand_where_neither_signature_nor_bar_has_set_them():
    tune = Tune(
        Key("D"),
        Metre(4, 4),
        (
            # F sharp is in the signature; the natural is set once for its octave, not for the other one.
            Bar((*many("F#4 F4 F4 F5 F#4 Bb4 Bb4"), note("Bb4", tied=True))),
            Bar((note("Bb4"), note("Bb4"), *many("F#4 F#4 C5 C5 C#5 C#5"))),
        ),
    )
    signs = [element.findtext("accidental") for element in elements(perform(tune), "note")]
    assert signs[:8] == [None, "natural", None, "natural", "sharp", "flat", None, None]
    # A held note repeats no sign, the one struck after it does.
    assert signs[8:] == [None, "flat", None, None, "natural", None, "sharp", None]


def test_a_bar_of_many_notes_takes_time_in_proportion():
    # music21's own accidentals took 68 s for 400 notes in one bar.
    tune = Tune(Key("C"), None, (Bar(many("C5 C#5 D5 Eb5 " * 300)),))
    assert len(elements(perform(tune), "note")) == 1200


def test_beams_follow_the_metre():
    beams = [element.findtext("beam") for element in elements(perform(THREE_TIMES), "note")]
    assert beams[:6] == ["begin", "continue", "end"] * 2


def test_a_note_too_short_to_print_is_an_error():
    tune = Tune(Key("C"), None, (Bar((note("C5", Fraction(1, 4096)),)),))
    with pytest.raises(RenderError, match=r"a note of 1/4096 has no printed value; write .mid or .abc instead"):
        musicxml.to_bytes(perform(tune))
