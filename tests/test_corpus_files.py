"""Foreign folders and files: links, FIFOs, bombs and damage end in CorpusError or are passed over."""

import gzip
import os

import pytest

from hoyomusic.corpus.files import MEGABYTE, digest_files, find_files, open_file, read_file
from hoyomusic.errors import CorpusError


def names(root, *suffixes):
    return [file.name for file in find_files(root, suffixes or (".abc",))]


def test_files_come_in_a_fixed_order(tmp_path):
    for name in ("b.abc", "a/z.abc", "a.abc", "a/B.ABC", "c.txt", "a-b/x.abc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("X:1")
    assert names(tmp_path) == ["a/B.ABC", "a/z.abc", "a-b/x.abc", "a.abc", "b.abc"]
    assert names(tmp_path / "a.abc") == [""]
    assert names(tmp_path / "c.txt") == []


def test_links_to_outside_fifos_and_circles_are_passed_over(tmp_path):
    (tmp_path / "outside.abc").write_text("X:1")
    root = tmp_path / "root"
    (root / "blobs").mkdir(parents=True)
    (root / "blobs" / "whole.abc").write_text("X:1")
    (root / "link.abc").symlink_to(root / "blobs" / "whole.abc")
    (root / "leaving.abc").symlink_to(tmp_path / "outside.abc")
    (root / "broken.abc").symlink_to(root / "nowhere.abc")
    (root / "circle").symlink_to(root)
    os.mkfifo(root / "pipe.abc")
    assert names(root) == ["blobs/whole.abc", "link.abc"]


def test_folders_deeper_than_the_limit_are_passed_over(tmp_path):
    deep = tmp_path.joinpath(*"abcdefghijklmn")
    deep.mkdir(parents=True)
    (deep / "x.abc").write_text("X:1")
    (tmp_path / "a" / "y.abc").write_text("X:1")
    assert names(tmp_path) == ["a/y.abc"]


def test_errors_name_the_file(tmp_path):
    with pytest.raises(CorpusError, match=r"nowhere: cannot be opened \(No such file or directory\)"):
        find_files(tmp_path / "nowhere", (".abc",))
    os.mkfifo(tmp_path / "pipe.abc")
    with pytest.raises(CorpusError, match="pipe.abc: is neither a file nor a folder"):
        find_files(tmp_path / "pipe.abc", (".abc",))
    with pytest.raises(CorpusError, match="pipe.abc: is not a regular file"):
        read_file(tmp_path / "pipe.abc", 10)
    with pytest.raises(CorpusError, match=r"gone: cannot be read \(No such file"):
        read_file(tmp_path / "gone", 10)


def test_packed_files_are_unpacked_within_limits(tmp_path):
    packed = tmp_path / "tune.abc.gz"
    packed.write_bytes(gzip.compress(b"X:1\nT:one\n"))
    assert read_file(packed, 10) == b"X:1\nT:one\n"
    with open_file(packed, 10) as file:
        assert [file.readline(100), file.readline(100), file.readline(100)] == [b"X:1\n", b"T:one\n", b""]
    with pytest.raises(CorpusError, match="too large, or packed to an absurd degree"):
        read_file(packed, 9)
    packed.write_bytes(gzip.compress(bytes(4 * MEGABYTE)))
    with pytest.raises(CorpusError, match="too large, or packed to an absurd degree"):
        read_file(packed, 100 * MEGABYTE)


def test_plain_files_have_a_limit_too(tmp_path):
    (tmp_path / "a.abc").write_bytes(b"12345")
    assert read_file(tmp_path / "a.abc", 5) == b"12345"
    with pytest.raises(CorpusError, match="too large"):
        read_file(tmp_path / "a.abc", 4)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"no gzip", lambda data: data[:12] + b"\xff" * 9]
)
def test_damaged_archives(tmp_path, damage):
    packed = tmp_path / "tune.abc.gz"
    packed.write_bytes(damage(gzip.compress(b"X:1\nT:one\n" * 50)))
    with pytest.raises(CorpusError, match="is no whole gzip archive"):
        read_file(packed, 1000)


def test_the_digest_follows_names_and_bytes(tmp_path):
    (tmp_path / "a.abc").write_text("one")
    (tmp_path / "b.abc").write_text("two")
    before = digest_files(find_files(tmp_path, (".abc",)))
    (tmp_path / "b.abc").rename(tmp_path / "c.abc")
    renamed = digest_files(find_files(tmp_path, (".abc",)))
    (tmp_path / "c.abc").write_text("six")
    assert len({before, renamed, digest_files(find_files(tmp_path, (".abc",)))}) == 3


def test_places_name_source_file_and_number(tmp_path):
    (tmp_path / "a.abc").write_text("X:1")
    [inside], [itself] = find_files(tmp_path, (".abc",)), find_files(tmp_path / "a.abc", (".abc",))
    assert inside.place("mine", 3) == "mine/a.abc#3"
    assert inside.place("", 3) == "a.abc#3"
    assert itself.place("mine", 3) == "mine#3"
