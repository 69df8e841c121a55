"""Do the nations differ, and is each nearest to its own tunes: metre, mode and intervals of generated and real music.

    python -m benchmarks.nations [MODEL] [--count 50]

The first table says what `count` tunes of each nation are like; the second how far their intervals lie
from those of the real tunes of each learned nation, as Jensen-Shannon divergence in bits (Lin 1991), ties
joined, rests left out, repeats not played, leaps clipped at an octave. Its last row is the distance
between two halves of as many real tunes: what chance alone gives.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from math import log2

from hoyomusic.corpus import load_corpus
from hoyomusic.generator import HoyoMusicGenerator, Request
from hoyomusic.regions import REGIONS
from hoyomusic.tune import Tune

LARGEST_INTERVAL = 12


def intervals(tunes: Iterable[Tune]) -> Counter[int]:
    """How often each melodic interval, in semitones, follows in the tunes."""
    found: Counter[int] = Counter()
    for tune in tunes:
        before, tied = None, False
        for note in tune.notes():
            if not note.pitches:
                continue
            if before is not None and not tied:
                found[max(-LARGEST_INTERVAL, min(LARGEST_INTERVAL, note.top.midi - before))] += 1
            before, tied = note.top.midi, bool(note.ties)
    return found


def divergence(one: Counter[int], other: Counter[int]) -> float:
    """Jensen-Shannon divergence in bits of two histograms."""

    def information(counts: Counter[int]) -> float:
        found = 0.0
        for kind, count in counts.items():
            share = count / counts.total()
            mean = (one[kind] / one.total() + other[kind] / other.total()) / 2
            found += share * log2(share / mean)
        return found

    return (information(one) + information(other)) / 2


def shares(values: Sequence[str]) -> str:
    """The three most frequent values with their share in percent."""
    return ", ".join(f"{name} {100 * count / len(values):.0f}" for name, count in Counter(values).most_common(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    generator = HoyoMusicGenerator.load(arguments.model)
    corpus = load_corpus()
    learned = [region for region in REGIONS if region.label and region.name in generator.provenance["learned"]]
    real = {region: [entry.tune for entry in corpus.tunes if entry.region == region.label] for region in learned}
    histograms = {region: intervals(tunes) for region, tunes in real.items()}

    print(
        f"{arguments.count} tunes of each nation, seed {arguments.seed}, model {generator.identity[:12]}; in percent"
    )
    rows = []
    for region in REGIONS:
        request = Request(region.name, count=arguments.count, seed=arguments.seed)
        made = [composition.tune for composition in generator.compose(request)]
        found = intervals(made)
        steps = sum(count for interval, count in found.items() if 1 <= abs(interval) <= 2) / found.total()
        metres, modes = shares([str(tune.metre) for tune in made]), shares([tune.key.mode for tune in made])
        faults = sum(bool(tune.faults()) for tune in made)
        print(
            f"{region.name:<10} metre {metres:<28} mode {modes:<34} steps {100 * steps:.0f}, tunes with faults {faults}"
        )
        rows.append((region.name, found))
    print(f"\n{'bits from real':<16}" + "".join(f"{region.name:>12}" for region in learned))
    for name, found in rows:
        print(f"{name:<16}" + "".join(f"{divergence(found, histograms[region]):>12.4f}" for region in learned))
    halves = [
        divergence(intervals(tunes[: arguments.count]), intervals(tunes[arguments.count :])) for tunes in real.values()
    ]
    print(f"{'(chance)':<16}" + "".join(f"{value:>12.4f}" for value in halves))


if __name__ == "__main__":
    main()
