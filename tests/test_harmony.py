"""Chord choice: learned table, rules of the nations, written symbols, modes."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import harmony
from hoyomusic.harmony import find_mode, find_pentatonic, harmonise
from hoyomusic.harmony.chord import FIFTH, MAJOR, MINOR, Chord, read_symbol
from hoyomusic.harmony.tables import DRONES, PENTATONIC, learned_table
from hoyomusic.regions import REGIONS, find_region
from hoyomusic.score import SoundingNote, played_bars, sounding_notes
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune

QUARTER = Fraction(1, 4)
TEYVAT = find_region("Teyvat")


def note(name: str, length: Fraction = QUARTER, symbol: str = "") -> Note:
    accidental = {"#": 1, "b": -1}.get(name[1:-1], 0)
    return Note((Pitch(name[0], accidental, int(name[-1])),), length, symbol=symbol)


def bars_of(text: str, length: Fraction = QUARTER) -> tuple[Bar, ...]:
    return tuple(Bar(tuple(note(name, length) for name in bar.split())) for bar in text.split("|"))


def chords(tune: Tune, region=TEYVAT) -> list[tuple[int, tuple[int, ...]]]:
    return [(span.chord.root, span.chord.intervals) for span in harmonise(tune, played_bars(tune), region)]


ARPEGGIOS = Tune(Key("C"), Metre(4, 4), bars_of("C5 E5 G4 C5|F4 A4 C5 F5|G4 B4 D5 G5|C5 G4 E4 C4"))


@pytest.mark.parametrize("tonic", ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"])
def test_arpeggios_give_their_chords_in_every_key(tonic):
    tune = ARPEGGIOS.transposed_to(tonic)
    home = tune.key.tonic_pitch.midi % 12
    assert chords(tune) == [(home, MAJOR), ((home + 5) % 12, MAJOR), ((home + 7) % 12, MAJOR), (home, MAJOR)]


tunes = st.builds(
    lambda degrees, mode, metre: Tune(
        Key("C", 0, mode),
        metre,
        tuple(
            Bar(
                tuple(
                    Note((Pitch.from_midi(60 + degree),), Fraction(1, metre.unit))
                    for degree in degrees[start : start + metre.beats]
                )
            )
            for start in range(0, len(degrees) - metre.beats + 1, metre.beats)
        ),
    ),
    st.lists(st.sampled_from((0, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12)), min_size=14, max_size=60),
    st.sampled_from(("major", "minor", "dorian", "mixolydian", "phrygian", "lydian", "locrian")),
    st.sampled_from(
        (Metre(4, 4), Metre(2, 4), Metre(3, 4), Metre(6, 8), Metre(9, 8), Metre(5, 8), Metre(7, 8), Metre(2, 2))
    ),
)


@given(tunes, st.integers(-6, 6), st.sampled_from(REGIONS))
@settings(deadline=None, max_examples=60)
def test_transposition_moves_chords_and_changes_nothing_else(tune, semitones, region):
    steps = round(semitones * 7 / 12)
    home = harmonise(tune, played_bars(tune), region)
    moved = harmonise(tune.transposed(steps, semitones), played_bars(tune.transposed(steps, semitones)), region)
    assert [(span.onset, span.end, (span.chord.root + semitones) % 12, span.chord.intervals) for span in home] == [
        (span.onset, span.end, span.chord.root, span.chord.intervals) for span in moved
    ]


@given(tunes, st.sampled_from(REGIONS))
@settings(deadline=None, max_examples=60)
def test_spans_follow_each_other_without_gaps(tune, region):
    bars = played_bars(tune)
    spans = harmonise(tune, bars, region)
    assert spans[0].onset == 0
    assert spans[-1].end == bars[-1].onset + bars[-1].length
    assert all(before.end == after.onset for before, after in zip(spans, spans[1:], strict=False))
    assert all(before.chord != after.chord for before, after in zip(spans, spans[1:], strict=False))


def test_a_tune_that_rests_on_the_tonic_ends_on_its_chord():
    tune = Tune(Key("G"), Metre(3, 4), bars_of("G4 B4 D5|C5 E5 D5|A4 F#4 D4|A4 B4 G4"))
    assert chords(tune)[-1] == (7, MAJOR)


def line(*degrees: int, tonic: int = 60) -> list[SoundingNote]:
    return [SoundingNote(QUARTER * index, QUARTER, tonic + degree, 1.0, True) for index, degree in enumerate(degrees)]


@pytest.mark.parametrize(
    ("mode", "degrees", "found"),
    [
        ("major", (0, 4, 7, 11, 0), (0, "major")),
        ("major", (0, 3, 7, 10, 0), (0, "minor")),  # headers that call everything major
        ("major", (0, 3, 7, 9, 10, 0), (0, "dorian")),
        ("major", (0, 4, 7, 10, 0), (0, "mixolydian")),
        ("major", (0, 2, 7, 5, 0), (0, "major")),
        ("minor", (0, 2, 7, 5, 0), (0, "minor")),
        ("major", (9, 11, 0, 4, 9), (9, "minor")),  # the relative minor under a major signature
        ("mixolydian", (0, 4, 7, 10, 11, 0), (0, "mixolydian")),
        ("none", (2, 5, 9, 0, 2), (2, "minor")),
    ],
)
def test_the_mode_is_read_from_the_notes(mode, degrees, found):
    assert find_mode(Key("C", 0, mode), line(*degrees)) == found


def test_pentatonic_home_is_found_under_any_header():
    assert find_pentatonic(Key("C"), line(0, 2, 4, 7, 9)) == 0
    assert find_pentatonic(Key("A", 0, "minor"), line(9, 0, 2, 4, 7, 9)) == 0
    assert find_pentatonic(Key("G"), line(0, 7, 2, tonic=67)) == 7


def test_liyue_keeps_to_open_fifths_within_the_scale():
    tune = Tune(Key("C"), Metre(2, 4), bars_of("C5 D5|E5 G5|A5 G5|E5 D5|C5 A4|G4 A4|C5 D5|D5 E5"))
    found = chords(tune, find_region("Liyue"))
    assert {intervals for _, intervals in found} == {FIFTH}
    assert {root for root, _ in found} <= {0, 2, 7, 9}
    assert found[-1][0] == 9  # the third degree has no fifth in the scale: it rests on 9-4
    assert PENTATONIC.roots == (0, 7, 2, 9)


@pytest.mark.parametrize(("final", "root"), [("C5", 0), ("D5", 2), ("G5", 7), ("A5", 9)])
def test_liyue_ends_on_the_fifth_of_its_final(final, root):
    tune = Tune(Key("C"), Metre(2, 4), bars_of(f"C5 D5|E5 G5|A5 G5|E5 {final}"))
    assert chords(tune, find_region("Liyue"))[-1] == (root, FIFTH)


@pytest.mark.parametrize("nation", ["Inazuma", "Sumeru"])
def test_drones_keep_clear_of_the_melody(nation):
    tune = Tune(
        Key("D", 0, "phrygian"), Metre(4, 4), bars_of("D5 Eb5 G5 A5|Bb5 A5 G5 Eb5|F#5 Bb5 F#5 Eb5|D5 Bb4 A4 D5")
    )
    bars = played_bars(tune)
    notes = sounding_notes(tune, bars)
    for span in harmonise(tune, bars, find_region(nation)):
        assert span.chord.root == 2
        inside = {(sounding.pitch - 2) % 12 for sounding in notes if span.onset <= sounding.onset < span.end}
        for intervals, forbidden in DRONES[nation]:
            assert span.chord.intervals != intervals or not inside & forbidden
    assert {span.chord.intervals for span in harmonise(tune, bars, find_region(nation))} > {(0,)}


def test_natlan_pairs_minor_with_its_relative_major():
    tune = Tune(Key("A", 0, "minor"), Metre(4, 4), bars_of("A4 C5 E5 A5|G5 E5 C5 G4|C5 E5 G5 C5|E5 C5 A4 A4"))
    found = chords(tune, find_region("Natlan"))
    assert found[0] == found[-1] == (9, MINOR)
    assert (0, MAJOR) in found


def test_dorian_has_the_chord_below_and_no_thirds():
    tune = Tune(Key("D", 0, "dorian"), Metre(4, 4), bars_of("D5 F5 A5 D5|C5 E5 G5 C5|D5 B4 A4 F4|C5 A4 D5 D5"))
    assert chords(tune) == [(2, FIFTH), (0, FIFTH), (2, FIFTH)]


def test_a_minor_tune_without_leading_note_gets_none():
    plain = Tune(Key("A", 0, "minor"), Metre(4, 4), bars_of("A4 C5 E5 A5|E5 G5 D5 E5|E5 D5 E5 E4|A4 E4 A4 A4"))
    sharp = Tune(Key("A", 0, "minor"), Metre(4, 4), bars_of("A4 C5 E5 A5|E5 G#5 B4 E5|E5 G#4 B4 E4|A4 E4 A4 A4"))
    snezhnaya = find_region("Snezhnaya")
    assert (4, MAJOR) not in chords(plain, snezhnaya)
    assert (4, MAJOR) in chords(sharp, snezhnaya)


def test_fontaine_adds_the_seventh_to_the_dominant():
    assert (7, (0, 4, 7, 10)) in chords(ARPEGGIOS, find_region("Fontaine"))


def test_a_change_of_key_moves_home():
    first, second = ARPEGGIOS.bars, ARPEGGIOS.transposed_to("D").bars
    moved = (Bar(second[0].notes, key=Key("D")), *second[1:])
    found = chords(Tune(Key("C"), Metre(4, 4), first + moved))
    assert found[-1] == (2, MAJOR)
    assert found[:3] == [(0, MAJOR), (5, MAJOR), (7, MAJOR)]


def test_written_symbols_are_taken_and_held():
    symbols = (
        Bar((note("C5", symbol="C"), note("E5"), note("G5", symbol="G7/B"), note("B5")), opens=True),
        Bar((note("C5"), note("C5"), note("C5", symbol="4"), note("C5")), closes=2),
    )
    tune = Tune(Key("C"), Metre(4, 4), symbols)
    seventh = Chord(7, (0, 4, 7, 10), 11)
    spans = harmonise(tune, played_bars(tune), TEYVAT)
    assert [(span.onset, span.chord) for span in spans] == [
        (0, Chord(0, MAJOR, 0)), (Fraction(1, 2), seventh), (2, Chord(0, MAJOR, 0)), (Fraction(5, 2), seventh),
    ]  # fmt: skip


def test_one_stray_symbol_in_a_long_tune_is_no_harmony():
    bars = (Bar((note("C5", Fraction(1), symbol="Dm"),)), *(Bar((note("C5", Fraction(1)),)) for _ in range(20)))
    assert chords(Tune(Key("C"), Metre(4, 4), bars))[0] == (0, MAJOR)


@pytest.mark.parametrize(
    ("text", "chord"),
    [
        ("Am", Chord(9, MINOR, 9)), ("F#m7/C#", Chord(6, (0, 3, 7, 10), 1)), ("B♭", Chord(10, MAJOR, 10)),
        ("(G7)", Chord(7, (0, 4, 7, 10), 7)), ("Edim", Chord(4, (0, 3, 6), 4)), ("D/F#", Chord(2, MAJOR, 6)),
        ("Asus4", Chord(9, (0, 5, 7), 9)), ("4", None), ("Fine", None), ("D.C.", None), ("H7", None), ("", None),
    ],
)  # fmt: skip
def test_chord_symbols(text, chord):
    assert read_symbol(text) == chord


def test_tables_agree_in_shape():
    for mode in ("major", "minor"):
        table = learned_table(mode)
        count = len(table.roots)
        assert table.length_weight.shape == table.beat_weight.shape == (count, 12)
        assert table.transition.shape == (count, count)
        assert all(values.shape == (count,) for values in (table.bias, table.section_end, *table.phrase.values()))
        smaller = table.without(7, MAJOR)
        assert len(smaller.roots) == count - 1 and smaller.transition.shape == (count - 1, count - 1)


@settings(deadline=None, max_examples=30)
@given(tunes, st.sampled_from(REGIONS))
def test_times_of_any_size_give_the_same_chords(tune, region):
    with pytest.MonkeyPatch.context() as patch:
        bars = played_bars(tune)
        quick = harmonise(tune, bars, region)
        patch.setattr(harmony, "MOST_EXACT_PARTS", 0)
        assert harmonise(tune, bars, region) == quick
