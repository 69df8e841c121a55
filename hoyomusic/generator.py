"""`HoyoMusicGenerator`: a model and a wish become tunes; the one entry for command line, Python and studio.

    generator = HoyoMusicGenerator.load()
    for composition in generator.compose(Request("Mondstadt", bars=16, seed=7)):
        print(abc.write(composition.tune))

The parts do not know each other: the grammar says which ids may come, the runtime how likely each is,
the sampler draws one, the vocabulary turns ids into a tune. Here they meet.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hoyomusic import checkpoint, sampling
from hoyomusic.audition import Mark, mark
from hoyomusic.errors import CheckpointError, GenerationError, UsageError, VocabularyError
from hoyomusic.export import SUFFIX, find_step, read_step
from hoyomusic.grammar import CLOCKS, Grammar, Phase, State, Wish
from hoyomusic.grammar.state import SHORTEST_LENGTH
from hoyomusic.novelty import QUOTATION, Novelty, NoveltyIndex, find_index
from hoyomusic.provenance import name_maker, tell_making
from hoyomusic.recall import SOURCES, remember
from hoyomusic.regions import REGIONS, Region, find_region
from hoyomusic.request import Request
from hoyomusic.runtime import NativeRuntime, NumpyRuntime, Runtime, fold, one_thread, run_step
from hoyomusic.score import choose_tempo
from hoyomusic.streaming import StreamedBar, stream_bars
from hoyomusic.styling import draw_finals, name_tune, style
from hoyomusic.tune import Bar, Header, Note, Tempo, Tune
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.characters import LAYOUT as CHARACTERS
from hoyomusic.vocab.tokens import Kind
from hoyomusic.walking import Automaton, walk

PRECISIONS = ("auto", "int8", "fp32")
# Streams that are stepped together; how many there are changes no tune. They begin with few, so that the first tunes
# are soon there, and double.
FIRST_BATCH, BATCH = 8, 64

# So many further candidates are tried for a tune that may quote nothing, before giving up.
NOVEL_ATTEMPTS = 64
# Candidates for one tune are drawn apart as tunes of far numbers are.
CANDIDATE_STRIDE = 2**16


@dataclass(frozen=True, slots=True)
class Composition:
    """A tune that was made: `index` among those of its request, `tokens` sampled for it, and from which model.

    `novelty` is what it shares with the model's training tunes, where the request asked for the best or for
    novel tunes (else ask `HoyoMusicGenerator.compare`). `marks` are those of all candidates, of which number
    `candidate` was kept; empty where there was one. `remarks` tell what of a text that a model wrote is not in its
    tune.
    """

    tune: Tune
    region: Region
    index: int
    seed: int
    tokens: int
    model: str
    novelty: Novelty | None = None
    candidate: int = 0
    marks: tuple[Mark, ...] = ()
    remarks: tuple[str, ...] = ()


class HoyoMusicGenerator:
    """A model that composes, in one thread at a time.

    `identity` is the SHA-256 of its file, `provenance` what it learned from.
    """

    def __init__(
        self, runtime: Runtime, vocabulary: Vocabulary, *, identity: str, provenance: dict[str, Any], path: Path
    ) -> None:
        self.runtime = runtime
        self.vocabulary = vocabulary
        self.identity = identity
        self.provenance = provenance
        self.path = path
        self._automaton: Automaton | None = None

    @classmethod
    def load(
        cls, model: str | Path | None = None, *, precision: str = "auto", exact: bool = True
    ) -> HoyoMusicGenerator:
        """The generator of a model file: a path, ``"default"``, or None for the user's own if there is one.

        `precision` ``"auto"`` takes the export that lies beside a checkpoint, if it was made of it as it is now,
        else the checkpoint itself; ``"int8"`` and ``"fp32"`` take the one or the other. They are two models: their
        identities differ, and so do their tunes. `exact` as `NumpyRuntime` takes it. Raises CheckpointError where
        there is no model, or where it is damaged or not ours.
        """
        if precision not in PRECISIONS:
            raise UsageError(f"there is no precision {precision!r}", remedy=f"choose {', '.join(PRECISIONS)}")
        path = checkpoint.find_model(model)
        exported = path.suffix == SUFFIX
        step = read_step(path) if exported else None if precision == "fp32" else find_step(path)
        if precision != "auto" and exported and step.precision != precision:
            raise CheckpointError(f"is an {step.precision} model", where=str(path), remedy="name the .pth file")
        if step is None and precision == "int8":
            raise CheckpointError("has no int8 export", where=str(path), remedy=f"make it: hoyo export {path}")
        found = checkpoint.load_arrays(path) if step is None else step
        if found.vocab.get("layout") == CHARACTERS:
            raise checkpoint.OldModelError(str(path))
        vocabulary = Vocabulary.from_dict(found.vocab)
        # What is told to a step is taken for rows of its tables unlooked, in C beyond their ends as well.
        sizes = found.config
        if (sizes.regions, sizes.clocks) != (len(REGIONS), CLOCKS) or sizes.recalls not in (0, SOURCES):
            raise CheckpointError(
                "takes other inputs than this program gives", where=str(path), remedy="use another file"
            )
        # What all tunes share is made now, so that the first bar of the first is there at once.
        Grammar(vocabulary)
        return cls(
            NumpyRuntime(fold(found.weights), exact=exact) if step is None else run_step(step),
            vocabulary,
            identity=found.identity,
            provenance=found.provenance,
            path=path if step is None else path.with_suffix(SUFFIX),
        )

    def has_learned(self, region: Region) -> bool:
        """Whether the model knows this nation from tunes; else it is styled by rule."""
        return region.label == 0 or region.name in self.provenance.get("learned", ())

    def label_of(self, region: Region) -> int:
        """The label that the model hears for a nation: its own, or if it is not learned that of the one it borrows."""
        return region.label if self.has_learned(region) else find_region(region.borrows).label

    def compose(self, request: Request, indices: range | None = None) -> Iterator[Composition]:
        """The tunes of a request, in order; each hangs on model, options, seed and its own index alone.

        With `indices` those of these numbers, whatever the request's count.
        Raises UsageError for a prime that leaves no room for new bars and VocabularyError for one that
        the model's vocabulary cannot say.
        """
        region, wish = find_region(request.region), request.wish()
        if request.novel and self.training_index is None:
            raise UsageError(
                "what this model learned from is not known", where="--novel", remedy="train one with hoyo train"
            )
        primed = [] if request.prime is None else self._prime_ids(request.prime, wish)
        indices = range(request.count) if indices is None else indices
        streams = FIRST_BATCH
        while indices:
            tunes_at_once = max(1, streams // request.candidates)
            voices = [
                self._begin(request, region, wish, index, candidate, primed)
                for index in indices[:tunes_at_once]
                for candidate in range(request.candidates)
            ]
            self._sample(voices, request)
            for start in range(0, len(voices), request.candidates):
                candidates = voices[start : start + request.candidates]
                yield self._keep_best(candidates, request, region, wish, primed)
            indices, streams = indices[tunes_at_once:], min(2 * streams, BATCH)

    def _keep_best(
        self, candidates: list[_Voice], request: Request, region: Region, wish: Wish, primed: list[int]
    ) -> Composition:
        """The best candidate, and where nothing may be quoted the best that quotes nothing: more are tried for it."""
        made = [self._finish(voice, request, region) for voice in candidates]
        kept = [tune for tune in made if not (request.novel and tune.novelty.longest >= QUOTATION)]
        while not kept:
            if len(made) >= request.candidates + NOVEL_ATTEMPTS:
                raise GenerationError(
                    f"each of {len(made)} candidates shares {QUOTATION} notes in a row with a training tune",
                    where="--novel", remedy="try another seed or a higher --temperature",
                )
            voice = self._begin(request, region, wish, candidates[0].index, len(made), primed)
            self._sample([voice], request)
            made.append(self._finish(voice, request, region))
            kept = [tune for tune in made[-1:] if tune.novelty.longest < QUOTATION]
        best = kept[0]
        if request.candidates > 1:
            best = max(kept, key=lambda tune: (tune.marks[0].score, -tune.candidate))
        marks = tuple(mark for tune in made for mark in tune.marks)
        return replace(best, marks=marks)

    def _begin(
        self, request: Request, region: Region, wish: Wish, index: int, candidate: int, primed: list[int]
    ) -> _Voice:
        """One tune's automaton, with the nation's style drawn for it where the nation is not learned."""
        if not self.has_learned(region):
            if wish.tonic is not None and not request.names_mode:
                wish = replace(wish, mode=None)
            wish = style(region, wish, request.seed, index)
        else:
            wish = replace(wish, finals=draw_finals(region, request.seed, index))
        if request.prime is not None:
            key, metre = request.prime.key, request.prime.metre
            wish = replace(wish, tonic=(key.letter, key.accidental), mode=key.mode, metre=metre, scale=None)
        repetition = None
        if request.sampling.repetition:
            repetition = sampling.Repetition(request.sampling.repetition_span, len(self.vocabulary))
        grammar = _build_grammar(self.vocabulary, wish)
        return _Voice(grammar, index, candidate, self.label_of(region), primed, repetition)

    def _sample(self, voices: list[_Voice], request: Request) -> None:
        """Fill the voices, on one thread."""
        with one_thread(self.runtime):
            for _ in self._compose(voices, request):
                pass

    def _compose(self, voices: list[_Voice], request: Request) -> Iterator[None]:
        """Fill the voices until each has ended, and pause now and then, at least behind each bar."""
        if not self._may_walk(voices, request):
            return self._steps(voices, request)
        store = voices[0].grammar.store
        if self._automaton is None or self._automaton.store is not store:
            self._automaton = Automaton(store)
        return walk(self.runtime, self._automaton, request.sampling, request.seed, voices)

    def _may_walk(self, voices: list[_Voice], request: Request) -> bool:
        """Whether nothing is asked for that only Python does."""
        plain = request.guidance == request.candidates == 1 and not request.sampling.repetition
        return (
            plain
            and request.prime is None
            and isinstance(self.runtime, NativeRuntime)
            and len(self.vocabulary) <= sampling.MOST_CHOICES
            and all(voice.grammar.wish.form != "AABA" for voice in voices)
        )

    def _steps(self, voices: list[_Voice], request: Request) -> Iterator[None]:
        """Step the voices together until each has ended; those that have leave the batch. Pauses behind each id.

        With guidance each voice has a shadow that hears the general label in place of its nation's.
        """
        copies, marked = 1 if request.guidance == 1 else 2, request.candidates > 1
        state, memories = self.runtime.start(copies * len(voices)), remember(self.vocabulary, len(voices))
        labels = np.array([voice.label for voice in voices] + [0] * (copies - 1) * len(voices))
        logits = None
        while True:
            chosen = self._choose(voices, logits, request)
            if marked and logits is not None:
                for voice, index, row in zip(voices, chosen, logits, strict=True):
                    voice.nats += _cost(row, index)
            for voice, index in zip(voices, chosen, strict=True):
                voice.take(index)
            yield
            told = memories.take(chosen)
            going_on = [row for row, voice in enumerate(voices) if voice.state.phase is not Phase.DONE]
            if not going_on:
                return
            ids = chosen
            if len(going_on) < len(voices):
                rows = [copy * len(voices) + row for copy in range(copies) for row in going_on]
                state, labels = self.runtime.select(state, rows), labels[rows]
                memories.select(going_on)
                voices, told = [voices[row] for row in going_on], told[going_on]
                ids = [chosen[row] for row in going_on]
            clocks = [voice.grammar.clock(voice.state) for voice in voices]
            if copies == 2:
                ids, clocks, told = ids + ids, clocks + clocks, np.concatenate((told, told))
            logits, state = self.runtime.step(np.array(ids), labels, np.array(clocks), state, told)
            if copies == 2:
                own, general = np.split(logits, 2)
                logits = general + np.float32(request.guidance) * (own - general)

    def _choose(self, voices: list[_Voice], logits: np.ndarray | None, request: Request) -> list[int]:
        """The next id of each voice; all have taken the same number of ids so far."""
        step = len(voices[0].ids)
        if step < len(voices[0].primed):
            return [voice.primed[step] for voice in voices]
        choices = [voice.grammar.choices(voice.state) for voice in voices]
        if logits is None:  # only <s> may begin
            return [int(ids[0]) for ids in choices]
        repeats = None
        if request.sampling.repetition:
            repeats = np.stack([voice.repetition.marked for voice in voices])
        chosen = sampling.draw(
            logits,
            choices,
            request.sampling,
            seed=request.seed,
            tunes=[voice.number for voice in voices],
            step=step,
            repeats=repeats,
        )
        return chosen.tolist()

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
        header = Header(
            title=title,
            composer="HoyoMusic",
            region=region.name,
            transcription=name_maker(self.identity),
            notes=tell_making(request, voice.index),
        )
        tune = replace(tune, header=header)
        tempo = int(choose_tempo(tune, region, request.tempo))
        tune = replace(tune, header=replace(header, tempo=Tempo(Fraction(1, 4), tempo)))
        novelty, marks = None, ()
        if request.novel or request.candidates > 1:
            novelty = self.compare(tune)
        if request.candidates > 1:
            nats = voice.nats / max(self.vocabulary.count_notes(voice.ids), 1)
            marks = (mark(tune, nats, self._expected_nats(), novelty),)
        return Composition(
            tune, region, voice.index, request.seed, len(voice.ids), self.identity, novelty, voice.candidate, marks
        )

    def stream(self, request: Request, *, endless: bool = False) -> Iterator[StreamedBar]:
        """The melodies that `compose` makes, bar by bar, each as soon as its last id is drawn; no tune is kept.

        `endless`: tune after tune for ever, whatever the request's count. Raises what `compose` raises.
        """
        region = find_region(request.region)
        for index in itertools.count() if endless else range(request.count):
            ids = self._draw(request, index)
            bars = stream_bars(ids, self.vocabulary, region, tune=index, tempo=request.tempo)
            while True:
                with one_thread(self.runtime):
                    bar = next(bars, None)
                if bar is None:
                    break
                yield bar

    def _draw(self, request: Request, index: int) -> Iterator[int]:
        """The ids of tune number `index`, each as soon as it is settled: all at once, if it is chosen among several."""
        if request.candidates > 1 or request.novel:
            (made,) = self.compose(request, range(index, index + 1))
            yield from self.vocabulary.encode(made.tune)
            return
        region, wish = find_region(request.region), request.wish()
        primed = [] if request.prime is None else self._prime_ids(request.prime, wish)
        voice = self._begin(request, region, wish, index, 0, primed)
        told = 0
        for _ in self._compose([voice], request):
            yield from voice.ids[told:]
            told = len(voice.ids)

    def compare(self, tune: Tune) -> Novelty | None:
        """What a tune shares with the model's training tunes; None where no index of them lies beside the model."""
        return None if self.training_index is None else self.training_index.measure(tune)

    @cached_property
    def training_index(self) -> NoveltyIndex | None:
        """What the model was trained on, to be compared with; None where no index of it lies beside its file."""
        path = find_index(self.path)
        index = None if path is None else NoveltyIndex.load(path)
        return index if index is not None and index.corpus == self.provenance.get("corpus") else None

    def _expected_nats(self) -> float | None:
        """Nats per note that the model's held-out tunes cost it, as its training noted them."""
        per_token = self.provenance.get("validation", {}).get("validation_nats_per_token")
        per_note = self.provenance.get("notes_per_token")
        return per_token / per_note if per_token and per_note else None


@lru_cache(maxsize=32)
def _build_grammar(vocabulary: Vocabulary, wish: Wish) -> Grammar:
    """Tunes of one wish share the masks that the first of them made its grammar build."""
    return Grammar(vocabulary, wish)


class _Voice:
    """One tune under way: candidate number `candidate` for tune `index`; `nats` is what its ids have cost so far."""

    def __init__(
        self,
        grammar: Grammar,
        index: int,
        candidate: int,
        label: int,
        primed: list[int],
        repetition: sampling.Repetition | None,
    ) -> None:
        self.grammar = grammar
        self.index = index
        self.candidate = candidate
        self.number = index + CANDIDATE_STRIDE * candidate  # as the draws count tunes
        self.nats = 0.0
        self.label = label
        self.primed = primed
        self.repetition = repetition
        self.state: State = grammar.start()
        self.ids: list[int] = []

    def take(self, index: int) -> None:
        self.ids.append(index)
        if self.repetition is not None:
            self.repetition.take(index)
        self.grammar.advance(self.state, index)


def _cost(logits: np.ndarray, index: int) -> float:
    """What an id costs in nats under `logits` (V,)."""
    highest = logits.max()
    return float(highest + np.log(np.exp(logits - highest).sum()) - logits[index])


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
