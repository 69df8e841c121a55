"""The same-data benchmark: trains on the published training split, scores every validation token, prints the table.

    python -m benchmarks.folkwiki [--rows levers alone default] [--cpu-seconds 1500] [--hidden 512] [--scratch DIR]

``levers`` trains small networks for a short time, one lever more each; ``alone`` is the training split by
itself; ``default`` adds the default corpus. Nothing is chosen by the validation split: weights of the
mixture come from training tunes kept aside ("kept aside" in the table). A run that was cut off goes on from
the scratch folder; nothing is written elsewhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.folkwiki import cache, learning
from benchmarks.folkwiki.data import FOLDER, Data, Material, load, prepare, read_tunes
from benchmarks.folkwiki.learning import Plan, Progress
from benchmarks.folkwiki.network import LEVERS, Network, NetworkConfig
from benchmarks.folkwiki.tokens import Language
from hoyomusic.device import tune_allocator

ROWS = ("levers", "alone", "default")
LEVERS_HIDDEN, LEVERS_SECONDS = 192, 40.0
PUBLISHED = """published, 3 x LSTM-800, pretrained          1.0607   196.97   (13.77 M parameters)
published, the same without dropout          1.1517   213.85   (13.77 M)
plain trial, 3 x LSTM-512, one CPU-hour      1.327             (5.9 M)
plain trial with the default corpus          1.300             (5.9 M)"""
CAUTIONS = """The published pretraining split was drawn afresh over two collections, so most of these validation tunes
were probably seen in pretraining; and the published vocabulary had 226 types (both collections), 155 of them
in these tunes. The published figures are of networks alone; ours also looks up the training tunes and the tune."""


@dataclasses.dataclass(frozen=True)
class Score:
    """Losses of every validation target in nats, and the parts that the table tells apart."""

    losses: np.ndarray
    tunes: np.ndarray
    twins: np.ndarray
    escapes: float

    def line(self, name: str, kept_aside: float, remark: str = "") -> str:
        """A line of the table."""
        total = self.losses.sum() + self.escapes
        return (
            f"{name:<44} {total / len(self.losses):.4f}   {total / len(self.twins):6.2f}"
            f"   kept aside {kept_aside:.4f}  {remark}"
        )

    @property
    def without_twins(self) -> float:
        """Nats per token of the validation tunes that have no near duplicate in the published training split."""
        return float(self.losses[~self.twins[self.tunes]].mean())


def score(losses: np.ndarray, at: np.ndarray, data: Data, material: Material, language: Language) -> Score:
    """The losses at the positions `at` of the validation tunes, with what words outside the language cost."""
    tunes = np.searchsorted(material.edges, at, side="right") - 1
    return Score(
        losses, tunes, np.array(data.twins), sum(language.escape_nats(words) for words in data.validation.words)
    )


def read_out(network: Network, material: Material) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (N,), the log-probabilities there (N, V), and the losses (N,)."""
    at, logs = (np.concatenate(parts) for parts in zip(*learning.score(network, material), strict=True))
    return at, logs, -logs[np.arange(len(at)), material.ids[at + 1]]


def tell(data: Data, language: Language, material: dict[str, Material]) -> None:
    """What is trained on, what was taken out, and what the vocabulary covers."""
    seen = np.zeros(len(language), bool)
    learning_ids = material["training"].ids
    seen[learning_ids] = True
    judged = material["validation"].ids
    print(
        f"training {len(data.training)} tunes, {len(learning_ids) - len(data.training)} targets, of which folkwiki "
        f"{sum(data.training.from_folkwiki)} tunes; kept aside {len(data.development)}; "
        f"validation {len(data.validation)} tunes, {len(judged) - len(data.validation)} targets\n"
        f"near duplicates of validation tunes taken out: {data.removed[0]} of the training split ({data.exact} exact), "
        f"{data.removed[1]} of the default corpus; {sum(data.twins)} validation tunes had one in the training split\n"
        f"{data.outside} tunes of the default corpus have no words here; {len(language)} ids, validation targets of "
        f"ids never seen in training: {int((~seen[judged]).sum())}", flush=True,
    )


def run_levers(folder: Path, scratch: Path, seconds: float) -> list[str]:
    """Lines of the table: small networks, one lever more each."""
    data = load(folder)
    published = read_tunes(folder / "train.txt")
    lines = []
    trials: list[tuple[str, bool, Sequence[str], bool]] = [("absolute pitches", False, (), True)]
    trials += [
        (f"+ {name}" if name else "relative pitches", True, tuple(LEVERS)[:count], True)
        for count, name in enumerate(("", *LEVERS))
    ]
    trials += [("all, candidates as inputs only, no gates", True, tuple(LEVERS), False)]
    prepared: dict[bool, tuple[Language, dict[str, Material]]] = {}
    for number, (name, relative, levers, gates) in enumerate(trials):
        if relative not in prepared:
            language = Language.of(published, relative=relative)
            prepared[relative] = language, prepare(data, language)
        language, material = prepared[relative]
        config = NetworkConfig(len(language), hidden=LEVERS_HIDDEN, levers=tuple(levers), gates=gates)
        done: list[Progress] = []
        average, _ = learning.train(config, material, Plan(seconds), scratch / f"lever-{number}.pt", done.append)
        at, _, losses = read_out(average, material["validation"])
        lines.append(score(losses, at, data, material["validation"], language).line(
            name, learning.nats_per_token(average, material["development"]),
            f"{done[-1].tokens / 1e6:.2f} M tokens" if done else "",
        ))
        print(lines[-1], flush=True)
    return lines


def run_row(name: str, folder: Path, scratch: Path, config: NetworkConfig, plan: Plan) -> list[str]:
    """Lines of the table: the last weights, their average, the mixture."""
    language = Language.of(read_tunes(folder / "train.txt"))
    data = load(folder, with_default=name == "default")
    material = prepare(data, language)
    tell(data, language, material)

    def report(done: Progress) -> None:
        print(
            f"{name} epoch {done.epoch}: {done.tokens / 1e6:.2f} M tokens, {done.cpu_seconds:.0f} CPU s, "
            f"training {done.training:.4f}, kept aside {done.development:.4f} "
            f"(not averaged {done.development_without_averaging:.4f})", flush=True,
        )

    config = dataclasses.replace(config, vocabulary=len(language))
    average, last = learning.train(config, material, plan, scratch / f"{name}.pt", report)
    size = sum(weight.numel() for weight in average.parameters()) / 1e6
    judged, aside = material["validation"], material["development"]
    lines = []
    for title, network in (("last weights", last), ("averaged weights", average)):
        at, logs, losses = read_out(network, judged)
        aside_at, aside_logs, aside_losses = read_out(network, aside)
        found = score(losses, at, data, judged, language)
        lines.append(found.line(f"{name}: {title}", aside_losses.mean(), f"{size:.1f} M parameters"))
    aside_experts = cache.stack(aside_logs, aside_at, cache.foretell(aside, material["training"], len(language)))
    experts = cache.stack(logs, at, cache.foretell(judged, material["training"], len(language)))
    mixture = cache.Mixture().fit(aside_experts, aside, aside_at)
    mixed = score(mixture.losses(experts, judged, at), at, data, judged, language)
    fitted_elsewhere = _fit_crosswise(aside_experts, aside, aside_at)
    lines.append(mixed.line(f"{name}: and contexts of tune and corpus", fitted_elsewhere))
    lines.append(
        f"{name}: without the {sum(data.twins)} tunes with near duplicates in the published training split: "
        f"{mixed.without_twins:.4f} ({found.without_twins:.4f} by the network)"
    )
    print("\n".join(lines), flush=True)
    return lines


def _fit_crosswise(experts: torch.Tensor, material: Material, at: np.ndarray) -> float:
    """The mixture's loss on tunes that it was not fitted on: each half of them by the other's powers."""
    odd = (np.searchsorted(material.edges, at, side="right") - 1) % 2 == 1
    losses = []
    for half in (odd, ~odd):
        chosen = torch.from_numpy(half)
        fitted = cache.Mixture().fit(experts[:, ~chosen], material, at[~half])
        losses.append(fitted.losses(experts[:, chosen], material, at[half]))
    return float(np.concatenate(losses).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--cpu-seconds", type=float, default=1500.0, help="of training, for each of alone and default")
    parser.add_argument("--levers-cpu-seconds", type=float, default=LEVERS_SECONDS, help="of training, for each lever")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder with train.txt and validation.txt")
    parser.add_argument("--scratch", type=Path, help="where weights are kept; without it they are not")
    wish = parser.parse_args()
    if not (wish.data / "train.txt").exists():
        parser.exit(1, f"{wish.data} has no train.txt: the tunes are not part of this project (see README.md here)\n")
    torch.set_num_threads(1)
    tune_allocator()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = wish.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        lines = []
        for row in wish.rows:
            if row == "levers":
                lines += run_levers(wish.data, scratch, wish.levers_cpu_seconds)
            else:
                config = NetworkConfig(1, hidden=wish.hidden, dropout=wish.dropout)
                lines += run_row(row, wish.data, scratch, config, Plan(wish.cpu_seconds))
    print(f"\n{'':<44} nats/token nats/tune")
    print("\n".join(lines), PUBLISHED, CAUTIONS, sep="\n")


if __name__ == "__main__":
    main()
