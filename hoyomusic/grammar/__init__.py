"""Which ids may come next, so that what is sampled is music: every bar adds up by arithmetic, not by luck.

`Grammar` is an automaton over the ids of a `Vocabulary`. `mask(state)` says which ids are allowed,
`advance(state, id)` takes one, `clock(state)` tells the model where in the bar, the section and the tune
it stands; `masks` and `advance_all` do so for a batch. Along every path that the mask allows

- each bar is exactly as long as its metre; a tune that starts with an upbeat starts each section with
  it and ends each section with its complement;
- tuplets close before the bar ends, ties lead to the same pitch, chords rise;
- repeats and endings pair, no section begins within the last three bars unless a wished form needs it, and the tune
  ends with a final bar line (or a repeat's) after the asked number of bars, or with no more than the asked number of
  tokens and no less than nine tenths of it;
- key, mode, metre, form, scale, range and finals are those that the `Wish` names;
- the ids are those that `Vocabulary.encode` writes for the tune (but for a number of bars that the header of a tune
  of asked length could not know).

Two automata work together. Within a bar a finite one (`notes`) knows each place by a node: mask and next node are
looked up. From bar to bar plain counting (`sections`, `budget`) decides what frame the next bar gets. All arithmetic
is in integer ticks of 1/6720 of a whole note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from hoyomusic.grammar.budget import Budget
from hoyomusic.grammar.clock import CLOCKS, clock_of, clock_of_bar, clocks
from hoyomusic.grammar.notes import AMPLE, Frame, Place, Store, build_notes
from hoyomusic.grammar.sections import Sections
from hoyomusic.grammar.state import FORMS, NEVER, Phase, State, Wish
from hoyomusic.grammar.tables import Tones, degrees_above, pitches_within
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import BAR_ENDS, Kind, Token

if TYPE_CHECKING:
    import numpy as np

# A member of an enumeration costs more to name than a bar line that is taken: these are named at each.
BAR, DOUBLE, CLOSE, FINAL, OPEN, MODE = Kind.BAR, Kind.DOUBLE, Kind.CLOSE, Kind.FINAL, Kind.OPEN, Kind.MODE
OPENING, OPENED = Phase.OPENING, Phase.OPENED


class Grammar:
    """The automaton for one vocabulary and one wish; states are cheap, the tables are shared.

    >>> from hoyomusic.tune import Metre
    >>> vocabulary = Vocabulary.build()
    >>> grammar = Grammar(vocabulary, Wish(metre=Metre(3, 4), bars=8))
    >>> state = grammar.start()
    >>> [vocabulary.names[index] for index in grammar.allowed(state)]
    ['<s>']
    """

    def __init__(self, vocabulary: Vocabulary, wish: Wish = Wish()) -> None:
        self.vocabulary = vocabulary
        self.wish = wish
        self._notes = build_notes(vocabulary)
        self._tables = self._notes.tables
        self._sections = Sections(wish)
        self._budget = None if wish.length is None else Budget(wish, self._notes.rhythm)
        self._tones_of: dict[tuple[tuple[str, int], str, bool], Tones] = {}
        self._modes_on = {tonic: self._find_modes(tonic) for tonic in self._tables.tonics}
        self._returns = wish.form == "AABA"
        # What takes a token that is no note's, by its kind: a list is looked up sooner than a match is made.
        takers: dict[Kind, Callable[[State, Token], Place]] = {
            Kind.START: self._take_start,
            Kind.TONIC: self._take_tonic,
            Kind.MODE: self._take_mode,
            Kind.METRE: self._take_metre,
            Kind.BARS: self._take_bars,
            Kind.OPEN: self._take_open,
            Kind.ENDING: self._take_ending,
            Kind.UPBEAT: self._take_upbeat,
            **dict.fromkeys(BAR_ENDS, self._take_bar_end),
            **dict.fromkeys((Kind.END, Kind.BOUNDARY), self._take_end),
        }
        self._takers = [takers.get(kind) for kind in Kind]

    def start(self) -> State:
        """The state before ``<s>``."""
        return State(self._notes.node(Place(Phase.START, (self._tables.start,))))

    @property
    def store(self) -> Store:
        """The places that are known so far: those of all grammars over one vocabulary."""
        return self._notes.store

    # ------------------------------------------------------------------ mask

    def allowed(self, state: State) -> list[int]:
        """The allowed ids, in order: `choices` for people and for tests."""
        return self.choices(state).tolist()

    def mask(self, state: State) -> np.ndarray:
        """Which ids may come next, as read-only bool (vocabulary,); never all false before the tune is done."""
        mask = self.masks([state])[0]
        mask.flags.writeable = False
        return mask

    def choices(self, state: State) -> np.ndarray:
        """The allowed ids, rising, as read-only int64: `mask` for `sampling.draw`."""
        notes = self._notes
        if state.returned >= 0:  # within a return the one id that is due
            due = state.returning[state.returned : state.returned + 1]
            return notes.store.choices(sum(1 << index for index in due))
        node = state.node
        if node.choices is None:
            node = state.node = notes.known(node)
        return node.choices

    def masks(self, states: Sequence[State]) -> np.ndarray:
        """`mask` of each state, as bool (states, vocabulary)."""
        import numpy as np

        masks = np.zeros((len(states), len(self.vocabulary)), bool)
        for mask, state in zip(masks, states, strict=True):
            mask[self.choices(state)] = True
        return masks

    # ------------------------------------------------------------------ advance

    def advance(self, state: State, index: int) -> None:
        """Take the id that was chosen; `state` changes in place.

        Any id of an encoded tune may be taken, allowed or not: so music from elsewhere can be gone on from.
        """
        state.taken += 1
        node = state.node
        after = node.after.get(node.alike[index]) if node.after else None
        if self._returns:
            self._copy(state, index)
        if after is not None:
            state.node = after
        else:
            token = self._tables.tokens[index]
            take = self._takers[token.kind]
            if take is None:
                state.node = self._notes.follow(node, index, state.last)
            else:
                state.node = self._notes.node(take(state, token))
        state.last = index
        if state.taken >= state.watched:
            state.node = self._notes.node(state.node.place._replace(most=AMPLE))
            state.watched = NEVER

    @staticmethod
    def _copy(state: State, index: int) -> None:
        """In AABA: note what the first section says, or where in its return the tune is."""
        if state.trail is not None:
            state.trail = (state.trail, index)
            state.first_tokens += 1
        if state.returned >= 0:
            state.returned += 1

    def advance_all(self, states: Sequence[State], indices: Iterable[int]) -> None:
        """`advance` for each state of a batch with its id."""
        for state, index in zip(states, indices, strict=True):
            self.advance(state, int(index))

    def clock(self, state: State) -> int:
        """The clock id that goes into the model together with the id that was taken last."""
        return state.node.sixteenth + clock_of_bar(state.bar_in_section, state.bars_left)

    # ------------------------------------------------------------------ tokens that are no note's

    def _take_start(self, state: State, token: Token) -> Place:
        return Place(Phase.TONIC, self._tonics(state))

    def _take_tonic(self, state: State, token: Token) -> Place:
        modes = self._modes(state, token.value)
        state.tonic = token.value
        return Place(Phase.MODE, modes, length=state.node.place.length)

    def _take_mode(self, state: State, token: Token) -> Place:
        state.mode = token.value
        if state.full:
            return self._open_bar(state, MODE)
        return Place(Phase.METRE, self._metres(state))

    def _take_metre(self, state: State, token: Token) -> Place:
        state.full, begun = token.ticks, state.full
        return self._open_bar(state, Kind.METRE) if begun else Place(Phase.BARS, self._counts(state))

    def _take_bars(self, state: State, token: Token) -> Place:
        if self._budget is None:
            state.bars_left = self.wish.bars or token.value or 1
        else:
            state.bars_left, state.counting = self._budget.first_count(state, state.taken)
        state.tokens_at_body = state.taken
        return self._begin_bar(state, BAR)

    def _take_open(self, state: State, token: Token) -> Place:
        if not state.section_start:
            self._end_section(state)
        state.section_start, state.repeat_open, state.bar_in_section = True, True, 0
        if self._returns and state.sections == 0:
            state.trail, state.first_tokens = (), 0
        return self._open_bar(state, OPEN)

    def _take_ending(self, state: State, token: Token) -> Place:
        if 1 in token.value:
            state.ending, state.ending_start = 1, state.bar_in_section
        else:
            state.ending, state.bar_in_section, state.section_start = 3, state.ending_start, False
        return self._open_bar(state, Kind.ENDING)

    def _take_upbeat(self, state: State, token: Token) -> Place:
        state.upbeat, state.in_upbeat, state.section_start = token.ticks, True, False
        return self._open_bar(state, Kind.UPBEAT)

    def _take_bar_end(self, state: State, token: Token) -> Place:
        kind = token.kind
        if state.in_upbeat:
            state.in_upbeat = False
            return self._open_bar(state, Kind.UPBEAT)
        state.bars_left -= 1
        state.bars_done += 1
        state.bar_in_section += 1
        state.section_bars += 1
        if state.upbeat < 0:
            state.upbeat = 0
        state.section_start = kind != BAR
        if state.section_start:
            state.bar_in_section = 0
            if state.ending == 1:
                state.ending = 2
            else:
                self._end_section(state)
        if kind == FINAL or (kind == CLOSE and state.bars_left <= 0):
            return Place(Phase.ENDING, (self._tables.end,))
        return self._begin_bar(state, kind)

    def _take_end(self, state: State, token: Token) -> Place:
        return Place(Phase.DONE)

    # ------------------------------------------------------------------ header and changes

    def _tonics(self, state: State) -> tuple[int, ...]:
        """Key notes that have a mode to go with."""
        if not state.full:
            return tuple(index for tonic, index in self._tables.tonics.items() if self._modes_on[tonic])
        return tuple(index for tonic, index in self._tables.tonics.items() if self._modes(state, tonic))

    def _modes(self, state: State, tonic: tuple[str, int]) -> tuple[int, ...]:
        """Modes that go with a key note; a change of key must change something."""
        present = (state.tonic, state.mode) if state.full else None
        return tuple(index for mode, index in self._modes_on[tonic] if (tonic, mode) != present)

    def _find_modes(self, tonic: tuple[str, int]) -> list[tuple[str, int]]:
        """The modes, with their ids, that the wish allows on a key note."""
        wish = self.wish
        if wish.tonic is not None and tonic != wish.tonic:
            return []
        if wish.mode is None:
            return self._tables.written[tonic]
        if wish.tonic is not None:
            return [(wish.mode, self._tables.modes[wish.mode])]
        return [each for each in self._tables.written[tonic] if each[0] == wish.mode]

    def _metres(self, state: State) -> tuple[int, ...]:
        """Metres that may be named: the wished one, any, or for a change any other that the tune has room for."""
        wish, budget, metres = self.wish, self._budget, self._tables.metres
        if not state.full:
            return tuple(metres.values()) if wish.metre is None else (metres[wish.metre.beats, wish.metre.unit],)
        if wish.metre is not None or (budget is not None and state.counting):
            return ()
        tokens = self._tables.tokens
        return tuple(
            index
            for index in metres.values()
            if tokens[index].ticks != state.full and (budget is None or budget.affords(state, full=tokens[index].ticks))
        )

    def _counts(self, state: State) -> tuple[int, ...]:
        """What the header may say of the number of bars."""
        if self.wish.bars is not None:
            return (self.vocabulary.bars_id(self.wish.bars),)
        if self._budget is not None:
            bars, settled = self._budget.first_count(state, state.taken + 1)
            return (self.vocabulary.bars_id(bars if settled else 0),)
        return tuple(index for bars, index in self._tables.bars.items() if self._sections.may_count(bars))

    # ------------------------------------------------------------------ bars

    def _begin_bar(self, state: State, behind: Kind) -> Place:
        if state.bars_left < 1:
            state.bars_left = 1
        if self._budget is not None:
            self._budget.forecast(state)
        if state.section_start and not state.ending:
            self._sections.plan(state)
            if state.sections == 2 and self._returns and state.returning:
                self._begin_return(state)
        return self._open_bar(state, behind)

    def _open_bar(self, state: State, behind: Kind) -> Place:
        """The place at a bar's start, `behind` a bar line or a sign, with the frame that its notes keep to."""
        before, budget = state.node.place, self._budget
        outlook = None if budget is None else budget.look_ahead(state)
        spare = NEVER if outlook is None else outlook.spare
        behind_line = behind in BAR_ENDS
        signs, must = self._signs(state, behind, behind_line, before.tied, spare)
        goes_on, ends = self._sections.ends(state)
        extra = 0
        if budget is not None and ends and goes_on and state.upbeat > 0:
            extra = budget.upbeat_needs(state.upbeat)
            if extra > spare:
                ends, extra = False, 0
        least, most = 0, None
        if outlook is not None and state.returned < 0:
            least, most = budget.window(state, outlook, extra)
        state.watched = NEVER
        if most is not None and most > AMPLE:
            state.watched, most = state.taken + most - AMPLE, None
        return Place(
            OPENING if behind_line else OPENED, signs, self._frame(state, goes_on, ends),
            state.full - state.upbeat if state.in_upbeat else 0, 0, 0,
            before.length, before.pitch, before.tied, 0, False, False, must, least, most,
        )  # fmt: skip

    def _signs(
        self, state: State, behind: Kind, behind_line: bool, tied: bool, spare: int
    ) -> tuple[tuple[int, ...], bool]:
        """The signs that may come next, and whether one must.

        They stand `behind` a bar line or a sign, perhaps `tied` over it; the tune has `spare` tokens for them.
        """
        tables, sections = self._tables, self._sections
        if state.ending == 2:
            return (tables.second_ending,), True
        signs: list[int] = []
        # A repeat that opens says all that a double bar would say: in front of it stands a plain bar line.
        if behind == BAR and not tied and spare >= 1 and sections.may_reopen(state):
            signs.append(tables.open)
        if state.section_start and not tied:
            if behind_line and behind != DOUBLE and not state.repeat_open:
                may, must = sections.opens(state)
                if must:
                    return (tables.open,), True
                if may and spare >= 1:
                    signs.append(tables.open)
            if state.upbeat > 0:
                return (*signs, tables.upbeats[state.upbeat]), True
            if state.upbeat < 0:
                signs += self._upbeats(state)
            elif self.wish.changes and not self._returns and spare >= 4:
                if behind_line or behind == OPEN:
                    signs += self._metres(state)
                if behind != MODE:
                    signs += self._tonics(state)
        if behind_line and not tied and sections.may_begin_ending(state):
            needs = 0 if self._budget is None else 3 + self._budget.upbeat_needs(state.upbeat)
            if needs <= spare:
                signs.append(tables.first_ending)
        return tuple(signs), False

    def _upbeats(self, state: State) -> list[int]:
        """The upbeats that a tune may begin with."""
        budget = self._budget
        return [
            index
            for ticks, index in self._tables.upbeats.items()
            if ticks < state.full and (budget is None or budget.affords(state, upbeat=ticks))
        ]

    def _frame(self, state: State, goes_on: bool, ends: bool) -> Frame:
        """What the bar that begins keeps to; its section `goes_on` behind it or `ends` with it, or may do either."""
        complement = state.full - state.upbeat if state.upbeat > 0 else state.full
        final = False
        if ends and self.wish.finals is not None and state.ending != 1:
            final = state.bars_left == 1 or (self._returns and state.sections == 0)
        return Frame(
            self._tones(state, final),
            state.full,
            state.full if goes_on else complement,
            goes_on,
            complement if ends else -1,
            self._section_end(state) if ends else -1,
            final,
        )

    def _section_end(self, state: State) -> int:
        """The bar line that ends a section here."""
        if state.repeat_open and state.ending < 3:
            return self._tables.close
        return self._tables.final if state.bars_left == 1 else self._tables.double

    def _tones(self, state: State, final: bool) -> Tones:
        """The pitches that the wish leaves to the present key; keys to which it leaves the same share them.

        Only bars whose last note is asked for, `final`, know on which notes a tune may end.
        """
        key = (state.tonic, state.mode, final)
        found = self._tones_of.get(key)
        if found is None:
            wish = self.wish
            pitches = pitches_within(self.vocabulary, *key[:2], wish.scale, wish.lowest, wish.highest)
            finals = frozenset()
            if final:
                degrees = degrees_above(*key[:2])
                finals = frozenset(
                    pitch for pitch in pitches if (degrees[pitch[0] % 7] + pitch[1]) % 12 in wish.finals
                )
            found = self._tones_of[key] = self._notes.tones(state.mode, pitches, finals)
        return found

    def _end_section(self, state: State) -> None:
        if self.wish.form == "AABA" and state.sections == 0 and state.trail is not None:
            ids, trail = [], state.trail[0]
            while trail:
                trail, index = trail
                ids.append(index)
            state.returning, state.trail = tuple(reversed(ids)), None
            state.first_bars = state.section_bars
        state.ending, state.repeat_open = 0, False
        state.sections += 1
        state.section_bars = 0

    def _begin_return(self, state: State) -> None:
        """From here on the ids of the first section come again, as they are spelled behind the second."""
        ids = list(state.returning)
        place = next(place for place, index in enumerate(ids) if self.vocabulary.tokens[index].kind is not Kind.UPBEAT)
        token = self.vocabulary.tokens[ids[place]]
        if self._notes.rhythm.sticky and token.kind is Kind.LENGTH and token.ticks == state.node.place.length:
            del ids[place]
        state.returning, state.returned = (*ids, self._tables.final, self._tables.end), 0


__all__ = ["CLOCKS", "FORMS", "Grammar", "Phase", "State", "Wish", "clock_of", "clocks"]
