"""What converting a Keras model costs beside reading it: ``python -m benchmarks.convert [--megabytes N] [--json]``

A model of three LSTM layers with random weights (200 MB) is written as Keras 2.15 lays it out. Then, each in a fresh
process and several times by turns, h5py alone reads its weights, `load_keras` makes a module of them, and
`convert_file` makes the `.pth`, all in: reading, the test, writing to the disk and making sure of it. Told are CPU
seconds behind the imports, the least of the turns, and the peak of the memory above what the imports take, as a
multiple of the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import numpy as np

ROOT = Path(__file__).parent.parent
ROUNDS = 3
LAYERS = 3
CHARACTERS = 96
TIME_GOAL, MEMORY_GOAL = 3.0, 2.5

# All tell their CPU seconds and their peak in bytes, measured from behind the imports. The peak is Linux's of this
# program alone: what `resource` tells begins with that of the process that started it.
MEASURED = """
import json, re, sys, time
{imports}
def peak():
    return 1024 * int(re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1])
before, clock, began = peak(), time.process_time(), time.perf_counter()
{work}
print(json.dumps(dict(seconds=time.process_time() - clock, wall=time.perf_counter() - began, bytes=peak() - before)))
"""
READ = MEASURED.format(
    imports="import h5py",
    work="""
with h5py.File(sys.argv[1], "r") as file:
    weights = file["model_weights"]
    kept = [weights[name][path][()] for name in weights for path in weights[name].attrs["weight_names"]]
""",
)
LOAD = MEASURED.format(
    imports="import h5py, torch\nfrom hoyomusic.legacy import load_keras", work="load_keras(sys.argv[1])"
)
CONVERT = MEASURED.format(
    imports="import h5py, torch\nfrom pathlib import Path\nfrom hoyomusic.legacy.converter import convert_file",
    work="convert_file(Path(sys.argv[1]), Path(sys.argv[2]), overwrite=True)",
)


def write_model(path: Path, megabytes: float) -> int:
    """A Sequential model of about so many megabytes in Keras's layout at `path`; the bytes of its weights."""
    # Three layers of width u on an embedding of width u: 24 u^2 numbers of four bytes.
    units = round((megabytes * 1e6 / 4 / (8 * LAYERS)) ** 0.5)
    random = np.random.default_rng(0)
    layers = [("Embedding", "embedding", {"input_dim": CHARACTERS, "output_dim": units, "mask_zero": False})]
    weights = {"embedding": {"embeddings": (CHARACTERS, units)}}
    for number in range(LAYERS):
        name = f"lstm_{number}"
        layers.append(("LSTM", name, {
            "units": units, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True,
            "return_sequences": True, "return_state": False, "go_backwards": False, "stateful": False, "unroll": False,
            "time_major": False,
        }))  # fmt: skip
        weights[name] = {
            f"lstm_cell/{part}": shape
            for part, shape in (
                ("kernel", (units, 4 * units)), ("recurrent_kernel", (units, 4 * units)), ("bias", (4 * units,)),
            )
        }
    layers.append(("Dense", "dense", {"units": CHARACTERS, "activation": "softmax", "use_bias": True}))
    weights["dense"] = {"kernel": (units, CHARACTERS), "bias": (CHARACTERS,)}
    entries = [{"class_name": "InputLayer", "config": {
        "batch_input_shape": [None, None], "dtype": "int32", "sparse": False, "ragged": False, "name": "input"}}]
    entries += [
        {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **options}}
        for kind, name, options in layers
    ]
    total = 0
    with h5py.File(path, "w") as file:
        config = {"class_name": "Sequential", "config": {"name": "sequential", "layers": entries}}
        file.attrs.update(model_config=json.dumps(config), keras_version="2.15.0", backend="tensorflow")
        group = file.create_group("model_weights")
        group.attrs.update(layer_names=list(weights), keras_version="2.15.0", backend="tensorflow")
        for name, parts in weights.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [f"{name}/{part}:0" for part in parts]
            for part, shape in parts.items():
                values = random.standard_normal(shape, np.float32) * np.float32(0.05)
                layer[f"{name}/{part}:0"] = values
                total += values.nbytes
    return total


def measure(program: str, *arguments: Path) -> dict[str, float]:
    """What one fresh process tells."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=200.0)
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "model.h5", Path(folder) / "model.pth"
        size = write_model(source, options.megabytes)
        read, load, convert = [], [], []
        for _ in range(ROUNDS):
            read.append(measure(READ, source))
            load.append(measure(LOAD, source))
            convert.append(measure(CONVERT, source, target))
    told: dict[str, float] = {"megabytes": size / 1e6}
    for name, found in (("read", read), ("load", load), ("convert", convert)):
        told[f"{name}_seconds"] = min(each["seconds"] for each in found)
        told[f"{name}_memory"] = max(each["bytes"] for each in found) / size
        told[f"{name}_ratio"] = told[f"{name}_seconds"] / told["read_seconds"]
    if options.json:
        print(json.dumps(told))
        return
    print(f"{told['megabytes']:.1f} MB; goals: {TIME_GOAL:g} times the time, {MEMORY_GOAL:g} times the weights")
    for name, title in (("read", "h5py alone"), ("load", "load_keras"), ("convert", "convert_file")):
        print(f"{title:14}{told[f'{name}_seconds']:8.2f} CPU seconds, {told[f'{name}_ratio']:6.2f} times"
              f"{told[f'{name}_memory']:8.2f} times the weights at the peak")  # fmt: skip


if __name__ == "__main__":
    main()
