"""Layer lists against the sizes that papers and frameworks publish."""

from __future__ import annotations

import pytest

from pynq_train.errors import UnknownName
from pynq_train.graph.activation import Activation
from pynq_train.layers import kinds, layer_lists

# Multiplications of an image and weights of all convolutions, without biases: torchvision's vgg16
# and alexnet without their classifiers; the others are counted from the tables of their papers.
PUBLISHED = {
    "resnet20-conv": (40_812_544, 270_256),
    "vgg16-conv": (15_346_630_656, 14_710_464),
    "alexnet-conv": (655_566_528, 2_468_544),
    "mobilenet-conv": (2_892_576, 207_456),
    "ds-cnn-conv": (5_373_952, 20_992),
}

# Channels out, of a group, pixels of a side, kernel, groups.
GROUPED = {
    "conv1": (96, 3, 27, 3, 1), "alexnet2": (256, 48, 27, 5, 2), "alexnet4": (384, 192, 13, 3, 2),
    "resnext2": (128, 4, 56, 3, 32), "resnext4": (512, 16, 14, 3, 32),
    "resnext5": (1024, 32, 7, 3, 32), "shuffle2": (60, 80, 28, 1, 3),
    "shuffle3": (480, 40, 14, 1, 3), "double": (128, 1, 14, 3, 64),
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_sizes(name: str) -> None:
    layers = layer_lists.get(name)
    weights = 0
    for layer in layers:
        m, n, *window = layer.weight_shape
        weights += m * n * window[0] * window[1]
    assert (sum(layer.macs_per_image for layer in layers), weights) == PUBLISHED[name]


@pytest.mark.parametrize("name", ["vgg16-conv", "mobilenet-conv", "ds-cnn-conv"])
def test_each_layer_reads_the_one_before(name: str) -> None:
    layers = layer_lists.get(name)
    assert [layer.in_shape for layer in layers[1:]] == [layer.out_shape for layer in layers[:-1]]
    for layer in layers:
        _, rows, cols = layer.out_shape_before_pool
        half = 2 if layer.pool else 1
        assert layer.out_shape[1:] == (rows // half, cols // half)


def test_grouped() -> None:
    found = {layer.name: (layer.out_shape[0], layer.weight_shape[1], layer.in_shape[1],
                          layer.kernel.side, layer.groups) for layer in layer_lists.grouped()}
    assert found == GROUPED
    assert all(layer.in_shape[1:] == layer.out_shape[1:] for layer in layer_lists.grouped())


@pytest.mark.parametrize(("size", "kernel", "stride", "out", "rows", "pad"), [
    (8, 3, 1, None, 8, 1), (8, 3, 2, None, 4, 0), (9, 3, 2, None, 5, 1), (32, 6, 2, None, 16, 2),
    (224, 11, 4, 55, 55, 1), (7, 1, 2, None, 4, 0), (8, 3, 1, 6, 6, 0)])
def test_padding(size: int, kernel: int, stride: int, out: int | None, rows: int,
                 pad: int) -> None:
    """'Same' padding: as many rows as strides begin; rows above are half of what is missing."""
    layer = layer_lists.conv_layer("x", 4, 2, size, kernel, stride, out)
    assert layer.out_shape == layer.out_shape_before_pool == (4, rows, rows)
    assert (layer.pad_top, layer.pad_left) == (pad, pad)


def test_unknown_list() -> None:
    assert set(PUBLISHED) | {"grouped-conv"} == set(layer_lists.names())
    with pytest.raises(UnknownName, match="vgg16-conv"):
        layer_lists.get("vgg")


def test_activations_biases_and_pools() -> None:
    for name in layer_lists.names():
        wanted = Activation.RELU6 if name == "mobilenet-conv" else Activation.RELU
        for layer in layer_lists.get(name):
            assert layer.activation is wanted and layer.bias and layer.kind is kinds.CONV
            assert layer.pool == (layer.out_shape != layer.out_shape_before_pool)
    pooled = [layer.name for layer in layer_lists.get("vgg16-conv") if layer.pool]
    assert pooled == ["conv2", "conv4", "conv7", "conv10", "conv13"]


def test_the_convolutions_one_by_one() -> None:
    """Name, channels in and out, rows in and out, kernel, stride, groups of a few of each list."""
    def row(name: str, at: int) -> tuple[object, ...]:
        one = layer_lists.get(name)[at]
        return (one.name, one.in_shape[0], one.out_shape[0], one.in_shape[1],
                one.out_shape_before_pool[1], one.kernel.side, one.stride.side, one.groups)

    assert row("resnet20-conv", 0) == ("conv1", 3, 16, 32, 32, 3, 1, 1)
    assert row("resnet20-conv", 7) == ("b0", 16, 32, 32, 16, 3, 2, 1)
    assert row("resnet20-conv", 13) == ("bskip", 16, 32, 32, 16, 1, 2, 1)
    assert row("resnet20-conv", -1) == ("cskip", 32, 64, 16, 8, 1, 2, 1)
    assert row("alexnet-conv", 0) == ("conv1", 3, 64, 224, 55, 11, 4, 1)
    assert row("mobilenet-conv", 0) == ("conv1", 1, 8, 28, 28, 3, 1, 1)
    assert row("mobilenet-conv", 3) == ("dw2", 16, 16, 28, 14, 3, 2, 16)
    assert row("mobilenet-conv", 4) == ("pw2", 16, 32, 14, 14, 1, 1, 1)
    assert row("ds-cnn-conv", 0) == ("conv1", 1, 64, 32, 16, 6, 2, 1)
    assert row("ds-cnn-conv", 1) == ("dw1", 64, 64, 16, 16, 3, 1, 64)
    assert row("ds-cnn-conv", 2) == ("pw1", 64, 64, 16, 16, 1, 1, 1)
