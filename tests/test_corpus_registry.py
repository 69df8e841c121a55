"""The user's own corpora: added once, found again, never lost to a damaged list."""

import pytest

from hoyomusic.corpus.registry import UserCorpus, add_corpus, data_folder, registered
from hoyomusic.errors import CorpusError, UsageError


@pytest.fixture(autouse=True)
def data(monkeypatch, tmp_path):
    monkeypatch.setenv("HOYOMUSIC_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_what_is_added_is_found_again(tmp_path, monkeypatch):
    assert registered() == {}
    (tmp_path / "tunes").mkdir()
    monkeypatch.chdir(tmp_path)
    added = add_corpus("tunes", "mine", "natlan")
    add_corpus(tmp_path, "all")
    assert added == UserCorpus(str(tmp_path / "tunes"), "Natlan")
    assert registered() == {"all": UserCorpus(str(tmp_path)), "mine": added}


def test_a_taken_name_is_kept_unless_forced(tmp_path):
    (tmp_path / "new").mkdir()
    add_corpus(tmp_path, "mine")
    with pytest.raises(UsageError, match=r"the name 'mine' is taken by .*; choose another name or add --force"):
        add_corpus(tmp_path / "new", "mine")
    assert registered()["mine"].path == str(tmp_path)
    add_corpus(tmp_path / "new", "mine", overwrite=True)
    assert registered()["mine"].path == str(tmp_path / "new")


@pytest.mark.parametrize("name", ["", "../x", "Mine", "a b", "-rf", "x" * 65])
def test_odd_names_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="cannot name a corpus"):
        add_corpus(tmp_path, name)


def test_other_refusals(tmp_path):
    with pytest.raises(UsageError, match="the name 'default' is reserved"):
        add_corpus(tmp_path, "default")
    with pytest.raises(UsageError, match="there is no nation 'Belobog'"):
        add_corpus(tmp_path, "mine", "Belobog")
    with pytest.raises(CorpusError, match="gone: there is no such file or folder"):
        add_corpus(tmp_path / "gone", "mine")
    assert registered() == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {}}'])
def test_a_damaged_list_is_an_error_and_stays(tmp_path, data, text):
    data.mkdir()
    (data / "corpora.json").write_text(text)
    with pytest.raises(CorpusError, match="the list of your corpora is damaged; mend or remove it"):
        add_corpus(tmp_path, "mine")
    assert (data / "corpora.json").read_text() == text


def test_a_list_that_cannot_be_read(data):
    (data / "corpora.json").mkdir(parents=True)
    with pytest.raises(CorpusError, match=r"corpora.json: cannot be read \(Is a directory\)"):
        registered()


def test_the_usual_folder(monkeypatch):
    monkeypatch.delenv("HOYOMUSIC_DATA")
    assert "hoyomusic" in data_folder().parts
