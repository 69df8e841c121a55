"""The band: it never touches the melody, stays below it, keeps to its bars, chords and levels."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from fractions import Fraction
from math import log10

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import arrangement
from hoyomusic.arrangement import arrange
from hoyomusic.arrangement.levels import drum_volume, program_lufs, volume
from hoyomusic.arrangement.texture import drums_for, groups_of, metre_name, patterns, pulse, style_of, texture_for
from hoyomusic.arrangement.voicing import bass_pitch, chord_pitches, close_position, drone_pitches
from hoyomusic.harmony import harmonise
from hoyomusic.harmony.chord import FIFTH, MAJOR, Chord
from hoyomusic.regions import REGIONS, find_region
from hoyomusic.score import bar_grid, perform, played_bars, sounding_notes, to_ticks
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune

EIGHTH = Fraction(1, 8)
NATIONS = [pytest.param(region, id=region.name) for region in REGIONS]
C_MAJOR = Chord(0, MAJOR, 0)


def note(name: str, length: Fraction = EIGHTH) -> Note:
    accidental = {"#": 1, "b": -1}.get(name[1:-1], 0)
    return Note((Pitch(name[0], accidental, int(name[-1])),), length)


def bar_of(names: str, length: Fraction = EIGHTH, **more) -> Bar:
    return Bar(tuple(note(name, length) for name in names.split()), **more)


JIG = Tune(
    Key("D"),
    Metre(6, 8),
    (
        bar_of("A4", opens=True),
        bar_of("D5 E5 F#5 E5 D5 B4"),
        bar_of("A4 F#4 A4 A4 F#4 A4"),
        bar_of("B4 C#5 D5 E5 D5 E5"),
        bar_of("F#5 E5 D5 E5 C#5 A4"),
        bar_of("D5 E5 F#5 E5 D5 B4"),
        bar_of("A4 F#4 A4 A4 F#4 A4"),
        bar_of("B4 C#5 D5 E5 D5 C#5"),
        Bar((note("D5", Fraction(3, 8)), note("D5", Fraction(1, 4))), closes=2),
    ),
)
HAN = Tune(
    Key("C"),
    Metre(2, 4),
    (
        bar_of("G4 A4 C5 D5", opens=True), bar_of("E5 G5 E5 D5"), bar_of("C5 D5 E5 D5"), bar_of("C5 A4 G4 G4"),
        bar_of("A4 C5 D5 E5"), bar_of("G5 E5 D5 C5"), bar_of("A4 G4 A4 C5"), bar_of("G4 G4", Fraction(1, 4), closes=2),
    ),
)  # fmt: skip
REEL = Tune(
    Key("G"),
    Metre(4, 4),
    tuple(bar_of(names) for names in ("G4 B4 D5 B4 C5 A4 F#4 A4", "G4 D5 B4 G4 A4 F#4 D4 F#4") * 5),
)
TUNES = [pytest.param(JIG, id="jig"), pytest.param(HAN, id="han"), pytest.param(REEL, id="reel")]
METRES = (
    None, Metre(4, 4), Metre(2, 2), Metre(2, 4), Metre(3, 4), Metre(3, 8), Metre(6, 8), Metre(9, 8), Metre(12, 8),
    Metre(5, 8), Metre(7, 8), Metre(10, 8), Metre(11, 8), Metre(5, 4), Metre(6, 4), Metre(3, 2), Metre(4, 2),
    Metre(1, 4), Metre(9, 8, (2, 2, 2, 3)), Metre(8, 8, (3, 3, 2)), Metre(5, 8, (2, 3)), Metre(7, 16), Metre(3, 1),
)  # fmt: skip


def track(score, name):
    return next((track for track in score.tracks if track.name == name), None)


def check(tune: Tune, region, score) -> None:
    """Everything that must hold of an arrangement of any tune."""
    alone = perform(tune, region=region)
    assert (score.melody.name, score.melody.notes) == ("melody", alone.melody.notes)
    assert (score.metres, score.keys, score.end_tick) == (alone.metres, alone.keys, alone.end_tick)
    bars = [bar for bar in played_bars(tune) if bar.length]
    grid = bar_grid(bars)
    lines = [to_ticks(bar.onset) for bar in grid] + [to_ticks(grid[-1].onset + grid[-1].length)]
    assert lines[-1] == score.end_tick
    spans = harmonise(tune, bars, region)
    changes = [to_ticks(span.onset) for span in spans]
    melody = score.melody.notes
    for part in score.tracks[1:]:
        assert 1 <= part.volume <= 127 and 0 <= part.pan <= 127 and 0 <= part.program <= 127
        order = [(timed.onset_ticks, timed.pitch) for timed in part.notes]
        assert order == sorted(set(order))
        free_at: dict[int, int] = {}
        for timed in part.notes:
            assert timed.duration_ticks > 0 and 1 <= timed.velocity <= 127 and 0 <= timed.pitch <= 127
            assert free_at.get(timed.pitch, 0) <= timed.onset_ticks
            free_at[timed.pitch] = timed.end_ticks
            if part.name != "doubling":  # which follows the melody across bar lines
                place = bisect_right(lines, timed.onset_ticks) - 1
                assert timed.onset_ticks >= lines[place] and timed.end_ticks <= lines[place + 1]
            if part.name in ("chords", "bass", "drone"):
                # Humanising moves an onset by some ticks at most, perhaps to just before its chord.
                nearby = {bisect_right(changes, timed.onset_ticks + shift) - 1 for shift in (-20, 0, 20)}
                tones = {
                    tone
                    for index in nearby
                    if index >= 0
                    for tone in (*spans[index].chord.tones, spans[index].chord.bass)
                }
                assert timed.pitch % 12 in tones
            if part.name != "drums":
                assert all(
                    timed.pitch < sung.pitch
                    for sung in melody
                    if sung.onset_ticks < timed.end_ticks and timed.onset_ticks < sung.end_ticks
                )


@pytest.mark.parametrize("region", NATIONS)
@pytest.mark.parametrize("tune", TUNES)
def test_the_band_keeps_its_rules(tune, region):
    score = arrange(tune, region, seed=7)
    check(tune, region, score)
    assert len(score.tracks) > 1


pitches = st.builds(Pitch.from_midi, st.integers(0, 127))


@st.composite
def any_tune(draw) -> Tune:
    """Sound tunes of any metre, range and length, with chords, rests, repeats and upbeats."""
    metre = draw(st.sampled_from(METRES))
    unit = Fraction(1, 8) if metre is None else Fraction(1, metre.unit)
    beats = 5 if metre is None else metre.beats

    def bar(count: int, **more) -> Bar:
        notes = []
        while count:
            length = draw(st.integers(1, count))
            sounding = draw(st.lists(pitches, max_size=2, unique_by=lambda pitch: pitch.midi))
            notes.append(Note(tuple(sorted(sounding, key=lambda pitch: pitch.midi)), length * unit))
            count -= length
        return Bar(tuple(notes), **more)

    repeated = draw(st.booleans())
    upbeat = draw(st.integers(0, beats - 1))
    bars = [bar(upbeat, opens=repeated)] if upbeat else []
    bars += [bar(beats, opens=repeated and not upbeat and not index) for index in range(draw(st.integers(1, 11)))]
    bars.append(bar(draw(st.integers(1, beats)), closes=2 if repeated else 0))
    bars.append(Bar((Note((draw(pitches),), beats * unit),)))
    return Tune(Key("G", 0, draw(st.sampled_from(("major", "dorian", "none")))), metre, tuple(bars))


@given(any_tune(), st.sampled_from(REGIONS), st.integers(0, 3))
@settings(deadline=None, max_examples=100)
def test_no_sound_tune_is_too_odd(tune, region, seed):
    check(tune, region, arrange(tune, region, seed=seed))


@pytest.mark.parametrize("region", NATIONS)
def test_the_seed_moves_only_the_band(region):
    first, again, other = (arrange(JIG, region, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.melody == other.melody
    assert first.tracks[1:] != other.tracks[1:]


def test_one_changed_note_moves_no_other():
    def without(score):  # the band outside of the last bar
        limit = score.end_tick - 2 * 1440
        return {part.name: [timed for timed in part.notes if timed.onset_ticks < limit] for part in score.tracks[1:]}

    bars = JIG.bars
    changed = replace(JIG, bars=(*bars[:-1], Bar((note("D5", Fraction(5, 8)),), closes=2)))
    region = find_region("Mondstadt")
    one, two = without(arrange(JIG, region)), without(arrange(changed, region))
    assert [timed for timed in one["chords"] if timed not in two["chords"]] == []


# 8 % where semitones belong to the scale, 1 % in a scale without any: the share of accompaniment
# onsets on a beat that stand a semitone or a major seventh from the melody.
@pytest.mark.parametrize(
    ("tune", "nation", "bound"), [(REEL, "Mondstadt", 0.08), (JIG, "Mondstadt", 0.08), (HAN, "Liyue", 0.01)]
)
def test_clashes_on_beats_are_rare(tune, nation, bound):
    score = arrange(tune, find_region(nation))
    beats = {to_ticks(sung.onset): sung.pitch for sung in sounding_notes(tune, played_bars(tune)) if sung.on_beat}
    found = []
    for part in score.tracks[1:]:
        if part.name in ("chords", "bass", "drone"):
            for timed in part.notes:
                beat = next(
                    (beat for beat in range(timed.onset_ticks - 20, timed.onset_ticks + 21) if beat in beats), None
                )
                if beat is not None:
                    found.append((beats[beat] - timed.pitch) % 12 in (1, 11))
    assert len(found) > 30
    assert sum(found) <= bound * len(found)


@pytest.mark.parametrize("region", NATIONS)
@pytest.mark.parametrize("tune", TUNES)
def test_voices_stay_well_below_what_the_synthesiser_has(tune, region):
    tempo = region.tempo[1]
    score = arrange(tune, region, tempo=tempo)
    release = tempo * 480 // 60  # a second
    edges = sorted(
        edge
        for part in score.tracks
        for timed in part.notes
        for edge in ((timed.onset_ticks, 1), (timed.end_ticks + release, -1))
    )
    sounding = most = 0
    for _, step in edges:
        sounding += step
        most = max(most, sounding)
    assert most <= 48


def test_texture_grows_from_the_second_section_on():
    score = arrange(JIG, find_region("Mondstadt"))
    repeat = 1440 * 8
    drums = track(score, "drums")
    assert drums.is_drum and drums.notes[0].onset_ticks >= repeat
    chords = [timed.onset_ticks for timed in track(score, "chords").notes]
    thin = sum(onset < repeat for onset in chords)
    assert thin < len(chords) - thin


def test_the_band_enters_on_the_first_whole_bar_and_holds_the_last():
    score = arrange(JIG, find_region("Mondstadt"))
    band = [timed for part in score.tracks[1:] for timed in part.notes]
    assert min(timed.onset_ticks for timed in band) >= 240
    last_bar = score.end_tick - 5 * 240
    held = [timed for timed in track(score, "bass").notes if timed.onset_ticks >= last_bar]
    assert len(held) == 1 and held[0].end_ticks == score.end_tick
    assert not [timed for timed in track(score, "drums").notes if timed.onset_ticks >= last_bar]


def test_the_end_slows_down_in_the_tempo_map_alone():
    score = arrange(JIG, find_region("Mondstadt"), tempo=120)
    assert [round(60_000_000 / change.microseconds_per_quarter / 120, 2) for change in score.tempi] == [
        1,
        0.97,
        0.92,
        0.86,
        0.8,
    ]
    assert score.tempi[1].tick == score.end_tick - 2160
    assert arrange(replace(JIG, bars=JIG.bars[1:3]), find_region("Mondstadt")).tempi[1:] == ()


def test_sumeru_doubles_the_melody_an_octave_lower_on_the_repeat():
    tune = replace(HAN, key=Key("C", 0, "phrygian"))
    score = arrange(tune, find_region("Sumeru"))
    doubling = track(score, "doubling").notes
    again = [timed for timed in score.melody.notes if timed.onset_ticks >= 960 * 8]
    assert [timed.pitch + 12 for timed in doubling] == [timed.pitch for timed in again]
    assert track(score, "chords") is None


def test_free_metre_has_a_drone_and_no_drums():
    tune = Tune(Key("D"), None, (bar_of("D5 E5 F#5"), bar_of("D5 A4 D5 E5 D5"), bar_of("D5")))
    score = arrange(tune, find_region("Mondstadt"))
    assert [part.name for part in score.tracks] == ["melody", "drone"]


def test_written_symbols_rule_the_band():
    bars = tuple(Bar((Note((Pitch("C", 0, 5),), Fraction(1), symbol=symbol),)) for symbol in ("C", "F/A", "Cm7", "C"))
    score = arrange(Tune(Key("C"), Metre(4, 4), bars), find_region("Teyvat"))
    bass = {timed.onset_ticks // 1920: timed.pitch % 12 for timed in reversed(track(score, "bass").notes)}
    assert bass == {0: 0, 1: 9, 2: 0, 3: 0}


# ------------------------------------------------------------------ parts


@pytest.mark.parametrize("region", NATIONS)
@pytest.mark.parametrize("metre", METRES, ids=str)
def test_every_metre_has_a_texture_inside_its_bar(metre, region):
    length = Fraction(9, 8) if metre is None else metre.length
    for full in (False, True):
        texture = texture_for(region, metre, length, full=full)
        events = (*texture.bass, *texture.chord, *texture.drone)
        assert events
        assert all(0 <= event.onset and event.length > 0 and event.onset + event.length <= length for event in events)
    assert all(0 <= hit.onset < length for hit in drums_for(region, metre).hits)


def test_odd_metres_pulse_in_their_groups():
    mondstadt, sumeru = find_region("Mondstadt"), find_region("Sumeru")
    assert groups_of(Metre(5, 8), mondstadt) == (3, 2)
    assert groups_of(Metre(5, 8, (2, 3)), mondstadt) == (2, 3)
    assert groups_of(Metre(7, 8), mondstadt) == (3, 2, 2)
    assert (groups_of(Metre(9, 8), mondstadt), groups_of(Metre(9, 8), sumeru)) == ((3, 3, 3), (2, 2, 2, 3))
    assert [event.onset for event in pulse((3, 2), EIGHTH).bass] == [0, Fraction(3, 8)]
    assert texture_for(mondstadt, Metre(5, 8, (2, 3)), Fraction(5, 8), full=False).bass[1].onset == Fraction(1, 4)


def test_metres_of_one_length_share_their_figures():
    region = find_region("Teyvat")
    assert metre_name(Metre(4, 8), region) == "2/4"
    assert metre_name(Metre(2, 2), region) == "2/2"
    assert texture_for(region, Metre(2, 2), Fraction(1), full=False) == texture_for(
        region, Metre(4, 4), Fraction(1), full=False
    )
    assert metre_name(Metre(9, 8), find_region("Sumeru")) == "9/8 (2+2+2+3)"


def test_every_figure_and_drum_that_a_nation_names_exists():
    data = patterns()
    for region in REGIONS:
        style = style_of(region.name)
        for names in style.texture.values():
            for name in names:
                assert name in ("drone", "pulse") or any(name in figures for figures in data["metres"].values())
        assert set(style.drums.values()) <= set(data["drums"])
        assert any(program != style.chord for program in region.programs)


@given(
    st.integers(0, 11), st.sampled_from((MAJOR, FIFTH, (0,), (0, 5), (0, 4, 7, 10), (0, 3, 6))), st.integers(-1, 127)
)
@settings(deadline=None, max_examples=200)
def test_voices_stay_below_the_ceiling(root, intervals, ceiling):
    chord = Chord(root, intervals, root)
    for found in (
        *(chord_pitches(chord, what, ceiling) for what in "TO1234"),
        *(bass_pitch(chord, what, ceiling) for what in "R5"),
        drone_pitches(chord, "O", ceiling),
    ):
        assert all(0 <= pitch <= ceiling and pitch % 12 in chord.tones for pitch in found)
        assert list(found) == sorted(found)
    if ceiling >= 60:
        assert len(close_position(chord, ceiling)) == len(intervals)


@pytest.mark.parametrize("region", NATIONS)
def test_what_was_arranged_before_changes_nothing(region):
    """What a bar plays is kept for later bars: alone, behind others and once more a tune sounds the same."""
    first = arrange(JIG, region, seed=5)
    for tune in (REEL, HAN):
        arrange(tune, region)
    assert arrange(JIG, region, seed=5) == first
    for kept in (arrangement._figure, arrangement._strikes, arrangement._band, arrangement._drum_strokes):
        kept.cache_clear()
    assert arrange(JIG, region, seed=5) == first


def test_voices_lie_where_they_should():
    assert bass_pitch(C_MAJOR, "R", 60) == (36,)
    assert bass_pitch(C_MAJOR, "5", 60) == (43,)
    assert bass_pitch(Chord(9, MAJOR, 9), "5", 60) == (40,)  # upward it would leave the range
    assert bass_pitch(Chord(0, MAJOR, 4), "R", 60) == (40,)
    assert close_position(C_MAJOR, 71) == (52, 55, 60)
    assert close_position(C_MAJOR, 54) == (43, 48, 52)
    assert close_position(C_MAJOR, 40) == ()
    assert drone_pitches(Chord(2, FIFTH, 2), "O", 71) == (38, 45, 50)
    assert [chord_pitches(C_MAJOR, what, 71) for what in "1234"] == [(48,), (55,), (60,), (64,)]
    assert chord_pitches(C_MAJOR, "4", 62) == (55,)


def test_volumes_bring_every_program_to_its_place():
    loudest, softest = volume(46, [72]), volume(0, [72])
    assert loudest < softest
    for program in (46, 73, 0):
        level = volume(program, [66], -9.0)
        gain = 40 * log10(level / 100)
        assert program_lufs(program, 66) + gain == pytest.approx(-41, abs=0.4)
    assert volume(89, [54]) == 127  # a pad that no volume brings up
    assert volume(73, []) == 100
    assert drum_volume([64, 63], -12) == 60
    assert volume(107, [66]) < volume(107, [66], 2.1)
