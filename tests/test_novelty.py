"""What a tune shares with training tunes: the index against a plain search, its file, and the one that is shipped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import abc, novelty
from hoyomusic.checkpoint import find_default_model, load_arrays
from hoyomusic.corpus import load_corpus
from hoyomusic.errors import CheckpointError, StorageError
from hoyomusic.novelty import WINDOW, Novelty, NoveltyIndex, build_index, find_index
from hoyomusic.tune import Bar, Key, Note, Pitch, Tune
from tests.conftest import BOOK

# An index may hold so many bytes and cost so many seconds of the processor. Measured on one core of 2 GHz:
# 4.1 MB, 0.015 s to load, 0.003 s for a tune of 100 notes; the bounds leave room for a busy machine.
LARGEST_INDEX = 8_000_000
LONGEST_LOADING = 0.15
LONGEST_LOOKING_UP = 0.02

REEL = "EDB,D E2GA|BAGE DEGB|A2BA GEDE|GEDB, D2B,D|EDB,D E2GA|BABd edBA|"


def make_tune(body: str, head: str = "M:4/4\nL:1/8\nK:Em") -> Tune:
    [tune] = abc.parse(f"X:1\n{head}\n{body}]\n")
    return tune


def in_one_bar(notes: Sequence[tuple[int | None, Fraction]]) -> Tune:
    """A tune in free metre of (MIDI number, length); None is a rest."""
    sounds = (Note(() if midi is None else (Pitch.from_midi(midi),), length) for midi, length in notes)
    return Tune(Key("C"), None, (Bar(tuple(sounds)),))


def find_steps(tune: Tune) -> list[tuple[int, Fraction]]:
    """Interval and ratio of lengths from each sounding note to the next; no ties, no chords."""
    notes = [(note.top.midi, note.length) for note in tune.notes() if note.pitches]
    return [(b[0] - a[0], b[1] / a[1]) for a, b in zip(notes, notes[1:], strict=False)]


def search(training: Sequence[Tune], tune: Tune) -> Novelty:
    """The obvious way: the longest common run of steps with each training tune, one after the other."""
    steps = find_steps(tune)
    size = WINDOW - 1
    best, source, known = 0, None, set()
    for number, other in enumerate(training):
        theirs = find_steps(other)
        known |= {tuple(theirs[at : at + size]) for at in range(len(theirs) - size + 1)}
        row = [0] * (len(steps) + 1)
        for step in theirs:
            row = [0, *(row[at] + 1 if step == mine else 0 for at, mine in enumerate(steps))]
            if max(row) >= size and max(row) > best:
                best, source = max(row), str(number)
    windows = [tuple(steps[at : at + size]) for at in range(len(steps) - size + 1)]
    new = sum(window not in known for window in windows) / len(windows) if windows else 1.0
    return Novelty(best + 1 if best else 0, source, new)


# So few different notes that runs are shared, and shared in several places.
NOTES = st.sampled_from(
    [(60, Fraction(1, 8)), (62, Fraction(1, 8)), (60, Fraction(1, 4)), (60, Fraction(1, 12)), (None, Fraction(1, 8))]
)
MELODIES = st.lists(NOTES, max_size=40)


class TestMeasuring:
    @settings(deadline=None, max_examples=150)
    @given(training=st.lists(MELODIES, max_size=4), own=MELODIES, data=st.data())
    def test_it_finds_what_a_plain_search_finds(self, training: list, own: list, data: st.DataObject) -> None:
        """Equal but for collisions of hashes, which would need luck of one in a million."""
        for other in training:
            start = data.draw(st.integers(0, len(other)))
            own = own + other[start : start + data.draw(st.integers(0, 30))]
        tunes = [in_one_bar(melody) for melody in training]
        index = NoveltyIndex.build((str(number), tune) for number, tune in enumerate(tunes))
        expected, found = search(tunes, in_one_bar(own)), index.measure(in_one_bar(own))
        assert (found.longest, found.source) == (expected.longest, expected.source)
        assert found.new == pytest.approx(expected.new, abs=1e-12)

    def test_a_copy_is_found_in_any_key_and_note_unit(self) -> None:
        index = NoveltyIndex.build([("a part", make_tune(REEL[12:])), ("reel", make_tune(REEL))])
        notes = sum(1 for _ in make_tune(REEL).notes())
        copy = make_tune(REEL, "M:none\nL:1/16\nK:Em").transposed_to("A")
        assert index.measure(copy) == Novelty(notes, "reel", 0.0)

    def test_one_changed_note_breaks_the_run_in_two(self) -> None:
        index = NoveltyIndex.build([("reel", make_tune(REEL))])
        changed = make_tune(REEL.replace("A2BA GEDE", "A2BA cEDE"))
        notes = sum(1 for _ in changed.notes())
        found = index.measure(changed)
        # The changed note is the 19th of 44: 25 unchanged ones come after it, and 8 windows hold it.
        assert (found.longest, found.source) == (25, "reel")
        assert found.new == 8 / (notes - WINDOW + 1)

    def test_a_run_ends_where_the_training_tune_ends(self) -> None:
        half = make_tune("EDB,D E2GA|BAGE DEGB|")
        index = NoveltyIndex.build([("first", half), ("second", make_tune("A2BA GEDE|GEDB, D2B,D|"))])
        found = index.measure(make_tune("EDB,D E2GA|BAGE DEGB|A2BA GEDE|GEDB, D2B,D|"))
        assert (found.longest, found.source) == (15, "first")
        assert 0 < found.new < 1

    def test_ties_are_joined_rests_skipped_chords_heard_by_their_top(self) -> None:
        index = NoveltyIndex.build([("plain", make_tune("E2GA BAGE|DEGB A2BA|"))])
        dressed = make_tune("E-EG[CA] z2 B[DA]|GEDE G[EB]A-A|BA z6|")
        assert index.measure(dressed) == Novelty(14, "plain", 0.0)

    def test_a_repeat_is_read_once(self) -> None:
        index = NoveltyIndex.build([("plain", make_tune(REEL))])
        repeated = make_tune(f"|:{REEL[:-1]}:|")
        assert len(repeated.play_order()) == 12
        assert index.measure(repeated) == index.measure(make_tune(REEL))

    def test_rhythm_counts(self) -> None:
        index = NoveltyIndex.build([("plain", make_tune(REEL))])
        dotted = make_tune(REEL.replace("EDB,D", "E>DB,>D").replace("BAGE", "B>AG>E").replace("GEDE", "G>ED>E"))
        # What is left as it was, from E2 in the fifth bar to the end.
        assert index.measure(dotted).longest == 11

    def test_a_tune_shorter_than_a_window_is_new(self) -> None:
        index = NoveltyIndex.build([("reel", make_tune(REEL))])
        assert index.measure(make_tune("EDB,D E2G2|")) == Novelty(0, None, 1.0)

    def test_the_first_of_equal_tunes_is_named(self) -> None:
        index = NoveltyIndex.build([("first", make_tune(REEL)), ("second", make_tune(REEL))])
        assert index.measure(make_tune(REEL)).source == "first"

    def test_an_empty_index_knows_nothing(self) -> None:
        index = NoveltyIndex.build([])
        assert len(index) == 0
        assert index.measure(make_tune(REEL)) == Novelty(0, None, 1.0)

    def test_values_for_json(self) -> None:
        assert json.dumps(Novelty(9, "book.abc#1", 0.25).to_dict()) == (
            '{"longest": 9, "source": "book.abc#1", "new": 0.25}'
        )


class TestHashes:
    def test_they_are_the_same_on_every_machine(self) -> None:
        """A shipped index is of no use where the same notes hash to something else."""
        words = novelty._hash_windows(make_tune(REEL))
        assert hashlib.sha256(words.astype("<u8").tobytes()).hexdigest()[:16] == "27a5bd0976637750"

    def test_they_spread_evenly(self) -> None:
        """Of some 2,000 different windows no two may share a hash, and each bit is set in half of them."""
        melody = [(40 + (value * value + value // 7) % 47, Fraction(1, 8)) for value in range(2000)]
        words = novelty._hash_windows(in_one_bar(melody))
        steps = find_steps(in_one_bar(melody))
        assert len(set(words.tolist())) == len({tuple(steps[at : at + 7]) for at in range(len(words))})
        shares = [np.mean((np.unique(words) >> np.uint64(bit)) & np.uint64(1)) for bit in range(40)]
        assert min(shares) > 0.4 and max(shares) < 0.6


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return NoveltyIndex.build([("reel", make_tune(REEL)), ("蒙德", make_tune("EDB,D|"))], "c0ffee").save(
        tmp_path / "model.index"
    )


class TestFile:
    def test_loading_inverts_saving(self, saved: Path) -> None:
        index = NoveltyIndex.load(saved)
        assert (index.names, index.corpus, len(index)) == (("reel", "蒙德"), "c0ffee", 37)
        assert index.measure(make_tune(REEL)) == Novelty(44, "reel", 0.0)

    def test_an_empty_index_comes_back(self, tmp_path: Path) -> None:
        assert NoveltyIndex.load(NoveltyIndex.build([]).save(tmp_path / "empty.index")).names == ()

    def test_saving_replaces_and_leaves_no_other_file(self, saved: Path) -> None:
        NoveltyIndex.build([("reel", make_tune(REEL))]).save(saved)
        assert [path.name for path in saved.parent.iterdir()] == ["model.index"]
        assert NoveltyIndex.load(saved).names == ("reel",)

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="is not a regular file"):
            NoveltyIndex.build([]).save(tmp_path)

    def test_every_damaged_byte_is_noticed(self, saved: Path) -> None:
        whole = saved.read_bytes()
        for at in range(len(whole)):
            saved.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(CheckpointError):
                NoveltyIndex.load(saved)
        for size in range(len(whole)):
            saved.write_bytes(whole[:size])
            with pytest.raises(CheckpointError):
                NoveltyIndex.load(saved)

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            (["a", "b"], [7, 0]),
            (["a"], [7, 7]),
            (["a"], [7, 0, 7]),
            (["a", "b"], [7, 1, 7, 0]),
            (["a", 3], [0, 0]),
            ("ab", [0, 0]),
            (None, []),
        ],
    )
    def test_contradictions_are_refused_though_the_sum_holds(
        self, tmp_path: Path, names: object, words: list[int]
    ) -> None:
        body = json.dumps({"corpus": "", "names": names}).encode() + b"\n"
        body += b"".join(word.to_bytes(5, "little") for word in words)
        header = {"format": novelty.FORMAT, "version": 1, "sha256": hashlib.sha256(body).hexdigest()}
        path = tmp_path / "strange.index"
        path.write_bytes(json.dumps(header).encode() + b"\n" + body)
        with pytest.raises(CheckpointError, match="the index of training tunes is damaged; train or install again"):
            NoveltyIndex.load(path)

    @pytest.mark.parametrize("data", [b"", b"[]\n", b"{}\n", b"[" * 100_000, b"PK\x03\x04 something else", b"9" * 5000])
    def test_foreign_files_are_refused(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "foreign.index"
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            NoveltyIndex.load(path)
        assert str(caught.value) == f"{path}: is no index of training tunes"

    def test_a_newer_file_is_refused(self, saved: Path) -> None:
        saved.write_bytes(saved.read_bytes().replace(b'"version": 1', b'"version": 2', 1))
        with pytest.raises(CheckpointError) as caught:
            NoveltyIndex.load(saved)
        assert str(caught.value) == f"{saved}: has the version 2, not 1; use the program that wrote it"

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError) as caught:
            NoveltyIndex.load(tmp_path / "none.index")
        assert str(caught.value) == f"{tmp_path / 'none.index'}: cannot be read (No such file or directory)"


class TestCorpus:
    def test_only_training_tunes_are_held_and_named_by_place_and_title(self) -> None:
        corpus = load_corpus([BOOK], use_cache=False)
        [judge] = corpus.of_split("validation")
        index = build_index(corpus)
        assert index.corpus == corpus.hash
        assert len(index.names) == 7
        assert f"{judge.source} ({judge.tune.header.title})" not in index.names
        for entry in corpus.of_split("train"):
            found = index.measure(entry.tune)
            assert (found.source, found.new) == (f"{entry.source} ({entry.tune.header.title})", 0.0)
        assert index.measure(judge.tune).new > 0

    def test_a_tune_without_a_title_is_named_by_its_place(self) -> None:
        corpus = load_corpus([BOOK], use_cache=False)
        untitled = [
            replace(entry, tune=replace(entry.tune, header=replace(entry.tune.header, title="")))
            for entry in corpus.tunes
        ]
        assert set(build_index(replace(corpus, tunes=tuple(untitled))).names) == {
            entry.source for entry in corpus.of_split("train")
        }


@pytest.fixture(scope="module")
def index() -> NoveltyIndex:
    return NoveltyIndex.load(find_index(find_default_model()))


class TestShipped:
    """The index that comes with the default model."""

    def test_a_model_without_an_index_has_none(self, tmp_path: Path) -> None:
        assert find_index(tmp_path / "hoyomusic_generator.pth") is None

    def test_it_is_of_the_tunes_that_the_model_learned(self, index: NoveltyIndex) -> None:
        assert index.corpus == load_arrays(find_default_model()).provenance["corpus"]
        assert len(index.names) >= load_arrays(find_default_model()).provenance["training"]

    def test_it_knows_a_tune_that_everybody_knows(self, index: NoveltyIndex) -> None:
        washerwoman = make_tune("BGG DGG|BGB dcB|cAA EAA|cAc edc|", "M:6/8\nL:1/8\nK:G")
        assert index.measure(washerwoman.transposed_to("D")) == Novelty(
            24, "airdsAirs/book4.abc#19 (The Irish Washerwoman.)", 0.0
        )

    def test_it_is_small_and_quick(self, index: NoveltyIndex) -> None:
        """The best of several tries, in processor time: others may be at work here."""
        path = find_index(find_default_model())
        assert path.stat().st_size <= LARGEST_INDEX
        long = make_tune(REEL * 9)
        took = {NoveltyIndex.load: [], index.measure: []}
        for call, argument in ((NoveltyIndex.load, path), (index.measure, long)):
            for _ in range(5):
                began = time.process_time()
                call(argument)
                took[call].append(time.process_time() - began)
        loading, looking_up = map(min, took.values())
        assert (loading < LONGEST_LOADING, looking_up < LONGEST_LOOKING_UP) == (True, True), (loading, looking_up)

    @pytest.mark.slow
    def test_it_is_what_the_default_corpus_gives(self, index: NoveltyIndex) -> None:
        built = build_index(load_corpus())
        assert (built.names, built.corpus) == (index.names, index.corpus)
        assert np.array_equal(built.words, index.words)
