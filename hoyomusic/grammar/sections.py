"""Where sections may begin, end and take endings, so that the form is whole when the bars are used up."""

from __future__ import annotations

from fractions import Fraction

from hoyomusic.grammar.state import FORMS, State, Wish

# Bars of a first or second ending: printed tunes have one or two.
LONGEST_ENDING = 2

# The fewest bars that the model may choose by itself; a wish may name fewer.
FEWEST_BARS = 4

# A section begins only where at least so many bars are left, unless the wish needs it.
SHORTEST_SECTION = 4

# Sections that the model measures out itself within a wished form are multiples of this many bars.
PHRASE = 4


def first_section(form: str, bars: int) -> int:
    """Bars of the first section of an AABB or AABA of so many written bars.

    Half or a third of them, to the nearest multiple of four, two or one that is near enough.

    >>> [first_section("AABB", bars) for bars in (2, 7, 12, 16, 30)], first_section("AABA", 24)
    ([1, 4, 6, 8, 16], 8)
    """
    goal = Fraction(bars, 2 if form == "AABB" else 3)
    for unit in (4, 2, 1):
        found = unit * round(goal / unit)
        if found and found * (FORMS[form] - 1) < bars and 3 * abs(found - goal) <= unit:
            return found
    raise AssertionError(f"{form} of {bars} bars")


class Sections:
    """The rules of one wish; they look at a state at a bar's start and tell what its end may be."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.repeats = {"AABB": (0, 1), "AABA": (0,), "through": ()}.get(wish.form)

    def may_count(self, bars: int | None) -> bool:
        """Whether the model may choose so many bars for its tune (None: more than can be told)."""
        if bars is None or bars < FEWEST_BARS:
            return False
        return self.wish.form not in ("AABB", "AABA") or (bars % PHRASE == 0 and bars >= PHRASE * FORMS[self.wish.form])

    def plan(self, state: State) -> None:
        """Settle how many bars the section that begins shall have, where that follows from those left."""
        state.planned = 0
        if self.wish.form not in ("AABB", "AABA") or not state.counting:
            return
        if state.sections == 0:
            if self.wish.bars is not None or self.wish.length is not None:
                state.planned = first_section(self.wish.form, max(state.bars_left, FORMS[self.wish.form]))
        elif self.wish.form == "AABA" and state.sections == 1:
            state.planned = state.bars_left - state.first_bars
        else:
            state.planned = state.bars_left

    def may_stop(self, state: State, bars: int, left: int) -> bool:
        """Whether the section may have `bars` bars in all, with `left` bars of the tune behind it."""
        if state.planned:
            return bars == state.planned
        form = self.wish.form
        if form is None:
            return left == 0 or left >= SHORTEST_SECTION
        if form == "through" or state.sections:
            return left == 0
        if self.wish.length is not None:
            return False
        return bars % PHRASE == 0 and left - (bars if form == "AABA" else 0) >= PHRASE

    def goes_on(self, state: State, bars: int, left: int) -> bool:
        """Whether the section may have more than `bars` bars, with `left` bars of the tune behind those."""
        if state.planned:
            return bars < state.planned
        if self.wish.form in (None, "through") or state.sections or self.wish.length is not None:
            return left >= 1
        return any(self.may_stop(state, bars + more, left - more) for more in range(1, PHRASE + 1))

    def ends(self, state: State) -> tuple[bool, bool]:
        """Whether the present bar may be followed by another of its section, and whether it may end the section."""
        if state.in_upbeat:
            return True, False
        bars, left = state.section_bars + 1, state.bars_left - 1
        if state.ending == 1:
            more = state.bar_in_section - state.ending_start < LONGEST_ENDING - 1
            ends = self._leaves(state, bars, left, (1, 2))
            goes_on = more and self._leaves(state, bars + 1, left - 1, (1, 2))
        elif state.ending == 3:
            more = state.bar_in_section - state.ending_start < LONGEST_ENDING - 1
            ends = self.may_stop(state, bars, left)
            goes_on = more and self._leaves(state, bars, left, (1,))
        else:
            ends, goes_on = self.may_stop(state, bars, left), self.goes_on(state, bars, left)
        # Bars that were taken from elsewhere may have led to where no rule holds.
        return goes_on, ends or not goes_on

    def _leaves(self, state: State, bars: int, left: int, more: tuple[int, ...]) -> bool:
        """Whether the section may stop after one of `more` bars."""
        return any(left >= each and self.may_stop(state, bars + each, left - each) for each in more)

    def may_begin_ending(self, state: State) -> bool:
        """Whether a first ending may begin with the present bar."""
        if not state.repeat_open or state.ending or not state.bar_in_section or self.wish.form == "AABA":
            return False
        if self.wish.form == "AABB" and not state.sections:
            return False  # what ends a second ending does not lead to a repeat
        return self._leaves(state, state.section_bars, state.bars_left, (2, 3, 4))

    def may_reopen(self, state: State) -> bool:
        """Whether a repeat may begin here although no sign has ended the section: it does so itself."""
        return (
            self.wish.form is None
            and not state.section_start
            and state.upbeat == 0
            and not state.repeat_open
            and state.bars_left >= SHORTEST_SECTION
        )

    def opens(self, state: State) -> tuple[bool, bool]:
        """Whether a repeat may begin with the section, and whether it must."""
        if self.repeats is not None:
            must = state.sections in self.repeats
            return must, must
        return state.bars_left >= (SHORTEST_SECTION if state.bars_done else 2), False
