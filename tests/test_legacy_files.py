"""Files of strangers: what is damaged, elsewhere or declared but not there is refused; names are not guessed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoyomusic.errors import CheckpointError, MissingPartError
from hoyomusic.legacy import ConvertedModel, load_keras
from hoyomusic.legacy.weights import split
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.normalisation import NORM_EPSILON
from hoyomusic.sizes import ModelConfig
from tests.keras_models import KERAS, chain, convolution, graph, layer, make_model, norm, recurrent, write_keras

DENSE = layer("Dense", units=2, use_bias=True)
SMALL = chain([4, 3], recurrent("LSTM", 2), norm(), DENSE)


def refusal(path: Path, params: Path | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_keras(path, params)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path if params is None else path.parent))
    return message


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_keras(tmp_path / "small.h5", make_model(SMALL))


def changed(path: Path, change: Callable[[h5py.File], None]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def weights_of(model: ConvertedModel) -> dict[str, np.ndarray]:
    return {name: weight.numpy() for name, weight in model.state_dict().items()}


def same(one: ConvertedModel, other: ConvertedModel) -> bool:
    first, second = weights_of(one), weights_of(other)
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("version", ["2.2.4", "2.15.0", "3.15.1"])
@pytest.mark.parametrize(
    "architecture",
    [
        SMALL,
        chain([5], layer("Embedding", input_dim=4, output_dim=3), recurrent("GRU", 2, reset_after=True)),
        chain([6, 2], layer("Bidirectional", layer=recurrent("LSTM", 3), merge_mode="concat")),
        chain([6, 2], layer("TimeDistributed", layer=DENSE)),
        chain([7, 7, 2], convolution("SeparableConv2D", 3, 2, depth_multiplier=2)),
        chain([7, 7, 2], convolution("DepthwiseConv2D", 2, 2)),
        chain([8, 2], layer(
            "TCN", nb_filters=3, kernel_size=2, dilations=[1, 2], nb_stacks=2, padding="same", activation="relu",
            use_skip_connections=True, return_sequences=True, use_batch_norm=True,
        )),
        chain([4, 3], chain([4, 3], recurrent("SimpleRNN", 3), norm()), DENSE),
    ],
)
def test_every_weight_comes_back_bit_for_bit(architecture: dict[str, Any], version: str, tmp_path: Path) -> None:
    model = make_model(architecture, version)
    whole = load_keras(write_keras(tmp_path / "whole.h5", model))
    assert same(model, whole)
    assert whole.config == architecture and whole.keras_version == version
    (tmp_path / "architecture.json").write_text(json.dumps(architecture))
    alone = write_keras(tmp_path / "weights.h5", model, root=True)
    assert same(model, load_keras(alone, tmp_path / "architecture.json"))


# Ours, and where Keras has it; it has the matrices turned round.
HEAD = {"embedding": (0, "embeddings"), "output_weight": (7, "kernel"), "output_bias": (7, "bias")}
NAMES = {
    "weight_ih": (1, "kernel"), "weight_hh": (1, "recurrent_kernel"), "bias": (1, "bias"), "norm.weight": (2, "gamma"),
    "norm.bias": (2, "beta"), "norm.running_mean": (2, "moving_mean"), "norm.running_var": (2, "moving_variance"),
}
TURNED = ("output_weight", "weight_ih", "weight_hh")


def test_our_own_model_goes_to_keras_and_back_bit_for_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    ours = HoyoMusicLSTM(ModelConfig(11, embedding=6, hidden=5, layers=3)).eval()
    for name, values in ours.state_dict().items():
        values.copy_(torch.rand(values.shape, generator=generator) + (0.1 if "var" in name else -0.5))
    # Keras has neither nations nor a clock.
    ours.region.data.zero_()
    ours.clock.data.zero_()
    state = ours.state_dict()
    places = {**HEAD, **{
        f"layers.{number}.{name}": (2 * number + place, there)
        for number in range(3) for name, (place, there) in NAMES.items()
    }}
    assert state.keys() == places.keys() | {"region", "clock"}

    sequence = [entry for _ in range(3) for entry in (recurrent("LSTM", 5), norm(epsilon=NORM_EPSILON))]
    entries = [layer("Embedding", input_dim=11, output_dim=6, mask_zero=False), *sequence]
    output = layer("Dense", units=11, use_bias=True, activation="softmax")
    keras = make_model(chain([7], *entries, output))
    for name, (place, there) in places.items():
        turned = state[name].T if name.endswith(TURNED) else state[name]
        keras.network.layers[place].adopt(there, turned.contiguous())
    back = load_keras(write_keras(tmp_path / "ours.h5", keras))

    for name, (place, there) in places.items():
        stored = back.network.layers[place].get_parameter(there)
        assert torch.equal(stored.T if name.endswith(TURNED) else stored, state[name]), name
    ids = torch.randint(11, (4, 7), generator=generator)
    with torch.no_grad():
        logits, _ = ours(ids, torch.zeros(4, dtype=torch.long), torch.zeros_like(ids))
    assert (torch.softmax(logits, -1) - back(ids)).abs().max() <= 1e-5


def test_names_as_the_versions_of_keras_spell_them(tmp_path: Path) -> None:
    assert split("lstm_6/lstm_cell/kernel:0") == ("lstm_6", "kernel")
    assert split("sequential/gru_1/gru_cell_2/bias") == ("sequential", "gru_1", "bias")
    model = make_model(chain([4, 3], chain([4, 3], recurrent("GRU", 3), recurrent("LSTM", 3))))
    path = write_keras(tmp_path / "model.h5", model)
    inner = model.network.layers[0].settings.name

    def uniquify(file: h5py.File) -> None:
        group = file[f"model_weights/{inner}"]
        names = []
        for name in group.attrs["weight_names"]:
            parts = name.decode().split("/")
            new = f"{parts[1]}_1/{parts[2]}"
            group[new] = group[name.decode()][()]
            names.append(new.encode())
        del group[inner]
        group.attrs["weight_names"] = np.array(names)[::-1]

    assert same(model, load_keras(changed(path, uniquify)))


def test_a_wrapped_layer_has_its_own_name_in_between(tmp_path: Path) -> None:
    """As Keras 3 names a layer in a TimeDistributed of a nested model."""
    wrapped = [layer("TimeDistributed", layer=layer("Dense", units=3, use_bias=True)) for _ in range(2)]
    model = make_model(chain([4, 3], chain([4, 3], *wrapped)), "3.15.1")
    path = write_keras(tmp_path / "model.h5", model)
    outer = model.network.layers[0].settings.name

    def lengthen(file: h5py.File) -> None:
        group = file[f"model_weights/{outer}"]
        names = [name.decode() for name in group.attrs["weight_names"]]
        longer = [name.replace("/kernel", "/dense_1/kernel").replace("/bias", "/dense_1/bias") for name in names]
        for old, new in zip(names, longer, strict=True):
            group[new] = group[old][()]
            del group[old]
        group.attrs["weight_names"] = np.array([name.encode() for name in longer])

    assert same(model, load_keras(changed(path, lengthen)))


def test_weights_that_could_be_several_are_refused(tmp_path: Path) -> None:
    model = make_model(chain([4, 3], chain([4, 3], recurrent("GRU", 3), recurrent("GRU", 3))))
    path = write_keras(tmp_path / "model.h5", model)
    inner = model.network.layers[0].settings.name

    def rename(file: h5py.File) -> None:
        group = file[f"model_weights/{inner}"]
        names = []
        for number, name in enumerate(group.attrs["weight_names"]):
            new = f"other_{number // 3}/{name.decode().split('/')[-1]}"
            group[new] = group[name.decode()][()]
            names.append(new.encode())
        group.attrs["weight_names"] = np.array(names)

    assert "could be any of several" in refusal(changed(path, rename))


def test_numbered_weights_of_both_spellings(tmp_path: Path) -> None:
    path = tmp_path / "old.weights.h5"
    shutil.copy(KERAS / "keras3.weights.h5", path)
    expected = load_keras(path, KERAS / "keras3.json")

    def rename(file: h5py.File) -> None:
        file.move("layers", "_layer_checkpoint_dependencies")

    assert same(expected, load_keras(changed(path, rename), KERAS / "keras3.json"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file["layers/dense/vars"].pop("1"), "dense holds 1 weights"),
        (lambda file: file.move("layers/lstm_1", "layers/lstm_7"), "lstm_1/cell holds 0 weights"),
        (lambda file: file.copy("layers/dense", "layers/dense_1"), "dense_1 that the architecture does not have"),
        (lambda file: file["layers/dense/vars"].move("1", "2"), "does not hold it"),
    ],
)
def test_numbered_weights_that_are_amiss(change: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.weights.h5"
    shutil.copy(KERAS / "keras3.weights.h5", path)
    assert words in refusal(changed(path, change), KERAS / "keras3.json")


def test_a_numbered_temporal_network_is_refused(tmp_path: Path) -> None:
    tcn = layer(
        "TCN", nb_filters=3, kernel_size=2, dilations=[1], nb_stacks=1, padding="same", activation="relu",
        use_skip_connections=True, return_sequences=True,
    )
    (tmp_path / "model.json").write_text(json.dumps(chain([4, 3], tcn, key="batch_shape")))
    with h5py.File(tmp_path / "tcn.weights.h5", "w") as file:
        file.create_group("layers")
    message = refusal(tmp_path / "tcn.weights.h5", tmp_path / "model.json")
    assert "not supported in .weights.h5" in message


def set_attribute(name: str, value: Any, group: str = "/") -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[group].attrs[name] = value

    return change


def delete(path: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[path]

    return change


KERNEL = "model_weights/dense_2/dense_2/kernel:0"


def replace_kernel(**options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, **{"shape": (2, 2), "dtype": "f4", **options})

    return change


def link_kernel(link: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file[KERNEL] = link

    return change


def virtual_kernel(file: h5py.File) -> None:
    del file[KERNEL]
    layout = h5py.VirtualLayout((2, 2), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "values", (2, 2))
    file.create_virtual_dataset(KERNEL, layout)


LSTM = "model_weights/lstm_0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_attribute("model_config", "{"), "no JSON"),
        (set_attribute("model_config", "[" * 100_000), "nested too deeply"),
        (set_attribute("model_config", "[]"), "no Keras model"),
        (set_attribute("model_config", 3.0), "model_config that is no text"),
        (set_attribute("keras_version", "1.0.1"), "older than 2"),
        (delete("model_weights"), "holds no weights"),
        (lambda file: file["model_weights"].attrs.pop("layer_names"), "does not name its layers"),
        (set_attribute("layer_names", [1.5], "model_weights"), "no names"),
        (set_attribute("layer_names", ["lstm_0"], "model_weights"), "(BatchNormalization) has no weights in the file"),
        (set_attribute("layer_names", ["bass"], "model_weights"), "layer bass is listed"),
        (
            set_attribute("layer_names", ["lstm_0", "lstm_0", "batchnormalization_1", "dense_2"], "model_weights"),
            "its configuration does not have",
        ),
        (lambda file: file[LSTM].attrs.pop("weight_names"), "does not hold its weights"),
        (set_attribute("weight_names", ["lstm_0/kernel:0"], LSTM), "has 1 weights in the file, and needs 3, and lacks"),
        (set_attribute("weight_names", ["lstm_0/kernel:0"] * 3, LSTM), "in a way that cannot be"),
        (set_attribute("weight_names", ["a/kernel:0", "a/bias:0", "a/gain:0"], LSTM), "does not hold it"),
        (delete(f"{LSTM}/lstm_0/bias:0"), "layer lstm_0 (LSTM): weight bias: the file lists this weight"),
        (delete(LSTM), "layer lstm_0 is listed"),
        (replace_kernel(shape=(2, 3)), "has the shape (2, 3), and the configuration says (2, 2)"),
        (replace_kernel(), "declares 16 bytes and stores 0"),
        (replace_kernel(data=np.ones((2, 2)), chunks=(1, 1), compression="gzip"), "its size cannot be"),
        (replace_kernel(data=np.ones((2, 2), np.complex64), dtype="c8"), "of a kind that is not supported"),
        (replace_kernel(external=[("outside.bin", 0, 16)]), "outside the file"),
        (virtual_kernel, "outside the file"),
        (link_kernel(h5py.ExternalLink("other.h5", "/x")), "link"),
        (link_kernel(h5py.SoftLink("/model_weights/lstm_0")), "link"),
        (link_kernel(h5py.SoftLink("/nowhere")), "link"),
        (
            lambda file: file["model_weights"].create_group("top_level_model_weights").attrs.update(weight_names=["x"]),
            "belong to no layer",
        ),
    ],
)
def test_insides_that_are_amiss(change: Callable[[h5py.File], None], words: str, small: Path) -> None:
    assert words in refusal(changed(small, change))


@pytest.mark.parametrize(("most", "words"), [(2, "of 3 entries"), (3, "more than 3 weight_names")])
def test_lists_of_names_beyond_all_measure(
    most: int, words: str, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hoyomusic.legacy import files

    def cut(file: h5py.File) -> None:
        names = file[LSTM].attrs.pop("weight_names")
        file[LSTM].attrs["weight_names0"], file[LSTM].attrs["weight_names1"] = names, names

    monkeypatch.setattr(files, "MOST_NAMES", most)
    assert words in refusal(changed(small, cut))


def test_a_group_beyond_all_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hoyomusic.legacy import files

    monkeypatch.setattr(files, "MOST_NAMES", 3)
    assert "more than 3 entries" in refusal(KERAS / "keras3.weights.h5", KERAS / "keras3.json")


def test_a_configuration_beyond_all_measure(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hoyomusic.legacy import files

    monkeypatch.setattr(files, "LARGEST_TEXT", 100)
    assert "more than 100 characters, too large" in refusal(small)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.h5")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "model.keras").write_bytes(b"PK\3\4")
    assert ".keras or other zip" in refusal(tmp_path / "model.keras")
    (tmp_path / "empty.h5").touch()
    assert "no HDF5 file" in refusal(tmp_path / "empty.h5")
    os.mkfifo(tmp_path / "pipe.h5")
    assert "not a regular file" in refusal(tmp_path / "pipe.h5")
    whole = (KERAS / "gru_reset_after.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) * 6 // 10])
    assert "damaged or cut short" in refusal(tmp_path / "cut.h5")


def test_weights_alone_need_to_be_described(tmp_path: Path) -> None:
    weights = KERAS / "lstm_weights_only.h5"
    assert "weights only" in refusal(weights)
    (tmp_path / "other.json").write_text('{"char_to_int": {}}')
    with pytest.raises(CheckpointError, match="weights only"):
        load_keras(weights, tmp_path / "other.json")


def test_a_model_knows_its_file_as_long_as_that_is_the_same(small: Path) -> None:
    model = load_keras(small)
    assert model.source == hashlib.sha256(small.read_bytes()).hexdigest()
    model = load_keras(small)
    os.utime(small, ns=(1, 1))
    with pytest.raises(CheckpointError, match="was changed after it was read"):
        _ = model.source
    assert make_model(SMALL).source is None


def test_the_version_of_keras_must_be_known(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "model.h5", make_model(SMALL))
    changed(path, lambda file: file.attrs.pop("keras_version"))
    assert "which version of Keras" in refusal(path)
    newer = chain([4, 3], DENSE, key="batch_shape")
    path = write_keras(tmp_path / "newer.h5", make_model(newer, "3.1.0"))
    assert load_keras(changed(path, lambda file: file.attrs.pop("keras_version"))).keras_version == "3"


def test_a_deep_configuration_ends_in_one_line(small: Path) -> None:
    deep = '{"a":' * 600 + "1" + "}" * 600
    described = json.dumps(SMALL).replace('"tanh"', f'{{"class_name": "function", "config": {deep}}}')
    assert "no function of Keras" in refusal(changed(small, set_attribute("model_config", described)))


def test_without_h5py_it_says_what_to_install(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingPartError, match=r"hoyomusic\[legacy\]"):
        load_keras(small)


def test_half_and_double_weights_are_read(small: Path) -> None:
    values = np.array([[0.5, -1.25], [3.0, 2.0]])
    for kind in ("f2", "f8", ">f4"):
        changed(small, replace_kernel(data=values, dtype=kind))
        assert np.array_equal(load_keras(small).layer("dense_2").kernel.numpy(), values)


def test_shared_layers_and_inputs_of_one_model(tmp_path: Path) -> None:
    nodes = [(layer("Dense", "d", units=2, use_bias=True), ["x"]), (layer("Add", "sum"), ["d", "d"])]
    architecture = graph({"x": [3], "y": [3]}, nodes, ["sum"])
    architecture["config"]["layers"][2]["inbound_nodes"].append([["y", 0, 0, {}]])
    architecture["config"]["layers"][3]["inbound_nodes"] = [[["d", 0, 0, {}], ["d", 1, 0, {}]]]
    model = make_model(architecture)
    back = load_keras(write_keras(tmp_path / "shared.h5", model))
    x, y = np.eye(3, dtype=np.float32), np.ones((3, 3), np.float32)
    dense = back.layer("d")
    expected = (x + y) @ dense.kernel.numpy() + 2 * dense.bias.numpy()
    assert np.allclose(back(x, y).numpy(), expected, atol=1e-6)
    assert np.array_equal(back([x, y]).numpy(), back(x, y).numpy())


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_or_read(data: st.DataObject, tmp_path: Path) -> None:
    whole = bytearray((KERAS / "lstm_hard_sigmoid_k22.h5").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        limit = data.draw(st.sampled_from([200, 4000, len(whole)]))
        whole[data.draw(st.integers(0, limit - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.h5"
    path.write_bytes(whole[: data.draw(st.sampled_from([len(whole), len(whole), len(whole) // 2]))])
    try:
        load_keras(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
