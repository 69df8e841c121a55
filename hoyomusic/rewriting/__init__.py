"""New bars into a tune that there is: `infill` fills a span anew, `vary` changes some bars; all others stay.

    generator = HoyoMusicGenerator.load()
    rewriting = infill(generator, tune, 5, 8, RewritingConfig(seed=7))
    rewriting = vary(generator, tune, 0.3)

::

    hearing.py    the tune as ids, bar by bar
    filling.py    which ids fill a bar
    listening.py  the model, stepped in one place
    particles.py  a search that hears what follows the span
    rewriter.py   a tune whose bars are made blank and filled
    variation.py  which bars a variation changes

Of the bars that change the signs stay too (repeats, endings, changes of key and metre, bar lines), and their
lengths: new are the notes alone, without grace notes and chord symbols. A tie that leads into a span from a
bar that stays is kept; none leads out of it. Bars are counted as musicians do, in the order in which they are
written: an upbeat has no number, and is rewritten where it stands between two bars of the span.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count, groupby

from hoyomusic.errors import UsageError
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.provenance import name_maker
from hoyomusic.regions import Region, find_region
from hoyomusic.request import SAMPLING_OPTIONS, check_seed
from hoyomusic.rewriting.particles import SearchConfig
from hoyomusic.rewriting.rewriter import Rewriter
from hoyomusic.rewriting.variation import choose_groups
from hoyomusic.runtime import one_thread
from hoyomusic.sampling import SamplingConfig
from hoyomusic.score import region_of
from hoyomusic.tune import Tune
from hoyomusic.vocab import find_upbeats

# How strongly, in nats, a variation favours the old pitches on the beats; less of it the larger the amount.
LARGEST_FAVOUR = 4.0

MOST_PARTICLES = 1024

# Called with how many bars are done and how many there will be.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RewritingConfig:
    """How to rewrite: the nation (None: the one that the tune names), the seed, how many candidates, how ids are drawn.

    Raises UsageError for a value out of bounds.
    """

    region: str | None = None
    seed: int = 0
    particles: int = 32
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def nation(self, tune: Tune) -> Region:
        """The nation as which the model hears a tune."""
        return region_of(tune, None if self.region is None else find_region(self.region))

    def __post_init__(self) -> None:
        if self.region is not None:
            find_region(self.region)
        check_seed(self.seed)
        if not 1 <= self.particles <= MOST_PARTICLES:
            raise UsageError(
                f"{self.particles} candidates", where="--particles", remedy=f"ask for 1 to {MOST_PARTICLES}"
            )


@dataclass(frozen=True, slots=True)
class Rewriting:
    """A tune that was rewritten: `changed` are the indices of its new bars, `numbers` the same as musicians count.

    Upbeats among the new bars have no number. `tokens` counts the ids of the whole tune, `nats_before` and
    `nats_after` are their log-likelihood as the model heard it before and after, in nats (below 0, nearer is likelier).
    """

    tune: Tune
    region: Region
    changed: tuple[int, ...]
    numbers: tuple[int, ...]
    seed: int
    model: str
    tokens: int
    nats_before: float
    nats_after: float


def infill(
    generator: HoyoMusicGenerator,
    tune: Tune,
    first: int,
    last: int,
    config: RewritingConfig = RewritingConfig(),
    progress: Progress = lambda done, total: None,
) -> Rewriting:
    """The tune with new bars from number `first` to number `last`, both counted from 1, that fit those around them.

    Every new bar is another one than it was. Raises UsageError for bars that the tune does not have, a bar that no
    notes can fill, and a tune that the model cannot hear.
    """
    work = Rewriter(generator, tune, config.nation(tune))
    numbers, asked = number_bars(tune), f"{first}" if first == last else f"{first}-{last}"
    if not 1 <= first <= last <= max(numbers):
        raise UsageError(
            f"there are no bars {asked}", where="--bars", remedy=f"the tune has bars 1-{max(numbers)}"
        )
    span = range(numbers.index(first), numbers.index(last) + 1)
    for index in span:
        if not work.may_change(index):
            raise UsageError(
                f"no notes can fill {_name_bar(numbers[index])}, which lasts {tune.bars[index].length}",
                where="--bars",
                remedy="choose other bars",
            )
    search = SearchConfig(config.particles, config.seed, config.sampling)
    with one_thread():
        before = work.nats()
        work.rewrite(span, search, _telling(progress, len(span)))
        return _finish(generator, tune, work, before, config, f"infill --bars {asked}")


def vary(
    generator: HoyoMusicGenerator,
    tune: Tune,
    amount: float,
    config: RewritingConfig = RewritingConfig(),
    progress: Progress = lambda done, total: None,
) -> Rewriting:
    """The tune with a share of its bars changed: `amount` from 0 to 1, rounded to whole bars, one at least above 0.

    Form, key and cadences stay: bars with the same notes change alike, each time they return; upbeats, the last bar of
    each section and ending and of the tune never change, the first bars of sections only when no others are left; so an
    amount near 1 changes less than it asks for. On the beats the old pitches are favoured, by `LARGEST_FAVOUR` nats
    times (1 - amount). Raises UsageError for an amount out of bounds, a tune in which no bar may change, and one that
    the model cannot hear.
    """
    if not 0 <= amount <= 1:
        raise UsageError(f"{amount:g}", where="--amount", remedy="give a share from 0 to 1")
    work = Rewriter(generator, tune, config.nation(tune))
    groups = choose_groups(tune, amount, config.seed, work.may_change) if amount else []
    twins = {group[0]: group for group in groups}
    search = SearchConfig(config.particles, config.seed, config.sampling, favour=LARGEST_FAVOUR * (1 - amount))
    told = _telling(progress, len(groups))
    with one_thread():
        before = work.nats()
        for _, run in groupby(enumerate(sorted(twins)), lambda pair: pair[1] - pair[0]):
            work.rewrite([index for _, index in run], search, told, twins)
        return _finish(generator, tune, work, before, config, f"vary --amount {amount:g}")


def read_bars(text: str) -> tuple[int, int]:
    """The first and last number of ``5-8`` or ``5``; raises UsageError for anything else."""
    match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", text.strip())
    if match is None:
        raise UsageError(f"{text!r} names no bars", where="--bars", remedy="write 5-8, or 5 for a single bar")
    return int(match[1]), int(match[2] or match[1])


def number_bars(tune: Tune) -> list[int]:
    """The number of each bar as musicians count, from 1; upbeats have 0."""
    numbers, number = [], 0
    for upbeat in find_upbeats(tune):
        number += not upbeat
        numbers.append(0 if upbeat else number)
    return numbers


def describe_config(config: RewritingConfig) -> str:
    """The options that, with model, seed and what is rewritten, make the same tune again."""
    plain = RewritingConfig()
    chosen, usual = config.sampling, plain.sampling
    options = [
        ("region", None if config.region is None else find_region(config.region).name, None),
        ("particles", config.particles, plain.particles),
        *((name, getattr(chosen, name), getattr(usual, name)) for name in SAMPLING_OPTIONS),
    ]
    # A value is written in one way however it was asked for: 1 as 1.0 where fractions are possible.
    kinds = {name: type(other) for name, _, other in options if other is not None} | {"region": str}
    return "".join(
        f" --{name.replace('_', '-')} {kinds[name](value)}" for name, value, other in options if value != other
    )


def _telling(progress: Progress, total: int) -> Callable[[], None]:
    """What tells `progress` of one more bar each time it is called."""
    done = count(1)
    return lambda: progress(next(done), total)


def _name_bar(number: int) -> str:
    return f"bar {number}" if number else "an upbeat"


def _finish(
    generator: HoyoMusicGenerator, old: Tune, work: Rewriter, before: float, config: RewritingConfig, what: str
) -> Rewriting:
    """The result; its header is the old one with a line more in its notes."""
    line = f"{name_maker(generator.identity)}, seed {config.seed}, {what}{describe_config(config)}"
    notes = "\n".join(text for text in (old.header.notes, line) if text)
    numbers = number_bars(old)
    changed = tuple(
        index for index, (bar, new) in enumerate(zip(old.bars, work.tune.bars, strict=True)) if bar != new
    )
    return Rewriting(
        tune=replace(work.tune, header=replace(old.header, notes=notes)),
        region=config.nation(old),
        changed=changed,
        numbers=tuple(numbers[index] for index in changed if numbers[index]),
        seed=config.seed,
        model=generator.identity,
        tokens=len(work.heard.ids),
        nats_before=before,
        nats_after=work.nats(),
    )
