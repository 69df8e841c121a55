"""A tune as the model hears it: its signs and notes as ids bar by bar, without what the vocabulary cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from hoyomusic.errors import UsageError, VocabularyError
from hoyomusic.tune import Bar, Key, Note, Tune
from hoyomusic.vocab import Vocabulary, find_upbeats
from hoyomusic.vocab.tokens import BAR_ENDS, TICKS_PER_WHOLE, Kind


@dataclass(frozen=True, slots=True)
class HeardBar:
    """One bar in ids: `signs` before its notes (repeat, ending, metre, key, upbeat), `notes`, and its bar line `end`.

    `key` holds in it, without accidentals of its own; `onset` and `length` are ticks: where its notes begin in
    the full bar (above 0 in an upbeat) and how long they last together.
    """

    signs: tuple[int, ...]
    notes: tuple[int, ...]
    end: int
    key: Key
    onset: int
    length: int

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids of the bar, in order."""
        return (*self.signs, *self.notes, self.end)


@dataclass(frozen=True)
class HeardTune:
    """A tune in ids: `head` from ``<s>`` to the count of bars, then its bars; ``</s>`` follows."""

    vocabulary: Vocabulary
    head: tuple[int, ...]
    bars: tuple[HeardBar, ...]

    @cached_property
    def ids(self) -> list[int]:
        """All ids, ``<s>`` to ``</s>``."""
        return [*self.ids_before(len(self.bars)), self.vocabulary.ids["</s>"]]

    def ids_before(self, bar: int) -> list[int]:
        """The ids up to the bar line behind which the bar of this index begins."""
        return [*self.head, *(index for heard in self.bars[:bar] for index in heard.ids)]

    def with_notes(self, bar: int, notes: Sequence[int]) -> HeardTune:
        """The same tune with other notes in one bar."""
        changed = replace(self.bars[bar], notes=tuple(notes))
        return replace(self, bars=(*self.bars[:bar], changed, *self.bars[bar + 1 :]))


def hear(tune: Tune, vocabulary: Vocabulary) -> HeardTune:
    """A tune as the model hears it.

    Grace notes, chord symbols, the grouping of metres, accidentals that a key adds and the order of parts are passed
    over; where a part begins, the bar before it ends with a double bar line. Raises UsageError for free metre, for a
    tune without notes, and where the vocabulary has no token.
    """
    if tune.metre is None:
        raise UsageError("the tune has no metre", remedy="give it an M: field")
    if not any(note.pitches for note in tune.notes()):
        raise UsageError("the tune has no notes", remedy="give it some to go by")
    if vocabulary.layout == "sticky":
        raise UsageError(
            "the model leaves out lengths that do not change, so that its bars cannot be exchanged",
            remedy="use a model of another layout",
        )
    plain = _plain(tune)
    try:
        ids = vocabulary.encode(plain)
    except VocabularyError as error:
        raise UsageError(f"the model cannot hear the tune: {error.message}", remedy="simplify that place") from error
    tokens = vocabulary.tokens
    start = next(place for place, index in enumerate(ids) if tokens[index].kind is Kind.BARS) + 1
    stops = [place + 1 for place, index in enumerate(ids) if tokens[index].kind in BAR_ENDS]
    keys, metres, upbeats = plain.keys(), plain.metres(), find_upbeats(plain)
    bars = []
    for number, (first, stop) in enumerate(pairwise([start, *stops])):
        sounding = next(
            (place for place in range(first, stop) if tokens[ids[place]].kind in (Kind.NOTE, Kind.LENGTH)), stop - 1
        )
        length = to_ticks(plain.bars[number].length)
        onset = to_ticks(metres[number].length) - length if upbeats[number] else 0
        bars.append(
            HeardBar(
                tuple(ids[first:sounding]), tuple(ids[sounding : stop - 1]), ids[stop - 1], keys[number], onset, length
            )
        )
    return HeardTune(vocabulary, tuple(ids[:start]), tuple(bars))


def read_notes(vocabulary: Vocabulary, key: Key, ids: Sequence[int]) -> tuple[Note, ...]:
    """The notes of one bar from their ids, as they sound in `key`."""
    names = ["<s>", f"tonic:{key.tonic}", f"mode:{key.mode}", "metre:4/4", "bars:1"]
    around = [vocabulary.ids[name] for name in names]
    return vocabulary.decode([*around, *ids, vocabulary.ids["|]"]]).bars[0].notes


def _plain(tune: Tune) -> Tune:
    """The tune without all that has no token."""
    bars = []
    for number, bar in enumerate(tune.bars):
        part_follows = number + 1 < len(tune.bars) and bool(tune.bars[number + 1].part)
        bars.append(
            Bar(
                tuple(Note(note.pitches, note.length, note.pitches if note.ties else ()) for note in bar.notes),
                opens=bar.opens,
                closes=bar.closes,
                ending=bar.ending,
                double=bar.double or part_follows,
                metre=bar.metre and bar.metre._replace(groups=()),
                key=bar.key and bar.key._replace(explicit=()),
            )
        )
    return Tune(tune.key._replace(explicit=()), tune.metre._replace(groups=()), tuple(bars))


def to_ticks(length: Fraction) -> int:
    """A length of a note or bar that the vocabulary can say, or of a beat, in ticks."""
    return int(length * TICKS_PER_WHOLE)
