"""A tune as a sheet: one SVG picture, engraved by verovio from our MusicXML, under a title of our own."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from hoyomusic.errors import RenderError
from hoyomusic.render import musicxml
from hoyomusic.score import Score
from hoyomusic.text import printable

# verovio counts in units of 1/10 mm at 100 %: an A4 page wide, as tall as it needs to be.
ENGRAVING = {
    "pageWidth": 2100,
    "pageHeight": 60_000,
    "adjustPageHeight": True,
    "scale": 40,
    "header": "none",
    "footer": "none",
    # Without a seed each run would name its elements differently.
    "xmlIdSeed": 1,
}
TITLE_SIZE, NATION_SIZE, MARGIN = 26, 15, 20
FONT = "Georgia, 'Times New Roman', 'Noto Serif', 'Noto Serif SC', serif"


def to_bytes(score: Score) -> bytes:
    """The sheet as SVG text in UTF-8; the same score gives the same bytes.

    Long tunes are one tall picture. Raises RenderError where verovio cannot read the tune.
    """
    pages = _engrave(musicxml.to_bytes(score).decode("utf-8"))
    width = max(width for width, _, _ in pages)
    lines, y = [], MARGIN
    for text, size, style in ((score.title, TITLE_SIZE, "normal"), (score.region, NATION_SIZE, "italic")):
        if text:
            y += size
            lines.append(
                f'<text x="{width // 2}" y="{y}" text-anchor="middle" font-family="{FONT}" '
                f'font-size="{size}" font-style="{style}">{escape(printable(text))}</text>'
            )
            y += size // 3
    for _, height, page in pages:
        lines.append(page.replace("<svg ", f'<svg y="{y}" ', 1))
        y += height
    title = escape(printable(score.title or "Untitled"))
    made = escape(printable(score.provenance, musicxml.LONGEST_TEXT))
    description = f"<desc>{made}</desc>\n" if made else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}">\n'
        f"<title>{title}</title>\n{description}" + "\n".join(lines) + "\n</svg>\n"
    ).encode()


def _engrave(text: str) -> list[tuple[int, int, str]]:
    """Width and height in pixels and the SVG of each page."""
    import verovio

    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setOptions(ENGRAVING)
    if not toolkit.loadData(text):
        raise RenderError("verovio cannot read the tune", remedy="write .musicxml and open it in a notation program")
    pages = []
    for number in range(1, toolkit.getPageCount() + 1):
        page = toolkit.renderToSVG(number)
        width, height = map(int, re.search(r'<svg width="(\d+)px" height="(\d+)px"', page).groups())
        pages.append((width, height, page))
    return pages
