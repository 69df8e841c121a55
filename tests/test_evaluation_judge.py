"""The judge: it tells strangers apart, its folds leak nothing, its ceiling on real tunes is where it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from hoyomusic.corpus import CorpusTune, load_corpus
from hoyomusic.evaluation.judge import (
    FOLDS,
    LENGTHS,
    Confusion,
    Example,
    Fidelity,
    choose_folds,
    cross_examine,
    judge_nations,
)
from hoyomusic.evaluation.melody import Melody, list_patterns, read_melody
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune

NATIONS = {1: "Mondstadt", 2: "Liyue"}
STEPS = {1: (2, 2, -1, -3), 2: (3, -5, 7, -2)}


def invent(label: int, number: int, notes: int = 48) -> Melody:
    """A melody whose steps are its nation's seven times out of ten."""
    generator = np.random.Generator(np.random.Philox(key=(label, number)))
    melody = [(70, Fraction(1, 8))]
    while len(melody) < notes:
        steps = STEPS[label if generator.random() < 0.7 else 3 - label]
        melody.append((melody[-1][0] + int(generator.choice(steps)), Fraction(1, 8)))
    return melody


def enter(label: int, number: int, cluster: int | None = None) -> tuple[CorpusTune, Melody]:
    melody = invent(label, number)
    bars = tuple(Bar((Note((Pitch.from_midi(max(0, sound)),), length),)) for sound, length in melody)
    tune = Tune(Key("C"), Metre(1, 8), bars)
    name = f"{label}-{number}"
    return CorpusTune(tune, label, name, 1000 * label + number if cluster is None else cluster, "train", name), melody


REAL = [enter(label, number) for label in NATIONS for number in range(40)]


def test_strangers_are_told_apart_and_generated_ones_like_real_ones() -> None:
    made = {name: [invent(label, 1000 + number) for number in range(25)] for label, name in NATIONS.items()}
    found = judge_nations(REAL, NATIONS, made)
    assert [each.notes for each in found] == list(LENGTHS)
    for each in found:
        assert each.real.nations == ("Mondstadt", "Liyue")
        assert [sum(row) for row in each.real.counts] == [40, 40]
        assert [sum(row) for row in each.generated.counts] == [25, 25]
        assert each.real.balanced_accuracy > 0.9
        assert each.fidelity == pytest.approx(1, abs=0.1)
    assert found[1].shorter == (1.0, 1.0)
    assert found[0].shorter == found[2].shorter == (0.0, 0.0)


def test_tunes_of_another_nation_are_found_out() -> None:
    made = {"Liyue": [invent(1, 1000 + number) for number in range(25)]}
    [_, _, whole] = judge_nations(REAL, NATIONS, made)
    assert whole.generated.recalls["Liyue"] < 0.1
    assert whole.generated.recalls.keys() == {"Liyue"}
    assert whole.fidelity == pytest.approx(whole.generated.recalls["Liyue"] / whole.real.recalls["Liyue"])


def test_tunes_without_meaning_are_judged_by_chance() -> None:
    """What a judge says of examples in its own fold, it did not learn: labels drawn by lot are not foretold."""
    examples = [
        Example(NATIONS[1 + number % 2], list_patterns(invent(1, number)), (number // 2) % FOLDS)
        for number in range(200)
    ]
    real, made = cross_examine(tuple(NATIONS.values()), examples)
    assert 0.35 < real.balanced_accuracy < 0.65
    assert made.counts == ((0, 0), (0, 0))


def test_near_duplicates_share_a_fold() -> None:
    tunes: Sequence[CorpusTune] = [enter(1, number, cluster=number // 3)[0] for number in range(90)]
    folds = choose_folds(tunes)
    assert all(len({folds[place] for place in range(first, first + 3)}) == 1 for first in range(0, 90, 3))
    assert set(folds) == set(range(FOLDS))
    assert choose_folds(tunes[::-1]) == folds[::-1]


def test_recalls_and_fidelity() -> None:
    real = Confusion(("a", "b", "c"), ((9, 1, 0), (2, 8, 0), (0, 0, 5)))
    made = Confusion(("a", "b", "c"), ((6, 4, 0), (0, 8, 2), (0, 0, 0)))
    assert real.recalls == {"a": 0.9, "b": 0.8, "c": 1.0}
    assert made.recalls == {"a": 0.6, "b": 0.8}
    assert real.balanced_accuracy == pytest.approx(0.9)
    assert Fidelity(32, real, made, (0, 0)).fidelity == pytest.approx(0.7 / 0.85)


@pytest.mark.slow
def test_the_ceiling_on_the_default_corpus() -> None:
    nations = {1: "Mondstadt", 2: "Liyue", 5: "Fontaine"}
    real = [(entry, read_melody(entry.tune)) for entry in load_corpus().tunes if entry.region in nations]
    made = {"Mondstadt": [melody for entry, melody in real if entry.region == 1][:1]}
    accuracies = [each.real.balanced_accuracy for each in judge_nations(real, nations, made)]
    assert accuracies == pytest.approx([0.93, 0.955, 0.96], abs=0.01)
