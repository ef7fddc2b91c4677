"""Where the elements of a tensor stand: strides of feature maps and flags, packing of NumPy arrays.

The packing functions take and return C-contiguous arrays of any dtype; padding is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pynq_train.arrays import Array
from pynq_train.hw.words import (
    CHANNELS_PER_WORD,
    FLAG_MASK_PIXELS,
    FLAG_POOL_PIXELS,
    WORD_BYTES,
    ceil_div,
)


@dataclass(frozen=True)
class MapLayout:
    """A feature map or dense map as a layer sees it: sizes, and byte strides from word to word.

    A dense map, the output of a fully connected layer, holds one value per channel and image. It is
    described as one image of one row whose columns are the images of the mini-batch.

    Attributes:
        images: number of images.
        blocks: channel blocks of an image.
        rows: rows of a channel block.
        cols: words of a row.
        image_stride: bytes from an image to the next, gaps included.
        block_stride: bytes from a channel block to the next.
        row_stride: bytes from a row to the next.
        col_stride: bytes from a word of a row to the next.
    """

    images: int
    blocks: int
    rows: int
    cols: int
    image_stride: int
    block_stride: int
    row_stride: int
    col_stride: int

    @classmethod
    def feature(cls, images: int, channels: int, rows: int, cols: int) -> MapLayout:
        """Return the layout ``[image][channel block][row][column][4]`` without gaps."""
        blocks = ceil_div(channels, CHANNELS_PER_WORD)
        row = cols * WORD_BYTES
        return cls(images, blocks, rows, cols, blocks * rows * row, rows * row, row, WORD_BYTES)

    @classmethod
    def dense(cls, batch: int, channels: int) -> MapLayout:
        """Return the layout ``[channel block][image][4]`` of a dense map: ``batch`` columns."""
        blocks = ceil_div(channels, CHANNELS_PER_WORD)
        row = batch * WORD_BYTES
        return cls(1, blocks, 1, batch, blocks * row, row, row, WORD_BYTES)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements; gaps between images do not count."""
        return self.images * self.blocks * self.rows * self.cols * WORD_BYTES

    @property
    def extent(self) -> int:
        """Bytes from the first element to the end of the last one, gaps between images included."""
        steps = ((self.images, self.image_stride), (self.blocks, self.block_stride),
                 (self.rows, self.row_stride), (self.cols, self.col_stride))
        return WORD_BYTES + sum((count - 1) * stride for count, stride in steps)

    @property
    def flat(self) -> bool:
        """Whether the words of a row are not adjacent; then the channel blocks are."""
        return self.col_stride != WORD_BYTES

    def spread(self, blocks: int) -> MapLayout:
        """Return this feature map with ``blocks`` channel blocks from an image to the next."""
        return replace(self, image_stride=blocks * self.block_stride)

    def window(self, row: int, col: int, rows: int, cols: int) -> tuple[MapLayout, int]:
        """Return some rows and columns of each image, and the bytes in front of the first."""
        return (replace(self, rows=rows, cols=cols),
                row * self.row_stride + col * self.col_stride)

    def flattened(self) -> MapLayout:
        """Return this feature map as a dense layer reads it: a dense map of the same bytes.

        Features are ordered (channel block, row, column, channel in block).
        """
        # A word of the feature map is a channel block of the dense map, so the blocks are adjacent.
        return MapLayout(1, self.blocks * self.rows * self.cols, 1, self.images,
                         self.image_stride * self.images, WORD_BYTES, WORD_BYTES,
                         self.image_stride)

    def as_maps(self) -> MapLayout:
        """Return a dense map as a convolution sees it: one image of 1x1 per column."""
        return MapLayout(self.cols, self.blocks, 1, 1, self.col_stride, self.block_stride,
                         WORD_BYTES, WORD_BYTES)


@dataclass(frozen=True)
class FlagLayout:
    """Flags of one layer, ``[image][channel block][row][word]``; all strides are in bytes.

    Attributes:
        images: number of images.
        blocks: channel blocks that hold flags.
        rows: rows of flags of a channel block.
        row_words: 64-bit words of a row.
        image_blocks: channel blocks from an image to the next where there are more of them than
            ``blocks`` (a section of a layer); 0: not more.
    """

    images: int
    blocks: int
    rows: int
    row_words: int
    image_blocks: int = 0

    @classmethod
    def of(cls, images: int, channels: int, rows: int, cols: int, pool: bool) -> FlagLayout:
        """Return the flags for an output of ``rows`` x ``cols`` pixels before pooling.

        Behind 2x2 pooling (``pool``) a flag belongs to a pooled pixel, so rows and columns are
        halved.
        """
        blocks = ceil_div(channels, CHANNELS_PER_WORD)
        if pool:
            return cls(images, blocks, rows // 2, ceil_div(cols // 2, FLAG_POOL_PIXELS))
        return cls(images, blocks, rows, ceil_div(cols, FLAG_MASK_PIXELS))

    @property
    def row_stride(self) -> int:
        """Bytes from a row to the next."""
        return self.row_words * WORD_BYTES

    @property
    def block_stride(self) -> int:
        """Bytes from a channel block to the next."""
        return self.rows * self.row_stride

    @property
    def image_stride(self) -> int:
        """Bytes from an image to the next."""
        return (self.image_blocks or self.blocks) * self.block_stride

    @property
    def nbytes(self) -> int:
        """Bytes of the flags; channel blocks of other sections do not count."""
        return self.images * self.blocks * self.block_stride

    def part(self, blocks: int) -> FlagLayout:
        """Return the flags of ``blocks`` channel blocks of these, with the same strides."""
        return replace(self, blocks=blocks, image_blocks=self.image_blocks or self.blocks)


def pack_maps(values: Array) -> Array:
    """Return ``[image, channel, row, column]`` packed as ``[image][block][row][column][4]``."""
    images, channels, rows, cols = values.shape
    blocks = ceil_div(channels, CHANNELS_PER_WORD)
    # Channels that pad a block must be zero: the engine multiplies them like the others.
    out = np.zeros((images, blocks * CHANNELS_PER_WORD, rows, cols), values.dtype)
    out[:, :channels] = values
    out = out.reshape(images, blocks, CHANNELS_PER_WORD, rows, cols)
    return np.ascontiguousarray(out.transpose(0, 1, 3, 4, 2))


def unpack_maps(packed: Array, channels: int) -> Array:
    """Return ``[image, channel, row, column]`` of packed maps: the reverse of :func:`pack_maps`."""
    images, blocks, rows, cols, lanes = packed.shape
    values = packed.transpose(0, 1, 4, 2, 3).reshape(images, blocks * lanes, rows, cols)
    return np.ascontiguousarray(values[:, :channels])


def pack_dense(values: Array) -> Array:
    """Return ``[image, channel]`` packed as ``[block][image][4]``."""
    images, channels = values.shape
    blocks = ceil_div(channels, CHANNELS_PER_WORD)
    out = np.zeros((images, blocks * CHANNELS_PER_WORD), values.dtype)
    out[:, :channels] = values
    words = out.reshape(images, blocks, CHANNELS_PER_WORD)
    return np.ascontiguousarray(words.transpose(1, 0, 2))


def unpack_dense(packed: Array, channels: int) -> Array:
    """Return ``[image, channel]`` of a packed dense map: the reverse of :func:`pack_dense`."""
    blocks, images, lanes = packed.shape
    values = packed.transpose(1, 0, 2).reshape(images, blocks * lanes)
    return np.ascontiguousarray(values[:, :channels])


def pack_weights(values: Array, blocks: int, m_tile: int) -> Array:
    """Return ``W[m, n, kr, kc]`` packed as ``[m/tile][block][kr][kc][tile][4]``.

    Works for every dtype: 16-bit weights, masters, gradient sums.

    Args:
        values: the weights.
        blocks: channel blocks of the input; n may end inside the last one.
        m_tile: output channels of a tile.
    """
    m, n, *kernel = values.shape
    tiles = ceil_div(m, m_tile)
    out = np.zeros((tiles * m_tile, blocks * CHANNELS_PER_WORD, *kernel), values.dtype)
    out[:m, :n] = values
    out = out.reshape(tiles, m_tile, blocks, CHANNELS_PER_WORD, *kernel)
    return np.ascontiguousarray(out.transpose(0, 2, 4, 5, 1, 3))


def unpack_weights(packed: Array, m: int, n: int) -> Array:
    """Return ``W[m, n, kr, kc]`` of packed weights: the reverse of :func:`pack_weights`."""
    tiles, blocks, *kernel, lanes, four = packed.shape
    values = packed.transpose(0, 4, 1, 5, 2, 3)
    values = values.reshape(tiles * lanes, blocks * four, *kernel)
    return np.ascontiguousarray(values[:m, :n])


def flat_to_blocks(values: Array, in_shape: tuple[int, int, int]) -> Array:
    """Return dense weights with inputs in the order in which memory holds a feature map.

    Args:
        values: ``W[m, n]``, n over (channel, row, column) of ``in_shape``.
        in_shape: shape of the feature map that the layer flattens.

    Returns:
        ``W[m, n', 1, 1]`` with n' over (channel block, row, column, channel in block), channels
            padded with zeros to whole blocks.
    """
    channels, rows, cols = in_shape
    m = values.shape[0]
    blocks = ceil_div(channels, CHANNELS_PER_WORD)
    out = np.zeros((m, blocks * CHANNELS_PER_WORD, rows, cols), values.dtype)
    out[:, :channels] = values.reshape(m, channels, rows, cols)
    out = out.reshape(m, blocks, CHANNELS_PER_WORD, rows, cols).transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(out).reshape(m, -1, 1, 1)


def blocks_to_flat(values: Array, in_shape: tuple[int, int, int]) -> Array:
    """Return ``W[m, n]`` as the graph has them: the reverse of :func:`flat_to_blocks`."""
    channels, rows, cols = in_shape
    m = values.shape[0]
    blocks = ceil_div(channels, CHANNELS_PER_WORD)
    out = values.reshape(m, -1)[:, : blocks * rows * cols * CHANNELS_PER_WORD]
    out = out.reshape(m, blocks, rows, cols, CHANNELS_PER_WORD).transpose(0, 1, 4, 2, 3)
    out = out.reshape(m, blocks * CHANNELS_PER_WORD, rows, cols)[:, :channels]
    return np.ascontiguousarray(out).reshape(m, -1)


def spread_channels(values: Array, reads: Sequence[int], channels: int, absent: int) -> Array:
    """Return weights of some input channels as those of all of them.

    Args:
        values: ``W[m, n, kr, kc]``, or ``W[m, n]`` with n over (channel, row, column), of the
            channels ``reads`` in this order.
        reads: the channels that they belong to.
        channels: number of all channels.
        absent: the value that stands for the others.
    """
    m, n, *kernel = values.shape
    pixels = n // len(reads)
    out = np.full((m, channels, pixels, *kernel), absent, values.dtype)
    out[:, list(reads)] = values.reshape(m, len(reads), pixels, *kernel)
    return out.reshape(m, channels * pixels, *kernel)


def gather_channels(values: Array, reads: Sequence[int], channels: int) -> Array:
    """Return the weights of some input channels: the reverse of :func:`spread_channels`."""
    m, n, *kernel = values.shape
    picked = values.reshape(m, channels, n // channels, *kernel)[:, list(reads)]
    return np.ascontiguousarray(picked.reshape(m, -1, *kernel))


def spread_places(values: Array, kernel: tuple[int, int], dilation: tuple[int, int], absent: int
                  ) -> Array:
    """Return weights ``W[m, n, kr, kc]`` of a dilated kernel as those of one without gaps.

    Args:
        values: the weights.
        kernel: rows and columns that the kernel reaches over.
        dilation: rows and columns from weight to weight.
        absent: the value that stands between.
    """
    out = np.full((*values.shape[:2], *kernel), absent, values.dtype)
    out[:, :, :: dilation[0], :: dilation[1]] = values
    return out
