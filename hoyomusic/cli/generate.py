"""`hoyo generate`: tunes that nobody has heard before, as files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoyomusic.cli.console import examples, given, note, say, spare_threads, warn
from hoyomusic.cli.convert import find_converted
from hoyomusic.cli.report import Report
from hoyomusic.cli.sources import read_tune
from hoyomusic.cli.targets import read_formats
from hoyomusic.errors import UsageError

if TYPE_CHECKING:
    from hoyomusic.generator import Composition, HoyoMusicGenerator
    from hoyomusic.legacy.generator import CharacterGenerator
    from hoyomusic.request import Request
    from hoyomusic.score import Score

EXAMPLES = examples(
    "hoyo generate --region Mondstadt",
    "hoyo generate --region 璃月 --bars 16 --count 5 --format abc,mid,wav,svg",
    "hoyo generate --region Natlan --key Am --metre 2/4 --seed 7 --out songs",
    "hoyo generate --like songs/natlan-0007-1.mid --format wav",
)

# Seeds that are drawn are short enough to be remembered.
SEEDS_DRAWN = 10_000
# What is written where no format is asked for.
USUAL_FORMATS = "abc,mid"


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
    like: Annotated[
        Path | None, typer.Option("--like", metavar="FILE", help="The tune of a file again, in any of our formats.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the files go.")] = Path("music"),
    formats: Annotated[
        str | None,
        typer.Option("--format", metavar="LIST", help="Of abc,midi,wav,flac,ogg,mp3,svg,musicxml,mxl; else abc,mid."),
    ] = None,
    melody_only: Annotated[bool, typer.Option("--melody-only", help="Leave out the band.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a tune.")] = False,
) -> None:
    """Compose tunes in the style of a nation and write them as ABC, MIDI, sound and sheet.

    The default model learned from tunes some of which allow non-commercial use only: so do its tunes.
    """
    spare_threads()
    from hoyomusic.export import SUFFIX
    from hoyomusic.generator import HoyoMusicGenerator, Request
    from hoyomusic.render import SUFFIXES
    from hoyomusic.sampling import SamplingConfig

    model = None if model is None else find_converted(model)

    wished = given(
        region=region, length=length, bars=bars, key=key, metre=metre, tempo=tempo, range=note_range, form=form,
        guidance=guidance, count=count, candidates=candidates, seed=seed, novel=novel or None,
    )  # fmt: skip
    chosen = given(temperature=temperature, top_k=top_k, top_p=top_p)
    suffixes = read_formats(USUAL_FORMATS if formats is None else formats)
    if like is not None:
        refused = [*wished, *chosen, *given(precision=precision, prime=prime, melody_only=melody_only or None)]
        if refused:
            raise UsageError("--like brings its own options", remedy=f"leave out --{refused[0].replace('_', '-')}")
        request, indices, melody_only, maker = _read_like(like, model)
        generator = _load(maker, "fp32" if maker.suffix == ".pth" else "auto")
        again = f"hoyo generate --like {shlex.quote(str(like))}"
        if formats is None and like.suffix.lower() in SUFFIXES:
            suffixes = list(dict.fromkeys([*suffixes, like.suffix.lower()]))
    else:
        import secrets

        wished.setdefault("seed", secrets.randbelow(SEEDS_DRAWN))
        tune = None if prime is None else read_tune(prime)
        request = Request(**wished, prime=tune, sampling=SamplingConfig(**chosen))
        indices = range(request.count)
        generator = _load(model, "auto" if precision is None else precision)
        again = _say_again(request, precision, prime, melody_only)
    with Report(as_json, len(indices)) as report:
        for made in generator.compose(request, indices):
            more = {"region": made.region.name, "tokens": made.tokens, "seed": made.seed, "model": made.model}
            more["index"] = made.index
            if as_json:
                novelty = made.novelty or generator.compare(made.tune)
                more["novelty"] = novelty and novelty.to_dict()
            if made.remarks:
                more["remarks"] = list(made.remarks)
                note(f"tune {made.index + 1}: {'; '.join(made.remarks)}")
            if made.marks:
                more |= {"candidate": made.candidate, "candidates": [mark.to_dict() for mark in made.marks]}
            score, files = _write(made, out, suffixes, melody_only, force)
            report.add(score, files, more)
    if not as_json:
        say(f"model: {generator.path} (sha256 {generator.identity[:12]})")
        say(f"again: {again}" + ("" if model is None else f" --model {shlex.quote(model)}"))
        exportable = isinstance(generator, HoyoMusicGenerator) and generator.path.suffix != SUFFIX
        if exportable and precision is None and like is None:
            _hint_export(generator.path)


def _load(model: str | Path | None, precision: str) -> HoyoMusicGenerator | CharacterGenerator:
    """The generator of a model file, of whichever kind it is."""
    from hoyomusic.checkpoint import OldModelError, find_model
    from hoyomusic.generator import HoyoMusicGenerator

    try:
        return HoyoMusicGenerator.load(model, precision=precision)
    except OldModelError:
        from hoyomusic.legacy.generator import load_generator

        return load_generator(find_model(model))


def _hint_export(path: Path) -> None:
    """Say what would make the next tunes quicker, and others."""
    from hoyomusic.export import SUFFIX

    export = path.with_suffix(SUFFIX)
    command = f"hoyo export {shlex.quote(str(path))}" + (" --force" if export.exists() else "")
    state = f"{export} belongs to an older training" if export.exists() else "there is no export beside the model"
    note(f"{state}; one makes generating four times as quick: {command}")


def _read_like(path: Path, model: str | None) -> tuple[Request, range, bool, Path]:
    """What a file tells of its tune: the request, the tune's number in it, whether alone, and the model's file."""
    from hoyomusic import __version__
    from hoyomusic.provenance import find_maker, read_provenance

    told = read_provenance(path)
    if told.version != __version__:
        warn(f"{path}: made by HoyoMusic {told.version}; {__version__} may make another tune of it")
    return told.request, range(told.index, told.index + 1), told.melody_only, find_maker(told, model)


def _write(
    made: Composition, out: Path, suffixes: list[str], melody_only: bool, force: bool
) -> tuple[Score, list[Path]]:
    """Write a tune in all formats, under the next number that is free, which is then said."""
    from hoyomusic.arrangement import arrange
    from hoyomusic.provenance import without_band
    from hoyomusic.render import write_all
    from hoyomusic.score import perform

    score = perform(without_band(made.tune)) if melody_only else arrange(made.tune, made.region, seed=made.seed)
    stem = out / f"{made.region.name.lower()}-{made.seed:04d}-{made.index + 1}"
    files = write_all(score, [Path(f"{stem}{suffix}") for suffix in suffixes], overwrite=force, numbered=not force)
    if files[0].stem != stem.name:
        note(f"{stem} is taken, the tune goes to {files[0].with_suffix('')}")
    return score, files


def _say_again(request: Request, precision: str | None, prime: Path | None, melody_only: bool) -> str:
    """The command that makes the same tunes."""
    from hoyomusic.provenance import MELODY_ONLY
    from hoyomusic.request import describe_options

    words = ["hoyo generate", describe_options(request)]
    if prime is not None:
        words.append(shlex.quote(str(prime)))
    words += [f"--count {request.count}"] * (request.count > 1) + [MELODY_ONLY] * melody_only
    words.append(f"--seed {request.seed}")
    if precision is not None:
        words.append(f"--precision {precision}")
    return " ".join(words)
