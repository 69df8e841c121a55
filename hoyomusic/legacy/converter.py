"""`TCNModelConverter`: a Keras file becomes a `.pth`, tested before it is written; a folder of them in parallel.

The name and its methods are those of the old program's guide, for models of every kind. A model is converted whole,
or refused with an error that says why, and then nothing is written. Nobody can run the old model without
TensorFlow, so without a reference that Keras made, a conversion is compared with a second computation of ours, in
numpy, which shares no code with the layers.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hoyomusic import storage
from hoyomusic.device import describe
from hoyomusic.errors import CheckpointError, HoyoError, StorageError, UsageError
from hoyomusic.legacy.characters import MAP_FILE, CharacterMap
from hoyomusic.legacy.converted import pack_converted
from hoyomusic.legacy.files import FAULTS
from hoyomusic.legacy.inputs import count_characters, id_limits, make_inputs
from hoyomusic.legacy.model import ConvertedModel, load_keras
from hoyomusic.legacy.params import read_params
from hoyomusic.legacy.reference import covers
from hoyomusic.legacy.reference import run as reference_outputs
from hoyomusic.legacy.references import TOLERANCE, Difference, Reference, compare, read_reference

PathLike = str | os.PathLike[str]

_USE_ANOTHER = "use another file"

PRECISIONS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class Options:
    """What makes a model smaller, and not exact: `precision` its weights are kept in, `int8` matrices in whole numbers
    with a factor for each output, `prune` the share of each matrix, the smallest numbers, that becomes zero.

    Raises UsageError for what there is not, and for two ways to keep the same weights.
    """

    precision: str = "float32"
    int8: bool = False
    prune: float = 0.0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"there is no precision {self.precision!r}", where="--precision",
                remedy=f"choose {', '.join(PRECISIONS)}",
            )
        if self.int8 and self.precision != "float32":
            raise UsageError("--int8 and --precision exclude each other", remedy="name one of them")
        if not 0 <= self.prune < 1:
            raise UsageError(f"{self.prune!r} is no share", where="--prune", remedy="give a number from 0 to below 1")


@dataclass(frozen=True, slots=True)
class Report:
    """How outputs compare: with `what` they were compared, and how far each is from it.

    `tolerance` None: the differences are told, not judged.
    """

    what: str
    differences: tuple[Difference, ...]
    tolerance: float | None = TOLERANCE

    @property
    def largest(self) -> float:
        """The largest of all differences."""
        return max((difference.largest for difference in self.differences), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "compared_with": self.what, "tolerance": self.tolerance,
            "differences": [difference.to_dict() for difference in self.differences],
        }

    def __str__(self) -> str:
        return f"{self.what}: " + "; ".join(map(str, self.differences))


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was converted, and what was found: `layers` in the order of the file, and the reports of the tests."""

    source: Path
    sha256: str
    kind: str
    keras_version: str
    layers: tuple[dict[str, Any], ...]
    inputs: tuple[tuple[int | None, ...], ...]
    outputs: tuple[tuple[int | None, ...], ...]
    reports: tuple[Report, ...]
    remarks: tuple[str, ...]
    target: Path | None = None
    info: Path | None = None

    @property
    def parameters(self) -> int:
        """The numbers in all weights."""
        return sum(layer["parameters"] for layer in self.layers)

    @property
    def largest(self) -> float:
        """The largest difference of the test that decided."""
        return self.reports[0].largest

    def tell(self) -> list[str]:
        """The tests, a line each."""
        return [str(report) for report in self.reports]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, as `_info.json` holds them."""
        return {
            "source": str(self.source), "sha256": self.sha256, "class": self.kind, "keras_version": self.keras_version,
            "inputs": [list(shape) for shape in self.inputs], "outputs": [list(shape) for shape in self.outputs],
            "parameters": self.parameters, "layers": list(self.layers),
            "tests": [report.to_dict() for report in self.reports], "remarks": list(self.remarks),
            "files": [str(path) for path in (self.target, self.info) if path is not None],
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file of a folder: a conversion, or the error that refused it."""

    source: Path
    conversion: Conversion | None
    refusal: HoyoError | None = None

    def to_dict(self) -> dict[str, Any]:
        """The conversion as plain values, or the source and the reason of the refusal."""
        if self.conversion is not None:
            return self.conversion.to_dict()
        return {"source": str(self.source), "refused": str(self.refusal)}


class TCNModelConverter:
    """Converts the Keras model in a file, and what lies beside it: an architecture as JSON, or plain parameters."""

    def __init__(self, tf_model_path: PathLike, model_params_path: PathLike | None = None) -> None:
        self.source = Path(tf_model_path)
        self.params = None if model_params_path is None else Path(model_params_path)

    def convert(self, output_path: PathLike | None = None) -> ConvertedModel:
        """The model as a module; written to `output_path`, tested, where that is given. No file is written over."""
        if output_path is not None:
            convert_file(self.source, Path(output_path), params=self.params)
        return _load(self.source, self.params)[0]

    def test_conversion(self, module: ConvertedModel, reference: PathLike | None = None) -> Report:
        """How far a module's outputs are from those in the `.npz` file `reference`.

        Without one, from those of the second computation of ours; that every stored array is used, once, loading
        has made sure of. Nothing but a reference tells what Keras gave. Raises CheckpointError where outputs are
        not finite, or of another shape.
        """
        expected = None if reference is None else read_reference(reference)
        return test_model(module, expected, str(reference or self.source))

    def batch_convert(self, model_dir: PathLike, output_dir: PathLike) -> list[Outcome]:
        """What `convert_folder` gives."""
        return convert_folder(Path(model_dir), Path(output_dir))


def convert_file(
    source: Path,
    target: Path,
    *,
    params: Path | None = None,
    reference: Path | None = None,
    options: Options | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert one file: load, test, and only then write `target` and the JSON beside it, both or none.

    Raises CheckpointError for a model that cannot be converted exactly, or that differs from the `reference` by more
    than `TOLERANCE`, and StorageError for a target that is there already or cannot be written.
    """
    options = Options() if options is None else options
    if not target.name:
        raise StorageError("names no file", where=str(target), remedy="name a .pth file")
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError("is the model itself", where=str(target), remedy="name another file with --out")
    info = target.with_name(f"{target.stem}_info.json")
    if not overwrite:
        for path in (target, info):
            if os.path.lexists(path):
                raise storage.taken(path)
    model, remarks = _load(source, params)
    expected = None if reference is None else read_reference(reference)
    tested = test_model(model, expected, str(reference or source))
    for difference in tested.differences:
        if not difference.exact:
            raise CheckpointError(
                f"{difference}, where {TOLERANCE:g} is allowed ({tested.what})", where=str(reference or source),
                remedy="nothing was written",
            )
    inputs = make_inputs(model) if expected is None else expected.inputs
    reports = (tested, *apply_options(model, options, inputs))
    made = Conversion(
        source, model.source, model.config["class_name"], model.keras_version, tuple(describe_layers(model)),
        tuple(model.input_shapes), tuple(model.output_shapes), reports, tuple(remarks), target, info,
    )
    text = json.dumps(made.to_dict(), indent=1, ensure_ascii=False) + "\n"
    packed = pack_converted(model, str(target))
    storage.write_together({target: packed, info: text.encode("utf-8", "backslashreplace")}, overwrite=overwrite)
    return made


def convert_folder(
    source: Path,
    target: Path,
    *,
    options: Options | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    processes: int | None = None,
) -> list[Outcome]:
    """Convert every ``*.h5`` of a folder to ``STEM.pth`` in another; what was refused stops none of the others.

    Several at a time, each in a process apart (as many as the machine has cores for us, or `processes`), so that not
    even a file that brings down the HDF5 library stops them. `progress` is told how many are done, and of how many.
    Raises CheckpointError for a folder without such files. Call it from a script below ``if __name__ == "__main__"``.
    """
    files = sorted(path for path in source.glob("*.h5") if path.is_file())
    if not files:
        raise CheckpointError("holds no .h5 file", where=str(source), remedy="name the folder of the Keras models")
    options = Options() if options is None else options
    jobs = [_Job(path, target / f"{path.name.removesuffix('.h5')}.pth", options, overwrite) for path in files]
    found: dict[Path, Outcome] = {}
    progress(0, len(jobs))
    for outcome in _run_all(jobs, processes or min(len(jobs), describe()["cores"])):
        found[outcome.source] = outcome
        progress(len(found), len(jobs))
    return [found[path] for path in files]


@dataclass(frozen=True, slots=True)
class _Job:
    source: Path
    target: Path
    options: Options
    overwrite: bool


def _run_all(jobs: Sequence[_Job], processes: int) -> Iterator[Outcome]:
    """The outcomes as they come. Jobs whose process died go on one by one: then it is clear which one kills."""
    lost = []
    pool = _new_pool(processes)
    try:
        started: dict[Future[Outcome], _Job] = {pool.submit(_run, job): job for job in jobs}
        for future in as_completed(started):
            try:
                yield future.result()
            except BrokenProcessPool:
                lost.append(started[future])
    finally:
        # Who interrupts waits for the models under way, not for those that have not begun.
        pool.shutdown(cancel_futures=True)
    for job in lost:
        with _new_pool(1) as pool:
            try:
                yield pool.submit(_run, job).result()
            except BrokenProcessPool:
                refusal = CheckpointError("the process that read it died", where=str(job.source), remedy=_USE_ANOTHER)
                yield Outcome(job.source, None, refusal)


def _new_pool(processes: int) -> ProcessPoolExecutor:
    # Started afresh: a copy of a process in which torch runs threads may stand still.
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _prepare_process)


def _prepare_process() -> None:
    # An interrupt is for the process that started this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _run(job: _Job) -> Outcome:
    try:
        made = convert_file(job.source, job.target, options=job.options, overwrite=job.overwrite)
    except HoyoError as error:
        return Outcome(job.source, None, error)
    except FAULTS as error:
        told = f"a fault of the program itself, not yours: {type(error).__name__}: {error}"
        refusal = CheckpointError(told, where=str(job.source), remedy="please report it")
        return Outcome(job.source, None, refusal)
    return Outcome(job.source, made)


def test_model(model: ConvertedModel, reference: Reference | None, where: str) -> Report:
    """How far a model is from a reference, or where there is none from what numpy makes of the same weights.

    Raises CheckpointError, with `where` as its place, for outputs that are not finite, or of another shape.
    """
    inputs = make_inputs(model) if reference is None else reference.inputs
    found = run_model(model, inputs, where)
    if not all(np.isfinite(output).all() for output in found):
        raise CheckpointError("gives outputs that are not finite", where=where, remedy=_USE_ANOTHER)
    if reference is not None:
        return Report("the reference", compare(found, reference.outputs, where))
    if not covers(model):
        return Report("nothing, as there is no reference and a layer of your own: outputs are finite", ())
    expected = reference_outputs(model, inputs)
    return Report("a second computation in numpy, as no reference by Keras was given", compare(found, expected, where))


def run_model(model: ConvertedModel, inputs: Sequence[np.ndarray], where: str) -> list[np.ndarray]:
    """The outputs of a model as float32 arrays; raises CheckpointError where it cannot take the inputs."""
    if len(inputs) != len(model.input_shapes):
        raise CheckpointError(
            f"has {len(inputs)} inputs, and the model takes {len(model.input_shapes)}", where=where, remedy=_USE_ANOTHER
        )
    for number, (array, shape) in enumerate(zip(inputs, model.input_shapes, strict=True)):
        fits = array.ndim == len(shape) and all(
            size in (None, length) for size, length in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise CheckpointError(
                f"input_{number} has the shape {array.shape}, and the model takes {shape}", where=where,
                remedy=_USE_ANOTHER,
            )
        limit = id_limits(model.network)[number]
        if limit is not None and array.size and not 0 <= array.min() <= array.max() < limit:
            raise CheckpointError(
                f"input_{number} has ids beyond 0 to {limit - 1}", where=where, remedy=_USE_ANOTHER
            )
    with torch.inference_mode():
        outputs = model(*(torch.from_numpy(np.array(array)) for array in inputs))
    return [output.float().numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def apply_options(model: ConvertedModel, options: Options, inputs: Sequence[np.ndarray]) -> list[Report]:
    """Make the weights of `model` what `options` say; for each step how far its outputs are then from exact ones."""
    exact = run_model(model, inputs, "the model")
    reports = []

    def report(what: str) -> None:
        found = run_model(model, inputs, "the model")
        reports.append(Report(f"{what}, against the exact model", compare(found, exact, "the model"), None))

    matrices = [weight for weight in model.parameters() if weight.is_floating_point() and weight.dim() > 1]
    with torch.no_grad():
        if options.prune:
            for matrix in matrices:
                smallest = matrix.abs().flatten().argsort(stable=True)[: round(options.prune * matrix.numel())]
                matrix.view(-1)[smallest] = 0.0
            report(f"with {options.prune:.0%} of each matrix zero")
        if options.precision != "float32":
            model.to(getattr(torch, options.precision))
            report(f"in {options.precision}")
        if options.int8:
            for name, weight in model.named_parameters():
                if weight.is_floating_point() and weight.dim() > 1:
                    # A column of zeros is zero whatever its factor.
                    largest = weight.abs().flatten(0, -2).amax(0)
                    model.factors[name] = factors = torch.where(largest > 0, largest / 127, 1.0)
                    weight.copy_((weight / factors).round() * factors)
            report("in int8")
    return reports


def describe_layers(model: ConvertedModel) -> Iterator[dict[str, Any]]:
    """Name, class, output shape, weights with their shapes, and the number of parameters, of each layer."""
    for layer in model.network.layers:
        weights = {"/".join((*weight.owners[1:], *weight.path)): list(weight.shape) for weight in layer.weights()}
        yield {
            "name": layer.settings.name, "class": layer.settings.kind, "output": layer.output_shape,
            "weights": weights, "parameters": sum(math.prod(shape) for shape in weights.values()),
        }


def _load(source: Path, params: Path | None) -> tuple[ConvertedModel, list[str]]:
    """The model in a file, with the map of its characters where one lies beside it; and what is to be said of that."""
    model = load_keras(source, params)
    where = str(source if params is None else params)
    remarks = []
    if params is None and (beside := source.with_name(MAP_FILE)).is_file() and count_characters(model):
        try:
            told = read_params(beside)
            _check_map(model, told, str(beside))
        except CheckpointError as error:
            remarks.append(f"{error.where} is not used: {error.message}")
        else:
            model.params = told
            remarks.append(f"{beside} belongs to it and is kept in the file")
    elif isinstance(model.params, dict):
        _check_map(model, model.params, where)
    return model, remarks


def _check_map(model: ConvertedModel, params: Any, where: str) -> None:
    """Raise CheckpointError where parameters hold a map of characters that is not this model's."""
    found = CharacterMap.read(params, where) if isinstance(params, dict) else None
    if found is not None and len(found.characters) != count_characters(model):
        raise CheckpointError(
            f"maps {len(found.characters)} characters, and the model has {count_characters(model) or 'none'}",
            where=where, remedy="give the map that was written with the model",
        )
