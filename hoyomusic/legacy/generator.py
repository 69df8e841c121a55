"""`CharacterGenerator`: a generator of the old program composes again, in characters.

Nation, key and metre are written as the head of an ABC text, the model goes on from there (`foretelling`), with a
seed each character is drawn as all is drawn here (`sampling`), and our reader takes the music in what was written
(`sampled`). Unlike a grammar that cannot promise a wish; what became of it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from hoyomusic import abc, checkpoint, sampling
from hoyomusic.abc.fields import write_key
from hoyomusic.checkpoint import OldModelError
from hoyomusic.errors import CheckpointError, GenerationError, UsageError
from hoyomusic.generator import CANDIDATE_STRIDE, Composition, strip_form
from hoyomusic.legacy.characters import REMEDY, CharacterMap
from hoyomusic.legacy.foretelling import CharacterModel, StateModel, WindowModel
from hoyomusic.legacy.sampled import SampledTune, read_sampled
from hoyomusic.provenance import name_maker, tell_making
from hoyomusic.regions import REGIONS, Region, find_region
from hoyomusic.request import Request
from hoyomusic.runtime import NumpyRuntime, fold
from hoyomusic.score import choose_tempo
from hoyomusic.styling import name_tune, style
from hoyomusic.tune import Header, Key, Tempo
from hoyomusic.vocab import count_bars
from hoyomusic.vocab.characters import CharacterVocabulary

# Characters of a tune where neither length nor bars are asked for, and for each bar that is.
USUAL_LENGTH = 600
LONGEST_BAR = 60
# So many texts are tried for a tune before giving up.
ATTEMPTS = 8
# The tonic of a mode where none is asked for: keys that most tunes have.
USUAL_TONICS = {"major": "D", "minor": "E", "dorian": "A", "mixolydian": "A", "phrygian": "E"}


class CharacterGenerator:
    """A model of characters that composes; `identity` is the SHA-256 of its file.

    `learned` are the nations whose label it hears beside the text.
    """

    def __init__(
        self, model: CharacterModel, *, identity: str, path: Path, learned: Sequence[str] = ()
    ) -> None:
        self.model = model
        self.identity = identity
        self.path = path
        self.learned = frozenset(learned)

    def compare(self, tune: object) -> None:
        """None: what an old generator learned from is not known."""

    def compose(self, request: Request, indices: range | None = None) -> Iterator[Composition]:
        """The tunes of a request, as `HoyoMusicGenerator.compose` gives them; their `remarks` account for the texts.

        Raises UsageError for wishes that a model of characters cannot be held to, and GenerationError where none
        of several texts has a note in it.
        """
        _check(request)
        region = find_region(request.region)
        for index in range(request.count) if indices is None else indices:
            yield self._compose(request, region, index)

    def _compose(self, request: Request, region: Region, index: int) -> Composition:
        header, start = _write_start(request, region, index, titled=self.model.takes_titles)
        remarks = []
        if unknown := self.model.unknown(header + start):
            remarks.append(f"the model does not know the characters {unknown!r} of what it was to begin with")
        tokens = 0
        for attempt in range(ATTEMPTS):
            text = self._sample(header + start, request, region, index, attempt)
            tokens += len(text)
            found = read_sampled(header, start + cut_tune(text))
            if found is not None:
                remarks.append(found.tell())
                return self._finish(found, request, region, index, len(text), attempt, remarks)
        raise GenerationError(
            f"none of {ATTEMPTS} texts of {tokens} characters together holds a bar of music",
            where=str(self.path), remedy="try another --seed or a lower --temperature",
        )

    def _sample(self, start: str, request: Request, region: Region, index: int, attempt: int) -> str:
        """What the model writes behind `start`, until it ends the tune or has written what was asked for."""
        writing = self.model.begin(start, region.label if region.name in self.learned else 0)
        every = np.arange(len(self.model.characters))
        repetition = sampling.Repetition(request.sampling.repetition_span, len(every))
        most = request.length or (USUAL_LENGTH if request.bars is None else LONGEST_BAR * request.bars)
        text, bars = "", 0
        while len(text) < most and not ends_tune(text) and bars != request.bars:
            (drawn,) = sampling.draw(
                writing.logits()[None], [every], request.sampling, seed=request.seed,
                tunes=[index + CANDIDATE_STRIDE * attempt], step=len(text), repeats=repetition.marked[None],
            )
            repetition.take(int(drawn))
            writing.take(int(drawn))
            text += self.model.characters[drawn]
            if text.endswith("|"):
                bars += any(sign.isalpha() for sign in text[:-1].rpartition("|")[2])
        return text

    def _finish(
        self, found: SampledTune, request: Request, region: Region, index: int, tokens: int, attempt: int,
        remarks: list[str],
    ) -> Composition:
        header = Header(
            title=name_tune(region, request.seed, index),
            composer="HoyoMusic",
            region=region.name,
            transcription=name_maker(self.identity),
            notes=tell_making(request, index),
        )
        tune = replace(found.tune, header=header)
        tempo = int(choose_tempo(tune, region, request.tempo))
        tune = replace(tune, header=replace(header, tempo=Tempo(Fraction(1, 4), tempo)))
        if request.bars is not None and count_bars(tune) != request.bars:
            remarks.append(f"{request.bars} bars were asked for")
        if attempt:
            remarks.append(f"attempt {attempt + 1}: there was no music in what it wrote before")
        return Composition(
            tune, region, index, request.seed, tokens, self.identity, candidate=attempt, remarks=tuple(remarks)
        )


def ends_tune(text: str) -> bool:
    """Whether a text has music, and behind it the blank line or the ``X:`` that ends a tune."""
    return text.endswith(("\n\n", "\nX:")) and bool(cut_tune(text))


def cut_tune(text: str) -> str:
    """The first tune of a text that goes on behind a head: up to a blank line or an ``X:``, blank lines before it gone.

    >>> cut_tune("\\nabc|\\n\\nX:2")
    'abc|'
    """
    text = text.lstrip("\n")
    ends = [place for place in (text.find("\n\n"), text.find("\nX:")) if place >= 0]
    return text[: min(ends)] if ends else text


def _check(request: Request) -> None:
    """Raise UsageError for the wishes that only a grammar grants, or that need several tunes to compare."""
    refused = {
        "--range": request.range is not None,
        "--form": request.form is not None,
        "--guidance": request.guidance != 1,
        "--candidates": request.candidates != 1,
        "--novel": request.novel,
    }
    for name, wished in refused.items():
        if wished:
            raise UsageError(
                "a converted model of characters cannot be held to it", where=name,
                remedy="leave it out, or use another model",
            )


def _write_start(request: Request, region: Region, index: int, *, titled: bool) -> tuple[str, str]:
    """The head of an ABC text that says what is wished for, `titled` or not, and the bars that it begins with."""
    title = name_tune(region, request.seed, index) if titled else ""
    wish = request.wish()
    if region.scales and wish.tonic is not None and not request.names_mode:
        wish = replace(wish, mode=None)
    wish = style(region, wish, request.seed, index)
    if request.prime is not None:
        plain = strip_form(request.prime)
        text = abc.write(replace(plain, header=Header(title=title)))
        head, _, music = text.partition("\nK:")
        key, _, music = music.partition("\n")
        return f"{head}\nK:{key}\n", music.rstrip().rstrip("|]") + "|"
    mode = wish.mode or "major"
    key = Key(*(wish.tonic or (USUAL_TONICS.get(mode, "D"), 0)), mode)
    lines = ["X:1", *([f"T:{title}"] if title else []), f"M:{wish.metre}", "L:1/8", f"K:{write_key(key)}"]
    return "\n".join(lines) + "\n", ""


def load_generator(path: Path) -> CharacterGenerator:
    """The generator in a converted file, or in a checkpoint of characters that training has made of one.

    Raises CheckpointError for a converted model that is no generator, or whose characters are not known.
    """
    try:
        found = checkpoint.load_arrays(path)
    except OldModelError:
        return CharacterGenerator(_load_window_model(path), identity=checkpoint.identity(path), path=path)
    vocabulary = CharacterVocabulary.from_dict(found.vocab)
    if (found.config.regions, found.config.recalls) != (len(REGIONS), 0):
        raise CheckpointError("takes other inputs than this program gives", where=str(path), remedy="use another file")
    model = StateModel(NumpyRuntime(fold(found.weights)), vocabulary)
    return CharacterGenerator(model, identity=found.identity, path=path, learned=found.provenance.get("learned", ()))


def _load_window_model(path: Path) -> WindowModel:
    import torch

    from hoyomusic.legacy.converted import load_converted
    from hoyomusic.legacy.inputs import count_characters

    model = load_converted(path)
    count = count_characters(model)
    if count is None:
        raise CheckpointError(
            "is a converted model, but no generator of characters", where=str(path), remedy="use another model"
        )
    characters = CharacterMap.read(model.params, str(path)) if isinstance(model.params, dict) else None
    if characters is None or len(characters.characters) != count:
        raise CheckpointError(
            "does not say which characters its ids are", where=str(path), remedy=f"convert it again: {REMEDY}"
        )
    length = model.input_shapes[0][1]
    if length not in (None, characters.window):
        raise CheckpointError(
            f"takes {length} characters, and its map says {characters.window}", where=str(path), remedy=REMEDY
        )

    def predict(ids: list[int]) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.tensor([ids])).float().numpy().reshape(-1, count)[-1]

    probabilities = predict(characters.fill([]))
    if not (probabilities.min() >= 0 and abs(probabilities.sum() - 1) < 0.01):
        raise CheckpointError("gives no probabilities", where=str(path), remedy="use another model")
    return WindowModel(predict, characters)
