"""Old generators compose in characters: as the old program foretold them, with our sampler and our reader."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hoyomusic import abc, checkpoint, training
from hoyomusic.errors import CheckpointError, GenerationError, TrainingError, UsageError
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.legacy import load_converted
from hoyomusic.legacy.characters import CharacterMap
from hoyomusic.legacy.converter import convert_file
from hoyomusic.legacy.foretelling import WindowModel
from hoyomusic.legacy.generator import CharacterGenerator, cut_tune, ends_tune, load_generator
from hoyomusic.legacy.sequence import NEVER, read_sequence
from hoyomusic.request import Request
from hoyomusic.sampling import SamplingConfig
from hoyomusic.training import GoesOnDifferently
from hoyomusic.tune import Header
from tests.conftest import BOOK

KERAS = Path(__file__).parent / "keras"
# Forty characters, as many as the fixture with an output at every step has.
FORTY = "\n #'(,-/123468:=ABCDEFGKLMTX[]^_abcdefgz|"[:40]


def make_map(characters: str, window: int) -> dict[str, object]:
    return {"char_to_int": {sign: index for index, sign in enumerate(characters)}, "seq_length": window}


def chain(text: str, window: int = 4) -> WindowModel:
    """A model that has learned `text` by heart: what followed the last three characters there."""
    characters = CharacterMap.read(make_map("".join(sorted(set(text))), window), "text")
    ids = characters.encode(text)

    def predict(recent: list[int]) -> np.ndarray:
        found = np.full(len(characters.characters), 1e-9, np.float32)
        for place in range(3, len(ids)):
            if ids[place - 3 : place] == recent[-3:]:
                found[ids[place]] += 1
        return found / found.sum()

    return WindowModel(predict, characters)


TUNE = "X:1\nT:Amber Bells of Teyvat\nM:2/4\nL:1/8\nK:D\nABcd|efga|bagf|d4|]\n\n"


def compose(model: WindowModel, **wishes: object) -> list[abc.Reading]:
    generator = CharacterGenerator(model, identity="0" * 64, path=Path("old.pth"))
    return list(generator.compose(Request(**wishes)))


def test_a_model_that_knows_a_tune_by_heart_writes_it() -> None:
    (made,) = compose(chain(TUNE), metre="2/4", key="D", sampling=SamplingConfig(temperature=0))
    (expected,) = abc.parse(TUNE)
    assert replace(made.tune, header=expected.header) == expected
    assert made.tokens == len("ABcd|efga|bagf|d4|]\n\n")
    assert made.remarks[-1] == "19 characters, 4 bars kept"
    assert made.tune.header.notes == "seed 0, tune 0, --region Teyvat --key D --metre 2/4 --temperature 0.0"


def test_it_ends_after_the_bars_that_were_asked_for() -> None:
    (made,) = compose(chain(TUNE), metre="2/4", key="D", bars=2, sampling=SamplingConfig(temperature=0))
    assert [len(bar.notes) for bar in made.tune.bars] == [4, 4]
    (short,) = compose(chain(TUNE), metre="2/4", key="D", bars=9, sampling=SamplingConfig(temperature=0))
    assert short.remarks[-1] == "9 bars were asked for"


def test_a_prime_is_gone_on_from() -> None:
    (prime,) = abc.parse("X:1\nM:2/4\nL:1/8\nK:D\nABcd|efga|]")
    model = chain(TUNE.replace("ABcd|efga|", "AB cd | ef ga |"))
    (made,) = compose(model, prime=prime, sampling=SamplingConfig(temperature=0))
    assert abc.write(made.tune).endswith("\nAB cd | ef ga | ba gf | d4 |]\n")


def test_the_window_and_its_probabilities_are_those_of_the_old_program() -> None:
    asked: list[list[int]] = []

    def predict(ids: list[int]) -> np.ndarray:
        asked.append(ids)
        return np.float32([0.5, 0.5, 0.0])

    model = WindowModel(predict, CharacterMap.read(make_map(" Xa", 4), "a"))
    text = model.begin("X?", 0)
    assert np.allclose(np.exp(text.logits()), [0.5, 0.5, 1e-8], rtol=1e-3)
    text.take(2)
    text.logits()
    assert asked == [[0, 0, 1, 0], [0, 1, 0, 2]]


def test_a_tune_hangs_on_seed_and_number_alone() -> None:
    model = chain(BOOK.read_text(encoding="utf-8"))
    generator = CharacterGenerator(model, identity="0" * 64, path=Path("old.pth"))
    request = Request("Mondstadt", seed=4, count=3, length=80)
    all_three = [made.tune for made in generator.compose(request)]
    (last,) = generator.compose(request, range(2, 3))
    assert last.tune == all_three[2]
    assert all_three[0] != all_three[1]


def test_no_music_is_one_error_after_several_texts() -> None:
    silent = WindowModel(lambda ids: np.float32([0, 1]), CharacterMap.read(make_map("A^", 4), "a"))
    with pytest.raises(GenerationError, match="none of 8 texts of 4800 characters together holds a bar of music"):
        compose(silent)


@pytest.mark.parametrize(
    ("wish", "option"),
    [
        ({"range": "G3-D6"}, "--range"), ({"form": "AABB"}, "--form"), ({"guidance": 2.0}, "--guidance"),
        ({"candidates": 2}, "--candidates"), ({"novel": True}, "--novel"),
    ],
)
def test_wishes_that_only_a_grammar_grants_are_refused(wish: dict[str, object], option: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose(chain(TUNE), **wish)
    assert caught.value.where == option


def test_where_a_tune_ends() -> None:
    assert not ends_tune("\n\n"), "nothing has been written yet"
    assert ends_tune("abc|\n\n")
    assert ends_tune("abc|\nX:")
    assert cut_tune("\n\nabc|\n\nX:2\nd") == "abc|"
    assert cut_tune("abc|\nX:2\n\n") == "abc|"


# ---------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both forms of the old program's models, converted."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "map.json").write_text(json.dumps(make_map(FORTY, 12)))
    convert_file(KERAS / "hoyomusic_generator.h5", folder / "last.pth")
    convert_file(KERAS / "hoyomusic_sequence.h5", folder / "each.pth", params=folder / "map.json")
    convert_file(KERAS / "hoyomusic_sequence.h5", folder / "nameless.pth")
    convert_file(KERAS / "keras3_legacy.h5", folder / "other.pth")
    return folder


@pytest.mark.parametrize("name", ["last", "each"])
def test_both_forms_foretell_what_the_converted_module_does(folder: Path, name: str) -> None:
    generator = load_generator(folder / f"{name}.pth")
    module = load_converted(folder / f"{name}.pth")
    assert generator.identity == checkpoint.identity(folder / f"{name}.pth")
    window = generator.model.map.fill(generator.model.map.encode("K:D\nA"))
    expected = module(torch.tensor([window])).reshape(-1, len(generator.model.characters))[-1].numpy()
    logits = generator.model.begin("K:D\nA", 0).logits()
    assert np.allclose(np.exp(logits) - 1e-8, expected, atol=1e-7)


def test_what_is_no_generator_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="is a converted model, but no generator of characters"):
        load_generator(folder / "other.pth")
    with pytest.raises(CheckpointError, match="does not say which characters its ids are; convert it again: give"):
        load_generator(folder / "nameless.pth")
    convert_file(KERAS / "hoyomusic_sequence.h5", folder / "long.pth", params=write_map(folder, FORTY, 99))
    with pytest.raises(CheckpointError, match="takes 12 characters, and its map says 99"):
        load_generator(folder / "long.pth")


def write_map(folder: Path, characters: str, window: int) -> Path:
    path = folder / "another.json"
    path.write_text(json.dumps(make_map(characters, window)))
    return path


def test_other_rooms_are_told_what_it_is(folder: Path) -> None:
    with pytest.raises(checkpoint.OldModelError, match="comes from the old program"):
        HoyoMusicGenerator.load(folder / "last.pth")


class TestTrainingOn:
    def test_the_network_of_ours_gives_the_old_probabilities(self, folder: Path) -> None:
        started = read_sequence(folder / "each.pth")
        ids = torch.from_numpy(np.random.default_rng(0).integers(0, 40, (3, 12)))
        nowhere = torch.zeros(3, 12, dtype=torch.long)
        logits, _ = started.model()(ids, torch.zeros(3, dtype=torch.long), nowhere)
        assert (logits.softmax(-1)[..., :40] - load_converted(folder / "each.pth")(ids)).abs().max() < 1e-6
        assert (logits[..., 40] == NEVER).all()
        assert started.provenance == {"program": "Keras 2.15.0"}

    def test_as_a_checkpoint_it_generates_with_its_state_carried(self, folder: Path) -> None:
        path = folder / "ours.pth"
        checkpoint.save(replace(read_sequence(folder / "each.pth"), training=None), path)
        with pytest.raises(checkpoint.OldModelError):
            HoyoMusicGenerator.load(path)
        generator = load_generator(path)
        # The old window, where it is full from the beginning, is a state that began at zero.
        text = "X:1\nM:2/4\nK:"
        carried, window = generator.model.begin(text, 0), load_generator(folder / "each.pth").model.begin(text, 0)
        assert len(text) == 12
        found = np.exp(carried.logits())
        assert np.allclose(found / found.sum(), np.exp(window.logits()), atol=1e-6)
        assert generator.model.unknown("K:D\n~") == "~"
        assert "".join(generator.model.characters) == FORTY

    def test_another_network_is_refused_by_its_layers(self, folder: Path) -> None:
        with pytest.raises(TrainingError, match="no network of ours: its layers are Embedding, LSTM, .*Dense, Dense"):
            read_sequence(folder / "last.pth")
        with pytest.raises(TrainingError, match="it has no map of its characters"):
            read_sequence(folder / "nameless.pth")

    @pytest.mark.parametrize(
        ("layer", "key", "value"),
        [
            ("Embedding", "mask_zero", True), ("LSTM", "go_backwards", True),
            ("LSTM", "recurrent_activation", "hard_sigmoid"), ("Dense", "activation", "sigmoid"),
        ],
    )
    def test_settings_that_ours_has_not_are_refused(
        self, folder: Path, tmp_path: Path, layer: str, key: str, value: object
    ) -> None:
        values = torch.load(folder / "each.pth", weights_only=True)
        architecture = json.loads(values["architecture"])
        for entry in architecture["config"]["layers"]:
            if entry["class_name"] == layer:
                entry["config"][key] = value
        torch.save({**values, "architecture": json.dumps(architecture)}, tmp_path / "a.pth")
        with pytest.raises(TrainingError, match=f"has the {key} {value!r}"):
            read_sequence(tmp_path / "a.pth")

    def test_resume_and_train_go_on_from_it(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its random weights are made tame: a loss beyond all guessing is a run that failed."""
        monkeypatch.setenv("HOYOMUSIC_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(training.TrainingConfig, "__post_init__", small_corpus)
        tunes = [replace(tune, header=Header()) for tune in abc.parse(BOOK.read_text(encoding="utf-8"))]
        known = "".join(sorted(set("".join(map(abc.write, tunes)))))
        signs = (known + "".join(sign for sign in FORTY if sign not in known))[:40]
        convert_file(KERAS / "hoyomusic_sequence.h5", tmp_path / "old.pth", params=write_map(folder, signs, 12))
        values = torch.load(tmp_path / "old.pth", weights_only=True)
        tame = {name: weight / 10 if name.endswith("kernel") else weight for name, weight in values["weights"].items()}
        torch.save({**values, "weights": tame}, tmp_path / "old.pth")
        events: list[object] = []
        state = training.resume(tmp_path / "old.pth", epochs=1, on_event=events.append)
        assert state.finished
        assert GoesOnDifferently(("a model of the old program: a run of ours begins with its weights",)) in events
        assert load_converted(tmp_path / "old-2.pth"), "the converted model is kept"
        assert not (tmp_path / "old.onnx").exists()
        assert load_generator(tmp_path / "old.pth").model.vocabulary.names[:40] == tuple(signs)
        again = training.resume(tmp_path / "old.pth", epochs=2)
        assert (again.epoch, again.finished) == (2, True)


def small_corpus(config: training.TrainingConfig) -> None:
    object.__setattr__(config, "corpus", (str(BOOK),))
