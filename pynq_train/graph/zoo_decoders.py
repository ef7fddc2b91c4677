"""Reference networks with decoders, whose outputs are maps as large as the images."""

from __future__ import annotations

from pynq_train.errors import BadInput
from pynq_train.graph.activation import Relu
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import BatchNorm, Concat, Conv, ConvTranspose, MaxPool2x2, Op


def unet_small(*, classes: int = 2, size: int = 32, channels: int = 3, width: int = 16) -> Graph:
    """A U-Net (Ronneberger et al., 2015) with two steps down, for classes of pixels.

    Pairs of normalised 3x3 convolutions of ``width``, twice and four times as many channels; each
    way up is a transposed convolution of 2x2 whose map is joined to the one of its size on the way
    down (118,018 parameters with 2 classes).

    Args:
        classes: channels of the output, one for each class of a pixel.
        size: rows and columns of the image, a multiple of 4.
        channels: of the image.
        width: channels of the first pair, a multiple of 4.

    Raises:
        BadInput: the size or the width is no multiple of 4.
    """
    return Graph.build((channels, size, size), [
        *unet_body(size, width), Conv(classes, 1, name="out")], "unet_small")


def unet_body(size: int = 32, width: int = 16) -> list[Op]:
    """Return the operations of :func:`unet_small` without its end; the last is ``up1b.relu``."""
    for what, value in (("size", size), ("width", width)):
        if value < 4 or value % 4:
            raise BadInput(f"{what} of unet_small", expected="a multiple of 4", found=value)
    ops: list[Op] = _pair("down1", width, "input")
    ops += [MaxPool2x2("pool1", ("down1b.relu",)), *_pair("down2", 2 * width, "pool1"),
            MaxPool2x2("pool2", ("down2b.relu",)), *_pair("middle", 4 * width, "pool2")]
    before = "middleb.relu"
    for level in (2, 1):
        grow, join = f"grow{level}", f"join{level}"
        ops += [ConvTranspose(level * width, 2, 2, name=grow, inputs=(before,)),
                Concat(join, (grow, f"down{level}b.relu")),
                *_pair(f"up{level}", level * width, join)]
        before = f"up{level}b.relu"
    return ops


def autoencoder_conv(*, classes: int = 1, size: int = 28) -> Graph:
    """A convolutional autoencoder for square images (19,105 parameters with one channel).

    Two normalised convolutions of stride 2 to 32 channels of a quarter of the rows and columns, and
    two transposed ones back; a 3x3 convolution yields the image.

    Args:
        classes: channels of the image, and of the output.
        size: rows and columns of the image, a multiple of 4.

    Raises:
        BadInput: the size is no multiple of 4.
    """
    return Graph.build((classes, size, size), [
        *autoencoder_body(size), Conv(classes, 3, 1, 1, name="out")], "autoencoder_conv")


def autoencoder_body(size: int = 28) -> list[Op]:
    """Return the operations of :func:`autoencoder_conv` without its end."""
    if size < 4 or size % 4:
        raise BadInput("size of autoencoder_conv", expected="a multiple of 4", found=size)
    ops: list[Op] = []
    for op in (Conv(16, 3, 2, 1, False, "down1"), Conv(32, 3, 2, 1, False, "down2"),
               ConvTranspose(32, 3, 2, 1, 1, False, "up1"),
               ConvTranspose(16, 3, 2, 1, 1, False, "up2")):
        ops += [op, BatchNorm(name=f"{op.name}.bn"), Relu(f"{op.name}.relu")]
    return ops


def _pair(name: str, channels: int, source: str) -> list[Op]:
    """Return two normalised convolutions with ReLU."""
    first = Conv(channels, 3, 1, 1, False, f"{name}a", inputs=(source,))
    return [first, BatchNorm(name=f"{name}a.bn"), Relu(f"{name}a.relu"),
            Conv(channels, 3, 1, 1, False, f"{name}b"), BatchNorm(name=f"{name}b.bn"),
            Relu(f"{name}b.relu")]
