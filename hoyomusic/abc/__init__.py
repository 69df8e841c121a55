"""ABC 2.1 text <-> `Tune`: linear time, never hangs, names the line and column of what is wrong.

::

    text.py     bytes to text, a file to the text of its tunes, escapes of text fields
    fields.py   the values of K:, M:, L:, Q: and P:, both ways
    scanner.py  the symbols of a line of music, each by itself
    music.py    symbols to bars of notes
    reader.py   lines and fields to a tune
    repeats.py  bar signs to repeats with explicit starts
    writer.py   a tune to canonical ABC

>>> from hoyomusic.abc import parse, write
>>> print(write(parse("X:1\\nT:Scale\\nM:C|\\nK:G\\nGABc defg:|")[0]))
X:1
T:Scale
M:2/2
L:1/8
K:G
|: GABc defg :|
<BLANKLINE>
"""

from __future__ import annotations

from hoyomusic.abc.reader import Notice, Reading, parse, parse_each, parse_one, read, read_each
from hoyomusic.abc.text import decode
from hoyomusic.abc.writer import write, write_book

__all__ = [
    "Notice",
    "Reading",
    "decode",
    "parse",
    "parse_each",
    "parse_one",
    "read",
    "read_each",
    "write",
    "write_book",
]
