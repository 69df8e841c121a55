"""The cache gives back what was stored, or says why not; it never lies and never stops the work."""

import hashlib
import json
import os
import tracemalloc
import zlib

import pytest

from hoyomusic.corpus.cache import FORMAT, HEAD, Cache, cache_folder, digest, rules_digest

VALUE = {"rows": [1, [2, "\ud800 ü"], None]}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path)


def test_load_inverts_store(cache):
    assert cache.load("a", "key") is None
    cache.store("a", "key", VALUE)
    assert cache.load("a", "key") == VALUE
    assert cache.notices == []


@pytest.mark.parametrize("place", [0, 30, -1])
def test_a_flipped_bit_is_noticed(cache, place):
    cache.store("a", "key", VALUE)
    path = cache.folder / "a.cache"
    data = bytearray(path.read_bytes())
    data[place] ^= 16
    path.write_bytes(data)
    assert cache.load("a", "key") is None
    assert cache.notices == [f"{path}: the cached corpus is damaged, computed anew"]


@pytest.mark.parametrize("kept", [0, 20, -1])
def test_a_truncated_entry_is_noticed(cache, kept):
    cache.store("a", "key", VALUE)
    path = cache.folder / "a.cache"
    path.write_bytes(path.read_bytes()[:kept])
    assert cache.load("a", "key") is None
    assert cache.notices == [f"{path}: the cached corpus is damaged, computed anew"]


@pytest.mark.parametrize("header", [[], {"format": "another"}, 1])
def test_another_kind_of_file_is_noticed(cache, header):
    (cache.folder / "a.cache").write_text(json.dumps(header) + "\nrest")
    assert cache.load("a", "key") is None
    assert len(cache.notices) == 1


def test_another_key_is_out_of_date(cache):
    cache.store("a", "key", VALUE)
    assert cache.load("a", "other") is None
    assert cache.notices == [f"{cache.folder / 'a.cache'}: the cached corpus is out of date, computed anew"]


def test_a_place_that_cannot_be_written_costs_a_notice(tmp_path):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "folder")
    cache.store("a", "key", VALUE)
    assert len(cache.notices) == 1
    assert cache.notices[0].startswith("the corpus is not cached: ")


def test_an_entry_that_cannot_be_read_costs_a_notice(cache):
    (cache.folder / "a.cache").mkdir()
    assert cache.load("a", "key") is None
    assert cache.notices == [f"{cache.folder / 'a.cache'}: cannot be read (not a regular file), computed anew"]


def test_a_pipe_in_the_place_of_an_entry_keeps_nobody_waiting(cache):
    for suffix in ("cache", "map"):
        os.mkfifo(cache.folder / f"a.{suffix}")
    assert cache.load("a", "key") is cache.map("a", "key") is None
    assert [notice.partition(": ")[2] for notice in cache.notices] == 2 * [
        "cannot be read (not a regular file), computed anew"
    ]


def bomb() -> bytes:
    """100 MB of blanks and a number, in 100 kB."""
    packing, blanks = zlib.compressobj(), b" " * 10**6
    return b"".join([*(packing.compress(blanks) for _ in range(100)), packing.compress(b"1"), packing.flush()])


@pytest.mark.parametrize(
    "make",
    [
        bomb, lambda: zlib.compress(b"[" * 100_000), lambda: zlib.compress(b"[1"), lambda: b"",
        lambda: b"no zlib at all", lambda: zlib.compress(b"[1]")[:-1],
    ],
    ids=["bomb", "deep", "half", "empty", "other", "cut"],
)  # fmt: skip
def test_a_false_entry_with_a_true_sum_is_damaged(cache, make):
    body = make()
    header = {"format": FORMAT, "key": "key", "sha256": hashlib.sha256(body).hexdigest()}
    path = cache.folder / "a.cache"
    path.write_bytes(json.dumps(header).encode() + b"\n" + body)
    tracemalloc.start()
    try:
        assert cache.load("a", "key") is None
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()
    assert cache.notices == [f"{path}: the cached corpus is damaged, computed anew"]


@pytest.mark.parametrize(
    "footer", [b"[]", b"{}", b"1", b"[" * 100_000, b'{"key": "key", "note": 1, "size": 9, "sha256": ""}']
)
def test_a_false_footer_with_a_true_sum_is_damaged(cache, footer):
    path = cache.folder / "a.map"
    path.write_bytes(HEAD + footer + hashlib.sha256(footer).digest() + len(footer).to_bytes(8, "little"))
    assert cache.map("a", "key") is None
    assert cache.notices == [f"{path}: the cached corpus is damaged, computed anew"]


def test_what_a_killed_writer_left_is_swept(tmp_path):
    (tmp_path / ".hoyo-0123456789abcdef.tmp").write_bytes(b"half")
    Cache(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("HOYOMUSIC_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("HOYOMUSIC_CACHE")
    assert "hoyomusic" in cache_folder().parts


def test_the_digest_knows_where_parts_end():
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest(["ab"]) == digest([b"ab"])
    assert len(rules_digest()) == 64


def keep(cache, pieces=(b"ab", b"", b"cdef"), key="key"):
    return cache.store_mapped("a", key, pieces, lambda: {"count": len(pieces)})


def test_a_mapped_entry_is_what_was_stored(cache):
    assert cache.map("a", "key") is None
    assert keep(cache)
    found = cache.map("a", "key")
    assert found.mapping[found.start : found.start + found.size] == b"abcdef"
    assert found.start % 64 == 0
    assert found.note == {"count": 3}
    assert keep(cache, [])
    assert cache.map("a", "key").size == 0
    # What is open stays what it was.
    assert found.mapping[found.start : found.start + found.size] == b"abcdef"
    assert cache.notices == []


def test_the_note_is_taken_when_all_pieces_have_come(cache):
    seen = []
    assert cache.store_mapped("a", "key", (seen.append(part) or part for part in (b"a", b"b")), lambda: len(seen))
    assert cache.map("a", "key").note == 2


def test_no_bit_of_a_mapped_entry_flips_unnoticed(cache):
    keep(cache)
    path = cache.folder / "a.map"
    sound = path.read_bytes()
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert cache.map("a", "key") is None
    assert set(cache.notices) == {f"{path}: the cached corpus is damaged, computed anew"}


def test_no_mapped_entry_is_cut_or_lengthened_unnoticed(cache):
    keep(cache)
    path = cache.folder / "a.map"
    sound = path.read_bytes()
    for data in (*(sound[:kept] for kept in range(len(sound))), sound + b"\0"):
        path.write_bytes(data)
        assert cache.map("a", "key") is None
    assert set(cache.notices) == {f"{path}: the cached corpus is damaged, computed anew"}


def test_another_key_of_a_mapped_entry_is_out_of_date(cache):
    keep(cache)
    assert cache.map("a", "other") is None
    assert cache.notices == [f"{cache.folder / 'a.map'}: the cached corpus is out of date, computed anew"]


def test_what_fails_half_way_leaves_the_old_entry(cache):
    keep(cache)

    def pieces():
        yield b"new"
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        cache.store_mapped("a", "key", pieces(), dict)
    assert cache.map("a", "key").note == {"count": 3}
    assert [path.name for path in cache.folder.iterdir()] == ["a.map"]


def test_a_mapped_entry_that_cannot_be_written_or_read_costs_a_notice(cache, tmp_path):
    (cache.folder / "a.map").mkdir()
    assert cache.map("a", "key") is None
    assert not keep(cache)
    assert cache.notices[0] == f"{cache.folder / 'a.map'}: cannot be read (not a regular file), computed anew"
    assert cache.notices[1].startswith("the corpus is not cached: ")


def test_rules_are_told_apart_by_what_they_name():
    assert rules_digest() == rules_digest() != rules_digest(("vocab",))
    assert rules_digest(("recall.py",)) != rules_digest(("vocab",))
