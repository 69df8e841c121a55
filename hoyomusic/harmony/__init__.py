"""Which chord sounds where: learned scores or the rules of a nation, and the best path through them.

A melody is cut into slots (half a bar in 4/4, a crotchet in 2/4, a bar in 3/4, a dotted crotchet in
6/8). Each chord of a table gets a score in each slot: its weight for each melody note x how long the
note sounds, a bias, the place in the phrase, the end of a section; along the path come transition
and change. Viterbi finds the best path. The tables for major and minor were learned from chord
symbols that people wrote (`arrangement_data/harmony.json`); the others are made by rule. Where
a tune brings its own chord symbols, these are taken.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np

from hoyomusic.harmony.chord import MAJOR, Chord, read_symbol
from hoyomusic.harmony.tables import (
    DRONES,
    MINOR_PAIR,
    MODAL,
    PENTATONIC,
    ChordTable,
    learned_table,
    natural_minor_table,
)
from hoyomusic.regions import Region
from hoyomusic.score import LONGEST_PLAYED, PlayedBar, SoundingNote, Timeline, in_parts, timeline_of
from hoyomusic.tune import NATURAL_SEMITONES, Key, Metre, Tune

__all__ = ["Chord", "ChordSpan", "find_mode", "find_pentatonic", "harmonise", "harmonise_timeline", "read_symbol"]


class ChordSpan(NamedTuple):
    """A chord and when it holds, from the start of the performance: in whole notes, or as a timeline counts."""

    onset: Fraction
    end: Fraction
    chord: Chord


def harmonise(tune: Tune, bars: Sequence[PlayedBar], region: Region) -> list[ChordSpan]:
    """One chord after the other for the played bars, without gaps; equal neighbours are one span.

    Roots and tones follow the tune when it is transposed; nothing here is random.
    """
    timeline = timeline_of(tune, bars)
    return [
        ChordSpan(Fraction(onset, timeline.whole), Fraction(end, timeline.whole), chord)
        for onset, end, chord in harmonise_timeline(tune, timeline, region)
    ]


def harmonise_timeline(tune: Tune, timeline: Timeline, region: Region) -> list[ChordSpan]:
    """`harmonise` for a tune that is laid out: the times of the spans are whole numbers as its own."""
    whole = timeline.whole
    bars = [bar for bar in timeline.bars if bar.length]
    found = _written_spans(tune, bars, whole)
    if not found:
        line = _upper_line(timeline.notes)
        onsets = [note.onset for note in line]
        for key, group in groupby(bars, key=lambda bar: bar.key):
            passage = list(group)
            start, end = passage[0].onset, passage[-1].onset + passage[-1].length
            # A note held over the change of key still sounds in the first slot behind it.
            notes = line[max(0, bisect_left(onsets, start) - 1) : bisect_left(onsets, end)]
            found += _choose(key, passage, notes, region, whole)
    return _merged(found)


def _merged(spans: Sequence[ChordSpan]) -> list[ChordSpan]:
    merged: list[ChordSpan] = []
    for chord, group in groupby(spans, key=lambda span: span.chord):
        first, *others = group
        merged.append(ChordSpan(first.onset, others[-1].end, chord) if others else first)
    return merged


def _upper_line(notes: Sequence[SoundingNote]) -> list[SoundingNote]:
    """The highest of the notes that start together."""
    highest: dict[int, SoundingNote] = {}
    for note in notes:
        other = highest.setdefault(note.onset, note)
        if note.pitch > other.pitch:
            highest[note.onset] = note
    return list(highest.values())


# ------------------------------------------------------------------ slots


# Times of a timeline with so many parts are whole numbers that a float64 holds too.
MOST_EXACT_PARTS = 2**53 // LONGEST_PLAYED


class Slot(NamedTuple):
    """A stretch with one chord: onset, end, the bar it lies in, whether it starts in the bar's second half."""

    onset: Fraction
    end: Fraction
    bar: PlayedBar
    second_half: bool
    first: bool
    last: bool


def slots_of(bars: Sequence[PlayedBar], whole: int) -> list[Slot]:
    """The slots of some bars; a short bar ends its last slot early, free metre has a slot each half note."""
    found = []
    for bar in bars:
        found += [
            Slot(bar.onset + offset, bar.onset + following, bar, second_half, offset == 0, following == bar.length)
            for offset, following, second_half in _cuts(bar.metre, bar.length, whole)
        ]
    return found


@lru_cache(maxsize=256)
def _cuts(metre: Metre | None, length: int, whole: int) -> list[tuple[int, int, bool]]:
    """Where the slots of a bar of `length` begin and end, and whether they lie in its second half."""
    step = in_parts(_slot_length(metre), whole)
    middle = length // 2 if metre is None else in_parts(metre.length, whole) // 2
    return [(offset, min(offset + step, length), offset >= middle) for offset in range(0, length, step)]


def _slot_length(metre: Metre | None) -> Fraction:
    if metre is None:
        return Fraction(1, 2)
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


# ------------------------------------------------------------------ choosing


def find_mode(key: Key, notes: Sequence[SoundingNote], whole: int = 1) -> tuple[int, str]:
    """The tonic's pitch class and the mode that the notes show: major, minor, dorian or mixolydian.

    The key note is believed, its mode is not: many collections write every tune as major. Thirds and
    sevenths are weighed by their sounding length. Without a key (``K:none``) the last note is the tonic.
    A tune in major that rests on its sixth degree, and whose minor triad there outweighs the major one,
    is in the relative minor. Times of `notes` are in 1/`whole` of a whole note.
    """
    share = _shares(notes, whole)
    final = notes[-1].pitch % 12 if notes else 0
    tonic = final if key.mode == "none" else (NATURAL_SEMITONES[key.letter] + key.accidental) % 12
    degree = np.concatenate((share[tonic:], share[:tonic]))
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


def _shares(notes: Sequence[SoundingNote], whole: int) -> np.ndarray:
    """How long each pitch class sounds, in whole notes."""
    share = [0.0] * 12
    for _, length, pitch, _, _ in notes:
        share[pitch % 12] += float(length / whole)
    return np.array(share)


def find_pentatonic(key: Key, notes: Sequence[SoundingNote], whole: int = 1) -> int:
    """The pitch class on which 0 2 4 7 9 holds most of the melody; among equals the key note first."""
    share = _shares(notes, whole)
    home = 0 if key.mode == "none" else (NATURAL_SEMITONES[key.letter] + key.accidental) % 12
    # Rounded: equal shares summed in another order must not decide by their last bit.

    def held(do: int) -> float:
        return round(sum(share[(do + degree) % 12] for degree in (0, 2, 4, 7, 9)), 9)

    return max(range(home, home + 12), key=held) % 12


def _choose(
    key: Key, bars: Sequence[PlayedBar], notes: Sequence[SoundingNote], region: Region, whole: int
) -> list[ChordSpan]:
    """Chords for bars in one key by the ways of a nation."""
    slots = slots_of(bars, whole)
    tonic, mode = find_mode(key, notes, whole)
    if region.name in DRONES:
        return _drone(slots, notes, tonic, region.name)
    if region.name == "Liyue":
        do = find_pentatonic(key, notes, whole)
        path = best_path(PENTATONIC, slots, notes, do, whole)
        if notes:
            # The final stands on its own fifth; the third degree has none in the scale and takes the fourth below.
            final = (notes[-1].pitch - do) % 12
            root = {0: 0, 2: 2, 4: 9, 7: 7, 9: 9}.get(final)
            if root is not None:
                path[-1] = PENTATONIC.roots.index(root)
        return _spans(PENTATONIC, slots, path, do)
    if region.name == "Natlan" and mode != "mixolydian":
        low = (tonic + 9) % 12 if mode == "major" else tonic  # the minor tonic of the pair
        path = best_path(MINOR_PAIR, slots, notes, low, whole)
        return _spans(MINOR_PAIR, slots, _with_home(MINOR_PAIR, path, notes, low, tonic), low)
    if mode in MODAL:
        table = MODAL[mode]
    else:
        degrees = {(note.pitch - tonic) % 12 for note in notes}
        table = learned_table(mode) if mode == "major" or 11 in degrees else natural_minor_table()
    path = _with_home(table, best_path(table, slots, notes, tonic, whole), notes, tonic, tonic)
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
    chords = [table.chord(index, tonic) for index in range(len(table.roots))]
    return [ChordSpan(slot.onset, slot.end, chords[index]) for slot, index in zip(slots, path, strict=True)]


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


def best_path(
    table: ChordTable, slots: Sequence[Slot], notes: Sequence[SoundingNote], tonic: int, whole: int
) -> list[int]:
    """The index of the chord in each slot, by Viterbi; `notes` is one line in order of time."""
    if not slots:
        return []
    costs = {metre: table.costs[_change_name(metre)] for metre in {slot.bar.metre for slot in slots}}
    scores = _slot_scores(table, slots, notes, tonic, whole)
    steps = np.empty((len(slots) - 1, *table.transition.shape))  # (slot, to, from)
    total = scores[0]
    for slot, step, score in zip(slots[1:], steps, scores[1:], strict=True):
        np.add(total, table.costs["bar"] if slot.first else costs[slot.bar.metre], out=step)
        total = np.maximum.reduce(step, 1) + score
    path = [int(total.argmax())]
    for before in reversed(steps.argmax(axis=2).tolist()):
        path.append(before[path[-1]])
    return path[::-1]


def _slot_scores(
    table: ChordTable, slots: Sequence[Slot], notes: Sequence[SoundingNote], tonic: int, whole: int
) -> np.ndarray:
    """What speaks for each chord in each slot, (S, K): bias, notes in order of time, place in the phrase, end."""
    scores = table.bias + np.zeros((len(slots), 1))
    if notes:
        _add_notes(scores, table, slots, notes, tonic, whole)
    other = table.phrase["other"]
    places = [
        (PHRASE_BARS.get(slot.bar.number % 8, "") if slot.bar.number >= 0 else "") + "ab"[slot.second_half]
        for slot in slots
    ]
    scores += np.array([table.phrase.get(place, other) for place in places])
    scores[[slot.last and slot.bar.section_end for slot in slots]] += table.section_end
    return scores


def _add_notes(
    scores: np.ndarray,
    table: ChordTable,
    slots: Sequence[Slot],
    notes: Sequence[SoundingNote],
    tonic: int,
    whole: int,
) -> None:
    """What the notes in each slot say for each chord is added to `scores` (S, K), one by one in order of time."""
    beats = {metre: in_parts(_counting_beat(metre), whole) for metre in {slot.bar.metre for slot in slots}}
    number = np.float64 if whole <= MOST_EXACT_PARTS else object  # objects count like Python's own numbers, slowly
    starts, ends, beat = np.array([(slot.onset, slot.end, beats[slot.bar.metre]) for slot in slots], number).T
    columns = np.fromiter(chain.from_iterable(notes), number).reshape(-1, len(SoundingNote._fields))
    onsets, lengths, pitches, _, on_beat = columns.T
    degrees = ((pitches - tonic) % 12).astype(np.int64)
    stops = onsets + lengths
    # The notes of a slot: from the first that has not ended before it to the last that begins in it.
    first = np.searchsorted(np.maximum.accumulate(stops), starts, "right")
    count = np.searchsorted(onsets, ends) - first
    order = np.arange(max(0, count.max()))[:, None]  # (N, S): the notes of each slot by their number, or none
    inside = order < count
    which = np.minimum(first + order, len(notes) - 1)
    # Beats within the slot; beats of those that start on a beat, or 0.
    sounding = np.where(inside, (np.minimum(stops[which], ends) - np.maximum(onsets[which], starts)) / beat, 0.0)
    counted = inside & on_beat.astype(bool)[which] & (onsets[which] >= starts)
    accents = np.where(counted, np.minimum(1.0, lengths[which] / beat), 0.0)
    length_weight, beat_weight = table.length_weight.T, table.beat_weight.T
    for each, length, accent in zip(degrees[which], sounding.astype(float), accents.astype(float), strict=True):
        scores += length_weight[each] * length[:, None]
        scores += beat_weight[each] * accent[:, None]


def _drone(slots: Sequence[Slot], notes: Sequence[SoundingNote], tonic: int, nation: str) -> list[ChordSpan]:
    """The tonic throughout, with its fifth or fourth in slots where the melody keeps clear of it."""
    spans = []
    for slot, inside in zip(slots, _slot_notes(slots, notes), strict=True):
        degrees = {(note.pitch - tonic) % 12 for note in inside}
        intervals = next((intervals for intervals, forbidden in DRONES[nation] if not degrees & forbidden), (0,))
        spans.append(ChordSpan(slot.onset, slot.end, Chord(tonic, intervals, tonic)))
    return spans


# ------------------------------------------------------------------ written chord symbols


def _written_spans(tune: Tune, bars: Sequence[PlayedBar], whole: int) -> list[ChordSpan]:
    """The chords that the tune itself names; empty where it names hardly any (one for eight bars)."""
    if not any(note.symbol for bar in tune.bars for note in bar.notes):
        return []
    held: Chord | None = None
    written: list[tuple[Chord | None, list[tuple[int, Chord]]]] = []  # per bar: what holds before, changes
    for bar in tune.bars:
        before, offset, changes = held, 0, []
        for note in bar.notes:
            chord = read_symbol(note.symbol) if note.symbol else None
            if chord is not None:
                changes.append((offset, chord))
                held = chord
            offset += in_parts(note.length, whole)
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
