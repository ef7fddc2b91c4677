"""Layer lists against the sizes that papers and frameworks publish."""

from __future__ import annotations

import pytest

from pynq_train.errors import UnknownName
from pynq_train.layers import layer_lists

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
                          layer.kernel, layer.groups) for layer in layer_lists.grouped()}
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
