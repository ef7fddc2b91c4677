"""Convolutions of well-known networks as layer lists, for plans and benchmarks.

A list is not a graph: skip connections, normalisation and overlapping pooling between the layers
are not in it, and each layer stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable

from pynq_train.errors import UnknownName
from pynq_train.graph.activation import Activation
from pynq_train.graph.windows import Pair
from pynq_train.graph.zoo_tiny import MOBILENET_PAIRS
from pynq_train.layers import kinds
from pynq_train.layers.fuse import FusedLayer

Layers = tuple[FusedLayer, ...]


def conv_layer(name: str, m: int, n: int, size: int, kernel: int = 3, stride: int = 1,
               out: int | None = None, pool: bool = False, groups: int = 1,
               activation: Activation = Activation.RELU) -> FusedLayer:
    """Return a convolution on square maps: 'same' padding unless ``out`` is given."""
    before = out if out is not None else -(-size // stride)
    pad = max((before - 1) * stride + kernel - size, 0) // 2
    after = before // 2 if pool else before
    return FusedLayer(kind=kinds.CONV, name=name, in_shape=(n, size, size),
                      out_shape_before_pool=(m, before, before), out_shape=(m, after, after),
                      kernel=Pair.of(kernel), stride=Pair.of(stride), pad_top=pad,
                      pad_left=pad, activation=activation, pool=pool, bias=True, groups=groups)


def resnet20() -> Layers:
    """Return ResNet-20 for 32x32 images: 19 convolutions and two 1x1 convolutions of the skips.

    He et al., "Deep Residual Learning for Image Recognition", 2015.
    """
    layers = [conv_layer("conv1", 16, 3, 32)]
    layers += [conv_layer(f"a{i}", 16, 16, 32) for i in range(6)]
    for label, m, n, size in (("b", 32, 16, 32), ("c", 64, 32, 16)):
        layers.append(conv_layer(f"{label}0", m, n, size, 3, 2))
        layers += [conv_layer(f"{label}{i}", m, m, size // 2) for i in range(1, 6)]
        layers.append(conv_layer(f"{label}skip", m, n, size, 1, 2))
    return tuple(layers)


def vgg16() -> Layers:
    """Return the 13 convolutions of VGG-16 for 224x224 images, with pooling.

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    2014.
    """
    shapes = ((64, 3, 224, False), (64, 64, 224, True), (128, 64, 112, False),
              (128, 128, 112, True), (256, 128, 56, False), (256, 256, 56, False),
              (256, 256, 56, True), (512, 256, 28, False), (512, 512, 28, False),
              (512, 512, 28, True), (512, 512, 14, False), (512, 512, 14, False),
              (512, 512, 14, True))
    return tuple(conv_layer(f"conv{i}", m, n, size, pool=pool)
                 for i, (m, n, size, pool) in enumerate(shapes, 1))


def alexnet() -> Layers:
    """Return the five convolutions of AlexNet (one tower) for 224x224 images.

    Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.
    """
    return (conv_layer("conv1", 64, 3, 224, 11, 4, 55), conv_layer("conv2", 192, 64, 27, 5),
            conv_layer("conv3", 384, 192, 13), conv_layer("conv4", 256, 384, 13),
            conv_layer("conv5", 256, 256, 13))


def mobilenet() -> Layers:
    """The 27 convolutions of MobileNet-V1 0.25 for 28x28 images of one channel, with ReLU6."""
    relu6 = Activation.RELU6
    layers, size, width = [conv_layer("conv1", 8, 1, 28, activation=relu6)], 28, 8
    for index, (out, stride) in enumerate(MOBILENET_PAIRS, 1):
        layers.append(conv_layer(f"dw{index}", width, width, size, 3, stride, groups=width,
                                 activation=relu6))
        size, before, width = -(-size // stride), width, out
        layers.append(conv_layer(f"pw{index}", width, before, size, 1, activation=relu6))
    return tuple(layers)


def ds_cnn() -> Layers:
    """Return the nine convolutions of DS-CNN-S for 32x32 inputs of one channel.

    Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", 2017.
    """
    layers = [conv_layer("conv1", 64, 1, 32, 6, 2)]
    for index in range(1, 5):
        layers.append(conv_layer(f"dw{index}", 64, 64, 16, groups=64))
        layers.append(conv_layer(f"pw{index}", 64, 64, 16, 1))
    return tuple(layers)


def grouped() -> Layers:
    """Return grouped convolutions of well-known networks, each for itself.

    AlexNet (two towers), ResNeXt-50 (32x4d), ShuffleNet (three groups), and a depthwise one that
    doubles the channels. The first layer is there because the first one of a list has no backward
    pass.
    """
    return (conv_layer("conv1", 96, 3, 27),
            conv_layer("alexnet2", 256, 96, 27, 5, groups=2),
            conv_layer("alexnet4", 384, 384, 13, groups=2),
            conv_layer("resnext2", 128, 128, 56, groups=32),
            conv_layer("resnext4", 512, 512, 14, groups=32),
            conv_layer("resnext5", 1024, 1024, 7, groups=32),
            conv_layer("shuffle2", 60, 240, 28, 1, groups=3),
            conv_layer("shuffle3", 480, 120, 14, 1, groups=3),
            conv_layer("double", 128, 64, 14, groups=64))


_LISTS: dict[str, Callable[[], Layers]] = {
    "resnet20-conv": resnet20, "vgg16-conv": vgg16, "alexnet-conv": alexnet,
    "mobilenet-conv": mobilenet, "ds-cnn-conv": ds_cnn, "grouped-conv": grouped}


def names() -> tuple[str, ...]:
    """Return the names that :func:`get` knows."""
    return tuple(_LISTS)


def get(name: str) -> Layers:
    """Return the layers of list ``name``.

    Raises:
        UnknownName: there is none; the text lists all.
    """
    if name not in _LISTS:
        raise UnknownName.among("layer list", name, _LISTS)
    return _LISTS[name]()
