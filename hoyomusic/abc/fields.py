"""The values of ABC fields that say something about the music: key, metre, unit length, tempo, play order.

Readers raise AbcError without a place, which the caller knows; what they can only guess comes with a notice.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from hoyomusic.abc.text import read_text, write_text
from hoyomusic.errors import AbcError, TuneError
from hoyomusic.tune import LETTERS, Key, Metre, Tempo

# ---------------------------------------------------------------------- K: (ABC 2.1, section 3.1.14)

_MODES = {
    "maj": "major", "ion": "major", "mix": "mixolydian", "dor": "dorian", "min": "minor", "m": "minor",
    "aeo": "minor", "phr": "phrygian", "loc": "locrian", "lyd": "lydian",
}  # fmt: skip
_WRITTEN_MODES = {
    "major": "", "minor": "m", "mixolydian": "mix", "dorian": "dor", "phrygian": "phr", "locrian": "loc",
    "lydian": "lyd",
}  # fmt: skip
ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
WRITTEN_ACCIDENTALS = {value: sign for sign, value in ACCIDENTALS.items()}

_CLEF = re.compile(
    r"(?:clef=)?(?:(?:treble|bass|alto|tenor)[0-9]?|perc|none|auto)(?P<shift>[+-](?:8|15))?$|clef=[A-Ga-g][,']*[0-9]?$"
)
_CLEF_OPTION = re.compile(r"(?:middle|m|transpose|t|stafflines|staffscale|style|score|sound|shift|name|nm|snm|cue)=.*$")
_OCTAVE = re.compile(r"octave=(?P<octave>[+-]?[0-9])$")
_TONIC = re.compile(r"(?P<letter>[A-G])(?P<accidental>[#b♯♭]?)(?P<mode>[A-Za-z]*)(?P<explicit>[\^_=].*)?$")
_EXPLICIT = re.compile(r"(\^\^?|__?|=)([A-Ga-g])")
NO_KEY = Key("C", 0, "none")
_PIPES = Key("A", 0, "mixolydian")


class KeyReading(NamedTuple):
    """What a ``K:`` says: a key (None: the old one holds), octaves by which notes sound higher, a notice."""

    key: Key | None
    octaves: int = 0
    notice: str = ""


@lru_cache(maxsize=1024)
def read_key(value: str) -> KeyReading:
    """Read the value of a ``K:`` field; raises AbcError for what is no key.

    >>> read_key("Ador ^g").key
    Key(letter='A', accidental=0, mode='dorian', explicit=(('G', 1),))
    """
    words, octaves = [], 0
    for word in value.split():
        if (words or word != "none") and (match := _CLEF.match(word)):
            octaves += {"+8": 1, "-8": -1, "+15": 2, "-15": -2}.get(match["shift"], 0)
        elif match := _OCTAVE.match(word):
            octaves += int(match["octave"])
        elif not _CLEF_OPTION.match(word):
            words.append(word)
    if not words:
        return KeyReading(None, octaves)
    if words[0].lower() == "none":
        return KeyReading(NO_KEY, octaves)
    if words[0] in ("HP", "Hp"):
        return KeyReading(_PIPES, octaves)
    match = _TONIC.match(words[0])
    if match is None:
        raise AbcError(f"there is no key {_quote(value)}", remedy="write a key as in K:G, K:Bb, K:Edor or K:none")
    rest = [match["explicit"] or "", *words[1:]]
    mode = match["mode"]
    if not mode and len(rest) > 1 and rest[1][:1].isalpha():
        mode = rest.pop(1)
    alone = mode.lower() == "exp"
    if alone:
        mode, notice = "none", ""
    else:
        mode, notice = _read_mode(mode, value)
        if len(rest) > 1 and rest[1].lower() == "exp":
            raise AbcError(f"key {_quote(value)} has both a mode and exp", remedy="leave one of them out")
    key = Key(match["letter"], {"#": 1, "♯": 1, "b": -1, "♭": -1}.get(match["accidental"], 0), mode)
    return KeyReading(key._replace(explicit=_read_explicit("".join(rest), key)), octaves, notice)


def _read_mode(text: str, value: str) -> tuple[str, str]:
    if text == "M":
        return "minor", "key with a capital M read as minor"
    mode = "major" if not text else _MODES.get(text.lower()[:3])
    if mode is None:
        remedy = "write one of maj, min, mix, dor, phr, lyd, loc"
        raise AbcError(f"key {_quote(value)} has no known mode", remedy=remedy)
    return mode, ""


def _read_explicit(text: str, key: Key) -> tuple[tuple[str, int], ...]:
    """The accidentals behind a mode, in the order of the letters; those that change nothing are left out."""
    found: dict[str, int] = {}
    position = 0
    while position < len(text):
        match = _EXPLICIT.match(text, position)
        if match is None:
            raise AbcError(f"{_quote(text[position:])} in a key is no accidental", remedy="write them as in K:D ^g _b")
        found[match[2].upper()] = ACCIDENTALS[match[1]]
        position = match.end()
    signature = key.signature
    return tuple(
        (letter, found[letter])
        for letter in LETTERS
        if letter in found and found[letter] != signature.get(letter, 0)
    )


def write_key(key: Key) -> str:
    """The value of a ``K:`` field for `key`; raises TuneError for tonics with two accidentals."""
    if abs(key.accidental) > 1:
        raise TuneError(f"the key {key} cannot be written in ABC", remedy="transpose the tune to a plainer key")
    explicit = "".join(f" {WRITTEN_ACCIDENTALS[accidental]}{letter.lower()}" for letter, accidental in key.explicit)
    if key.mode == "none":
        return "none" if key == NO_KEY else f"{key.tonic} exp{explicit}"
    return f"{key.tonic}{_WRITTEN_MODES[key.mode]}{explicit}"


# ---------------------------------------------------------------------- M: and L:

_FRACTION = re.compile(r"(?P<groups>[0-9]{1,3}(?:\+[0-9]{1,3}){0,15})/(?P<unit>[0-9]{1,3})$")
_LENGTH = re.compile(r"([0-9]{1,3})(?:/([0-9]{1,4}))?$")


class MetreReading(NamedTuple):
    """What an ``M:`` says: a metre (None: free), and a notice."""

    metre: Metre | None
    notice: str = ""


@lru_cache(maxsize=1024)
def read_metre(value: str) -> MetreReading:
    """Read the value of an ``M:`` field; raises AbcError for a metre of no length.

    >>> read_metre("C|").metre, read_metre("(2+3)/8").metre.groups, read_metre("none").metre
    (Metre(beats=2, unit=2, groups=()), (2, 3), None)
    """
    text = re.sub(r"[\s()]", "", value)
    if text in ("C", "C|"):
        return MetreReading(Metre(4, 4) if text == "C" else Metre(2, 2))
    if text.lower() in ("none", "free"):
        return MetreReading(None)
    match = _FRACTION.match(text)
    if match is None:
        return MetreReading(None, "unreadable metre taken as free")
    groups, unit = tuple(map(int, match["groups"].split("+"))), int(match["unit"])
    if 0 in groups or unit == 0 or unit & (unit - 1):
        raise AbcError(f"there is no metre {_quote(value)}", remedy="write it as in M:6/8, M:2+3/8, M:C or M:none")
    return MetreReading(Metre(sum(groups), unit, groups if len(groups) > 1 else ()))


@lru_cache(maxsize=256)
def read_length(value: str) -> tuple[int, int]:
    """Read the value of an ``L:`` field as (numerator, denominator); raises AbcError."""
    match = _LENGTH.match(value.strip())
    numerator, denominator = (int(match[1]), int(match[2] or 1)) if match else (0, 0)
    if not numerator or not denominator:
        raise AbcError(f"there is no note length {_quote(value)}", remedy="write it as in L:1/8")
    return numerator, denominator


def default_length(metre: Metre | None) -> tuple[int, int]:
    """The unit length where there is no ``L:`` (ABC 2.1, section 3.1.7)."""
    return (1, 16) if metre is not None and 4 * metre.beats < 3 * metre.unit else (1, 8)


# ---------------------------------------------------------------------- Q: (ABC 2.1, section 3.1.8)

_TEMPO = re.compile(
    r"(?:(?P<beats>(?:[0-9]{1,3}/[0-9]{1,3}(?:\s+|(?==))){1,8})=|[Cc](?P<units>[0-9]{0,2})(?:/(?P<part>[0-9]{1,2}))?\s*=)?"
    r"\s*(?P<bpm>[0-9]{1,4})(?:\.[0-9]{1,6})?$"
)
MAXIMUM_TEMPO_TEXT = 100  # characters
_QUOTED = re.compile(r'"([^"]*)"')


def read_tempo(value: str, unit: tuple[int, int]) -> Tempo | None:
    """Read the value of a ``Q:`` field; `unit` is the unit length. None where it gives no number above 0.

    A bare number counts crotchets; ``C`` stands for the unit length.

    >>> read_tempo('"Slow" 3/8=60', (1, 8)), read_tempo("120", (1, 8)).beat
    (Tempo(beat=Fraction(3, 8), bpm=60, text='Slow'), Fraction(1, 4))
    """
    text = read_text(" ".join(_QUOTED.findall(value)))[:MAXIMUM_TEMPO_TEXT].strip()
    match = _TEMPO.match(_QUOTED.sub("", value).strip())
    if match is None or not int(match["bpm"]):
        return None
    beat = Fraction(1, 4)
    if match["beats"]:
        pairs = [tuple(map(int, each.split("/"))) for each in match["beats"].split()]
        beat = sum((Fraction(above, below) for above, below in pairs if below), Fraction(0))
    elif "=" in match[0]:
        part = int(match["part"] or 1)
        beat = Fraction(int(match["units"] or 1) * unit[0], part * unit[1]) if part else Fraction(0)
    return Tempo(beat, int(match["bpm"]), text) if beat else None


def write_tempo(tempo: Tempo) -> str:
    """The value of a ``Q:`` field for `tempo`."""
    number = f"{tempo.beat.numerator}/{tempo.beat.denominator}={tempo.bpm}"
    text = write_text(tempo.text.replace('"', ""))
    return f'"{text}" {number}' if text else number


# ---------------------------------------------------------------------- P: in the header (ABC 2.1, section 3.1.9)

MAXIMUM_PARTS = 1000
_PART_TOKEN = re.compile(r"(?P<label>[A-Z])|(?P<open>\()|(?P<close>\))|(?P<times>[0-9]+)|[\s.]+|(?P<other>.)")


def read_parts(value: str) -> tuple[str, ...] | None:
    """A play order written out, or None for text that is no play order; raises AbcError where it is too long.

    >>> read_parts("(AB)2.C2")
    ('A', 'B', 'A', 'B', 'C', 'C')
    """
    groups: list[list[str]] = [[]]
    last = 0  # how many labels a number behind the present place would repeat
    for match in _PART_TOKEN.finditer(value):
        kind, parts = match.lastgroup, groups[-1]
        if kind == "label":
            parts.append(match[0])
            last = 1
        elif kind == "open":
            groups.append([])
            last = 0
        elif kind == "close" and len(groups) > 1:
            last = len(parts)
            groups.pop()
            groups[-1].extend(parts)
        elif kind == "times" and last:
            if len(match[0]) > 4 or len(parts) + last * int(match[0]) > MAXIMUM_PARTS:
                raise AbcError(f"its play order has more than {MAXIMUM_PARTS} parts", remedy="shorten the P: field")
            parts[len(parts) - last :] = parts[len(parts) - last :] * int(match[0])
            last = 0
        elif kind is not None:
            return None
    if len(groups) > 1:
        return None
    if len(groups[0]) > MAXIMUM_PARTS:
        raise AbcError(f"its play order has more than {MAXIMUM_PARTS} parts", remedy="shorten the P: field")
    return tuple(groups[0])


def write_parts(parts: tuple[str, ...]) -> str:
    """The value of a header ``P:`` for a play order, equal neighbours counted; labels must be A to Z."""
    if unnamed := next((part for part in parts if not re.fullmatch("[A-Z]", part)), None):
        raise TuneError(f"a play order with part {unnamed!r} cannot be written in ABC", remedy="label parts A to Z")
    runs: list[tuple[str, int]] = []
    for part in parts:
        if runs and runs[-1][0] == part:
            runs[-1] = part, runs[-1][1] + 1
        else:
            runs.append((part, 1))
    return "".join(label + (str(times) if times > 1 else "") for label, times in runs)


def _quote(text: str) -> str:
    """A stranger's text for an error message: short, without control characters."""
    return repr(text.strip()[:40])
