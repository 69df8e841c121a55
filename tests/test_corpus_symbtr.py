"""Makam scores as a corpus: recognised by content, rounded to twelve tones, cut at cycles, every loss counted."""

from __future__ import annotations

import io
import json
import lzma
import os
import shutil
import tarfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import abc
from hoyomusic.corpus import load_corpus, symbtr
from hoyomusic.corpus.candidates import candidates_from_json, candidates_to_json, examine
from hoyomusic.corpus.cleaning import BARS_DO_NOT_ADD_UP, NO_METRE, NO_NOTES
from hoyomusic.corpus.duplicates import join_works
from hoyomusic.corpus.loading import find_source
from hoyomusic.corpus.symbtr import (
    BAD_ROW,
    FEWEST_BARS,
    METRES,
    MICROTONAL,
    NO_SCORE,
    ODD_USUL,
    SHORT_PASSAGE,
    SymbTrScores,
    read_score,
)
from hoyomusic.errors import CorpusError
from hoyomusic.tune import Bar, Metre, Note, Pitch, Tune
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.tokens import METRES as SAYABLE_METRES
from tests.conftest import ROOT, Said

ARCHIVE = ROOT.parent / "shared" / "data" / "symbtr" / "symbtr-txt.tar.xz"

NAME = "hicaz--turku--aksak--bir_ruya--anonim.txt"
HEAD = "Sira\tKod\tNota53\tNotaAE\tKoma53\tKomaAE\tPay\tPayda\tMs\tLNS\tBas\tSoz1\tOffset"

# The tones of hicaz in 53rds of an octave: A B flat, a little high, C sharp, a little low, D E F G.
COMMAS = {"La4": 305, "Si4b4": 310, "Do5#4": 322, "Do5": 318, "Re5": 327, "Mi5": 336, "Fa5": 340, "Sol5": 349}
HICAZ = ("La4", "Si4b4", "Do5#4", "Re5", "Mi5", "Fa5", "Sol5", "Re5", "La4")


def row(code: int, name: str = "", commas: int = 0, beats: int = 0, unit: int = 0) -> str:
    return f"1\t{code}\t{name}\t\t{commas}\t{commas}\t{beats}\t{unit}\t0\t95\t96\t\t0.0"


def note(name: str, beats: int = 1, unit: int = 8, code: int = 9) -> str:
    return row(code, name, COMMAS[name], beats, unit)


def rest(beats: int, unit: int) -> str:
    return row(9, "", -1, beats, unit)


def metre(beats: int, unit: int) -> str:
    return row(51, "", 0, beats, unit)


def score(*rows: str) -> bytes:
    return "\r\n".join((HEAD, *rows, "")).encode()


def hicaz(bars: int, shift: int = 0) -> list[str]:
    """So many bars of nine eighths; another `shift`, another melody."""
    return [note(HICAZ[(at * (1 + shift) + shift * at // 5) % 9]) for at in range(9 * bars - 1)] + [note("La4")]


def read(*rows: str, name: str = NAME) -> list[Tune | str]:
    return read_score(name, score(*rows))


class TestScore:
    def test_a_score_becomes_a_tune(self) -> None:
        [tune] = read(metre(9, 8), *hicaz(8))
        assert tune.metre == Metre(9, 8)
        assert tune.bars[0].notes[:3] == tuple(
            Note((pitch,), Fraction(1, 8)) for pitch in (Pitch("A", 0, 4), Pitch("B", -1, 4), Pitch("C", 1, 5))
        )
        assert tune.faults() == []
        assert (tune.header.title, tune.header.composer) == ("Bir ruya", "Anonim")
        assert (tune.header.rhythm, tune.header.notes) == ("Aksak", "Hicaz turku")

    @pytest.mark.parametrize(
        ("makam", "names", "key"),
        [
            ("hicaz", HICAZ, "A phrygian"),
            ("buselik", ("La4", "Do5", "Mi5", "Fa5", "Re5", "Do5", "Sol5", "La4"), "A minor"),
            ("rast", ("Sol5", "La4", "Re5", "Mi5", "Do5", "Mi5", "Re5", "Sol5"), "G major"),
            # It stops on the fifth, but hicaz is at home on A.
            ("hicaz", (*HICAZ[:-1], "La4", "Mi5"), "A phrygian"),
            ("neveser", (*HICAZ[:-1], "La4", "Mi5"), "E locrian"),
        ],
    )
    def test_the_key_is_of_the_makam_and_of_the_notes(self, makam: str, names: tuple[str, ...], key: str) -> None:
        rows = [note(name) for name in names * 9][-len(names) * 8 :]
        [tune] = read(metre(len(names), 8), *rows, name=f"{makam}--sarki--usul--x--y.txt")
        assert str(tune.key) == key

    def test_ornaments_and_marks_take_no_time_and_other_codes_do(self) -> None:
        plain = read(metre(9, 8), *hicaz(8))
        grace, phrase, lyric = row(8, "Fa5", 340), row(53), "1\t54\t\t\t0\t0\t\t\t0\t0\t0\tussak@mi\t0.25"
        trill = note(HICAZ[1], code=12)
        rows = hicaz(8)
        assert read(metre(9, 8), grace, rows[0], trill, phrase, lyric, *rows[2:]) == plain

    def test_a_rest_fills_what_is_left_of_the_last_cycle(self) -> None:
        [tune] = read(metre(9, 8), *hicaz(8), note("La4", 1, 4))
        assert tune.bars[-1] == Bar((Note((Pitch("A", 0, 4),), Fraction(1, 4)), Note((), Fraction(7, 8))))
        assert tune.faults() == []

    def test_silent_cycles_at_the_edges_go(self) -> None:
        silence = rest(9, 8)
        assert read(metre(9, 8), silence, *hicaz(8), silence, silence) == read(metre(9, 8), *hicaz(8))

    def test_an_usul_that_changes_ends_a_tune(self) -> None:
        found = read(metre(9, 8), *hicaz(8), metre(3, 8), *hicaz(4), metre(9, 8), *hicaz(3), metre(28, 4), *hicaz(8))
        assert [tune if isinstance(tune, str) else (str(tune.metre), len(tune.bars)) for tune in found] == [
            ("9/8", 8), ("3/8", 12), SHORT_PASSAGE, ODD_USUL,
        ]  # fmt: skip
        assert found[0].key == found[1].key

    def test_a_rare_note_between_the_tones_is_rounded_and_many_are_refused(self) -> None:
        # 36 cents below B.
        between = row(9, "Si4b2", 312, 1, 8)
        assert isinstance(read(metre(9, 8), *hicaz(7), *hicaz(1)[:8], between)[0], Tune)
        rows = [between if at % 9 == 4 else one for at, one in enumerate(hicaz(8))]
        assert read(metre(9, 8), *rows) == [MICROTONAL]

    @pytest.mark.parametrize(
        ("rows", "reason"),
        [
            ([metre(9, 8), rest(9, 8)], NO_NOTES),
            ([], NO_NOTES),
            (hicaz(8), NO_METRE),
            ([metre(0, 0), *hicaz(8)], NO_METRE),
            ([metre(4, 4), note("La4", 3, 4), *hicaz(8)[:-1], note("La4", 1, 2)], BARS_DO_NOT_ADD_UP),
            ([metre(9, 8), *hicaz(FEWEST_BARS - 1)], SHORT_PASSAGE),
            ([metre(120, 4), *hicaz(8)], ODD_USUL),
            ([metre(9, 8), "9\t9\tLa4"], BAD_ROW),
            ([metre(9, 8), row(9, "La4", 305, 1, 8).replace("305", "high")], BAD_ROW),
            ([metre(9, 8), row(9, "A4", 305, 1, 8)], BAD_ROW),
            ([metre(9, 8), row(9, "La4" * 50_000, 305, 1, 8)], BAD_ROW),
            ([metre(9, 8), row(9, "La4", 99999, 1, 8)], BAD_ROW),
        ],
    )
    def test_each_reason(self, rows: list[str], reason: str) -> None:
        assert read(*rows) == [reason]

    @pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"Kod\tKoma53\n9\t305\n", b"\n" + HEAD.encode()])
    def test_other_text_is_no_score(self, data: bytes) -> None:
        assert read_score(NAME, data) == [NO_SCORE]

    def test_every_metre_can_be_said(self) -> None:
        assert set(SAYABLE_METRES) >= METRES


class TestCutting:
    @settings(deadline=None, max_examples=60)
    @given(
        lengths=st.lists(st.sampled_from([1, 2, 4]), min_size=FEWEST_BARS, max_size=200),
        size=st.sampled_from(sorted(METRES)),
    )
    def test_no_bar_is_lost_and_none_is_cut(self, lengths: list[int], size: tuple[int, int]) -> None:
        length = Fraction(*size)
        tone = (Pitch("A", 0, 4),)
        bars = [Bar((Note(tone, length - length / (2 * part)), Note(tone, length / (2 * part)))) for part in lengths]
        parts = symbtr._cut_bars(bars, length)
        assert [bar for part in parts for bar in part] == bars
        assert all(FEWEST_BARS <= len(part) <= 56 for part in parts)

    def test_a_cut_lies_behind_the_longest_note_nearby(self) -> None:
        rows = hicaz(40)
        # The 15th bar ends with a long note; four bars of 9/8 are the usual unit, 16 of them the usual tune.
        rows[9 * 14 : 9 * 15] = [note("La4", 1, 4), note("Re5", 7, 8)]
        found = read(metre(9, 8), *rows)
        assert [len(tune.bars) for tune in found] == [15, 25]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder like a clone of the repository, with two scores and what else lies there."""
    folder = tmp_path / "SymbTr"
    (folder / "txt").mkdir(parents=True)
    (folder / "README.md").write_text("# SymbTr")
    (folder / "LICENSE.txt").write_text("CC")
    (folder / "symbTr_mbid.json").write_text("[]")
    (folder / "txt" / NAME).write_bytes(score(metre(9, 8), *hicaz(90)))
    (folder / "txt" / "rast--x--sofyan--y--z.txt").write_bytes(score(metre(9, 8), *hicaz(20, 1)))
    (folder / "txt" / "saba--x--sofyan--y--z.txt").write_bytes(b"no score")
    return folder


def pack(folder: Path, target: Path) -> Path:
    with tarfile.open(target, f"w:{target.suffix[1:].replace('tar', '')}") as archive:
        archive.add(folder / "txt", "txt")
    return target


class TestSource:
    def test_a_clone_its_folder_and_an_archive_hold_the_same(self, clone: Path, tmp_path: Path) -> None:
        places = [clone, clone / "txt", *(pack(clone, tmp_path / f"txt.tar{end}") for end in ("", ".gz", ".xz"))]
        found = [load_corpus([place], use_cache=False) for place in places]
        assert len({corpus.hash for corpus in found}) == 1
        for corpus in found:
            assert corpus.statistics()["regions"] == {"Sumeru": len(corpus.tunes)}
            assert corpus.statistics()["rejected"][NO_SCORE] == 1
            assert corpus.report.licences == (symbtr.LICENCE,)

    def test_places(self, clone: Path) -> None:
        places = [reading.place for reading in find_source(clone).read()]
        assert places[0] == f"{clone}/txt/{NAME}#1"
        assert places[-1] == f"{clone}/txt/saba--x--sofyan--y--z.txt#1"
        one = clone / "txt" / NAME
        assert next(find_source(one).read()).place == f"{one}#1"

    def test_a_nation_of_the_users_choice(self, clone: Path) -> None:
        assert {reading.region for reading in SymbTrScores(clone, "mine", "Natlan").read()} == {"Natlan"}
        assert SymbTrScores(clone, "mine", "Natlan").fingerprint() != SymbTrScores(clone, "mine").fingerprint()

    def test_names_alone_make_no_score(self, clone: Path) -> None:
        for path in (clone / "txt").iterdir():
            path.write_text("a letter to a friend")
        (clone / "symbTr_mbid.json").unlink()
        with pytest.raises(CorpusError, match="holds no ABC files"):
            find_source(clone)
        with pytest.raises(CorpusError, match="holds no SymbTr scores"):
            SymbTrScores(clone, "mine")

    def test_an_archive_of_something_else(self, tmp_path: Path) -> None:
        path = tmp_path / "other.tar"
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
        with pytest.raises(CorpusError) as caught:
            list(find_source(path).read())
        assert str(caught.value) == f"{path}: holds no SymbTr scores"

    def test_damaged_archives(self, clone: Path, tmp_path: Path) -> None:
        path = pack(clone, tmp_path / "txt.tar.xz")
        whole = path.read_bytes()
        bomb = io.BytesIO()
        with tarfile.open(fileobj=bomb, mode="w") as archive:
            large = tarfile.TarInfo("zeros.bin")
            large.size = 20 * 2**20
            archive.addfile(large, io.BytesIO(bytes(large.size)))
        for data, message in (
            (whole[: len(whole) // 2], "is no whole xz archive"),
            (b"something else", "is no whole xz archive"),
            (lzma.compress(b"something else" * 100), "is no whole tar archive"),
            (lzma.compress(bomb.getvalue()), "is too large, or packed to an absurd degree"),
        ):
            path.write_bytes(data)
            with pytest.raises(CorpusError) as caught:
                list(find_source(path).read())
            assert str(caught.value) == f"{path}: {message}"

    def test_links_in_an_archive_are_not_followed(self, clone: Path, tmp_path: Path) -> None:
        path = tmp_path / "links.tar"
        with tarfile.open(path, "w") as archive:
            link = tarfile.TarInfo(f"txt/{NAME}")
            link.type, link.linkname = tarfile.SYMTYPE, os.fspath(clone / "txt" / NAME)
            archive.addfile(link)
        with pytest.raises(CorpusError, match="holds no SymbTr scores"):
            list(find_source(path).read())


class TestWorks:
    def test_tunes_of_one_score_are_one_cluster_and_on_one_side(self, tmp_path: Path) -> None:
        for number in range(12):
            rows = [metre(9, 8), *hicaz(48, number), *hicaz(48, 3 * number + 1)]
            (tmp_path / f"hicaz--x--aksak--{number}--y.txt").write_bytes(score(*rows))
        corpus = load_corpus([tmp_path], use_cache=False)
        sides: dict[str, set[tuple[int, str]]] = {}
        for entry in corpus.tunes:
            sides.setdefault(entry.source.partition("#")[0], set()).add((entry.cluster, entry.split))
        assert len(corpus.tunes) > 2 * len(sides)
        assert all(len(side) == 1 for side in sides.values())
        assert {split for side in sides.values() for _, split in side} == {"train", "validation"}

    def test_works_connect_clusters_over_several_steps(self) -> None:
        assert join_works([0, 1, 0, 3, 4, 1], ["a", "b", "", "c", "c", "a"]) == [0, 0, 0, 3, 3, 0]

    def test_without_works_clusters_stay(self) -> None:
        assert join_works([0, 0, 2, 0], [""] * 4) == [0, 0, 2, 0]

    def test_the_cache_keeps_the_work(self, clone: Path) -> None:
        candidates = [examine(reading) for reading in find_source(clone).read()]
        assert candidates[0].work == f"{clone}/txt/{NAME}"
        assert candidates_from_json(json.loads(json.dumps(candidates_to_json(candidates)))) == candidates


def test_the_command_line_says_what_becomes_learned(hoyo: Callable[..., Said], tmp_path: Path) -> None:
    folder = tmp_path / "scores"
    folder.mkdir()
    for number in range(650):
        digits = [number // 9**place % 9 for place in range(4)]
        rows = [note(HICAZ[(at + digits[at % 4] * (at // 4 + 1)) % 9]) for at in range(9 * 4)]
        (folder / f"hicaz--x--aksak--{number}--y.txt").write_bytes(score(metre(9, 8), *rows))
    said = hoyo("corpus", "add", folder, "--name", "symbtr")
    [named, learned] = said.err.splitlines()
    assert named.startswith(f"symbtr stands for {folder}; ")
    usable = json.loads(hoyo("corpus", "stats", "--corpus", "symbtr", "--json").out)
    assert usable["learned"] == ["Sumeru"]
    assert learned == f"{usable['usable']} usable tunes; nations with tunes enough to be learned: Sumeru"
    lines = hoyo("corpus", "stats", "--corpus", "symbtr").lines
    assert "nations with tunes enough to be learned: Sumeru" in lines
    shutil.rmtree(folder)
    folder.mkdir()
    assert hoyo("corpus", "add", folder, "--name", "empty").code == 0


@pytest.mark.slow
def test_the_whole_set() -> None:
    if not ARCHIVE.exists():
        pytest.skip("the SymbTr archive is not on this computer")
    corpus = load_corpus([ARCHIVE])
    counts = corpus.statistics()
    assert counts["regions"] == {"Sumeru": counts["usable"]}
    assert counts["usable"] > 3500
    assert counts["rejected"][MICROTONAL] == 906
    steps = [
        abs(after.top.midi - before.top.midi)
        for entry in corpus.tunes
        for notes in [[note for note in entry.tune.notes() if note.pitches]]
        for before, after in zip(notes, notes[1:], strict=False)
    ]
    # What was counted in the scores themselves: 32.4 % steps of a semitone, 5 % leaps beyond a major third.
    assert sum(step == 1 for step in steps) / len(steps) == pytest.approx(0.324, abs=0.01)
    assert sum(step > 4 for step in steps) / len(steps) == pytest.approx(0.05, abs=0.01)
    vocabulary = Vocabulary.build()
    for entry in corpus.tunes[::40]:
        assert vocabulary.decode(vocabulary.encode(entry.tune)) == entry.tune
        assert abc.parse(abc.write(entry.tune)) == [entry.tune]
