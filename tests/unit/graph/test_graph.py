"""Graphs: shapes, naming, validation texts, JSON."""

from __future__ import annotations

import itertools
import json
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from pynq_train.errors import BadInput, UnknownName, UnsupportedModel
from pynq_train.graph import (
    AvgPool,
    Conv,
    Dense,
    Flatten,
    Graph,
    LayerParams,
    MaxPool,
    MaxPool2x2,
    Model,
    Op,
    Relu,
    Sequential,
    zoo,
)
from pynq_train.graph.windows import Window


def test_conv_sizes_follow_the_floor_rule() -> None:
    assert Conv(4, 3, stride=2, padding=1).out_shape((1, 8, 9)) == (4, 4, 5)
    assert Conv(4, 5, stride=4).out_shape((1, 28, 12)) == (4, 6, 2)
    assert Conv(4, 11, stride=3, padding=10).windows((1, 7, 7))[0].size == 6
    # The keyword spotter's first layer: 49 frames of 10 coefficients.
    assert Conv(64, (10, 4), 2, "same").out_shape((1, 49, 10)) == (64, 25, 5)
    assert Conv(4, (1, 9), (1, 2), (0, (8, 0))).out_shape((3, 1, 1000)) == (4, 1, 500)


def test_equal_windows_are_equal_operations() -> None:
    """Saved graphs of square kernels stay as they were, and lists of JSON become tuples."""
    assert Conv(4, (3, 3), (2, 2), ((1, 1), (1, 1))) == Conv(4, 3, 2, 1)
    assert Conv(4, [3, 5], padding=[1, [0, 2]]) == Conv(4, (3, 5), padding=(1, (0, 2)))  # type: ignore[list-item, arg-type]
    # Zeros before and behind both axes are not those of rows and of columns.
    assert Conv(4, 3, padding=((1, 0), (1, 0))).padding == ((1, 0), (1, 0))
    assert Conv(4, 3, padding=((1, 0), (1, 0))).windows((1, 5, 5)) == (Window(4, 1, 0),) * 2
    assert Conv(4, 3, padding=((1, 1), (0, 0))) == Conv(4, 3, padding=(1, 0))
    assert Conv(4, 3).kernel == 3 and type(Conv(4, True).kernel) is bool
    graph = Sequential((1, 9, 8)).conv(4, (3, 5), (1, 2), (1, (0, 2))).max_pool(
        (1, 2), (1, 2)).dense(3).build()
    assert Graph.from_json(graph.to_json()) == graph
    assert graph.shapes[:2] == ((4, 9, 3), (4, 9, 1))


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_same_padding(stride: int) -> None:
    for size, kernel in itertools.product(range(1, 20), range(1, 12)):
        window, _ = Conv(1, kernel, stride, "same").windows((1, size, size))
        assert window.size == -(-size // stride)
        assert 0 <= window.pad_after - window.pad_before <= 1
        assert window.pad_before < kernel
        padded = window.pad_before + size + window.pad_after
        reach = (window.size - 1) * stride + kernel
        assert padded == max(reach, size)


def test_names_are_given_in_order_and_flatten_is_added() -> None:
    graph = Graph.build((1, 8, 8), [Conv(4, 3), Relu(), Conv(4, 3, name="conv2"), Conv(4, 1),
                                    MaxPool2x2(), Dense(10)])
    assert [op.name for op in graph.ops] == [
        "conv1", "relu1", "conv2", "conv3", "pool1", "flatten1", "dense1"]
    assert graph.output_shape == (10, 1, 1) and graph.classes == 10


def test_a_graph_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        zoo.digits().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", zoo.names())
def test_json_round_trip(name: str) -> None:
    graph = zoo.get(name)
    assert Graph.from_json(graph.to_json()) == graph
    assert graph.summary().count("\n") == len(graph.ops)


def test_same_padding_survives_json() -> None:
    graph = Sequential((1, 8, 8)).conv(4, 3, 2, "same", bias=False, name="first").dense(3).build()
    assert Graph.from_json(graph.to_json()) == graph


BAD_LAYERS = [
    (Conv(0, 3), r"out_channels: expected an integer of at least 1, found 0"),
    (Conv(4, 0), r"kernel: expected an integer of at least 1, found 0"),
    (Conv(4, (3, 0)), r"kernel \(columns\): expected an integer of at least 1, found 0"),
    (Conv(4, (3, 5, 7)), r"kernel: expected one integer, or two: rows and columns, found"),  # type: ignore[arg-type]
    (Conv(4, (np.arange(2), np.arange(2))), r"kernel \(rows\): expected an integer"),
    (Conv(4, 3, (1, 2.5)), r"stride \(columns\): expected an integer .*found 2\.5"),  # type: ignore[arg-type]
    (Conv(4, (3, 5), padding=3), r"padding: expected an integer in 0\.\.2, found 3"),
    (Conv(4, (3, 5), padding=(3, 4)), r"padding \(rows\): expected an integer in 0\.\.2, found 3"),
    (Conv(4, (3, 5), padding=((0, 3), 4)), r"padding \(rows\) \(behind\): .*0\.\.2, found 3"),
    (MaxPool((2, 3), 1, ((2, 0), 0)), r"padding \(rows\) \(before\): .*0\.\.1, found 2"),
    (AvgPool((2, 3), 1, (0, 1.5)), r"padding \(columns\): expected an integer"),  # type: ignore[arg-type]
    (Conv(4, (9, 1)), r"the 9x1 kernel does not fit: .*at least 9 rows and 1 columns"),
    (Conv(4, 3, stride=0), r"stride: expected an integer of at least 1, found 0"),
    (Conv(4, 3, padding=3), r"padding: expected an integer in 0\.\.2, found 3"),
    (Conv(4, 3, padding="valid"), r"padding: expected an integer or 'same'"),  # type: ignore[arg-type]
    (Conv(4, 9), r"conv1: the 9x9 kernel does not fit: .*found 8x8"),
    (Conv(True, 3), r"out_channels: expected an integer .*found True"),
    (Conv(4, 3, bias=1), r"bias: expected True or False, found 1"),  # type: ignore[arg-type]
    (Dense(0), r"units: expected an integer of at least 1, found 0"),
    (Dense(2.5), r"units: expected an integer .*found 2\.5"),  # type: ignore[arg-type]
    (Conv(4, 3, name="a b"), r"name of a layer: expected letters.*found 'a b'"),
    ("conv", r"layer 1 of 'network': expected one of Conv, Dense.*found 'conv'"),
]


@pytest.mark.parametrize(("layer", "text"), BAD_LAYERS, ids=[t for _, t in BAD_LAYERS])
def test_bad_layer(layer: Op, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        Graph.build((1, 8, 8), [layer])


def test_pooling_a_single_pixel_is_refused() -> None:
    with pytest.raises(BadInput, match=r"pool1: 2x2 pooling: expected .*found 1x1"):
        Graph.build((1, 3, 3), [Conv(4, 3), MaxPool2x2()])


def test_duplicate_names_are_refused() -> None:
    with pytest.raises(BadInput, match="two layers are named 'a'"):
        Graph.build((1, 8, 8), [Conv(4, 3, name="a"), Conv(4, 3, name="a")])


def test_dense_without_flatten_is_refused_in_a_direct_graph() -> None:
    with pytest.raises(BadInput, match=r"put Flatten\(\) before it"):
        Graph((1, 8, 8), (Dense(10, name="d"),)).verify()


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 0), 7, (1, 8, 8.0), None])
def test_bad_input_shape(shape: Any) -> None:
    with pytest.raises(BadInput, match="input_shape"):
        Graph.build(shape, [Dense(10)])


def test_empty_network() -> None:
    with pytest.raises(BadInput, match="has no layers"):
        Graph.build((1, 8, 8), [])


def edited(change: str) -> Any:
    data = zoo.digits().to_dict()
    if change == "format":
        data["format"] = "other"
    elif change == "version":
        data["version"] = 99
    elif change == "missing":
        del data["ops"]
    elif change == "op":
        data["ops"][0]["op"] = "lstm"
    elif change == "field":
        data["ops"][0]["spread"] = 2
    elif change == "incomplete":
        del data["ops"][0]["kernel"]
    elif change == "type":
        data["ops"][0]["kernel"] = "3"
    return data


@pytest.mark.parametrize(("change", "text"), [
    ("format", "expected format 'pynq_train.graph', found 'other'"),
    ("version", "expected version 1 or 2, found 99"),
    ("missing", "found no ops"),
    ("op", "expected one of conv, dense.*found 'lstm'"),
    ("field", "found spread"),
    ("incomplete", "saved operation conv is incomplete"),
    ("type", "kernel: expected an integer"),
])
def test_malformed_saved_graph(change: str, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        Graph.from_json(json.dumps(edited(change)))


def test_invalid_json() -> None:
    with pytest.raises(BadInput, match="not valid JSON"):
        Graph.from_json("{")


def test_unknown_network_suggests_and_lists() -> None:
    text = ("one of 1x, autoencoder_640, autoencoder_conv, digits, ds_cnn, ds_cnn_s, lenet5, "
            ".*sensors_1d, unet_small, vgg16; did you mean 'lenet5'")
    with pytest.raises(UnknownName, match=text):
        zoo.get("lenet")


def test_flatten_is_idempotent() -> None:
    assert Flatten().out_shape((12, 1, 1)) == Flatten().out_shape((3, 2, 2)) == (12, 1, 1)


def test_unsupported_is_bad_input() -> None:
    assert issubclass(UnsupportedModel, BadInput)


@pytest.mark.parametrize(("change", "text"), [
    (lambda a: a.tolist(), "expected an array of real numbers, found list; convert it"),
    (lambda a: a + 0j, "expected an array of real numbers, found complex"),
    (lambda a: a.astype(object), "expected an array of real numbers, found object"),
    (lambda a: np.ma.masked_less(a, np.inf), "without masked values, found a masked array"),
    (lambda a: a.astype(np.float64) * 0 + 1e39, "expected finite numbers, found NaN or infinity"),
    (lambda a: a * np.nan, "expected finite numbers")])
def test_parameters_that_are_no_numbers(change: Any, text: str) -> None:
    graph = Graph.build((1, 2, 2), [Flatten(name="f"), Dense(2, name="d")], "net")
    good = np.ones((2, 4), np.float32)
    Model(graph, {"d": LayerParams(good.astype(np.int8), np.zeros(2))})
    with pytest.raises(BadInput, match=f"d: weight: .*{text}"):
        Model(graph, {"d": LayerParams(change(good), np.zeros(2, np.float32))})
