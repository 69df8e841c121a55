"""The report as one HTML file that needs nothing else: plots first, each table below its plot."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from hoyomusic.evaluation.plots import draw_bars, draw_matrix, draw_ratios
from hoyomusic.evaluation.report import FARTHEST_HISTOGRAM, Report, Table, list_goals, list_tables
from hoyomusic.storage import write_atomically
from hoyomusic.text import printable

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2rem 0 0; } p { margin: .2rem 0 .6rem; opacity: .8; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem .15rem 0; text-align: right; border-bottom: 1px solid #8884; }
th { vertical-align: bottom; } .name { text-align: left; } .yes { color: #009e73; } .no { color: #d55e00; }
svg { max-width: 100%; height: auto; font-family: inherit; display: block; margin: .5rem 0; }
.scroll { overflow-x: auto; }
"""


def write_page(report: Report, path: Path, *, overwrite: bool = False) -> Path:
    """Write the page to `path`. Raises StorageError where that cannot be."""
    return write_atomically(path, make_page(report).encode(), overwrite=overwrite)


def make_page(report: Report) -> str:
    """The page as text."""
    name = printable(Path(report.model).name)
    said = (
        f"{name}, sha256 {report.identity[:12]}, corpus {report.corpus[:12]}; {report.tunes} tunes of each nation, seed"
        f" {report.seed}, guidance {report.guidance:g}, temperature {report.temperature:g}"
    )
    met = sum(goal.met for goal in list_goals(report))
    parts = [
        f"<h1>What {escape(name)} is worth</h1>",
        f"<p>{escape(said)}. Goals met: {met} of {len(list_goals(report))}.</p>",
        *(f"<p><b>Note:</b> {escape(printable(notice))}.</p>" for notice in report.notices),
        *_write_sections(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>HoyoMusic: {escape(name)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _write_sections(report: Report) -> Iterator[str]:
    plots = _draw_plots(report)
    for table in list_tables(report):
        yield f"<h2>{escape(table.title)}</h2>"
        if table.about:
            yield f"<p>{escape(table.about)}</p>"
        if table.title in plots:
            yield plots[table.title]
        yield _write_table(table)


def _write_table(table: Table) -> str:
    def write_row(tag: str, cells: tuple[str, ...]) -> str:
        written = []
        for place, cell in enumerate(cells):
            classes = (["name"] if table.holds_words(place) else []) + ([cell] if cell in ("yes", "no") else [])
            marks = f' class="{" ".join(classes)}"' if classes else ""
            written.append(f"<{tag}{marks}>{escape(printable(cell))}</{tag}>")
        return f"<tr>{''.join(written)}</tr>"

    rows = "\n".join(write_row("td", row) for row in table.rows)
    return f'<div class="scroll"><table>\n{write_row("th", table.columns)}\n{rows}\n</table></div>'


def _draw_plots(report: Report) -> dict[str, str]:
    """Title of a table -> the plot that stands above it."""
    plots = {
        "Likelihood": draw_bars(
            [
                (
                    row.nation,
                    [nats * row.tokens_per_note for nats in (row.right, row.unlabelled, row.wrong, row.ngram)],
                )
                for row in report.likelihood
            ],
            ("own label", "no label", "other label", "5-gram"),
            "nats per note",
        ),
        "Histograms of intervals and rhythm": draw_ratios(
            [(f"{row.nation}, {row.trait}", [row.distance.ratio]) for row in report.histograms],
            ("generated",),
            (1.0, FARTHEST_HISTOGRAM),
        ),
        "Diversity within a nation": draw_bars(
            [(each.nation, [100 * ratio for ratio in each.ratios]) for each in report.diversity],
            ("mean distance", "distinct runs"),
            "% of the real tunes'",
        ),
        "Novelty": draw_bars(
            [
                (name, [100 * each.quoting, 100 * each.new])
                for name, each in [
                    *((each.nation, each) for each in report.quotation),
                    *((f"{each.nation} (real)", each) for each in report.held_out_quotation),
                ]
            ],
            ("% that quote", "% of windows that are new"),
            "%",
        ),
    }
    # The two matrices of one length, and the one of styles, are drawn above the tables that they are made of.
    matrices = [each for fidelity in report.fidelity for each in (fidelity.real, fidelity.generated)]
    matrices += [] if report.styles is None else [report.styles]
    titles = [table.title for table in list_tables(report) if table.title.startswith("Who is it?")]
    for title, confusion in zip(titles, matrices, strict=True):
        plots[title] = draw_matrix(confusion.nations, confusion.counts)
    return plots | _draw_forms(report)


def _draw_forms(report: Report) -> dict[str, str]:
    """All nations in one plot, above the first table of forms."""
    nations = list(dict.fromkeys(row.nation for row in report.forms))
    if not nations:
        return {}
    ratios = {(row.nation, row.trait): row.distance.ratio for row in report.forms}
    traits = list(dict.fromkeys(row.trait for row in report.forms))
    rows = [(trait, [ratios[nation, trait] for nation in nations]) for trait in traits]
    return {f"Form: {nations[0]}": draw_ratios(rows, nations, (1.0, FARTHEST_HISTOGRAM, 10.0))}
