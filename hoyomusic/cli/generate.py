"""`hoyo generate`: tunes that nobody has heard before, as files."""

from __future__ import annotations

import os
import secrets
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoyomusic.cli.console import examples, given, note
from hoyomusic.cli.render import LARGEST_FILE
from hoyomusic.cli.report import Report
from hoyomusic.cli.targets import read_formats

if TYPE_CHECKING:
    from hoyomusic.request import Request
    from hoyomusic.tune import Tune

EXAMPLES = examples(
    "hoyo generate --region Mondstadt",
    "hoyo generate --region 璃月 --bars 16 --count 5 --format abc,mid,wav,svg",
    "hoyo generate --region Natlan --key Am --metre 2/4 --seed 7 --out songs",
)

# Seeds that are drawn are short enough to be remembered.
SEEDS_DRAWN = 10_000


def generate(
    region: Annotated[str | None, typer.Option("--region", help="The nation, in English or Chinese.")] = None,
    length: Annotated[int | None, typer.Option("--length", help="About so many tokens.")] = None,
    bars: Annotated[int | None, typer.Option("--bars", help="So many bars, the upbeat not counted.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="As in ABC: D, F#m, Bb, Ador.")] = None,
    metre: Annotated[str | None, typer.Option("--metre", help="As in 6/8.")] = None,
    tempo: Annotated[int | None, typer.Option("--tempo", help="Crotchets a minute.")] = None,
    note_range: Annotated[
        str | None, typer.Option("--range", metavar="LOW-HIGH", help="Lowest and highest note, as in G3-D6.")
    ] = None,
    form: Annotated[str | None, typer.Option("--form", help="AABB, AABA or through.")] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="How strongly a learned nation speaks: 1 as its tunes do.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Above 1 bolder, below 1 plainer, 0 the likeliest.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Choose among the k likeliest.")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", help="Choose among the likeliest with this share.")] = None,
    count: Annotated[int | None, typer.Option("--count", help="How many tunes.")] = None,
    candidates: Annotated[
        int | None, typer.Option("--candidates", help="Make so many of each tune, keep the best.")
    ] = None,
    novel: Annotated[
        bool, typer.Option("--novel", help="Keep no tune that shares 16 notes in a row with one it learned from.")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed and options, the same tunes.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="PATH|default", help="The model; else your own if there is one.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="int8 or fp32: two models; else the export beside the model.")
    ] = None,
    prime: Annotated[
        Path | None, typer.Option("--prime", metavar="FILE.abc", help="Go on from the bars of this tune.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the files go.")] = Path("music"),
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="Of abc,midi,wav,flac,ogg,mp3,svg,musicxml,mxl.")
    ] = "abc,mid",
    melody_only: Annotated[bool, typer.Option("--melody-only", help="Leave out the band.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a tune.")] = False,
) -> None:
    """Compose tunes in the style of a nation and write them as ABC, MIDI, sound and sheet.

    The default model learned from tunes some of which allow non-commercial use only: so do its tunes.
    """
    from hoyomusic.arrangement import arrange
    from hoyomusic.generator import HoyoMusicGenerator, Request
    from hoyomusic.render import write
    from hoyomusic.sampling import SamplingConfig
    from hoyomusic.score import perform

    request = Request(
        **given(region=region, count=count, length=length, bars=bars, key=key, metre=metre, tempo=tempo),
        **given(range=note_range, form=form, guidance=guidance, candidates=candidates),
        novel=novel,
        seed=secrets.randbelow(SEEDS_DRAWN) if seed is None else seed,
        prime=None if prime is None else _read_prime(prime),
        sampling=SamplingConfig(**given(temperature=temperature, top_k=top_k, top_p=top_p)),
    )
    suffixes = read_formats(formats)
    generator = HoyoMusicGenerator.load(model, **given(precision=precision))
    with Report(as_json, request.count) as report:
        for made in generator.compose(request):
            score = perform(made.tune) if melody_only else arrange(made.tune, made.region, seed=made.seed)
            stem = out / f"{made.region.name.lower()}-{made.seed:04d}-{made.index + 1}"
            chosen = stem if force else _free_stem(stem, suffixes)
            if chosen != stem:
                note(f"{stem} is taken, the tune goes to {chosen}")
            files = [write(score, Path(f"{chosen}{suffix}"), overwrite=force) for suffix in suffixes]
            more = {"region": made.region.name, "tokens": made.tokens, "seed": made.seed, "model": made.model}
            more["index"] = made.index
            if as_json:
                novelty = made.novelty or generator.compare(made.tune)
                more["novelty"] = novelty and novelty.to_dict()
            if made.marks:
                more |= {"candidate": made.candidate, "candidates": [mark.to_dict() for mark in made.marks]}
            report.add(score, files, more)
    if not as_json:
        print(f"model: {generator.path} (sha256 {generator.identity[:12]})")
        print(f"again: {_say_again(request, model, precision, prime)}")


def _read_prime(path: Path) -> Tune:
    from hoyomusic import abc
    from hoyomusic.corpus.files import read_file

    return abc.parse_one(abc.decode(read_file(path, LARGEST_FILE)), source=str(path))


def _free_stem(stem: Path, suffixes: list[str]) -> Path:
    """`stem`, or the first of ``stem-2``, ``stem-3`` ... under which no file of these formats exists."""
    number, candidate = 1, stem
    while any(os.path.lexists(f"{candidate}{suffix}") for suffix in suffixes):
        number += 1
        candidate = stem.with_name(f"{stem.name}-{number}")
    return candidate


def _say_again(request: Request, model: str | None, precision: str | None, prime: Path | None) -> str:
    """The command that makes the same tunes."""
    from hoyomusic.request import describe_options

    words = ["hoyo generate", describe_options(request)]
    if prime is not None:
        words.append(shlex.quote(str(prime)))
    words.append(f"--seed {request.seed}")
    if model is not None:
        words.append(f"--model {shlex.quote(model)}")
    if precision is not None:
        words.append(f"--precision {precision}")
    return " ".join(words)
