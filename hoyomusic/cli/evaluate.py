"""`hoyo evaluate`: what a model is worth, in tables, as JSON, or as a page to look at."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoyomusic.cli.console import examples, given, new_table, note, output, warn, write_json
from hoyomusic.cli.corpus import SourcesOption
from hoyomusic.text import printable

if TYPE_CHECKING:
    from hoyomusic.evaluation import Report

EXAMPLES = examples(
    "hoyo evaluate",
    "hoyo evaluate models/mine.pth --tunes 50 --region Liyue --region Inazuma",
    "hoyo evaluate default --guidance 1.5 --html evaluation.html",
)


def evaluate(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A model file, or default; else your own if there is one.")
    ] = None,
    tunes: Annotated[int | None, typer.Option("--tunes", help="Tunes to make of each nation (200).")] = None,
    regions: Annotated[
        list[str] | None, typer.Option("--region", help="A nation; may be repeated. Else all of them.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed and options, the same figures.")] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="How strongly a learned nation speaks: 1 as its tunes do.")
    ] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Above 1 bolder, below 1 plainer.")] = None,
    sources: SourcesOption = None,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Processes that make tunes at once (2).")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots, as in evaluation.html.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a page that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as one JSON object.")] = False,
) -> None:
    """Measure a model: likelihood, validity, fidelity to the nations, diversity, form, novelty. It takes minutes."""
    from hoyomusic import evaluation
    from hoyomusic.evaluation.page import write_page
    from hoyomusic.storage import check_writable, taken

    config = evaluation.EvaluationConfig(
        **given(model=model, tunes=tunes, seed=seed, guidance=guidance, temperature=temperature, jobs=jobs),
        **given(regions=tuple(regions) if regions else None, corpus=tuple(sources) if sources else None),
    )
    if html is not None:
        check_writable(html)
        if html.exists() and not force:
            raise taken(html)
    with _progress() as progress:
        report = evaluation.evaluate(config, progress)
    for notice in report.notices:
        warn(notice)
    if as_json:
        write_json(report.to_dict())
    else:
        _show(report)
    if html is not None:
        note(f"the page is in {write_page(report, html, overwrite=force)}")


def _show(report: Report) -> None:
    from hoyomusic.evaluation.report import list_tables

    console = output()
    console.print(
        f"model {printable(report.model)} (sha256 {report.identity[:12]}), corpus {report.corpus[:12]};"
        f" {report.tunes} tunes of each nation, seed {report.seed}, guidance {report.guidance:g},"
        f" temperature {report.temperature:g}"
    )
    for table in list_tables(report):
        console.print(f"\n{table.title}", style="bold")
        if table.about:
            console.print(table.about)
        # Columns of one name are two columns all the same.
        shown = new_table()
        for place, column in enumerate(table.columns):
            shown.add_column(column, justify="left" if table.holds_words(place) else "right", overflow="fold")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar with what is going on and the time left, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    told = (TextColumn("{task.description}"), TextColumn("{task.percentage:.0f} %"))
    columns = (told[0], BarColumn(), told[1], TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=1.0)
        yield lambda what, share: progress.update(task, description=what, completed=share)
