"""Tunes in time: repeats, ties, upbeats, rounding, tempo."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.errors import TuneError, UsageError
from hoyomusic.regions import REGIONS, TEYVAT, find_region
from hoyomusic.score import (
    MetreChange,
    bar_grid,
    choose_tempo,
    perform,
    played_bars,
    sounding_notes,
    to_ticks,
)
from hoyomusic.tune import Bar, Header, Key, Metre, Note, Pitch, Tempo, Tune

EIGHTH, QUARTER, HALF = Fraction(1, 8), Fraction(1, 4), Fraction(1, 2)


def pitch(name: str) -> Pitch:
    accidental = {"#": 1, "b": -1}.get(name[1:-1], 0)
    return Pitch(name[0], accidental, int(name[-1]))


def note(name: str, length: Fraction = QUARTER, *, tied: bool = False, **more) -> Note:
    pitches = tuple(map(pitch, name.split("+"))) if name != "z" else ()
    return Note(pitches, length, ties=pitches if tied else (), **more)


def line(names: str, length: Fraction = QUARTER) -> tuple[Note, ...]:
    return tuple(note(name, length) for name in names.split())


def in_four(*bars: Bar, **more) -> Tune:
    return Tune(Key("C"), Metre(4, 4), bars, **more)


def heard(tune: Tune) -> list[tuple[int, int, int]]:
    return [(timed.onset_ticks, timed.duration_ticks, timed.pitch) for timed in perform(tune).melody.notes]


def test_repeats_and_endings_are_played():
    tune = in_four(
        Bar(line("C4 D4 E4 F4"), opens=True),
        Bar((note("G4", Fraction(1)),), ending=(1,), closes=2),
        Bar((note("C5", Fraction(1)),), ending=(2,)),
    )
    assert [timed[2] for timed in heard(tune)] == [60, 62, 64, 65, 67, 60, 62, 64, 65, 72]
    assert perform(tune).end_tick == 4 * 1920


def test_ties_join_across_bars_and_into_chords():
    tune = in_four(
        Bar((note("C4", HALF), Note((pitch("E4"), pitch("G4")), HALF, ties=(pitch("G4"),)))),
        Bar((note("G4", QUARTER, tied=True), note("G4", QUARTER), note("z", HALF))),
    )
    assert tune.faults() == []
    assert heard(tune) == [(0, 960, 60), (960, 960, 64), (960, 1920, 67)]


def test_a_tie_into_another_ending_joins_on_each_pass():
    tune = in_four(
        Bar((note("C4", Fraction(1), tied=True),), opens=True),
        Bar((note("C4", Fraction(1)),), ending=(1,), closes=2),
        Bar((note("C4", HALF), note("E4", HALF)), ending=(2,)),
    )
    assert heard(tune) == [(0, 3840, 60), (3840, 2880, 60), (6720, 960, 64)]


def test_graces_take_no_time():
    tune = in_four(Bar((note("C4", Fraction(1), graces=(pitch("D4"), pitch("E4"))),)))
    assert heard(tune) == [(0, 1920, 60)]


def test_an_unsounded_octave_of_a_chord_is_kept():
    assert heard(in_four(Bar((note("C4+E4+G4", Fraction(1)),)))) == [(0, 1920, 60), (0, 1920, 64), (0, 1920, 67)]


def test_the_melody_starts_at_tick_0_and_the_upbeat_has_its_own_metre():
    tune = in_four(
        Bar(line("G4", EIGHTH), opens=True),
        Bar(line("C5 D5 E5 F5")),
        Bar((note("C5", Fraction(7, 8)),), closes=2),
    )
    score = perform(tune)
    assert score.melody.notes[0].onset_ticks == 0
    # The upbeat of the repeat completes the short last bar: the grid does not shift there.
    assert score.metres == (MetreChange(0, Metre(1, 8)), MetreChange(240, Metre(4, 4)))
    assert [bar.length for bar in bar_grid(played_bars(tune))] == [EIGHTH, 1, 1, 1, Fraction(7, 8)]


def test_a_short_bar_inside_shifts_the_grid_only_where_it_stands():
    tune = in_four(Bar(line("C5 D5 E5 F5")), Bar((note("C5", Fraction(3, 4)),), double=True), Bar(line("C5 D5 E5 F5")))
    assert perform(tune).metres == (
        MetreChange(0, Metre(4, 4)),
        MetreChange(1920, Metre(3, 4)),
        MetreChange(1920 + 1440, Metre(4, 4)),
    )


def test_a_triplet_upbeat_has_no_time_signature():
    tune = in_four(Bar((note("G4", Fraction(1, 12)),)), Bar(line("C5 D5 E5 F5")))
    assert perform(tune).metres == (MetreChange(0, Metre(4, 4)),)


def test_free_metre_shows_the_length_of_its_bars():
    tune = Tune(Key("C"), None, (Bar(line("C5 D5 E5")), Bar(line("C5 D5 E5 F5 G5")), Bar(line("C5", Fraction(100)))))
    metres = perform(tune).metres
    assert metres == (MetreChange(0, Metre(3, 4)), MetreChange(1440, Metre(5, 4)))


def test_metre_and_key_changes_stand_at_their_bars():
    tune = in_four(
        Bar(line("C5 D5 E5 F5")),
        Bar(line("C5 D5 E5"), metre=Metre(3, 4), key=Key("G")),
        Bar(line("C5 D5 E5")),
    )
    score = perform(tune)
    assert score.metres == (MetreChange(0, Metre(4, 4)), MetreChange(1920, Metre(3, 4)))
    assert [(change.tick, change.key.tonic) for change in score.keys] == [(0, "C"), (1920, "G")]


def test_sections_count_bars_behind_the_upbeat_and_through_endings():
    tune = in_four(
        Bar(line("G4"), opens=True),
        Bar(line("C5 D5 E5 F5")),
        Bar((note("G4", Fraction(1)),), ending=(1,), closes=2),
        Bar((note("C5", Fraction(1)),), ending=(2,), double=True),
        Bar(line("C5 D5 E5 F5")),
    )
    found = [(bar.index, bar.section, bar.number, bar.section_end) for bar in played_bars(tune)]
    assert found == [
        (0, 0, -1, False), (1, 0, 0, False), (2, 0, 1, True),
        (0, 1, -1, False), (1, 1, 0, False), (3, 1, 1, True),
        (4, 2, 0, True),
    ]  # fmt: skip


def test_a_tune_without_marks_is_cut_into_eights():
    tune = in_four(*(Bar(line("C5 D5 E5 F5")) for _ in range(17)))
    assert [bar.section for bar in played_bars(tune)] == [0] * 8 + [1] * 8 + [2]


def test_a_tune_that_would_never_end_is_refused():
    tune = in_four(Bar(line("C5 D5 E5 F5"), opens=True, closes=200_000))
    with pytest.raises(TuneError, match="more than 100000 bars"):
        perform(tune)


# Sevenths and their like fall between ticks; of too many kinds at once no score is made.
ODD_LENGTHS = st.builds(Fraction, st.integers(1, 16), st.sampled_from([3, 7, 9, 11, 12, 20, 28, 44, 48, 63, 64]))


@given(st.lists(ODD_LENGTHS, min_size=1, max_size=60))
@settings(deadline=None, max_examples=60)
def test_rounding_never_adds_up(lengths):
    tune = Tune(Key("C"), None, (Bar(tuple(note("C5", length) for length in lengths)),))
    score = perform(tune)
    for timed, length, end in zip(
        score.melody.notes, lengths, (sum(lengths[: count + 1]) for count in range(len(lengths))), strict=True
    ):
        assert abs(timed.end_ticks - end * 1920) <= Fraction(1, 2)
        assert abs(timed.duration_ticks - length * 1920) <= 1
    for before, after in zip(score.melody.notes, score.melody.notes[1:], strict=False):
        assert before.end_ticks == after.onset_ticks


def test_triplets_and_sixty_fourths_are_exact():
    assert [to_ticks(Fraction(1, denominator)) for denominator in (12, 24, 48, 64, 20)] == [160, 80, 40, 30, 96]
    assert to_ticks(Fraction(1, 3840)) == 1  # half a tick goes up


def test_accents_mark_the_bar_and_the_beat():
    tune = Tune(Key("C"), Metre(6, 8), (Bar(line("G4", EIGHTH)), Bar(line("C5 D5 E5 F5 E5 D5", EIGHTH))))
    assert [timed.velocity for timed in perform(tune).melody.notes] == [69, 80, 69, 69, 74, 69, 69]
    assert [sounding.on_beat for sounding in sounding_notes(tune, played_bars(tune))][:2] == [False, True]


def test_tempo_goes_by_wish_then_header_then_rhythm_then_metre():
    mondstadt = find_region("Mondstadt")  # 96 to 126
    bar = Bar(line("C5 D5 E5 F5"))
    assert choose_tempo(in_four(bar), mondstadt) == 111
    assert choose_tempo(in_four(bar, header=Header(rhythm="Slow reel")), mondstadt) == 96
    assert choose_tempo(in_four(bar, header=Header(rhythm="reel")), mondstadt) == 126
    written = in_four(bar, header=Header(tempo=Tempo(Fraction(3, 8), 80)))
    assert choose_tempo(written, mondstadt) == 120
    assert choose_tempo(written, mondstadt, 90) == 90
    assert choose_tempo(in_four(bar, header=Header(tempo=Tempo(QUARTER, 0))), mondstadt) == 111


@pytest.mark.parametrize("wish", [0, -3, 1001, float("nan"), float("inf")])
def test_an_impossible_tempo_is_refused(wish):
    with pytest.raises(UsageError, match="5 to 1000 crotchets"):
        choose_tempo(in_four(Bar(line("C5 D5 E5 F5"))), TEYVAT, wish)


def test_every_nation_has_a_tempo_in_its_range():
    for region in REGIONS:
        for metre in (None, *(Metre(*map(int, name.split("/"))) for name, _ in region.metres)):
            tune = Tune(Key("C"), metre, (Bar(line("C5")),))
            assert region.tempo[0] <= choose_tempo(tune, region) <= region.tempo[1]


def test_region_and_provenance_come_from_the_header():
    header = Header(region="Liyue", transcription="HoyoMusic 1", notes="seed 3")
    score = perform(in_four(Bar(line("C5 D5 E5 F5")), header=header))
    assert (score.region, score.provenance, score.melody.program) == ("Liyue", "seed 3; HoyoMusic 1", 107)
    assert perform(in_four(Bar(line("C5 D5 E5 F5"))), region=find_region("Natlan")).region == "Natlan"


def test_seconds_follow_the_tempo():
    score = perform(in_four(Bar(line("C5 D5 E5 F5"))), tempo=90)
    assert score.seconds(score.end_tick) == pytest.approx(4 * 60 / 90, abs=1e-5)
    assert score.seconds(0) == 0
