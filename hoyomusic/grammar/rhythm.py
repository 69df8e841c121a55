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
        fused_rests = tables.fused_lengths.get(None, frozenset())
        self._rest_cost = {length: 1 if length in fused_rests else 2 for length in tables.lengths}
        self._shortest = min(tables.lengths)
        # The least room for each length outside of a tuplet: those off the grid of 64ths begin one, which must close.
        room = {each: 0 if each % GRID == 0 else self._room_to_close(each, each) for each in tables.lengths}
        self._room_for = {each: each + behind for each, behind in room.items() if behind is not None}
        self._fitting: dict[tuple[int, int, int], frozenset[int]] = {}
        self._needs: dict[tuple[int, int], dict[int, int]] = {}
        self._ways: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
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
            needs = self._needs_within(tuplet, done) if tuplet else self._room_for
            found = self._fitting[key] = frozenset(each for each, need in needs.items() if need <= room)
        return found

    def _needs_within(self, tuplet: int, done: int) -> dict[int, int]:
        """The lengths that may come within a tuplet, each with the least room for it and what must close the tuplet."""
        found = self._needs.get((tuplet, done))
        if found is None:
            lengths = self._tables.lengths & {tuplet, 2 * tuplet, tuplet // 2}
            behind = {each: self._room_to_close(tuplet, done + each) for each in lengths}
            found = {each: each + rest for each, rest in behind.items() if rest is not None}
            self._needs[tuplet, done] = found
        return found

    def _ways_out(self, tuplet: int, done: int) -> list[tuple[int, int, int, int]]:
        """How plain notes can lead out of a tuplet, back to the grid.

        Each way: the room without which one of its notes would not fit, the ticks that it takes, its last note's
        length, and in how many tokens the notes before that can be said, as bits.
        """
        found = self._ways.get((tuplet, done))
        if found is None:
            ways: dict[tuple[int, int, int], int] = {}
            for length, need in self._needs_within(tuplet, done).items():
                if (done + length) % GRID == 0:
                    ways[need, length, length] = 1
                    continue
                for room, ticks, last, tokens in self._ways_out(tuplet, done + length):
                    way = max(need, length + room), length + ticks, last
                    ways[way] = ways.get(way, 0) | tokens << self._rest_cost[length]
            found = self._ways[tuplet, done] = [(*way, tokens) for way, tokens in ways.items()]
        return found

    def _room_to_close(self, tuplet: int, done: int) -> int | None:
        """Ticks that a tuplet which began with `tuplet` ticks needs to close, `done` ticks on; None: it cannot."""
        divisor = next(prime for prime in (3, 5, 7) if tuplet * prime % GRID == 0)
        span = divisor * tuplet
        halves = tuplet % 2 == 0 and tuplet // 2 in self._tables.lengths
        spans = [span // 2, span] if divisor == 3 and halves and span // 2 % GRID == 0 else [span]
        step = tuplet // 2 if halves else tuplet
        return min((goal - done for goal in spans if done <= goal and (goal - done) % step == 0), default=None)

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
            if tuplet and not self.sticky:
                found = self._counts_within(room, tuplet, done, ending)
            else:
                found = self._counts_by_length(room, tuplet, done, in_force, ending)
            memory[key] = found
        return found

    def _counts_within(self, room: int, tuplet: int, done: int, ending: Tones | None) -> int:
        """`counts` within a tuplet: its ways out, each with what can follow."""
        found = 0
        for need, ticks, last, tokens in self._ways_out(tuplet, done):
            if need > room:
                continue
            if ending is not None and ticks == room:
                rest = ending.final_costs[last]
            else:
                rest = self.counts(room - ticks, 0, 0, 0, ending) << self._rest_cost[last]
            while tokens:
                lowest = tokens & -tokens
                found |= rest * lowest
                tokens -= lowest
        return found

    def _counts_by_length(self, room: int, tuplet: int, done: int, in_force: int, ending: Tones | None) -> int:
        """`counts` from what can be counted behind each length that may come next."""
        found = 0
        for length in self.fitting(room, tuplet, done) if tuplet else self._falling:
            if length > room:
                continue
            within = self.follow(tuplet, done, length) if tuplet else (0, 0)
            rest = self.counts(room - length, *within, length, ending)
            if self.sticky:
                found |= rest << (1 if length == in_force else 2)
            elif ending is not None and length == room:
                found |= ending.final_costs[length]
            else:
                found |= rest << self._rest_cost[length]
        return found


def has_between(counts: int, least: int, most: int) -> bool:
    """Whether any of the bits `least` to `most` is set; `most` below 0: none is."""
    return bool(counts & bits_between(least, most))


def bits_between(least: int, most: int) -> int:
    """The bits `least` to `most`, of those from 0 on."""
    least = max(least, 0)
    return (1 << most - least + 1) - 1 << least if most >= least else 0
