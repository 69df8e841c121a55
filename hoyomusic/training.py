"""One training run: corpus -> ids -> packed batches -> fit -> checkpoint, and the way to go on with it.

`train` starts a run, `resume` goes on with one, exactly.
Both write the checkpoint whenever the loop asks for it, so that nothing learned is lost.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hoyomusic import __version__, novelty
from hoyomusic.checkpoint import DEFAULT_MODEL, USER_MODEL, Checkpoint, OldModelError, load, save
from hoyomusic.dataset import Dataset, load_dataset
from hoyomusic.device import choose_device, tune_allocator
from hoyomusic.errors import StorageError, TrainingError, UsageError, VocabularyError
from hoyomusic.export import SUFFIX, export_model
from hoyomusic.fit import Event, FitConfig, FitState, fit
from hoyomusic.fit.memory import memory_told
from hoyomusic.grammar import CLOCKS
from hoyomusic.model import HoyoMusicLSTM, ModelConfig
from hoyomusic.ranks import ALONE, Ranks
from hoyomusic.recall import SOURCES
from hoyomusic.regions import REGIONS
from hoyomusic.storage import check_room, check_writable, hold, keep_numbered, remove_leftovers
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.characters import LAYOUT as CHARACTERS
from hoyomusic.vocab.characters import AnyVocabulary, read_vocabulary

PROGRAM = f"HoyoMusic {__version__}"
# A checkpoint holds the weights, their average, the best, and two moments of each; its disk must have room for three.
WEIGHTS_IN_A_CHECKPOINT = 5
CHECKPOINTS_TO_FIT = 3


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What to train on and how large a model; how to train it is `fit`'s `FitConfig`.

    `corpus` are names or paths as `corpus.load_corpus` takes them; `hoyomusic` a path of the hoyoMusic
    set, None to look for it, False to leave it out; `max_samples` bounds the tunes. `start` is a
    checkpoint whose weights to begin with. Raises UsageError for values that make no sense.
    """

    corpus: tuple[str, ...] = ("default",)
    hoyomusic: str | None | bool = False
    max_samples: int | None = None
    out: Path = USER_MODEL
    start: Path | None = None
    layout: str = "fused"
    embedding: int = 256
    hidden: int = 512
    layers: int = 3
    dropout: float = 0.15
    weight_dropout: float = 0.0
    norm: str = "batch"
    device: str = "auto"
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        if self.out.parts[-2:] == DEFAULT_MODEL.parts:
            raise UsageError("is the model that comes along", where=str(self.out), remedy="train into another file")
        if self.max_samples is not None and self.max_samples < 2:
            raise UsageError(
                f"{self.max_samples} tunes",
                where="--max-samples",
                remedy="ask for 2 or more: one to learn from, one to judge by",
            )


@dataclass(frozen=True, slots=True)
class CorpusReady:
    """Before the loop starts: what it will learn from, as `Corpus.statistics` and `Dataset` tell it."""

    training: int
    validation: int
    tokens: int
    learned: tuple[str, ...]
    unsayable: dict[str, int]
    notes_per_token: float
    statistics: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelKept:
    """A model that stood where the new one goes was kept under another name."""

    path: Path
    kept_as: Path


@dataclass(frozen=True, slots=True)
class GoesOnDifferently:
    """A run goes on, as was asked for, though these are not what they were."""

    differences: tuple[str, ...]


RunEvent = Event | CorpusReady | ModelKept | GoesOnDifferently


@dataclass(frozen=True, slots=True)
class _Watch:
    """Who hears of a run, who may stop it, which of its processes this is, and whether its folder is gone meanwhile."""

    on_event: Callable[[RunEvent], None]
    should_stop: Callable[[], bool]
    progress: Callable[[str, int], None] | None
    ranks: Ranks
    is_removed: Callable[[], bool]


def train(
    config: TrainingConfig,
    *,
    on_event: Callable[[RunEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int], None] | None = None,
    ranks: Ranks = ALONE,
) -> FitState:
    """A new run. The checkpoint at `config.out` holds the best weights and all it takes to go on.

    A model that was there is kept under a numbered name. Raises HoyoErrors of every kind: a corpus
    that is absent, a target that cannot be written, has no room or is held by another process, a start that is no
    model, numbers out of bounds. Where `ranks` are several processes, each calls this; the first one alone writes.
    Events come in each.
    """
    choose_device(ranks.device(config.device))  # before a corpus is read for a device that is not there
    with _alone_with(config.out, ranks) as is_removed:
        return _train(config, _Watch(on_event, should_stop, progress, ranks, is_removed))


def _train(config: TrainingConfig, watch: _Watch) -> FitState:
    started = None if config.start is None else _load_start(config.start, watch.on_event)
    vocabulary = Vocabulary.build(config.layout) if started is None else read_vocabulary(started.vocab)
    if started is None:
        sizes = ModelConfig(
            vocabulary=len(vocabulary),
            regions=len(REGIONS),
            clocks=CLOCKS,
            embedding=config.embedding,
            hidden=config.hidden,
            layers=config.layers,
            dropout=config.dropout,
            weight_dropout=config.weight_dropout,
            recalls=SOURCES,
            norm=config.norm,
        )
    else:
        sizes = replace(
            started.config, dropout=config.dropout, weight_dropout=config.weight_dropout,
            recalls=0 if vocabulary.layout == CHARACTERS else SOURCES,
        )
    _check_room(config.out, sizes, watch.ranks)
    dataset = _read(config, vocabulary, watch)
    with _memory_for(sizes):
        model = HoyoMusicLSTM(sizes, seed=config.fit.seed)
    if started is not None:
        # A model that never heard its own past is given a recall that does nothing yet.
        model.load_state_dict({**model.state_dict(), **started.weights})
    return _run(config, model, vocabulary, dataset, None, watch)


def resume(
    path: Path,
    *,
    epochs: int | None = None,
    learning_rate: float | None = None,
    force: bool = False,
    on_event: Callable[[RunEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int], None] | None = None,
    ranks: Ranks = ALONE,
) -> FitState:
    """Go on with the run of a checkpoint until `epochs` in all (None: as it was asked for).

    `learning_rate` replaces the present one: a lower one settles what a higher one has found. Another
    number of processes (`ranks`) than before may go on.

    A model of the old program has no run of ours: one begins, on the default corpus, with its weights.

    Raises TrainingError for a model without a training state, a run that is finished, and a corpus or program that
    is no longer the same, unless `force` says to go on all the same; StorageError where another process holds the
    file or the disk has no room. What else is another (torch, device, threads) `RunStarted` tells.
    """
    with _alone_with(path, ranks, must_exist=True) as is_removed:
        watch = _Watch(on_event, should_stop, progress, ranks, is_removed)
        return _resume(path, epochs, learning_rate, force, watch)


def _resume(path: Path, epochs: int | None, learning_rate: float | None, force: bool, watch: _Watch) -> FitState:
    wished = {"epochs": epochs, "learning_rate": learning_rate}
    wished = {name: value for name, value in wished.items() if value is not None}
    try:
        checkpoint = load(path)
    except OldModelError:
        config = TrainingConfig(start=path, out=path, fit=FitConfig(**wished))
        return _train(config, watch)
    if checkpoint.training is None or "fit" not in checkpoint.training:
        raise TrainingError(
            "this model carries no training state",
            where=str(path),
            remedy=f"train it further: hoyo train --from {path}",
        )
    state = FitState.from_dict(checkpoint.training["fit"])
    settings = FitConfig(**{**state.config, **wished})
    if learning_rate is not None:
        state.learning_rate, state.retreats = learning_rate, 0
    if state.epoch >= settings.epochs:
        raise TrainingError(
            f"all {state.epoch} epochs are done", where=str(path), remedy=f"ask for more: --epochs {state.epoch + 10}"
        )
    config = _config_from_dict(checkpoint.training.get("run"), path, settings)
    if state.waited >= settings.patience:
        raise TrainingError(
            f"nothing was gained in the last {state.waited} epochs",
            where=str(path),
            remedy=f"train it further: hoyo train --from {path}",
        )
    try:
        vocabulary = read_vocabulary(checkpoint.vocab)
    except VocabularyError as error:
        raise TrainingError(error.message, where=str(path), remedy=error.remedy) from error
    _check_room(path, checkpoint.config, watch.ranks)
    dataset = _read(config, vocabulary, watch)
    differences = _describe_differences(checkpoint.provenance, dataset)
    if differences:
        if not force:
            raise TrainingError(
                f"cannot go on as before: {'; '.join(differences.values())}",
                where=str(path),
                remedy="add --force to go on all the same, or begin anew with hoyo train --from",
            )
        if "corpus" in differences:
            state = state.on_other_samples()
        watch.on_event(GoesOnDifferently(tuple(differences.values())))
    with _memory_for(checkpoint.config):
        model = HoyoMusicLSTM(checkpoint.config)
    return _run(config, model, vocabulary, dataset, state, watch)


def _load_start(path: Path, on_event: Callable[[RunEvent], None]) -> Checkpoint:
    """The model whose weights a run begins with; one of the old program as what it is in ours."""
    try:
        return load(path)
    except OldModelError:
        from hoyomusic.legacy.sequence import read_sequence

        started = read_sequence(path)
        on_event(GoesOnDifferently(("a model of the old program: a run of ours begins with its weights",)))
        return started


def _alone_with(path: Path, ranks: Ranks, *, must_exist: bool = False) -> AbstractContextManager[Callable[[], bool]]:
    """`hold` the file, which can be written, and sweep where it lies; of several processes the first one does so."""
    if not ranks.first or must_exist and not path.is_file():
        return nullcontext(lambda: False)
    check_writable(path)
    remove_leftovers(path.resolve().parent)
    return hold(path)


def _check_room(path: Path, sizes: ModelConfig, ranks: Ranks) -> None:
    if ranks.first:
        weights = sum(map(math.prod, sizes.shapes().values()))
        check_room(path, CHECKPOINTS_TO_FIT * WEIGHTS_IN_A_CHECKPOINT * 4 * weights)


def _memory_for(sizes: ModelConfig) -> AbstractContextManager[None]:
    weights = sum(map(math.prod, sizes.shapes().values()))
    return memory_told(f"with a model of {weights:,} weights", "give fewer --hidden or --layers")


def _describe_differences(provenance: dict[str, Any], dataset: Dataset) -> dict[str, str]:
    """What a run learns from that is not what it began with, in words by kind."""
    differences = {}
    if provenance.get("corpus") != dataset.corpus_hash:
        count = str(provenance.get("training", "unknown"))[:20]
        differences["corpus"] = (
            f"the corpus is another ({count} tunes to learn from then, {len(dataset.training)} now)"
        )
    if (program := provenance.get("program", "an unknown program")) != PROGRAM:
        differences["program"] = f"{program[:60]} then, {PROGRAM} now"
    return differences


def _read(config: TrainingConfig, vocabulary: AnyVocabulary, watch: _Watch) -> Dataset:
    ranks = watch.ranks
    if ranks.local:
        # What the first process of this computer has read and put into the cache, the others find there.
        ranks.wait()
    dataset = load_dataset(
        vocabulary,
        config.corpus,
        hoyomusic=config.hoyomusic,
        max_samples=config.max_samples,
        seed=config.fit.seed,
        progress=watch.progress,
    )
    if not ranks.local:
        ranks.wait()
    watch.on_event(
        CorpusReady(
            training=len(dataset.training),
            validation=len(dataset.validation),
            tokens=dataset.tokens,
            learned=dataset.learned,
            unsayable=dataset.unsayable,
            notes_per_token=dataset.notes_per_token,
            statistics=dataset.statistics,
        )
    )
    return dataset


def _run(
    config: TrainingConfig,
    model: HoyoMusicLSTM,
    vocabulary: AnyVocabulary,
    dataset: Dataset,
    state: FitState | None,
    watch: _Watch,
) -> FitState:
    ranks = watch.ranks
    tune_allocator()
    ranks.check_same(
        repr((config.fit, model.config, dataset.corpus_hash, None if state is None else state.step)), "run"
    )
    device = choose_device(ranks.device(config.device))
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        if device.index is not None:
            torch.cuda.set_device(device)
    model.to(device)
    provenance = describe_provenance(dataset)
    index = config.out.with_suffix(novelty.SUFFIX)
    written = state is not None

    def write(current: FitState) -> None:
        if not written:
            kept_as = keep_numbered(config.out, (novelty.SUFFIX, SUFFIX))
            if kept_as is not None:
                watch.on_event(ModelKept(config.out, kept_as))
        save(
            Checkpoint(
                config=model.config,
                vocab=vocabulary.to_dict(),
                weights=current.result,
                provenance={**provenance, "validation": _best_epoch(current)},
                training={
                    "epoch": current.epoch,
                    "step": current.step,
                    "run": _config_to_dict(config),
                    "fit": current.to_dict(),
                },
            ),
            config.out,
        )
        if not written or not index.exists():  # behind what was learned, which is the dearer to lose
            novelty.build_index(dataset.corpus).save(index)

    def write_or_stop(current: FitState) -> None:
        nonlocal written
        going_on = f"hoyo resume {shlex.quote(str(config.out))}"
        try:
            write(current)
        except StorageError as error:
            remedy = f"mend that, then go on from the last save: {going_on}" if written else error.remedy
            raise StorageError(error.message, where=error.where, remedy=remedy) from error
        written = True
        if watch.is_removed():
            # Whoever did that does not expect a run that fills the folder again, but nothing is to be lost by it.
            raise StorageError(
                "its folder was removed meanwhile, so the run was saved in a new one and stopped",
                where=str(config.out), remedy=f"go on with: {going_on}",
            )

    settings = replace(config.fit, boundary_id=vocabulary.ids["<boundary>"])
    state = fit(
        model,
        dataset.training,
        dataset.validation,
        settings,
        state=state,
        on_event=watch.on_event,
        should_stop=watch.should_stop,
        save=write_or_stop,
        ranks=ranks,
    )
    # Layer normalisation is for comparison only: such a model makes no tunes. One of characters is not exported.
    if ranks.first and model.config.norm == "batch" and vocabulary.layout != CHARACTERS:
        export_model(config.out)
    return state


def describe_provenance(dataset: Dataset) -> dict[str, Any]:
    """What a model learned from, for its checkpoint."""
    return {
        "program": PROGRAM,
        "corpus": dataset.corpus_hash,
        "licences": list(dataset.statistics["licences"]),
        "tunes": dict(dataset.statistics["regions"]),
        "learned": list(dataset.learned),
        "training": len(dataset.training),
        "validation_tunes": len(dataset.validation),
        "notes_per_token": dataset.notes_per_token,
    }


def _best_epoch(state: FitState) -> dict[str, Any]:
    """The epoch whose weights are kept, as the loop reported it; empty before the first has ended."""
    return min(state.history, key=lambda epoch: epoch["validation_nats_per_token"], default={})


def _config_to_dict(config: TrainingConfig) -> dict[str, Any]:
    """What `resume` needs besides the fit's own state, as plain values."""
    values = asdict(config)
    del values["fit"]
    return {
        **values,
        "corpus": list(config.corpus),
        "out": str(config.out),
        "start": None if config.start is None else str(config.start),
    }


def _config_from_dict(values: Any, path: Path, settings: FitConfig) -> TrainingConfig:
    """What `_config_to_dict` gave, whoever wrote it."""
    kinds: dict[str, tuple[type, ...]] = {
        "corpus": (list,), "hoyomusic": (str, bool, type(None)), "max_samples": (int, type(None)), "device": (str,),
    }
    known = {name: values[name] for name in TrainingConfig.__slots__ if name in values} if type(values) is dict else {}
    if not all(type(known.get(name)) in allowed for name, allowed in kinds.items()) or not all(
        type(source) is str for source in known["corpus"]
    ):
        raise TrainingError(
            "does not tell what it was trained on",
            where=str(path),
            remedy=f"train it further: hoyo train --from {path}",
        )
    return TrainingConfig(**{**known, "corpus": tuple(known["corpus"]), "out": path, "start": None, "fit": settings})
