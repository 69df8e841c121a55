"""`hoyo infill` and `hoyo vary`: new bars into a tune that there is."""

from __future__ import annotations

import os
import secrets
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoyomusic.cli.console import count_progress, examples, given, say
from hoyomusic.cli.generate import SEEDS_DRAWN, USUAL_FORMATS
from hoyomusic.cli.report import Report
from hoyomusic.cli.sources import read_tune
from hoyomusic.cli.targets import LONGEST_STEM, plan_targets, short_stem

if TYPE_CHECKING:
    from hoyomusic.generator import HoyoMusicGenerator
    from hoyomusic.rewriting import Rewriting, RewritingConfig

INFILL_EXAMPLES = examples(
    "hoyo infill tune.abc --bars 5-8",
    "hoyo infill tune.abc --bars 12 --seed 7 -o new.abc",
    "hoyo infill tune.abc --bars 1-4 --region Liyue --particles 64 --format abc,wav",
)
VARY_EXAMPLES = examples(
    "hoyo vary tune.abc --amount 0.3",
    "hoyo vary tune.abc --amount 0.5 --seed 7 -o variation.wav",
)

Source = Annotated[Path, typer.Argument(metavar="TUNE.abc", help="An ABC file with one tune.")]
Nation = Annotated[
    str | None, typer.Option("--region", help="The nation of the new bars; else the one that the tune names.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="The same seed and options, the same bars.")]
Model = Annotated[
    str | None, typer.Option("--model", metavar="PATH|default", help="The model; else your own if there is one.")
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="Above 1 bolder, below 1 plainer, 0 the likeliest.")
]
TopK = Annotated[int | None, typer.Option("--top-k", help="Choose among the k likeliest.")]
TopP = Annotated[float | None, typer.Option("--top-p", help="Choose among the likeliest with this share.")]
Particles = Annotated[
    int | None, typer.Option("--particles", help="How many candidates are heard before one is taken.")
]
Out = Annotated[
    str, typer.Option("-o", "--out", metavar="FILE|FOLDER/", help="A file, its suffix the format, or a folder.")
]
Formats = Annotated[
    str | None, typer.Option("--format", metavar="LIST", help="Formats for the folder, as in abc,mid,wav,svg.")
]
MelodyOnly = Annotated[bool, typer.Option("--melody-only", help="Leave out the band.")]
Force = Annotated[bool, typer.Option("--force", help="Write over files that exist.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def infill(
    source: Source,
    bars: Annotated[str, typer.Option("--bars", metavar="5-8", help="The bars to fill anew, upbeats not counted.")],
    region: Nation = None,
    seed: Seed = None,
    model: Model = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    particles: Particles = None,
    out: Out = "music/",
    formats: Formats = None,
    melody_only: MelodyOnly = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fill bars of a tune anew, so that they fit those before and behind them, which stay as they are.

    Repeat signs, endings, metre and key of the new bars stay as well: new are their notes.
    """
    from hoyomusic.rewriting import infill, read_bars

    first, last = read_bars(bars)
    config = _configure(region, seed, temperature, top_k, top_p, particles)
    targets = _plan(source, "infill", config, out, formats, force)
    tune, generator = read_tune(source), _load(model)
    with count_progress() as progress:
        made = infill(generator, tune, first, last, config, progress)
    _write(made, targets, generator, melody_only, force, as_json)
    if not as_json:
        _say_again(f"hoyo infill {shlex.quote(str(source))} --bars {bars}", config, model)


def vary(
    source: Source,
    amount: Annotated[float, typer.Option("--amount", help="The share of bars that change, from 0 to 1.")],
    region: Nation = None,
    seed: Seed = None,
    model: Model = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    particles: Particles = None,
    out: Out = "music/",
    formats: Formats = None,
    melody_only: MelodyOnly = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Vary a tune: a share of its bars changes; form, key and cadences stay.

    Bars that return change alike. The less changes, the nearer are the new bars to the old ones.
    """
    from hoyomusic.rewriting import vary

    config = _configure(region, seed, temperature, top_k, top_p, particles)
    targets = _plan(source, "vary", config, out, formats, force)
    tune, generator = read_tune(source), _load(model)
    with count_progress() as progress:
        made = vary(generator, tune, amount, config, progress)
    _write(made, targets, generator, melody_only, force, as_json)
    if not as_json:
        _say_again(f"hoyo vary {shlex.quote(str(source))} --amount {amount:g}", config, model)


def _configure(
    region: str | None,
    seed: int | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    particles: int | None,
) -> RewritingConfig:
    from hoyomusic.rewriting import RewritingConfig
    from hoyomusic.sampling import SamplingConfig

    return RewritingConfig(
        **given(region=region, particles=particles),
        seed=secrets.randbelow(SEEDS_DRAWN) if seed is None else seed,
        sampling=SamplingConfig(**given(temperature=temperature, top_k=top_k, top_p=top_p)),
    )


def _load(model: str | None) -> HoyoMusicGenerator:
    from hoyomusic.generator import HoyoMusicGenerator

    return HoyoMusicGenerator.load(model)


def _plan(
    source: Path, what: str, config: RewritingConfig, out: str, formats: str | None, force: bool
) -> list[Path]:
    """The files to write: the named one, or in a folder one a format, named after source, command and seed.

    Raises StorageError for one that exists, unless `force` is given: before the long work starts.
    """
    from hoyomusic.render import SUFFIXES
    from hoyomusic.storage import taken

    is_file = Path(out).suffix.lower() in SUFFIXES and not out.endswith(("/", "\\")) and not Path(out).is_dir()
    ending = f"-{what}-{config.seed:04d}"
    name = Path(short_stem(source.stem, LONGEST_STEM - len(ending)) + f"{ending}.abc")
    usual = None if is_file else USUAL_FORMATS
    (targets,) = plan_targets([(name, 1)], out, usual if formats is None else formats)
    for target in targets:
        if os.path.exists(target) and not force:
            raise taken(target)
    return targets


def _write(
    made: Rewriting,
    targets: list[Path],
    generator: HoyoMusicGenerator,
    melody_only: bool,
    force: bool,
    as_json: bool,
) -> None:
    from hoyomusic.arrangement import arrange
    from hoyomusic.render import write_all
    from hoyomusic.score import perform

    score = perform(made.tune, region=made.region) if melody_only else arrange(made.tune, made.region, seed=made.seed)
    with Report(as_json, 1) as report:
        files = write_all(score, targets, overwrite=force)
        more = {
            "region": made.region.name,
            "tokens": made.tokens,
            "seed": made.seed,
            "model": made.model,
            "bars_changed": len(made.numbers),
            "changed": list(made.numbers),
            "nats_before": round(made.nats_before, 3),
            "nats_after": round(made.nats_after, 3),
        }
        report.add(score, files, more)
    if not as_json:
        numbers = ", ".join(map(str, made.numbers)) or "none"
        say(f"new bars: {numbers}")
        say(f"model: {generator.path} (sha256 {generator.identity[:12]})")


def _say_again(command: str, config: RewritingConfig, model: str | None) -> None:
    """Print the command that makes the same bars."""
    from hoyomusic.rewriting import describe_config

    chosen = "" if model is None else f" --model {shlex.quote(model)}"
    say(f"again: {command}{describe_config(config)} --seed {config.seed}{chosen}")
