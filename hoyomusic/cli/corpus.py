"""`hoyo corpus`: what there is to learn from, read and kept, and the user's own tunes added to it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoyomusic.cli.console import examples, given, new_table, note, output, reading_progress, warn, write_json
from hoyomusic.cli.usage import Command, Commands
from hoyomusic.text import printable

if TYPE_CHECKING:
    from hoyomusic.corpus import Corpus

app = typer.Typer(
    cls=Commands,
    help="What there is to learn from: count it, read it once and for all, add your own.",
    rich_markup_mode=None,
    add_completion=False,
    epilog=examples("hoyo corpus stats", "hoyo corpus add ~/tunes --name mine --region Natlan"),
)

SOURCES_HELP = "A corpus: default, a name given with hoyo corpus add, or a path; may be repeated."
SourcesOption = Annotated[list[str] | None, typer.Option("--corpus", metavar="NAME|PATH", help=SOURCES_HELP)]
UseHoyomusicOption = Annotated[
    bool, typer.Option("--use-hoyomusic", help="Add the hoyoMusic set from where it lies on this disk.")
]
HoyomusicOption = Annotated[
    str | None, typer.Option("--hoyomusic", metavar="PATH", help="Add the hoyoMusic set from this file or folder.")
]


@app.command("stats", cls=Command, epilog=examples("hoyo corpus stats", "hoyo corpus stats --corpus ~/tunes --json"))
def stats(
    sources: SourcesOption = None,
    use_hoyomusic: UseHoyomusicOption = False,
    hoyomusic: HoyomusicOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="All counts as one JSON object.")] = False,
) -> None:
    """Count the tunes of each nation: read, unique, with a metre, usable; and why others are not."""
    corpus = _load(sources, use_hoyomusic, hoyomusic)
    if as_json:
        write_json(corpus.statistics())
    else:
        show_statistics(corpus.statistics())


@app.command("build", cls=Command, epilog=examples("hoyo corpus build", "hoyo corpus build --corpus ~/tunes"))
def build(
    sources: SourcesOption = None,
    use_hoyomusic: UseHoyomusicOption = False,
    hoyomusic: HoyomusicOption = None,
) -> None:
    """Read a corpus now and keep the result, so that training starts at once."""
    from hoyomusic.corpus.cache import cache_folder

    began = time.monotonic()
    corpus = _load(sources, use_hoyomusic, hoyomusic)
    note(f"{len(corpus.tunes):,} usable tunes in {time.monotonic() - began:.1f} s, kept in {cache_folder()}")


@app.command(
    "add",
    cls=Command,
    epilog=examples("hoyo corpus add ~/tunes --name mine", "hoyo corpus add natlan.abc --name natlan --region Natlan"),
)
def add(
    path: Annotated[Path, typer.Argument(help="ABC files, rows as hoyoMusic has them, or SymbTr's scores.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it (a-z, 0-9, - and _); else as the path ends.")
    ] = None,
    region: Annotated[str | None, typer.Option("--region", help="The nation that all its tunes teach.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Give the name to this corpus even if it is taken.")] = False,
) -> None:
    """Remember your own tunes under a name, and say what they can teach; they stay where they are."""
    from hoyomusic.corpus import add_corpus
    from hoyomusic.errors import CorpusError
    from hoyomusic.regions import find_region

    name = path.stem.lower() if name is None else name
    nation = "" if region is None else find_region(region).name
    corpus = add_corpus(path, name, nation, overwrite=force)
    note(f"{name} stands for {corpus.path}; train with it: hoyo train --corpus default --corpus {name}")
    try:
        counts = _load([name], False, None).statistics()
    except CorpusError as error:
        warn(str(error))
        return
    note(f"{counts['usable']:,} usable tunes; {_name_learned(counts)}")


def choose_hoyomusic(use: bool, path: str | None) -> str | None | bool:
    """The two options as `load_corpus` takes them: a path, None to look for the set, False to leave it out."""
    return path if path is not None else None if use else False


def _load(sources: list[str] | None, use_hoyomusic: bool, hoyomusic: str | None) -> Corpus:
    from hoyomusic.corpus import load_corpus

    with reading_progress() as progress:
        corpus = load_corpus(
            **given(sources=sources), hoyomusic=choose_hoyomusic(use_hoyomusic, hoyomusic), progress=progress
        )
    for notice in corpus.report.notices:
        warn(notice)
    return corpus


def show_statistics(counts: dict[str, Any]) -> None:
    """The account of a corpus, as `Corpus.statistics` gives it, in words and tables."""
    console = output()
    sources = ", ".join(f"{printable(name)} ({count:,})" for name, count in counts["sources"].items())
    console.print(f"read {counts['read']:,} tunes: {sources}")
    stages = ("read", "unique", "with metre", "usable")
    table = new_table("nation", *stages, numbers=stages)
    for region, stage in counts["stages"].items():
        table.add_row(region or "(left out)", *(f"{stage[name]:,}" for name in ("raw", "unique", "metred", "usable")))
    console.print(table)
    split = counts["split"]
    console.print(
        f"usable {counts['usable']:,}: {split['train']:,} to learn from, {split['validation']:,} to judge by;"
        f" {counts['bars']:,} bars, {counts['notes']:,} notes; {counts['clusters']:,} clusters of near duplicates"
    )
    console.print(_name_learned(counts))
    for title, entries in (("not usable", counts["rejected"]), ("made simpler", counts["simplified"])):
        if entries:
            table = new_table(title, "tunes", numbers=("tunes",))
            for reason, count in entries.items():
                table.add_row(printable(reason, 100), f"{count:,}")
            console.print(table)
    for licence in counts["licences"]:
        console.print(f"licence: {printable(licence)}")
    console.print(f"hash: {counts['hash']}")


def _name_learned(counts: dict[str, Any]) -> str:
    return f"nations with tunes enough to be learned: {', '.join(counts['learned']) or 'none'}"
