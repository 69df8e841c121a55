"""ABC as text: bytes to characters, files to tunes, and the escapes of text fields, both ways."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import NamedTuple

from hoyomusic.errors import AbcError

# U+0080..U+009F are control codes that no title holds: their presence says that code page 437 was read as latin-1.
_DAMAGED_FIELD = re.compile(r"^[A-Za-z+]:[^\n]*[\x80-\x9f][^\n]*$", re.MULTILINE)
_DAMAGE = re.compile(r"[\x80-\x9f]")

# The part of a line before a comment: a % that no backslash escapes starts one (ABC 2.1, section 2.2.5).
_UNCOMMENTED = re.compile(r"(?:[^%\\]|\\.?)*")

_FILE_FIELD = re.compile(r"[CLMOQRSZ]:")
MAXIMUM_TUNES = 500_000  # in one text
MAXIMUM_FILE_FIELDS = 10
MAXIMUM_FILE_FIELD = 100  # characters; every tune of the file carries them


class Piece(NamedTuple):
    """The text of one tune: its lines, the number of the first of them (from 1), and fields of the file's head."""

    first_line: int
    lines: list[str]
    file_fields: list[tuple[int, str]]


def decode(data: bytes) -> str:
    """Text of an ABC file: UTF-8, else latin-1; no byte order mark, line ends as ``\\n``, fields repaired.

    Never fails: what is no UTF-8 is taken byte by byte. Repaired are fields whose code page 437 letters
    were once read as latin-1, as in most Essen files (``\\x81`` stands for u-umlaut).

    >>> decode(b"T: Gr\\xc2\\x81n\\r\\n")
    'T: Grün\\n'
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return normalise(text)


def normalise(text: str) -> str:
    """`text` without byte order mark, with ``\\n`` as the only line end, and damaged fields repaired."""
    text = text.removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _DAMAGE.search(text):
        text = _DAMAGED_FIELD.sub(lambda match: _repair(match[0]), text)
    return text


def _repair(field: str) -> str:
    try:
        return field.encode("latin-1").decode("cp437")
    except UnicodeEncodeError:
        return field


def cut(text: str) -> list[Piece]:
    """The tunes of a normalised text: each starts at an ``X:`` at a line's start.

    Without any ``X:`` the whole text is one tune, or none where it has only blank lines and comments.
    Raises AbcError for more than `MAXIMUM_TUNES`.
    """
    lines = text.split("\n")
    starts = [index for index, line in enumerate(lines) if line.startswith("X:")]
    if len(starts) > MAXIMUM_TUNES:
        raise AbcError(f"a text of more than {MAXIMUM_TUNES} tunes", remedy="cut it into several files")
    if not starts:
        first = next((index for index, line in enumerate(lines) if line.strip() and not line.startswith("%")), None)
        return [] if first is None else [Piece(first + 1, lines[first:], [])]
    fields = [
        (number, without_comment(line))
        for number, line in enumerate(lines[: starts[0]], 1)
        if _FILE_FIELD.match(line) and len(line) <= MAXIMUM_FILE_FIELD
    ]
    fields = fields[:MAXIMUM_FILE_FIELDS]
    stops = [*starts[1:], len(lines)]
    return [Piece(start + 1, lines[start:stop], fields) for start, stop in zip(starts, stops, strict=True)]


def without_comment(line: str) -> str:
    """`line` up to the first ``%`` that is not escaped."""
    return _UNCOMMENTED.match(line)[0] if "%" in line else line


# ---------------------------------------------------------------------- text fields (ABC 2.1, section 8.2)

_COMBINING = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", "=": "\u0304", "u": "\u0306", ".": "\u0307",
    '"': "\u0308", "H": "\u030b", "v": "\u030c", "c": "\u0327", ";": "\u0328",
}  # fmt: skip
_LIGATURES = {
    "AE": "Æ", "ae": "æ", "OE": "Œ", "oe": "œ", "ss": "ß", "/O": "Ø", "/o": "ø", "O": "Ø", "o": "ø",
    "AA": "Å", "aa": "å", "TH": "Þ", "th": "þ", "DH": "Ð", "dh": "ð",
}  # fmt: skip
_ESCAPE = re.compile(
    r"""\\(?:(?P<verbatim>[%&\\])
    |u(?P<code>[0-9a-fA-F]{4})
    |(?P<accent>[`'^~=u."Hvc;])(?P<letter>[A-Za-z])
    |(?P<ligature>AE|ae|OE|oe|ss|/O|/o|AA|aa|TH|th|DH|dh|O|o))
    |&(?P<entity>\#[0-9]{1,7}|[A-Za-z][A-Za-z0-9]{1,30});""",
    re.VERBOSE,
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_TO_ESCAPE = re.compile(r"[\\%]|&(?=[A-Za-z#])")


def read_text(value: str) -> str:
    """A text field's value as it should be shown: escapes and entities resolved, control characters gone.

    >>> read_text("Caf\\\\'e &eacute; 50\\\\%")
    'Café é 50%'
    """
    if "\\" in value or "&" in value:
        value = _ESCAPE.sub(_resolve, value)
    return _UNPRINTABLE.sub(" ", value).strip()


def _resolve(match: re.Match[str]) -> str:
    if match["verbatim"]:
        return match["verbatim"]
    if match["code"]:
        return chr(int(match["code"], 16))
    if match["accent"]:
        composed = unicodedata.normalize("NFC", match["letter"] + _COMBINING[match["accent"]])
        return composed if len(composed) == 1 else match[0]
    if match["ligature"]:
        return _LIGATURES[match["ligature"]]
    return html.unescape(match[0])


def write_text(value: str) -> str:
    """The inverse of `read_text`, on one line: ``%``, ``\\`` and ``&`` escaped, line breaks and controls as blanks."""
    return _TO_ESCAPE.sub(r"\\\g<0>", _UNPRINTABLE.sub(" ", value)).strip()
