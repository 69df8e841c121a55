"""Which ids may come next, so that what is sampled is music: every bar adds up by arithmetic, not by luck.

`Grammar` is an automaton over the ids of a `Vocabulary`. `mask(state)` says which ids are allowed,
`advance(state, id)` takes one, `clock(state)` tells the model where in the bar, the section and the tune
it stands. Along every path that the mask allows

- each bar is exactly as long as its metre; a tune that starts with an upbeat starts each section with
  it and ends each section with its complement;
- tuplets close before the bar ends, ties lead to the same pitch, chords rise;
- repeats and endings pair, and the tune ends with a final bar line after the asked number of bars,
  or as near as whole bars allow to the asked number of tokens;
- key, mode, metre, scale and range are those that the `Wish` names.

All arithmetic is in integer ticks of 1/6720 of a whole note.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoyomusic.grammar.clock import CLOCKS, clock_of, clocks
from hoyomusic.grammar.state import Phase, State, Wish
from hoyomusic.grammar.tables import GRID, MODES, build_tables, is_written, pitches_within, sounding
from hoyomusic.tune import Key
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import TICKS_PER_WHOLE, Kind

if TYPE_CHECKING:
    import numpy as np

# The widest chord that is built upward from its lowest note, and the most notes in one.
CHORD_SPAN = 16
CHORD_NOTES = 4

# Bars of a first or second ending: printed tunes have one or two.
LONGEST_ENDING = 2

# Tokens besides its notes that a bar can need: repeat sign, ending, an upbeat and its notes, bar lines.
SIGNS_PER_BAR = 9


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
        self._tables = build_tables(vocabulary)
        self._pitch_masks: dict[object, np.ndarray] = {}
        self._length_masks: dict[frozenset[int], np.ndarray] = {}
        self._lengths: dict[tuple[int, int, int], frozenset[int]] = {}

    def start(self) -> State:
        """The state before ``<s>``."""
        return State()

    # ------------------------------------------------------------------ mask

    def allowed(self, state: State) -> list[int]:
        """The allowed ids, in order: `mask` for people and for tests."""
        return [int(index) for index in self.mask(state).nonzero()[0]]

    def mask(self, state: State) -> np.ndarray:
        """Which ids may come next, as bool (vocabulary,); never all false before the tune is done."""
        tables, wish = self._tables, self.wish
        match state.phase:
            case Phase.START:
                return tables.only("<s>")
            case Phase.TONIC:
                return self._tonic_mask()
            case Phase.MODE:
                return tables.only(f"mode:{wish.mode}") if wish.mode else self._mode_mask(state.tonic)
            case Phase.METRE:
                return tables.only(f"metre:{wish.metre}") if wish.metre else tables.of_kind(Kind.METRE)
            case Phase.BARS:
                return self._bars_mask()
            case Phase.OPENING | Phase.OPENED:
                return self._opening_mask(state)
            case Phase.FILLING:
                return self._filling_mask(state)
            case Phase.PITCHING:
                return self._pitch_mask(state) & tables.of_kind(Kind.PITCH)
            case Phase.JOINING:
                return self._join_mask(state)
            case Phase.ENDING:
                return tables.only("</s>")
        return tables.none

    def _tonic_mask(self) -> np.ndarray:
        wish = self.wish
        if wish.tonic:
            return self._tables.where(lambda token: token.kind is Kind.TONIC and token.value == wish.tonic)
        modes = [wish.mode] if wish.mode else MODES
        return self._tables.where(
            lambda token: token.kind is Kind.TONIC and any(is_written(token.value, mode) for mode in modes)
        )

    def _mode_mask(self, tonic: tuple[str, int]) -> np.ndarray:
        return self._tables.where(lambda token: token.kind is Kind.MODE and is_written(tonic, token.value))

    def _bars_mask(self) -> np.ndarray:
        if self.wish.bars is not None:
            return self._tables.only(self.vocabulary.names[self.vocabulary.bars_id(self.wish.bars)])
        if self.wish.length is not None:
            return self._tables.only("bars:more")
        return self._tables.counted_bars

    def _opening_mask(self, state: State) -> np.ndarray:
        """A bar's start: signs where they may stand, an upbeat where the tune has one, else the first note."""
        tables = self._tables
        if state.ending == 2:
            return tables.only("ending:2")
        begins_section = state.section_start and not state.ending
        if begins_section and state.upbeat > 0:
            mask = tables.upbeats[state.upbeat].copy()
        else:
            mask = self._note_mask(state)
            if begins_section and state.upbeat < 0:
                mask |= tables.upbeats_below(state.full)
        if state.phase is Phase.OPENING and not state.tied:
            if begins_section and not state.repeat_open and state.bars_left >= 2:
                mask[tables.open] = True
            if state.repeat_open and state.bar_in_section and state.ending == 0 and state.bars_left >= 2:
                mask[tables.first_ending] = True
        return mask

    def _filling_mask(self, state: State) -> np.ndarray:
        tables = self._tables
        mask = self._note_mask(state) if state.position < state.limit else tables.none.copy()
        complete = state.tuplet == 0
        leads_on = state.limit == state.full and not self._must_end(state)
        if complete and state.position == state.full and leads_on:
            mask[tables.bar] = True
        if complete and not state.tied and not state.in_upbeat and state.position == state.full - max(state.upbeat, 0):
            mask[self._section_end(state)] = True
        room = state.limit - state.position
        if state.chord_notes and (
            self.wish.length is None or self._tokens_to_spend(state) > 2 * room // tables.shortest + 2
        ):
            if not state.tied and state.chord_notes < CHORD_NOTES and self._join_mask(state).any():
                mask[tables.join] = True
            if not state.tied and state.chord_notes == 1 and (state.position < state.limit or leads_on):
                mask[tables.tie] = True
        return mask

    def _section_end(self, state: State) -> int:
        """The bar line that ends a section here."""
        if state.repeat_open and state.ending < 3:
            return self._tables.close
        return self._tables.final if state.bars_left == 1 else self._tables.double

    def _must_end(self, state: State) -> bool:
        """Whether the present bar must end its section: the last of the tune, or the last that an ending may have."""
        if state.in_upbeat:
            return False
        in_ending = state.ending in (1, 3) and state.bar_in_section - state.ending_start >= LONGEST_ENDING - 1
        return state.bars_left == 1 or in_ending or (state.ending == 1 and state.bars_left == 2)

    def _note_mask(self, state: State) -> np.ndarray:
        """Notes, rests and lengths that fit into what is left of the bar."""
        tables = self._tables
        room = state.limit - state.position
        lengths = self._fitting(room, state.tuplet, state.tuplet_done)
        if self.wish.length is not None:
            lengths = self._affordable(lengths, room, self._tokens_to_spend(state))
        found = self._length_masks.get(lengths)
        if found is None:
            found = self._length_masks[lengths] = tables.with_ticks(lengths)
        mask = found & self._pitch_mask(state)
        if tables.sticky and state.length:
            mask[tables.length_id[state.length]] = False
            if state.length in lengths:
                mask |= self._pitch_mask(state) & tables.of_kind(Kind.PITCH)
        return mask

    def _fitting(self, room: int, tuplet: int, done: int) -> frozenset[int]:
        """Lengths that may come next: `room` ticks left, `done` ticks into a tuplet that began with `tuplet`."""
        key = (room, tuplet, done)
        found = self._lengths.get(key)
        if found is None:
            found = frozenset(length for length in self._tables.lengths if self._fits(length, *key))
            self._lengths[key] = found
        return found

    def _tokens_to_spend(self, state: State) -> int:
        """Tokens that this bar's notes may take so that the tune can still end within the asked length."""
        spare = self.wish.length - state.taken - 2  # its bar line and </s>
        bars_to_come = 0 if self._must_end(state) and state.ending != 1 else 1
        return spare - bars_to_come * (self._tables.fewest_tokens(state.full) + SIGNS_PER_BAR)

    def _affordable(self, lengths: frozenset[int], room: int, tokens: int) -> frozenset[int]:
        if tokens > 2 * room // self._tables.shortest:
            return lengths
        fewest = self._tables.fewest_tokens
        found = frozenset(length for length in lengths if fewest(length) + fewest(room - length) <= tokens)
        return found or frozenset([max(lengths)])

    def _fits(self, length: int, room: int, tuplet: int, done: int) -> bool:
        if length > room:
            return False
        if not tuplet:
            return length % GRID == 0 or self._can_close(length, length, room - length)
        return length in (tuplet, 2 * tuplet, tuplet // 2) and self._can_close(tuplet, done + length, room - length)

    def _can_close(self, tuplet: int, done: int, room: int) -> bool:
        """Whether a tuplet that began with `tuplet` ticks is closed, or can be closed, `done` ticks on."""
        divisor = next(prime for prime in (3, 5, 7) if tuplet * prime % GRID == 0)
        span = divisor * tuplet
        if done > span:
            return False
        halves = tuplet % 2 == 0 and tuplet // 2 in self._tables.lengths
        spans = [span // 2, span] if divisor == 3 and halves and span // 2 % GRID == 0 else [span]
        step = tuplet // 2 if halves else tuplet
        return any(done <= goal and goal - done <= room and (goal - done) % step == 0 for goal in spans)

    def _pitch_mask(self, state: State) -> np.ndarray:
        """Tokens whose pitch may sound: within range and scale, or the tied pitch alone; lengths pass."""
        key = (state.tonic, state.mode, state.pitch if state.tied else None)
        found = self._pitch_masks.get(key)
        if found is None:
            if state.tied:
                found = self._tables.with_pitches({state.pitch}, rests=False)
            else:
                found = self._tables.with_pitches(self._allowed_pitches(state.tonic, state.mode), rests=True)
            self._pitch_masks[key] = found
        return found

    def _join_mask(self, state: State) -> np.ndarray:
        key = (state.tonic, state.mode, state.pitch, Phase.JOINING)
        found = self._pitch_masks.get(key)
        if found is None:
            home = Key(*state.tonic, state.mode)
            lowest = sounding(home, state.pitch)
            pitches = {
                pitch
                for pitch in self._allowed_pitches(state.tonic, state.mode)
                if lowest < sounding(home, pitch) <= lowest + CHORD_SPAN
            }
            found = self._tables.with_pitches(pitches, rests=False) & self._tables.of_kind(Kind.PITCH)
            self._pitch_masks[key] = found
        return found

    def _allowed_pitches(self, tonic: tuple[str, int], mode: str) -> frozenset[tuple[int, int]]:
        return pitches_within(self.vocabulary, tonic, mode, self.wish.scale, self.wish.lowest, self.wish.highest)

    # ------------------------------------------------------------------ advance

    def advance(self, state: State, index: int) -> None:
        """Take the id that was chosen; `state` changes in place. The id must be one that `mask` allowed."""
        token = self.vocabulary.tokens[index]
        state.taken += 1
        match token.kind:
            case Kind.START:
                state.phase = Phase.TONIC
            case Kind.TONIC:
                state.tonic, state.phase = token.value, Phase.MODE
            case Kind.MODE:
                state.mode, state.phase = token.value, Phase.METRE
            case Kind.METRE:
                state.full, state.phase = token.ticks, Phase.BARS
            case Kind.BARS:
                state.bars_left = self.wish.bars or token.value or 1
                state.tokens_at_body = state.taken
                self._begin_bar(state)
            case Kind.OPEN:
                state.repeat_open, state.phase = True, Phase.OPENED
            case Kind.ENDING:
                self._begin_ending(state)
            case Kind.UPBEAT:
                state.upbeat, state.in_upbeat = token.ticks, True
                state.position, state.limit = state.full - token.ticks, state.full
                state.section_start, state.phase = False, Phase.FILLING
            case Kind.LENGTH:
                state.length, state.chord_notes, state.phase = token.ticks, 0, Phase.PITCHING
            case Kind.NOTE:
                state.length = token.ticks
                self._take_note(state, token.value)
            case Kind.PITCH:
                if state.phase is Phase.JOINING:
                    state.pitch, state.phase = token.value, Phase.FILLING
                    state.chord_notes += 1
                else:
                    self._take_note(state, token.value)
            case Kind.JOIN:
                state.phase = Phase.JOINING
            case Kind.TIE:
                state.tied, state.chord_notes = True, 0
            case Kind.BAR | Kind.DOUBLE | Kind.CLOSE | Kind.FINAL:
                self._end_bar(state, token.kind)
            case Kind.END:
                state.phase = Phase.DONE

    def _take_note(self, state: State, pitch: tuple[int, int] | None) -> None:
        if state.section_start:
            state.section_start = False
            state.upbeat = max(state.upbeat, 0)
        length = state.length
        state.position += length
        if state.tuplet or length % GRID:
            state.tuplet = state.tuplet or length
            state.tuplet_done += length
            if state.position % GRID == 0:
                state.tuplet = state.tuplet_done = 0
        state.pitch, state.tied = pitch, False
        state.chord_notes = 0 if pitch is None else 1
        state.phase = Phase.FILLING

    def _begin_ending(self, state: State) -> None:
        if state.ending == 2:
            state.ending, state.bar_in_section, state.section_start = 3, state.ending_start, False
        else:
            state.ending, state.ending_start = 1, state.bar_in_section
        state.phase = Phase.OPENED
        self._set_limit(state)

    def _end_bar(self, state: State, kind: Kind) -> None:
        if state.in_upbeat:
            state.in_upbeat = False
        else:
            state.bars_left -= 1
            state.bars_done += 1
            state.bar_in_section += 1
        state.section_start = kind is not Kind.BAR
        if state.section_start:
            state.bar_in_section = 0
            if state.ending == 1:
                state.ending = 2
            else:
                state.ending, state.repeat_open = 0, False
        if kind is Kind.FINAL or (kind is Kind.CLOSE and state.bars_left == 0):
            state.position, state.phase = 0, Phase.ENDING
        else:
            self._begin_bar(state)

    def _begin_bar(self, state: State) -> None:
        state.position, state.chord_notes, state.phase = 0, 0, Phase.OPENING
        if self.wish.length is not None:
            state.bars_left = self._bars_that_fit(state)
        self._set_limit(state)

    def _set_limit(self, state: State) -> None:
        must_end = self._must_end(state) and not (state.section_start and state.ending == 0 and state.upbeat > 0)
        state.limit = state.full - max(state.upbeat, 0) if must_end else state.full

    def _bars_that_fit(self, state: State) -> int:
        """How many bars the asked number of tokens still has room for, at the tune's own rate so far."""
        left = self.wish.length - state.taken - 1
        if state.bars_done:
            rate = (state.taken - state.tokens_at_body) / state.bars_done
        else:
            rate = 8 * state.full / TICKS_PER_WHOLE + 1
        fewest = 2 if state.ending == 1 else 1
        return max(fewest, round(left / rate))

    # ------------------------------------------------------------------ clock

    def clock(self, state: State) -> int:
        """The clock id that goes into the model together with the id that was taken last."""
        return clock_of(state.position, state.bar_in_section, state.bars_left)


__all__ = ["CLOCKS", "Grammar", "Phase", "State", "Wish", "clock_of", "clocks"]
