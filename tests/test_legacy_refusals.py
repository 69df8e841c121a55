"""What is not supported is said, not guessed: each refusal once, in one line that names the layer."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.errors import CheckpointError
from hoyomusic.legacy import ConvertedModel, Layer, register_layer
from hoyomusic.legacy.layers import LAYERS
from hoyomusic.legacy.layers.base import OWN_LAYERS
from hoyomusic.legacy.reference import FORMULAS, covers, run
from tests.keras_models import chain, convolution, fill, graph, layer, make_model, norm, recurrent

SEQUENCE, IMAGE, FEATURES = [6, 3], [6, 6, 3], [3]


def refusal(architecture: Any, version: str = "2.15.0", backend: str = "tensorflow") -> str:
    with pytest.raises(CheckpointError) as caught:
        ConvertedModel(architecture, version, backend)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


@pytest.mark.parametrize(
    ("shape", "entry", "words"),
    [
        (FEATURES, layer("Lambda", function=["4wEA", None, None]), "carries program code"),
        (FEATURES, layer("BarAttention"), '@register_layer("BarAttention")'),
        (FEATURES, {**layer("Dense", units=2, use_bias=True), "module": "my_program"}, "not known"),
        (FEATURES, {**layer("Add"), "module": "keras.src.ops.numpy"}, "not known"),
        (SEQUENCE, layer("ConvLSTM2D"), "not known"),
        (SEQUENCE, layer("MultiHeadAttention"), "not known"),
        (FEATURES, layer("StringLookup", vocabulary="/etc/passwd"), "not known"),
        (SEQUENCE, layer("RNN", cell={}), "not known"),
        (FEATURES, layer("Dense", units=2, use_bias=True, activation="snake_wave"), "snake_wave"),
        (FEATURES, layer("Dense", units=2, use_bias=True, activation=3), "no function of Keras"),
        (FEATURES, layer("Dense", units=2, use_bias=True, activation={"class_name": "Snake", "config": {}}), "Snake"),
        (
            FEATURES,
            layer("Activation", activation={"class_name": "function", "config": "relu", "module": "my_program"}),
            "no function of Keras",
        ),
        (FEATURES, layer("Activation"), "does not say its activation"),
        (FEATURES, layer("Dense", units=0, use_bias=True), "units that cannot be: 0"),
        (FEATURES, layer("Dense", units=2.0, use_bias=True), "units that cannot be"),
        (FEATURES, layer("Dense", units=10**4000, use_bias=True), "a huge number"),
        (FEATURES, layer("Dense", units=True, use_bias=True), "units that cannot be"),
        (FEATURES, layer("Dense", use_bias=True), "does not say its units"),
        (FEATURES, layer("Dense", units=2, use_bias="yes"), "neither true nor false"),
        (FEATURES, layer("Dense", units=2, use_bias=True, lora_rank=4), "has lora_rank"),
        (FEATURES, layer("Dense", units=2, use_bias=True, dtype="float16"), "float16"),
        (FEATURES, layer("Dense", units=2, use_bias=True, dtype={"class_name": "Policy"}), "precision"),
        (
            FEATURES,
            layer("Dense", units=2, use_bias=True, dtype={"class_name": "Policy", "config": {"name": "mixed_float16"}}),
            "mixed_float16",
        ),
        ([None], layer("Dense", units=2, use_bias=True), "size the file does not tell"),
        ([], layer("Dense", units=2, use_bias=True), "without features"),
        (FEATURES, layer("LeakyReLU"), "negative_slope"),
        (FEATURES, layer("LeakyReLU", alpha=[0.1]), "no number"),
        (FEATURES, layer("ELU", alpha=float("nan")), "no number"),
        (FEATURES, norm(axis=[1, 2]), "names the axis 2"),
        (SEQUENCE, norm(axis=[1, 2]), "only one is supported"),
        (SEQUENCE, norm(axis=3), "names the axis 3"),
        (SEQUENCE, norm("LayerNormalization", rms_scaling=True), "has rms_scaling"),
        (SEQUENCE, recurrent("LSTM", 2, return_state=True), "has return_state"),
        (SEQUENCE, recurrent("GRU", 2, time_major=True), "has time_major"),
        (FEATURES, recurrent("LSTM", 2), "2 axes"),
        (SEQUENCE, layer("Bidirectional", layer=layer("Dense", units=2, use_bias=True)), "no recurrent layer"),
        (SEQUENCE, layer("Bidirectional", layer=recurrent("LSTM", 2), merge_mode="dot"), "merge_mode"),
        (
            SEQUENCE,
            layer("Bidirectional", layer=recurrent("LSTM", 2), backward_layer=recurrent("LSTM", 2)),
            "do not belong together",
        ),
        (
            SEQUENCE,
            layer(
                "Bidirectional", layer=recurrent("LSTM", 2), merge_mode="sum",
                backward_layer=recurrent("LSTM", 3, go_backwards=True),
            ),
            "different widths",
        ),
        (SEQUENCE, layer("Bidirectional", layer="LSTM"), "without a class"),
        (FEATURES, layer("TimeDistributed", layer=layer("Flatten")), "needs time"),
        (
            [2, 6, 3],
            layer("TimeDistributed", layer=layer("Bidirectional", layer=recurrent("GRU", 2), merge_mode=None)),
            "several outputs",
        ),
        (SEQUENCE, convolution("Conv1D", 2, 3, data_format="channels_first"), "channels_first"),
        (SEQUENCE, convolution("Conv1D", 2, 3, padding="full"), "padding full"),
        (SEQUENCE, convolution("Conv1D", 2, 9), "larger than what it slides over"),
        (SEQUENCE, convolution("Conv1D", 2, [3, 3]), "2 numbers"),
        (SEQUENCE, convolution("Conv1D", 4, 3, groups=2), "do not divide"),
        (SEQUENCE, convolution("Conv2D", 2, 3), "3 axes"),
        ([6, None], convolution("Conv1D", 2, 3), "channels the file does not tell"),
        (IMAGE, convolution("Conv2D", 2, 3, padding="causal"), "padding causal"),
        (IMAGE, convolution("Conv2DTranspose", 2, 3), "not known"),
        (IMAGE, layer("MaxPooling2D", pool_size=2, padding="valid", data_format="channels_first"), "channels_first"),
        (IMAGE, layer("GlobalMaxPooling1D"), "4 axes"),
        (SEQUENCE, layer("Reshape", target_shape=[4, 4]), "out of 18 values"),
        (SEQUENCE, layer("Reshape", target_shape=[-1, -1]), "target_shape"),
        (SEQUENCE, layer("Permute", dims=[1, 1]), "no order of the axes"),
        (SEQUENCE, layer("RepeatVector", n=2), "needs 2"),
        (FEATURES, layer("ZeroPadding1D", padding=1), "needs 3"),
        (IMAGE, layer("ZeroPadding2D", padding=[1, 2, 3]), "number of axes"),
        (SEQUENCE, layer("Cropping1D", cropping=3), "leaves nothing"),
        (FEATURES, layer("UpSampling1D", size=2), "needs 3"),
        (IMAGE, layer("UpSampling2D", size=2, interpolation="bilinear"), "bilinear"),
        (SEQUENCE, layer("Add"), "merges fewer"),
        (FEATURES, layer("TCN", dilations=[1]), "not batch, time and features"),
    ],
    ids=lambda value: value["class_name"] if isinstance(value, dict) else "",
)
def test_layers_that_are_refused(shape: list[int | None], entry: dict[str, Any], words: str) -> None:
    message = refusal(chain(shape, entry))
    assert words in message
    assert "layer" in message


def tcn(**changes: Any) -> dict[str, Any]:
    usual = {
        "nb_filters": 3, "kernel_size": 2, "dilations": [1, 2], "nb_stacks": 1, "padding": "causal",
        "use_skip_connections": True, "return_sequences": True, "activation": "relu",
    }
    return layer("TCN", **{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"return_state": True}, "return_state"), ({"padding": "valid"}, "padding valid"),
        ({"dilations": []}, "no dilations"), ({"dilations": [1] * 1001}, "too many"),
        ({"use_batch_norm": True, "use_layer_norm": True}, "exclude each other"),
        ({"nb_filters": [2, 3]}, "different widths"),
    ],
)
def test_temporal_networks_that_are_refused(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(chain(SEQUENCE, tcn(**changes)))


def test_weights_that_were_never_initialised_are_refused() -> None:
    import torch

    model = make_model(chain(SEQUENCE, tcn(use_weight_norm=True)))
    weight = next(weight for weight in model.network.weights() if weight.name == "initialized")
    with pytest.raises(CheckpointError, match="never initialised"):
        weight.layer.adopt("initialized", torch.tensor(False))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([layer("Softmax", axis=-1)], "gets a mask"),
        ([layer("Rescaling", scale=2.0)], "gets a mask"),
        ([layer("TimeDistributed", layer=layer("Flatten"))], "under a mask"),
        (
            [layer("TimeDistributed", layer=layer("Embedding", input_dim=4, output_dim=2, mask_zero=True))],
            "under a mask",
        ),
    ],
)
def test_masks_where_their_meaning_is_unclear(entries: list[dict[str, Any]], words: str) -> None:
    embedding = layer("Embedding", input_dim=4, output_dim=3, mask_zero=True)
    assert words in refusal(chain([5], embedding, *entries))


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        (None, "no Keras model"), ([], "no Keras model"), ("Sequential", "no Keras model"),
        ({"class_name": "Dense", "config": {}}, "no Keras model"),
        ({"class_name": "Sequential", "config": None}, "no configuration"),
        ({"class_name": "Sequential", "config": {"name": 3, "layers": []}}, "name that is no text"),
        ({"class_name": "Sequential", "config": {"layers": "all"}}, "no list of layers"),
        ({"class_name": "Sequential", "config": {"layers": []}}, "what shape its input has"),
        ({"class_name": "Sequential", "config": {"layers": [layer("Dense", units=2)]}}, "what shape its input has"),
        (chain(["many"]), "declares an input of the shape"),  # type: ignore[list-item]
        (chain([0]), "declares an input of the shape"),
    ],
)
def test_configurations_that_are_no_model(architecture: Any, words: str) -> None:
    assert words in refusal(architecture)


def test_what_wrote_the_file_matters() -> None:
    plain = chain(SEQUENCE, convolution("Conv1D", 2, 3))
    assert "older than 2" in refusal(plain, "1.2.2")
    assert "older than 2" in refusal(plain, "unknown")
    assert "flips kernels" in refusal(plain, backend="theano")


def test_inputs_that_are_sparse() -> None:
    model = chain(FEATURES)
    model["config"]["layers"][0]["config"]["sparse"] = True
    assert "sparse or ragged" in refusal(model)


DENSE = layer("Dense", "d", units=2, use_bias=True)


def linked(change: Any) -> dict[str, Any]:
    """A sound functional model, changed by `change(config)`."""
    architecture = graph({"x": [4, 3], "y": [4, 3]}, [(DENSE, ["x"]), (layer("Add", "sum"), ["d", "d"])], ["sum"])
    change(architecture["config"])
    return architecture


def set_node(value: Any) -> Any:
    def change(config: dict[str, Any]) -> None:
        config["layers"][2]["inbound_nodes"] = value

    return change


TENSOR = {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config["layers"].append(config["layers"][2]), "two layers of one name"),
        (lambda config: config.update(input_layers=[["d", 0, 0]]), "which is none"),
        (lambda config: config.update(input_layers=[["z", 0, 0]]), "which is none"),
        (lambda config: config.update(input_layers={}), "that are no list"),
        (lambda config: config.update(output_layers=[["z", 0, 0]]), "that it does not have"),
        (lambda config: config.update(output_layers=[["d", 0, 3]]), "outputs that nothing makes"),
        (lambda config: config.update(output_layers=[["d", 0]]), "in a way that is not known"),
        (set_node(None), "does not say what its layer d takes"),
        (set_node([[]]), "called in a way that is not known"),
        (set_node([["d"]]), "not known"),
        (set_node([[["d", 0, 0, {}]]]), "wait for each other"),
        (set_node([[["x", 0, 1, {}]]]), "with an output that no layer has"),
        (set_node([[["z", 0, 0, {}]]]), "that it does not have"),
        (set_node([[["x", 0, 0, 5]]]), "called in a way that is not known"),
        (set_node([[["x", 0, 0, {"training": True}]]]), "training=True"),
        (set_node([[["x", 0, 0, {"initial_state": ["y", 0, 0]}]]]), "initial_state"),
        (set_node([[["x", 0, 0, {}], ["y", 0, 0, {}]]]), "called with 2 tensors"),
        (set_node([{"args": [TENSOR]}]), "called in a way that is not known"),
        (set_node([{"args": [TENSOR, 2.0], "kwargs": {}}]), "further arguments"),
        (set_node([{"args": [], "kwargs": {}}]), "further arguments"),
        (set_node([{"args": [2.0], "kwargs": {}}]), "something else than tensors"),
        (set_node([{"args": [{"class_name": "__keras_tensor__"}], "kwargs": {}}]), "something else than tensors"),
        (set_node([{"args": [TENSOR], "kwargs": {"mask": TENSOR}}]), "mask="),
    ],
)
def test_graphs_that_are_refused(change: Any, words: str) -> None:
    assert words in refusal(linked(change))


def test_a_mask_from_elsewhere() -> None:
    """What makes the mask is an operation, but the input has none of its own."""
    architecture = graph({"x": [4, 3]}, [(recurrent("LSTM", 2), ["x"])], ["lstm"])
    made = {"class_name": "__keras_tensor__", "config": {"keras_history": ["any", 0, 0]}}
    entries = architecture["config"]["layers"]
    entries[1]["inbound_nodes"] = [{"args": [TENSOR], "kwargs": {"mask": made}}]
    operation = {"module": "keras.src.ops.numpy", "class_name": "Any", "config": {"name": "any"}, "name": "any"}
    entries.append({**operation, "inbound_nodes": [{"args": [TENSOR], "kwargs": {}}]})
    assert "not that of its input" in refusal(architecture, "3.15.1")
    architecture["config"]["output_layers"] = [["any", 0, 0]]
    assert "any (Any) is of a class that is not known" in refusal(architecture, "3.15.1")


def test_tensors_that_do_not_fit_each_other() -> None:
    nodes = [(layer("Add", "sum"), ["x", "y"])]
    assert "merges tensors that do not fit" in refusal(graph({"x": [4, 3], "y": [4, 2]}, nodes, ["sum"]))
    nodes = [(layer("Concatenate", "sum", axis=1), ["x", "y"])]
    assert "joins tensors that do not fit" in refusal(graph({"x": [4, 3], "y": [4, 2]}, nodes, ["sum"]))
    assert "joins tensors that do not fit" in refusal(graph({"x": [4, 3], "y": [4]}, nodes, ["sum"]))
    nodes = [(layer("Subtract", "sum"), ["x", "x", "x"])]
    assert "subtracts 3 tensors" in refusal(graph({"x": [4, 3]}, nodes, ["sum"]))
    shared = graph({"x": [4, 3], "y": [4, 2]}, [(DENSE, ["x"])], ["d"])
    shared["config"]["layers"][2]["inbound_nodes"].append([["y", 0, 0, {}]])
    assert "different widths" in refusal(shared)


def test_models_that_are_called_with_the_wrong_number_of_tensors() -> None:
    for kind, words in (("Sequential", "takes one"), ("Model", "takes 1")):
        inner = chain(FEATURES) if kind == "Sequential" else graph({"z": FEATURES}, [(DENSE, ["z"])], ["d"])
        inner["config"]["name"] = "inner"
        assert words in refusal(graph({"x": FEATURES, "y": FEATURES}, [(inner, ["x", "y"])], ["inner"]))
    with pytest.raises(CheckpointError, match="takes 1 inputs, not 2"):
        make_model(chain(FEATURES, DENSE))(np.zeros((1, 3)), np.zeros((1, 3)))


def test_models_within_models_without_end() -> None:
    model = chain(FEATURES, DENSE)
    for _ in range(30):
        model = chain(FEATURES, model)
    assert "nested more than" in refusal(model)


def test_models_whose_calls_multiply() -> None:
    model = chain(FEATURES, layer("Dense", units=3, use_bias=True))
    for level in range(20):
        inner = {**model, "config": {**model["config"], "name": f"m{level}"}, "name": f"m{level}"}
        nodes = [[["x", 0, 0, {}]], [[f"m{level}", 1, 0, {}]]]
        outer = graph({"x": FEATURES}, [], ["x"])
        outer["config"]["layers"].append({**inner, "inbound_nodes": nodes})
        outer["config"]["output_layers"] = [[f"m{level}", 2, 0]]
        model = outer
    assert "calls its layers more than" in refusal(model)


class ScaleByNumber(Layer):
    """A layer of one's own, as the documentation has it."""

    def build(self, shape: Any) -> Any:
        self.add_weight("factor", (shape[-1],))
        return shape

    def forward(self, x: Any) -> Any:
        return x * self.factor


def test_layers_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(OWN_LAYERS, "ScaleByNumber", raising=False)
    architecture = chain(FEATURES, {**layer("Custom>ScaleByNumber"), "module": "my_program"})
    assert '@register_layer("ScaleByNumber")' in refusal(architecture)
    monkeypatch.setitem(OWN_LAYERS, "ScaleByNumber", ScaleByNumber)
    model = fill(ConvertedModel(architecture, "2.15.0"))
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(model(x).numpy()[1], model.network.layers[0].factor.numpy())
    assert not covers(model)
    with pytest.raises(CheckpointError, match="no formula"):
        run(model, [x])


def test_registering() -> None:
    assert register_layer("ScaleByNumber")(ScaleByNumber) is ScaleByNumber
    assert OWN_LAYERS.pop("ScaleByNumber") is ScaleByNumber
    with pytest.raises(CheckpointError, match="Dense is a layer of Keras"):
        register_layer("Dense")


def test_every_layer_has_a_second_computation() -> None:
    assert LAYERS.keys() - {"Sequential", "Functional", "Model"} == FORMULAS.keys()


def test_an_unknown_name_of_a_layer() -> None:
    with pytest.raises(CheckpointError, match="no layer bass"):
        make_model(chain(FEATURES)).layer("bass")


WHOLE = graph(
    {"x": [4, 3]},
    [
        (layer("Bidirectional", "both", layer=recurrent("GRU", 2), merge_mode="sum"), ["x"]),
        (convolution("Conv1D", 2, 2, padding="same"), ["both"]),
        (tcn(), ["conv1d"]), (norm(), ["tcn"]), (layer("Flatten", "flat"), ["batchnormalization"]),
    ],
    ["flat"],
)
LEAVES = [
    None, 0, -1, 7, 10**30, 10**400, 1.5, float("nan"), True, "", "x", [], [1], [[1]], {}, {"class_name": "Dense"}
]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_configuration_is_refused_or_read(data: st.DataObject) -> None:
    model = copy.deepcopy(WHOLE)
    place: Any = model
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.integers(0, 5)) == 0:
            break
        place = place[key]
    place[key] = data.draw(st.sampled_from(LEAVES))
    try:
        ConvertedModel(model, "2.15.0")
    except CheckpointError as error:
        assert "\n" not in str(error)


def test_the_whole_of_it_is_sound() -> None:
    assert ConvertedModel(json.loads(json.dumps(WHOLE)), "2.15.0").output_shapes == [(None, 12)]
