"""Exports: beside the checkpoint they were made of, known again, never written over unasked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hoyomusic import archive
from hoyomusic.checkpoint import Checkpoint, find_default_model, save
from hoyomusic.errors import CheckpointError, StorageError, UsageError
from hoyomusic.export import export_model, find_step, read_step
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.grammar import CLOCKS
from hoyomusic.recall import SOURCES
from hoyomusic.request import Request
from hoyomusic.runtime import NumpyRuntime, OnnxRuntime
from hoyomusic.sizes import ModelConfig
from hoyomusic.vocab import Vocabulary
from tests.test_runtime import make_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "mine.pth")


def write_model(path: Path, *, tunes: int = 1) -> Path:
    vocabulary = Vocabulary.build()
    sizes = ModelConfig(len(vocabulary), clocks=CLOCKS, embedding=32, hidden=32, layers=2, recalls=SOURCES)
    provenance = {"learned": [], "training": tunes}
    return save(Checkpoint(sizes, vocabulary.to_dict(), make_model(sizes).state_dict(), provenance), path)


def test_an_export_lies_beside_its_model_and_knows_it(model: Path) -> None:
    assert find_step(model) is None
    path = export_model(model)
    assert path == model.with_suffix(".onnx")
    step = find_step(model)
    assert step.checkpoint == archive.fingerprint(model)
    assert (step.precision, step.provenance["training"]) == ("int8", 1)


def test_the_default_model_comes_with_an_export_of_a_quarter_of_its_size() -> None:
    path = find_default_model()
    assert find_step(path).precision == "int8"
    assert path.with_suffix(".onnx").stat().st_size < 0.27 * path.stat().st_size


def test_an_export_of_a_model_that_has_changed_is_left_aside(model: Path) -> None:
    export_model(model)
    write_model(model, tunes=2)
    assert find_step(model) is None
    assert isinstance(HoyoMusicGenerator.load(model).runtime, NumpyRuntime)


def test_a_damaged_export_is_told(model: Path) -> None:
    path = export_model(model)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="damaged.*hoyo export"):
        HoyoMusicGenerator.load(model)


def test_an_export_is_not_written_over_unasked(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere.onnx"
    export_model(model, out, int8=False, overwrite=False)
    with pytest.raises(StorageError, match="already exists"):
        export_model(model, out, overwrite=False)
    assert read_step(out).precision == "fp32"


def test_which_of_the_two_models_composes(model: Path) -> None:
    exported = export_model(model)
    fast, exact = HoyoMusicGenerator.load(model), HoyoMusicGenerator.load(model, precision="fp32")
    assert fast.identity != exact.identity
    assert (fast.path, exact.path) == (exported, model)
    assert HoyoMusicGenerator.load(exported).identity == HoyoMusicGenerator.load(model, precision="int8").identity
    with pytest.raises(CheckpointError, match="is an int8 model"):
        HoyoMusicGenerator.load(exported, precision="fp32")
    with pytest.raises(UsageError, match="no precision 'int4'; choose auto, int8, fp32"):
        HoyoMusicGenerator.load(model, precision="int4")
    exported.unlink()
    with pytest.raises(CheckpointError, match="has no int8 export; make it: hoyo export"):
        HoyoMusicGenerator.load(model, precision="int8")


def test_every_engine_makes_the_same_tunes() -> None:
    quick = HoyoMusicGenerator.load(find_default_model())
    other = HoyoMusicGenerator(
        OnnxRuntime(read_step(quick.path)), quick.vocabulary, identity=quick.identity, provenance=quick.provenance,
        path=quick.path,
    )
    request = Request("Liyue", bars=8, seed=11, count=3)
    assert list(quick.compose(request)) == list(other.compose(request))


def test_float32_makes_the_same_tunes_with_and_without_onnx_runtime(model: Path, tmp_path: Path) -> None:
    exact = HoyoMusicGenerator.load(model, precision="fp32")
    other = HoyoMusicGenerator.load(export_model(model, tmp_path / "exact.onnx", int8=False))
    request = Request("Mondstadt", bars=8, seed=2, count=4)
    tunes = [[made.tune.bars for made in generator.compose(request)] for generator in (exact, other)]
    assert tunes[0] == tunes[1]


def test_a_file_that_is_no_zip_has_no_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("X:1")
    with pytest.raises(CheckpointError, match="is no model file"):
        archive.fingerprint(tmp_path / "text.pth")
    with pytest.raises(CheckpointError, match="there is no such file"):
        archive.fingerprint(tmp_path / "none.pth")


def test_the_command(hoyo: Callable[..., object], model: Path) -> None:
    said = hoyo("export", str(model))
    assert said.code == 0 and "mine.onnx" in said.out
    assert hoyo("export", str(model)).code == 1
    assert hoyo("export", str(model), "--force", "--fp32").code == 0
    assert read_step(model.with_suffix(".onnx")).precision == "fp32"
    assert hoyo("export", str(model), "--format", "tflite").code == 2
