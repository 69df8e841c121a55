"""Small plots as SVG text that stands by itself in a page: bars, matrices, and points on a scale of ratios."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log2

# A palette that people who see colours differently can tell apart too (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")

LABEL_WIDTH = 170
PLOT_WIDTH = 420
ROW_HEIGHT = 16
GAP = 12
CELL = 62

# Ratios are shown from a quarter to sixteen; what lies beyond is drawn at the edge.
LEAST_RATIO, MOST_RATIO = 0.25, 16.0


def draw_bars(groups: Sequence[tuple[str, Sequence[float]]], series: Sequence[str], unit: str) -> str:
    """Horizontal bars: for each named group one bar of each series, its value beside it; `unit` names the numbers."""
    largest = max((value for _, values in groups for value in values), default=0) or 1.0
    shapes, top = [], 24
    for name, values in groups:
        middle = top + ROW_HEIGHT * len(values) / 2
        shapes.append(_text(LABEL_WIDTH - 8, middle + 4, name, anchor="end"))
        for place, value in enumerate(values):
            width = PLOT_WIDTH * value / largest
            title = f"{name}, {series[place]}: {value:.4g} {unit}"
            shapes.append(_rectangle(LABEL_WIDTH, top, width, ROW_HEIGHT - 3, COLOURS[place % len(COLOURS)], title))
            shapes.append(_text(LABEL_WIDTH + width + 5, top + ROW_HEIGHT - 6, f"{value:.3g}", size=10))
            top += ROW_HEIGHT
        top += GAP
    return _wrap(LABEL_WIDTH + PLOT_WIDTH + 60, top, [*_legend(series), *shapes], f"bars, {unit}")


def draw_matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix: the darker a cell, the larger its share of its row; rows of zeros are left out."""
    rows = [(name, row) for name, row in zip(names, counts, strict=True) if sum(row)]
    shapes = [
        _text(LABEL_WIDTH + CELL * (place + 0.5), 14, name, anchor="middle", size=10)
        for place, name in enumerate(names)
    ]
    for line, (name, row) in enumerate(rows):
        top = 20 + line * CELL / 2
        shapes.append(_text(LABEL_WIDTH - 8, top + 20, name, anchor="end"))
        for place, count in enumerate(row):
            share, left = count / sum(row), LABEL_WIDTH + CELL * place
            label = f"{name} said to be {names[place]}: {count} ({100 * share:.1f} %)"
            shapes.append(_rectangle(left, top, CELL - 2, CELL / 2 - 2, COLOURS[0], label, opacity=0.06 + 0.94 * share))
            colour = "#fff" if share > 0.5 else "currentColor"
            shapes.append(_text(left + CELL / 2 - 1, top + 19, f"{100 * share:.0f} %", anchor="middle", fill=colour))
    return _wrap(LABEL_WIDTH + CELL * len(names) + 10, 26 + len(rows) * CELL / 2, shapes, "confusion matrix")


def draw_ratios(
    rows: Sequence[tuple[str, Sequence[float | None]]], series: Sequence[str], marked: Sequence[float]
) -> str:
    """One line a row, one point a series, on a logarithmic scale of how many times; lines stand at `marked`."""
    height = 40 + ROW_HEIGHT * len(rows)
    shapes = []
    for ratio in marked:
        place = _place_ratio(ratio)
        shapes.append(
            f'<line x1="{place:.1f}" y1="26" x2="{place:.1f}" y2="{height - 14}" stroke="currentColor" opacity="0.35"/>'
        )
        shapes.append(_text(place, height - 2, f"{ratio:g} x", anchor="middle", size=10))
    for line, (name, ratios) in enumerate(rows):
        middle = 34 + ROW_HEIGHT * line
        shapes.append(_text(LABEL_WIDTH - 8, middle + 4, name, anchor="end", size=11))
        for place, ratio in enumerate(ratios):
            if ratio is not None:
                shapes.append(
                    f'<circle cx="{_place_ratio(ratio):.1f}" cy="{middle}" r="5" fill="{COLOURS[place % len(COLOURS)]}"'
                    f' opacity="0.85"><title>{escape(f"{name}, {series[place]}: {ratio:.2f} times")}</title></circle>'
                )
    label = "how many times farther than chance"
    return _wrap(LABEL_WIDTH + PLOT_WIDTH + 20, height, [*_legend(series), *shapes], label)


def _place_ratio(ratio: float) -> float:
    """From left to right, by the logarithm."""
    held = min(max(ratio, LEAST_RATIO), MOST_RATIO)
    return LABEL_WIDTH + PLOT_WIDTH * log2(held / LEAST_RATIO) / log2(MOST_RATIO / LEAST_RATIO)


def _legend(series: Sequence[str]) -> list[str]:
    shapes, left = [], float(LABEL_WIDTH)
    for place, name in enumerate(series):
        shapes.append(_rectangle(left, 4, 11, 11, COLOURS[place % len(COLOURS)], name))
        shapes.append(_text(left + 15, 14, name, size=11))
        left += 28 + 6.2 * len(name)
    return shapes


def _rectangle(
    left: float, top: float, width: float, height: float, colour: str, title: str, opacity: float = 1.0
) -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"'
        f' opacity="{opacity:.2f}"><title>{escape(title)}</title></rect>'
    )


def _text(
    left: float, top: float, text: str, *, anchor: str = "start", size: int = 12, fill: str = "currentColor"
) -> str:
    return (
        f'<text x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">'
        f"{escape(text)}</text>"
    )


def _wrap(width: float, height: float, shapes: Sequence[str], label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        f' height="{height:.0f}" role="img" aria-label="{escape(label)}">{"".join(shapes)}</svg>'
    )
