"""Converting: tested before it is written, whole or not at all; a folder goes on after a refusal."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from hoyomusic.errors import CheckpointError, StorageError, UsageError
from hoyomusic.legacy import TCNModelConverter, load_converted, load_keras
from hoyomusic.legacy import converter as converting
from hoyomusic.legacy.converter import Options, convert_file, convert_folder
from hoyomusic.legacy.inputs import count_characters, id_limits, make_inputs
from hoyomusic.legacy.references import compare, read_reference

KERAS = Path(__file__).parent / "keras"
GOOD = [model for model in json.loads((KERAS / "index.json").read_text())["models"] if model["expect"] == "convert"]


def params_of(model: dict[str, str]) -> Path | None:
    return KERAS / model["params"] if "params" in model else None


@pytest.mark.parametrize("model", GOOD, ids=lambda model: model["id"])
def test_every_fixture_is_converted_and_told(model: dict[str, str], tmp_path: Path) -> None:
    reference = KERAS / model["npz"]
    made = convert_file(
        KERAS / model["file"], tmp_path / "out" / "model.pth", params=params_of(model), reference=reference
    )
    assert made.largest <= 1e-5
    told = json.loads((tmp_path / "out" / "model_info.json").read_text(encoding="utf-8"))
    assert told == json.loads(json.dumps(made.to_dict()))
    assert told["parameters"] == sum(layer["parameters"] for layer in told["layers"]) > 0
    module = load_converted(made.target)
    assert TCNModelConverter(KERAS / model["file"]).test_conversion(module, reference).largest == made.largest
    assert sum(weight.numel() for weight in module.parameters()) >= told["parameters"]


@pytest.mark.parametrize("model", GOOD, ids=lambda model: model["id"])
def test_without_a_reference_a_second_computation_agrees(model: dict[str, str]) -> None:
    source = KERAS / model["file"]
    report = TCNModelConverter(source).test_conversion(load_keras(source, params_of(model)))
    assert report.differences
    assert report.largest <= 1e-5
    assert "no reference by Keras" in str(report)


def test_a_reference_that_differs_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"output_0: largest difference 0\.004\d*, .* where 1e-05 is allowed"):
        convert_file(KERAS / "keras3_legacy.h5", tmp_path / "a.pth", reference=KERAS / "keras3_legacy_wrong.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_computation_that_differs_refuses_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converting, "reference_outputs", lambda model, inputs: [np.full((2, 4), np.nan)])
    with pytest.raises(CheckpointError, match="a second computation in numpy"):
        convert_file(KERAS / "keras3_legacy.h5", tmp_path / "a.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"input_0": np.ones((1, 10, 5)), "input_1": np.ones(1)}, "has 2 inputs, and the model takes 1"),
        ({"input_0": np.ones((1, 10, 6))}, r"input_0 has the shape \(1, 10, 6\), and the model takes \(None, 10, 5\)"),
        ({"input_0": np.ones((1, 10))}, r"input_0 has the shape \(1, 10\)"),
    ],
)
def test_inputs_of_another_shape_are_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays, output_0=np.ones((1, 4)))
    with pytest.raises(CheckpointError, match=message):
        convert_file(KERAS / "keras3_legacy.h5", tmp_path / "a.pth", reference=tmp_path / "a.npz")


def test_ids_beyond_the_table_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", input_0=np.full((1, 12), 40), output_0=np.ones((1, 12, 40)))
    with pytest.raises(CheckpointError, match="input_0 has ids beyond 0 to 39"):
        convert_file(KERAS / "hoyomusic_sequence.h5", tmp_path / "a.pth", reference=tmp_path / "a.npz")


def test_nothing_is_written_over_unasked(tmp_path: Path) -> None:
    (tmp_path / "a_info.json").write_text("mine")
    with pytest.raises(StorageError, match="already exists"):
        convert_file(KERAS / "chunked_names.h5", tmp_path / "a.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["a_info.json"]
    convert_file(KERAS / "chunked_names.h5", tmp_path / "a.pth", overwrite=True)
    assert load_converted(tmp_path / "a.pth")


def test_the_model_itself_is_not_written_over(tmp_path: Path) -> None:
    source = Path(shutil.copyfile(KERAS / "chunked_names.h5", tmp_path / "a.h5"))
    with pytest.raises(UsageError, match="is the model itself"):
        convert_file(source, source, overwrite=True)
    assert source.read_bytes() == (KERAS / "chunked_names.h5").read_bytes()


def test_the_old_guides_names(tmp_path: Path) -> None:
    converter = TCNModelConverter(str(KERAS / "tcn_conv1d.h5"), str(KERAS / "tcn_conv1d_params.pickle"))
    module = converter.convert(tmp_path / "tcn.pth")
    assert isinstance(module, torch.nn.Module)
    assert not module.training
    assert converter.test_conversion(module, KERAS / "tcn_conv1d.npz").largest <= 1e-5
    assert converter.convert().params == module.params == load_converted(tmp_path / "tcn.pth").params
    (tmp_path / "in").mkdir()
    shutil.copy(KERAS / "chunked_names.h5", tmp_path / "in")
    (outcome,) = converter.batch_convert(tmp_path / "in", tmp_path / "out")
    assert outcome.conversion.target == tmp_path / "out" / "chunked_names.pth"


def test_outputs_that_are_not_finite_are_refused() -> None:
    module = load_keras(KERAS / "keras3_legacy.h5")
    next(weight for weight in module.parameters() if weight.dim() > 1).fill_(torch.inf)
    with pytest.raises(CheckpointError, match="not finite"):
        TCNModelConverter(KERAS / "keras3_legacy.h5").test_conversion(module)


class TestOptions:
    @pytest.mark.parametrize("precision", ["float16", "bfloat16"])
    def test_half_precision_halves_the_file_and_tells_its_difference(self, precision: str, tmp_path: Path) -> None:
        source = KERAS / "hoyomusic_generator.h5"
        exact = convert_file(source, tmp_path / "exact.pth")
        half = convert_file(source, tmp_path / "half.pth", options=Options(precision=precision))
        assert half.target.stat().st_size < 0.75 * exact.target.stat().st_size
        assert 0 < half.reports[1].largest < 0.05
        assert half.reports[1].tolerance is None
        assert f"in {precision}, against the exact model" in half.tell()[1]
        assert next(load_converted(half.target).parameters()).dtype == getattr(torch, precision)

    @pytest.mark.parametrize("model", GOOD, ids=lambda model: model["id"])
    def test_whole_numbers_take_a_quarter_and_come_back_as_measured(
        self, model: dict[str, str], tmp_path: Path
    ) -> None:
        reference = KERAS / model["npz"]
        source, params = KERAS / model["file"], params_of(model)
        made = convert_file(source, tmp_path / "a.pth", params=params, reference=reference, options=Options(int8=True))
        again = load_converted(made.target)
        inputs = read_reference(reference).inputs
        exact = converting.run_model(load_keras(source, params), inputs, "a")
        found = compare(converting.run_model(again, inputs, "a"), exact, "a")
        assert found == made.reports[1].differences
        matrices = {name for name, weight in again.named_parameters() if weight.dim() > 1}
        assert set(again.factors) == matrices
        stored = torch.load(made.target, weights_only=True)["weights"]
        assert {name for name, weight in stored.items() if weight.dtype == torch.int8} == matrices

    def test_whole_numbers_without_their_factors_are_refused(self, tmp_path: Path) -> None:
        made = convert_file(KERAS / "chunked_names.h5", tmp_path / "a.pth", options=Options(int8=True))
        values = torch.load(made.target, weights_only=True)
        name = next(iter(values["factors"]))
        for factors, message in (
            ({**values["factors"], name: torch.ones(99)}, "not kept in whole numbers with their factors"),
            ({**values["factors"], name: 1.0}, "factors of whole numbers that are no tensors"),
            ({}, "has another precision than the model says"),
        ):
            torch.save({**values, "factors": factors}, tmp_path / "b.pth")
            with pytest.raises(CheckpointError, match=message):
                load_converted(tmp_path / "b.pth")

    def test_pruning_makes_the_smallest_numbers_zero(self, tmp_path: Path) -> None:
        made = convert_file(KERAS / "hoyomusic_generator.h5", tmp_path / "a.pth", options=Options(prune=0.25))
        before, after = load_keras(made.source), load_converted(made.target)
        for old, new in zip(before.parameters(), after.parameters(), strict=True):
            if old.dim() < 2:
                assert torch.equal(old, new)
                continue
            kept = new != 0
            assert abs((~kept).float().mean() - 0.25) < 0.01
            assert torch.equal(old[kept], new[kept])
            assert old[~kept].abs().max() <= old[kept].abs().min()
        assert made.reports[1].largest > 0

    def test_what_is_asked_for_wrongly(self) -> None:
        with pytest.raises(UsageError, match="there is no precision 'int4'"):
            Options(precision="int4")
        with pytest.raises(UsageError, match="exclude each other"):
            Options(precision="float16", int8=True)
        with pytest.raises(UsageError, match="1 is no share"):
            Options(prune=1)


class TestTheMapOfCharacters:
    def test_beside_the_model_it_is_kept(self, tmp_path: Path) -> None:
        made = convert_file(KERAS / "hoyomusic_generator.h5", tmp_path / "a.pth")
        assert "belongs to it" in made.remarks[0]
        assert load_converted(made.target).params["seq_length"] == 16

    def test_beside_another_model_it_is_not_used(self, tmp_path: Path) -> None:
        made = convert_file(KERAS / "hoyomusic_sequence.h5", tmp_path / "a.pth")
        assert "is not used: maps 44 characters, and the model has 40" in made.remarks[0]
        assert load_converted(made.target).params is None

    def test_one_that_is_named_must_fit(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="maps 44 characters, and the model has 40"):
            convert_file(
                KERAS / "hoyomusic_sequence.h5", tmp_path / "a.pth", params=KERAS / "hoyomusic_mappings.pkl"
            )
        with pytest.raises(CheckpointError, match="maps 44 characters, and the model has none"):
            convert_file(KERAS / "keras3_legacy.h5", tmp_path / "a.pth", params=KERAS / "hoyomusic_mappings.pkl")

    def test_a_pickle_beside_that_would_act_is_not_run(self, tmp_path: Path) -> None:
        shutil.copy(KERAS / "hoyomusic_generator.h5", tmp_path)
        shutil.copy(KERAS / "evil_params.pickle", tmp_path / "hoyomusic_mappings.pkl")
        made = convert_file(tmp_path / "hoyomusic_generator.h5", tmp_path / "a.pth")
        assert "is not used" in made.remarks[0]


class TestFolders:
    def test_a_refusal_stops_none_of_the_others(self, tmp_path: Path) -> None:
        source = tmp_path / "in"
        source.mkdir()
        for name in ("chunked_names.h5", "lambda.h5", "keras3.weights.h5", "keras3_legacy.h5"):
            shutil.copy(KERAS / name, source)
        told: list[tuple[int, int]] = []
        outcomes = convert_folder(
            source, tmp_path / "out", progress=lambda done, total: told.append((done, total)), processes=2
        )
        assert [outcome.source.name for outcome in outcomes] == [
            "chunked_names.h5", "keras3.weights.h5", "keras3_legacy.h5", "lambda.h5",
        ]
        assert [outcome.refusal is None for outcome in outcomes] == [True, False, True, False]
        assert "Lambda" in str(outcomes[3].refusal)
        assert outcomes[3].to_dict()["refused"] == str(outcomes[3].refusal)
        assert outcomes[0].to_dict()["keras_version"] == "2.15.0"
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "chunked_names.pth", "chunked_names_info.json", "keras3_legacy.pth", "keras3_legacy_info.json",
        ]
        assert told == [(number, 4) for number in range(5)]

    def test_a_file_that_kills_its_process_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(converting, "_run", kill_or_refuse)
        jobs = [converting._Job(Path(name), tmp_path / name, Options(), False) for name in ("good.h5", "deadly.h5")]
        outcomes = {outcome.source.name: str(outcome.refusal) for outcome in converting._run_all(jobs, 1)}
        assert outcomes == {
            "good.h5": "good.h5: refused", "deadly.h5": "deadly.h5: the process that read it died; use another file",
        }

    def test_a_fault_of_ours_stops_none_of_the_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: object, **options: object) -> None:
            raise ZeroDivisionError("by nothing")

        monkeypatch.setattr(converting, "convert_file", fail)
        outcome = converting._run(converting._Job(Path("a.h5"), tmp_path / "a.pth", Options(), False))
        assert "a.h5: a fault of the program itself, not yours: ZeroDivisionError: by nothing" in str(outcome.refusal)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"holds no \.h5 file"):
            convert_folder(tmp_path, tmp_path / "out")


def kill_or_refuse(job: converting._Job) -> converting.Outcome:
    """What runs in the process apart: one file brings it down."""
    if job.source.name == "deadly.h5":
        signal.raise_signal(signal.SIGKILL)
    return converting.Outcome(job.source, None, CheckpointError("refused", where=str(job.source)))


def test_which_inputs_are_ids() -> None:
    nested = load_keras(KERAS / "functional_shared_nested.h5")
    limits = id_limits(nested.network)
    assert [limit is None for limit in limits] == [False, False, True]
    assert count_characters(nested) is None
    assert count_characters(load_keras(KERAS / "hoyomusic_sequence.h5")) == 40
    first, again = make_inputs(nested), make_inputs(nested)
    assert all(map(np.array_equal, first, again))
    assert [array.dtype.kind for array in first] == ["i", "i", "f"]
    assert first[0].max() < limits[0]
