"""The nations of Teyvat: their names, where their tunes come from, and how those without tunes are styled.

Which nations are learned and which are styled by rule is said here once and shown by `hoyo regions`.
Scales, metres and tempi of the styled nations are design choices after published descriptions of the
music they lean on; those of the learned nations were counted in their tunes.

>>> find_region("蒙德").name, find_region("mondstadt").label, find_region("6").name
('Mondstadt', 1, 'Natlan')
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hoyomusic.errors import UsageError, suggest


class Scale(NamedTuple):
    """A named set of semitones above the tonic, and the mode under which it is written.

    `finals` are the degrees (in semitones) on which a tune may come to rest.
    """

    name: str
    semitones: tuple[int, ...]
    mode: str
    finals: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Region:
    """One nation.

    `label` is its id in the hoyoMusic data set and in the model; `tempo` the range of crotchets a
    minute; `metres` the share of each metre, most frequent first; `programs` General MIDI melody
    instruments, counted from 0, first choice first. `scales` is empty for a learned nation: its
    scale is in its tunes. `finals` are the shares of its tunes that end on certain degrees (in semitones above
    the tonic; a third is of either kind), the rest end anywhere: learned nations only. `borrows` names the learned nation whose melodic habits a styled one takes.
    `about` says in a sentence what it is made of.
    """

    label: int
    name: str
    chinese: str
    learned: bool
    about: str
    metres: tuple[tuple[str, int], ...]
    tempo: tuple[int, int]
    programs: tuple[int, ...]
    scales: tuple[Scale, ...] = ()
    finals: tuple[tuple[tuple[int, ...], int], ...] = ()
    borrows: str = "Teyvat"


REGIONS: tuple[Region, ...] = (
    Region(
        0, "Teyvat", "提瓦特", True,
        "the general label: every tune of the corpus, of all nations and of none",
        (("2/4", 30), ("4/4", 25), ("3/4", 18), ("6/8", 17), ("2/2", 5), ("3/8", 4)),
        (84, 120), (73, 46, 40),
        finals=(((0,), 77), ((3, 4), 9), ((7,), 7)),
    ),
    Region(
        1, "Mondstadt", "蒙德", True,
        "Irish, Scottish and Northumbrian dance tunes and airs (O'Neill, Aird, Northumbrian Minstrelsy)",
        (("6/8", 31), ("4/4", 20), ("2/2", 20), ("2/4", 14), ("3/4", 9), ("9/8", 4)),
        (96, 126), (73, 74, 46, 110),
        finals=(((0,), 83), ((2,), 5), ((7,), 4)),
    ),
    Region(
        2, "Liyue", "璃月", True,
        "Chinese folk song, mostly of Han villages in the north (Essen collection)",
        (("2/4", 83), ("4/4", 9), ("3/4", 5)),
        (66, 108), (107, 73, 15, 110),
        finals=(((7,), 50), ((9,), 18), ((0,), 16), ((2,), 12)),
    ),
    Region(
        3, "Inazuma", "稻妻", False,
        "styled by rule: Japanese five-note scales built of tetrachords, calm duple metre",
        (("4/4", 70), ("2/4", 30)),
        (60, 92), (107, 77, 106),
        (
            Scale("miyako-bushi", (0, 1, 5, 7, 8), "phrygian", (0, 7)),
            Scale("in-sen", (0, 1, 5, 7, 10), "phrygian", (0, 7)),
            Scale("hirajoshi", (0, 2, 3, 7, 8), "minor", (0, 7)),
            Scale("ryukyu", (0, 4, 5, 7, 11), "major", (0, 7)),
        ),
        borrows="Liyue",
    ),
    Region(
        4, "Sumeru", "须弥", False,
        "styled by rule: maqam scales rounded to twelve tones, stepwise, asymmetric metres",
        (("4/4", 40), ("9/8", 20), ("6/8", 20), ("10/8", 20)),
        (72, 116), (24, 15, 104, 75),
        (
            Scale("hijaz", (0, 1, 4, 5, 7, 8, 10), "phrygian", (0,)),
            Scale("hijazkar", (0, 1, 4, 5, 7, 8, 11), "major", (0,)),
            Scale("nahawand", (0, 2, 3, 5, 7, 8, 11), "minor", (0,)),
            Scale("kurd", (0, 1, 3, 5, 7, 8, 10), "phrygian", (0,)),
        ),
    ),
    Region(
        5, "Fontaine", "枫丹", True,
        "song of Lorraine, Alsace and Luxembourg (Essen collection), not French dance music",
        (("2/4", 28), ("4/4", 25), ("3/4", 25), ("6/8", 13), ("3/8", 6)),
        (84, 140), (21, 6, 71, 40),
        finals=(((0,), 76), ((3, 4), 19), ((7,), 3)),
    ),
    Region(
        6, "Natlan", "纳塔", False,
        "styled by rule: Andean pentatonic scales, tresillo and huayno rhythm, quick",
        (("2/4", 40), ("4/4", 30), ("6/8", 20), ("12/8", 10)),
        (100, 138), (75, 79, 12, 24),
        (
            Scale("minor pentatonic", (0, 3, 5, 7, 10), "minor", (0, 3)),
            Scale("major pentatonic", (0, 2, 4, 7, 9), "major", (0, 9)),
            Scale("hexatonic", (0, 2, 4, 5, 7, 9), "major", (0, 9)),
        ),
        borrows="Mondstadt",
    ),
    Region(
        7, "Snezhnaya", "至冬", False,
        "styled by rule: natural and harmonic minor; its 447 shipped tunes are too few and not Slavic",
        (("2/4", 40), ("4/4", 35), ("3/4", 25)),
        (66, 132), (21, 25, 40),
        (
            Scale("natural minor", (0, 2, 3, 5, 7, 8, 10), "minor", (0, 3)),
            Scale("harmonic minor", (0, 2, 3, 5, 7, 8, 11), "minor", (0,)),
            Scale("dorian", (0, 2, 3, 5, 7, 9, 10), "dorian", (0,)),
        ),
    ),
)

TEYVAT = REGIONS[0]

# A nation that is styled by rule becomes a learned one when a corpus has this many tunes of it.
LEARNED_FROM = 600


def find_learned(tunes: Mapping[int, int]) -> tuple[Region, ...]:
    """The nations, Teyvat apart, of which a corpus has tunes enough; `tunes` counts those of each label.

    >>> [region.name for region in find_learned({0: 5696, 1: 3106, 2: 889, 4: 3693, 7: 370})]
    ['Mondstadt', 'Liyue', 'Sumeru']
    """
    return tuple(
        region
        for region in REGIONS[1:]
        if tunes.get(region.label, 0) >= (1 if region.learned else LEARNED_FROM)
    )


def find_region(name: str | int) -> Region:
    """The nation called `name`: English in any case, Chinese, or the label id (1, ``"1"``).

    Raises UsageError for anything else, with the nearest name.
    """
    text = str(name).strip()
    for region in REGIONS:
        if text.casefold() == region.name.casefold() or text == region.chinese or text == str(region.label):
            return region
    names = [region.name for region in REGIONS]
    hint = suggest(text, names, [region.chinese for region in REGIONS])
    raise UsageError(f"there is no nation {text!r}", remedy=hint)


class LabelRule(NamedTuple):
    """Which nation a shipped tune teaches: a shell pattern on the file, a regular expression on `O:`.

    `region` None means that the tune is left out, for the reason `why`.
    """

    file: str
    origin: str
    region: str | None
    why: str = ""


# First match wins. Paths are relative to the corpus folder of the music21 package.
LABEL_RULES: tuple[LabelRule, ...] = (
    LabelRule("essenFolksong/test*.abc", "", None, "test file that repeats other tunes"),
    LabelRule("josquin/*.abc", "", None, "part of a polyphonic work without bar lines"),
    LabelRule("essenFolksong/han*.abc", "", "Liyue"),
    LabelRule("essenFolksong/*.abc", "China|Yunnan", "Liyue"),
    LabelRule("essenFolksong/*.abc", "Irland", "Mondstadt"),
    LabelRule("oneills1850/*.abc", "", "Mondstadt"),
    LabelRule("airdsAirs/*.abc", "", "Mondstadt"),
    LabelRule("miscFolk/northumbrian*.abc", "", "Mondstadt"),
    LabelRule("essenFolksong/*.abc", "Lothringen|Elsass|Frankreich|franzoesisch|Luxemburg", "Fontaine"),
    LabelRule(
        "essenFolksong/*.abc",
        "Osteuropa|UdSSR|Russland|Polen|Ungarn|Tschecho|Rumaenien|Siebenb|Jugoslawien",
        "Snezhnaya",
    ),
)


def label_shipped_tune(file: str, origin: str) -> LabelRule:
    """The first rule that matches a tune of the shipped corpus; what no rule names teaches Teyvat."""
    for rule in LABEL_RULES:
        if fnmatch.fnmatchcase(file, rule.file) and re.search(rule.origin, origin):
            return rule
    return LabelRule("*", "", "Teyvat")
