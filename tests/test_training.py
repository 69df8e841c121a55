"""Runs from corpus to checkpoint: what is counted, what is kept, and that going on changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hoyomusic.checkpoint import load, save
from hoyomusic.corpus import load_corpus
from hoyomusic.errors import TrainingError, UsageError
from hoyomusic.evaluation.likelihood import NGram
from hoyomusic.fit import EpochEnded, FitConfig, StepDone
from hoyomusic.novelty import NoveltyIndex, find_index
from hoyomusic.recall import SOURCES
from hoyomusic.training import PROGRAM, CorpusReady, GoesOnDifferently, TrainingConfig, resume, train
from tests.conftest import BOOK

FIT = FitConfig(epochs=4, rows=2, steps=24, learning_rate=0.01, precision="fp32", averaging=0.9)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOYOMUSIC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOYOMUSIC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tunes(tmp_path: Path) -> Path:
    """The book without its nations, so that one of its tunes judges the others."""
    path = tmp_path / "tunes.abc"
    lines = BOOK.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("%%hoyo-region")), encoding="utf-8")
    return path


@pytest.fixture
def config(tunes: Path, tmp_path: Path) -> TrainingConfig:
    return TrainingConfig(
        corpus=(str(tunes),), out=tmp_path / "m.pth", embedding=4, hidden=8, layers=2, dropout=0.2, fit=FIT
    )


def equal(one: object, other: object) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def without_times(values: dict) -> dict:
    """A fit's state without what a clock told."""
    history = [{name: value for name, value in epoch.items() if name != "cpu_seconds"} for epoch in values["history"]]
    return {**values, "history": history, "cpu_seconds": 0, "config": {**values["config"], "epochs": 0}}


def test_a_paused_run_ends_like_one_in_one_go(config: TrainingConfig, tmp_path: Path) -> None:
    train(config)
    pieces = replace(config, out=tmp_path / "pieces.pth")
    train(replace(pieces, fit=replace(FIT, epochs=1)))
    steps = 0

    def stop_in_the_middle() -> bool:
        nonlocal steps
        steps += 1
        return steps == 5

    resume(pieces.out, epochs=4, should_stop=stop_in_the_middle)
    assert load(pieces.out).training["fit"]["segment"] > 0
    resume(pieces.out)
    whole, paused = load(config.out), load(pieces.out)
    assert whole.training["epoch"] == paused.training["epoch"] == 4
    assert equal(whole.weights, paused.weights)
    assert equal(without_times(whole.training["fit"]), without_times(paused.training["fit"]))


def test_events_and_provenance_tell_the_run(config: TrainingConfig) -> None:
    events = []
    train(config, on_event=events.append)
    ready = events[0]
    assert isinstance(ready, CorpusReady)
    assert (ready.training, ready.validation) == (7, 1)
    epochs = [event for event in events if isinstance(event, EpochEnded)]
    assert [epoch.tokens for epoch in epochs] == [ready.tokens] * 4
    assert sum(event.tokens for event in events if isinstance(event, StepDone)) == 4 * ready.tokens
    assert epochs[-1].nats_per_token < epochs[0].nats_per_token
    provenance = load(config.out).provenance
    assert provenance["corpus"] == load_corpus(config.corpus).hash
    assert provenance["validation"]["validation_nats_per_token"] == min(
        epoch.validation_nats_per_token for epoch in epochs
    )


def test_an_index_of_the_training_tunes_lies_beside_the_model(config: TrainingConfig) -> None:
    train(replace(config, fit=replace(FIT, epochs=1)))
    corpus = load_corpus(config.corpus)
    index = NoveltyIndex.load(find_index(config.out))
    assert index.corpus == load(config.out).provenance["corpus"] == corpus.hash
    assert len(index.names) == len(corpus.of_split("train"))
    train(replace(config, max_samples=4, fit=replace(FIT, epochs=1)))
    kept = config.out.with_name("m-2.pth")
    assert NoveltyIndex.load(find_index(kept)).corpus == corpus.hash
    assert NoveltyIndex.load(find_index(config.out)).corpus == load(config.out).provenance["corpus"] != corpus.hash


def test_a_model_without_recall_learns_to_recall(config: TrainingConfig, tmp_path: Path) -> None:
    train(replace(config, fit=replace(FIT, epochs=1)))
    old = load(config.out)
    weights = {name: weight for name, weight in old.weights.items() if not name.startswith("recall")}
    path = tmp_path / "old.pth"
    save(replace(old, config=replace(old.config, recalls=0), weights=weights, training=None), path)
    train(replace(config, out=tmp_path / "new.pth", start=path, fit=replace(FIT, epochs=1)))
    new = load(tmp_path / "new.pth")
    assert new.config.recalls == SOURCES
    assert new.weights["recall_bias"].abs().max() > 0


def test_a_changed_corpus_is_not_trained_on_in_silence(config: TrainingConfig, tunes: Path) -> None:
    train(replace(config, fit=replace(FIT, epochs=1)))
    text = tunes.read_text(encoding="utf-8")
    tunes.write_text(text[: text.rindex("X:")], encoding="utf-8")
    with pytest.raises(TrainingError, match=r"another \(7 tunes to learn from then, 6 now\); add --force"):
        resume(config.out, epochs=2)
    events = []
    assert resume(config.out, epochs=2, force=True, on_event=events.append).epoch == 2
    assert GoesOnDifferently(("the corpus is another (7 tunes to learn from then, 6 now)",)) in events
    assert load(config.out).provenance["corpus"] == load_corpus(config.corpus).hash


def test_on_another_corpus_neither_the_place_in_the_epoch_nor_the_best_value_count(
    config: TrainingConfig, tunes: Path
) -> None:
    train(replace(config, fit=replace(FIT, epochs=1)))
    stopped = resume(config.out, epochs=3, should_stop=lambda: True)
    assert stopped.segment > 0
    text = tunes.read_text(encoding="utf-8")
    tunes.write_text(text[: text.rindex("X:")], encoding="utf-8")
    events = []
    state = resume(config.out, epochs=2, force=True, on_event=events.append)
    first = next(event for event in events if isinstance(event, StepDone))
    assert (first.epoch, first.segment, first.step) == (1, 1, stopped.step + 1)
    (ended,) = (event for event in events if isinstance(event, EpochEnded))
    assert ended.best and state.best == ended.validation_nats_per_token


def test_another_program_is_named_and_goes_on_only_if_told(config: TrainingConfig) -> None:
    train(replace(config, fit=replace(FIT, epochs=1)))
    loaded = load(config.out)
    save(replace(loaded, provenance={**loaded.provenance, "program": "HoyoMusic 0.0.1"}), config.out)
    with pytest.raises(TrainingError, match=f"as before: HoyoMusic 0.0.1 then, {PROGRAM} now; add --force"):
        resume(config.out, epochs=2)
    assert resume(config.out, epochs=2, force=True).epoch == 2
    assert load(config.out).provenance["program"] == PROGRAM


def test_another_vocabulary_is_refused(config: TrainingConfig) -> None:
    train(replace(config, fit=replace(FIT, epochs=1)))
    loaded = load(config.out)
    tokens = list(loaded.vocab["tokens"])
    tokens[5], tokens[6] = tokens[6], tokens[5]
    save(replace(loaded, vocab={**loaded.vocab, "tokens": tokens}), config.out)
    with pytest.raises(TrainingError, match="m.pth: a vocabulary with other tokens"):
        resume(config.out, epochs=2, force=True)


@pytest.mark.parametrize("values", [None, {}, {"corpus": [3]}, {"corpus": "default"}])
def test_a_run_that_does_not_say_what_it_learned_from_is_refused(config: TrainingConfig, values: object) -> None:
    train(replace(config, fit=replace(FIT, epochs=1)))
    loaded = load(config.out)
    said = {**loaded.training["run"], **values} if values else values
    save(replace(loaded, training={**loaded.training, "run": said}), config.out)
    with pytest.raises(TrainingError, match="m.pth: does not tell what it was trained on; train it further"):
        resume(config.out, epochs=2)


def test_going_on_at_another_rate(config: TrainingConfig) -> None:
    train(replace(config, fit=replace(FIT, epochs=1)))
    events = []
    resume(config.out, epochs=2, learning_rate=0.0005, on_event=events.append)
    (epoch,) = (event for event in events if isinstance(event, EpochEnded))
    assert (epoch.epoch, epoch.learning_rate) == (2, 0.0005)
    with pytest.raises(UsageError, match="learning_rate is nan"):
        resume(config.out, epochs=3, learning_rate=float("nan"))


def test_a_finished_run_says_so(config: TrainingConfig) -> None:
    train(replace(config, fit=replace(FIT, epochs=1)))
    with pytest.raises(TrainingError, match="all 1 epochs are done; ask for more: --epochs 11"):
        resume(config.out)
    loaded = load(config.out)
    save(replace(loaded, training={"epoch": 1, "step": 9}), config.out)
    with pytest.raises(
        TrainingError, match="this model carries no training state; train it further: hoyo train --from"
    ):
        resume(config.out)
    waited = {**loaded.training["fit"], "waited": FIT.patience}
    save(replace(loaded, training={**loaded.training, "fit": waited}), config.out)
    with pytest.raises(TrainingError, match="nothing was gained in the last 5 epochs; train it further"):
        resume(config.out, epochs=9)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="--max-samples: 1 tunes"):
        TrainingConfig(max_samples=1)


def test_the_ngram_of_the_benchmark_is_a_distribution() -> None:
    ngram = NGram([[0, 1, 2, 1, 2, 3], [0, 2, 1, 3]], vocabulary=5)
    for history in ((), (0,), (1, 2), (4, 4), (0, 1, 2, 1)):
        assert sum(ngram.probability(history, following) for following in range(5)) == pytest.approx(1)
    # By hand: behind 0 come 1 and 2, once each; the unigram counts are 1: 3, 2: 3, 3: 2 of 8, with 3 kinds.
    unigram = (3 + 3 / 5) / (8 + 3)
    assert ngram.probability((0,), 1) == pytest.approx((1 + 2 * unigram) / (2 + 2))
