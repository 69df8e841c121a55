"""Mutated files for each reader: what comes of one is what the reader promises, or a `HoyoError`, soon and in bounds.

A run hangs on its seed alone. Good files are changed as bytes (flips, cuts, splices, repeats) and as words (parts
that a format is made of, swapped and put in); seals are made right again, so that what lies behind them is reached.
For long runs: ``python -m tests.fuzzing abc --seconds 600``; what fails is written to ``tests/failures/abc/``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import lzma
import random
import resource
import signal
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType

from hoyomusic import abc
from hoyomusic.errors import AbcError, HoyoError
from hoyomusic.tune import Tune

FAILURES = Path(__file__).parent / "failures"
# A processor second is much for a file of a few kilobytes; a busy machine and the first call are allowed for.
LIMIT_SECONDS = 5
LIMIT_BYTES = 500 * 2**20
LARGEST_INPUT = 20_000


class TooSlow(BaseException):
    """Raised in the middle of whatever takes too long; no reader can catch it by its usual errors."""


@dataclass(frozen=True)
class Reader:
    """A reader under test: good files, words of its format, what it does, how a seal is made right."""

    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...]
    read: Callable[[bytes], object]
    seal: Callable[[bytes], bytes] = bytes
    largest: int = LARGEST_INPUT


# ---------------------------------------------------------------------------------------------- mutation

ABC_WORDS = tuple(
    word.encode()
    for word in (
        "|: :| :: [1 [2 |1 |2 |] [| || |1,3 |1-4 [\"x\" (3 (3:2:4 (9 > < >> <<< - & z Z4 x4 X2 y !trill! +p+ ~ ."
        " {ce} {/g} [CEG] [C2E]- [K:D] [M:3/4] [L:1/16] [V:2] [P:B] [Q:1/4=99] \"Am7\" \"^word\" ^ __ = '' ,, /// 3/2"
        " 99999 0 \\ % $ * ;"
        " \n \n\n X:1\n K:G\n K:Hp\n K:none\n K:C^f_b\n M:6/8\n M:C|\n M:2+3/8\n M:none\n M:1/0\n L:1/3\n L:0\n P:A\n"
        " P:(AB)9.C2\n Q:1/8=0\n V:1\n w:la\n s:*\n +:more\n I:propagate-accidentals_not\n m:~n=abc\n U:T=!x!\n"
        " %%hoyo-region_Liyue\n %%begintext\n %%endtext\n T:caf\\'e_&eacute;\\u0000\n r: \ufeff \u202e \x1b[31m"
        " \x85 \u2028"
    ).split(" ")
)
TEXT_WORDS = (b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"1e999", b"-1", b"\\u0000", b"\\ud800", b"\n", b"\t",
              b'"label": 9', b'"data": 5', b"9" * 5000, b"51", b"\xff", b"\xef\xbb\xbf", b"Do5", b"Si4b1", b"318", b"0")
BYTE_WORDS = (b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80" * 9 + b"\1", b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6",
              b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"MThd", b"MTrk")


def mutate(numbers: random.Random, reader: Reader) -> bytes:
    """A file near a good one: a few changes, most of them small."""
    data = bytearray(numbers.choice(_seeds(reader)))
    for _ in range(1 + min(int(numbers.expovariate(0.4)), 12)):
        numbers.choice(_CHANGES)(numbers, data, reader)
    return reader.seal(bytes(data[: reader.largest]))


@cache
def _seeds(reader: Reader) -> list[bytes]:
    return reader.seeds()


def _span(numbers: random.Random, data: bytearray) -> tuple[int, int]:
    start = numbers.randint(0, len(data))
    return start, min(start + int(numbers.expovariate(0.05)), len(data))


def _flip(numbers: random.Random, data: bytearray, reader: Reader) -> None:
    if data:
        data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)


def _overwrite(numbers: random.Random, data: bytearray, reader: Reader) -> None:
    if data:
        data[numbers.randrange(len(data))] = numbers.randrange(256)


def _remove(numbers: random.Random, data: bytearray, reader: Reader) -> None:
    start, stop = _span(numbers, data)
    del data[start:stop]


def _truncate(numbers: random.Random, data: bytearray, reader: Reader) -> None:
    if numbers.random() < 0.3:
        del data[numbers.randint(0, len(data)) :]


def _repeat(numbers: random.Random, data: bytearray, reader: Reader) -> None:
    start, stop = _span(numbers, data)
    data[start:start] = data[start:stop] * numbers.choice((1, 2, 10, 100, 1000))
    del data[LARGEST_INPUT:]


def _move(numbers: random.Random, data: bytearray, reader: Reader) -> None:
    start, stop = _span(numbers, data)
    place = numbers.randint(0, len(data))
    data[place:place] = data[start:stop]


def _splice(numbers: random.Random, data: bytearray, reader: Reader) -> None:
    other = numbers.choice(_seeds(reader))
    start, stop = _span(numbers, data)
    first = numbers.randint(0, len(other))
    data[start:stop] = other[first : first + int(numbers.expovariate(0.01))]


def _put_word(numbers: random.Random, data: bytearray, reader: Reader) -> None:
    start, stop = _span(numbers, data)
    data[start : stop if numbers.random() < 0.3 else start] = numbers.choice(reader.words)


def _put_words(numbers: random.Random, data: bytearray, reader: Reader) -> None:
    start = numbers.randint(0, len(data))
    data[start:start] = b"".join(numbers.choices(reader.words, k=numbers.randint(2, 20)))


_CHANGES = (_flip, _overwrite, _remove, _truncate, _repeat, _move, _splice, _put_word, _put_word, _put_word, _put_words)


# ---------------------------------------------------------------------------------------------- readers


def read_abc(data: bytes) -> None:
    """As `hoyo render` reads, plays and writes it; what is written must say the same again."""
    from hoyomusic.render import midi
    from hoyomusic.score import perform

    for found in abc.parse_each(abc.decode(data)):
        if isinstance(found, AbcError):
            assert found.line is not None and "\n" not in str(found)
            continue
        assert isinstance(found, Tune)
        found.faults()
        again = abc.parse_one(abc.write(found))
        assert again.bars == found.bars, "what is written says something else"
        midi.to_bytes(perform(found))


def read_arranged(data: bytes) -> None:
    """The band for whatever can be read."""
    from hoyomusic.arrangement import arrange
    from hoyomusic.regions import REGIONS

    for number, found in enumerate(abc.parse_each(abc.decode(data))):
        if isinstance(found, Tune):
            arrange(found, REGIONS[(number + len(data)) % len(REGIONS)])


def read_sheet(data: bytes) -> None:
    """MusicXML for whatever can be read, well-formed."""
    from xml.etree import ElementTree

    from hoyomusic.render import musicxml
    from hoyomusic.score import perform

    for found in abc.parse_each(abc.decode(data)):
        if isinstance(found, Tune):
            ElementTree.fromstring(musicxml.to_bytes(perform(found)))


def read_ids(data: bytes) -> None:
    """As `--prime`, `infill` and training take a tune: into ids and back."""
    from hoyomusic.corpus.candidates import Reading, examine
    from hoyomusic.grammar import clocks
    from hoyomusic.vocab import Vocabulary

    vocabulary = Vocabulary.build()
    for found in abc.parse_each(abc.decode(data)):
        if isinstance(found, Tune):
            candidate = examine(Reading("here#1", "Liyue", found))
            for tune in filter(None, (found, candidate.tune)):
                try:
                    ids = vocabulary.encode(tune)
                except HoyoError:
                    continue
                clocks(vocabulary, ids)
                assert vocabulary.encode(vocabulary.decode(ids)) == ids


def read_corpus(suffix: str) -> Callable[[bytes], None]:
    """As `hoyo corpus build --corpus FILE` reads a file of this suffix, rows and all."""

    def read(data: bytes) -> None:
        from hoyomusic.corpus import load_corpus

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"Liyue--form--usul--title--composer{suffix}"
            path.write_bytes(data)
            load_corpus([path], use_cache=False)

    return read


def read_like(data: bytes) -> None:
    """As `hoyo generate --like FILE` asks a file how it was made."""
    from hoyomusic.provenance import read_provenance

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tune.mid"
        path.write_bytes(data)
        read_provenance(path)


def read_model(data: bytes) -> None:
    from hoyomusic import archive, checkpoint

    checkpoint._read(archive.parse(data, "fuzzed.pth"), "fuzzed.pth")


def read_step(data: bytes) -> None:
    from hoyomusic.runtime import container

    container.parse(data, "fuzzed.onnx")


def read_index(data: bytes) -> None:
    from hoyomusic.novelty import NoveltyIndex

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzzed.index"
        path.write_bytes(data)
        index = NoveltyIndex.load(path)
        index.measure(abc.parse_one(ABC_SEEDS[0]))


# ------------------------------------------------------------------------------------------- good files

ABC_SEEDS = (
    "X:1\nT:A jig\nC:Trad.\nM:6/8\nL:1/8\nQ:3/8=120\nK:D\n"
    "|:A|DFA dfd|edB AFD|1 EGB ege|fdB AF:|2 EGB ege|fdB d2|]\n",
    "X:2\nT:Caf\\'e\nR:reel\nN:one\n+:two\nM:C|\nL:1/8\nP:AB2\nK:Am clef=bass\n"
    "P:A\n\"Am\"A>B (3cde [CEG]2 {ag}f2|!trill!z4 ^f_g=a2-|a8||\n"
    "P:B\n[M:3/4][K:G]G2 B2 d2|g6|]\n",
    "%%hoyo-region Liyue\nL:1/4\nX:3\nM:5/4\nK:Gdor\nV:1\nGABcd|e5|\nV:2\nz5|z5|\nw:la la\n"
    "X:4\nM:none\nK:none\na/2b3/c// z [ce]- [ce]|Z2|\n",
)


def abc_seeds() -> list[bytes]:
    book = (Path(__file__).parent.parent / "data" / "book.abc").read_bytes()
    return [*(text.encode() for text in ABC_SEEDS), *(b"X:1" + piece for piece in book.split(b"X:1")[1:4])]


def row_seeds() -> list[bytes]:
    labels = (1, "枫丹", "x")
    rows = [{"prompt": "S:2", "data": text, "label": label} for text, label in zip(ABC_SEEDS, labels, strict=True)]
    return ["\n".join(json.dumps(row) for row in rows).encode()]


def json_seeds() -> list[bytes]:
    rows = [json.loads(line) for line in row_seeds()[0].split(b"\n")]
    return [json.dumps(rows).encode(), json.dumps({"data": rows, "version": 1}).encode()]


def csv_seeds() -> list[bytes]:
    return [b'prompt,data,label\nS:2,"X:1\nM:4/4\nL:1/8\nK:C\nabcdefga|abcdefga|c8|]",3\n,,\n']


def score_seeds() -> list[bytes]:
    columns = "Sira\tKod\tNota53\tNotaAE\tKoma53\tKomaAE\tPay\tPayda\tMs\tLNS\tBas\tSoz1\tOffset"
    rows = ["1\t51\t\t\t-1\t-1\t4\t4\t0\t0\t0\t\t0"]
    rows += [f"{n}\t9\tDo5\tC5\t318\t318\t1\t4\t500\t95\t96\t\t{n / 4}" for n in range(2, 34)]
    return ["\n".join([columns, *rows]).encode()]


def tar_seeds() -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name in ("a/hicaz--sarki--sofyan--title--composer.txt", "../rast--form--usul--title--x.txt"):
            member = tarfile.TarInfo(name)
            member.size = len(score_seeds()[0])
            made.addfile(member, io.BytesIO(score_seeds()[0]))
    return [buffer.getvalue()]


def like_seeds() -> list[bytes]:
    made = b"seed 7, tune 0, --region Mondstadt --bars 16 --temperature 1.0; HoyoMusic 1.0.0, model 0123456789ab"
    return [b"MThd" + made, b"\x1f\x8b" + made,
            b"Z:HoyoMusic 1.0.0, model 0123456789ab\nN:seed 7, tune 3, --region Liyue\n"]


def model_seeds() -> list[bytes]:
    import torch

    from hoyomusic.model import HoyoMusicLSTM
    from hoyomusic.sizes import ModelConfig

    sizes = ModelConfig(6, 2, 2, embedding=2, hidden=2, layers=1)
    values = {
        "format": "hoyomusic", "version": 1, "config": sizes.to_dict(), "vocab": {"tokens": list("abcdef")},
        "weights": dict(HoyoMusicLSTM(sizes).state_dict()), "provenance": {"tunes": {"Liyue": 3}},
        "training": {"epoch": 1, "step": 2},
    }
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return [buffer.getvalue()]


def step_seeds() -> list[bytes]:
    from hoyomusic.model import HoyoMusicLSTM
    from hoyomusic.runtime import container
    from hoyomusic.runtime.graph import write_graph
    from hoyomusic.sizes import ModelConfig

    sizes = ModelConfig(6, 2, 2, embedding=4, hidden=4, layers=1, recalls=1)
    card = {"config": sizes.to_dict(), "vocab": {"tokens": list("abcdef")}, "provenance": {}, "checkpoint": "abc"}
    weights = HoyoMusicLSTM(sizes).eval().arrays()
    return [
        container.seal(write_graph(weights, int8=int8), {**card, "precision": "int8" if int8 else "fp32"})
        for int8 in (True, False)
    ]


def index_seeds() -> list[bytes]:
    from hoyomusic.novelty import NoveltyIndex

    with tempfile.TemporaryDirectory() as folder:
        index = NoveltyIndex.build([("a jig", abc.parse_one(ABC_SEEDS[0]))] * 2, "corpus")
        return [index.save(Path(folder) / "good.index").read_bytes()]


def packed(seeds: Callable[[], list[bytes]], pack: Callable[[bytes], bytes]) -> Callable[[], list[bytes]]:
    return lambda: [pack(data) for data in seeds()]


# ------------------------------------------------------------------------------------------------- seals


def seal_zip(data: bytes) -> bytes:
    """The parts that can still be found, with true checksums; the file as it is where none can."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            parts = {}
            for entry in opened.infolist():
                start = entry.header_offset + 30 + len(entry.filename) + len(entry.extra)
                parts[entry.filename] = data[start : start + min(entry.file_size, LARGEST_INPUT)]
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as made:
            for name, part in parts.items():
                made.writestr(name, part)
        return buffer.getvalue()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError, IndexError, OverflowError):
        return data


def seal_step(data: bytes) -> bytes:
    """The digest of all but the last entry put into the last entry."""
    from hoyomusic.runtime import container

    length = len(container._entry("sha256", bytes(64)))
    content = data[:-length]
    return content + container._entry("sha256", hashlib.sha256(content).hexdigest().encode())


def seal_index(data: bytes) -> bytes:
    header, _, body = data.partition(b"\n")
    try:
        values = json.loads(header)
        values["sha256"] = hashlib.sha256(body).hexdigest()
        return json.dumps(values).encode() + b"\n" + body
    except (ValueError, TypeError, RecursionError):
        return data


READERS = {
    "abc": Reader(abc_seeds, ABC_WORDS, read_abc),
    "arranged": Reader(abc_seeds, ABC_WORDS, read_arranged),
    # music21 takes a millisecond for a note.
    "sheet": Reader(abc_seeds, ABC_WORDS, read_sheet, largest=2_000),
    "ids": Reader(abc_seeds, ABC_WORDS, read_ids),
    "abc.gz": Reader(packed(abc_seeds, lambda data: gzip.compress(data, mtime=0)), BYTE_WORDS, read_corpus(".abc.gz")),
    "corpus": Reader(abc_seeds, ABC_WORDS, read_corpus(".abc")),
    "jsonl": Reader(row_seeds, TEXT_WORDS + ABC_WORDS, read_corpus(".jsonl")),
    "json": Reader(json_seeds, TEXT_WORDS + ABC_WORDS, read_corpus(".json")),
    "csv": Reader(csv_seeds, TEXT_WORDS + ABC_WORDS, read_corpus(".csv")),
    "symbtr": Reader(score_seeds, TEXT_WORDS, read_corpus(".txt")),
    "tar": Reader(tar_seeds, TEXT_WORDS + BYTE_WORDS, read_corpus(".tar")),
    "tar.xz": Reader(packed(tar_seeds, lzma.compress), BYTE_WORDS, read_corpus(".tar.xz")),
    "like": Reader(like_seeds, (*BYTE_WORDS, b"--prime", b"--bars", b"--region", b" nan", b" -1", b"N:"), read_like),
    "model": Reader(model_seeds, BYTE_WORDS, read_model, seal_zip),
    "model bytes": Reader(model_seeds, BYTE_WORDS, read_model),
    "step": Reader(step_seeds, BYTE_WORDS, read_step, seal_step),
    "index": Reader(index_seeds, BYTE_WORDS + TEXT_WORDS, read_index, seal_index),
}


# ------------------------------------------------------------------------------------------------- a run


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises `TooSlow` in what takes more than so many seconds of the processor."""

    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def find_fault(reader: Reader, data: bytes) -> str | None:
    """What is wrong with the way in which `data` is read; None where nothing is."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with within(LIMIT_SECONDS):
            reader.read(data)
    except HoyoError as error:
        return None if "\n" not in str(error) else f"an error of several lines: {str(error)[:200]!r}"
    except TooSlow:
        return f"takes more than {LIMIT_SECONDS} s"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return f"takes {grown >> 20} MB" if grown > LIMIT_BYTES else None


def run(name: str, *, seconds: float, inputs: int, seed: int) -> tuple[int, dict[str, bytes]]:
    """How many files were tried until time or inputs ran out, and one for each kind of fault."""
    reader, faults, tried = READERS[name], {}, 0
    ends = time.monotonic() + seconds
    while tried < inputs and time.monotonic() < ends:
        data = mutate(random.Random(f"{name} {seed} {tried}"), reader)
        tried += 1
        fault = find_fault(reader, data)
        if fault is not None:
            kind = fault if len(fault) < 60 else fault[:60]
            if kind not in faults or len(data) < len(faults[kind]):
                faults[kind] = data
    return tried, faults


def main(arguments: list[str]) -> int:
    """Try one reader, or all of them, for a time; keep what fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=main.__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}; else all")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    failed = 0
    for name in options.readers or READERS:
        tried, faults = run(name, seconds=options.seconds, inputs=10**9, seed=options.seed)
        print(f"{name}: {tried} files tried, {len(faults)} kinds of fault", flush=True)
        for fault, data in faults.items():
            path = FAILURES / name / hashlib.sha256(data).hexdigest()[:12]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"  {path.relative_to(FAILURES.parent.parent)}: {fault}", flush=True)
        failed += bool(faults)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
