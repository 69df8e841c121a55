"""The shipped corpus: a few files at once, all of it (slow) against the published counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hoyomusic.corpus import load_corpus
from hoyomusic.corpus.candidates import examine
from hoyomusic.corpus.shipped import ShippedCorpus, find_shipped_folder
from hoyomusic.errors import MissingPartError
from hoyomusic.tune import Key, Metre

MAPPING = Path(__file__).parents[2] / "shared" / "data" / "regions" / "mapping.json"


def examine_files(*names):
    source = ShippedCorpus()
    source.files = [file for file in source.files if file.name in names]
    return {candidate.place: candidate for candidate in map(examine, source.read())}


def test_a_chinese_song_is_rebarred_and_keeps_its_key():
    found = examine_files("essenFolksong/han1.abc")
    first = found["essenFolksong/han1.abc#1"]
    assert first.region == "Liyue"
    assert first.changes == ("bars drawn by arithmetic",)
    assert (first.tune.key, first.tune.metre, len(first.tune.bars)) == (Key("C"), Metre(2, 4), 22)
    assert first.tune.header.title == "Renmin gongshe shizai hao"
    assert not any("mode inferred" in candidate.changes for candidate in found.values())


def test_a_german_song_in_minor_is_called_so():
    song = examine_files("essenFolksong/altdeu10.abc")["essenFolksong/altdeu10.abc#1"]
    assert song.tune.key == Key("G", 0, "minor")
    assert "mode inferred" in song.changes
    assert song.region == "Teyvat"


def test_folders_that_are_left_out_say_why():
    found = examine_files("josquin/milleRegrets.abc", "essenFolksong/testd.abc")
    assert {(candidate.place.split("/")[0], candidate.reason) for candidate in found.values()} == {
        ("josquin", "part of a polyphonic work without bar lines"),
        ("essenFolksong", "test file that repeats other tunes"),
    }


def test_dance_tunes_keep_header_mode_and_repeats():
    found = examine_files("airdsAirs/book1.abc")
    usable = [candidate.tune for candidate in found.values() if candidate.tune is not None]
    assert len(usable) / len(found) > 0.97
    assert {tune.header.region for tune in usable} == {"Mondstadt"}
    assert sum(any(bar.closes for bar in tune.bars) for tune in usable) / len(usable) > 0.7


def test_music21_is_found_without_importing_it():
    program = (
        "import sys; from hoyomusic.corpus.shipped import ShippedCorpus; "
        "print(len(ShippedCorpus().files), 'music21' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1146 False False\n"


def test_without_music21_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr("hoyomusic.corpus.shipped.util.find_spec", lambda name: None)
    with pytest.raises(MissingPartError, match="the default corpus is part of music21; run: pip install music21"):
        find_shipped_folder()


@pytest.mark.slow
def test_the_whole_corpus_reproduces_the_published_counts(tmp_path, monkeypatch):
    """Within 2 %: another reader of ABC differs by a few tunes, and we put some bar lines right."""
    monkeypatch.setenv("HOYOMUSIC_CACHE", str(tmp_path))
    corpus = load_corpus()
    statistics = corpus.statistics()
    assert statistics["read"] == 12_978
    assert statistics["usable"] >= 11_200
    assert all(not tune.tune.faults() for tune in corpus.tunes)
    assert load_corpus().tunes == corpus.tunes
    for region in ("Teyvat", "Mondstadt", "Liyue", "Fontaine", "Snezhnaya"):
        judged = [tune for tune in corpus.of_split("validation") if tune.tune.header.region == region]
        assert 0.04 <= len(judged) / statistics["regions"][region] <= 0.06
    if not MAPPING.exists():
        pytest.skip("the published counts are not beside the repository")
    for region, counts in json.loads(MAPPING.read_text())["nations"].items():
        if region != "drop":
            counts["usable"] = counts.pop("exact_bars")
            assert statistics["stages"][region] == pytest.approx(counts, rel=0.02)
