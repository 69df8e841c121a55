from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from itertools import count
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.folkwiki import cache, clock, learning, recall
from benchmarks.folkwiki.data import (
    CANDIDATES, FOLDER, STRENGTHS, Data, Tunes, load, prepare, read_tunes, to_melody,
)
from benchmarks.folkwiki.learning import Plan
from benchmarks.folkwiki.network import Network, NetworkConfig
from benchmarks.folkwiki.tokens import (
    ESCAPE, ESCAPE_LETTERS, START, Language, read_key, read_pitch, relate, unrelate, write_pitch,
)
from benchmarks.folkwiki.writing import write_words
from hoyomusic import abc
from hoyomusic.corpus.duplicates import sign

needs_tunes = pytest.mark.skipif(not (FOLDER / "train.txt").exists(), reason="the published tunes are not here")


def spell(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# A few made-up tunes in the published words.
TUNES = tuple(spell(text) for text in (
    "[L:1/8] [M:2/4] [K:GMaj] |: G A B c | d B A F | G A B c | d B G 2 :| |: d e d c | B A G F | d e d c | B A G 2 :|",
    "[L:1/8] [M:3/4] [K:DMin] A 2 d 2 f 2 | e 2 ^c 2 A 2 | =B 2 ^c 2 d 2 | d 4 A 2 | A 2 d 2 f 2 | e 2 ^c 2 A 2 |",
    "[L:1/16] [M:2/4] [K:AMaj] a > g f < e (3 d e f g 2 | [ A c ] 4 e 4 | a > g f < e (3 d e f g 2 | a 8 |",
    "[L:1/8] [M:2/4] [K:CMaj] c d e f | g e d B | c d e f | g e c 2 | "
    "[K:FMaj] f g a b | c' a g e | f g a b | c' a f 2 |",
))


@pytest.fixture(scope="module")
def small() -> tuple[Language, Data, dict]:
    """A language, data and material of a few made-up tunes: all to learn from, two kept aside, two to judge."""
    language = Language.of(TUNES)
    training = Tunes(TUNES * 3, tuple(range(12)), (True,) * 12)
    aside, judged = Tunes(TUNES[:2], (90, 91), (True,) * 2), Tunes(TUNES[2:], (92, 93), (True,) * 2)
    data = Data(training, aside, judged, (False, True), 0, (0, 0), 0)
    return language, data, prepare(data, language)


@pytest.mark.parametrize("word", ["C", "c", "c'", "B,", "^f''", "__A,,", "=e", "_b"])
def test_pitches_are_read_and_written_back(word):
    assert write_pitch(read_pitch(word)) == word


@pytest.mark.parametrize("word", ["z", "|", "2", "c,", "C'", "[K:CMaj]", "(3"])
def test_other_words_are_no_pitches(word):
    assert read_pitch(word) is None


@given(
    st.sampled_from(["[K:CMaj]", "[K:BbMaj]", "[K:F#Min]", "[K:EDor]", "[K:DLyd]", "[K:GMix]"]),
    st.sampled_from(["", "=", "^", "_"]), st.sampled_from("CDEFGABcdefgab"),
)
@settings(deadline=None)
def test_what_a_key_sees_is_undone(key_word, sign, letter):
    key, pitch = read_key(key_word), read_pitch(sign + letter)
    assert unrelate(relate(pitch, key), key) == pitch


def test_a_tune_in_another_key_has_the_same_ids():
    in_d = spell("[L:1/8] [M:2/4] [K:DMaj] D E F G | A =c ^G d |")
    in_f = spell("[L:1/8] [M:2/4] [K:FMaj] F G A B | c _e =B f |")
    language = Language.of((in_d, in_f))
    first, second = language.encode(in_d), language.encode(in_f)
    assert first[:3] + first[4:] == second[:3] + second[4:] and first[3] != second[3]
    plain = Language.of((in_d, in_f), relative=False)
    assert plain.encode(in_d)[4] != plain.encode(in_f)[4]
    assert plain.decode(plain.encode(in_f)) == list(in_f)


def test_a_word_outside_the_list_is_escaped_at_a_price():
    language = Language.of(TUNES)
    words = spell("[L:1/8] [M:2/4] [K:CMaj] C odd C |")
    assert language.encode(words).count(ESCAPE) == 1
    assert language.escape_nats(words) == pytest.approx(4 * log(ESCAPE_LETTERS))
    assert language.escape_nats(TUNES[0]) == 0


@needs_tunes
def test_every_published_tune_is_read_back_from_its_ids():
    training, validation = (read_tunes(FOLDER / f"{name}.txt") for name in ("train", "validation"))
    assert (len(training), len(validation)) == (3891, 192)
    language = Language.of(training)
    for words in training + validation:
        ids = language.encode(words)
        assert ESCAPE not in ids
        assert tuple(language.decode(ids)) == words
    assert sum(len(words) + 1 for words in validation) == 35_652


def test_bars_of_made_up_tunes_are_full():
    full = []
    for words in TUNES:
        reading = clock.Clock()
        for word in words:
            if word in clock.BAR_LINES:
                full.append(reading.position in (0, reading.measure))
            reading.advance(word)
    assert all(full) and len(full) > 20


def test_melodies_know_accidentals_tuplets_and_chords():
    melody = clock.read_melody(spell("[L:1/8] [M:2/4] [K:DMaj] f =f f | f (3 a b a [ A c ] 2 z > d"))
    assert melody == [
        (78, Fraction(1, 8)), (77, Fraction(1, 8)), (77, Fraction(1, 8)), (78, Fraction(1, 8)),
        (81, Fraction(1, 12)), (83, Fraction(1, 12)), (81, Fraction(1, 12)), (69, Fraction(1, 4)),
        (None, Fraction(3, 16)), (74, Fraction(1, 16)),
    ]


def test_lengths_of_broken_rhythm_work_both_ways():
    lengths = [length * 16 for _, length in clock.read_melody(spell("[L:1/8] c < d e >> f"))]
    assert lengths == [1, 3, Fraction(7, 2), Fraction(1, 2)]


def echoes_by_search(ids: list[int]) -> list[list[tuple[int, int]]]:
    """The same as `find_echoes`, by comparing every pair of places id by id."""
    found = []
    for place in range(len(ids) - 1):
        answers: list[tuple[int, int]] = []
        ranked = []
        for source in range(place):
            length = 0
            while length <= source and ids[source - length] == ids[place - length]:
                length += 1
            ranked.append((length, source))
        for length, source in sorted(ranked, reverse=True):
            if length and len(answers) < 2 and ids[source + 1] not in [follower for follower, _ in answers]:
                answers.append((ids[source + 1], min(length, recall.LONGEST_ECHO)))
        found.append(answers + [(START, 0)] * (2 - len(answers)))
    return found


@given(st.lists(st.integers(3, 6), min_size=1, max_size=40))
@settings(deadline=None, max_examples=60)
def test_echoes_are_those_of_a_plain_search(body):
    ids = [0, *body, 1]
    followers, lengths = recall.find_echoes(ids)
    expected = np.array(echoes_by_search(ids)).reshape(-1, 2, 2)
    np.testing.assert_array_equal(followers, expected[:, :, 0])
    np.testing.assert_array_equal(lengths, expected[:, :, 1])


def test_kin_answers_by_the_longest_match_and_never_from_its_own_cluster():
    tunes = [[0, 5, 6, 7, 8, 1], [0, 9, 6, 7, 4, 1], [0, 5, 6, 7, 3, 1], [0, 5, 6, 7, 2, 1]]
    found, strength = recall.find_kin(tunes, [0, 1, 2, 2], [True, True, True, False])
    # After 5 6 7: tune 0 hears 3 from tune 2 (four ids alike), then 4; tune 3 may not hear its twin, nor itself.
    assert found[0][3].tolist() == [3, 4] and strength[0][3][0] // recall.SHARES == 4
    assert found[3][3].tolist() == [8, 4]
    assert 2 not in np.concatenate(found)


def test_kin_without_any_answer_says_so():
    found, strength = recall.find_kin([[0, 5, 1]], [0], [True])
    assert found[0].tolist() == [[START] * recall.ANSWERS] * 2 and not strength[0].any()


def test_inputs_hang_on_the_past_alone(small):
    language, data, material = small
    draw = random.Random(3)
    for tune, words in enumerate(data.validation.words):
        for cut in range(4, len(words) - 1, 5):
            altered = words[:cut] + tuple(draw.choice(TUNES[0][3:]) for _ in range(9))
            others = tuple(altered if number == tune else each for number, each in enumerate(data.validation.words))
            changed = prepare(replace(data, validation=replace(data.validation, words=others)), language)["validation"]
            before = material["validation"]
            for name in ("ids", "context", "candidates", "strengths"):
                start, other = before.edges[tune], changed.edges[tune]
                np.testing.assert_array_equal(
                    getattr(before, name)[start : start + cut + 1], getattr(changed, name)[other : other + cut + 1]
                )


def test_inputs_stay_within_their_tables(small):
    language, _, material = small
    for part in material.values():
        assert part.candidates.min() >= 0 and part.candidates.max() < len(language)
        assert part.strengths.min() >= 0 and part.strengths.max() < STRENGTHS
        for column, size in zip(part.context.T, [*clock.COLUMNS.values(), 2], strict=True):
            assert column.min() >= 0 and column.max() < (size or len(language))


def test_probabilities_sum_to_one_and_hang_on_the_past_alone(small):
    language, _, material = small
    network = Network(NetworkConfig(len(language), embedding=8, hidden=8, layers=2), seed=1).eval()
    with torch.no_grad():
        network.trust.normal_(generator=torch.Generator().manual_seed(1))
    part = material["validation"]
    at, logs = (np.concatenate(parts) for parts in zip(*learning.score(network, part), strict=True))
    assert len(at) == len(part.ids) - 2
    np.testing.assert_allclose(np.exp(logs).sum(1), 1, rtol=1e-5)
    tune = slice(part.edges[0], part.edges[0] + 12)
    rows = [torch.from_numpy(getattr(part, name)[tune].astype(np.int64))[:, None] for name in
            ("ids", "context", "candidates", "strengths")]
    with torch.no_grad():
        short, _ = network(*rows)
    whole = logs[[int(np.flatnonzero(at == place)[0]) for place in range(tune.start, tune.stop)]]
    np.testing.assert_allclose(torch.log_softmax(short[:, 0], 1).numpy(), whole, atol=1e-5)


def test_training_learns_and_goes_on_where_it_was_cut_off(small, tmp_path):
    language, _, material = small
    config = NetworkConfig(len(language), embedding=16, hidden=16, layers=1, levers=("clock", "echo"))
    seen = []
    path, ticks = tmp_path / "state.pt", count()

    def train(steps: int, report) -> Network:
        """The averaged network after so many steps in all, since each takes a tick of the clock."""
        plan = Plan(steps, rows=2, steps=16)
        return learning.train(config, material, plan, path, report, lambda: float(next(ticks)))[0]

    train(40, seen.append)
    assert seen[-1].development < seen[0].development < log(len(language))
    average = train(40, pytest.fail)
    assert learning.nats_per_token(average, material["development"]) == pytest.approx(seen[-1].development)
    train(60, seen.append)
    assert [done.epoch for done in seen] == list(range(1, len(seen) + 1)) and seen[-1].steps == 60


def test_the_learning_rate_rises_and_falls():
    plan = Plan(100)
    rates = [plan.rate(spent) for spent in (0, 0.01, 0.02, 0.5, 1.0)]
    assert rates[0] < rates[1] < rates[2] == plan.learning_rate > rates[3] > rates[4] > 0


def test_contexts_and_mixture_are_probabilities_and_help(small):
    language, _, material = small
    part = material["development"]
    logs = cache.foretell(part, material["training"], len(language))
    at = np.delete(np.arange(len(part.ids)), part.edges[1:] - 1)
    np.testing.assert_allclose(np.exp(logs[:, at]).sum(2), 1, rtol=1e-4)
    flat = np.full((len(at), len(language)), -log(len(language)), np.float32)
    experts = cache.stack(flat, at, logs)
    alone = cache.Mixture().losses(experts, part, at)
    np.testing.assert_allclose(alone, log(len(language)), rtol=1e-5)
    assert cache.Mixture().fit(experts, part, at).losses(experts, part, at).mean() < alone.mean() / 2


def test_default_tunes_are_written_in_the_published_words():
    tune = abc.parse("X:1\nM:2/4\nL:1/8\nK:Bm\n|: {c}B>c d/2c/2B | (3BcdA2- | A4 :| ^G[Bd]2 z |]\n")[0]
    words = write_words(tune)
    assert " ".join(words) == (
        "[L:1/8] [M:2/4] [K:BMin] |: B > c d /2 c /2 B | (3 B c d A 2 | A 4 :| ^G [ B d ] 2 z |"
    )
    assert sign(to_melody(spell("[L:1/8] [M:2/4] [K:BMin] B > c d"))) == sign(
        to_melody(spell("[L:1/16] [M:2/4] [K:AMin] A 3 B c 2"))
    )


def test_a_tune_without_a_metre_has_no_words():
    assert write_words(abc.parse("X:1\nM:none\nL:1/4\nK:C\nCDEF|\n")[0]) == ()


@needs_tunes
@pytest.mark.slow
def test_no_near_duplicate_stands_on_both_sides():
    data = load(FOLDER)
    assert len(data.validation) == 192
    sides = [set(part.clusters) for part in (data.training, data.development, data.validation)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert len(data.training) + len(data.development) + data.removed[0] == 3891
    assert sum(data.twins) > 0 and data.exact <= data.removed[0]
    assert len(CANDIDATES) == 11
