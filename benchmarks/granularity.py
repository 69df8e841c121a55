"""Which tokens are best: nats per note after equal CPU time, and notes per second, for each layout of the vocabulary.

    python -m benchmarks.granularity --cpu-seconds 400

Each layout says the same tunes without loss, so that nats per note are comparable: the loss of all
tokens of the held-out tunes, divided by their notes. The models have the same layers; only the tables
at their two ends differ in size. Settings are those of `hoyo train`, one seed each.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

from hoyomusic.corpus import load_corpus
from hoyomusic.dataset import Dataset, prepare
from hoyomusic.device import tune_allocator
from hoyomusic.fit import FitConfig, StepDone, fit, measure
from hoyomusic.grammar import CLOCKS
from hoyomusic.model import HoyoMusicLSTM, ModelConfig
from hoyomusic.regions import REGIONS
from hoyomusic.training import TrainingConfig
from hoyomusic.vocab import LAYOUTS, Vocabulary


def train_for(dataset: Dataset, vocabulary: Vocabulary, cpu_seconds: float, settings: FitConfig) -> dict[str, float]:
    """Train a fresh model for so many CPU seconds; nats per note and the speed in notes."""
    sizes = ModelConfig(len(vocabulary), len(REGIONS), CLOCKS, dropout=TrainingConfig().dropout)
    model = HoyoMusicLSTM(sizes, seed=settings.seed)
    settings = replace(settings, boundary_id=vocabulary.ids["<boundary>"])
    began = time.process_time()
    tokens = 0

    def count(event: object) -> None:
        nonlocal tokens
        if isinstance(event, StepDone):
            tokens += event.tokens

    state = fit(
        model,
        dataset.training,
        dataset.validation,
        settings,
        on_event=count,
        should_stop=lambda: time.process_time() - began > cpu_seconds,
    )
    spent = time.process_time() - began
    model.load_state_dict(state.averaged)
    nats = measure(model, dataset.validation)
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "vocabulary": len(vocabulary),
        "tokens_per_note": 1 / dataset.notes_per_token,
        "nats_per_token": nats,
        "nats_per_note": nats / dataset.notes_per_token,
        "notes_per_cpu_second": tokens * dataset.notes_per_token / spent,
        "cpu_seconds": spent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu-seconds", type=float, default=400)
    parser.add_argument("--layout", action="append", choices=LAYOUTS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tune_allocator()
    corpus = load_corpus()
    for layout in arguments.layout or LAYOUTS:
        vocabulary = Vocabulary.build(layout)
        settings = FitConfig(epochs=1000, patience=1000, seed=arguments.seed)
        result = train_for(prepare(corpus, vocabulary), vocabulary, arguments.cpu_seconds, settings)
        print(json.dumps({"layout": layout, **{name: round(value, 4) for name, value in result.items()}}), flush=True)


if __name__ == "__main__":
    main()
