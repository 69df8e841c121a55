"""Exact duplicates are found in any key and unit; near duplicates are exactly those that brute force finds."""

import random
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.corpus import duplicates
from hoyomusic.corpus.duplicates import cluster_near_duplicates, join_melody, sign
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune


def make(numbers, eighths=None, rests=()):
    lengths = eighths or [1] * len(numbers)
    notes = []
    for index, (number, length) in enumerate(zip(numbers, lengths, strict=True)):
        notes.append(Note((Pitch.from_midi(number),), Fraction(length, 8)))
        if index in rests:
            notes.append(Note((), Fraction(1, 8)))
    return Tune(Key("C"), Metre(4, 4), (Bar(tuple(notes)),))


melodies = st.lists(st.tuples(st.integers(55, 84), st.integers(1, 8)), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(
    melodies,
    st.sampled_from([(1, 2), (2, 3), (-3, -5)]),
    st.sampled_from([Fraction(1, 2), Fraction(3), Fraction(4, 3)]),
)
def test_the_signature_is_blind_to_key_unit_rests_and_bars(melody, move, factor):
    numbers, lengths = zip(*melody, strict=True)
    tune = make(numbers, lengths)
    moved = tune.transposed(*move)
    notes = [replace(note, length=note.length * factor) for note in moved.notes()]
    half = len(notes) // 2
    other = Tune(Key("G"), None, (Bar(tuple(notes[:half])), Bar((Note((), Fraction(1, 4)), *notes[half:]))))
    assert sign(other) == sign(tune)


def test_the_signature_hears_a_changed_pitch_and_a_changed_length():
    tune = make([60, 62, 64, 60], [1, 1, 2, 4])
    others = [make([60, 62, 63, 60], [1, 1, 2, 4]), make([60, 62, 64, 60], [1, 2, 1, 4]), make([60, 62, 64], [1, 1, 2])]
    assert len({sign(tune), *map(sign, others)}) == 4


def test_tied_notes_sound_as_one():
    pitch = Pitch("A", 0, 4)
    tied = Note((pitch,), Fraction(1, 4), (pitch,))
    assert join_melody([tied, tied, Note((pitch,), Fraction(1, 8)), Note((pitch,), Fraction(1, 8))]) == [
        (69, Fraction(5, 8)),
        (69, Fraction(1, 8)),
    ]
    assert sign(Tune(Key("A"), None, (Bar((tied, replace(tied, ties=()))),))) == sign(make([69], [4]))


def brute_force(tunes):
    """The definition, pair by pair."""
    sets = [set(duplicates._windows(tune).tolist()) for tune in tunes]
    roots = list(range(len(sets)))
    for second in range(len(sets)):
        for first in range(second):
            common, union = len(sets[first] & sets[second]), len(sets[first] | sets[second])
            smaller = min(len(sets[first]), len(sets[second]))
            near = union and common / union >= duplicates.JACCARD
            inside = smaller >= duplicates.FEWEST_WINDOWS_CONTAINED and common >= duplicates.CONTAINMENT * smaller
            if near or inside:
                low, high = sorted((roots[first], roots[second]))
                roots = [low if root == high else root for root in roots]
    return roots


@pytest.mark.parametrize("seed", range(12))
def test_clusters_are_those_of_the_definition(seed, monkeypatch):
    """Mutated and cut copies of few melodies, with all degrees of likeness around both thresholds."""
    if seed % 2:  # work is done piece by piece where there is much of it
        monkeypatch.setattr(duplicates, "MATCHES_AT_A_TIME", 50)
        monkeypatch.setattr(duplicates, "PAIRS_AT_A_TIME", 7)
    chance = random.Random(seed)
    originals = [[chance.choice((60, 62, 64, 65, 67)) for _ in range(chance.randint(1, 60))] for _ in range(12)]
    tunes = []
    for _ in range(70):
        numbers = list(chance.choice(originals))
        for _ in range(chance.randint(0, 12)):
            numbers[chance.randrange(len(numbers))] = chance.randint(60, 72)
        start = chance.randint(0, len(numbers) // 2)
        tunes.append(make(numbers[start:]))
    assert cluster_near_duplicates(tunes) == brute_force(tunes)


def test_tunes_without_windows_are_alone():
    assert cluster_near_duplicates([make([60]), make([60]), make([60, 62, 64, 65, 67])]) == [0, 1, 2]
    assert cluster_near_duplicates([]) == []
