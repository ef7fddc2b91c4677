"""Reference networks for small devices: those of MLPerf Tiny, MobileNetV2, a sequence of sensors.

The networks of MLPerf Tiny (Banbury et al., 2021) are those of its reference implementation, layer
by layer: convolutions in front of a normalisation have biases there. Counts of parameters are with
running means and variances, as Keras gives them.
"""

from __future__ import annotations

from pynq_train.errors import BadInput
from pynq_train.graph.activation import Relu, Relu6
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Add, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, Op

_EPS = 1e-3
"""What Keras adds to a variance."""
MOBILENET_PAIRS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5,
                   (256, 2), (256, 1))
"""MobileNet-V1 of width 0.25: output channels of a pair, stride of its depthwise convolution."""
_INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
             (6, 160, 3, 2), (6, 320, 1, 1))
"""MobileNetV2: expansion, output channels, blocks and stride of each stage."""


def resnet8(*, classes: int = 10) -> Graph:
    """ResNet-8 of MLPerf Tiny, input 3x32x32 (78,666 parameters with 10 classes).

    Three stages of one residual block with 16, 32 and 64 channels; where the shape changes, the
    skip is a 1x1 convolution without a normalisation.
    """
    ops: list[Op] = _normed(Conv(16, 3, 1, "same", name="conv1"), Relu)
    before, width = "conv1.relu", 16
    for label, channels in zip("abc", (16, 32, 64)):
        stride = 1 if channels == width else 2
        first = Conv(channels, 3, stride, "same", name=f"{label}.conv1", inputs=(before,))
        ops += _normed(first, Relu)
        ops += _normed(Conv(channels, 3, 1, "same", name=f"{label}.conv2"))
        if channels != width:
            ops.append(Conv(channels, 1, stride, "same", name=f"{label}.skip", inputs=(before,)))
            before = f"{label}.skip"
        ops += [Add(f"{label}.add", (f"{label}.conv2.bn", before)), Relu(f"{label}.relu")]
        before, width = f"{label}.relu", channels
    ops += [GlobalAvgPool("pool"), Dense(classes, name="fc")]
    return Graph.build((3, 32, 32), ops, "resnet8")


def ds_cnn(*, classes: int = 12) -> Graph:
    """DS-CNN of MLPerf Tiny for keywords, input 1x49x10: time, coefficients (24,908 parameters).

    A 10x4 convolution of stride 2, four depthwise and pointwise pairs of 64 channels, all
    normalised, with dropout behind the first and the last (12 classes).
    """
    ops: list[Op] = [*_normed(Conv(64, (10, 4), 2, "same", name="conv1"), Relu),
                     Dropout(0.2, "drop1")]
    for index in range(1, 5):
        ops += _normed(Conv(64, 3, 1, "same", name=f"dw{index}", groups=64), Relu)
        ops += _normed(Conv(64, 1, name=f"pw{index}"), Relu)
    ops += [Dropout(0.4, "drop2"), GlobalAvgPool("pool"), Dense(classes, name="fc")]
    return Graph.build((1, 49, 10), ops, "ds_cnn")


def mobilenet_v1_vww(*, classes: int = 2) -> Graph:
    """MobileNet-V1 of width 0.25 of MLPerf Tiny, input 3x96x96: is somebody there?

    With ReLU, and biases in front of normalisations (221,794 parameters with 2 classes).
    """
    ops: list[Op] = _normed(Conv(8, 3, 2, "same", name="conv1"), Relu)
    width = 8
    for index, (out, stride) in enumerate(MOBILENET_PAIRS, 1):
        ops += _normed(Conv(width, 3, stride, "same", name=f"dw{index}", groups=width), Relu)
        ops += _normed(Conv(out, 1, name=f"pw{index}"), Relu)
        width = out
    ops += [GlobalAvgPool("pool"), Dense(classes, name="fc")]
    return Graph.build((3, 96, 96), ops, "mobilenet_v1_vww")


def autoencoder_640(*, classes: int = 640) -> Graph:
    """Autoencoder of MLPerf Tiny for sounds of machines: 640 features of five frames and back.

    Dense layers of 128, 128, 128, 128, 8, 128, 128, 128 and 128 units, normalised, with ReLU
    (269,992 parameters). ``classes``: numbers that it yields, those that it reads.
    """
    ops: list[Op] = []
    for index, units in enumerate((128, 128, 128, 128, 8, 128, 128, 128, 128), 1):
        ops += [Dense(units, name=f"fc{index}"), BatchNorm(0.01, _EPS, name=f"fc{index}.bn"),
                Relu(f"fc{index}.relu")]
    return Graph.build((640, 1, 1), [*ops, Dense(classes, name="out")], "autoencoder_640")


def mobilenet_v2_035(*, classes: int = 10, size: int = 96, channels: int = 3) -> Graph:
    """MobileNetV2 of width 0.35 (Sandler et al., 2018) for square images.

    Seventeen inverted residuals; 410,208 parameters without its 1,280 features' classifier.

    Args:
        classes: logits.
        size: rows and columns of the image, 32 to 224.
        channels: of the image.

    Raises:
        BadInput: the image is smaller than 32x32, or larger than 224x224.
    """
    if not 32 <= size <= 224:
        raise BadInput("image size of mobilenet_v2_035", expected="32 to 224", found=size)
    width = _divisible(32 * 0.35)
    ops: list[Op] = _normed(Conv(width, 3, 2, "same", False, "conv1"), Relu6)
    before, number = "conv1.relu", 0
    for expansion, out, blocks, first in _INVERTED:
        for block in range(blocks):
            name, own = f"block{number}", _divisible(out * 0.35)
            inner, stride = width * expansion, first if block == 0 else 1
            start = before
            if expansion > 1:
                ops += _normed(Conv(inner, 1, 1, 0, False, f"{name}.wide", inputs=(start,)), Relu6)
                start = f"{name}.wide.relu"
            ops += _normed(Conv(inner, 3, stride, "same", False, f"{name}.dw", inner, (start,)),
                           Relu6)
            ops += _normed(Conv(own, 1, 1, 0, False, f"{name}.narrow"))
            end = f"{name}.narrow.bn"
            if stride == 1 and own == width:
                ops.append(Add(f"{name}.add", (end, before)))
                end = f"{name}.add"
            before, width, number = end, own, number + 1
    ops += _normed(Conv(1280, 1, 1, 0, False, "last", inputs=(before,)), Relu6)
    ops += [GlobalAvgPool("pool"), Dense(classes, name="fc")]
    return Graph.build((channels, size, size), ops, "mobilenet_v2_035")


def sensors_1d(*, classes: int = 6, channels: int = 9, length: int = 128) -> Graph:
    """A network for windows of sensors, input 9x1x128: accelerations and turns, as in UCI HAR.

    Convolutions along time of 32, 64 and 64 channels, kernels 9, 5 and 3, the first two of stride
    2, normalised (26,150 parameters with 6 classes).
    """
    ops: list[Op] = []
    for index, (out, kernel, stride) in enumerate(((32, 9, 2), (64, 5, 2), (64, 3, 1)), 1):
        ops += _normed(Conv(out, (1, kernel), (1, stride), "same", False, f"conv{index}"), Relu)
    ops += [GlobalAvgPool("pool"), Dense(classes, name="fc")]
    return Graph.build((channels, 1, length), ops, "sensors_1d")


def _normed(conv: Conv, activation: type[Relu] | type[Relu6] | None = None) -> list[Op]:
    """Return a convolution with its normalisation, and an activation behind it."""
    ops: list[Op] = [conv, BatchNorm(0.01, _EPS, name=f"{conv.name}.bn")]
    return ops if activation is None else [*ops, activation(f"{conv.name}.relu")]


def _divisible(channels: float) -> int:
    """Return a multiple of 8 near ``channels``, at most a tenth below it."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
