"""How many tokens a bar may take, so that a tune ends within nine tenths of the asked length and all of it."""

from __future__ import annotations

from typing import NamedTuple

from hoyomusic.grammar.rhythm import Rhythm
from hoyomusic.grammar.sections import PHRASE
from hoyomusic.grammar.state import FORMS, State, Wish
from hoyomusic.vocab.tokens import TICKS_PER_WHOLE

# So many bars before the end their number is settled and told; the clock tells no more of a longer rest.
COUNTED = 8

# Bars below which a tune in a form is measured out at its start, from the tokens that a bar usually takes.
MEASURED = {"AABB": 17, "AABA": 21}


class Outlook(NamedTuple):
    """What is to come from the present bar on."""

    weight: int  # how often each token of the present bar counts
    bars: int  # the present bar included, weighted
    signs: int  # tokens to be kept for upbeats, signs and a last note of its own
    copied: int  # tokens of the part of the first section that is written and comes again
    needs: int  # the fewest tokens of a bar
    takes: int  # tokens that a bar can take
    spare: int  # tokens that may be spent here while the tune can still end in time, below 0 where it cannot


class Budget:
    """The steering of one wish's `length`.

    Far from the end `State.bars_left` is a forecast at the tune's own rate of tokens a bar. Once it says fewer than
    nine, eight bars are to come, and each may take so many tokens that the others can still use up what is left:
    no more than leaves each of them the fewest tokens that a bar needs, no less than they can take. Within
    these bounds a bar leaves the others at least a half and at most three halves of their even share, so that
    it is not the last bar alone that pays. What one bar *needs* assumes two tokens for each of the longest notes that
    fill it; what it can *take* is one token for every 64th: both can be reached under every scale, range and final.
    In AABA each token of the first section counts twice, because it comes again.
    """

    def __init__(self, wish: Wish, rhythm: Rhythm) -> None:
        self.wish = wish
        self.most = wish.length
        self.least = -(-9 * wish.length // 10)
        self._rhythm = rhythm
        self._measures: dict[tuple[int, int], tuple[int, int]] = {}
        # The return of a first section may do without its first length, where that is still in force.
        self._drift = 1 if rhythm.sticky and wish.form == "AABA" else 0

    # ------------------------------------------------------------------ what bars take

    def _measure(self, full: int, upbeat: int) -> tuple[int, int]:
        """The fewest tokens that a bar of `full` ticks needs, and those that it can take."""
        found = self._measures.get((full, upbeat))
        if found is None:
            shorter = full - max(upbeat, 0)
            needs = 2 * max(self._rhythm.fewest(full), self._rhythm.fewest(shorter)) + 1
            found = self._measures[full, upbeat] = needs, shorter // self._rhythm.unit + 1
        return found

    def upbeat_needs(self, upbeat: int) -> int:
        """Its token, its notes, its bar line."""
        return 2 * self._rhythm.fewest(upbeat) + 2 if upbeat > 0 else 0

    def look_ahead(self, state: State, upbeat: int | None = None, full: int | None = None) -> Outlook:
        """What is to come, with another `upbeat` or bars of another `full` length than those of `state`."""
        upbeat = state.upbeat if upbeat is None else upbeat
        form = self.wish.form
        bars = state.bars_left if state.counting else max(state.bars_left, COUNTED + 1)
        weight, signs, copied, rests_here = 1, 0, 0, bars == 1
        if state.ending in (1, 2):
            signs += 1
        if form is None and state.ending and bars > 1:
            signs += self.upbeat_needs(upbeat)
        if form in ("AABB", "AABA") and state.sections == 0:
            signs += 1 + self.upbeat_needs(upbeat)
            section = state.planned
            if not section:
                section = PHRASE * ((state.section_bars + 1) // PHRASE + 1)
            here = section - state.section_bars
            if form == "AABA":
                weight, copied, rests_here = 2, state.first_tokens, here == 1
                bars = 2 * here + (state.bars_left - here - section if state.counting else PHRASE)
            elif not state.counting:
                bars = here + COUNTED
        elif form == "AABA" and state.sections == 1:
            copied, rests_here = state.first_tokens, True
            bars = state.bars_left - state.first_bars
        if self.wish.finals is not None and not rests_here:
            signs += 2 * weight
        needs, takes = self._measure(state.full if full is None else full, upbeat)
        spare = (self.most - state.taken - 1 - copied - bars * needs - signs) // weight
        if state.counting and self.least - state.taken - 1 - copied > bars * takes:
            spare = -1
        return Outlook(weight, bars, signs, copied, needs, takes, spare)

    def affords(self, state: State, *, upbeat: int | None = None, full: int | None = None) -> bool:
        """Whether the tune can still end in time, with this `upbeat` and bars of `full` ticks."""
        outlook = self.look_ahead(state, upbeat, full)
        if upbeat is None:
            return outlook.spare >= 0
        return outlook.takes >= outlook.needs + 2 and outlook.spare >= self.upbeat_needs(upbeat)

    # ------------------------------------------------------------------ how many bars

    def _rate(self, state: State) -> float:
        """Tokens that a bar takes: as it was so far, or as is usual, but never at either edge of what it can."""
        if state.bars_done:
            rate = (state.taken - state.tokens_at_body) / state.bars_done
        else:
            rate = 8 * state.full / TICKS_PER_WHOLE + 1
        needs, takes = self._measure(state.full, state.upbeat)
        return max(1.5 * needs, min(rate, 0.75 * takes))

    def first_count(self, state: State, taken: int) -> tuple[int, bool]:
        """Bars of the tune behind a header of `taken` tokens, and whether that is settled."""
        bars = round((self.most - taken - 1) / self._rate(state))
        if bars >= MEASURED.get(self.wish.form, COUNTED + 1):
            return bars, False
        return self._settled(state, bars, FORMS.get(self.wish.form, 1), taken), True

    def _settled(self, state: State, bars: int, fewest: int, taken: int) -> int:
        """As near to `bars` as the tokens that are left allow."""
        needs, takes = self._measure(state.full, state.upbeat)
        lowest = -(-(self.least - taken - 1) // takes)
        highest = (self.most - taken - 5) // needs  # </s>, and what signs and a last note of its own may need
        return max(min(max(bars, lowest), highest), fewest)

    def forecast(self, state: State) -> None:
        """Bring `bars_left` up to date at a bar's start, and end a section of a form that has used up its share."""
        if state.counting:
            if self.wish.form is None and not self.affords(state):  # a prime has taken more than its share
                fewest = 2 if state.ending == 1 else 1
                bars = round((self.most - state.taken - 1) / self._rate(state))
                state.bars_left = self._settled(state, bars, fewest, state.taken)
            return
        rate = self._rate(state)
        if self.wish.form == "AABA" and state.sections == 1:
            rest = self.most - state.taken - 1 - state.first_tokens - self.upbeat_needs(state.upbeat)
            bars = max(PHRASE, min(round(rest / rate), rest // self._measure(state.full, state.upbeat)[0]))
            state.bars_left, state.counting = bars + state.first_bars, True
            return
        bars = round((self.most - state.taken - 1) / rate)
        state.bars_left = max(bars, COUNTED + 1)
        if self.wish.form in ("AABB", "AABA") and state.sections == 0:
            self._end_first_section(state, rate)
        elif self.least - state.taken - 1 <= COUNTED * self._measure(state.full, state.upbeat)[1] and (
            bars <= COUNTED or not self.affords(state)
        ):
            state.bars_left, state.counting = COUNTED, True

    def _end_first_section(self, state: State, rate: float) -> None:
        """Plan the end of the first section with the present bar if that is nearer to its share than a phrase later."""
        state.planned = 0
        if (state.section_bars + 1) % PHRASE:
            return
        share = (self.most - state.tokens_at_body) / FORMS[self.wish.form]
        so_far = state.taken - state.tokens_at_body
        state.planned = state.section_bars + 1
        if so_far + rate * (1 + PHRASE / 2) < share:
            outlook = self.look_ahead(state)
            if outlook.spare >= PHRASE * outlook.needs:
                state.planned = 0

    # ------------------------------------------------------------------ one bar

    def window(self, state: State, outlook: Outlook, extra: int) -> tuple[int, int]:
        """Tokens that the notes of the present bar may take: the fewest and the most; `extra` is kept for signs."""
        weight, bars, signs, copied, needs, takes, _ = outlook
        rest = self.most - state.taken - 1 - copied - extra - signs
        short = self.least - state.taken - 1 - copied + self._drift
        others = bars if state.in_upbeat else bars - weight
        share = rest / bars
        most = (rest - others * needs) // weight - 1
        most = min(most, max(int((rest - others * share / 2) / weight) - 1, 2 * needs))
        most = max(most, self.upbeat_needs(state.upbeat) - 2 if state.in_upbeat else needs - 1)
        if not state.counting or state.in_upbeat:
            return 0, most
        least = -(-(short - others * takes) // weight) - 1
        even = min(int((short - others * share * 3 / 2) / weight) - 1, most - 2)
        if others:  # bars with like bounds share more of the tables
            even -= even % 4
        return max(least, even, 0), most
