"""Choosing a format, and errors that every format shares."""

from __future__ import annotations

from fractions import Fraction

import pytest

from hoyomusic.errors import RenderError, StorageError
from hoyomusic.render import SUFFIXES, write
from hoyomusic.score import perform
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune

C5 = Note((Pitch("C", 0, 5),), Fraction(1, 4))
SCORE = perform(Tune(Key("C"), Metre(4, 4), (Bar((C5,) * 4),)))

BEGINNINGS = {
    ".abc": b"X:1", ".mid": b"MThd", ".midi": b"MThd", ".svg": b"<svg", ".musicxml": b"<?xml", ".xml": b"<?xml",
    ".mxl": b"PK", ".wav": b"RIFF", ".flac": b"fLaC", ".ogg": b"OggS", ".mp3": b"\xff\xfb",
}  # fmt: skip


def test_every_suffix_has_a_beginning():
    assert set(BEGINNINGS) == set(SUFFIXES)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_suffix_chooses_the_format(suffix, tmp_path):
    path = write(SCORE, tmp_path / f"tune{suffix.upper()}")
    data = path.read_bytes()
    assert data.startswith(BEGINNINGS[suffix])
    assert write(SCORE, tmp_path / f"again{suffix}").read_bytes() == data


def test_an_unknown_suffix_is_answered_with_the_list(tmp_path):
    with pytest.raises(RenderError, match=r"no format '.doc'; choose one of .abc, .mid, .midi, .svg, .musicxml"):
        write(SCORE, tmp_path / "tune.doc")
    with pytest.raises(RenderError, match="has no suffix"):
        write(SCORE, tmp_path / "tune")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_never_overwritten_unasked(tmp_path):
    path = tmp_path / "tune.mid"
    path.write_text("mine")
    with pytest.raises(StorageError, match="already exists"):
        write(SCORE, path)
    assert path.read_text() == "mine"
    write(SCORE, path, overwrite=True)
    assert path.read_bytes().startswith(b"MThd")


def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("hoyomusic.render.audio.to_bytes", lambda *_, **__: pytest.fail("rendered for nothing"))
    with pytest.raises(StorageError):
        write(SCORE, tmp_path / "file" / "tune.wav")
