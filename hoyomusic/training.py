"""One training run: corpus -> ids -> packed batches -> fit -> checkpoint, and the way to go on with it.

`train` starts a run, `resume` goes on with one, exactly.
Both write the checkpoint whenever the loop asks for it, so that nothing learned is lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hoyomusic import __version__, novelty
from hoyomusic.checkpoint import DEFAULT_MODEL, USER_MODEL, Checkpoint, load, save
from hoyomusic.dataset import Dataset, load_dataset
from hoyomusic.device import choose_device, tune_allocator
from hoyomusic.errors import TrainingError, UsageError
from hoyomusic.export import SUFFIX, export_model
from hoyomusic.fit import Event, FitConfig, FitState, fit
from hoyomusic.grammar import CLOCKS
from hoyomusic.model import HoyoMusicLSTM, ModelConfig
from hoyomusic.ranks import ALONE, Ranks
from hoyomusic.recall import SOURCES
from hoyomusic.regions import REGIONS
from hoyomusic.storage import check_writable, free_path
from hoyomusic.vocab import Vocabulary


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


RunEvent = Event | CorpusReady | ModelKept


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
    that is absent, a target that cannot be written, a start that is no model, numbers out of bounds.

    Where `ranks` are several processes, each calls this; the first one alone writes. Events come in each.
    """
    if ranks.first:
        check_writable(config.out)
    started = None if config.start is None else load(config.start)
    vocabulary = Vocabulary.build(config.layout) if started is None else Vocabulary.from_dict(started.vocab)
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
            started.config, dropout=config.dropout, weight_dropout=config.weight_dropout, recalls=SOURCES
        )
    dataset = _read(config, vocabulary, on_event, progress, ranks)
    model = HoyoMusicLSTM(sizes, seed=config.fit.seed)
    if started is not None:
        # A model that never heard its own past is given a recall that does nothing yet.
        model.load_state_dict({**model.state_dict(), **started.weights})
    return _run(config, model, vocabulary, dataset, None, on_event, should_stop, ranks)


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

    Raises TrainingError for a model without a training state, a run that is finished, and a corpus that
    is no longer the same, unless `force` says to go on with it all the same.
    """
    checkpoint = load(path)
    if checkpoint.training is None or "fit" not in checkpoint.training:
        raise TrainingError(
            "this model carries no training state",
            where=str(path),
            remedy=f"train it further: hoyo train --from {path}",
        )
    state = FitState.from_dict(checkpoint.training["fit"])
    wished = {"epochs": epochs, "learning_rate": learning_rate}
    settings = FitConfig(**{**state.config, **{name: value for name, value in wished.items() if value is not None}})
    if learning_rate is not None:
        state.learning_rate = learning_rate
    if state.epoch >= settings.epochs:
        raise TrainingError(
            f"all {state.epoch} epochs are done", where=str(path), remedy=f"ask for more: --epochs {state.epoch + 10}"
        )
    config = _config_from_dict(checkpoint.training["run"], path, settings)
    if state.waited >= settings.patience:
        raise TrainingError(
            f"nothing was gained in the last {state.waited} epochs",
            where=str(path),
            remedy=f"train it further: hoyo train --from {path}",
        )
    vocabulary = Vocabulary.from_dict(checkpoint.vocab)
    dataset = _read(config, vocabulary, on_event, progress, ranks)
    if dataset.corpus_hash != checkpoint.provenance["corpus"] and not force:
        raise TrainingError(
            "the corpus is not the one this run began with",
            where=str(path),
            remedy="add --force to go on with the new one, or use hoyo train --from",
        )
    model = HoyoMusicLSTM(checkpoint.config)
    return _run(config, model, vocabulary, dataset, state, on_event, should_stop, ranks)


def _read(
    config: TrainingConfig,
    vocabulary: Vocabulary,
    on_event: Callable[[RunEvent], None],
    progress: Callable[[str, int], None] | None,
    ranks: Ranks,
) -> Dataset:
    if ranks.local:
        # What the first process of this computer has read and put into the cache, the others find there.
        ranks.wait()
    dataset = load_dataset(
        vocabulary,
        config.corpus,
        hoyomusic=config.hoyomusic,
        max_samples=config.max_samples,
        seed=config.fit.seed,
        progress=progress,
    )
    if not ranks.local:
        ranks.wait()
    on_event(
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
    vocabulary: Vocabulary,
    dataset: Dataset,
    state: FitState | None,
    on_event: Callable[[RunEvent], None],
    should_stop: Callable[[], bool],
    ranks: Ranks,
) -> FitState:
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
    written = state is not None

    def write(current: FitState) -> None:
        nonlocal written
        index, exported = (config.out.with_suffix(suffix) for suffix in (novelty.SUFFIX, SUFFIX))
        if not written and config.out.exists():
            kept_as = free_path(config.out)
            os.replace(config.out, kept_as)
            for beside in (index, exported):
                if beside.exists():
                    os.replace(beside, kept_as.with_suffix(beside.suffix))
            on_event(ModelKept(config.out, kept_as))
        if not written or not index.exists():
            novelty.build_index(dataset.corpus).save(index)
        written = True
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

    settings = replace(config.fit, boundary_id=vocabulary.ids["<boundary>"])
    state = fit(
        model,
        dataset.training,
        dataset.validation,
        settings,
        state=state,
        on_event=on_event,
        should_stop=should_stop,
        save=write,
        ranks=ranks,
    )
    # Layer normalisation is for comparison only: such a model makes no tunes.
    if ranks.first and model.config.norm == "batch":
        export_model(config.out)
    return state


def describe_provenance(dataset: Dataset) -> dict[str, Any]:
    """What a model learned from, for its checkpoint."""
    return {
        "program": f"HoyoMusic {__version__}",
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


def _config_from_dict(values: dict[str, Any], path: Path, settings: FitConfig) -> TrainingConfig:
    known = {name: values[name] for name in TrainingConfig.__slots__ if name in values}
    return TrainingConfig(**{**known, "corpus": tuple(values["corpus"]), "out": path, "start": None, "fit": settings})
