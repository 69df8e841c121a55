"""Styled nations: whatever leaves scale, metre or tempo is counted; nations with different scales are told apart."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from hoyomusic.corpus import CorpusTune
from hoyomusic.evaluation.styled import judge_styles, list_style_patterns, measure_obedience
from hoyomusic.regions import find_region
from hoyomusic.tune import Bar, Header, Key, Metre, Note, Pitch, Tempo, Tune

INAZUMA = find_region("Inazuma")


def play(semitones: tuple[int, ...], number: int, key: Key = Key("A", 0, "phrygian"), tempo: int = 70) -> Tune:
    """Ten bars of a scale up from A4, drawn by `number`."""
    generator = np.random.Generator(np.random.Philox(key=number))
    bars = tuple(
        Bar(tuple(Note((Pitch.from_midi(69 + int(generator.choice(semitones))),), Fraction(1, 4)) for _ in range(4)))
        for _ in range(10)
    )
    return Tune(key, Metre(4, 4), bars, header=Header(tempo=Tempo(Fraction(1, 4), tempo)))


def end_on(tune: Tune, number: int) -> Tune:
    last = tune.bars[-1]
    notes = (*last.notes[:-1], Note((Pitch.from_midi(number),), Fraction(1, 4)))
    return replace(tune, bars=(*tune.bars[:-1], replace(last, notes=notes)))


IN_SEN = (0, 1, 5, 7, 10)


def test_obedient_tunes() -> None:
    tunes = [end_on(play(IN_SEN, number), 69 + 12) for number in range(4)] + [end_on(play(IN_SEN, 9), 70)]
    found = measure_obedience(INAZUMA, tunes)
    assert found.complete
    assert (found.nation, found.tunes, found.notes, found.bars, found.at_rest) == ("Inazuma", 5, 200, 50, 0.8)


def test_one_note_outside_of_the_scale() -> None:
    found = measure_obedience(INAZUMA, [end_on(play(IN_SEN, 1), 69 + 4)])
    assert (found.notes_outside, found.complete) == (1, False)


def test_notes_of_two_scales_of_the_nation_are_not_one_scale() -> None:
    tune = play((0, 1, 5, 7, 8, 10), 1)
    eights = sum((note.top.midi - 69) % 12 == 8 for note in tune.notes())
    tens = sum((note.top.midi - 69) % 12 == 10 for note in tune.notes())
    assert measure_obedience(INAZUMA, [tune]).notes_outside == min(eights, tens) > 0


def test_a_mode_that_the_nation_does_not_have() -> None:
    assert measure_obedience(INAZUMA, [play(IN_SEN, 1, key=Key("A", 0, "dorian"))]).notes_outside == 40


def test_bars_in_another_metre() -> None:
    tune = play(IN_SEN, 1)
    waltz = replace(tune, bars=(*tune.bars[:7], replace(tune.bars[7], metre=Metre(3, 4)), *tune.bars[8:]))
    found = measure_obedience(INAZUMA, [waltz])
    assert (found.bars_outside, found.complete) == (3, False)


def test_tempo_out_of_range_or_missing() -> None:
    silent = replace(play(IN_SEN, 1), header=Header())
    tunes = [play(IN_SEN, 1, tempo=60), play(IN_SEN, 1, tempo=92), play(IN_SEN, 1, tempo=93), silent]
    found = measure_obedience(INAZUMA, tunes)
    assert (found.tempos_outside, found.complete) == (2, False)


def test_scales_tell_nations_apart() -> None:
    styled = {
        "Inazuma": [play(IN_SEN, number) for number in range(40)],
        "Natlan": [play((0, 3, 5, 7, 10), number, Key("A", 0, "minor")) for number in range(40)],
    }
    real = [
        CorpusTune(play((0, 2, 4, 5, 7, 9, 11), 100 + number, Key("A")), 2, str(number), number, "train", str(number))
        for number in range(90)
    ]
    found = judge_styles(styled, real, {2: "Liyue"}, seed=1)
    assert found.nations == ("Liyue", "Inazuma", "Natlan")
    assert [sum(row) for row in found.counts] == [40, 40, 40]
    assert found.balanced_accuracy > 0.95
    assert judge_styles(styled, real, {2: "Liyue"}, seed=1) == found


def test_metre_and_key_note_are_seen() -> None:
    tune = play(IN_SEN, 1)
    plain = set(list_style_patterns(tune).tolist())
    assert set(list_style_patterns(replace(tune, metre=Metre(2, 4))).tolist()) != plain
    assert set(list_style_patterns(replace(tune, key=Key("D", 0, "phrygian"))).tolist()) != plain
    assert set(list_style_patterns(tune.transposed_to("D")).tolist()) == plain
