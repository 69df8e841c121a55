"""From sources to one corpus: names, counts, duplicates across sources, split, cache and errors."""

import json
import random

import pytest

from hoyomusic.abc import write_book
from hoyomusic.corpus import add_corpus, load_corpus
from hoyomusic.corpus.split import VALIDATION
from hoyomusic.errors import CorpusError, UsageError

HEAD = "X:{number}\nT:Invented {number}\nM:2/4\nL:1/8\nK:{key}\n"


def melody(seed):
    chance = random.Random(seed)
    return " | ".join("".join(chance.choice("CDEFGABcdefg") for _ in range(4)) for _ in range(12)) + " |]\n"


def put(path, seeds, key="C", tail=""):
    """An ABC file with one melody a seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tunes = (HEAD.format(number=number, key=key) + melody(seed) for number, seed in enumerate(seeds, 1))
    path.write_text("\n".join(tunes) + tail)
    return path


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    monkeypatch.setenv("HOYOMUSIC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOYOMUSIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def songs(tmp_path):
    """60 tunes of two nations, one of them a variant of another, and three that cannot be used."""
    put(tmp_path / "songs" / "Liyue" / "a.abc", range(40))
    uneven = "X:90\nM:2/4\nK:C\nc4 | c | c8 | defg abcd |]\n"
    free = "X:91\nM:none\nK:C\nc3 | c4 de | f5 gab | c2 |]\n"
    spoiled = "\n".join(["", uneven, free, "X:92\nM:2/4\nK:H\nc|]\n"])
    put(tmp_path / "songs" / "Natlan" / "b.abc", range(100, 120), tail=spoiled)
    return tmp_path / "songs"


def test_the_account_adds_up(songs):
    corpus = load_corpus([songs])
    statistics = corpus.statistics()
    assert statistics["read"] == 63
    assert statistics["usable"] == len(corpus.tunes) == 60
    assert statistics["regions"] == {"Liyue": 40, "Natlan": 20}
    assert statistics["rejected"] == {
        "ABC: there is no key ...": 1,
        "bars do not add up": 1,
        "no metre": 1,
    }
    assert statistics["stages"] == {
        "Liyue": {"raw": 40, "unique": 40, "metred": 40, "usable": 40},
        "Natlan": {"raw": 23, "unique": 23, "metred": 21, "usable": 20},
    }
    assert statistics["notes"] == 60 * 48
    assert statistics["bars"] == 60 * 12
    assert statistics["split"]["train"] + statistics["split"]["validation"] == 60
    assert statistics["sources"] == {str(songs): 63}
    assert json.loads(json.dumps(statistics)) == statistics


def test_each_tune_knows_its_nation_and_place(songs):
    corpus = load_corpus([songs])
    first = corpus.tunes[0]
    assert (first.region, first.tune.header.region) == (2, "Liyue")
    assert first.source == f"{songs}/Liyue/a.abc#1"
    assert {tune.region for tune in corpus.of_split(VALIDATION)} == {2, 6}
    assert all(tune.tune.faults() == [] for tune in corpus.tunes)


def test_duplicates_across_sources_are_kept_from_the_first(tmp_path):
    one = put(tmp_path / "one" / "a.abc", [1, 2, 3])
    two = put(tmp_path / "two" / "a.abc", [3, 4, 1], key="C\n%")
    corpus = load_corpus([one, two])
    assert [tune.source for tune in corpus.tunes] == [f"{one}#1", f"{one}#2", f"{one}#3", f"{two}#2"]
    assert corpus.report.rejected == {"exact duplicate": 2}
    assert load_corpus([one, one]).hash == load_corpus([one]).hash


def test_a_usable_duplicate_beats_one_that_is_not(tmp_path):
    good = HEAD.format(number=1, key="C") + melody(5)
    bad = good.replace("M:2/4", "M:none").replace(" | ", " ", 1)
    (tmp_path / "a.abc").write_text(bad + "\n" + good)
    corpus = load_corpus([tmp_path / "a.abc"])
    assert [tune.source.rpartition("#")[2] for tune in corpus.tunes] == ["2"]
    assert corpus.report.rejected == {"exact duplicate": 1}


def test_near_duplicates_share_cluster_and_split(tmp_path):
    variants = []
    for seed in range(30):
        text = HEAD.format(number=1, key="C") + melody(seed)
        place = text.index(" | ", 60) + 3
        variants += [text, text[:place] + ("c" if text[place] != "c" else "d") + text[place + 1 :]]
    (tmp_path / "a.abc").write_text("\n".join(variants))
    corpus = load_corpus([tmp_path / "a.abc"])
    assert len({tune.cluster for tune in corpus.tunes}) == 30
    for one, other in zip(corpus.tunes[::2], corpus.tunes[1::2], strict=True):
        assert (one.cluster, one.split) == (other.cluster, other.split)


def test_the_hash_is_that_of_the_tunes(songs, tmp_path):
    """Not of names, places, order or titles; but of every note, nation and side of the split."""
    before = load_corpus([songs])
    (songs / "Liyue" / "a.abc").rename(songs / "Liyue" / "z.abc")
    text = (songs / "Natlan" / "b.abc").read_text().replace("Invented", "Another")
    (songs / "Natlan" / "b.abc").write_text(text)
    songs.rename(tmp_path / "elsewhere")
    after = load_corpus([tmp_path / "elsewhere"])
    assert after.hash == before.hash
    (tmp_path / "elsewhere" / "Natlan" / "b.abc").write_text(text.replace("K:C", "K:D", 1))
    assert load_corpus([tmp_path / "elsewhere"]).hash != before.hash


def test_limited_keeps_proportions(songs):
    corpus = load_corpus([songs])
    some = corpus.limited(30, seed=1)
    assert len(some.tunes) == 30
    assert sum(tune.region == 2 for tune in some.tunes) == pytest.approx(20, abs=1)
    assert some.of_split(VALIDATION)
    assert set(some.tunes) <= set(corpus.tunes)
    assert some.tunes == corpus.limited(30, seed=1).tunes
    assert some.tunes != corpus.limited(30, seed=2).tunes
    assert some.hash == corpus.limited(30, seed=1).hash != corpus.hash
    assert corpus.limited(60) is corpus
    assert {count: len(corpus.limited(count).of_split(VALIDATION)) for count in (1, 2, 5)} == {1: 0, 2: 1, 5: 1}
    with pytest.raises(UsageError, match="0 tunes are too few; ask for at least 1"):
        corpus.limited(0)


def test_registered_names_and_paths(songs, tmp_path):
    add_corpus(songs, "mine", "Sumeru")
    corpus = load_corpus(["mine"])
    assert corpus.statistics()["regions"] == {"Sumeru": 60}
    assert corpus.tunes[0].source == "mine/Liyue/a.abc#1"
    assert load_corpus([str(songs)]).hash == load_corpus([songs]).hash
    message = "gone: there is no corpus, file or folder of this name; name a path or one of: default, mine"
    with pytest.raises(CorpusError, match=message):
        load_corpus(["gone"])


def test_hoyomusic_rows_join_in(songs, tmp_path):
    head = HEAD.format(number=1, key="G")
    rows = [{"prompt": "", "data": head + melody(seed), "label": seed % 8} for seed in range(200, 216)]
    rows.append({"data": "X:1", "label": 42})
    (tmp_path / "genshin.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = load_corpus([songs], hoyomusic=tmp_path / "genshin.jsonl")
    assert corpus.statistics()["regions"]["Inazuma"] == 2
    assert corpus.report.rejected["label is no nation"] == 1
    assert corpus.report.stages[""] == {"raw": 1, "unique": 1, "metred": 0, "usable": 0}
    assert corpus.report.licences == ("CC BY-NC-ND 4.0 (hoyoMusic): non-commercial, no derivatives",)
    # A folder of rows is a source of its own, too.
    assert len(load_corpus([tmp_path / "genshin.jsonl"]).tunes) == 16
    with pytest.raises(CorpusError, match="the hoyoMusic set is not on this computer"):
        load_corpus([songs], hoyomusic=None)
    (tmp_path / "data" / "hoyomusic").mkdir(parents=True)
    (tmp_path / "genshin.jsonl").rename(tmp_path / "data" / "hoyomusic" / "genshin.jsonl")
    assert load_corpus([songs], hoyomusic=None).hash == corpus.hash


def test_no_usable_tune_is_an_error(tmp_path):
    (tmp_path / "a.abc").write_text("X:1\nM:2/4\nK:C\nc4 |]\n")
    with pytest.raises(CorpusError, match=r"a.abc: no usable tune \(1 fewer than 8 notes\)"):
        load_corpus([tmp_path / "a.abc"])
    (tmp_path / "a.abc").write_text("\n")
    with pytest.raises(CorpusError, match=r"no usable tune \(nothing was found\)"):
        load_corpus([tmp_path / "a.abc"])


def test_the_cache_gives_the_same_corpus(songs, tmp_path):
    seen = []
    fresh = load_corpus([songs], use_cache=False, progress=lambda what, count: seen.append((what, count)))
    assert seen == [(str(songs), 63), ("near duplicates", 60)]
    assert not (tmp_path / "cache").exists()
    stored = load_corpus([songs])
    seen.clear()
    cached = load_corpus([songs], progress=lambda what, count: seen.append((what, count)))
    assert seen == []
    for corpus in (stored, cached):
        assert (corpus.tunes, corpus.hash, corpus.report) == (fresh.tunes, fresh.hash, fresh.report)
    assert [tune.tune.header for tune in cached.tunes] == [tune.tune.header for tune in fresh.tunes]


def test_a_damaged_cache_costs_a_notice_and_no_more(songs, tmp_path):
    fresh = load_corpus([songs])
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-3])
    again = load_corpus([songs])
    assert (again.tunes, again.hash) == (fresh.tunes, fresh.hash)
    assert len(again.report.notices) == 2
    assert all("damaged, computed anew" in notice for notice in again.report.notices)
    assert load_corpus([songs]).report.notices == ()


def test_new_tunes_are_seen_at_once(songs):
    load_corpus([songs])
    put(songs / "Natlan" / "c.abc", [500])
    assert len(load_corpus([songs]).tunes) == 61


def test_what_we_write_is_what_we_read(songs, tmp_path):
    corpus = load_corpus([songs])
    (tmp_path / "book.abc").write_text(write_book([tune.tune for tune in corpus.tunes]))
    assert load_corpus([tmp_path / "book.abc"]).hash == corpus.hash
