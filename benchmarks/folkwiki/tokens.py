"""The published words as ids relative to the key in force: one id a word, one word an id.

A written pitch says a letter, an octave and an accidental, or none. Given the key before it, that is the
same as a step from the tonic and the accidental's difference from the key's signature, or none. So the
likelihood of the relative ids is exactly that of the words, and a tune has the same ids in every key, its
``K:`` apart. All other words stay as they are.

The list of ids is closed before any validation tune is read: all steps and alterations within bounds, and
the other words of the training split. A word outside it is said by the id `ESCAPE` and then letter by
letter, each of `ESCAPE_LETTERS` equally likely, so that all words together keep a probability of 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import log
from typing import NamedTuple

from hoyomusic.tune import Key

Words = tuple[str, ...]

START, END, ESCAPE = 0, 1, 2
SPECIAL = ("<s>", "</s>", "<escape>")

# The letters of a word outside the list: the printable ASCII characters but the space, and "the word ends".
ESCAPE_LETTERS = 95

LETTERS = "CDEFGAB"
ACCIDENTALS = {"": None, "=": 0, "^": 1, "_": -1, "^^": 2, "__": -2}
SIGNS = {value: sign for sign, value in ACCIDENTALS.items()}
# Steps from the tonic between middle C and the B above it: they hold C, to b' in every key.
LOWEST_STEP, HIGHEST_STEP = -13, 20
ALTERATIONS = (None, -2, -1, 0, 1, 2)

PITCH = re.compile(r"(\^\^|\^|__|_|=|)([A-Ga-g])('*|,*)")
KEY = re.compile(r"\[K:([A-G])([#b]?)(Maj|Min|Dor|Mix|Lyd|Phr|Loc)\]")
MODES = {
    "Maj": "major", "Min": "minor", "Dor": "dorian", "Mix": "mixolydian", "Lyd": "lydian", "Phr": "phrygian",
    "Loc": "locrian",
}
DEFAULT_KEY = Key("C")


class Relative(NamedTuple):
    """A written pitch as the key sees it: `step` from the tonic, `alteration` of the signature (None: no sign)."""

    step: int
    alteration: int | None

    def __str__(self) -> str:
        return f"{self.step:+d}" + ("" if self.alteration is None else f"({self.alteration:+d})")


class Written(NamedTuple):
    """A pitch as it is written: scale steps above middle C, and the accidental (None: no sign)."""

    height: int
    accidental: int | None


@lru_cache(maxsize=None)
def read_key(word: str) -> Key | None:
    """The key that a word such as ``[K:F#Min]`` sets; None for other words."""
    found = KEY.fullmatch(word)
    if found is None:
        return None
    return Key(found[1], {"": 0, "#": 1, "b": -1}[found[2]], MODES[found[3]])


@lru_cache(maxsize=None)
def read_pitch(word: str) -> Written | None:
    """The pitch that a word such as ``^f'`` writes; None for other words."""
    found = PITCH.fullmatch(word)
    if found is None:
        return None
    octave = 7 * (found[2].islower() + (-1 if "," in found[3] else 1) * len(found[3]))
    # `c,` is another word than `C`: only the plain spelling of an octave is a pitch here.
    if found[2].islower() and "," in found[3] or found[2].isupper() and "'" in found[3]:
        return None
    return Written(LETTERS.index(found[2].upper()) + octave, ACCIDENTALS[found[1]])


def write_pitch(pitch: Written) -> str:
    """The inverse of `read_pitch`."""
    octave, letter = divmod(pitch.height, 7)
    name = LETTERS[letter] + "," * -octave if octave <= 0 else LETTERS[letter].lower() + "'" * (octave - 1)
    return SIGNS[pitch.accidental] + name


@lru_cache(maxsize=None)
def _frame(key: Key) -> tuple[int, tuple[int, ...]]:
    """The tonic's letter as a number, and the signature's accidental for each letter."""
    return LETTERS.index(key.letter), tuple(key.signature.get(letter, 0) for letter in LETTERS)


def relate(pitch: Written, key: Key) -> Relative:
    """A written pitch as `key` sees it."""
    tonic, signature = _frame(key)
    if pitch.accidental is None:
        return Relative(pitch.height - tonic, None)
    return Relative(pitch.height - tonic, pitch.accidental - signature[pitch.height % 7])


def unrelate(relative: Relative, key: Key) -> Written:
    """The inverse of `relate`."""
    tonic, signature = _frame(key)
    height = relative.step + tonic
    if relative.alteration is None:
        return Written(height, None)
    return Written(height, relative.alteration + signature[height % 7])


class Language:
    """The closed list of ids: `SPECIAL`, every relative pitch within bounds, the `others` in sorted order.

    With `relative` false every pitch is told as C major sees it, whatever the key: for comparison.
    """

    def __init__(self, others: Iterable[str], *, relative: bool = True) -> None:
        self.relative = relative
        pitches = [
            Relative(step, alteration)
            for step in range(LOWEST_STEP, HIGHEST_STEP + 1)
            for alteration in ALTERATIONS
        ]
        self.entries: tuple[Relative | str, ...] = (*SPECIAL, *pitches, *sorted(set(others)))
        self.ids = {entry: index for index, entry in enumerate(self.entries)}

    @classmethod
    def of(cls, tunes: Iterable[Sequence[str]], *, relative: bool = True) -> Language:
        """The language whose other words are those of training `tunes`."""
        return cls((word for words in tunes for word in words if read_pitch(word) is None), relative=relative)

    def __len__(self) -> int:
        return len(self.entries)

    def encode(self, words: Sequence[str]) -> list[int]:
        """Ids from `START` to `END`; a word outside the list becomes `ESCAPE` (see `escape_nats`)."""
        ids, key = [START], DEFAULT_KEY
        for word in words:
            key = self._key_after(word, key)
            pitch = read_pitch(word)
            ids.append(self.ids.get(word if pitch is None else relate(pitch, key), ESCAPE))
        ids.append(END)
        return ids

    def decode(self, ids: Sequence[int]) -> list[str]:
        """The words of ids from `START` to `END`; the inverse of `encode` where nothing was escaped."""
        words, key = [], DEFAULT_KEY
        for index in ids[1:-1]:
            entry = self.entries[index]
            word = entry if isinstance(entry, str) else write_pitch(unrelate(entry, key))
            key = self._key_after(word, key)
            words.append(word)
        return words

    def _key_after(self, word: str, key: Key) -> Key:
        return self.relative and read_key(word) or key

    def escape_nats(self, words: Sequence[str]) -> float:
        """What spelling the words outside the list costs, beside the `ESCAPE` id itself."""
        escaped = (word for word, index in zip(words, self.encode(words)[1:], strict=False) if index == ESCAPE)
        return sum((len(word) + 1) * log(ESCAPE_LETTERS) for word in escaped)
