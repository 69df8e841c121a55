"""What the automaton looks up: masks over a vocabulary, and which pitches a key, a scale and a range allow."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import TYPE_CHECKING

from hoyomusic.tune import LETTERS, MODE_FIFTHS, Key, Pitch
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import TICKS_PER_WHOLE, Kind, Token

if TYPE_CHECKING:
    import numpy as np

# Lengths that are multiples of a 64th lie on the grid; all others belong to a tuplet.
GRID = TICKS_PER_WHOLE // 64

# The fewest bars that the model may choose by itself; a wish may name fewer.
FEWEST_BARS = 4

MODES = tuple(mode for mode in MODE_FIFTHS if mode != "none")


def is_written(tonic: tuple[str, int], mode: str) -> bool:
    """Whether a key is one that people write: at most seven sharps or flats."""
    return mode != "none" and abs(Key(*tonic, mode).fifths) <= 7


@lru_cache(maxsize=64)
def pitches_within(
    vocabulary: Vocabulary, tonic: tuple[str, int], mode: str, scale: tuple[int, ...] | None, lowest: int, highest: int
) -> frozenset[tuple[int, int]]:
    """Relative pitches within a range and a scale, each semitone of the scale in its plainest spelling.

    Without a scale the key's own degrees and their single alterations are allowed, double sharps and
    double flats only where the key itself writes them.
    """
    home = Key(*tonic, mode)
    signature = home.signature
    found: dict[int, tuple[int, int]] = {}
    free = set()
    for token in vocabulary.tokens:
        if token.kind is not Kind.PITCH or token.value is None:
            continue
        step, alteration = token.value
        midi = sounding(home, token.value)
        accidental = signature.get(LETTERS[(home.tonic_pitch.diatonic + step) % 7], 0) + alteration
        if not lowest <= midi <= highest or abs(alteration) > 1 or (alteration and abs(accidental) > 1):
            continue
        free.add(token.value)
        if scale is not None and (midi - home.tonic_pitch.midi) % 12 in scale:
            best = found.get(midi)
            if best is None or abs(alteration) < abs(best[1]):
                found[midi] = token.value
    return frozenset(free if scale is None else found.values())


def sounding(key: Key, relative: tuple[int, int]) -> int:
    """The MIDI number of a relative pitch in a key."""
    octave, letter = divmod(key.tonic_pitch.diatonic + relative[0], 7)
    return Pitch(LETTERS[letter], key.signature.get(LETTERS[letter], 0) + relative[1], octave).midi


class Tables:
    """What the automaton looks up: bool masks over the vocabulary, built once for each."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        import numpy as np

        self._vocabulary = vocabulary
        self._kinds = np.array([token.kind for token in vocabulary.tokens])
        self._ticks = np.array([token.ticks for token in vocabulary.tokens])
        self._by_kind = {kind: self._kinds == kind for kind in Kind}
        self._only: dict[str, np.ndarray] = {}
        self.none = np.zeros(len(vocabulary), bool)
        self.sticky = vocabulary.layout == "sticky"
        self.counted_bars = self.where(lambda token: token.kind is Kind.BARS and (token.value or 0) >= FEWEST_BARS)
        self.length_id = {
            token.ticks: index for index, token in enumerate(vocabulary.tokens) if token.kind is Kind.LENGTH
        }
        self.lengths = frozenset(self.length_id)
        self.shortest = min(self.lengths)
        self._falling = sorted((length for length in self.lengths if length % GRID == 0), reverse=True)
        self._fewest: dict[int, int] = {}
        self.upbeats = {
            token.ticks: self.only(name)
            for name, token in zip(vocabulary.names, vocabulary.tokens, strict=True)
            if token.kind is Kind.UPBEAT and token.ticks % GRID == 0
        }
        ids = vocabulary.ids
        self.open, self.first_ending = ids["|:"], ids["ending:1"]
        self.bar, self.double, self.close, self.final = ids["|"], ids["||"], ids[":|"], ids["|]"]
        self.tie, self.join = ids["tie"], ids["join"]

    def where(self, holds: Callable[[Token], bool]) -> np.ndarray:
        """The mask that allows the tokens for which `holds` is true."""
        import numpy as np

        return np.fromiter(map(holds, self._vocabulary.tokens), bool, len(self._vocabulary))

    def only(self, name: str) -> np.ndarray:
        """The mask that allows one token."""
        found = self._only.get(name)
        if found is None:
            found = self.none.copy()
            found[self._vocabulary.ids[name]] = True
            self._only[name] = found
        return found

    def fewest_tokens(self, ticks: int) -> int:
        """Few tokens in which notes can fill `ticks`: the longest first, two each, four more for a tuplet."""
        found = self._fewest.get(ticks)
        if found is None:
            found, rest = 0, ticks
            for length in self._falling:
                count, rest = divmod(rest, length)
                found += 2 * count
            found += 4 if rest else 0
            self._fewest[ticks] = found
        return found

    def of_kind(self, kind: Kind) -> np.ndarray:
        """The mask that allows a kind of token."""
        return self._by_kind[kind]

    def upbeats_below(self, full: int) -> np.ndarray:
        """The mask that allows the upbeats shorter than a bar of `full` ticks."""
        return self._by_kind[Kind.UPBEAT] & (self._ticks < full) & (self._ticks % GRID == 0)

    def with_ticks(self, lengths: frozenset[int]) -> np.ndarray:
        """The mask that allows notes and lengths of these ticks."""
        import numpy as np

        timed = self._by_kind[Kind.NOTE] | self._by_kind[Kind.LENGTH]
        return timed & np.isin(self._ticks, sorted(lengths))

    def with_pitches(self, pitches: Collection[tuple[int, int]], *, rests: bool) -> np.ndarray:
        """The mask that allows these relative pitches, rests if asked, and every length."""
        return self.where(
            lambda token: (
                token.kind is Kind.LENGTH
                or (
                    token.kind in (Kind.NOTE, Kind.PITCH) and (rests if token.value is None else token.value in pitches)
                )
            )
        )


@lru_cache(maxsize=8)
def build_tables(vocabulary: Vocabulary) -> Tables:
    """The tables of a vocabulary, shared by all grammars over it."""
    return Tables(vocabulary)
