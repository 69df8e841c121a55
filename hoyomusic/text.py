"""Foreign text made fit to be shown: titles and file names may hold anything, a terminal obeys some of it.

>>> printable("The Fox\\x1b[31m", 40), printable("提瓦特的风", 6)
('The Fox�[31m', '提瓦…')
"""

from __future__ import annotations

import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

# Control characters (escape sequences), format characters (they turn the writing direction), halves of pairs
# (no encoding has them), and what breaks a line.
UNSHOWABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str, width: int = 200) -> str:
    """`text` on one line of at most `width` terminal cells, with nothing in it that a terminal would obey."""
    if text.isascii() and text.isprintable() and len(text) <= width:
        return text
    shown = "".join(REPLACEMENT if unicodedata.category(sign) in UNSHOWABLE else sign for sign in text)
    if cells(shown) <= width:
        return shown
    used = cells(ELLIPSIS)
    for position, sign in enumerate(shown):
        used += cells(sign)
        if used > width:
            return shown[:position] + ELLIPSIS
    return shown


def cells(text: str) -> int:
    """How many cells a terminal gives to `text`: two for a wide sign, none for one that combines (UAX #11)."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )
