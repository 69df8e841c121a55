"""How loud: channel volumes that bring each instrument to its place below the melody.

General MIDI programs differ by 16 dB at equal velocity; `arrangement_data/loudness.json` holds what
was measured with the TimGM6mb soundfont. MIDI volume and velocity act as 40 log10(value / reference)
decibels (MIDI Manufacturers Association, General MIDI Level 2, recommended curve; measured likewise).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from statistics import median

# A melody line at velocity 80 is brought to this loudness; hardly a program needs more than CC7 127.
MELODY_LUFS = -32.0
UNSET_VOLUME = 100
# Programs with much energy above 5 kHz sound louder than they measure.
HARSH_PROGRAMS = frozenset({6, 9, 13, 104, 105, 107, 109, 111})
HARSH_DB = -2.0
# The middle pitches of the registers in which loudness was measured (one octave each).
REGISTERS = (54, 66, 78)
MAXIMUM_VOLUME, MINIMUM_VOLUME = 127, 1


@cache
def _loudness() -> dict:
    return json.loads(files("hoyomusic").joinpath("arrangement_data/loudness.json").read_text(encoding="utf-8"))


def program_lufs(program: int, pitch: float) -> float:
    """Loudness of a line at velocity 80 round `pitch`, interpolated between registers; -33 if not measured."""
    low, middle, high = _loudness()["programs"].get(str(program), (-33.0, -33.0, -33.0))
    if pitch <= REGISTERS[1]:
        first, second, place = low, middle, (pitch - REGISTERS[0]) / (REGISTERS[1] - REGISTERS[0])
    else:
        first, second, place = middle, high, (pitch - REGISTERS[1]) / (REGISTERS[2] - REGISTERS[1])
    return first + (second - first) * min(1.0, max(0.0, place))


def volume(program: int, pitches: Sequence[int], db_below_melody: float = 0.0) -> int:
    """CC7 that brings a line of these pitches to its level relative to a melody; 100 for no pitches."""
    if not pitches:
        return UNSET_VOLUME
    target = MELODY_LUFS + db_below_melody + (HARSH_DB if program in HARSH_PROGRAMS else 0.0)
    return _volume(target - program_lufs(program, median(pitches)))


def drum_volume(keys: Sequence[int], db_below_melody: float) -> int:
    """CC7 for a set of percussion keys, by the loudest of them."""
    loudest = max(_loudness()["drums"][str(key)] for key in keys)
    return _volume(MELODY_LUFS + db_below_melody - loudest)


def _volume(gain_db: float) -> int:
    return min(MAXIMUM_VOLUME, max(MINIMUM_VOLUME, round(UNSET_VOLUME * gain_factor(gain_db))))


def gain_factor(db: float) -> float:
    """What a velocity or a volume is multiplied by to gain `db`."""
    return 10 ** (db / 40)
