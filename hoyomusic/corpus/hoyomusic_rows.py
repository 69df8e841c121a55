"""The hoyoMusic set on the user's disk: rows of ABC text with a nation each, in whatever container they came.

The set (`Genius-Society/hoyoMusic`, CC BY-NC-ND 4.0) is never shipped and never fetched. A row has the
fields `prompt` (control codes that repeat what the music says: ignored), `data` (ABC text) and `label`
(the nation: an id, an English or a Chinese name). Expect many transposed copies.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from typing import Any, BinaryIO

from hoyomusic.abc import parse_each
from hoyomusic.corpus.cache import digest
from hoyomusic.corpus.candidates import Reading, name_abc_error
from hoyomusic.corpus.cleaning import NO_KEY
from hoyomusic.corpus.files import MEGABYTE, FoundFile, digest_files, find_files, open_file, read_file
from hoyomusic.corpus.registry import data_folder
from hoyomusic.errors import AbcError, CorpusError, MissingPartError, UsageError
from hoyomusic.regions import find_region

LICENCE = "CC BY-NC-ND 4.0 (hoyoMusic): non-commercial, no derivatives"

LARGEST_FILE = 1024 * MEGABYTE
LARGEST_JSON = 64 * MEGABYTE
LONGEST_ROW = MEGABYTE
USUAL_ROW = 4096
MOST_ROWS = 1_000_000

PLAIN_SUFFIXES = (".jsonl", ".json", ".csv", ".jsonl.gz", ".json.gz", ".csv.gz")
ARROW_SUFFIXES = (".parquet", ".arrow")
ROW_SUFFIXES = PLAIN_SUFFIXES + ARROW_SUFFIXES

# What the `datasets` library keeps beside the rows.
METADATA_FILES = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")

BAD_ROW = "row that is no object"
LONG_ROW = "row that is too long"
NO_DATA = "data missing"
DATA_NOT_TEXT = "data is not text"
EMPTY_DATA = "data empty"
HTML_DATA = "data is a web page"
BAD_METRE = "metre with a zero or without numbers"
UNKNOWN_LABEL = "label is no nation"

# The beginning of a list, or of an object whose entry ``data`` is one, behind entries that are no lists.
_SCALAR = r'(?:"[^"\\]*"|true|false|null|[-+.0-9eE]+)'
_LIST_BEGINS = re.compile(rf'\s*(?:\[|\{{(?:\s*"[^"\\]*"\s*:\s*{_SCALAR}\s*,){{0,100}}\s*"data"\s*:\s*\[)')
_BLANKS = re.compile(r"\s*")
_DECODER = json.JSONDecoder()

_KEY_FIELD = re.compile(r"^\s*K:", re.MULTILINE)
_METRE_FIELD = re.compile(r"(?:^|\[)\s*M:([^\]\n%]*)", re.MULTILINE)
_METRE_VALUE = re.compile(r"none|C\|?|\(?[1-9]\d*(?:\+[1-9]\d*)*\)?/[1-9]\d*", re.IGNORECASE)


def find_hoyomusic(path: Path | None) -> Path:
    """Where the set is: `path`, else ``data/hoyomusic`` here, else ``hoyomusic`` in the user's data folder.

    Raises CorpusError that says where to put it, where it is in none of them.
    """
    places = [path] if path is not None else [Path("data/hoyomusic"), data_folder() / "hoyomusic"]
    for place in places:
        if place.exists():
            return place
    if path is not None:
        raise CorpusError(
            "there is no such file or folder", where=str(path), remedy="name the file or folder of the set"
        )
    raise CorpusError(
        "the hoyoMusic set is not on this computer",
        remedy=f"put its file (genshin.jsonl) into {places[0]} or {places[1]}, or name it with --hoyomusic PATH",
    )


class HoyoMusicRows:
    """The rows of a file, or of all files in a folder (see `Source`).

    `region` is the nation that all of them teach, whatever their labels say; empty: as they say.
    """

    licence = LICENCE

    def __init__(self, path: Path, name: str = "hoyomusic", region: str = "") -> None:
        self.name = name
        self.slot = f"rows-{digest([str(path.resolve()), region])[:16]}"
        self._region = region
        files = [file for file in find_files(path, ROW_SUFFIXES) if file.path.name not in METADATA_FILES]
        plain = [file for file in files if file.path.name.lower().endswith(PLAIN_SUFFIXES)]
        # The same rows often lie beside each other as text and as Arrow: text needs no further part.
        self.files = plain or files
        if not self.files:
            raise CorpusError("holds no rows", where=str(path), remedy=f"rows are {', '.join(ROW_SUFFIXES)} files")
        if not plain and util.find_spec("pyarrow") is None:
            raise MissingPartError(
                "Parquet and Arrow files need pyarrow", where=str(path), remedy="run: pip install pyarrow"
            )

    def fingerprint(self) -> str:
        """A digest of names and bytes of the files, and of the nation that was given."""
        return digest([self.name, self._region, digest_files(self.files)])

    def read(self) -> Iterator[Reading]:
        """One reading a row, named ``source/file#row`` with rows counted from 1."""
        for file in self.files:
            for number, row in enumerate(_read_rows(file), start=1):
                if number > MOST_ROWS:
                    raise CorpusError(f"holds more than {MOST_ROWS} rows", where=str(file.path), remedy="cut it")
                yield read_row(row, file.place(self.name, number), self._region)


def read_row(row: Any, place: str, region: str = "") -> Reading:
    """What one row says: a tune with its nation, or the reason why it is refused.

    `region` stands in for the row's label where it is given.
    """

    def refuse(reason: str) -> Reading:
        return Reading(place, region, None, reason)

    if isinstance(row, Refused):
        return refuse(row.reason)
    if not isinstance(row, dict):
        return refuse(BAD_ROW)
    region = region or read_label(row.get("label"))
    if not region:
        return refuse(UNKNOWN_LABEL)
    text = row.get("data")
    if text is None:
        return refuse(NO_DATA)
    if not isinstance(text, str):
        return refuse(DATA_NOT_TEXT)
    if not text.strip():
        return refuse(EMPTY_DATA)
    if text.lstrip()[:1] == "<":
        return refuse(HTML_DATA)
    if not _KEY_FIELD.search(text):
        return refuse(NO_KEY)
    if any(value.strip() and not _METRE_VALUE.fullmatch(value.strip()) for value in _METRE_FIELD.findall(text)):
        return refuse(BAD_METRE)
    tune = next(parse_each(text))
    return refuse(name_abc_error(tune)) if isinstance(tune, AbcError) else Reading(place, region, tune)


def read_label(label: Any) -> str:
    """The nation's English name for an id (as a number or as digits) or a name; empty for anything else.

    >>> read_label(6), read_label("6"), read_label("枫丹"), read_label("natlan"), read_label("Jarilo-VI")
    ('Natlan', 'Natlan', 'Fontaine', 'Natlan', '')
    """
    if isinstance(label, bool) or not isinstance(label, int | str):
        return ""
    try:
        return find_region(label).name
    except UsageError:
        return ""


class Refused:
    """Stands for a row that could not even be taken out of its container."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _read_rows(file: FoundFile) -> Iterator[Any]:
    suffix = Path(file.path.name.lower().removesuffix(".gz")).suffix
    yield from _READERS[suffix](file.path)


def _read_json_lines(path: Path) -> Iterator[Any]:
    with open_file(path, LARGEST_FILE) as lines:
        while line := lines.readline(LONGEST_ROW + 1):
            if len(line) > LONGEST_ROW:
                while line and not line.endswith(b"\n"):
                    line = lines.readline(LONGEST_ROW)
                yield Refused(LONG_ROW)
            elif line.strip():
                yield _load_json(line)


def _load_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return Refused(BAD_ROW)


def _read_json(path: Path) -> Iterator[Any]:
    """The rows of a list one by one: what a small file says in lists of lists can be 25 times as large in memory."""
    text = read_file(path, LARGEST_JSON).decode("utf-8-sig", "replace")
    beginning = _LIST_BEGINS.match(text)
    place = -1 if beginning is None else _skip_blanks(text, beginning.end())
    while place >= 0 and text[place : place + 1] != "]":
        row, place = _take_row(text, place)
        if place < 0:
            break
        yield row
        place = _skip_blanks(text, place)
        if text[place : place + 1] == ",":
            place = _skip_blanks(text, place + 1)
        elif text[place : place + 1] != "]":
            place = -1
    if place < 0:
        raise CorpusError(
            "holds no list of rows", where=str(path), remedy='rows are a JSON list or {"data": [...]}, or a line each'
        )


def _take_row(text: str, place: int) -> tuple[Any, int]:
    """The JSON value at `place` and the place behind it, which is -1 where there is none, or one that is too long."""
    length = USUAL_ROW
    while length <= 2 * LONGEST_ROW:
        piece = text[place : place + length]
        try:
            row, end = _DECODER.raw_decode(piece)
        except (ValueError, RecursionError):
            end = -1
        if end >= 0 and (end < len(piece) or place + end == len(text)):
            return row, place + end
        if len(piece) < length:
            break
        length *= 2
    return None, -1


def _skip_blanks(text: str, place: int) -> int:
    return _BLANKS.match(text, place).end()


def _read_csv(path: Path) -> Iterator[Any]:
    with open_file(path, LARGEST_FILE) as file:
        rows = csv.DictReader(_read_lines(file))
        while True:
            try:
                yield next(rows)
            except StopIteration:
                return
            except csv.Error:
                yield Refused(LONG_ROW)


def _read_lines(file: BinaryIO) -> Iterator[str]:
    encoding = "utf-8-sig"
    while line := file.readline(LONGEST_ROW):
        yield line.decode(encoding, "replace")
        encoding = "utf-8"


def _read_parquet(path: Path) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        for batch in parquet.ParquetFile(path).iter_batches(1024):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise CorpusError("is no Parquet file", where=str(path)) from error


def _read_arrow(path: Path) -> Iterator[Any]:
    import pyarrow

    # The `datasets` library writes streams, others write files: both begin differently.
    try:
        with pyarrow.OSFile(str(path)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            opened = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
            yield from opened.read_all().to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise CorpusError("is no Arrow file", where=str(path)) from error


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
}
