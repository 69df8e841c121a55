"""Lines over a growing size as SVG files that stand by themselves: few series, ticks at round numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from pathlib import Path

from hoyomusic.evaluation.plots import COLOURS

PICTURES = Path(__file__).parent / "pictures"

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 56, 44

Points = Sequence[tuple[float, float]]


def draw_lines(
    title: str, across: str, up: str, series: Mapping[str, Points], *, log_up: bool = False, limit: float | None = None
) -> str:
    """Each series as a line through its points (x, y), x on a logarithmic scale, y from 0 or on one too.

    `across` and `up` say what x and y are; a dashed line stands at the y of `limit`.
    """
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points] + ([] if limit is None else [limit])
    first, last = floor(log10(min(xs))), max(ceil(log10(max(xs))), floor(log10(min(xs))) + 1)
    across_ticks = [10.0**power for power in range(first, last + 1)]
    up_ticks = _decades(ys) if log_up else _round_steps(max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        share = (log10(x) - first) / (last - first)
        low, high = up_ticks[0], up_ticks[-1]
        height = log10(y / low) / log10(high / low) if log_up else y / high
        return LEFT + (WIDTH - LEFT - RIGHT) * share, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * height

    shapes = [_text(LEFT, 16, title, size=13)]
    for tick in up_ticks:
        _, y = place(across_ticks[0], tick)
        shapes += [_line(LEFT, y, WIDTH - RIGHT, y, "#ddd"), _text(LEFT - 6, y + 4, f"{tick:,g}", anchor="end")]
    for tick in across_ticks:
        x, _ = place(tick, up_ticks[-1])
        shapes += [_line(x, TOP, x, HEIGHT - BOTTOM, "#eee"), _text(x, HEIGHT - BOTTOM + 15, f"{tick:,g}", "middle")]
    shapes.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across, "middle"))
    shapes.append(_text(LEFT, TOP - 6, up))
    if limit is not None:
        _, y = place(across_ticks[0], limit)
        shapes.append(_line(LEFT, y, WIDTH - RIGHT, y, "#555", dashes=True))
    key = LEFT
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        placed = [(*place(x, y), x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in placed)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        shapes += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
            f"<title>{escape(f'{name}: {value:.4g} at {size:,g}')}</title></circle>"
            for x, y, size, value in placed
        ]
        shapes += [f'<rect x="{key}" y="25" width="10" height="10" fill="{colour}"/>', _text(key + 14, 34, name)]
        key += 30 + round(6.1 * len(name))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' role="img" aria-label="{escape(title)}" font-family="sans-serif"><rect width="100%" height="100%"'
        f' fill="#fff"/>{"".join(shapes)}</svg>\n'
    )


def keep_picture(name: str, svg: str) -> Path:
    """Write a picture beside the others; its path."""
    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / f"{name}.svg"
    path.write_text(svg, encoding="utf-8")
    return path


def _decades(values: Sequence[float]) -> list[float]:
    """Powers of ten from below the least to above the largest."""
    first = floor(log10(min(values)))
    return [10.0**power for power in range(first, max(ceil(log10(max(values))), first + 1) + 1)]


def _round_steps(largest: float) -> list[float]:
    """Four to eight even steps from 0 to `largest` or above, each 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(largest / 4))
    step = power * max(factor for factor in (1, 2, 5) if factor * power <= largest / 4)
    return [step * number for number in range(ceil(largest / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, *, dashes: bool = False) -> str:
    dashed = ' stroke-dasharray="5 4"' if dashes else ""
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"{dashed}/>'
