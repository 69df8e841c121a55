"""`hoyo render`: any ABC file as MIDI, sound or sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hoyomusic.cli.console import examples
from hoyomusic.cli.report import Report
from hoyomusic.cli.sources import read_tunes
from hoyomusic.cli.targets import plan_targets

EXAMPLES = examples(
    "hoyo render tune.abc -o tune.wav",
    "hoyo render book.abc --format mid,svg -o out/ --region Liyue",
    "hoyo render tune.abc -o tune.mid --melody-only",
)


def render(
    tunes: Annotated[list[Path], typer.Argument(metavar="TUNE.abc...", help="ABC files, of one tune or many.")],
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="FILE|FOLDER/", help="A file, its suffix the format, or a folder.")
    ],
    formats: Annotated[
        str | None, typer.Option("--format", metavar="LIST", help="Formats for the folder, as in mid,wav,svg.")
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", help="The nation whose band plays; else the one that the tune names.")
    ] = None,
    melody_only: Annotated[bool, typer.Option("--melody-only", help="Leave the melody alone.")] = False,
    tempo: Annotated[float | None, typer.Option("--tempo", help="Crotchets a minute, else as written.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Varies the accompaniment's small liberties.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a tune.")] = False,
) -> None:
    """Turn ABC tunes into MIDI, sound (wav, flac, ogg, mp3) or sheet (svg, musicxml, mxl, abc).

    With one tune and a file name, exactly that file is written; several tunes get numbers.
    """
    from hoyomusic.arrangement import arrange
    from hoyomusic.regions import find_region
    from hoyomusic.render import write_all
    from hoyomusic.request import check_seed
    from hoyomusic.score import perform, region_of

    check_seed(seed)
    nation = None if region is None else find_region(region)
    books = [(path, read_tunes(path)) for path in tunes]
    targets = plan_targets([(path, len(book)) for path, book in books], out, formats)
    with Report(as_json, sum(len(book) for _, book in books)) as report:
        for tune, paths in zip((tune for _, book in books for tune in book), targets, strict=True):
            if melody_only:
                score = perform(tune, tempo=tempo, region=nation)
            else:
                score = arrange(tune, region_of(tune, nation), seed=seed, tempo=tempo)
            report.add(score, write_all(score, paths, overwrite=force))
