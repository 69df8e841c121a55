"""What the automaton looks up: masks over a vocabulary, and which pitches a key, a scale and a range allow.

A mask is a whole number here: bit i says whether id i is allowed, so that masks are joined and cut by one operation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache, reduce
from operator import or_

from hoyomusic.tune import LETTERS, Key, Pitch
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import TICKS_PER_WHOLE, Kind, Relative

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
    base, degrees, signature = home.tonic_pitch.midi, degrees_above(tonic, mode), home.signature
    first = LETTERS.index(home.letter)
    accidentals = [signature.get(LETTERS[(first + degree) % 7], 0) for degree in range(7)]
    found: dict[int, tuple[int, int]] = {}
    free = set()
    for pitch in vocabulary.pitches:
        step, alteration = pitch
        octave, degree = divmod(step, 7)
        height = 12 * octave + degrees[degree] + alteration
        if not lowest <= base + height <= highest or abs(alteration) > 1:
            continue
        if alteration and abs(accidentals[degree] + alteration) > 1:
            continue
        free.add(pitch)
        if scale is not None and height % 12 in scale:
            best = found.get(height)
            if best is None or abs(alteration) < abs(best[1]):
                found[height] = pitch
    return frozenset(free if scale is None else found.values())


@lru_cache(maxsize=256)
def degrees_above(tonic: tuple[str, int], mode: str) -> tuple[int, ...]:
    """How many semitones each of the seven degrees of a key lies above its tonic."""
    home = Key(*tonic, mode)
    base = home.tonic_pitch.midi
    return tuple(sounding(home, (degree, 0)) - base for degree in range(7))


def sounding(key: Key, relative: tuple[int, int]) -> int:
    """The MIDI number of a relative pitch in a key."""
    octave, letter = divmod(key.tonic_pitch.diatonic + relative[0], 7)
    return Pitch(LETTERS[letter], key.signature.get(LETTERS[letter], 0) + relative[1], octave).midi


class Tables:
    """The tokens of a vocabulary by what they are: masks and ids, built once for each."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        import numpy as np

        self.tokens = tokens = vocabulary.tokens
        self.layout = vocabulary.layout
        of_kind: dict[Kind, list[int]] = {kind: [] for kind in Kind}
        for index, token in enumerate(tokens):
            of_kind[token.kind].append(index)
        pitches, notes, lengths = of_kind[Kind.PITCH], of_kind[Kind.NOTE], of_kind[Kind.LENGTH]
        # Pitches by number, and the tokens of each as masks: that of the pitch alone, and its notes.
        self.numbers: dict[Relative, int] = {tokens[index].value: number for number, index in enumerate(pitches)}
        self.pitch_of = [1 << index for index in pitches]
        self.notes_of = [0] * len(pitches)
        # The tokens of each length: notes that have it, and the token that says it.
        self._notes_lasting: dict[int, int] = {}
        self._length_of = {tokens[index].ticks: 1 << index for index in lengths}
        self.length_id = {tokens[index].ticks: index for index in lengths}
        self.lengths = frozenset(self.length_id)
        # Pitches with a token of their own at a length; elsewhere a note is a length and a pitch.
        self.fuses = bool(notes)
        fused: dict[Relative, set[int]] = {pitch: set() for pitch in self.numbers}
        # For `Tones.alike`: the ids that have a pitch, its number, and one for how long they last (0: a pitch alone).
        pitch_numbers, lasting, numbers_of = list(range(len(pitches))), [0] * len(pitches), {0: 0}
        for index in notes:
            _, pitch, ticks = tokens[index]
            number, bit = self.numbers[pitch], 1 << index
            self.notes_of[number] |= bit
            self._notes_lasting[ticks] = self._notes_lasting.get(ticks, 0) | bit
            fused[pitch].add(ticks)
            pitch_numbers.append(number)
            lasting.append(numbers_of.setdefault(ticks, len(numbers_of)))
        self.sounding, self.sounding_pitch = np.array(pitches + notes), np.array(pitch_numbers)
        self.sounding_lasts = np.array(lasting)
        groups: dict[frozenset[int], int] = {}
        self.fused_lengths = {pitch: frozenset(found) for pitch, found in fused.items()}
        self.fused_group = [groups.setdefault(found, len(groups)) for found in self.fused_lengths.values()]
        self._timed: dict[tuple[frozenset[int], frozenset[int]], int] = {}
        ids = vocabulary.ids
        self.start, self.end = ids["<s>"], ids["</s>"]
        self.open, self.first_ending, self.second_ending = ids["|:"], ids["ending:1"], ids["ending:2"]
        self.bar, self.double, self.close, self.final = ids["|"], ids["||"], ids[":|"], ids["|]"]
        self.tie, self.join = ids["tie"], ids["join"]
        # Header tokens by what they say.
        self.tonics, self.modes, self.metres, self.bars = (
            {tokens[index].value: index for index in of_kind[kind]}
            for kind in (Kind.TONIC, Kind.MODE, Kind.METRE, Kind.BARS)
        )
        # The modes, with their ids, that people write on each key note.
        self.written = {
            tonic: [(mode, index) for mode, index in self.modes.items() if is_written(tonic, mode)]
            for tonic in self.tonics
        }
        # Upbeats on the grid: ticks -> id.
        self.upbeats = {
            tokens[index].ticks: index for index in of_kind[Kind.UPBEAT] if tokens[index].ticks % GRID == 0
        }
        self._heights: dict[str, dict[tuple[int, int], int]] = {}

    def heights(self, mode: str) -> dict[tuple[int, int], int]:
        """How many semitones each pitch lies above the lowest of all in a mode."""
        found = self._heights.get(mode)
        if found is None:
            degrees = degrees_above(("C", 0), mode)
            above = {
                pitch: 12 * (pitch[0] // 7) + degrees[pitch[0] % 7] + pitch[1]
                for pitch in self.numbers
                if pitch is not None
            }
            lowest = min(above.values())
            found = self._heights[mode] = {pitch: height - lowest for pitch, height in above.items()}
        return found

    def timed(self, notes: frozenset[int], lengths: frozenset[int]) -> int:
        """The mask that allows notes of the ticks `notes` and length tokens of the ticks `lengths`."""
        found = self._timed.get((notes, lengths))
        if found is None:
            if len(self._timed) >= MOST_TIMED:
                self._timed.clear()
            found = unite(self._notes_lasting.get(ticks, 0) for ticks in notes)
            found |= unite(self._length_of[ticks] for ticks in lengths)
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
        self._heights = tables.heights(mode)
        self._notes: dict[tuple, int] = {}
        self._behind_length: dict[tuple, int] = {}
        self._joins: dict[tuple, int] = {}
        # For each length, the numbers of tokens that a last note can take, as bits.
        costs = [tables.fused_lengths[pitch] for pitch in finals]
        self.final_costs = {
            length: unite(1 << (1 if length in fused else 2) for fused in costs) for length in tables.lengths
        }
        self.final_counts: dict[tuple, int] = {}
        self._joinable = {False: self._find_joinable(pitches), True: self._find_joinable(finals)}
        self.alike = self._find_alike()

    def _find_joinable(self, upper: Collection[tuple[int, int]]) -> int:
        """The heights above which one of `upper` may be joined, as bits."""
        heights = unite(1 << self._heights[pitch] for pitch in upper)
        return unite(heights >> step for step in range(1, CHORD_SPAN + 1))

    def _find_alike(self) -> list[int]:
        """For each id the first that leads from anywhere to the same place: same kind, same length, like pitch."""
        import numpy as np

        tables, heights, finals = self._tables, self._heights, self.finals
        below, below_final = self._joinable[False], self._joinable[True]
        like = [
            0
            if pitch is None
            else 1
            + (pitch in finals)
            + 2 * (below >> heights[pitch] & 1)
            + 4 * (below_final >> heights[pitch] & 1)
            + 8 * fused
            for pitch, fused in zip(tables.numbers, tables.fused_group, strict=True)
        ]
        most = max(like) + 1
        codes = tables.sounding_lasts * most + np.array(like).take(tables.sounding_pitch)
        first = np.empty(int(tables.sounding_lasts.max() + 1) * most, np.int64)
        first[codes[::-1]] = tables.sounding[::-1]  # of several the last that is written stays, here the lowest
        alike = np.arange(len(tables.tokens))
        alike[tables.sounding] = first.take(codes)
        return alike.tolist()

    def _chosen(self, tied: Relative, final: bool) -> frozenset[Relative]:
        if tied is not None:
            return frozenset((tied,)) & self.finals if final else frozenset((tied,))
        return self.finals if final else self._pitches

    def notes(self, tied: Relative, final: bool) -> int:
        """Notes of the allowed pitches, and lengths that one of them can only have in two tokens.

        `tied` is the pitch that a tie leads to, or None; `final`: the note must be one to end on.
        """
        found = self._notes.get((tied, final))
        if found is None:
            chosen, tables = self._chosen(tied, final), self._tables
            fused = {tables.fused_lengths[pitch] for pitch in chosen}
            apart = tables.lengths.difference(frozenset.intersection(*fused)) if fused else frozenset()
            found = unite(tables.notes_of[tables.numbers[pitch]] for pitch in chosen) | tables.timed(frozenset(), apart)
            self._notes[tied, final] = found
        return found

    def pitches(self, length: int, tied: Relative, final: bool) -> int:
        """Pitch tokens behind a length: the allowed pitches that have no token of their own at that length."""
        tables = self._tables
        key = (length if tables.fuses else 0, tied, final)
        found = self._behind_length.get(key)
        if found is None:
            found = self._behind_length[key] = unite(
                tables.pitch_of[tables.numbers[pitch]]
                for pitch in self._chosen(tied, final)
                if length not in tables.fused_lengths[pitch]
            )
        return found

    def can_join(self, lowest: tuple[int, int], final: bool) -> bool:
        """Whether any pitch may be joined above `lowest`."""
        return bool(self._joinable[final] >> self._heights[lowest] & 1)

    def joins(self, lowest: tuple[int, int], final: bool) -> int:
        """Pitch tokens that may be joined above `lowest`."""
        found = self._joins.get((lowest, final))
        if found is None:
            tables, heights = self._tables, self._heights
            height = heights[lowest]
            found = self._joins[lowest, final] = unite(
                tables.pitch_of[tables.numbers[pitch]]
                for pitch in (self.finals if final else self._pitches)
                if pitch is not None and height < heights[pitch] <= height + CHORD_SPAN
            )
        return found


def unite(masks: Iterable[int]) -> int:
    """What any of the masks allows."""
    return reduce(or_, masks, 0)
