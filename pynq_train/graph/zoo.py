"""Reference networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph.activation import Relu, Relu6
from pynq_train.graph.graph import Graph, Sequential
from pynq_train.graph.ops import Add, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, Op
from pynq_train.graph.zoo_decoders import autoencoder_conv, unet_small
from pynq_train.graph.zoo_tiny import (
    MOBILENET_PAIRS,
    autoencoder_640,
    ds_cnn,
    mobilenet_v1_vww,
    mobilenet_v2_035,
    resnet8,
    sensors_1d,
)


def lenet5(*, classes: int = 10) -> Graph:
    """LeNet-5 with ReLU and max pooling, input 1x28x28 (61,706 parameters with 10 classes)."""
    return (
        Sequential((1, 28, 28), "lenet5")
        .conv(6, 5, padding=2).relu().pool()
        .conv(16, 5).relu().pool()
        .dense(120).relu()
        .dense(84).relu()
        .dense(classes)
        .build()
    )


def one_x(*, classes: int = 10) -> Graph:
    """The '1X' CNN, input 3x32x32: conv3x3 16-16-pool-32-32-pool-64-64-pool, dense."""
    net = Sequential((3, 32, 32), "1x")
    for channels in (16, 32, 64):
        net.conv(channels, 3, padding=1).relu().conv(channels, 3, padding=1).relu().pool()
    return net.dense(classes).build()


def digits(*, classes: int = 10) -> Graph:
    """The demo's CNN for 8x8 digits, input 1x8x8: conv3x3 16-pool-32-pool, dense."""
    return (
        Sequential((1, 8, 8), "digits")
        .conv(16, 3, padding=1).relu().pool()
        .conv(32, 3, padding=1).relu().pool()
        .dense(classes)
        .build()
    )


def vgg16(*, classes: int = 1000) -> Graph:
    """VGG-16, input 3x224x224: 13 convolutions 3x3, three dense layers (138,357,544 parameters
    with 1,000 classes)."""
    net = Sequential((3, 224, 224), "vgg16")
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            net.conv(channels, 3, padding=1).relu()
        net.pool()
    return net.dense(4096).relu().dense(4096).relu().dense(classes).build()


def resnet20(*, classes: int = 10, projection: bool = True) -> Graph:
    """ResNet-20 for 32x32 images (He et al., 2016), input 3x32x32, with batch normalisation.

    Three stages of three residual blocks with 16, 32 and 64 channels. Where the shape changes,
    the skip is a normalised 1x1 convolution (the paper's option B: 272,474 parameters with 10
    classes); without ``projection`` these two skips are left out (269,722 parameters, as many as
    option A, whose skips have none).
    """
    ops: list[Op] = [Conv(16, 3, 1, 1, False, "conv1"), BatchNorm(name="bn1"), Relu("relu1")]
    before = "relu1"
    for label, channels in zip("abc", (16, 32, 64)):
        for index in range(3):
            block = f"{label}{index}"
            reshapes = label != "a" and index == 0
            stride = 2 if reshapes else 1
            ops += _normed(Conv(channels, 3, stride, 1, False, f"{block}.conv1"), (before,))
            ops += [Relu(f"{block}.relu1")]
            ops += _normed(Conv(channels, 3, 1, 1, False, f"{block}.conv2"))
            skip = before
            if reshapes and projection:
                ops += _normed(Conv(channels, 1, stride, 0, False, f"{block}.skip"), (before,))
                skip = f"{block}.skip.bn"
            if projection or not reshapes:
                ops.append(Add(f"{block}.add", (f"{block}.conv2.bn", skip)))
            ops.append(Relu(f"{block}.relu2"))
            before = f"{block}.relu2"
    ops += [GlobalAvgPool("pool"), Dense(classes, name="fc")]
    return Graph.build((3, 32, 32), ops, "resnet20")


def mobilenet_v1_025(*, classes: int = 10, size: int = 28, channels: int = 1) -> Graph:
    """MobileNet-V1 of width 0.25 (Howard et al., 2017) for small square images.

    Thirteen depthwise and pointwise pairs with batch normalisation and ReLU6. The published
    network reads 224x224 and halves five times; here images below 48x48 keep their size in the
    first convolution.

    Args:
        classes: logits.
        size: rows and columns of the image, 28 to 224.
        channels: 1 for doodles, 3 for colours.

    Raises:
        BadInput: the image is smaller than 28x28, or larger than 224x224.
    """
    if not 28 <= size <= 224:
        raise BadInput("image size of mobilenet_v1_025", expected="28 to 224", found=size)
    ops: list[Op] = _clipped(Conv(8, 3, 1 if size < 48 else 2, "same", False, "conv1"))
    width = 8
    for index, (out, stride) in enumerate(MOBILENET_PAIRS, 1):
        ops += _clipped(Conv(width, 3, stride, "same", False, f"dw{index}", groups=width))
        ops += _clipped(Conv(out, 1, 1, 0, False, f"pw{index}"))
        width = out
    ops += [GlobalAvgPool("pool"), Dense(classes, name="fc")]
    return Graph.build((channels, size, size), ops, "mobilenet_v1_025")


def ds_cnn_s(*, classes: int = 10, dropout: float = 0.0) -> Graph:
    """DS-CNN-S for keyword spotting (Zhang et al., 2018), input 1x32x32 (mel bands, time).

    A convolution of stride 2 and four depthwise and pointwise pairs of 64 channels with batch
    normalisation. The published first kernel is 10x4 on 49x10 coefficients; here it is 6x6.
    ``dropout`` above 0 drops that part of the pooled features.
    """
    ops: list[Op] = [*_normed(Conv(64, 6, 2, "same", False, "conv1")), Relu("conv1.relu")]
    for index in range(1, 5):
        for op in (Conv(64, 3, 1, 1, False, f"dw{index}", groups=64),
                   Conv(64, 1, 1, 0, False, f"pw{index}")):
            ops += [*_normed(op), Relu(f"{op.name}.relu")]
    ops.append(GlobalAvgPool("pool"))
    if dropout:
        ops.append(Dropout(dropout, "drop"))
    return Graph.build((1, 32, 32), [*ops, Dense(classes, name="fc")], "ds_cnn_s")


def _normed(conv: Conv, inputs: tuple[str, ...] = ()) -> list[Op]:
    return [replace(conv, inputs=inputs), BatchNorm(name=f"{conv.name}.bn")]


def _clipped(conv: Conv) -> list[Op]:
    return [*_normed(conv), Relu6(f"{conv.name}.relu")]


_NETWORKS: dict[str, Callable[..., Graph]] = {
    "lenet5": lenet5, "1x": one_x, "digits": digits, "vgg16": vgg16, "resnet20": resnet20,
    "mobilenet_v1_025": mobilenet_v1_025, "ds_cnn_s": ds_cnn_s,
    "resnet8": resnet8, "ds_cnn": ds_cnn, "mobilenet_v1_vww": mobilenet_v1_vww,
    "autoencoder_640": autoencoder_640, "mobilenet_v2_035": mobilenet_v2_035,
    "sensors_1d": sensors_1d, "unet_small": unet_small, "autoencoder_conv": autoencoder_conv}


def names() -> tuple[str, ...]:
    """Return the names that :func:`get` knows."""
    return tuple(_NETWORKS)


def get(name: str, *, classes: int | None = None) -> Graph:
    """Return the network ``name`` with ``classes`` outputs, or channels of them.

    Args:
        name: one of :func:`names`.
        classes: default: what the network has in the literature.

    Raises:
        UnknownName: it is none of them; the error lists them.
    """
    if not isinstance(name, str) or name not in _NETWORKS:
        raise UnknownName.among("network", name, _NETWORKS)
    return _NETWORKS[name]() if classes is None else _NETWORKS[name](classes=classes)
