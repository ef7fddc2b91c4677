"""Fusion of operations into engine layers."""

from __future__ import annotations

import pytest

from pynq_train.errors import UnsupportedModel
from pynq_train.graph import Conv, Dense, Flatten, Graph, MaxPool2x2, Op, Relu, fuse, zoo


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
    assert a == b and a[0].relu and a[0].pool
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


REFUSED: list[tuple[tuple[Op, ...], str]] = [
    ((Relu(), Dense(3)), r"operation 'relu1' \(relu\) follows the input, .*the engine runs"),
    ((MaxPool2x2(), Dense(3)), r"'pool1' \(maxpool2x2\) follows the input"),
    ((Conv(4, 3), Relu(), Relu(), Dense(3)), r"'relu2' \(relu\) is the second relu of layer 'con"),
    ((Conv(4, 3), MaxPool2x2(), Relu(), MaxPool2x2(), Dense(3)), "'pool2'.*is the second"),
    ((Conv(4, 3), Flatten(), Relu(), Dense(3)), r"'relu1' \(relu\) follows a Flatten"),
    ((Flatten(), Conv(4, 1)), r"'conv1' \(conv\) reads a flattened map"),
    ((Conv(4, 3), Flatten()), r"'flatten1' \(flatten\) is the last operation"),
    ((Flatten(),), "is the last operation"),
    ((Dense(3), Relu()), "last layer 'dense1' must yield the logits.*found Relu; remove it"),
    ((Conv(4, 8), MaxPool2x2()), "must yield the logits.*found MaxPool2x2"),
    ((Conv(4, 3),), r"expected a Dense layer or a convolution with 1x1 output"),
    ((Dense(1),), "expected at least 2 classes, found 1"),
]


@pytest.mark.parametrize(("layers", "text"), REFUSED, ids=[t for _, t in REFUSED])
def test_refused_with_a_sentence(layers: tuple[Op, ...], text: str) -> None:
    with pytest.raises(UnsupportedModel, match=text):
        fuse(build(*layers))
