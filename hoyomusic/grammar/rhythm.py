"""What lengths fit into the rest of a bar, and in how many tokens notes can fill it."""

from __future__ import annotations

from hoyomusic.grammar.tables import GRID, Tables, Tones


class Rhythm:
    """The arithmetic of a bar, in ticks, for the lengths of one vocabulary; what was asked before is remembered."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.sticky = tables.layout == "sticky"
        self._falling = tuple(sorted((length for length in tables.lengths if length % GRID == 0), reverse=True))
        self.unit = self._falling[-1]  # the shortest length on the grid
        self._rest_cost = {length: 1 if (None, length) in tables.fused else 2 for length in tables.lengths}
        self._shortest = min(tables.lengths)
        self._fitting: dict[tuple[int, int, int], frozenset[int]] = {}
        self._counts: dict[tuple, int] = {}
        self._fewest: dict[int, int] = {}

    # ------------------------------------------------------------------ lengths

    def fitting(self, room: int, tuplet: int, done: int) -> frozenset[int]:
        """Lengths that may come next: `room` ticks left, `done` ticks into a tuplet that began with `tuplet`.

        A tuplet (`tuplet` above 0) has begun off the grid of 64ths; every length that is allowed can still be
        followed by others that bring it back to the grid before the bar ends.
        """
        key = (room, tuplet, done)
        found = self._fitting.get(key)
        if found is None:
            found = frozenset(length for length in self._tables.lengths if self._fits(length, *key))
            self._fitting[key] = found
        return found

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

    @staticmethod
    def follow(tuplet: int, done: int, length: int) -> tuple[int, int]:
        """The tuplet behind a note of `length`: what it began with and how far it is, both 0 outside."""
        if not tuplet and length % GRID == 0:
            return 0, 0
        tuplet, done = tuplet or length, done + length
        return (0, 0) if done % GRID == 0 else (tuplet, done)

    # ------------------------------------------------------------------ tokens

    def fewest(self, ticks: int) -> int:
        """Notes that fill `ticks` of the grid when each is as long as it can be."""
        found = self._fewest.get(ticks)
        if found is None:
            found, rest = 0, ticks
            for length in self._falling:
                count, rest = divmod(rest, length)
                found += count
            self._fewest[ticks] = found
        return found

    def most(self, room: int) -> int:
        """More tokens than `room` ticks can take, chords and ties and all."""
        return (room // self._shortest + 1) * 9

    def counts(self, room: int, tuplet: int, done: int, in_force: int, ending: Tones | None) -> int:
        """In how many tokens plain notes can fill `room` ticks: bit n is set if n tokens can.

        Every count that is told can be reached whatever scale and range allow: rests may stand everywhere, but for
        the last note of the tune where `ending` says what it costs. Counts that need another tuplet are not told.
        `in_force` is the length that need not be said again (layout ``sticky``).
        """
        if room == 0:
            return 1
        key = (room, tuplet, done, in_force if self.sticky else 0)
        memory = self._counts if ending is None else ending.final_counts
        found = memory.get(key)
        if found is None:
            found = 0
            lengths = self.fitting(room, tuplet, done) if tuplet else self._falling
            for length in lengths:
                if length > room:
                    continue
                rest = self.counts(room - length, *self.follow(tuplet, done, length), length, ending)
                if self.sticky:
                    found |= rest << (1 if length == in_force else 2)
                elif ending is not None and length == room:
                    found |= ending.final_costs[length]
                else:
                    found |= rest << self._rest_cost[length]
            memory[key] = found
        return found

    def hits(
        self, room: int, tuplet: int, done: int, in_force: int, ending: Tones | None, least: int, most: int
    ) -> bool:
        """Whether plain notes can fill `room` ticks in `least` to `most` tokens; `most` below 0: in none."""
        if most < max(least, 0):
            return False
        least = max(least, 0)
        counts = self.counts(room, tuplet, done, in_force, ending)
        return bool(counts >> least & (1 << most - least + 1) - 1)
