"""The generator: a wish becomes tunes, and the same wish the same tunes."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hoyomusic import __version__, abc
from hoyomusic.checkpoint import USER_MODEL, find_model
from hoyomusic.errors import CheckpointError, GenerationError, UsageError
from hoyomusic.generator import Composition, HoyoMusicGenerator, strip_form
from hoyomusic.grammar import Wish
from hoyomusic.novelty import QUOTATION, NoveltyIndex
from hoyomusic.regions import REGIONS, Region, find_region
from hoyomusic.request import Request, read_wished_key, read_wished_metre
from hoyomusic.sampling import SamplingConfig
from hoyomusic.styling import draw, draw_finals, name_tune, style
from hoyomusic.tune import Key, Metre, Tune
from hoyomusic.vocab import Vocabulary, count_bars


class HashRuntime:
    """A stand-in for a model: logits that hang on the id, the region and the clock of a row, and on its past."""

    def __init__(self, vocabulary: int) -> None:
        self._table = np.random.Generator(np.random.Philox(5)).normal(size=(64, vocabulary)).astype(np.float32)

    def start(self, batch: int) -> np.ndarray:
        return np.zeros(batch, np.int64)

    def step(
        self, ids: np.ndarray, region: np.ndarray, clock: np.ndarray, state: np.ndarray, recall: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        state = (31 * state + 7 * ids + 3 * region + clock) % 64
        return self._table[state], state

    def select(self, state: np.ndarray, rows: list[int]) -> np.ndarray:
        return state[rows]


@pytest.fixture(scope="module")
def generator() -> HoyoMusicGenerator:
    vocabulary = Vocabulary.build()
    return HoyoMusicGenerator(
        HashRuntime(len(vocabulary)),
        vocabulary,
        identity="0123456789abcdef",
        provenance={"learned": ["Mondstadt", "Liyue", "Fontaine"]},
        path=Path("fake.pth"),
    )


def compose(generator: HoyoMusicGenerator, *arguments: object, **options: object) -> list[Composition]:
    return list(generator.compose(Request(*arguments, **{"bars": 4, **options})))


@pytest.mark.parametrize("region", [region.name for region in REGIONS])
def test_every_nation_gets_a_sound_tune(generator: HoyoMusicGenerator, region: str) -> None:
    (made,) = compose(generator, region, seed=3)
    assert made.tune.faults() == []
    assert count_bars(made.tune) == 4
    assert made.tune.header.region == region == made.region.name
    low, high = made.region.tempo
    assert low <= made.tune.header.tempo.quarters_per_minute <= high
    assert abc.parse(abc.write(made.tune)) == [made.tune]


def test_the_wish_is_obeyed(generator: HoyoMusicGenerator) -> None:
    (made,) = compose(generator, "蒙德", bars=6, key="F#m", metre="9/8", tempo=77, seed=1)
    assert (made.tune.key, made.tune.metre) == (Key("F", 1, "minor"), Metre(9, 8))
    assert made.tune.header.tempo.quarters_per_minute == 77
    assert count_bars(made.tune) == 6
    (made,) = compose(generator, "Mondstadt", bars=None, length=60, seed=1)
    assert made.tokens <= 60


def test_the_range_is_kept_in_every_note(generator: HoyoMusicGenerator) -> None:
    for made in compose(generator, "Mondstadt", count=5, seed=3, range="C4-d5"):
        numbers = [pitch.midi for note in made.tune.notes() for pitch in note.pitches]
        assert 60 <= min(numbers) <= max(numbers) <= 74


def test_guidance_goes_from_the_general_label_to_the_nation(
    generator: HoyoMusicGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hoyomusic.generator.draw_finals", lambda *nation_and_seed: None)
    plain, whole, none, more = (
        compose(generator, "Liyue", count=5, seed=8, guidance=guidance) for guidance in (1, 1.0, 0, 3)
    )
    assert plain == whole
    general = compose(generator, "Teyvat", count=5, seed=8)
    assert [made.tune for made in none] == [made.tune for made in general]
    assert [made.tune for made in more] != [made.tune for made in plain]
    assert more[3:4] == compose(generator, "Liyue", count=4, seed=8, guidance=3)[3:4]


def test_of_several_candidates_the_best_is_kept(generator: HoyoMusicGenerator) -> None:
    trained = {**generator.provenance, "validation": {"validation_nats_per_token": 4.0}, "notes_per_token": 0.75}
    generator = HoyoMusicGenerator(
        generator.runtime, generator.vocabulary, identity="0", provenance=trained, path=Path("fake.pth")
    )
    several = compose(generator, "Liyue", count=9, seed=11, candidates=5)
    plain = compose(generator, "Liyue", count=9, seed=11)
    assert [made.index for made in several] == list(range(9))
    assert len({made.candidate for made in several}) > 1
    for made, first in zip(several, plain, strict=True):
        scores = [mark.score for mark in made.marks]
        assert len(scores) == 5
        assert made.candidate == scores.index(max(scores))
        assert (made.tune.bars == first.tune.bars) == (made.candidate == 0)
        assert first.marks == ()
    assert several[7] == compose(generator, "Liyue", count=8, seed=11, candidates=5)[7]


def knowing(generator: HoyoMusicGenerator, tunes: list[Tune]) -> HoyoMusicGenerator:
    """The same generator, beside an index of `tunes` as what it was trained on."""
    other = HoyoMusicGenerator(
        generator.runtime, generator.vocabulary, identity="0", provenance=generator.provenance, path=Path("fake.pth")
    )
    other.training_index = NoveltyIndex.build([(f"tune {number}", tune) for number, tune in enumerate(tunes)])
    return other


def test_nothing_is_quoted_where_only_the_novel_is_kept(generator: HoyoMusicGenerator) -> None:
    first, second = (made.tune for made in compose(generator, "Mondstadt", bars=12, count=2, seed=4))
    aware = knowing(generator, [first])
    told = compose(aware, "Mondstadt", bars=12, count=2, seed=4)
    assert [made.tune.bars for made in told] == [first.bars, second.bars]
    quoted, new = (aware.compare(made.tune) for made in told)
    assert quoted.longest >= QUOTATION > new.longest
    assert (quoted.source, quoted.new) == ("tune 0", 0)
    kept = compose(aware, "Mondstadt", bars=12, count=2, seed=4, novel=True)
    assert max(made.novelty.longest for made in kept) < QUOTATION
    assert kept[0].candidate == 1
    assert kept[1].tune.bars == second.bars


def test_novelty_that_cannot_be_had_is_an_error(generator: HoyoMusicGenerator) -> None:
    with pytest.raises(UsageError, match="--novel: what this model learned from is not known; train one with hoyo"):
        compose(generator, "Mondstadt", novel=True)
    likeliest = {"bars": 12, "seed": 4, "sampling": SamplingConfig(temperature=0)}
    aware = knowing(generator, [made.tune for made in compose(generator, "Mondstadt", **likeliest)])
    with pytest.raises(GenerationError, match=f"--novel: each of 65 candidates shares {QUOTATION} notes in a row"):
        compose(aware, "Mondstadt", novel=True, **likeliest)


def test_an_index_of_another_corpus_is_not_believed(generator: HoyoMusicGenerator, tmp_path: Path) -> None:
    for corpus, believed in (("a", True), ("b", False)):
        NoveltyIndex.build([("a tune", PRIME)], corpus="a").save(tmp_path / "model.index")
        found = HoyoMusicGenerator(
            generator.runtime, generator.vocabulary, identity="0", provenance={"corpus": corpus}, path=tmp_path / "model.pth"
        )
        assert (found.training_index is not None) == believed


def test_a_tune_does_not_hang_on_its_batch(generator: HoyoMusicGenerator) -> None:
    several = compose(generator, "Liyue", count=40, seed=11)
    assert [made.index for made in several] == list(range(40))
    assert several[:2] == compose(generator, "Liyue", count=2, seed=11)
    assert len({made.tune for made in several}) > 35
    assert compose(generator, "Liyue", count=40, seed=12)[0].tune != several[0].tune


def test_nations_hear_their_label(generator: HoyoMusicGenerator) -> None:
    tunes = {compose(generator, region.name, seed=5)[0].tune for region in REGIONS}
    assert len(tunes) == len(REGIONS)


def test_a_styled_nation_keeps_its_scale(generator: HoyoMusicGenerator) -> None:
    region = find_region("Inazuma")
    scales = set()
    for made in compose(generator, "Inazuma", count=12, seed=2):
        home = made.tune.key.tonic_pitch.midi
        sounding = {(pitch.midi - home) % 12 for note in made.tune.notes() for pitch in note.pitches}
        fitting = {scale.name for scale in region.scales if sounding <= set(scale.semitones)}
        assert fitting
        assert str(made.tune.metre) in dict(region.metres)
        scales |= fitting
    assert len(scales) > 1


def test_a_bare_key_note_leaves_a_styled_nation_its_scales(generator: HoyoMusicGenerator) -> None:
    modes = {made.tune.key for made in compose(generator, "Snezhnaya", count=12, seed=2, key="D")}
    assert modes == {Key("D", 0, "minor"), Key("D", 0, "dorian")}
    (made,) = compose(generator, "Snezhnaya", seed=2, key="Ddor")
    assert made.tune.key == Key("D", 0, "dorian")


def test_a_styled_nation_that_was_learned_is_no_longer_styled(generator: HoyoMusicGenerator) -> None:
    learned = HoyoMusicGenerator(
        generator.runtime, generator.vocabulary, identity="", provenance={"learned": ["Inazuma"]}, path=Path("x")
    )
    assert learned.has_learned(find_region("Inazuma"))
    assert not learned.has_learned(find_region("Sumeru"))
    assert compose(learned, "Inazuma", seed=2)[0].tune != compose(generator, "Inazuma", seed=2)[0].tune


@pytest.mark.parametrize("region", [region for region in REGIONS if region.finals], ids=lambda region: region.name)
def test_tunes_of_a_learned_nation_end_where_its_tunes_end(generator: HoyoMusicGenerator, region: Region) -> None:
    drawn = [draw_finals(region, seed, 3) for seed in range(2000)]
    for degrees, share in region.finals:
        assert drawn.count(degrees) / 20 == pytest.approx(share, abs=4)
    assert drawn.count(None) / 20 == pytest.approx(100 - sum(share for _, share in region.finals), abs=4)
    for made in compose(generator, region.name, count=12, seed=6):
        finals = draw_finals(region, 6, made.index)
        last = [note for note in made.tune.notes() if note.pitches][-1].top.midi - made.tune.key.tonic_pitch.midi
        assert finals is None or last % 12 in finals


def test_style_chooses_a_scale_of_the_asked_mode() -> None:
    styled = style(find_region("Natlan"), Wish(mode="major"), 1, 0)
    assert styled.mode == "major"
    assert styled.scale in ((0, 2, 4, 7, 9), (0, 2, 4, 5, 7, 9))
    assert style(find_region("Natlan"), Wish(mode="locrian"), 1, 0).scale is not None


def test_style_writes_a_key_that_people_read() -> None:
    styled = style(find_region("Snezhnaya"), Wish(tonic=("G", -1), mode="minor"), 1, 0)
    assert (styled.tonic, styled.mode) == (("F", 1), "minor")


PRIME = abc.parse("X:1\nM:6/8\nL:1/8\nK:G\nD|GAB dBG|cBA G2")[0]


def test_a_prime_is_kept_note_for_note(generator: HoyoMusicGenerator) -> None:
    (made,) = compose(generator, "Mondstadt", bars=8, prime=PRIME, seed=4)
    given = [note for bar in PRIME.bars for note in bar.notes]
    assert list(made.tune.notes())[: len(given)] == given
    assert (made.tune.key, made.tune.metre) == (PRIME.key, PRIME.metre)
    assert count_bars(made.tune) == 8
    assert made.tune.faults() == []
    (made,) = compose(generator, "Mondstadt", bars=None, length=90, prime=PRIME, seed=4)
    assert list(made.tune.notes())[: len(given)] == given


@pytest.mark.parametrize(
    ("music", "options", "message"),
    [
        ("M:6/8\nL:1/8\nK:G\nGAB dBG|cBA G3|", {"bars": 2}, "--bars: the prime has 2 bars already; ask for more than 2"),
        (
            "M:6/8\nL:1/8\nK:G\nGAB dBG|cBA G3|", {"bars": None, "length": 30},
            "--length: the prime has 17 tokens already; ask for 41 or more",
        ),
        ("M:none\nL:1/8\nK:G\nGAB|", {}, "--prime: the prime has no metre; give it an M: field"),
        ("M:2/4\nL:1/8\nK:G\nGABcd|G4|G4|", {}, "--prime: bar 1: bar of 5/8 in 2/4; mend the bar"),
        ("M:2/4\nL:1/8\nK:G\nG4|G11/6G/|G4|", {}, "--prime: bar 2: bar of"),
        ("M:2/4\nL:1/8\nK:G\nG4|[K:D]G4|", {}, "--prime: the prime changes metre or key; "),
        ("M:13/4\nL:1/4\nK:G\nG13|", {}, "--prime: the metre 13/4 has no token cannot be continued; simplify the prime"),
    ],
)  # fmt: skip
def test_a_prime_that_cannot_be_gone_on_from(
    generator: HoyoMusicGenerator, music: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        compose(generator, "Mondstadt", prime=abc.parse(f"X:1\n{music}")[0], **options)
    assert str(caught.value).startswith(message)


def test_form_is_stripped_from_a_prime() -> None:
    tune = abc.parse('X:1\nM:2/4\nL:1/8\nK:G\n|:"G"G2 {a}B2|1 A4:|2 G4|]')[0]
    plain = strip_form(tune)
    assert plain == Tune(tune.key, tune.metre, plain.bars)
    assert all(not bar.opens and not bar.closes and not bar.ending for bar in plain.bars)
    assert [note.length for note in plain.notes()] == [Fraction(1, 4), Fraction(1, 4), Fraction(1, 2), Fraction(1, 2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": "Monstadt"}, "there is no nation 'Monstadt'; did you mean Mondstadt?"),
        ({"count": 0}, "--count: 0 tunes; ask for 1 to 10000"),
        ({"seed": -1}, "--seed: the seed -1; give a whole number from 0 to 9223372036854775807"),
        ({"tempo": 5}, "--tempo: 5 crotchets a minute; ask for 20 to 400"),
        ({"range": "high"}, "--range: 'high' is no range; write it as G3-D6"),
        ({"range": "C4-E4"}, "--range: a range of less than an octave; widen it"),
        ({"guidance": float("nan")}, "--guidance: nan; give a number from 0 to 10"),
        ({"guidance": -1.0}, "--guidance: -1; give a number from 0 to 10"),
        ({"key": "H"}, "--key: "),
        ({"key": "none"}, "--key: 'none' is no key to write in; write D, F#m, Bb or A dorian"),
        ({"metre": "waltz"}, "--metre: 'waltz' is no metre; write it as 6/8"),
        ({"metre": "13/16"}, "--metre: no metre 13/16; choose one of "),
        ({"candidates": 65}, "--candidates: 65 candidates; ask for 1 to 64"),
        ({"form": "ABC"}, "--form: there is no form 'ABC'; choose one of AABB, AABA, through"),
        ({"prime": PRIME, "form": "AABB"}, "--prime goes on in its own form; leave out --form"),
        ({"prime": PRIME, "key": "D"}, "--prime brings its own key and metre; leave out --key and --metre"),
        ({"bars": 4, "length": 100}, "--bars and --length exclude each other; name one of them"),
    ],
)
def test_senseless_requests_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Request(**options)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 2


def test_keys_and_metres_are_read_as_musicians_write_them() -> None:
    assert read_wished_key("Bb") == Key("B", -1)
    assert read_wished_key("A dorian") == Key("A", 0, "dorian")
    assert read_wished_metre("12/8") == Metre(12, 8)


def test_what_made_a_tune_is_written_into_it(generator: HoyoMusicGenerator) -> None:
    header = compose(generator, "Mondstadt", seed=9, key="D", sampling=SamplingConfig(0.8, top_p=0.9))[0].tune.header
    assert header.transcription == f"HoyoMusic {__version__}, model 0123456789abcdef"
    assert header.notes == "seed 9, tune 0, --region Mondstadt --bars 4 --key D --temperature 0.8 --top-p 0.9"
    assert header.title.endswith(" of Mondstadt")


def test_titles_hang_on_seed_and_nation() -> None:
    region = find_region("Liyue")
    assert name_tune(region, 1, 0) == name_tune(region, 1, 0)
    assert len({name_tune(region, seed, 0) for seed in range(200)}) > 100
    assert {draw(seed, 0, "x", 3) for seed in range(50)} == {0, 1, 2}


def test_which_model_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hoyomusic.checkpoint.find_default_model", lambda: Path("the-default.pth"))
    assert find_model() == find_model("default") == Path("the-default.pth")
    assert find_model("mine.pth") == Path("mine.pth")
    USER_MODEL.parent.mkdir()
    USER_MODEL.write_bytes(b"a model")
    assert find_model() == USER_MODEL
    with pytest.raises(CheckpointError):
        HoyoMusicGenerator.load(tmp_path / "missing.pth")


def test_generating_imports_neither_torch_nor_music21() -> None:
    program = (
        "import sys\n"
        "from hoyomusic.generator import HoyoMusicGenerator, Request\n"
        "generator = HoyoMusicGenerator.load('default')\n"
        "(made,) = generator.compose(Request('Mondstadt', bars=4, seed=1))\n"
        "assert not made.tune.faults()\n"
        "print(sorted({'torch', 'music21', 'onnx', 'scipy', 'pretty_midi'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
