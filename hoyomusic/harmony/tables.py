"""What speaks for a chord in its place: tables learned from people, and tables made by the rules of a nation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from hoyomusic.harmony.chord import FIFTH, MAJOR, MINOR, Chord


@dataclass(frozen=True)
class ChordTable:
    """K chords relative to a tonic and what speaks for each of them.

    `length_weight`, `beat_weight` (K, 12): per semitone above the tonic; `bias`, `section_end` (K,);
    `phrase`: place -> (K,); `transition` (K, K): from, to; `change`: place -> cost.
    """

    roots: tuple[int, ...]
    intervals: tuple[tuple[int, ...], ...]
    length_weight: np.ndarray
    beat_weight: np.ndarray
    bias: np.ndarray
    section_end: np.ndarray
    phrase: dict[str, np.ndarray]
    transition: np.ndarray
    change: dict[str, float]

    def chord(self, index: int, tonic: int) -> Chord:
        """Chord number `index` over a tonic given as pitch class."""
        root = (tonic + self.roots[index]) % 12
        return Chord(root, self.intervals[index], root)

    @cached_property
    def costs(self) -> dict[str, np.ndarray]:
        """Place -> what a step from chord to chord adds there, (to, from): nothing where the chord stays."""
        stay = np.eye(len(self.roots), dtype=bool)
        return {place: np.where(stay, 0.0, self.transition + cost).T.copy() for place, cost in self.change.items()}

    def without(self, root: int, intervals: tuple[int, ...]) -> ChordTable:
        """The table without one of its chords."""
        kept = [
            index
            for index, chord in enumerate(zip(self.roots, self.intervals, strict=True))
            if chord != (root, intervals)
        ]
        return ChordTable(
            tuple(self.roots[index] for index in kept),
            tuple(self.intervals[index] for index in kept),
            self.length_weight[kept],
            self.beat_weight[kept],
            self.bias[kept],
            self.section_end[kept],
            {name: values[kept] for name, values in self.phrase.items()},
            self.transition[np.ix_(kept, kept)],
            self.change,
        )


@cache
def learned_table(mode: str) -> ChordTable:
    """The table for ``"major"`` or ``"minor"``, learned from written chord symbols."""
    text = files("hoyomusic").joinpath("arrangement_data/harmony.json").read_text(encoding="utf-8")
    data = json.loads(text)["modes"][mode]
    return ChordTable(
        tuple(root for root, _ in data["root_quality"]),
        tuple({"major": MAJOR, "minor": MINOR}[quality] for _, quality in data["root_quality"]),
        np.array(data["length_weight"]),
        np.array(data["beat_weight"]),
        np.array(data["bias"]),
        np.array(data["section_end"]),
        {name: np.array(values) for name, values in data["phrase"].items()},
        np.array(data["transition"]),
        data["change"],
    )


@cache
def natural_minor_table() -> ChordTable:
    """The learned table for minor without the major dominant, whose third is the raised seventh."""
    return learned_table("minor").without(7, MAJOR)


class Rule(NamedTuple):
    """A chord by rule: root above the tonic, sounding intervals, and a liking added in each slot.

    `before`: chords of this root like to follow it and it likes nothing else.
    """

    root: int
    intervals: tuple[int, ...]
    liking: float = 0.0
    before: int | None = None


# Chord tones speak for a chord, root before fifth and third; a neighbour by a semitone speaks against it.
ROOT_WEIGHT, TONE_WEIGHT, FOREIGN_WEIGHT, CLASH_WEIGHT = 1.0, 0.8, -0.2, -1.6
LEADS_WELL, LEADS_ASTRAY = 0.8, -1.5


def rule_table(rules: Sequence[Rule], change: float = -0.4) -> ChordTable:
    """The table that prefers, slot by slot, the chord with most of the melody in it; the first is home."""
    weights = np.full((len(rules), 12), FOREIGN_WEIGHT)
    transition = np.zeros((len(rules), len(rules)))
    for row, rule in enumerate(rules):
        tones = [(rule.root + interval) % 12 for interval in rule.intervals]
        for tone in tones:
            for neighbour in ((tone + 1) % 12, (tone - 1) % 12):
                if neighbour not in tones:
                    weights[row, neighbour] = CLASH_WEIGHT
        weights[row, tones] = TONE_WEIGHT
        weights[row, rule.root] = ROOT_WEIGHT
        if rule.before is not None:
            leads = [LEADS_WELL if other.root == rule.before else LEADS_ASTRAY for other in rules]
            transition[row] = leads
            transition[row, row] = 0.0
    count = len(rules)
    home = np.array([0.8] + [0.0] * (count - 1))
    return ChordTable(
        tuple(rule.root for rule in rules),
        tuple(rule.intervals for rule in rules),
        weights,
        weights / 2,
        np.array([rule.liking for rule in rules]),
        home,
        {"bar1a": home / 2, "other": np.zeros(count)},
        transition,
        {
            "bar": change / 2,
            "3/4 inner": 0.0,
            **dict.fromkeys(("4/4 half", "2/4 half", "6/8 half", "9/8 inner"), change),
        },
    )


MODAL = {
    # In dorian and mixolydian the chord below the tonic is the second chord; thirds and V are left out.
    "dorian": rule_table((Rule(0, FIFTH, 0.3), Rule(10, FIFTH), Rule(5, FIFTH, -0.4))),
    "mixolydian": rule_table((Rule(0, FIFTH, 0.3), Rule(10, FIFTH), Rule(5, FIFTH))),
}
# Open fifths whose two tones lie in the scale 0 2 4 7 9.
PENTATONIC = rule_table((Rule(0, FIFTH), Rule(7, FIFTH), Rule(2, FIFTH), Rule(9, FIFTH)))
# Minor (first) and its relative major with equal rank, each with its dominant before it.
MINOR_PAIR = rule_table(
    (
        Rule(0, MINOR),
        Rule(3, MAJOR),
        Rule(10, MAJOR, -0.2, before=3),
        Rule(7, MAJOR, -0.4, before=0),
        Rule(8, MAJOR, -0.4),
    )
)
# What a drone adds to its octave, and the degrees in whose company it does not.
DRONES = {
    "Inazuma": (((0, 7), frozenset({6, 8})), ((0, 5), frozenset({4, 6}))),
    "Sumeru": (((0, 7), frozenset({6, 8})),),
}
