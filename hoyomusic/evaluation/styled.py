"""Nations that are styled by rule: is the rule kept in every note and bar, and can they be told apart?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hoyomusic.corpus import CorpusTune
from hoyomusic.evaluation.distances import shuffle
from hoyomusic.evaluation.judge import FOLDS, Confusion, Example, choose_folds, cross_examine
from hoyomusic.evaluation.melody import list_patterns, read_melody, take_middle
from hoyomusic.regions import Region
from hoyomusic.tune import Tune

# The length at which styled nations are told from others, in notes.
NOTES = 64

DEGREE_BITS = 4
METRE_BITS = 18


@dataclass(frozen=True, slots=True)
class Obedience:
    """How far the tunes of a nation keep its profile.

    `notes` that sound, and how many lie outside of the one scale of the nation that fits the tune best;
    `bars`, and how many are in a metre that is not the nation's; tunes whose tempo is out of range.
    `at_rest` is the share of tunes that end on a final of their scale: told, not promised.
    """

    nation: str
    tunes: int
    notes: int
    notes_outside: int
    bars: int
    bars_outside: int
    tempos_outside: int
    at_rest: float

    @property
    def complete(self) -> bool:
        """Whether scale, metre and tempo are kept everywhere."""
        return not (self.notes_outside or self.bars_outside or self.tempos_outside)


def measure_obedience(region: Region, tunes: Sequence[Tune]) -> Obedience:
    """The account of some tunes of a styled nation, from its profile alone."""
    metres = {name for name, _ in region.metres}
    notes = notes_outside = bars = bars_outside = tempos_outside = at_rest = 0
    for tune in tunes:
        home = tune.key.tonic_pitch.midi
        degrees = [(pitch.midi - home) % 12 for note in tune.notes() for pitch in note.pitches]
        # The scale's name is not written in a tune: it must fit one of those of its mode, and may fit several.
        outside = {
            scale: sum(degree not in scale.semitones for degree in degrees)
            for scale in region.scales
            if scale.mode == tune.key.mode
        }
        fewest = min(outside.values(), default=len(degrees))
        notes += len(degrees)
        notes_outside += fewest
        bars += len(tune.bars)
        bars_outside += sum(str(metre) not in metres for metre in tune.metres())
        tempo = tune.header.tempo
        tempos_outside += tempo is None or not region.tempo[0] <= tempo.quarters_per_minute <= region.tempo[1]
        at_rest += any(degrees[-1] in scale.finals for scale, count in outside.items() if count == fewest)
    return Obedience(
        region.name, len(tunes), notes, notes_outside, bars, bars_outside, tempos_outside, at_rest / len(tunes)
    )


def judge_styles(
    styled: Mapping[str, Sequence[Tune]], real: Sequence[CorpusTune], nations: Mapping[int, str], seed: int
) -> Confusion:
    """Whether generated tunes of styled nations can be told from each other and from real ones of learned nations.

    The judge may look at metre, degrees of the scale and the last degree too. It learns from, and is
    examined on, as many tunes of every nation, in folds.
    """
    most = max(len(tunes) for tunes in styled.values())
    chosen = []
    for label in nations:
        tunes = [entry for entry in real if entry.region == label]
        chosen += [tunes[index] for index in shuffle(len(tunes), seed, f"styles {label}")[:most]]
    examples = [
        Example(nations[entry.region], list_style_patterns(entry.tune), fold)
        for entry, fold in zip(chosen, choose_folds(chosen), strict=True)
    ]
    for nation, tunes in styled.items():
        examples += [Example(nation, list_style_patterns(tune), place % FOLDS) for place, tune in enumerate(tunes)]
    confusion, _ = cross_examine((*nations.values(), *styled), examples)
    return confusion


def list_style_patterns(tune: Tune) -> np.ndarray:
    """The patterns of the middle of a tune, with those of its scale degrees, its metre and its last degree."""
    melody = read_melody(tune)
    home = tune.key.tonic_pitch.midi
    middle = take_middle(melody, NOTES)
    degrees = [(number - home) % 12 for number, _ in middle]
    metre = 0 if tune.metre is None else tune.metre.beats << 9 | tune.metre.unit
    last = (melody[-1][0] - home) % 12
    return list_patterns(middle, ((degrees, DEGREE_BITS), ([metre], METRE_BITS), ([last], DEGREE_BITS)))
