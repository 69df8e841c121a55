"""Rewriting: bars that stay are untouched, new ones fill the same room, and what follows has a say in them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic import abc
from hoyomusic.errors import UsageError
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.grammar import clocks
from hoyomusic.grammar.tables import GRID, pitches_within
from hoyomusic.recall import recall
from hoyomusic.rewriting import Rewriting, RewritingConfig, describe_config, infill, number_bars, read_bars, vary
from hoyomusic.rewriting.filling import Filler, Place, can_fill
from hoyomusic.rewriting.hearing import hear, read_notes
from hoyomusic.rewriting.listening import Listener
from hoyomusic.rewriting.particles import resample
from hoyomusic.rewriting.variation import choose_groups, find_beginnings, find_cadences, group_bars
from hoyomusic.sampling import SamplingConfig
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune
from hoyomusic.tuplets import group_tuplets
from hoyomusic.vocab import Vocabulary, count_bars
from hoyomusic.vocab.tokens import TICKS_PER_WHOLE
from tests.conftest import BOOK

VOCABULARY = Vocabulary.build()
TUNES = abc.parse(BOOK.read_text(encoding="utf-8"))
JIG = TUNES[1]

# All that a user's own tune may have: an upbeat, graces, chord symbols, endings, parts, changes of key and metre, ties
# into and out of bars, a chord that is tied in part, an odd bar, texts.
MOTLEY = abc.parse(
    """X:7
T:Motley
C:Somebody
N:mine
P:AB
M:4/4
L:1/8
Q:1/4=90
K:D ^g
P:A
|: A2 | "D"d2 {e}fg a2 [df]2- | [df]2 e2 d4- | d2 cB A3 G | F2 [FA]2- [FAd]4 |1 e8- | e6 :|2 f4 e4- | e2 d4 ||
P:B
[M:3/4][K:Am] A2 B2 c2- | c2 d2 e2 | e2 d | c6- | (3cBA G2 A2 | A6 |]
"""
)[0]


class HashRuntime:
    """A stand-in for a model: logits that hang on the id, region and clock of a row, on its past, and on its memory."""

    def __init__(self, vocabulary: int) -> None:
        self._table = np.random.Generator(np.random.Philox(5)).normal(size=(64, vocabulary)).astype(np.float32)
        self.heard: list[tuple[int, int, int, list[list[int]]]] = []

    def start(self, batch: int) -> tuple[np.ndarray]:
        return (np.zeros((1, batch), np.int64),)

    def step(
        self, ids: np.ndarray, region: np.ndarray, clock: np.ndarray, state: tuple[np.ndarray], told: np.ndarray
    ) -> tuple[np.ndarray, tuple[np.ndarray]]:
        self.heard += zip(ids.tolist(), region.tolist(), clock.tolist(), told.tolist(), strict=True)
        after = (31 * state[0] + 7 * ids + 3 * region + clock + told.sum(axis=(1, 2))) % 64
        return self._table[after[0]], (after,)

    def select(self, state: tuple[np.ndarray], rows: list[int]) -> tuple[np.ndarray]:
        return (state[0][:, rows],)

    def gather(self, rows: list[tuple[tuple[np.ndarray], int]]) -> tuple[np.ndarray]:
        return (np.stack([state[0][:, row] for state, row in rows], axis=1),)


def generator_of(runtime: object, vocabulary: Vocabulary = VOCABULARY) -> HoyoMusicGenerator:
    provenance = {"learned": ["Mondstadt", "Liyue", "Fontaine"]}
    return HoyoMusicGenerator(runtime, vocabulary, identity="0123456789abcdef", provenance=provenance, path=Path("x"))


@pytest.fixture(scope="module")
def generator() -> HoyoMusicGenerator:
    return generator_of(HashRuntime(len(VOCABULARY)))


def strip_notes(bar: Bar) -> tuple[object, ...]:
    return bar.opens, bar.closes, bar.ending, bar.double, bar.metre, bar.key, bar.part, bar.length


def check_untouched(old: Tune, made: Rewriting) -> None:
    """What must hold of every rewriting: all but the notes of its new bars is the old tune's."""
    new = made.tune
    assert (new.key, new.metre, new.parts, len(new.bars)) == (old.key, old.metre, old.parts, len(old.bars))
    assert [strip_notes(bar) for bar in new.bars] == [strip_notes(bar) for bar in old.bars]
    assert {index for index in range(len(old.bars)) if old.bars[index] != new.bars[index]} == set(made.changed)
    assert set(new.faults()) <= set(old.faults())


# ---------------------------------------------------------------------- infill


@pytest.mark.parametrize("tune", [*TUNES, MOTLEY], ids=lambda tune: tune.header.title)
def test_bars_that_stay_are_as_they_were_and_all_others_are_new(generator: HoyoMusicGenerator, tune: Tune) -> None:
    last = count_bars(tune)
    numbers = number_bars(tune)
    for first, stop in ((1, 1), (last // 2, last // 2 + 3), (last - 1, last), (1, last)):
        made = infill(generator, tune, first, stop, RewritingConfig(seed=stop, particles=3))
        check_untouched(tune, made)
        span = range(numbers.index(first), numbers.index(stop) + 1)
        assert set(made.changed) == set(span)
        assert made.numbers == tuple(range(first, stop + 1))
        following = made.tune.bars[span.stop - 1].notes[-1]
        assert following.ties == ()
        assert abc.parse(abc.write(made.tune)) == [made.tune]


def test_the_same_seed_gives_the_same_bars(generator: HoyoMusicGenerator) -> None:
    made = [infill(generator, JIG, 3, 6, RewritingConfig(seed=seed, particles=4)) for seed in (1, 1, 2)]
    assert made[0] == made[1]
    assert made[0].tune.header == made[1].tune.header
    assert made[0].tune != made[2].tune


def test_the_header_stays_and_gets_a_line_that_tells_what_was_done(generator: HoyoMusicGenerator) -> None:
    config = RewritingConfig(region="Liyue", seed=4, particles=2, sampling=SamplingConfig(0.8, top_k=20))
    header = infill(generator, MOTLEY, 2, 3, config).tune.header
    mine, line = header.notes.split("\n")
    assert (mine, header.title, header.composer, header.tempo) == ("mine", "Motley", "Somebody", MOTLEY.header.tempo)
    assert line.endswith(
        ", model 0123456789abcdef, seed 4, infill --bars 2-3 --region Liyue --particles 2 --temperature 0.8 --top-k 20"
    )
    assert infill(generator, JIG, 2, 2, config).tune.header.notes.count("infill --bars 2 ") == 1


TIED = abc.parse("X:1\nM:2/4\nL:1/8\nK:G\nG2 [Bd]2-|[Bd]2 c2-|c2 e2|d2 B2-|B2 A2|G4|]")[0]


@pytest.mark.parametrize("seed", range(6))
def test_a_tie_into_the_span_is_kept_and_none_leads_out(generator: HoyoMusicGenerator, seed: int) -> None:
    config = RewritingConfig(seed=seed, particles=2)
    bars = infill(generator, TIED, 2, 4, config).tune.bars
    assert [str(pitch) for pitch in bars[1].notes[0].pitches][:2] == ["B4", "D5"]
    assert bars[0] == TIED.bars[0]
    assert bars[3].notes[-1].ties == ()
    made = infill(generator, TIED, 3, 3, config)
    assert made.tune.bars[2].notes[0].pitches[0] == Pitch("C", 0, 5)
    assert made.tune.faults() == []


def test_a_tie_that_a_repeat_leads_into_the_span_is_kept(generator: HoyoMusicGenerator) -> None:
    tune = abc.parse("X:1\nM:2/4\nL:1/8\nK:G\n|:c2 G2|A2 B2|G2 c2-:|c4|A4|G4|]")[0]
    assert tune.faults() == []
    for seed in range(4):
        made = infill(generator, tune, 1, 2, RewritingConfig(seed=seed, particles=2))
        assert made.tune.bars[0].notes[0].pitches == (Pitch("C", 0, 5),)
        assert made.tune.faults() == []


def test_upbeats_between_the_bars_are_rewritten_and_those_before_them_stay(generator: HoyoMusicGenerator) -> None:
    config = RewritingConfig(seed=3, particles=2)
    assert number_bars(JIG)[:4] == [0, 1, 2, 3]
    assert number_bars(JIG)[8:12] == [8, 0, 9, 10]
    assert infill(generator, JIG, 1, 1, config).changed == (1,)
    assert infill(generator, JIG, 8, 9, config).changed == (8, 9, 10)
    assert infill(generator, JIG, 9, 9, config).changed == (10,)


def test_new_notes_keep_to_the_range_of_the_tune(generator: HoyoMusicGenerator) -> None:
    heights = [pitch.midi for note in JIG.notes() for pitch in note.pitches]
    made = infill(generator, JIG, 1, 16, RewritingConfig(particles=2))
    new = [pitch.midi for note in made.tune.notes() for pitch in note.pitches]
    assert min(heights) - 4 <= min(new) < max(new) <= max(heights) + 4
    assert all(len(note.pitches) <= 1 for note in made.tune.notes())


def test_a_styled_nation_keeps_its_scale_where_the_tune_does(generator: HoyoMusicGenerator) -> None:
    tune = abc.parse("X:1\nM:4/4\nL:1/4\nK:Dphr\nDEGA|ABAG|DEGA|BAGE|D4|]")[0]
    made = infill(generator, tune, 1, 4, RewritingConfig(region="Inazuma", particles=2))
    assert {pitch.letter for note in made.tune.notes() for pitch in note.pitches} <= set("DEGAB")
    plain = infill(generator, tune, 1, 4, RewritingConfig(region="Mondstadt", particles=2))
    assert {pitch.letter for note in plain.tune.notes() for pitch in note.pitches} - set("DEGAB")


@pytest.mark.parametrize("layout", ["fused", "split"])
def test_the_model_hears_each_id_with_its_clock_its_nation_and_its_memory(layout: str) -> None:
    vocabulary = Vocabulary.build(layout)
    runtime = HashRuntime(len(vocabulary))
    config = RewritingConfig(region="Mondstadt", seed=5, particles=1)
    made = infill(generator_of(runtime, vocabulary), MOTLEY, 2, 7, config)
    ids = hear(made.tune, vocabulary).ids
    expected = list(zip(ids, [1] * len(ids), clocks(vocabulary, ids), recall(vocabulary, ids).tolist(), strict=True))
    # The old tune is heard first and the new one last, between them the way to the new one up to the span's end,
    # and behind it the bars that follow.
    assert runtime.heard[-len(ids) :] == expected
    searched = runtime.heard[len(hear(MOTLEY, vocabulary).ids) : -len(ids)]
    stop = number_bars(MOTLEY).index(7) + 1
    assert searched == expected[: len(hear(made.tune, vocabulary).ids_before(min(stop + 4, len(MOTLEY.bars)))) - 1]


class WaitingRuntime:
    """Prefers crotchets, all alike; the bars behind the span it foretells only behind a bar that had a certain note."""

    def __init__(self, certain: int, following: list[int]) -> None:
        self._certain = certain
        self._crotchets = [index for index, name in enumerate(VOCABULARY.names) if name.endswith("@1/4")]
        self._following = following

    def start(self, batch: int) -> tuple[np.ndarray]:
        return (np.zeros((1, batch), bool),)

    def step(
        self, ids: np.ndarray, region: np.ndarray, clock: np.ndarray, state: tuple[np.ndarray], told: np.ndarray
    ) -> tuple[np.ndarray, tuple[np.ndarray]]:
        had = state[0] | (ids == self._certain)
        logits = np.zeros((len(ids), len(VOCABULARY)), np.float32)
        logits[:, self._crotchets] = 4.0
        logits[np.ix_(had[0], self._following)] = 6.0
        return logits, (had,)

    def select(self, state: tuple[np.ndarray], rows: list[int]) -> tuple[np.ndarray]:
        return (state[0][:, rows],)

    def gather(self, rows: list[tuple[tuple[np.ndarray], int]]) -> tuple[np.ndarray]:
        return (np.stack([state[0][:, row] for state, row in rows], axis=1),)


def test_what_follows_has_a_say() -> None:
    """A blind draw has the note in about one bar of ten: in all six by luck it would be once in a million runs."""
    tune = abc.parse("X:1\nM:3/4\nL:1/4\nK:G\nG3|A3|B3|c'3|c'3|c'3|c'3|]")[0]
    certain, following = VOCABULARY.ids["#4@1/4"], [VOCABULARY.ids["4'@3/4"]]
    generator = generator_of(WaitingRuntime(certain, following))

    def has_it(seed: int, particles: int) -> bool:
        bar = infill(generator, tune, 3, 3, RewritingConfig(seed=seed, particles=particles)).tune.bars[2]
        return any(Pitch("C", 1, 5) in note.pitches and note.length == Fraction(1, 4) for note in bar.notes)

    assert all(has_it(seed, 128) for seed in range(6))
    assert sum(has_it(seed, 1) for seed in range(30)) < 15


@pytest.mark.parametrize(
    ("music", "bars", "message"),
    [
        ("M:2/4\nL:1/8\nK:G\nG4|A4|", (3, 3), "--bars: there are no bars 3; the tune has bars 1-2"),
        ("M:2/4\nL:1/8\nK:G\nG4|A4|", (0, 1), "--bars: there are no bars 0-1; the tune has bars 1-2"),
        ("M:2/4\nL:1/8\nK:G\nG4|A4|", (2, 1), "--bars: there are no bars 2-1; the tune has bars 1-2"),
        ("M:none\nL:1/8\nK:G\nG4|A4|", (1, 1), "the tune has no metre; give it an M: field"),
        ("M:2/4\nL:1/8\nK:G\nG4|(3A2A2|A4|", (1, 3), "--bars: no notes can fill bar 2, which lasts 1/3; "),
        ("M:2/4\nL:1/8\nK:G\nG4||(3A|A4|", (1, 2), "--bars: no notes can fill an upbeat, which lasts 1/12; "),
        ("M:2/4\nL:1/8\nK:G\nz4|z4|", (1, 1), "the tune has no notes; give it some to go by"),
        ("M:13/4\nL:1/4\nK:G\nG13|", (1, 1), "the model cannot hear the tune: the metre 13/4 has no token; "),
    ],
)  # fmt: skip
def test_what_cannot_be_filled(
    generator: HoyoMusicGenerator, music: str, bars: tuple[int, int], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        infill(generator, abc.parse(f"X:1\n{music}")[0], *bars, RewritingConfig(particles=2))
    assert str(caught.value).startswith(message)


def test_a_model_that_leaves_out_lengths_is_refused() -> None:
    vocabulary = Vocabulary.build("sticky")
    with pytest.raises(UsageError, match="use a model of another layout"):
        infill(generator_of(HashRuntime(len(vocabulary)), vocabulary), JIG, 1, 1)


def test_bars_are_read_as_written() -> None:
    assert (read_bars("5-8"), read_bars(" 5 "), read_bars("8-5")) == ((5, 8), (5, 5), (8, 5))
    for text in ("", "five", "5-", "-5", "5-8-9", "5,8", "5.0", "1234567"):
        with pytest.raises(UsageError, match="--bars: .* names no bars; write 5-8, or 5 for a single bar"):
            read_bars(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": "Monstadt"}, "there is no nation 'Monstadt'; did you mean Mondstadt?"),
        ({"seed": -1}, "--seed: the seed -1; give a whole number from 0 to "),
        ({"particles": 0}, "--particles: 0 candidates; ask for 1 to 1024"),
        ({"particles": 2000}, "--particles: 2000 candidates; ask for 1 to 1024"),
    ],
)
def test_senseless_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        RewritingConfig(**options)
    assert str(caught.value).startswith(message)


def test_usual_options_are_not_told() -> None:
    assert describe_config(RewritingConfig(seed=7)) == ""
    config = RewritingConfig(region="璃月", particles=8, sampling=SamplingConfig(top_p=0.9))
    assert describe_config(config) == " --region Liyue --particles 8 --top-p 0.9"


# ---------------------------------------------------------------------- vary


@pytest.mark.parametrize("tune", [*TUNES, MOTLEY], ids=lambda tune: tune.header.title)
@pytest.mark.parametrize("amount", [0.01, 0.3, 1.0])
def test_form_key_and_cadences_stay(generator: HoyoMusicGenerator, tune: Tune, amount: float) -> None:
    made = vary(generator, tune, amount, RewritingConfig(seed=2, particles=2))
    check_untouched(tune, made)
    assert made.changed
    assert find_cadences(tune).isdisjoint(made.changed)
    for group in group_bars(tune):
        assert len({made.tune.bars[index].notes for index in group}) == 1
        assert set(group) <= set(made.changed) or not set(group) & set(made.changed)
    wanted = max(1, round(amount * count_bars(tune)))
    if amount < 1:
        assert find_beginnings(tune).isdisjoint(made.changed)
        assert len(made.numbers) == wanted
    else:
        cadences = {index for group in group_bars(tune) for index in group if find_cadences(tune) & set(group)}
        assert set(made.changed) == set(range(len(tune.bars))) - cadences - {
            index for index, number in enumerate(number_bars(tune)) if not number
        }


def test_nothing_asked_nothing_changed(generator: HoyoMusicGenerator) -> None:
    made = vary(generator, JIG, 0)
    assert (made.tune, made.changed, made.nats_after) == (JIG, (), made.nats_before)


def test_small_amounts_keep_more_of_the_old_notes(generator: HoyoMusicGenerator) -> None:
    def kept(favour_amount: float) -> float:
        """The share of the old pitches on the beats of changed bars that are still there."""
        found = []
        for seed in range(4):
            made = vary(generator, JIG, favour_amount, RewritingConfig(seed=seed, particles=2))
            for index in made.changed:
                old, new = (
                    {sum((note.length for note in bar.notes[:place]), Fraction(0)): note.pitches
                     for place, note in enumerate(bar.notes)}
                    for bar in (JIG.bars[index], made.tune.bars[index])
                )  # fmt: skip
                found += [new.get(onset) == old[onset] for onset in old if onset % Fraction(3, 8) == 0]
        return sum(found) / len(found)

    assert kept(0.1) > kept(0.9) + 0.2


def test_progress_is_told_bar_by_bar(generator: HoyoMusicGenerator) -> None:
    told: list[tuple[int, int]] = []
    infill(generator, JIG, 8, 9, RewritingConfig(particles=2), lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    told.clear()
    made = vary(generator, JIG, 0.3, RewritingConfig(particles=2), lambda done, total: told.append((done, total)))
    assert told == [(done, len(told)) for done in range(1, len(told) + 1)]
    assert len({made.tune.bars[index].notes for index in made.changed}) == len(told)


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan")])
def test_an_amount_is_a_share(generator: HoyoMusicGenerator, amount: float) -> None:
    with pytest.raises(UsageError, match="--amount: .*; give a share from 0 to 1"):
        vary(generator, JIG, amount)


def test_a_tune_of_cadences_cannot_be_varied(generator: HoyoMusicGenerator) -> None:
    with pytest.raises(UsageError, match="no bar may change: all are cadences or upbeats"):
        vary(generator, abc.parse("X:1\nM:2/4\nL:1/8\nK:G\nG4||A4|]")[0], 0.5)


def test_cadences_and_beginnings_of_a_form() -> None:
    tune = abc.parse("X:1\nM:2/4\nL:1/8\nK:G\n|:D|G4|A4|B4|1A4|G3:|2A4|G3||d|e4|d4|c4|]")[0]
    written = ["D", "G", "A", "B", "A", "G", "A", "G", "d", "e", "d", "c"]
    assert [note.top.letter.upper() for note in tune.notes()] == [letter.upper() for letter in written]
    assert find_cadences(tune) == {5, 7, 11}
    assert find_beginnings(tune) == {1, 6, 9}


@given(st.lists(st.integers(0, 5), min_size=3, max_size=24), st.floats(0.01, 1), st.integers(0, 99))
@settings(deadline=None, max_examples=100)
def test_groups_are_chosen_whole_and_near_the_amount(letters: list[int], amount: float, seed: int) -> None:
    bars = tuple(Bar((Note((Pitch("CDEFGA"[letter], 0, 5),), Fraction(1, 2)),)) for letter in letters)
    tune = Tune(Key("C"), Metre(2, 4), bars)
    free = [group for group in group_bars(tune) if len(letters) - 1 not in group]
    if not free:
        with pytest.raises(UsageError):
            choose_groups(tune, amount, seed, lambda index: True)
        return
    chosen = choose_groups(tune, amount, seed, lambda index: True)
    assert chosen
    assert set(chosen) <= set(free)
    assert len(set(chosen)) == len(chosen)
    # No single group could be added or left out to come nearer, but for the opening bar's, which is the last resort.
    wanted, size = max(1, int(amount * len(letters) + 0.5)), sum(map(len, chosen))
    for group in chosen:
        if len(chosen) > 1 and not (0 in group):
            assert abs(size - len(group) - wanted) >= abs(size - wanted) or any(0 in each for each in chosen)
    for group in set(free) - set(chosen):
        if 0 not in group:
            assert abs(size + len(group) - wanted) >= abs(size - wanted)


# ---------------------------------------------------------------------- filling


def walk(filler: Filler, place: Place, rng: np.random.Generator, end: int) -> tuple[list[int], Place]:
    """A random path to the bar line; ids with long notes are chosen more often, so that it ends."""
    ids: list[int] = []
    while True:
        allowed = filler.mask(place, end).nonzero()[0]
        assert len(allowed)
        index = int(rng.choice(allowed))
        if index == end:
            return ids, place
        ids.append(index)
        place = filler.advance(place, index)


@given(st.integers(1, 128), st.integers(0, 2**32), st.sampled_from(["fused", "split"]), st.booleans())
@settings(deadline=None, max_examples=60)
def test_any_path_fills_the_bar(sixty_fourths: int, seed: int, layout: str, chords: bool) -> None:
    vocabulary = Vocabulary.build(layout)
    key = Key("A", -1)
    filler = Filler(vocabulary, key, pitches_within(vocabulary, ("A", -1), "major", None, 55, 80), chords=chords)
    owed = ((0, 0), (2, 0)) if seed % 2 else ()
    place = Place(sixty_fourths * GRID, owed=owed)
    rng = np.random.Generator(np.random.Philox(seed))
    ids, place = walk(filler, place, rng, vocabulary.ids["|"])
    notes = read_notes(vocabulary, key, ids)
    assert sum(note.length for note in notes) == Fraction(sixty_fourths, 64)
    lengths = [note.length for note in notes]
    bracketed = {index for tuplet in group_tuplets(lengths) for index in range(tuplet.start, tuplet.stop)}
    binary = {index for index, length in enumerate(lengths) if 64 % length.denominator == 0}
    assert binary | bracketed == set(range(len(notes)))
    if owed:
        assert [str(pitch) for pitch in notes[0].pitches][:2] == ["Ab4", "C5"]
    tune = Tune(key, Metre(1, 4), (Bar(notes),))
    assert [fault for fault in tune.faults() if "tie" in fault.message] == []
    assert all(55 <= pitch.midi <= 80 for note in notes for pitch in note.pitches)
    assert chords or owed or all(len(note.pitches) <= 1 for note in notes)
    # A tune has one way to be said, and this is it.
    before = Bar((Note((Pitch("A", -1, 4),), Fraction(1)),))
    heard = hear(Tune(key, Metre(4, 4), (before, Bar(notes))), vocabulary)
    assert list(heard.bars[1].notes) == ids


def test_no_place_is_a_dead_end() -> None:
    """Every place that can be reached within a quaver, with two pitches."""
    filler = Filler(VOCABULARY, Key("G"), {(0, 0), (4, 0)}, chords=True)
    end = VOCABULARY.ids["|"]
    seen: set[Place] = set()
    waiting = [Place(TICKS_PER_WHOLE // 8)]
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        allowed = filler.mask(place, end, may_tie_on=True).nonzero()[0]
        assert len(allowed), place
        waiting += [filler.advance(place, int(index)) for index in allowed if index != end]
    assert len(seen) > 200
    assert {place.room for place in seen if place.tuplet} - {place.room for place in seen if not place.tuplet}


def test_what_notes_can_fill() -> None:
    assert can_fill(GRID)
    assert not can_fill(0)
    assert not can_fill(TICKS_PER_WHOLE // 12)


# ---------------------------------------------------------------------- hearing and listening


@pytest.mark.parametrize("tune", TUNES, ids=lambda tune: tune.header.title)
def test_a_plain_tune_is_heard_as_it_is(tune: Tune) -> None:
    heard = hear(tune, VOCABULARY)
    if not tune.key.explicit:
        assert heard.ids == VOCABULARY.encode(tune)
    for bar, original in zip(heard.bars, tune.bars, strict=True):
        assert read_notes(VOCABULARY, bar.key, bar.notes) == original.notes
        assert bar.length == original.length * TICKS_PER_WHOLE
    assert heard.bars[0].onset == (tune.metres()[0].length - tune.bars[0].length) * TICKS_PER_WHOLE


def test_what_cannot_be_said_is_passed_over() -> None:
    heard = hear(MOTLEY, VOCABULARY)
    decoded = VOCABULARY.decode(heard.ids)
    assert [bar.length for bar in decoded.bars] == [bar.length for bar in MOTLEY.bars]
    assert [note.pitches for note in decoded.notes()] == [note.pitches for note in MOTLEY.notes()]
    part = next(index for index, bar in enumerate(MOTLEY.bars) if bar.part == "B")
    assert decoded.bars[part - 1].double
    assert heard.bars[part].key == Key("A", 0, "minor")
    assert decoded.key == Key("D")


def test_likelihoods_are_those_of_the_model(generator: HoyoMusicGenerator) -> None:
    """Against the plain sum, a softmax at each step."""
    ids = hear(JIG, VOCABULARY).ids
    beside, told = clocks(VOCABULARY, ids), recall(VOCABULARY, ids)
    runtime = HashRuntime(len(VOCABULARY))
    state, expected = runtime.start(1), []
    for place, index in enumerate(ids[:-1]):
        label, clock = np.array([1]), np.array([beside[place]])
        logits, state = runtime.step(np.array([index]), label, clock, state, told[[place]].astype(int))
        weights = np.exp(logits[0].astype(np.float64))
        expected.append(np.log(weights[ids[place + 1]] / weights.sum()))
    found = Listener(HashRuntime(len(VOCABULARY)), VOCABULARY, 1).score(ids)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    made = infill(generator, JIG, 3, 4, RewritingConfig(particles=2))
    assert made.nats_before == pytest.approx(sum(expected), abs=1e-6)
    assert made.nats_after != made.nats_before
    assert made.tokens == len(hear(made.tune, VOCABULARY).ids)


@given(st.lists(st.integers(0, 2**30), min_size=1, max_size=40).filter(any), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=200)
def test_copies_are_in_proportion(weights: list[int], word: int) -> None:
    rows = resample(np.array(weights, np.int64), word)
    assert len(rows) == len(weights)
    for row, weight in enumerate(weights):
        expected = Fraction(weight * len(weights), sum(weights))
        assert expected - 1 < rows.count(row) < expected + 1
