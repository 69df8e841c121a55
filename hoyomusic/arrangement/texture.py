"""How each nation accompanies: figures of bass, chords, drone and drums for every metre, read from data.

The figures lie in `arrangement_data/patterns.json`, in eighths; here they become `Event`s in whole
notes from the bar line. A metre without a figure of its own gets a pulse: the bass at the start of
each group of beats, light chords on the rest. Free metre gets a drone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from hoyomusic.regions import Region
from hoyomusic.tune import Metre

# Notes of a pulse stop a little early, so that repeated ones are heard as strokes.
PULSE_BASS_SHARE, PULSE_CHORD_SHARE = Fraction(19, 20), Fraction(7, 10)


class Event(NamedTuple):
    """Something to play: onset from the bar line and length in whole notes, what, and a factor on velocity.

    `what`: ``R`` root, ``5`` fifth, ``T`` all tones in close position, ``O`` root, fifth and octave,
    ``1`` to ``4`` one voice of root, fifth, octave, tenth.
    """

    onset: Fraction
    length: Fraction
    what: str
    accent: float


class Texture(NamedTuple):
    """One bar of accompaniment."""

    name: str
    bass: tuple[Event, ...] = ()
    chord: tuple[Event, ...] = ()
    drone: tuple[Event, ...] = ()


class Hit(NamedTuple):
    """A stroke: onset from the bar line in whole notes, percussion key or pitch, factor on velocity."""

    onset: Fraction
    key: int
    accent: float


class Drums(NamedTuple):
    """One bar of percussion, played every `every_bars` bars; `program`: a pitched drum, not channel 10."""

    hits: tuple[Hit, ...] = ()
    every_bars: int = 1
    program: int | None = None


@dataclass(frozen=True, slots=True)
class Style:
    """A nation's band: General MIDI programs, figures by metre (first time, later times), drums by metre.

    `doubling`: from the second section on the chord instrument plays the melody an octave lower.
    """

    chord: int
    bass: int
    drone: int
    texture: dict[str, list[str]]
    drums: dict[str, str]
    doubling: bool = False


@cache
def patterns() -> dict[str, Any]:
    """The data file, as it is."""
    return json.loads(files("hoyomusic").joinpath("arrangement_data/patterns.json").read_text(encoding="utf-8"))


@cache
def style_of(name: str) -> Style:
    """The style of the nation called `name` (English)."""
    return Style(**patterns()["nations"][name])


def groups_of(metre: Metre, region: Region) -> tuple[int, ...]:
    """How the beats of a bar are grouped: as written, by the nation's habit, else in threes or twos."""
    if metre.groups:
        return metre.groups
    if region.name == "Sumeru" and metre[:2] == (9, 8):
        return 2, 2, 2, 3
    if metre[:2] == (10, 8):
        return 3, 2, 2, 3
    if metre.beats % 3 == 0:
        return (3,) * (metre.beats // 3)
    if metre.beats % 2 == 0:
        return (2,) * (metre.beats // 2)
    return (3,) + (2,) * ((metre.beats - 3) // 2) if metre.beats > 3 else (metre.beats,)


def metre_name(metre: Metre, region: Region) -> str:
    """Under which name the data keeps figures for a metre: even bars go by their length alone."""
    groups = groups_of(metre, region)
    if len(set(groups)) > 1:
        plain = metre[:2] in ((5, 8), (7, 8), (10, 8), (5, 4)) and not metre.groups
        return f"{metre.beats}/{metre.unit}" + ("" if plain else f" ({'+'.join(map(str, groups))})")
    if metre[:2] == (2, 2):
        return "2/2"
    if groups[0] == 2:
        return {Fraction(1): "4/4", Fraction(1, 2): "2/4"}.get(metre.length, f"{metre.beats}/{metre.unit}")
    return f"{metre.beats}/{metre.unit}"


def texture_for(region: Region, metre: Metre | None, length: Fraction, *, full: bool) -> Texture:
    """The figure for one bar of `length` whole notes: the thin one, or the full one of later sections."""
    style = style_of(region.name)
    name = "drone"
    if metre is not None:
        key = metre_name(metre, region)
        names = style.texture.get(key) or style.texture.get("default") or ["pulse"]
        name = names[-1] if full else names[0]
    drone = (Event(Fraction(0), length, "O", 0.8),)
    if metre is None or name == "drone":
        return Texture("drone", drone=drone)
    # An eighth is an eighth: minims are accompanied like crotchets.
    figure = patterns()["metres"].get("4/4" if key == "2/2" else key, {}).get(name)
    if figure is None:
        texture = pulse(groups_of(metre, region), Fraction(1, metre.unit))
    else:
        texture = Texture(name, *(tuple(map(_event, figure.get(voice, ()))) for voice in ("bass", "chord")))
    return texture._replace(chord=(), drone=drone) if full and style.doubling else texture


def pulse(groups: tuple[int, ...], unit: Fraction) -> Texture:
    """Bass on root and fifth in turn at the start of each group, chords on the other beats.

    >>> [event.what for event in pulse((3, 2, 2), Fraction(1, 8)).bass]
    ['R', '5', 'R']
    """
    bass, chord, beat = [], [], 0
    for number, size in enumerate(groups):
        accent = 1.0 if beat == 0 else 0.85
        bass.append(Event(beat * unit, size * unit * PULSE_BASS_SHARE, "R5"[number % 2], accent))
        for inner in range(1, size):
            light = 0.5 if size == 3 and inner == 1 else 0.65
            chord.append(Event((beat + inner) * unit, unit * PULSE_CHORD_SHARE, "T", light))
        beat += size
    return Texture("pulse", tuple(bass), tuple(chord))


@lru_cache(maxsize=256)
def drums_for(region: Region, metre: Metre | None) -> Drums:
    """The nation's percussion for a metre; none where it has none."""
    name = None if metre is None else style_of(region.name).drums.get(metre_name(metre, region))
    if name is None:
        return Drums()
    data = patterns()["drums"][name]
    hits = tuple(Hit(_eighths(onset), key, accent) for onset, key, accent in sorted(data["hits"]))
    return Drums(hits, data.get("every_bars", 1), data.get("program"))


def _event(row: list) -> Event:
    onset, length, what, accent = row
    return Event(_eighths(onset), _eighths(length), what, accent)


def _eighths(number: float) -> Fraction:
    """Eighths as in the data (1.5, 0.45) to whole notes, without the dust of binary fractions."""
    return Fraction(str(number)) / 8
