"""`HoyoMusicGenerator`: a model and a wish become tunes; the one entry for command line, Python and studio.

    generator = HoyoMusicGenerator.load()
    for composition in generator.compose(Request("Mondstadt", bars=16, seed=7)):
        print(abc.write(composition.tune))

The parts do not know each other: the grammar says which ids may come, the runtime how likely each is,
the sampler draws one, the vocabulary turns ids into a tune. Here they meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hoyomusic import __version__, checkpoint, sampling
from hoyomusic.abc.fields import read_key
from hoyomusic.errors import AbcError, UsageError, VocabularyError
from hoyomusic.grammar import Grammar, Phase, State, Wish
from hoyomusic.grammar.state import SHORTEST_LENGTH
from hoyomusic.recall import Recall
from hoyomusic.regions import Region, find_region
from hoyomusic.runtime import NumpyRuntime, Runtime, fold, one_thread
from hoyomusic.sampling import SamplingConfig
from hoyomusic.score import choose_tempo
from hoyomusic.styling import name_tune, style
from hoyomusic.tune import Bar, Header, Key, Metre, Note, Pitch, Tempo, Tune, parse_tonic
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import Kind

# Streams that are stepped together; how many there are changes no tune.
BATCH = 32

MOST_TUNES = 10_000
LARGEST_SEED = 2**63 - 1

# The range that a melody keeps when the wish names none: G3 to D6, where the melody instruments sound well.
DEFAULT_RANGE = (55, 86)


@dataclass(frozen=True, slots=True)
class Request:
    """What is wished for; None leaves it to the nation and the model.

    `region` a nation in either language; `length` counts tokens, `bars` bars (at most one of them);
    `key` as in ABC (``"D"``, ``"F#m"``, ``"A dorian"``); `metre` (``"6/8"``); `tempo` crotchets a minute;
    `range` lowest and highest note (``"G3-D6"``); `guidance` how strongly a learned nation speaks: 0 not at all,
    1 as its tunes do, above 1 louder than they (classifier-free guidance, Ho & Salimans 2022, on logits);
    `prime` a tune whose bars the new ones go on from. Raises UsageError for what cannot be granted.
    """

    region: str = "Teyvat"
    count: int = 1
    seed: int = 0
    length: int | None = None
    bars: int | None = None
    key: str | None = None
    metre: str | None = None
    tempo: int | None = None
    range: str | None = None
    guidance: float = 1.0
    prime: Tune | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        find_region(self.region)
        if not 1 <= self.count <= MOST_TUNES:
            raise UsageError(f"{self.count} tunes", where="--count", remedy=f"ask for 1 to {MOST_TUNES}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(
                f"the seed {self.seed}", where="--seed", remedy=f"give a whole number from 0 to {LARGEST_SEED}"
            )
        if self.tempo is not None and not 20 <= self.tempo <= 400:
            raise UsageError(f"{self.tempo} crotchets a minute", where="--tempo", remedy="ask for 20 to 400")
        if not 0 <= self.guidance <= 10:
            raise UsageError(f"{self.guidance:g}", where="--guidance", remedy="give a number from 0 to 10")
        if self.prime is not None and (self.key or self.metre):
            raise UsageError("--prime brings its own key and metre", remedy="leave out --key and --metre")
        self.wish()

    @property
    def names_mode(self) -> bool:
        """Whether `key` names a mode: a bare key note means major, but leaves a styled nation its own scales."""
        return self.key is not None and len(self.key.strip()) > len(read_wished_key(self.key).tonic)

    def wish(self) -> Wish:
        """The part of the request that the grammar keeps, before the nation's style is added."""
        key = None if self.key is None else read_wished_key(self.key)
        lowest, highest = DEFAULT_RANGE if self.range is None else read_wished_range(self.range)
        return Wish(
            tonic=key and (key.letter, key.accidental),
            mode=key and key.mode,
            metre=None if self.metre is None else read_wished_metre(self.metre),
            bars=self.bars,
            length=self.length,
            lowest=lowest,
            highest=highest,
        )


@dataclass(frozen=True, slots=True)
class Composition:
    """A tune that was made: `index` among those of its request, `tokens` sampled for it, and from which model."""

    tune: Tune
    region: Region
    index: int
    seed: int
    tokens: int
    model: str


class HoyoMusicGenerator:
    """A model that composes. `identity` is the SHA-256 of its file, `provenance` what it learned from."""

    def __init__(
        self, runtime: Runtime, vocabulary: Vocabulary, *, identity: str, provenance: dict[str, Any], path: Path
    ) -> None:
        self.runtime = runtime
        self.vocabulary = vocabulary
        self.identity = identity
        self.provenance = provenance
        self.path = path

    @classmethod
    def load(cls, model: str | Path | None = None) -> HoyoMusicGenerator:
        """The generator of a model file: a path, ``"default"``, or None for the user's own if there is one.

        Raises CheckpointError where there is no model, or where it is damaged or not ours.
        """
        path = checkpoint.find_model(model)
        loaded = checkpoint.load_arrays(path)
        return cls(
            NumpyRuntime(fold(loaded.weights)),
            Vocabulary.from_dict(loaded.vocab),
            identity=loaded.identity,
            provenance=loaded.provenance,
            path=path,
        )

    def has_learned(self, region: Region) -> bool:
        """Whether the model knows this nation from tunes; else it is styled by rule."""
        return region.label == 0 or region.name in self.provenance.get("learned", ())

    def compose(self, request: Request) -> Iterator[Composition]:
        """The tunes of a request, in order; each hangs on model, options, seed and its own index alone.

        Raises UsageError for a prime that leaves no room for new bars and VocabularyError for one that
        the model's vocabulary cannot say.
        """
        region, wish = find_region(request.region), request.wish()
        primed = [] if request.prime is None else self._prime_ids(request.prime, wish)
        for first in range(0, request.count, BATCH):
            indices = range(first, min(first + BATCH, request.count))
            voices = [self._begin(request, region, wish, index, primed) for index in indices]
            with one_thread():
                self._sample(voices, request)
            for voice in voices:
                yield self._finish(voice, request, region)

    def _begin(self, request: Request, region: Region, wish: Wish, index: int, primed: list[int]) -> _Voice:
        """One tune's automaton, with the nation's style drawn for it where the nation is not learned."""
        label = region.label
        if not self.has_learned(region):
            label = find_region(region.borrows).label
            if wish.tonic is not None and not request.names_mode:
                wish = replace(wish, mode=None)
            wish = style(region, wish, request.seed, index)
        if request.prime is not None:
            key, metre = request.prime.key, request.prime.metre
            wish = replace(wish, tonic=(key.letter, key.accidental), mode=key.mode, metre=metre, scale=None)
        return _Voice(_build_grammar(self.vocabulary, wish), index, label, primed)

    def _sample(self, voices: list[_Voice], request: Request) -> None:
        """Step the voices together until each has ended; those that have leave the batch.

        With guidance each voice has a shadow that hears the general label in place of its nation's.
        """
        copies = 1 if request.guidance == 1 else 2
        state = self.runtime.start(copies * len(voices))
        logits = None
        while True:
            for voice, index in zip(voices, self._choose(voices, logits, request), strict=True):
                voice.take(index)
            going_on = [row for row, voice in enumerate(voices) if voice.state.phase is not Phase.DONE]
            if len(going_on) < len(voices):
                rows = [copy * len(voices) + row for copy in range(copies) for row in going_on]
                voices = [voices[row] for row in going_on]
                state = self.runtime.select(state, rows)
            if not voices:
                return
            labels = [voice.label for voice in voices] + [0] * (copies - 1) * len(voices)
            logits, state = self.runtime.step(
                np.array([voice.ids[-1] for voice in voices] * copies),
                np.array(labels),
                np.array([voice.grammar.clock(voice.state) for voice in voices] * copies),
                state,
                np.array([voice.recall.told() for voice in voices] * copies),
            )
            if copies == 2:
                own, general = np.split(logits, 2)
                logits = general + np.float32(request.guidance) * (own - general)

    def _choose(self, voices: list[_Voice], logits: np.ndarray | None, request: Request) -> list[int]:
        """The next id of each voice; all have taken the same number of ids so far."""
        step = len(voices[0].ids)
        if step < len(voices[0].primed):
            return [voice.primed[step] for voice in voices]
        masks = np.stack([voice.grammar.mask(voice.state) for voice in voices])
        if logits is None:  # only <s> may begin
            return [int(mask.argmax()) for mask in masks]
        repeats = None
        if request.sampling.repetition:
            span, size = request.sampling.repetition_span, len(self.vocabulary)
            repeats = np.stack([sampling.repeating(voice.ids, span, size) for voice in voices])
        tunes = [voice.index for voice in voices]
        chosen = sampling.sample(
            logits, masks, request.sampling, seed=request.seed, tunes=tunes, step=step, repeats=repeats
        )
        return [int(index) for index in chosen]

    def _prime_ids(self, prime: Tune, wish: Wish) -> list[int]:
        """The ids of a prime, from ``<s>`` to where the new music begins: behind its last note or bar line."""
        plain = strip_form(prime)
        if plain.metre is None:
            raise UsageError("the prime has no metre", where="--prime", remedy="give it an M: field")
        faults = plain.faults()
        if faults:
            raise UsageError(f"bar {faults[0].bar + 1}: {faults[0].message}", where="--prime", remedy="mend the bar")
        try:
            ids = self.vocabulary.encode(plain)
        except VocabularyError as error:
            raise UsageError(
                f"{error.message} cannot be continued", where="--prime", remedy="simplify the prime"
            ) from error
        tokens = self.vocabulary.tokens
        whole_last = plain.bars[-1].length == plain.metres()[-1].length
        ids = ids[:-2] + ([self.vocabulary.ids["|"]] if whole_last else [])
        count = sum(tokens[index].kind is Kind.BAR for index in ids)
        if wish.bars is not None and wish.bars <= count:
            raise UsageError(f"the prime has {count} bars already", where="--bars", remedy=f"ask for more than {count}")
        if wish.length is not None and wish.length < len(ids) + SHORTEST_LENGTH:
            raise UsageError(
                f"the prime has {len(ids)} tokens already",
                where="--length",
                remedy=f"ask for {len(ids) + SHORTEST_LENGTH} or more",
            )
        at = next(place for place, index in enumerate(ids) if tokens[index].kind is Kind.BARS)
        ids[at] = self.vocabulary.bars_id(
            wish.bars if wish.bars is not None else 0 if wish.length else max(16, 2 * count)
        )
        return ids

    def _finish(self, voice: _Voice, request: Request, region: Region) -> Composition:
        tune = self.vocabulary.decode(voice.ids)
        title = name_tune(region, request.seed, voice.index)
        options = describe_options(request)
        header = Header(
            title=title,
            composer="HoyoMusic",
            region=region.name,
            transcription=f"HoyoMusic {__version__}, model {self.identity[:12]}",
            notes=f"seed {request.seed}, tune {voice.index}, {options}",
        )
        tune = replace(tune, header=header)
        tempo = int(choose_tempo(tune, region, request.tempo))
        tune = replace(tune, header=replace(header, tempo=Tempo(Fraction(1, 4), tempo)))
        return Composition(tune, region, voice.index, request.seed, len(voice.ids), self.identity)


@lru_cache(maxsize=32)
def _build_grammar(vocabulary: Vocabulary, wish: Wish) -> Grammar:
    """Tunes of one wish share the masks that the first of them made its grammar build."""
    return Grammar(vocabulary, wish)


class _Voice:
    """One tune under way."""

    def __init__(self, grammar: Grammar, index: int, label: int, primed: list[int]) -> None:
        self.grammar = grammar
        self.recall = Recall(grammar.vocabulary)
        self.index = index
        self.label = label
        self.primed = primed
        self.state: State = grammar.start()
        self.ids: list[int] = []

    def take(self, index: int) -> None:
        self.ids.append(index)
        self.recall.take(index)
        self.grammar.advance(self.state, index)


# ---------------------------------------------------------------------- reading wishes


def read_wished_key(text: str) -> Key:
    """A key as ABC writes it; raises UsageError for what is no key, or no key to write a tune in."""
    try:
        key = read_key(text.strip()).key
    except AbcError as error:
        raise UsageError(error.message, where="--key", remedy="write D, F#m, Bb or A dorian") from error
    if key is None or key.mode == "none" or key.explicit or abs(key.fifths) > 7:
        raise UsageError(f"{text!r} is no key to write in", where="--key", remedy="write D, F#m, Bb or A dorian")
    return key


def read_wished_metre(text: str) -> Metre:
    """A metre written as ``6/8``; raises UsageError for anything else."""
    beats, _, unit = text.partition("/")
    if not (beats.isascii() and beats.isdigit() and unit.isascii() and unit.isdigit() and len(text) <= 5):
        raise UsageError(f"{text!r} is no metre", where="--metre", remedy="write it as 6/8")
    return Metre(int(beats), int(unit))


def read_wished_range(text: str) -> tuple[int, int]:
    """Two notes written as ``G3-D6``, as MIDI numbers; raises UsageError for anything else."""
    match = re.fullmatch(r"([A-Ga-g][#b]?)([0-9])-([A-Ga-g][#b]?)([0-9])", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no range", where="--range", remedy="write it as G3-D6")
    lowest, highest = (
        Pitch(*parse_tonic(name), int(octave)).midi for name, octave in (match.group(1, 2), match.group(3, 4))
    )
    return lowest, highest


def strip_form(tune: Tune) -> Tune:
    """The bars of a tune in one line, without repeats, endings, parts, graces and chord symbols."""
    bars = tuple(
        Bar(tuple(Note(note.pitches, note.length, note.ties and note.pitches) for note in bar.notes))
        for bar in tune.bars
    )
    if any(bar.metre not in (None, tune.metre) or bar.key not in (None, tune.key) for bar in tune.bars):
        raise UsageError(
            "the prime changes metre or key", where="--prime", remedy="give the bars before or after the change"
        )
    return Tune(tune.key._replace(explicit=()), tune.metre, bars)


def describe_options(request: Request) -> str:
    """The options that, with model and seed, make the same tune again."""
    wished = {
        "region": find_region(request.region).name,
        "length": request.length,
        "bars": request.bars,
        "key": request.key,
        "metre": request.metre,
        "tempo": request.tempo,
        "range": request.range,
        "guidance": None if request.guidance == 1 else request.guidance,
        "count": request.count if request.count > 1 else None,
    }
    chosen, plain = request.sampling, SamplingConfig()
    wished |= {
        name: getattr(chosen, name)
        for name in ("temperature", "top_k", "top_p")
        if getattr(chosen, name) != getattr(plain, name)
    }
    words = [f"--{name.replace('_', '-')} {value}" for name, value in wished.items() if value is not None]
    return " ".join(words + (["--prime"] if request.prime is not None else []))
