"""A corpus in ids: what is counted, and that the cache gives the same dataset back without reading a tune."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hoyomusic import dataset as room
from hoyomusic import regions
from hoyomusic.corpus import load_corpus
from hoyomusic.dataset import Dataset, Encoder, load_dataset, prepare
from hoyomusic.errors import TrainingError
from hoyomusic.grammar import clocks
from hoyomusic.recall import recall
from hoyomusic.regions import REGIONS
from hoyomusic.vocab import Vocabulary
from tests.conftest import BOOK, ROOT


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOYOMUSIC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOYOMUSIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tunes(tmp_path: Path) -> Path:
    """The book without its nations, so that one of its tunes judges the others."""
    path = tmp_path / "tunes.abc"
    lines = BOOK.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("%%hoyo-region")), encoding="utf-8")
    return path


def same(one: Dataset, other: Dataset) -> bool:
    """Whether two datasets hold the same in every field but the way to the tunes."""
    for ours, theirs in ((one.training, other.training), (one.validation, other.validation)):
        assert len(ours) == len(theirs)
        for sample, expected in zip(ours, theirs, strict=True):
            assert sample.region == expected.region
            for name in ("ids", "clock", "recall"):
                np.testing.assert_array_equal(getattr(sample, name), getattr(expected, name))
    names = ("learned", "unsayable", "notes_per_token", "statistics", "corpus_hash")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def test_each_tune_is_its_ids_with_clock_and_recall(tunes: Path) -> None:
    corpus, vocabulary = load_corpus([tunes]), Vocabulary.build()
    dataset = prepare(corpus, vocabulary)
    for split, samples in (("train", dataset.training), ("validation", dataset.validation)):
        entries = corpus.of_split(split)
        assert len(samples) == len(entries)
        for entry, sample in zip(entries, samples, strict=True):
            ids = vocabulary.encode(entry.tune)
            assert sample.ids.tolist() == ids
            assert sample.clock.tolist() == clocks(vocabulary, ids)
            np.testing.assert_array_equal(sample.recall, recall(vocabulary, ids))
    assert dataset.tokens == sum(len(sample.ids) - 1 for sample in dataset.training)
    assert dataset.corpus is corpus


def test_tunes_may_come_one_by_one_and_are_not_kept(tunes: Path) -> None:
    corpus, vocabulary = load_corpus([tunes]), Vocabulary.build()
    whole = np.concatenate(list(Encoder(vocabulary).tokens(corpus.tunes)))
    again = np.concatenate(list(Encoder(vocabulary).tokens(tune for tune in corpus.tunes)))
    np.testing.assert_array_equal(whole, again)


def test_pieces_end_where_they_may(tunes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, vocabulary = load_corpus([tunes]), Vocabulary.build()
    whole = prepare(corpus, vocabulary)
    monkeypatch.setattr(room, "_PIECE_TOKENS", 1)
    assert len(list(Encoder(vocabulary).tokens(corpus.tunes))) == len(corpus.tunes)
    assert same(prepare(corpus, vocabulary), whole)


def test_the_second_time_no_tune_is_read(tunes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary.build()
    first = load_dataset(vocabulary, [str(tunes)])
    assert same(first, prepare(load_corpus([str(tunes)]), vocabulary))
    with monkeypatch.context() as patched:
        patched.setattr(room, "assemble", None)
        again = load_dataset(vocabulary, [str(tunes)])
    assert same(again, first)
    assert again.corpus.hash == again.corpus_hash
    assert again.corpus is again.corpus


def test_each_wish_has_its_own_dataset(tunes: Path) -> None:
    vocabulary, sources = Vocabulary.build(), [str(tunes)]
    wishes = ({}, {"max_samples": 4}, {"max_samples": 4, "seed": 3})
    for _ in range(2):
        found = [load_dataset(vocabulary, sources, **wish) for wish in wishes]
        assert [len(each.training) + len(each.validation) for each in found] == [8, 4, 4]
        assert len({each.corpus_hash for each in found}) == 3
        assert not any(each.statistics["notices"] for each in found)
    split = load_dataset(Vocabulary.build("split"), sources)
    assert split.training[0].ids.tolist() != found[0].training[0].ids.tolist()
    assert found[1].corpus.hash == load_corpus(sources).limited(4).hash


def test_another_corpus_is_read_anew_and_told(tunes: Path, cache_folder: Path) -> None:
    vocabulary = Vocabulary.build()
    before = load_dataset(vocabulary, [str(tunes)])
    text = tunes.read_text(encoding="utf-8")
    tunes.write_text(text[: text.rindex("X:")], encoding="utf-8")
    after = load_dataset(vocabulary, [str(tunes)])
    assert same(after, replace(prepare(load_corpus([str(tunes)]), vocabulary), statistics=after.statistics))
    assert after.corpus_hash != before.corpus_hash
    assert any("dataset-" in notice and "is out of date" in notice for notice in after.statistics["notices"])
    assert load_dataset(vocabulary, [str(tunes)]).statistics["notices"] == []


def flip(path: Path, data: bytearray) -> None:
    data[-3] ^= 1
    path.write_bytes(data)


def put_folder(path: Path, data: bytearray) -> None:
    path.unlink()
    path.mkdir()


DAMAGED = ": the cached corpus is damaged, computed anew"


@pytest.mark.parametrize("kind", ["dataset-*.map", "abc-*.cache", "clusters-*.cache"])
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (flip, DAMAGED),
        (lambda path, data: path.write_bytes(data[:-9]), DAMAGED),
        (lambda path, data: path.write_bytes(b""), DAMAGED),
        (lambda path, data: path.write_bytes(data.replace(b"cache", b"other", 1)), DAMAGED),
        (put_folder, ": cannot be read (not a regular file), computed anew"),
    ],
    ids=["flipped", "cut", "empty", "of another version", "a folder"],
)
def test_a_damaged_cache_is_made_anew_and_told_once(
    tunes: Path, cache_folder: Path, harm: Callable[[Path, bytearray], object], told: str, kind: str
) -> None:
    vocabulary = Vocabulary.build()
    load_dataset(vocabulary, [str(tunes)])
    (path,) = cache_folder.glob(kind)
    sound = path.read_bytes()
    harm(path, bytearray(sound))
    if kind != "dataset-*.map":
        # What the cache keeps of the tunes is asked for where there is no dataset.
        next(cache_folder.glob("dataset-*.map")).unlink()
    after = load_dataset(vocabulary, [str(tunes)])
    assert after.statistics["notices"][0] == f"{path}{told}"
    assert same(replace(after, statistics={}), replace(prepare(after.corpus, vocabulary), statistics={}))
    if path.is_dir():
        # It stays, and is told of whenever something is to be written there.
        assert after.statistics["notices"][1:] == [
            f"the corpus is not cached: {path}: is not a regular file; name another file"
        ]
    else:
        assert after.statistics["notices"][1:] == []
        assert path.read_bytes() == sound
        assert load_dataset(vocabulary, [str(tunes)]).statistics["notices"] == []


BUILDER = """
import sys
from hoyomusic.dataset import load_dataset
from hoyomusic.vocab import Vocabulary
print("ready", flush=True)
sys.stdin.readline()
for number in range(5):
    found = load_dataset(Vocabulary.build(), [sys.argv[1]])
    print(found.corpus_hash, len(found.training), found.tokens, found.statistics["notices"])
    if number < 4:
        import os, pathlib
        for path in pathlib.Path(os.environ["HOYOMUSIC_CACHE"]).iterdir():
            path.unlink(missing_ok=True)
"""


def test_two_processes_may_build_and_drop_it_at_once(tunes: Path, cache_folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(tunes)], env=environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for builder in builders:
        assert builder.stdout.readline() == "ready\n"
    for builder in builders:
        builder.stdin.write("go\n")
        builder.stdin.flush()
    told = [builder.communicate(timeout=100) for builder in builders]
    alone = load_dataset(Vocabulary.build(), [str(tunes)])
    for out, err in told:
        assert err == ""
        lines = out.splitlines()
        assert len(lines) == 5
        start = f"{alone.corpus_hash} {len(alone.training)} {alone.tokens} "
        assert all(line.startswith(start) and "damaged" not in line for line in lines)
    assert not list(cache_folder.glob(".hoyo-*"))


def test_where_nothing_can_be_kept_the_dataset_is_in_memory(
    tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = Vocabulary.build()
    kept = load_dataset(vocabulary, [str(tunes)])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOYOMUSIC_CACHE", str(tmp_path / "file" / "folder"))
    found = load_dataset(vocabulary, [str(tunes)])
    assert "the corpus is not cached" in found.statistics["notices"][-1]
    assert same(replace(found, statistics=kept.statistics), kept)


def test_nations_with_few_tunes_share_the_general_label(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = load_corpus([BOOK])
    monkeypatch.setattr(regions, "LEARNED_FROM", 2)
    (first, *rest) = corpus.tunes
    judged = replace(first, split="validation")
    dataset = prepare(replace(corpus, tunes=(judged, *rest)), Vocabulary.build())
    learned = {region.label for region in REGIONS if region.learned}
    assert set(dataset.learned) == {region.name for region in REGIONS if region.learned and region.label}
    assert {sample.region for sample in (*dataset.training, *dataset.validation)} <= learned


def test_what_the_vocabulary_cannot_say_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "odd.abc"
    plain = "M:2/4\nL:1/8\nK:C\nCDEF|GABc|dcBA|GFED|\n"
    odd = "M:2/4\nL:1/8\nK:C\nCDEF|GABc|dcBA|G7/3A5/3|CDEF|\n"
    melodies = [plain, plain.replace("GABc", "GGcc"), plain.replace("dcBA", "fedc"), plain.replace("GFED", "G2C2")]
    path.write_text("\n".join(f"X:{number}\n{tune}" for number, tune in enumerate([*melodies, odd], 1)))
    corpus = load_corpus([path])
    half = [replace(tune, split="train" if index % 2 else "validation") for index, tune in enumerate(corpus.tunes)]
    dataset = prepare(replace(corpus, tunes=tuple(half)), Vocabulary.build())
    assert dataset.unsayable == {"the length 7/24 has no token": 1}
    assert len(dataset.training) + len(dataset.validation) == len(half) - 1
    with pytest.raises(TrainingError, match="the corpus leaves no tune for validation; use a larger corpus"):
        prepare(replace(corpus, tunes=tuple(replace(tune, split="train") for tune in half)), Vocabulary.build())
