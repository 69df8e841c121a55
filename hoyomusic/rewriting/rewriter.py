"""A tune under the pen: which of its bars may be blank, what their surroundings ask of them, new notes put in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.grammar.tables import pitches_within
from hoyomusic.regions import Region
from hoyomusic.rewriting.filling import Filler, Pitched, can_fill
from hoyomusic.rewriting.hearing import hear, read_notes, to_ticks
from hoyomusic.rewriting.listening import Listener
from hoyomusic.rewriting.particles import Blank, Search, SearchConfig
from hoyomusic.tune import Key, Metre, Pitch, Tune, height

# New notes keep to the range of the tune, widened on both sides by so many semitones.
RANGE_MARGIN = 4

# A bar -> all bars that get its notes, itself among them.
Twins = Mapping[int, Sequence[int]]


class Rewriter:
    """Holds a `tune` while some of its bars are written anew, by a model that hears it as one of `region`."""

    def __init__(self, generator: HoyoMusicGenerator, tune: Tune, region: Region) -> None:
        self.tune = tune
        self.heard = hear(tune, generator.vocabulary)
        self.listener = Listener(generator.runtime, generator.vocabulary, generator.label_of(region))
        self._vocabulary = generator.vocabulary
        self._followers = tune.followers()
        self._scale = None if generator.has_learned(region) else _find_scale(region, tune)
        self._chords = any(len(note.pitches) > 1 for note in tune.notes())
        self._fillers: dict[Key, Filler] = {}

    def nats(self) -> float:
        """The log-likelihood of the whole tune as it is now."""
        return float(self.listener.score(self.heard.ids).sum())

    def may_change(self, index: int) -> bool:
        """Whether notes can fill the bar of this index as it stands."""
        return can_fill(self.heard.bars[index].length)

    def rewrite(
        self,
        span: Sequence[int],
        config: SearchConfig,
        on_bar: Callable[[], None],
        twins: Twins | None = None,
    ) -> None:
        """Put new notes into the consecutive bars of `span`.

        With `twins` the notes of a bar go also into those that it is mapped to, and no tie leads from bar to bar.
        """
        self.put(span, self.search(span, config, twins).run(on_bar), twins)

    def search(self, span: Sequence[int], config: SearchConfig, twins: Twins | None = None) -> Search:
        """The search for new notes in the consecutive bars of `span`."""
        return Search(self.listener, self.heard, [self._blank(index, span, twins) for index in span], config)

    def put(self, span: Sequence[int], filled: Sequence[Sequence[int]], twins: Twins | None = None) -> None:
        """Put notes, given as the ids of each bar, into the bars of `span` and into their twins."""
        bars = list(self.tune.bars)
        for index, ids in zip(span, filled, strict=True):
            for place in (index,) if twins is None else twins[index]:
                bars[place] = replace(bars[place], notes=read_notes(self._vocabulary, self.heard.bars[place].key, ids))
                self.heard = self.heard.with_notes(place, ids)
        self.tune = replace(self.tune, bars=tuple(bars))

    def _blank(self, index: int, span: Sequence[int], twins: Twins | None) -> Blank:
        places = (index,) if twins is None else twins[index]
        owed = {pitch for place in places for pitch in self._owed(place, span)}
        key = self.heard.bars[index].key
        return Blank(
            index,
            self._filler(key),
            owed=tuple(self._vocabulary.relative(key, pitch) for pitch in sorted(owed, key=height)),
            may_tie_on=twins is None and self._may_tie_on(index, span),
            liked=self._pitches_on_beats(index),
        )

    def _owed(self, index: int, span: Sequence[int]) -> list[Pitch]:
        """The pitches of a bar's first note to which ties lead from bars outside the span."""
        tied = {
            pitch.midi
            for before, following in enumerate(self._followers)
            if index in following and before not in span and self.tune.bars[before].notes
            for pitch in self.tune.bars[before].notes[-1].ties
        }
        return [pitch for pitch in self.tune.bars[index].notes[0].pitches if pitch.midi in tied]

    def _may_tie_on(self, index: int, span: Sequence[int]) -> bool:
        """Whether a tie may cross the bar line: into the span's next bar, if that alone follows and owes nothing."""
        following = index + 1
        return (
            following in span
            and self._followers[index] == [following]
            and self.heard.bars[index].key == self.heard.bars[following].key
            and not self._owed(following, span)
        )

    def _pitches_on_beats(self, index: int) -> dict[int, Pitched]:
        """The lowest pitch of each note that begins on a beat, by the ticks since the bar's first note."""
        bar, beat = self.heard.bars[index], to_ticks(self._metres[index].beat)
        found, onset = {}, 0
        for note in self.tune.bars[index].notes:
            if note.pitches and (bar.onset + onset) % beat == 0:
                found[onset] = self._vocabulary.relative(bar.key, note.pitches[0])
            onset += to_ticks(note.length)
        return found

    @cached_property
    def _metres(self) -> list[Metre | None]:
        return self.tune.metres()

    def _filler(self, key: Key) -> Filler:
        if key not in self._fillers:
            heights = [pitch.midi for note in self.tune.notes() for pitch in note.pitches]
            lowest, highest = min(heights) - RANGE_MARGIN, max(heights) + RANGE_MARGIN
            tonic = (key.letter, key.accidental)
            pitches = pitches_within(self._vocabulary, tonic, key.mode, self._scale, lowest, highest)
            self._fillers[key] = Filler(self._vocabulary, key, pitches, chords=self._chords)
        return self._fillers[key]


def _find_scale(region: Region, tune: Tune) -> tuple[int, ...] | None:
    """The scale of a styled nation that holds all notes of the tune, if there is one."""
    home = tune.key.tonic_pitch.midi
    sounding = {(pitch.midi - home) % 12 for note in tune.notes() for pitch in note.pitches}
    return next((scale.semitones for scale in region.scales if sounding <= set(scale.semitones)), None)
