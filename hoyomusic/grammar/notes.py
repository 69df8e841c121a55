"""The automaton within a bar: its places, which ids they allow and where those lead, remembered as tables."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from hoyomusic.grammar.clock import sixteenth_of
from hoyomusic.grammar.rhythm import Rhythm, bits_between, has_between
from hoyomusic.grammar.state import Phase
from hoyomusic.grammar.tables import Tables, Tones
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import Kind, Token

if TYPE_CHECKING:
    import numpy as np

# A member of an enumeration costs as much to name as a dictionary to be asked: these are named at each note.
FILLING, PITCHING, JOINING = Phase.FILLING, Phase.PITCHING, Phase.JOINING
NOTE, LENGTH, PITCH, JOIN = Kind.NOTE, Kind.LENGTH, Kind.PITCH, Kind.JOIN

# The most notes in one chord.
CHORD_NOTES = 4

# With so many tokens to spend any note, chord or tie that fits is allowed: the rest of the bar needs fewer.
AMPLE = 20

# Nodes and edges that are kept before all are forgotten, at most some 150 MB; the choices of a mask are as large as so
# many.
MOST_KEPT = 60_000
CHOICES_WEIGHT = 10


class Frame(NamedTuple):
    """What one bar keeps to: all that its notes need to know of the tune around them. Times are ticks."""

    tones: Tones
    full: int
    stop: int  # where its notes must end
    leads_on: bool  # whether a plain bar line may follow at `stop`
    close_at: int  # where the section may end, -1: nowhere
    sign: int  # the id that ends it
    final: bool  # whether that needs a note to end on

    @property
    def must_rest(self) -> bool:
        """Whether the note that fills the bar must be one to end on."""
        return self.final and not self.leads_on


class Place(NamedTuple):
    """A state of the automaton within a bar; equal places allow the same ids and lead to equal places.

    In the header `frame` is None and `signs` are all that is allowed.
    """

    phase: Phase
    signs: tuple[int, ...] = ()
    frame: Frame | None = None
    position: int = 0
    tuplet: int = 0  # ticks of the tuplet's first note, 0 outside
    done: int = 0  # ticks since the tuplet began
    length: int = 0  # ticks in force (layout sticky) or just chosen
    pitch: tuple[int, int] | None = None  # the one that a tie leads to, or on which a chord is being built
    tied: bool = False
    chord: int = 0  # notes of the chord that may get another
    ties: bool = False  # whether a tie may follow
    rests: bool = False  # whether the last note is one to end on, where that is asked for
    must_sign: bool = False  # whether no note may stand here
    # Tokens that the bar's notes must still take at least, and may take at most (None: AMPLE or more).
    least: int = 0
    most: int | None = None


class Node:
    """A place with what is known of it: the ids that it allows and the places behind it."""

    __slots__ = ("after", "alike", "choices", "place", "sixteenth", "store")

    def __init__(self, place: Place, store: Store) -> None:
        self.place = place
        self.store = store
        # By the first of the ids that lead to the same place; for ties and joins by the id and the pitch it hangs on.
        self.after: dict[int | tuple[int, tuple[int, int] | None], Node] = {}
        self.alike = () if place.frame is None else place.frame.tones.alike
        self.choices: np.ndarray | None = None  # the allowed ids, rising; None while nobody has asked
        self.sixteenth = sixteenth_of(place.position)


class Store:
    """Nodes by place, and the choices that they offer; those with equal masks share theirs."""

    def __init__(self, size: int) -> None:
        self._bytes = -(-size // 8)  # of a mask
        self._nodes: dict[Place, Node] = {}
        self._choices: dict[int, np.ndarray] = {}
        self.kept = 0

    def node(self, place: Place) -> Node:
        """The node of a place."""
        found = self._nodes.get(place)
        if found is None:
            found = self._nodes[place] = Node(place, self)
            self.kept += 1
        return found

    def choices(self, mask: int) -> np.ndarray:
        """The ids that a mask allows, rising, as read-only int64."""
        found = self._choices.get(mask)
        if found is None:
            import numpy as np

            packed = np.frombuffer(mask.to_bytes(self._bytes, "little"), np.uint8)
            found = self._choices[mask] = np.unpackbits(packed, bitorder="little").nonzero()[0]
            found.flags.writeable = False
            self.kept += CHOICES_WEIGHT
        return found


class Notes:
    """The automaton within a bar, for one vocabulary; all grammars over it share what one of them found out."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tables = Tables(vocabulary)
        self.rhythm = Rhythm(self.tables)
        self.store = Store(len(vocabulary))
        self._sticky = vocabulary.layout == "sticky"
        self._hanging = frozenset((self.tables.tie, self.tables.join))
        self._lengths_within: dict[tuple, tuple[frozenset[int], frozenset[int]]] = {}
        self._behind: dict[tuple, list[tuple[int, int]]] = {}

        # Wishes without number would fill the memory: only the last that came are kept.
        self.tones = lru_cache(maxsize=128)(partial(Tones, self.tables))

    # ------------------------------------------------------------------ nodes

    def node(self, place: Place) -> Node:
        """The node of a place; when too many are kept, all are forgotten first."""
        if self.store.kept >= MOST_KEPT:
            self.store = Store(len(self.tables.tokens))
        return self.store.node(place)

    def known(self, node: Node) -> Node:
        """The same node, of the present store and with its mask."""
        if node.store is not self.store:
            node = self.node(node.place)
        if node.choices is None:
            node.choices = self.store.choices(self._relaxed_mask(node.place))
        return node

    def follow(self, node: Node, index: int, last: int) -> Node:
        """The node behind the token of a note; `last` is the id before it, on whose pitch ties and chords hang."""
        token = self.tables.tokens[index]
        pitch = self.tables.tokens[last].value
        key = (index, pitch) if index in self._hanging else node.alike[index]
        after = node.after.get(key)
        if after is None:
            after = node.after[key] = self.node(self.place_after(node.place, token, pitch))
            self.store.kept += 1
        return after

    # ------------------------------------------------------------------ mask

    def mask(self, place: Place) -> int:
        """Which ids may stand at a place."""
        frame = place.frame
        if frame is None or place.must_sign:
            mask = 0
        elif place.phase is PITCHING:
            final = frame.must_rest and place.position + place.length == frame.stop
            return frame.tones.pitches(place.length, place.pitch, final)
        elif place.phase is JOINING:
            return frame.tones.joins(place.pitch, frame.must_rest and place.position == frame.stop)
        else:
            mask = self._note_mask(place)
            if place.phase is FILLING:
                mask |= self._sign_mask(place)
        for index in place.signs:
            mask |= 1 << index
        return mask

    def _relaxed_mask(self, place: Place) -> int:
        """`mask`, with the bounds on tokens moved as little as leaves a choice.

        That is needed where a bar is so short that it takes no such number, and behind ids that were not allowed.
        """
        mask = self.mask(place)
        while place.least and not mask:
            place = place._replace(least=place.least - 1)
            mask = self.mask(place)
        while place.most is not None and place.most < AMPLE and not mask:
            place = place._replace(most=place.most + 1)
            mask = self.mask(place)
        return mask

    def _note_mask(self, place: Place) -> int:
        """Notes and lengths that fit into what is left of the bar."""
        frame, tables, length = place.frame, self.tables, place.length
        room = frame.stop - place.position
        if room <= 0:
            return 0
        one, two = self._lengths(frame, room, place.tuplet, place.done, length, place.least, place.most)
        if not frame.must_rest:
            mask = tables.timed(one, two) & frame.tones.notes(place.pitch, False)
        else:
            filling = frozenset((room,))
            mask = tables.timed(one - filling, two - filling) & frame.tones.notes(place.pitch, False)
            mask |= tables.timed(one & filling, two & filling) & frame.tones.notes(place.pitch, True)
        if self._sticky and length:
            mask &= ~(1 << tables.length_id[length])
            if length in one:
                mask |= frame.tones.pitches(length, place.pitch, frame.must_rest and length == room)
        return mask

    def _lengths(
        self, frame: Frame, room: int, tuplet: int, done: int, length: int, least: int, most: int | None
    ) -> tuple[frozenset[int], frozenset[int]]:
        """Lengths that may come next as one token, and as two, where `room` ticks are left; all else as in `Place`."""
        fitting = self.rhythm.fitting(room, tuplet, done)
        if least <= 0 and (most is None or most >= AMPLE):
            return fitting, fitting
        if most is None:
            most = self.rhythm.most(room)
        ending = frame.tones if frame.must_rest else None
        key = (room, tuplet, done, length, ending, least, most)
        found = self._lengths_within.get(key)
        if found is None:
            if len(self._lengths_within) >= MOST_KEPT // 6:
                self._lengths_within.clear()
            behind = self._counts_behind(room, tuplet, done, ending)
            alone, apart = bits_between(least - 1, most - 1), bits_between(least - 2, most - 2)
            found = self._lengths_within[key] = (
                frozenset([each for each, rest in behind if rest & alone]),
                frozenset([each for each, rest in behind if rest & apart]),
            )
        return found

    def _counts_behind(self, room: int, tuplet: int, done: int, ending: Tones | None) -> list[tuple[int, int]]:
        """The lengths that fit, each with the numbers of tokens in which the bar can be filled behind it, as bits."""
        key = (room, tuplet, done, ending)
        found = self._behind.get(key)
        if found is None:
            if len(self._behind) >= MOST_KEPT // 60:
                self._behind.clear()
            counts, follow = self.rhythm.counts, self.rhythm.follow
            found = self._behind[key] = [
                (each, counts(room - each, *follow(tuplet, done, each), each, ending))
                for each in self.rhythm.fitting(room, tuplet, done)
            ]
        return found

    def _sign_mask(self, place: Place) -> int:
        """What may follow a note that has been taken: bar lines, a tie, one more note of a chord."""
        frame, tables, mask = place.frame, self.tables, 0
        if not place.tuplet and place.least <= 0:
            if frame.leads_on and place.position == frame.stop:
                mask = 1 << tables.bar
            if place.position == frame.close_at and not place.tied and (place.rests or not frame.final):
                mask |= 1 << frame.sign
        if place.chord:
            mask |= 1 << tables.join
        if place.ties:
            mask |= 1 << tables.tie
        return mask

    # ------------------------------------------------------------------ steps

    def place_after(self, place: Place, token: Token, pitch: tuple[int, int] | None) -> Place:
        """The place behind the token of a note: any such token, whether or not the mask allows it.

        `pitch` is that of the token before, on which a tie or a chord is built.
        """
        kind = token.kind
        if kind == NOTE:
            return self._take_note(place, token.value, token.ticks)
        if kind == PITCH and place.phase is not JOINING:
            return self._take_note(place, token.value, place.length)
        least = place.least - 1 if place.least > 0 else 0
        most = None if place.most is None else place.most - 1
        if kind == PITCH:
            return self._settle(
                place.frame, place.position, place.tuplet, place.done, place.length,
                least, most, token.value, place.chord + 1,
            )  # fmt: skip
        if kind == LENGTH:
            return place._replace(
                phase=PITCHING, signs=(), must_sign=False, length=token.ticks, chord=0, ties=False,
                least=least, most=most,
            )  # fmt: skip
        if kind == JOIN:
            return place._replace(phase=JOINING, pitch=pitch, ties=False, least=least, most=most)
        return place._replace(pitch=pitch, tied=True, chord=0, ties=False, rests=False, least=least, most=most)

    def _take_note(self, place: Place, pitch: tuple[int, int] | None, length: int) -> Place:
        tuplet, done = self.rhythm.follow(place.tuplet, place.done, length)
        frame, position = place.frame, place.position + length
        if position > frame.stop:  # music from elsewhere has passed the end: there must be another bar
            frame = frame._replace(stop=frame.full, leads_on=True, close_at=-1, sign=-1, final=False)
        least = place.least - 1 if place.least > 0 else 0
        most = None if place.most is None else place.most - 1
        return self._settle(frame, position, tuplet, done, length if self._sticky else 0, least, most, pitch, 1)

    def _settle(
        self, frame: Frame, position: int, tuplet: int, done: int, length: int,
        least: int, most: int | None, pitch: tuple[int, int] | None, chord: int,
    ) -> Place:  # fmt: skip
        """The place behind note number `chord` of a chord: what may be built on it, and no more than that matters."""
        room = frame.stop - position
        if most is not None and most >= self.rhythm.most(room):
            most = None
        rests = ties = False
        if pitch is None:
            chord = 0
        else:
            rests = frame.final and pitch in frame.tones.finals
            ties = chord == 1 and self._may_tie(frame, room, tuplet, done, length, least, most, pitch)
            if not self._may_join(frame, room, tuplet, done, length, least, most, pitch, chord):
                chord = 0
        return Place(
            FILLING, (), frame, position, tuplet, done, length, None, False, chord, ties, rests,
            False, least, most,
        )  # fmt: skip

    def _may_join(
        self, frame: Frame, room: int, tuplet: int, done: int, length: int,
        least: int, most: int | None, pitch: tuple[int, int], chord: int,
    ) -> bool:  # fmt: skip
        """Whether one more note may be joined above `pitch`, number `chord` of a chord."""
        if chord >= CHORD_NOTES or not frame.tones.can_join(pitch, frame.must_rest and room == 0):
            return False
        if most is None or most >= AMPLE:
            return True
        ending = frame.tones if frame.must_rest else None
        return most >= 2 and has_between(self.rhythm.counts(room, tuplet, done, length, ending), least - 2, most - 2)

    def _may_tie(
        self, frame: Frame, room: int, tuplet: int, done: int, length: int,
        least: int, most: int | None, pitch: tuple[int, int],
    ) -> bool:  # fmt: skip
        """Whether `pitch` may be tied to a note behind it."""
        if room == 0:
            return frame.leads_on and least <= 1 and (most is None or most >= 1)
        if not frame.final and least <= 0 and (most is None or most >= AMPLE):
            return True
        tied = (least - 1 if least > 0 else 0, None if most is None else most - 1)
        one, two = self._lengths(frame, room, tuplet, done, length, *tied)
        whole = frozenset((length,)) if self._sticky else self.tables.fused_lengths[pitch]
        lengths = (one & whole) | (two - whole)
        if frame.must_rest and pitch not in frame.tones.finals:
            lengths -= {room}
        return bool(lengths)


@lru_cache(maxsize=8)
def build_notes(vocabulary: Vocabulary) -> Notes:
    """The automaton within a bar of a vocabulary, shared by all grammars over it."""
    return Notes(vocabulary)
