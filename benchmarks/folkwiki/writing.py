"""The default corpus in the published words."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

from benchmarks.folkwiki.clock import BAR_LINES
from benchmarks.folkwiki.tokens import ESCAPE, MODES, Language, Words
from hoyomusic import abc
from hoyomusic.corpus import load_corpus
from hoyomusic.tune import Key, Tune

# What `abc.write` writes; ties, graces, symbols and layout are passed over.
SYMBOL = re.compile(
    r'(?P<skip>\{[^}]*\}|"[^"]*"|![^!]*!|[-.~()\s](?!\d))'
    r"|(?P<field>\[[KM]:[^\]]*\])"
    r"|(?P<ending>:?\|?\[?[12](?![\d/]))"
    r"|(?P<bar>:\|+:|::|\|:|:\|\]?|\|\]|\|\||\|)"
    r"|(?P<tuplet>\(\d(?::\d*)*)"
    r"|(?P<note>(?:\^\^|\^|__|_|=)?[A-Ga-g][',]*|z)"
    r"|(?P<bracket>[\[\]])"
)
LENGTH = re.compile(r"(\d*)(/?)(\d*)")
BARS = {"::": (":|", "|:"), ":||:": (":|", "|:"), ":|:": (":|", "|:"), "|:": ("|:",), ":|": (":|",), ":|]": (":|",)}
MODE_WORDS = {mode: word for word, mode in MODES.items()}
UNITS = (Fraction(1, 8), Fraction(1, 16), Fraction(1, 4))
DOTTED = {("3/2", "/2"): ">", ("/2", "3/2"): "<"}


def read_default_corpus(language: Language) -> tuple[list[Words], int]:
    """The tunes of the default corpus whose words the language knows, and how many others there are."""
    written = [write_words(each.tune) for each in load_corpus(("default",)).tunes]
    known = [words for words in written if words and ESCAPE not in language.encode(words)]
    return known, len(written) - len(known)


def write_words(tune: Tune) -> Words:
    """A tune as the published files would write it; empty where they have no words for it.

    Repeats stay; ties, graces and symbols go. The unit is the commonest of `UNITS` among the notes. A note of
    one and a half beside one of a half is written by ``>`` or ``<``, a chord's length once, behind it.
    """
    if tune.metre is None or any(key.mode not in MODE_WORDS or key.explicit for key in tune.keys()):
        return ()
    counts = Counter(note.length for note in tune.notes())
    unit = max(UNITS, key=lambda length: counts[length])
    lines = abc.write(tune).splitlines()
    key_line = next(number for number, line in enumerate(lines) if line.startswith("K:"))
    scale = next(Fraction(line[2:]) for line in lines if line.startswith("L:")) / unit
    body = "\n".join(lines[key_line + 1 :])
    words = [f"[L:{unit}]", f"[M:{tune.metre}]", _write_key(tune.key)]
    place, in_chord, inner = 0, False, Fraction(1)
    while place < len(body):
        found = SYMBOL.match(body, place)
        if found is None:
            return ()
        place, kind, text = found.end(), found.lastgroup, found[0]
        if kind == "field":
            words.append(text if text[1] == "M" else _write_key(abc.parse(f"X:1\nK:{text[3:-1]}\nC")[0].key))
        elif kind == "ending":
            words += [":|"] * text.startswith(":") + ["|" + text[-1]]
        elif kind == "bar":
            words += BARS.get(text, ("|",))
        elif kind == "tuplet":
            words.append(text[:2])
        elif kind in ("note", "bracket"):
            words.append(text)
            in_chord = text == "[" or in_chord and text != "]"
            if text == "[":
                continue
            length = LENGTH.match(body, place)
            place = length.end()
            value = Fraction(int(length[1] or 1), int(length[3] or 2) if length[2] else 1)
            if in_chord:
                inner = value
                continue
            words.append(_write_length(value * scale * (inner if text == "]" else 1)))
    return tuple(_break_rhythm([word for word in words if word != "1"]))


def _write_key(key: Key) -> str:
    accidental = {0: "", 1: "#", -1: "b"}[key.accidental]
    return f"[K:{key.letter}{accidental}{MODE_WORDS[key.mode]}]"


def _write_length(length: Fraction) -> str:
    """A length as the published files write it: ``/2``, ``3/2``, and ``1`` where they write nothing."""
    number = "" if length.numerator == 1 and length.denominator > 1 else str(length.numerator)
    return number + ("" if length.denominator == 1 else f"/{length.denominator}")


def _break_rhythm(words: list[str]) -> list[str]:
    """``c 3/2 d /2`` as ``c > d`` and ``c /2 d 3/2`` as ``c < d``."""
    written: list[str] = []
    place = 0
    while place < len(words):
        between = words[place + 1] if place + 2 < len(words) else "["
        sign = None if between in BAR_LINES or between[0] in "[](" else DOTTED.get((words[place], words[place + 2]))
        written += [words[place]] if sign is None else [sign, between]
        place += 1 if sign is None else 3
    return written
