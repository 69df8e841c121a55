"""The automaton within a bar: its places, which ids they allow and where those lead, remembered as tables."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from hoyomusic.grammar.rhythm import Rhythm, has_between
from hoyomusic.grammar.state import Phase
from hoyomusic.grammar.tables import Tables, Tones
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import Kind, Token

if TYPE_CHECKING:
    import numpy as np

# The most notes in one chord.
CHORD_NOTES = 4

# With so many tokens to spend any note, chord or tie that fits is allowed: the rest of the bar needs fewer.
AMPLE = 20

# Nodes and edges that are kept before all are forgotten, at most some 150 MB; the row of a mask is as large as so many.
MOST_KEPT = 60_000
ROW_WEIGHT = 10


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
    """A place with what is known of it: its mask and the places behind it."""

    __slots__ = ("after", "alike", "choices", "mask", "place", "row", "store")

    def __init__(self, place: Place, store: Store) -> None:
        self.place = place
        self.store = store
        self.after: dict[int, Node] = {}  # by the first of the ids that lead to the same place
        self.alike = () if place.frame is None else place.frame.tones.alike
        self.mask: np.ndarray | None = None
        self.choices: np.ndarray | None = None
        self.row = -1


class Store:
    """Nodes by place, and their masks as rows of one table in which equal masks share a row."""

    def __init__(self, size: int) -> None:
        import numpy as np

        self.table = np.zeros((64, size), bool)
        self.kept = 0
        self._nodes: dict[Place, Node] = {}
        self._rows: dict[bytes, int] = {}
        self.choices: list[np.ndarray] = []  # the ids that each row allows

    def node(self, place: Place) -> Node:
        """The node of a place."""
        found = self._nodes.get(place)
        if found is None:
            found = self._nodes[place] = Node(place, self)
            self.kept += 1
        return found

    def row(self, mask: np.ndarray) -> int:
        """The row that holds a mask."""
        import numpy as np

        key = mask.tobytes()
        found = self._rows.get(key)
        if found is None:
            found = self._rows[key] = len(self._rows)
            self.kept += ROW_WEIGHT
            if found == len(self.table):
                self.table = np.concatenate([self.table, np.zeros_like(self.table)])
            self.table[found] = mask
            choices = mask.nonzero()[0]
            choices.flags.writeable = False
            self.choices.append(choices)
        return found


class Notes:
    """The automaton within a bar, for one vocabulary; all grammars over it share what one of them found out."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tables = Tables(vocabulary)
        self.rhythm = Rhythm(self.tables)
        self.store = Store(len(vocabulary))
        self._sticky = vocabulary.layout == "sticky"
        self._lengths_within: dict[tuple, tuple[frozenset[int], frozenset[int]]] = {}

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
        if node.mask is None:
            node.row = self.store.row(self._relaxed_mask(node.place))
            node.mask = self.store.table[node.row]
            node.mask.flags.writeable = False
            node.choices = self.store.choices[node.row]
        return node

    def follow(self, node: Node, index: int, last: int) -> Node:
        """The node behind the token of a note; `last` is the id before it, on whose pitch ties and chords hang."""
        token = self.tables.tokens[index]
        after = self.node(self.place_after(node.place, token, self.tables.tokens[last].value))
        if token.kind not in (Kind.TIE, Kind.JOIN):
            node.after[node.alike[index]] = after
            self.store.kept += 1
        return after

    # ------------------------------------------------------------------ mask

    def mask(self, place: Place) -> np.ndarray:
        """Which ids may stand at a place."""
        frame = place.frame
        if frame is None or place.must_sign:
            mask = self.tables.none.copy()
        elif place.phase is Phase.PITCHING:
            final = frame.must_rest and place.position + place.length == frame.stop
            return frame.tones.pitches(place.length, place.pitch, final)
        elif place.phase is Phase.JOINING:
            return frame.tones.joins(place.pitch, frame.must_rest and place.position == frame.stop)
        else:
            mask = self._note_mask(place)
            self._allow_signs(place, mask)
        mask[list(place.signs)] = True
        return mask

    def _relaxed_mask(self, place: Place) -> np.ndarray:
        """`mask`, with the bounds on tokens moved as little as leaves a choice.

        That is needed where a bar is so short that it takes no such number, and behind ids that were not allowed.
        """
        mask = self.mask(place)
        while place.least and not mask.any():
            place = place._replace(least=place.least - 1)
            mask = self.mask(place)
        while place.most is not None and place.most < AMPLE and not mask.any():
            place = place._replace(most=place.most + 1)
            mask = self.mask(place)
        return mask

    def _note_mask(self, place: Place) -> np.ndarray:
        """Notes and lengths that fit into what is left of the bar."""
        frame, tables = place.frame, self.tables
        room = frame.stop - place.position
        if room <= 0:
            return tables.none.copy()
        one, two = self._lengths(place)
        filling = frozenset((room,)) if frame.must_rest else frozenset()
        mask = tables.timed(one - filling, two - filling) & frame.tones.notes(place.pitch, False)
        if filling & (one | two):
            mask |= tables.timed(one & filling, two & filling) & frame.tones.notes(place.pitch, True)
        if self._sticky and place.length:
            mask[tables.length_id[place.length]] = False
            if place.length in one:
                mask |= frame.tones.pitches(place.length, place.pitch, place.length in filling)
        return mask

    def _lengths(self, place: Place) -> tuple[frozenset[int], frozenset[int]]:
        """Lengths that may come next as one token, and as two."""
        frame = place.frame
        room = frame.stop - place.position
        fitting = self.rhythm.fitting(room, place.tuplet, place.done)
        if place.least <= 0 and (place.most is None or place.most >= AMPLE):
            return fitting, fitting
        most = self.rhythm.most(room) if place.most is None else place.most
        ending = frame.tones if frame.must_rest else None
        key = (room, place.tuplet, place.done, place.length, ending, place.least, most)
        found = self._lengths_within.get(key)
        if found is None:
            if len(self._lengths_within) >= MOST_KEPT // 6:
                self._lengths_within.clear()
            counts = {each: self._counts(place, each) for each in fitting}
            one, two = (
                frozenset(
                    each for each, rest in counts.items() if has_between(rest, place.least - cost, most - cost)
                )
                for cost in (1, 2)
            )
            found = self._lengths_within[key] = one, two
        return found

    def _counts(self, place: Place, length: int) -> int:
        """In how many tokens the bar can be filled behind a note of `length` (0: right here), as bits."""
        frame = place.frame
        tuplet, done = self.rhythm.follow(place.tuplet, place.done, length) if length else (place.tuplet, place.done)
        return self.rhythm.counts(
            frame.stop - place.position - length,
            tuplet,
            done,
            length or place.length,
            frame.tones if frame.must_rest else None,
        )

    def _allow_signs(self, place: Place, mask: np.ndarray) -> None:
        """What may follow a note that has been taken: bar lines, a tie, one more note of a chord."""
        frame, tables = place.frame, self.tables
        if place.phase is not Phase.FILLING:
            return
        if not place.tuplet and place.least <= 0:
            if frame.leads_on and place.position == frame.stop:
                mask[tables.bar] = True
            if place.position == frame.close_at and not place.tied and (place.rests or not frame.final):
                mask[frame.sign] = True
        if place.chord:
            mask[tables.join] = True
        if place.ties:
            mask[tables.tie] = True

    # ------------------------------------------------------------------ steps

    def place_after(self, place: Place, token: Token, pitch: tuple[int, int] | None) -> Place:
        """The place behind the token of a note: any such token, whether or not the mask allows it."""
        match token.kind:
            case Kind.LENGTH:
                return self._spend(place, 1)._replace(
                    phase=Phase.PITCHING, signs=(), must_sign=False, length=token.ticks, chord=0, ties=False
                )
            case Kind.NOTE:
                return self._take_note(place, token.value, token.ticks)
            case Kind.PITCH if place.phase is Phase.JOINING:
                return self._settle(self._spend(place, 1)._replace(phase=Phase.FILLING), token.value, place.chord + 1)
            case Kind.PITCH:
                return self._take_note(place, token.value, place.length)
            case Kind.JOIN:
                return self._spend(place, 1)._replace(phase=Phase.JOINING, pitch=pitch, ties=False)
        return self._tie(place, pitch)

    def _spend(self, place: Place, tokens: int) -> Place:
        if place.most is None and place.least <= 0:
            return place
        most = None if place.most is None else place.most - tokens
        return place._replace(least=max(place.least - tokens, 0), most=most)

    def _take_note(self, place: Place, pitch: tuple[int, int] | None, length: int) -> Place:
        tuplet, done = self.rhythm.follow(place.tuplet, place.done, length)
        frame, position = place.frame, place.position + length
        if position > frame.stop:  # music from elsewhere has passed the end: there must be another bar
            frame = frame._replace(stop=frame.full, leads_on=True, close_at=-1, sign=-1, final=False)
        taken = Place(
            Phase.FILLING,
            frame=frame,
            position=position,
            tuplet=tuplet,
            done=done,
            length=length if self._sticky else 0,
            least=max(place.least - 1, 0),
            most=None if place.most is None else place.most - 1,
        )
        return self._settle(taken, pitch, 1)

    def _settle(self, place: Place, pitch: tuple[int, int] | None, chord: int) -> Place:
        """The place behind a note of a chord: what may be built on it, and no more than that matters."""
        frame, most = place.frame, place.most
        room = frame.stop - place.position
        if most is not None and most >= self.rhythm.most(room):
            most = None
        if pitch is None:
            return place if most == place.most else place._replace(most=most)
        ample = most is None or most >= AMPLE
        joins = (
            chord < CHORD_NOTES
            and (ample or most >= 2)
            and frame.tones.can_join(pitch, frame.must_rest and room == 0)
            and (ample or has_between(self._counts(place, 0), place.least - 2, most - 2))
        )
        place = place._replace(
            pitch=None,
            chord=chord if joins else 0,
            rests=frame.final and pitch in frame.tones.finals,
            most=most,
        )
        return place._replace(ties=True) if chord == 1 and self._may_tie(place, pitch, room) else place

    def _may_tie(self, place: Place, pitch: tuple[int, int], room: int) -> bool:
        frame = place.frame
        if room == 0:
            return frame.leads_on and place.least <= 1 and (place.most is None or place.most >= 1)
        if frame.final or place.least > 0 or (place.most is not None and place.most < AMPLE):
            tied = self._tie(place, pitch)
            one, two = self._lengths(tied)
            whole = frozenset((tied.length,)) if self._sticky else self.tables.fused_lengths.get(pitch, frozenset())
            lengths = (one & whole) | (two - whole)
            if frame.must_rest and pitch not in frame.tones.finals:
                lengths -= {room}
            return bool(lengths)
        return True

    def _tie(self, place: Place, pitch: tuple[int, int] | None) -> Place:
        return self._spend(place, 1)._replace(pitch=pitch, tied=True, chord=0, ties=False, rests=False)


@lru_cache(maxsize=8)
def build_notes(vocabulary: Vocabulary) -> Notes:
    """The automaton within a bar of a vocabulary, shared by all grammars over it."""
    return Notes(vocabulary)
