"""How much of a tune is new: the longest run of notes, and the windows of notes, that training tunes have too.

Two runs are the same when their melodic intervals and the ratios of their lengths are, in whatever key
and note unit. A tune is read as `corpus.duplicates` reads it: in written order, repeats once, chords by
their top note, ties joined, rests skipped.

An index holds one 40-bit hash for every `WINDOW` notes in a row of the training tunes, tune after tune, so
that a longer run is a chain of hashes at consecutive places. It holds no notes. A window that no
training tune has is taken for known with a probability of (windows of the index) / 2^40: 8e-7 for the
default corpus. A longer run is too long by one note with a probability of 2^-40.

>>> from hoyomusic.abc import parse
>>> [jig] = parse("X:1\\nM:6/8\\nL:1/8\\nK:D\\nDFA dfd|edB AFD|EGB ege|fdB AFD|]")
>>> NoveltyIndex.build([("a jig", jig)]).measure(jig.transposed_to("G"))
Novelty(longest=24, source='a jig', new=0.0)
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hoyomusic.errors import CheckpointError
from hoyomusic.storage import write_atomically
from hoyomusic.tune import Tune

# All that reads tunes comes with the corpus: too much for a start that only makes some.
if TYPE_CHECKING:
    from hoyomusic.corpus import Corpus

WINDOW = 8
# A run of so many notes that a training tune has too, in interval and rhythm, is a quotation.
QUOTATION = 16
SUFFIX = ".index"
# The default corpus takes 4 MB.
LARGEST_FILE = 256 * 2**20
LARGEST_HEADER = 1024
FORMAT = "hoyomusic index of training tunes"
VERSION = 1

# Hashes of windows are whole numbers of so many bytes, none below 2.
WORD_BYTES = 5
# Stands behind the last window of each training tune, and at both ends of a tune that is looked up: a
# chain of equal hashes ends there.
TUNE_END = 0
LOOKED_UP_END = 1

# Windows that are looked up are first sought by these bits alone, in a table that fits the processor's cache.
_FILTER_BITS = 16


@dataclass(frozen=True, slots=True)
class Novelty:
    """What a tune shares with the training tunes.

    `longest` counts the notes of the longest run that one training tune has too, `source` names the
    first such tune; runs of fewer than `WINDOW` notes are not looked for: 0 and None. `new` is the share
    of the tune's windows of `WINDOW` notes that no training tune has; 1 where it is shorter than one.
    """

    longest: int
    source: str | None
    new: float

    def to_dict(self) -> dict[str, Any]:
        """The three values as plain JSON values."""
        return asdict(self)


class NoveltyIndex:
    """The windows of named tunes, to be compared with.

    `names` (tunes) in the order of building; `corpus` the hash of the corpus that they are from, empty
    where they are from none. `words` (windows + tunes,) uint64 holds the tunes' hashes, one tune after
    the other, `TUNE_END` behind each.
    """

    def __init__(self, names: Iterable[str], words: np.ndarray, corpus: str = "") -> None:
        self.names = tuple(names)
        self.words = words
        self.corpus = corpus
        self._ends = np.flatnonzero(words == TUNE_END)
        self._low = (words & (2**_FILTER_BITS - 1)).astype(np.uint16)

    def __len__(self) -> int:
        """How many windows there are, equal ones counted each."""
        return len(self.words) - len(self.names)

    @classmethod
    def build(cls, named_tunes: Iterable[tuple[str, Tune]], corpus: str = "") -> NoveltyIndex:
        """The index of `named_tunes`; the name of each is what `Novelty.source` will say."""
        names, parts = [], [np.empty(0, np.uint64)]
        for name, tune in named_tunes:
            names.append(name)
            parts += [_hash_windows(tune), np.array([TUNE_END], np.uint64)]
        return cls(names, np.concatenate(parts), corpus)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the index to `path`, replacing what is there. Raises StorageError when the disk is unwilling.

        A line of JSON (format, version, SHA-256 of the rest), a line of JSON (corpus, names), then
        `words` in little-endian numbers of `WORD_BYTES` bytes.
        """
        said = {"corpus": self.corpus, "names": self.names}
        octets = self.words.astype("<u8").view(np.uint8).reshape(-1, 8)
        body = json.dumps(said).encode() + b"\n" + octets[:, :WORD_BYTES].tobytes()
        header = {"format": FORMAT, "version": VERSION, "sha256": hashlib.sha256(body).hexdigest()}
        return write_atomically(path, json.dumps(header).encode() + b"\n" + body, overwrite=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NoveltyIndex:
        """The index in `path`; nothing in the file is ever run.

        Raises CheckpointError where the file cannot be read, is damaged, newer, or no index.
        """
        where = os.fspath(path)
        try:
            status = Path(path).stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
                raise CheckpointError(f"is no file of at most {LARGEST_FILE} bytes", where=where)
            header, _, body = Path(path).read_bytes().partition(b"\n")
        except OSError as error:
            raise CheckpointError(f"cannot be read ({error.strerror})", where=where) from error
        values = _read_object(header) if len(header) <= LARGEST_HEADER else {}
        if values.get("format") != FORMAT:
            raise CheckpointError("is no index of training tunes", where=where)
        if values.get("version") != VERSION:
            raise CheckpointError(
                f"has the version {repr(values.get('version'))[:40]}, not {VERSION}",
                where=where,
                remedy="use the program that wrote it",
            )
        line, _, octets = body.partition(b"\n")
        # What the seal does not hold is not even taken apart.
        said = _read_object(line) if values.get("sha256") == hashlib.sha256(body).hexdigest() else {}
        names, corpus = said.get("names"), said.get("corpus")
        sound = (
            len(octets) % WORD_BYTES == 0
            and isinstance(corpus, str)
            and isinstance(names, list)
            and all(isinstance(name, str) for name in names)
        )
        if sound:
            words = _read_words(octets)
            ends = np.flatnonzero(words < 2)
            sound = len(ends) == len(names) and not words[ends].any() and not words[-1:].any()
        if not sound:
            raise CheckpointError(
                "the index of training tunes is damaged", where=where, remedy="train or install again"
            )
        return cls(names, words, corpus)

    def measure(self, tune: Tune) -> Novelty:
        """What `tune` shares with the tunes of the index."""
        words = _hash_windows(tune)
        if not len(words):
            return Novelty(0, None, 1.0)
        wanted = np.zeros(2**_FILTER_BITS, bool)
        wanted[words & (2**_FILTER_BITS - 1)] = True
        places = np.flatnonzero(wanted[self._low])
        order = np.argsort(words, kind="stable")
        distinct, first, counts = np.unique(words[order], return_index=True, return_counts=True)
        kinds = np.minimum(np.searchsorted(distinct, self.words[places]), len(distinct) - 1)
        known = distinct[kinds] == self.words[places]
        places, kinds = places[known], kinds[known]
        if not len(places):
            return Novelty(0, None, 1.0)
        shared = counts[np.unique(kinds)].sum()
        # Every place in the index with every window of the tune that has its hash.
        repeats = counts[kinds]
        ahead = np.repeat(first[kinds] - np.cumsum(repeats) + repeats, repeats)
        windows = order[ahead + np.arange(len(ahead))]
        length, place = self._find_longest_chain(words, windows, np.repeat(places, repeats))
        source = self.names[int(np.searchsorted(self._ends, place))]
        return Novelty(length + WINDOW - 1, source, 1 - int(shared) / len(words))

    def _find_longest_chain(self, words: np.ndarray, windows: np.ndarray, places: np.ndarray) -> tuple[int, int]:
        """How many windows in a row agree at most, and at which place of the index that chain begins.

        `windows` of the tune and `places` of the index, (pairs,), hold all pairs of equal hashes.
        """
        padded = np.concatenate(([LOOKED_UP_END], words, [LOOKED_UP_END])).astype(np.uint64)
        # Place -1 is the end of the last tune, as it should be.
        begins = padded[windows] != self.words[places - 1]
        windows, places = windows[begins], places[begins]
        length = 1
        while True:
            goes_on = padded[windows + length + 1] == self.words[places + length]
            if not goes_on.any():
                return length, int(places[0])
            windows, places = windows[goes_on], places[goes_on]
            length += 1


def build_index(corpus: Corpus) -> NoveltyIndex:
    """The index of a corpus's training tunes, each named by its place and title; those that judge stay out."""
    from hoyomusic.corpus.split import TRAIN

    return NoveltyIndex.build(
        (
            (f"{entry.source} ({entry.tune.header.title})" if entry.tune.header.title else entry.source, entry.tune)
            for entry in corpus.of_split(TRAIN)
        ),
        corpus.hash,
    )


def find_index(model_path: Path) -> Path | None:
    """The index of what a model learned from: the file beside it with its name and our suffix; None if there is none.

    The default model's is shipped with it.
    """
    path = model_path.with_suffix(SUFFIX)
    return path if path.is_file() else None


def _hash_windows(tune: Tune) -> np.ndarray:
    """One hash for every `WINDOW` notes in a row; uint64 in [2, 2^40), shape (windows,)."""
    from hoyomusic.corpus.duplicates import join_melody

    melody = join_melody(tune.notes())
    steps = np.array(
        [
            _hash_step(after - before, length, following)
            for (before, length), (after, following) in zip(melody, melody[1:], strict=False)
        ],
        np.uint64,
    )
    count = max(len(melody) - WINDOW + 1, 0)
    found = np.zeros(count, np.uint64)
    for offset in range(WINDOW - 1):
        found = _mix(found + steps[offset : offset + count])
    return np.maximum(found >> np.uint64(64 - 8 * WORD_BYTES), np.uint64(2))


@lru_cache(maxsize=2**16)
def _hash_step(interval: int, length: Fraction, following: Fraction) -> int:
    """64 bits for a melodic interval in semitones and the ratio of two lengths, the same on every machine."""
    step = hashlib.blake2b(f"{interval} {following / length}".encode(), digest_size=8)
    return int.from_bytes(step.digest(), "little")


def _mix(words: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit numbers that changes every bit (Steele, Lea and Flood, SplitMix64, 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _read_object(line: bytes) -> dict[str, Any]:
    """A line of JSON as a dict; an empty one for anything else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_words(octets: bytes) -> np.ndarray:
    rows = np.zeros((len(octets) // WORD_BYTES, 8), np.uint8)
    rows[:, :WORD_BYTES] = np.frombuffer(octets, np.uint8).reshape(-1, WORD_BYTES)
    return rows.view("<u8").ravel().astype(np.uint64, copy=False)
