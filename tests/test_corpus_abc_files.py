"""A user's own ABC files: where their tunes are found and which nation they teach."""

import gzip

import pytest

from hoyomusic.abc import write
from hoyomusic.corpus.abc_files import AbcFiles, label_by_origin, read_tunes
from hoyomusic.errors import CorpusError

TUNE = "X:{number}\nT:{number}\nO:{origin}\nM:2/4\nL:1/8\nK:C\nc2 d2 | e2 f2 | g2 e2 | c4 |]\n"


def put(path, *origins):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(TUNE.format(number=number, origin=origin) for number, origin in enumerate(origins, 1))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def regions(root, region=""):
    return {reading.place: reading.region for reading in AbcFiles(root, "mine", region).read()}


def test_the_nearest_folder_with_a_nations_name_decides(tmp_path):
    root = tmp_path / "songs"
    put(root / "Inazuma" / "a.abc", "China", "")
    put(root / "Inazuma" / "须弥" / "b.abc.gz", "")
    put(root / "natlan" / "old" / "c.abc", "")
    put(root / "7" / "d.abc", "Irland, Cork")
    put(root / "e.abc", "")
    assert regions(root) == {
        "mine/7/d.abc#1": "Mondstadt",
        "mine/Inazuma/a.abc#1": "Inazuma",
        "mine/Inazuma/a.abc#2": "Inazuma",
        "mine/Inazuma/须弥/b.abc.gz#1": "Sumeru",
        "mine/e.abc#1": "Teyvat",
        "mine/natlan/old/c.abc#1": "Natlan",
    }
    assert set(regions(root, "Fontaine").values()) == {"Fontaine"}
    assert regions(root / "Inazuma") == {
        "mine/a.abc#1": "Inazuma",
        "mine/a.abc#2": "Inazuma",
        "mine/须弥/b.abc.gz#1": "Sumeru",
    }
    assert regions(root / "natlan" / "old" / "c.abc") == {"mine#1": "Teyvat"}


@pytest.mark.parametrize(
    ("origin", "region"),
    [
        ("Europa, Irland", "Mondstadt"),
        ("China, Shanxi, Hequ", "Liyue"),
        ("Europa, Mitteleuropa, Elsass", "Fontaine"),
        ("Europa, Osteuropa, Polen", "Snezhnaya"),
        ("Deutschland", "Teyvat"),
        ("", "Teyvat"),
    ],
)
def test_origins(origin, region):
    assert label_by_origin(origin) == region


def test_a_tune_of_our_own_says_its_nation(tmp_path):
    put(tmp_path / "a.abc", "China")
    [(origin, tune)] = read_tunes(tmp_path / "a.abc")
    assert origin == "China"
    text = write(tune).replace("M:", "%%hoyo-region Sumeru\nM:", 1)
    (tmp_path / "a.abc").write_text(text + "\n" + text.replace("Sumeru", "Belobog"))
    assert list(regions(tmp_path).values()) == ["Sumeru", "Liyue"]


def test_a_damaged_tune_costs_nothing_but_itself(tmp_path):
    put(tmp_path / "a.abc", "China", "China", "Irland")
    first, second, third = (tmp_path / "a.abc").read_text().split("\n\n")
    (tmp_path / "a.abc").write_text("\n\n".join([first, second.replace("K:C", "K:H"), third]))
    readings = list(AbcFiles(tmp_path, "mine").read())
    assert [reading.tune is None for reading in readings] == [False, True, False]
    assert [reading.region for reading in readings] == ["Liyue", "Liyue", "Mondstadt"]
    assert readings[1].reason.startswith("ABC: ")


def test_the_origin_of_the_whole_file_counts(tmp_path):
    put(tmp_path / "a.abc", "China")
    text = (tmp_path / "a.abc").read_text().replace("O:China\n", "")
    (tmp_path / "a.abc").write_text("O:Irland\n\n" + text)
    assert list(regions(tmp_path).values()) == ["Mondstadt"]


def test_a_folder_without_abc_is_an_error(tmp_path):
    with pytest.raises(CorpusError, match=r"holds no ABC files; tunes are \.abc or \.abc\.gz files"):
        AbcFiles(tmp_path, "mine")


def test_the_fingerprint_follows_what_decides(tmp_path):
    put(tmp_path / "one" / "a.abc", "")
    before = AbcFiles(tmp_path / "one", "mine").fingerprint()
    assert AbcFiles(tmp_path / "one", "mine").fingerprint() == before
    assert AbcFiles(tmp_path / "one", "mine", "Natlan").fingerprint() != before
    put(tmp_path / "one" / "a.abc", "China")
    assert AbcFiles(tmp_path / "one", "mine").fingerprint() != before
