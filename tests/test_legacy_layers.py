"""Every layer against the second computation, over widths, strides, dilations, paddings, masks and merges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.legacy.layers.activations import FUNCTIONS
from hoyomusic.legacy.layers.convolution import same_padding
from tests.keras_models import chain, convolution, differ, graph, layer, make_model, norm, recurrent

LIMIT = 1e-5
VERSIONS = ("2.0.8", "2.2.4", "2.2.4-tf", "2.15.0", "3.15.1")
quickly = settings(max_examples=40, deadline=None)
versions = st.sampled_from(VERSIONS)
seeds = st.integers(0, 2**16)


def values(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def gapped_ids(seed: int, batch: int, length: int, count: int = 6) -> np.ndarray:
    """Ids with zeros in front, inside and behind; some rows without any other, some without zeros."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(1, count, (batch, length))
    ids[generator.random((batch, length)) < 0.35] = 0
    ids[0] = 0
    ids[-1] = np.maximum(ids[-1], 1)
    return ids.astype(np.int32)


def embedding(width: int = 5, masks: bool = True) -> dict[str, Any]:
    return layer("Embedding", input_dim=6, output_dim=width, mask_zero=masks)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*FUNCTIONS, "hard_sigmoid", None])
def test_activations(name: str | None, version: str) -> None:
    model = make_model(chain([7], layer("Activation", activation=name)), version)
    # Powers are so large that float32 has no place for five digits behind the point.
    assert differ(model, (1 if name == "exponential" else 4) * values(1, 50, 7)) <= LIMIT


def test_hard_sigmoid_is_what_its_version_means() -> None:
    x = np.array([[-2.75, -1.0, 0.0, 1.0, 2.75]], np.float32)
    entry = chain([5], layer("Activation", activation="hard_sigmoid"))
    old, new = (make_model(entry, version)(x).numpy()[0] for version in ("2.15.0", "3.0.0"))
    assert old == pytest.approx([0.0, 0.3, 0.5, 0.7, 1.0])
    assert new == pytest.approx([0.25 / 6, 2 / 6, 0.5, 4 / 6, 5.75 / 6])


@pytest.mark.parametrize(
    "described",
    [
        {"class_name": "LeakyReLU", "config": {"name": "leaky", "negative_slope": 0.1}, "module": "keras.layers"},
        {"class_name": "function", "config": "hard_sigmoid", "module": "builtins", "registered_name": "function"},
        {"class_name": "ELU", "config": {"name": "elu", "alpha": 0.4}},
    ],
)
def test_activations_described_at_length(described: dict[str, Any]) -> None:
    dense = layer("Dense", units=4, use_bias=True, activation=described)
    assert differ(make_model(chain([3], dense), "3.15.1"), 3 * values(2, 8, 3)) <= LIMIT


@pytest.mark.parametrize(
    "entry",
    [
        layer("ReLU", max_value=None, negative_slope=0.0, threshold=0.0),
        layer("ReLU", max_value=1.5, negative_slope=0.25, threshold=0.5),
        layer("ReLU", max_value={"type": "ndarray", "value": 0.75}),
        layer("LeakyReLU", alpha=0.3),
        layer("LeakyReLU", alpha={"type": "ndarray", "value": 0.25}),
        layer("LeakyReLU", negative_slope=0.2),
        layer("ELU", alpha=0.7),
        layer("ThresholdedReLU", theta=0.6),
        layer("PReLU", shared_axes=None),
        layer("PReLU", shared_axes=[1]),
        layer("Softmax", axis=-1),
        layer("Softmax", axis=1),
        layer("Softmax", axis=[1, 2]),
        layer("Rescaling", scale=1 / 127.5, offset=-1),
        *(layer(kind, rate=0.5) for kind in ("Dropout", "SpatialDropout1D", "GaussianDropout", "AlphaDropout")),
        layer("GaussianNoise", stddev=3.0),
        layer("ActivityRegularization", l1=0.1),
    ],
)
def test_layers_that_only_change_values(entry: dict[str, Any]) -> None:
    assert differ(make_model(chain([4, 3], entry)), 2 * values(3, 6, 4, 3)) <= LIMIT


@quickly
@given(
    st.lists(st.integers(1, 4), max_size=2), st.integers(1, 6), st.integers(1, 6), st.booleans(), seeds,
    st.sampled_from(["relu", "softmax", "gelu", None]),
)
def test_dense(axes: list[int], width: int, units: int, biased: bool, seed: int, activation: str | None) -> None:
    entry = layer("Dense", units=units, use_bias=biased, activation=activation)
    assert differ(make_model(chain([*axes, width], entry), seed=seed), values(seed, 3, *axes, width)) <= LIMIT


def test_embeddings_take_ids_of_any_kind() -> None:
    model = make_model(chain([4], embedding(masks=False)))
    ids = np.array([[0, 1, 5, 3]])
    for kind in (np.int32, np.int64, np.float32, np.uint8):
        assert np.array_equal(model(ids.astype(kind)).numpy(), model.layer("embedding_0").embeddings[ids].numpy())


@quickly
@given(
    st.sampled_from(["SimpleRNN", "LSTM", "GRU", "CuDNNLSTM", "CuDNNGRU"]),
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 6),
    st.fixed_dictionaries(
        {
            "return_sequences": st.booleans(), "go_backwards": st.booleans(), "use_bias": st.booleans(),
            "reset_after": st.booleans(), "recurrent_activation": st.sampled_from(["sigmoid", "hard_sigmoid", "tanh"]),
            "activation": st.sampled_from(["tanh", "relu", "softsign", "linear"]),
            "zero_output_for_mask": st.booleans(),
        }
    ),
    st.booleans(), versions, seeds,
)
def test_recurrent_layers(
    kind: str, width: int, units: int, length: int, options: dict[str, Any], masked: bool, version: str, seed: int
) -> None:
    architecture = chain([length], embedding(width, masked), recurrent(kind, units, **options))
    assert differ(make_model(architecture, version, seed), gapped_ids(seed, 5, length)) <= LIMIT


@quickly
@given(
    st.sampled_from(["SimpleRNN", "LSTM", "GRU", "CuDNNLSTM", "CuDNNGRU"]),
    st.sampled_from(["concat", "sum", "ave", "mul"]),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(), versions, seeds,
)
def test_bidirectional(
    kind: str, mode: str, sequences: bool, flipped: bool, masked: bool, described: bool, version: str, seed: int
) -> None:
    inner = recurrent(kind, 3, return_sequences=sequences, go_backwards=flipped, reset_after=seed % 2 == 0)
    both = layer("Bidirectional", layer=inner, merge_mode=mode)
    if described:
        twin = {**inner["config"], "name": "other", "go_backwards": not flipped}
        both["config"]["backward_layer"] = {"class_name": kind, "config": twin}
    after = [recurrent("LSTM", 2, return_sequences=False)] if sequences else []
    model = make_model(chain([6], embedding(4, masked), both, *after), version, seed)
    assert differ(model, gapped_ids(seed, 5, 6)) <= LIMIT


def test_bidirectional_without_a_merge_has_two_outputs() -> None:
    both = layer("Bidirectional", "both", layer=recurrent("GRU", 3), merge_mode=None)
    joined = layer("Concatenate", "joined", axis=-1)
    architecture = graph({"x": [4, 2]}, [(both, ["x"]), (joined, ["both", "both"])], ["joined"])
    architecture["config"]["layers"][2]["inbound_nodes"] = [[["both", 0, 0, {}], ["both", 0, 1, {}]]]
    model = make_model(architecture)
    assert model.output_shapes == [(None, 4, 6)]
    assert differ(model, values(1, 3, 4, 2)) <= LIMIT


def test_masked_steps_repeat_the_output_or_give_zeros() -> None:
    ids = np.array([[0, 1, 0, 2, 0]], np.int32)
    plain = make_model(chain([5], embedding(3), recurrent("LSTM", 2)))(ids)[0]
    zeroed = make_model(chain([5], embedding(3), recurrent("LSTM", 2, zero_output_for_mask=True)))(ids)[0]
    assert not plain[0].any() and plain[1].any()
    assert (plain[2] == plain[1]).all() and (plain[4] == plain[3]).all() and (plain[3] != plain[1]).any()
    assert not zeroed[[0, 2, 4]].any() and (zeroed[[1, 3]] == plain[[1, 3]]).all()


@pytest.mark.parametrize(
    "between",
    [
        [layer("Dropout", rate=0.5)],
        [norm()],
        [norm("LayerNormalization")],
        [layer("Activation", activation="tanh")],
        [layer("Dense", units=3, use_bias=True)],
        [layer("LeakyReLU", alpha=0.2)],
        [layer("PReLU", shared_axes=[1])],
        [layer("TimeDistributed", layer=layer("Dense", units=4, use_bias=False))],
        [layer("Bidirectional", layer=recurrent("GRU", 2), merge_mode="sum")],
        [recurrent("GRU", 3), recurrent("SimpleRNN", 4)],
        [convolution("Conv1D", 3, 2, padding="causal")],
        [layer("Permute", dims=[2, 1]), layer("Permute", dims=[2, 1])],
    ],
    ids=lambda entries: entries[0]["class_name"],
)
def test_masks_go_on_or_end(between: list[dict[str, Any]]) -> None:
    model = make_model(chain([7], embedding(4), *between, recurrent("LSTM", 3, return_sequences=False)))
    assert differ(model, gapped_ids(1, 6, 7)) <= LIMIT


@pytest.mark.parametrize("keep", [True, False])
def test_a_masked_mean_is_over_what_is_shown(keep: bool) -> None:
    pooled = layer("GlobalAveragePooling1D", keepdims=keep)
    ids = np.maximum(gapped_ids(3, 4, 5), np.array([[1, 0, 0, 0, 0]], np.int32))
    model = make_model(chain([5], embedding(3), pooled))
    assert differ(model, ids) <= LIMIT
    rows = model.layer("embedding_0").embeddings.numpy()
    shown = rows[ids[1][ids[1] != 0]].mean(0)
    assert np.allclose(model(ids).numpy()[1].reshape(-1), shown, atol=1e-6)


def test_masking_by_value() -> None:
    x = values(1, 4, 6, 2)
    x[1, 2:4] = x[2, 0] = x[3] = 0.0
    x[0, 1, 0] = 0.0
    model = make_model(chain([6, 2], layer("Masking", mask_value=0.0), recurrent("GRU", 3, return_sequences=False)))
    assert differ(model, x) <= LIMIT


@quickly
@given(
    st.sampled_from(["Conv1D", "SeparableConv1D", "DepthwiseConv1D"]),
    st.integers(4, 12), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3),
    st.sampled_from(["valid", "same", "causal"]), st.booleans(), st.booleans(), versions, seeds,
)
def test_convolutions_over_time(
    kind: str, length: int, width: int, size: int, step: int, padding: str, dilated: bool, biased: bool,
    version: str, seed: int,
) -> None:
    if (size - 1) * (step if dilated else 1) + 1 > length:
        padding = "same"
    options = {"dilation_rate": [step]} if dilated else {"strides": [step]}
    entry = convolution(kind, 3, [size], padding=padding, use_bias=biased, activation="tanh", **options)
    if kind == "SeparableConv1D":
        entry["config"]["depth_multiplier"] = 1 + seed % 2
    model = make_model(chain([length, width], entry), version, seed)
    assert differ(model, values(seed, 2, length, width)) <= LIMIT


@quickly
@given(
    st.sampled_from(["Conv2D", "SeparableConv2D", "DepthwiseConv2D"]),
    st.tuples(st.integers(5, 8), st.integers(5, 8)), st.integers(1, 3),
    st.tuples(st.integers(1, 4), st.integers(1, 4)), st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from(["valid", "same"]), st.booleans(), versions, seeds,
)
def test_convolutions_over_images(
    kind: str, sides: tuple[int, int], width: int, sizes: tuple[int, int], steps: tuple[int, int], padding: str,
    biased: bool, version: str, seed: int,
) -> None:
    entry = convolution(kind, 2, list(sizes), padding=padding, use_bias=biased, strides=list(steps), activation="elu")
    if kind == "SeparableConv2D":
        entry["config"]["depth_multiplier"] = 1 + seed % 3
    model = make_model(chain([*sides, width], entry), version, seed)
    assert differ(model, values(seed, 2, *sides, width)) <= LIMIT


@pytest.mark.parametrize(("kind", "rank"), [("Conv1D", 1), ("Conv2D", 2)])
def test_grouped_convolutions(kind: str, rank: int) -> None:
    entry = convolution(kind, 6, [2] * rank, groups=2, padding="same", dilation_rate=[2] * rank)
    assert differ(make_model(chain([*[7] * rank, 4], entry)), values(1, 3, *[7] * rank, 4)) <= LIMIT


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 5), st.integers(1, 4))
@settings(deadline=None)
def test_same_padding_leaves_a_place_for_each_stride(length: int, size: int, stride: int, dilation: int) -> None:
    before, after = same_padding(length, size, stride, dilation)
    assert 0 <= after - before <= 1 and before >= 0
    reach = (size - 1) * dilation + 1
    assert (length + before + after - reach) // stride + 1 == -(-length // stride)


@quickly
@given(
    st.sampled_from(["MaxPooling", "AveragePooling"]), st.sampled_from([1, 2]), st.integers(1, 4),
    st.one_of(st.none(), st.integers(1, 3)), st.sampled_from(["valid", "same"]), st.integers(4, 9), seeds,
)
def test_pooling(kind: str, rank: int, size: int, stride: int | None, padding: str, side: int, seed: int) -> None:
    strides = None if stride is None else [stride] * rank
    entry = layer(f"{kind}{rank}D", pool_size=[size] * rank, strides=strides, padding=padding)
    shape = [side, side + 1, 3][-rank - 1 :]
    assert differ(make_model(chain(shape, entry)), values(seed, 2, *shape) - 3) <= LIMIT


@pytest.mark.parametrize("kind", ["GlobalMaxPooling", "GlobalAveragePooling"])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("keep", [True, False])
def test_global_pooling(kind: str, rank: int, keep: bool) -> None:
    shape = [*[5] * rank, 3]
    assert differ(make_model(chain(shape, layer(f"{kind}{rank}D", keepdims=keep))), values(1, 4, *shape)) <= LIMIT


@quickly
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data(), st.booleans(), st.booleans(), seeds)
def test_norms(shape: list[int], data: st.DataObject, scaled: bool, centred: bool, seed: int) -> None:
    axis = data.draw(st.sampled_from([-1, *range(1, len(shape) + 1)]))
    epsilon = data.draw(st.sampled_from([1e-3, 1e-5, 0.1]))
    options = {"epsilon": epsilon, "scale": scaled, "center": centred}
    axes = data.draw(st.sampled_from([axis, [axis]]))
    model = make_model(chain(shape, norm(axis=axes, **options)), seed=seed)
    assert differ(model, 3 * values(seed, 4, *shape)) <= LIMIT
    chosen = data.draw(st.sampled_from([[axis], list(range(1, len(shape) + 1))]))
    layered = make_model(chain(shape, norm("LayerNormalization", axis=chosen, **options)), seed=seed)
    assert differ(layered, 3 * values(seed, 4, *shape)) <= 2 * LIMIT


@pytest.mark.parametrize(
    ("shape", "entry"),
    [
        ([3, 4, 2], layer("Flatten", data_format="channels_last")),
        ([6], layer("Flatten")),
        ([4, 6], layer("Reshape", target_shape=[3, -1, 2])),
        ([4, 6], layer("Reshape", target_shape=[8, 3])),
        ([2, 3, 4], layer("Permute", dims=[3, 1, 2])),
        ([5], layer("RepeatVector", n=3)),
        ([4, 2], layer("ZeroPadding1D", padding=2)),
        ([4, 2], layer("ZeroPadding1D", padding=[1, 3])),
        ([4, 5, 2], layer("ZeroPadding2D", padding=[[1, 0], [2, 3]])),
        ([4, 5, 2], layer("ZeroPadding2D", padding=[1, 2])),
        ([7, 2], layer("Cropping1D", cropping=[1, 2])),
        ([7, 6, 2], layer("Cropping2D", cropping=[[1, 2], [0, 3]])),
        ([4, 2], layer("UpSampling1D", size=3)),
        ([3, 2, 2], layer("UpSampling2D", size=[2, 3], interpolation="nearest")),
    ],
    ids=lambda value: value["class_name"] if isinstance(value, dict) else str(value),
)
def test_layers_that_move_values(shape: list[int], entry: dict[str, Any]) -> None:
    model = make_model(chain(shape, entry))
    assert differ(model, values(1, 3, *shape)) == 0
    assert None not in model.output_shapes[0][1:]


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract"])
@pytest.mark.parametrize("others", [["b"], ["c"], ["d"], ["b", "c", "d"]])
def test_merging_raises_axes_and_repeats(kind: str, others: list[str]) -> None:
    if kind == "Subtract" and len(others) > 1:
        pytest.skip("subtracts two tensors only")
    inputs: dict[str, list[int | None]] = {"a": [4, 3], "b": [4, 3], "c": [1, 3], "d": [3]}
    taken = {name: inputs[name] for name in ("a", *others)}
    model = make_model(graph(taken, [(layer(kind, "merged"), list(taken))], ["merged"]))
    assert model.output_shapes == [(None, 4, 3)]
    assert differ(model, *(values(seed, 2, *shape) for seed, shape in enumerate(taken.values()))) <= LIMIT


@pytest.mark.parametrize("axis", [-1, 1, 2, -2])
def test_concatenation(axis: int) -> None:
    shape = [4, 3]
    other = list(shape)
    other[axis - 1 if axis > 0 else axis] = 5
    joined = layer("Concatenate", "joined", axis=axis)
    model = make_model(graph({"a": shape, "b": other}, [(joined, ["a", "b"])], ["joined"]))
    assert differ(model, values(1, 2, *shape), values(2, 2, *other)) == 0
    assert None not in model.output_shapes[0][1:]


@pytest.mark.parametrize("version", ["2.2.4", "2.15.0", "3.15.1"])
@pytest.mark.parametrize("kind", ["Add", "Maximum", "Concatenate"])
@pytest.mark.parametrize("second", ["masked", "plain"])
def test_masks_that_are_merged(version: str, kind: str, second: str) -> None:
    nodes = [
        (layer("Embedding", "one", input_dim=6, output_dim=4, mask_zero=True), ["a"]),
        (layer("Embedding", "two", input_dim=6, output_dim=4, mask_zero=second == "masked"), ["b"]),
        (layer(kind, "merged", axis=-1), ["one", "two"]),
        (recurrent("LSTM", 3), ["merged"]),
    ]
    model = make_model(graph({"a": [6], "b": [6]}, nodes, ["lstm"]), version)
    assert differ(model, gapped_ids(1, 5, 6), gapped_ids(2, 5, 6)) <= LIMIT


@quickly
@given(
    st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 2),
    st.sampled_from(["causal", "same"]), st.sampled_from(["use_batch_norm", "use_layer_norm", "use_weight_norm", None]),
    st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["relu", "tanh"]), seeds,
)
def test_temporal_convolution_networks(
    filters: int, size: int, dilations: list[int], stacks: int, padding: str, normed: str | None, skips: bool,
    sequences: bool, flipped: bool, activation: str, seed: int,
) -> None:
    entry = layer(
        "TCN", nb_filters=filters, kernel_size=size, dilations=dilations, nb_stacks=stacks, padding=padding,
        use_skip_connections=skips, return_sequences=sequences, go_backwards=flipped, activation=activation,
        dropout_rate=0.2, return_state=False, **({normed: True} if normed else {}),
    )
    model = make_model(chain([9, 3], entry), seed=seed)
    assert differ(model, values(seed, 2, 9, 3)) <= 2 * LIMIT


def test_a_network_of_blocks_of_different_widths() -> None:
    entry = layer(
        "TCN", nb_filters=[2, 4, 3], kernel_size=2, dilations=[1, 2, 4], nb_stacks=1, padding="causal",
        use_skip_connections=False, return_sequences=True, activation="relu",
    )
    assert differ(make_model(chain([6, 2], entry)), values(1, 2, 6, 2)) <= LIMIT


def test_time_distributed_layers_of_all_kinds() -> None:
    dense = layer("Dense", units=3, use_bias=True)
    inner = chain([5, 4, 2], convolution("Conv2D", 3, 2, padding="same"), layer("Flatten"), dense)
    for entry, shape in (
        (inner, [4, 5, 4, 2]), (recurrent("LSTM", 3, return_sequences=False), [4, 5, 2]), (norm(), [4, 3]),
        (layer("GlobalMaxPooling1D"), [4, 5, 2]), (layer("Flatten"), [4, 5, 2]),
    ):
        model = make_model(chain(shape, layer("TimeDistributed", layer=entry)))
        assert differ(model, values(1, 2, *shape)) <= LIMIT


@pytest.mark.parametrize("length", [None, 6])
def test_lengths_that_only_a_call_tells(length: int | None) -> None:
    model = make_model(
        chain([length, 3], convolution("Conv1D", 4, 3, strides=2, padding="same"), recurrent("GRU", 3), norm())
    )
    assert model.input_shapes == [(None, length, 3)]
    for steps in (6,) if length else (3, 6, 9):
        assert differ(model, values(steps, 2, steps, 3)) <= LIMIT


def described(name: str, number: int = 0) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, number, 0]}}


def test_keras_3_lists_what_makes_a_mask_among_the_layers() -> None:
    plain = graph({"x": [6]}, [(embedding(4), ["x"]), (recurrent("LSTM", 3), ["embedding"])], ["lstm"])
    listed = graph({"x": [6]}, [(embedding(4), ["x"]), (recurrent("LSTM", 3), ["embedding"])], ["lstm"])
    entries = listed["config"]["layers"]
    entries[1]["inbound_nodes"] = [{"args": [described("x")], "kwargs": {}}]
    mask = {"training": False, "mask": described("not_equal")}
    entries[2]["inbound_nodes"] = [{"args": [described("embedding")], "kwargs": mask}]
    entries.insert(2, {
        "module": "keras.src.ops.numpy", "class_name": "NotEqual", "config": {"name": "not_equal"}, "name": "not_equal",
        "inbound_nodes": [{"args": [described("x"), 0], "kwargs": {}}],
    })
    ids = gapped_ids(1, 4, 6)
    first, second = make_model(plain, "3.15.1"), make_model(listed, "3.15.1")
    assert np.array_equal(first(ids).numpy(), second(ids).numpy())
    assert differ(second, ids) <= LIMIT
    assert [row.kind for row in second.description] == ["Embedding", "LSTM"]
