"""What tunes are like as wholes, generated beside held-out: recurrence, cadence, range, contour, rhythm, metre.

A number for each tune is compared by how far its values would have to move (first Wasserstein distance),
counts by their Jensen-Shannon divergence in bits. Each distance stands beside that of two random parts
of the real tunes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hoyomusic.evaluation.distances import Distance, beside_chance, measure_divergence, measure_shift
from hoyomusic.evaluation.melody import list_intervals, list_ratios, read_melody
from hoyomusic.tune import Bar, Tune

LAGS = (1, 2, 4, 8)

# A phrase is taken to be so many bars.
PHRASE_BARS = 4


@dataclass(frozen=True, slots=True)
class FormRow:
    """One trait of a nation's tunes. The means of generated and held-out tunes are None for a trait that is counted."""

    nation: str
    trait: str
    distance: Distance
    means: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Form:
    """The traits of one tune: numbers (None where the tune has none) and counts, by name."""

    numbers: dict[str, float | None]
    counts: dict[str, Counter[Hashable]]


def compare_forms(
    nation: str, generated: Sequence[Form], held_out: Sequence[Form], real: Sequence[Form], seed: int
) -> tuple[FormRow, ...]:
    """The table of distances of a nation; `real` are all its real tunes, from which chance is drawn."""
    rows = []
    for trait in generated[0].numbers:
        means = tuple(float(np.mean(list_numbers(forms, trait) or [0.0])) for forms in (generated, held_out))
        rows.append((trait, _number_measure(trait), means))
    for trait in generated[0].counts:
        rows.append((trait, _count_measure(trait), None))
    return tuple(
        FormRow(nation, trait, beside_chance(generated, held_out, real, measure, seed), means)
        for trait, measure, means in rows
    )


def compare_histograms(nation: str, generated: Sequence[Form], real: Sequence[Form], seed: int) -> tuple[FormRow, ...]:
    """How far intervals and rhythms lie from those of all real tunes; chance: so many real tunes from all others."""
    return tuple(
        FormRow(nation, trait, beside_chance(generated, real, real, _count_measure(trait), seed), None)
        for trait in ("intervals", "rhythm")
    )


def list_numbers(forms: Sequence[Form], trait: str) -> list[float]:
    """The values of a trait, of those that have one."""
    return [value for form in forms if (value := form.numbers[trait]) is not None]


Measure = Callable[[Sequence[Form], Sequence[Form]], float]


def _number_measure(trait: str) -> Measure:
    return lambda one, other: measure_shift(list_numbers(one, trait), list_numbers(other, trait))


def _count_measure(trait: str) -> Measure:
    return lambda one, other: measure_divergence(sum_counts(one, trait), sum_counts(other, trait))


def sum_counts(forms: Sequence[Form], trait: str) -> Counter[Hashable]:
    """The counts of all together."""
    found: Counter[Hashable] = Counter()
    for form in forms:
        found.update(form.counts[trait])
    return found


# ---------------------------------------------------------------------- one tune


def read_form(tune: Tune) -> Form:
    """The traits of a tune that has notes, as written: repeats are not played."""
    bars = [frozenset(_list_sounds(bar)) for bar in tune.bars]
    melody = read_melody(tune)
    numbers = [number for number, _ in melody]
    home = tune.key.tonic_pitch.midi
    ends = [*(bar for bar in tune.bars[:-1] if bar.closes or bar.double), tune.bars[-1]]
    closing = [note for bar in ends if (note := _find_last_note(bar)) is not None]
    similar = {f"similar {lag} bar{'s' * (lag > 1)} on": _measure_similarity(bars, lag) for lag in LAGS}
    phrases = _cut_phrases(tune)
    return Form(
        numbers={
            "bars that recur": _share_recurring(bars),
            **similar,
            "ends on the tonic": float((numbers[-1] - home) % 12 == 0),
            "sections end on the tonic": sum((number - home) % 12 == 0 for number in closing) / len(closing)
            if closing
            else None,
            "ambitus": float(max(numbers) - min(numbers)),
            "notes a bar": len(melody) / len(bars),
            "bars": float(len(bars)),
            "repeat signs": float(any(bar.closes for bar in tune.bars)),
            "upbeat": float(tune.metre is not None and tune.bars[0].length < tune.metre.length),
        },
        counts={
            "contour of phrases": Counter(map(name_contour, phrases)),
            "intervals": Counter(list_intervals(melody).tolist()),
            "rhythm": Counter(zip(ratios := list_ratios(melody), ratios[1:], strict=False)),
            "lengths": Counter(length for _, length in melody),
            "metre": Counter([str(tune.metre)]),
            "mode": Counter([tune.key.mode]),
        },
    )


def _list_sounds(bar: Bar) -> list[tuple[Fraction, Fraction, int]]:
    """(onset in the bar, length, MIDI number) of each top note."""
    found, onset = [], Fraction(0)
    for note in bar.notes:
        if note.pitches:
            found.append((onset, note.length, note.top.midi))
        onset += note.length
    return found


def _find_last_note(bar: Bar) -> int | None:
    sounds = _list_sounds(bar)
    return sounds[-1][2] if sounds else None


def _share_recurring(bars: Sequence[frozenset]) -> float:
    """The share of bars that stand in the tune once more, note for note."""
    counts = Counter(bars)
    return sum(counts[bar] > 1 for bar in bars) / len(bars)


def _measure_similarity(bars: Sequence[frozenset], lag: int) -> float | None:
    """The mean share of notes (onset, length and pitch) that a bar has in common with that `lag` bars on (Dice)."""
    pairs = [(one, other) for one, other in zip(bars, bars[lag:], strict=False) if one or other]
    if not pairs:
        return None
    return float(np.mean([2 * len(one & other) / (len(one) + len(other)) for one, other in pairs]))


def _cut_phrases(tune: Tune) -> list[list[int]]:
    """The MIDI numbers of every `PHRASE_BARS` bars from the first full one on; what is left over is no phrase."""
    first = int(tune.metre is not None and tune.bars[0].length < tune.metre.length)
    found = []
    for start in range(first, len(tune.bars) - PHRASE_BARS + 1, PHRASE_BARS):
        numbers = [number for bar in tune.bars[start : start + PHRASE_BARS] for _, _, number in _list_sounds(bar)]
        if len(numbers) >= 3:
            found.append(numbers)
    return found


def name_contour(numbers: Sequence[int]) -> str:
    """The contour of a phrase by its first note, the mean of those between, and its last (Huron 1996).

    >>> name_contour([60, 64, 67, 62, 60]), name_contour([60, 62, 64])
    ('arch', 'rising')
    """
    first, middle, last = numbers[0], float(np.mean(numbers[1:-1])), numbers[-1]
    if middle > max(first, last):
        return "arch"
    if middle < min(first, last):
        return "valley"
    if first == last:
        return "level"
    return "rising" if last > first else "falling"
