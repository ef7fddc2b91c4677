"""Fusion of operations into engine layers."""

from __future__ import annotations

import pytest

from pynq_train.errors import UnsupportedModel
from pynq_train.graph import (
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Graph,
    MaxPool,
    MaxPool2x2,
    Op,
    Relu,
    Relu6,
    zoo,
)
from pynq_train.graph.activation import Activation
from pynq_train.layers import fuse, kinds


def build(*layers: Op) -> Graph:
    return Graph.build((2, 9, 9), layers)


def test_one_x_counts_as_published() -> None:
    layers = fuse(zoo.one_x())
    assert [layer.name for layer in layers] == [f"conv{i}" for i in range(1, 7)] + ["dense1"]
    assert [layer.pool for layer in layers] == [False, True] * 3 + [False]
    assert layers[-1].weight_shape == (10, 1024) and layers[-1].in_shape == (64, 4, 4)
    macs = [layer.macs_per_image for layer in layers]
    assert 3 * sum(macs) - macs[0] == 29_227_008


def test_lenet5_parameter_count() -> None:
    total = 0
    for layer in fuse(zoo.lenet5()):
        total += layer.fan_in * layer.out_channels + layer.out_channels
    assert total == 61_706


def test_relu_and_pool_commute() -> None:
    a = fuse(build(Conv(4, 3), Relu(), MaxPool2x2(), Dense(3)))
    b = fuse(build(Conv(4, 3), MaxPool2x2(), Relu(), Dense(3)))
    assert a == b and a[0].activation is Activation.RELU and a[0].pool
    assert a[0].out_shape_before_pool == (4, 7, 7) and a[0].out_shape == (4, 3, 3)


def test_padding_below_and_right_follows_the_output_size() -> None:
    first, _ = fuse(build(Conv(4, 4, stride=2, padding="same"), Dense(3)))
    assert (first.pad_top, first.pad_bottom) == (1, 2)
    assert (first.pad_left, first.pad_right) == (1, 2)
    first, _ = fuse(build(Conv(4, 2, stride=4, padding=1), Dense(3)))
    assert (first.pad_top, first.pad_bottom, first.out_shape) == (1, 0, (4, 3, 3))


def test_dense_after_dense_and_one_pixel_convolution_as_logits() -> None:
    layers = fuse(build(Dense(8), Relu(), Dense(3)))
    assert layers[1].in_shape == (8, 1, 1) and layers[1].weight_shape == (3, 8)
    assert fuse(build(Conv(3, 9)))[0].weight_shape == (3, 2, 9, 9)


def test_pooling_that_does_not_fit_behind_a_convolution_is_a_layer() -> None:
    layers = fuse(build(Conv(4, 3, padding=1), Relu(), MaxPool(2, 2), MaxPool2x2(), Dense(3)))
    assert [str(layer.kind) for layer in layers] == ["conv", "pool", "dense"]
    assert layers[0].pool and layers[1].out_shape == (4, 2, 2)
    assert (layers[1].kernel, layers[1].stride, layers[1].pad_top) == ((2, 2), (2, 2), 0)
    one = fuse(build(MaxPool(3, 2, "same"), Conv(4, 3), MaxPool(3, 1, 1), Dense(3)))
    assert [str(layer.kind) for layer in one] == ["pool", "conv", "pool", "dense"]
    assert one[0].out_shape == (2, 5, 5) and (one[0].pad_top, one[0].pad_bottom) == (1, 0)
    assert not one[2].has_parameters and one[2].macs_per_image == 0


def test_a_relu_behind_pooling_is_taken_in_front_of_it() -> None:
    layers = fuse(build(Conv(4, 3), MaxPool(3, 2), MaxPool(2, 1), Relu6(), Dense(3)))
    assert [(str(layer.kind), layer.activation) for layer in layers] == [
        ("conv", Activation.RELU6), ("pool", Activation.NONE), ("pool", Activation.NONE),
        ("dense", Activation.NONE)]
    assert layers[3].sources == (2,)


def test_a_mean_is_a_layer_that_yields_one_pixel() -> None:
    mean = fuse(build(Conv(4, 3), Relu(), GlobalAvgPool(), Dense(3)))[1]
    assert mean.kind == kinds.MEAN and mean.in_shape == (4, 7, 7)
    assert mean.out_shape == mean.out_shape_before_pool == (4, 1, 1)


REFUSED: list[tuple[tuple[Op, ...], str]] = [
    ((Relu(), Dense(3)), r"operation 'relu1' \(relu\) follows the input, .*the engine runs"),
    ((MaxPool2x2(), Relu(), Dense(3)), r"'relu1' \(relu\) follows pool1.*put it in front of"),
    ((Conv(4, 3), Relu(), MaxPool(3, 2), Relu(), Dense(3)), r"'relu2' \(relu\) follows pool1"),
    ((MaxPool(4, 2), MaxPool(3, 4), Dense(3)),
     r"pool1, pool2 \(maxpool with such windows\): use a kernel of 1, 2 or 3 and a stride of 1, 2"),
    ((Conv(4, 12, padding=8), AvgPool(2, 5), Conv(4, 13, padding=9), MaxPool(3, 4), Dense(3)),
     r"has 4 operations .*: conv1, conv2 \(conv with such windows\): use a kernel of 1 to 11 .with "
     r"the gaps of a dilation. and a stride of 1 to 4; pool1 "
     r"\(avgpool with such windows\): use a kernel of 1 to 11 and .*; "
     r"pool2 \(maxpool with such windows\): use a kernel of 1, 2 or 3 and a stride of 1, 2 or 3$"),
    ((Conv(4, 3, stride=5), Dense(3)), r"has 1 operation that .*: conv1 \(conv with such"),
    ((Conv(4, 9), MaxPool(3, 1, 1), Dense(3)), r"'pool1' \(maxpool\) reads a map of one pixel"),
    ((Conv(4, 3), Relu(), Relu(), Dense(3)), r"'relu2' \(relu\) is the second relu of layer 'con"),
    ((Conv(4, 3), Flatten(), Relu(), Dense(3)), r"'relu1' \(relu\) follows a Flatten"),
    ((Flatten(), Conv(4, 1)), r"'conv1' \(conv\) reads a flattened map"),
    ((Conv(4, 3), Flatten()), r"'flatten1' \(flatten\) is the last operation"),
    ((Flatten(),), "is the last operation"),
]


@pytest.mark.parametrize(("layers", "text"), REFUSED, ids=[t for _, t in REFUSED])
def test_refused_with_a_sentence(layers: tuple[Op, ...], text: str) -> None:
    with pytest.raises(UnsupportedModel, match=text):
        fuse(build(*layers))


def test_all_that_the_engine_does_not_run_is_listed_at_once() -> None:
    """Limits of windows, and places where operations cannot stand."""
    graph = Graph.build((2, 20, 20), [
        BatchNorm(name="first"), Conv(4, 3, name="c"), Relu(), Relu(name="again"),
        Conv(4, 12, name="wide"), MaxPool(4, 1, name="large"), Dense(1, name="d")])
    with pytest.raises(UnsupportedModel) as caught:
        fuse(graph)
    text = str(caught.value)
    for part in ("network 'network' has 3 parts that the engine does not run: ",
                 "wide (conv with such windows): use a kernel of 1 to 11",
                 "large (maxpool with such windows): use a kernel of 1, 2 or 3",
                 "operation 'first' (batchnorm) follows the input",
                 "operation 'again' (relu) is the second relu of layer 'c'"):
        assert part in text, (part, text)
    joined = Graph.build((3, 8, 8), [
        Conv(4, 8, name="a", inputs=("input",)), Dense(8, name="b", inputs=("input",)),
        Concat(name="all", inputs=("a", "b")), Dropout(0.5, name="d")])
    with pytest.raises(UnsupportedModel, match=r"has 3 parts .*'all' \(concat\) joins vectors.*"
                                               "'d' must yield the outputs: expected no Dropout"):
        fuse(joined)
