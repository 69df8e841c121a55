"""Which chord sounds where: learned scores or the rules of a nation, and the best path through them.

A melody is cut into slots (half a bar in 4/4, a crotchet in 2/4, a bar in 3/4, a dotted crotchet in
6/8). Each chord of a table gets a score in each slot: its weight for each melody note x how long the
note sounds, a bias, the place in the phrase, the end of a section; along the path come transition
and change. Viterbi finds the best path. The tables for major and minor were learned from chord
symbols that people wrote (`arrangement_data/harmony.json`); the others are made here, by rule. Where
a tune brings its own chord symbols, these are taken.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import NamedTuple

import numpy as np

from hoyomusic.regions import Region
from hoyomusic.score import PlayedBar, SoundingNote, sounding_notes
from hoyomusic.tune import NATURAL_SEMITONES, Key, Metre, Tune

FIFTH = (0, 7)
MAJOR, MINOR = (0, 4, 7), (0, 3, 7)


class Chord(NamedTuple):
    """A root and a bass note as pitch classes (C = 0), and intervals above the root, 0 first.

    >>> Chord(7, (0, 4, 7, 10), 7).tones
    (7, 11, 2, 5)
    """

    root: int
    intervals: tuple[int, ...]
    bass: int

    @property
    def tones(self) -> tuple[int, ...]:
        """Its pitch classes, root first."""
        return tuple((self.root + interval) % 12 for interval in self.intervals)

    @property
    def fifth(self) -> int:
        """The interval that stands in the fifth's place: a fifth, else a fourth, else the root again."""
        return next((interval for interval in (7, 6, 8, 5) if interval in self.intervals), 0)

    @property
    def third(self) -> int | None:
        """The interval of its third, if it has one."""
        return next((interval for interval in (3, 4) if interval in self.intervals), None)


class ChordSpan(NamedTuple):
    """A chord and when it holds, in whole notes from the start of the performance."""

    onset: Fraction
    end: Fraction
    chord: Chord


def harmonise(tune: Tune, bars: Sequence[PlayedBar], region: Region) -> list[ChordSpan]:
    """One chord after the other for the played bars, without gaps; equal neighbours are one span.

    Roots and tones follow the tune when it is transposed; nothing here is random.
    """
    bars = [bar for bar in bars if bar.length]
    found = _written_spans(tune, bars)
    if not found:
        line = _upper_line(sounding_notes(tune, bars))
        onsets = [note.onset for note in line]
        for key, group in groupby(bars, key=lambda bar: bar.key):
            passage = list(group)
            start, end = passage[0].onset, passage[-1].onset + passage[-1].length
            # A note held over the change of key still sounds in the first slot behind it.
            notes = line[max(0, bisect_left(onsets, start) - 1) : bisect_left(onsets, end)]
            found += _choose(key, passage, notes, region)
    return _merged(found)


def _merged(spans: Sequence[ChordSpan]) -> list[ChordSpan]:
    merged: list[ChordSpan] = []
    for span in spans:
        if merged and merged[-1].chord == span.chord:
            merged[-1] = merged[-1]._replace(end=span.end)
        else:
            merged.append(span)
    return merged


def _upper_line(notes: Sequence[SoundingNote]) -> list[SoundingNote]:
    """The highest of the notes that start together."""
    return [max(group, key=lambda note: note.pitch) for _, group in groupby(notes, key=lambda note: note.onset)]


# ------------------------------------------------------------------ slots


class Slot(NamedTuple):
    """A stretch with one chord: onset, end, the bar it lies in, whether it starts in the bar's second half."""

    onset: Fraction
    end: Fraction
    bar: PlayedBar
    second_half: bool
    first: bool
    last: bool


def slots_of(bars: Sequence[PlayedBar]) -> list[Slot]:
    """The slots of some bars; a short bar ends its last slot early, free metre has a slot each half note."""
    found = []
    for bar in bars:
        step = Fraction(1, 2) if bar.metre is None else _slot_length(bar.metre)
        middle = bar.length / 2 if bar.metre is None else bar.metre.length / 2
        offset = Fraction(0)
        while offset < bar.length:
            following = min(offset + step, bar.length)
            onset, end = bar.onset + offset, bar.onset + following
            found.append(Slot(onset, end, bar, offset >= middle, offset == 0, following == bar.length))
            offset = following
    return found


def _slot_length(metre: Metre) -> Fraction:
    if metre.compound:
        return metre.beat
    if metre.beats % 2 == 0 and not metre.groups:
        return metre.length / 2
    return metre.length


def _counting_beat(metre: Metre | None) -> Fraction:
    """The unit in which the tables count lengths."""
    if metre is None:
        return Fraction(1, 4)
    return metre.beat if metre.compound or metre[:2] == (2, 2) else Fraction(1, 4)


def _change_name(metre: Metre | None) -> str:
    """Under which name the tables keep the cost of a change inside a bar of this metre."""
    if metre is None:
        return "4/4 half"
    if metre.compound:
        return "9/8 inner" if metre.beats == 9 else "6/8 half"
    if metre.beats % 3 == 0:
        return "3/4 inner"
    return "2/4 half" if metre.length <= Fraction(1, 2) else "4/4 half"


PHRASE_BARS = {0: "bar1", 3: "bar4", 6: "bar7", 7: "bar8"}


# ------------------------------------------------------------------ tables


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


# ------------------------------------------------------------------ choosing


def find_mode(key: Key, notes: Sequence[SoundingNote]) -> tuple[int, str]:
    """The tonic's pitch class and the mode that the notes show: major, minor, dorian or mixolydian.

    The key note is believed, its mode is not: many collections write every tune as major. Thirds and
    sevenths are weighed by their sounding length. Without a key (``K:none``) the last note is the tonic.
    A tune in major that rests on its sixth degree, and whose minor triad there outweighs the major one,
    is in the relative minor.
    """
    share = np.zeros(12)  # by pitch class
    for note in notes:
        share[note.pitch % 12] += float(note.length)
    final = notes[-1].pitch % 12 if notes else 0
    tonic = final if key.mode == "none" else (NATURAL_SEMITONES[key.letter] + key.accidental) % 12
    degree = np.roll(share, -tonic)
    minor_third = degree[3] > degree[4]
    if degree[3] == degree[4]:
        minor_third = key.mode in ("minor", "dorian", "phrygian", "locrian")
    if not minor_third:
        if (final - tonic) % 12 == 9 and degree[[9, 0, 4]].sum() > degree[[0, 4, 7]].sum():
            return final, "minor"
        if degree[10] == degree[11]:
            return tonic, "mixolydian" if key.mode == "mixolydian" and degree[10] else "major"
        return tonic, "mixolydian" if degree[10] > degree[11] and degree[10] > 0.01 * degree.sum() else "major"
    if degree[9] > degree[8] and degree[10] > degree[11]:
        return tonic, "dorian"
    return tonic, "minor"


def find_pentatonic(key: Key, notes: Sequence[SoundingNote]) -> int:
    """The pitch class on which 0 2 4 7 9 holds most of the melody; among equals the key note first."""
    share = np.zeros(12)
    for note in notes:
        share[note.pitch % 12] += float(note.length)
    home = 0 if key.mode == "none" else (NATURAL_SEMITONES[key.letter] + key.accidental) % 12
    # Rounded: equal shares summed in another order must not decide by their last bit.

    def held(do: int) -> float:
        return round(sum(share[(do + degree) % 12] for degree in (0, 2, 4, 7, 9)), 9)

    return max(range(home, home + 12), key=held) % 12


def _choose(key: Key, bars: Sequence[PlayedBar], notes: Sequence[SoundingNote], region: Region) -> list[ChordSpan]:
    """Chords for bars in one key by the ways of a nation."""
    slots = slots_of(bars)
    tonic, mode = find_mode(key, notes)
    if region.name in DRONES:
        return _drone(slots, notes, tonic, region.name)
    if region.name == "Liyue":
        do = find_pentatonic(key, notes)
        path = best_path(PENTATONIC, slots, notes, do)
        if notes:
            # The final stands on its own fifth; the third degree has none in the scale and takes the fourth below.
            final = (notes[-1].pitch - do) % 12
            root = {0: 0, 2: 2, 4: 9, 7: 7, 9: 9}.get(final)
            if root is not None:
                path[-1] = PENTATONIC.roots.index(root)
        return _spans(PENTATONIC, slots, path, do)
    if region.name == "Natlan" and mode != "mixolydian":
        low = (tonic + 9) % 12 if mode == "major" else tonic  # the minor tonic of the pair
        path = best_path(MINOR_PAIR, slots, notes, low)
        return _spans(MINOR_PAIR, slots, _with_home(MINOR_PAIR, path, notes, low, tonic), low)
    if mode in MODAL:
        table = MODAL[mode]
    else:
        table = learned_table(mode)
        degrees = {(note.pitch - tonic) % 12 for note in notes}
        if mode == "minor" and 11 not in degrees:
            table = table.without(7, MAJOR)
    path = _with_home(table, best_path(table, slots, notes, tonic), notes, tonic, tonic)
    spans = _spans(table, slots, path, tonic)
    if region.name == "Fontaine" and mode in ("major", "minor"):
        dominant = Chord((tonic + 7) % 12, MAJOR, (tonic + 7) % 12)
        spans = [
            span._replace(chord=span.chord._replace(intervals=(*MAJOR, 10))) if span.chord == dominant else span
            for span in spans
        ]
    return spans


def _with_home(table: ChordTable, path: list[int], notes: Sequence[SoundingNote], base: int, tonic: int) -> list[int]:
    """The path ending on the tonic's chord where the last note belongs to it."""
    home = table.roots.index((tonic - base) % 12)
    if notes and (notes[-1].pitch - tonic) % 12 in (0, 7, *table.intervals[home]):
        path[-1] = home
    return path


def _spans(table: ChordTable, slots: Sequence[Slot], path: Sequence[int], tonic: int) -> list[ChordSpan]:
    return [ChordSpan(slot.onset, slot.end, table.chord(index, tonic)) for slot, index in zip(slots, path, strict=True)]


def _slot_notes(slots: Sequence[Slot], notes: Sequence[SoundingNote]) -> list[list[SoundingNote]]:
    """For each slot the notes that sound in it, both in order of time."""
    found: list[list[SoundingNote]] = []
    first = 0
    for slot in slots:
        while first < len(notes) and notes[first].onset + notes[first].length <= slot.onset:
            first += 1
        last = first
        while last < len(notes) and notes[last].onset < slot.end:
            last += 1
        found.append(list(notes[first:last]))
    return found


def best_path(table: ChordTable, slots: Sequence[Slot], notes: Sequence[SoundingNote], tonic: int) -> list[int]:
    """The index of the chord in each slot, by Viterbi; `notes` is one line in order of time."""
    if not slots:
        return []
    count = len(table.roots)
    back = np.zeros((len(slots), count), dtype=np.int64)
    total = np.zeros(count)
    stay = np.eye(count, dtype=bool)
    for position, (slot, inside) in enumerate(zip(slots, _slot_notes(slots, notes), strict=True)):
        if position:
            cost = table.change["bar" if slot.first else _change_name(slot.bar.metre)]
            step = total[:, None] + np.where(stay, 0.0, table.transition + cost)  # (K from, K to)
            back[position] = step.argmax(axis=0)
            total = step.max(axis=0)
        total = total + _slot_score(table, slot, inside, tonic)
    path = [int(total.argmax())]
    for position in range(len(slots) - 1, 0, -1):
        path.append(int(back[position, path[-1]]))
    return path[::-1]


def _slot_score(table: ChordTable, slot: Slot, notes: Sequence[SoundingNote], tonic: int) -> np.ndarray:
    beat = _counting_beat(slot.bar.metre)
    score = table.bias.copy()
    for note in notes:
        degree = (note.pitch - tonic) % 12
        inside = min(note.onset + note.length, slot.end) - max(note.onset, slot.onset)
        score += table.length_weight[:, degree] * float(inside / beat)
        if note.on_beat and note.onset >= slot.onset:
            score += table.beat_weight[:, degree] * min(1.0, float(note.length / beat))
    place = PHRASE_BARS.get(slot.bar.number % 8, "") if slot.bar.number >= 0 else ""
    score += table.phrase.get(place + "ab"[slot.second_half], table.phrase["other"])
    if slot.last and slot.bar.section_end:
        score += table.section_end
    return score


def _drone(slots: Sequence[Slot], notes: Sequence[SoundingNote], tonic: int, nation: str) -> list[ChordSpan]:
    """The tonic throughout, with its fifth or fourth in slots where the melody keeps clear of it."""
    spans = []
    for slot, inside in zip(slots, _slot_notes(slots, notes), strict=True):
        degrees = {(note.pitch - tonic) % 12 for note in inside}
        intervals = next((intervals for intervals, forbidden in DRONES[nation] if not degrees & forbidden), (0,))
        spans.append(ChordSpan(slot.onset, slot.end, Chord(tonic, intervals, tonic)))
    return spans


# ------------------------------------------------------------------ written chord symbols


# Chord names as in ABC 2.1, section 4.18: a root, a kind, a bass note.
_SYMBOL = re.compile(r"([A-G])([#b♯♭]?)([^/]*)(?:/([A-G])([#b♯♭]?))?")
_ALTERATION = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}
_KINDS = {
    "": MAJOR, "maj": MAJOR, "M": MAJOR, "5": FIFTH, "m": MINOR, "min": MINOR, "-": MINOR,
    "7": (0, 4, 7, 10), "9": (0, 4, 7, 10), "11": (0, 4, 7, 10), "13": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11), "M7": (0, 4, 7, 11), "6": (0, 4, 7, 9), "add9": MAJOR, "2": (0, 2, 7),
    "m7": (0, 3, 7, 10), "min7": (0, 3, 7, 10), "-7": (0, 3, 7, 10), "m9": (0, 3, 7, 10), "m6": (0, 3, 7, 9),
    "dim": (0, 3, 6), "°": (0, 3, 6), "o": (0, 3, 6), "dim7": (0, 3, 6, 9), "m7b5": (0, 3, 6, 10),
    "aug": (0, 4, 8), "+": (0, 4, 8), "sus": (0, 5, 7), "sus4": (0, 5, 7), "sus2": (0, 2, 7), "7sus4": (0, 5, 7, 10),
}  # fmt: skip


def read_symbol(text: str) -> Chord | None:
    """The chord that a symbol names, or None where it is no chord (a fingering, a remark).

    >>> read_symbol("D7/F#"), read_symbol("Fine")
    (Chord(root=2, intervals=(0, 4, 7, 10), bass=6), None)
    """
    match = _SYMBOL.fullmatch(text.strip().strip("()"))
    if match is None or match[3].strip() not in _KINDS:
        return None
    root = (NATURAL_SEMITONES[match[1]] + _ALTERATION[match[2]]) % 12
    bass = root if match[4] is None else (NATURAL_SEMITONES[match[4]] + _ALTERATION[match[5]]) % 12
    return Chord(root, _KINDS[match[3].strip()], bass)


def _written_spans(tune: Tune, bars: Sequence[PlayedBar]) -> list[ChordSpan]:
    """The chords that the tune itself names; empty where it names hardly any (one for eight bars)."""
    held: Chord | None = None
    written: list[tuple[Chord | None, list[tuple[Fraction, Chord]]]] = []  # per bar: what holds before, changes
    for bar in tune.bars:
        before, offset, changes = held, Fraction(0), []
        for note in bar.notes:
            chord = read_symbol(note.symbol) if note.symbol else None
            if chord is not None:
                changes.append((offset, chord))
                held = chord
            offset += note.length
        written.append((before, changes))
    named = [chord for _, changes in written for _, chord in changes]
    if not named or 8 * len(named) < len(tune.bars):
        return []
    spans: list[ChordSpan] = []
    for bar in bars:
        before, changes = written[bar.index]
        end = bar.onset + bar.length
        chord, onset = before or named[0], bar.onset
        for offset, following in changes:
            if offset:
                spans.append(ChordSpan(onset, bar.onset + offset, chord))
            chord, onset = following, bar.onset + offset
        spans.append(ChordSpan(onset, end, chord))
    return spans
