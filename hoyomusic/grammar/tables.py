"""What the automaton looks up: masks over a vocabulary, and which pitches a key, a scale and a range allow."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

from hoyomusic.tune import LETTERS, Key, Pitch
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import TICKS_PER_WHOLE, Kind, Relative

if TYPE_CHECKING:
    import numpy as np

# Lengths that are multiples of a 64th lie on the grid; all others belong to a tuplet.
GRID = TICKS_PER_WHOLE // 64

# Masks of lengths that are kept before they are forgotten together.
MOST_TIMED = 4096

# The widest chord that is built upward from the note below, in semitones.
CHORD_SPAN = 16


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
    """The tokens of a vocabulary by what they are: bool masks and ids, built once for each."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        import numpy as np

        self.tokens = vocabulary.tokens
        self.kinds = np.array([token.kind for token in vocabulary.tokens])
        self.ticks = np.array([token.ticks for token in vocabulary.tokens])
        # The tokens of each length: notes that have it, and the token that says it.
        self._note_of, self._length_of = (
            {
                ticks: (self.kinds == kind) & (self.ticks == ticks)
                for ticks in {token.ticks for token in vocabulary.tokens if token.kind is kind}
            }
            for kind in (Kind.NOTE, Kind.LENGTH)
        )
        self._timed: dict[tuple[frozenset[int], frozenset[int]], np.ndarray] = {}
        self.none = np.zeros(len(vocabulary), bool)
        self.none.flags.writeable = False
        self.layout = vocabulary.layout
        ids = vocabulary.ids
        self.length_id = {
            token.ticks: index for index, token in enumerate(vocabulary.tokens) if token.kind is Kind.LENGTH
        }
        self.lengths = frozenset(self.length_id)
        # Pitches with a token of their own at a length; elsewhere a note is a length and a pitch.
        self.fused = frozenset((token.value, token.ticks) for token in vocabulary.tokens if token.kind is Kind.NOTE)
        # Pitches by number, that of each token, and which of them are fused with the length of each token.
        sounds = [token.value for token in vocabulary.tokens if token.kind is Kind.PITCH]
        self.numbers: dict[Relative, int] = {pitch: number for number, pitch in enumerate(sounds)}
        self.pitch_number = np.array(
            [
                self.numbers[token.value] if token.kind in (Kind.PITCH, Kind.NOTE) else len(sounds)
                for token in vocabulary.tokens
            ]
        )
        self.start, self.end = ids["<s>"], ids["</s>"]
        self.open, self.first_ending, self.second_ending = ids["|:"], ids["ending:1"], ids["ending:2"]
        self.bar, self.double, self.close, self.final = ids["|"], ids["||"], ids[":|"], ids["|]"]
        self.tie, self.join = ids["tie"], ids["join"]
        self.fused_lengths: dict[Relative, frozenset[int]] = {}
        for pitch, length in self.fused:
            self.fused_lengths[pitch] = self.fused_lengths.get(pitch, frozenset()) | {length}
        # Header tokens by what they say.
        self.tonics, self.modes, self.metres, self.bars = (
            {token.value: index for index, token in enumerate(vocabulary.tokens) if token.kind is kind}
            for kind in (Kind.TONIC, Kind.MODE, Kind.METRE, Kind.BARS)
        )
        # Upbeats on the grid: ticks -> id.
        self.upbeats = {
            token.ticks: index
            for index, token in enumerate(vocabulary.tokens)
            if token.kind is Kind.UPBEAT and token.ticks % GRID == 0
        }

    def timed(self, notes: frozenset[int], lengths: frozenset[int]) -> np.ndarray:
        """The mask that allows notes of the ticks `notes` and length tokens of the ticks `lengths`."""
        found = self._timed.get((notes, lengths))
        if found is None:
            if len(self._timed) >= MOST_TIMED:
                self._timed.clear()
            found = self.none.copy()
            for wanted, tokens_of in ((notes, self._note_of), (lengths, self._length_of)):
                for ticks in wanted & tokens_of.keys():
                    found |= tokens_of[ticks]
            self._timed[notes, lengths] = found
        return found


class Tones:
    """The pitches that may sound in one mode, and the masks that they make.

    `pitches` are relative to the tonic, so that keys with the same pitches share one `Tones`; `finals` those of
    them that a tune may end on. Among two spellings of a note only the one that `Vocabulary.encode` writes is
    allowed: a length and a pitch where no token says both.
    """

    def __init__(
        self, tables: Tables, mode: str, pitches: frozenset[tuple[int, int]], finals: frozenset[tuple[int, int]]
    ) -> None:
        self._tables = tables
        self._pitches: frozenset[Relative] = pitches | {None}
        self.finals = finals
        home = Key("C", 0, mode)
        degrees = [sounding(home, (degree, 0)) for degree in range(7)]
        self._heights = {
            pitch: 12 * (pitch[0] // 7) + degrees[pitch[0] % 7] + pitch[1]
            for pitch in tables.numbers
            if pitch is not None
        }
        self._notes: dict[tuple, np.ndarray] = {}
        self._behind_length: dict[tuple, np.ndarray] = {}
        self._joins: dict[tuple, np.ndarray] = {}
        # For each length, the numbers of tokens that a last note can take, as bits.
        self.final_costs = {
            length: sum({1 << (1 if (pitch, length) in tables.fused else 2) for pitch in finals})
            for length in tables.lengths
        }
        self.final_counts: dict[tuple, int] = {}
        self._joinable = {False: self._find_joinable(pitches), True: self._find_joinable(finals)}
        self.alike = self._find_alike()

    def _find_joinable(self, upper: Collection[tuple[int, int]]) -> frozenset[Relative]:
        """The pitches above which one of `upper` may be joined."""
        heights = {self._heights[pitch] for pitch in upper}
        return frozenset(
            pitch
            for pitch, height in self._heights.items()
            if any(height + step in heights for step in range(1, CHORD_SPAN + 1))
        )

    def _find_alike(self) -> list[int]:
        """For each id the first that leads from anywhere to the same place: same kind, same length, like pitch."""
        like = {
            pitch: pitch
            and (
                pitch in self.finals,
                self.can_join(pitch, False),
                self.can_join(pitch, True),
                self._tables.fused_lengths.get(pitch),
            )
            for pitch in self._tables.numbers
        }
        first: dict[tuple, int] = {}
        return [
            first.setdefault((token.kind, token.ticks, like[token.value]), index)
            if token.kind in (Kind.NOTE, Kind.PITCH)
            else index
            for index, token in enumerate(self._tables.tokens)
        ]

    def _sound(self, chosen: Collection[Relative]) -> np.ndarray:
        """The mask of all tokens with one of these pitches."""
        import numpy as np

        member = np.zeros(len(self._tables.numbers) + 1, bool)
        member[[self._tables.numbers[pitch] for pitch in chosen]] = True
        return member[self._tables.pitch_number]

    def _chosen(self, tied: Relative, final: bool) -> frozenset[Relative]:
        if tied is not None:
            return frozenset((tied,)) & self.finals if final else frozenset((tied,))
        return self.finals if final else self._pitches

    def notes(self, tied: Relative, final: bool) -> np.ndarray:
        """Notes of the allowed pitches, and lengths that one of them can only have in two tokens.

        `tied` is the pitch that a tie leads to, or None; `final`: the note must be one to end on.
        """
        import numpy as np

        found = self._notes.get((tied, final))
        if found is None:
            chosen, tables = self._chosen(tied, final), self._tables
            apart = [
                length for length in tables.lengths if any((pitch, length) not in tables.fused for pitch in chosen)
            ]
            found = self._sound(chosen) & (tables.kinds == Kind.NOTE)
            # np.isin would do, but it imports numpy.ma, which takes longer than the rest of a first bar.
            found |= (tables.kinds == Kind.LENGTH) & (tables.ticks[:, None] == np.array(apart, int)).any(axis=1)
            self._notes[tied, final] = found
        return found

    def pitches(self, length: int, tied: Relative, final: bool) -> np.ndarray:
        """Pitch tokens behind a length: the allowed pitches that have no token of their own at that length."""
        key = (length if self._tables.fused else 0, tied, final)
        found = self._behind_length.get(key)
        if found is None:
            fused = self._tables.fused
            chosen = [pitch for pitch in self._chosen(tied, final) if (pitch, length) not in fused]
            found = self._behind_length[key] = self._sound(chosen) & (self._tables.kinds == Kind.PITCH)
        return found

    def can_join(self, lowest: tuple[int, int], final: bool) -> bool:
        """Whether any pitch may be joined above `lowest`."""
        return lowest in self._joinable[final]

    def joins(self, lowest: tuple[int, int], final: bool) -> np.ndarray:
        """Pitch tokens that may be joined above `lowest`."""
        found = self._joins.get((lowest, final))
        if found is None:
            height = self._heights[lowest]
            chosen = [
                pitch
                for pitch in (self.finals if final else self._pitches - {None})
                if height < self._heights[pitch] <= height + CHORD_SPAN
            ]
            found = self._joins[lowest, final] = self._sound(chosen) & (self._tables.kinds == Kind.PITCH)
        return found
