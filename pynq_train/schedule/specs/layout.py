"""Where the elements of a tensor stand: strides of maps and flags, packing of NumPy arrays."""

from __future__ import annotations

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
    """A feature or dense map as a layer sees it: sizes, and byte strides from word to word.

    A dense map of a mini-batch is one image of one row whose columns are the mini-batch.
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
        """``[image][channel block][row][column][4]``."""
        blocks = ceil_div(channels, CHANNELS_PER_WORD)
        row = cols * WORD_BYTES
        return cls(images, blocks, rows, cols, blocks * rows * row, rows * row, row, WORD_BYTES)

    @classmethod
    def dense(cls, batch: int, channels: int) -> MapLayout:
        """``[channel block][image][4]``, the mini-batch as columns."""
        blocks = ceil_div(channels, CHANNELS_PER_WORD)
        row = batch * WORD_BYTES
        return cls(1, blocks, 1, batch, blocks * row, row, row, WORD_BYTES)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.images * self.blocks * self.rows * self.cols * WORD_BYTES

    @property
    def extent(self) -> int:
        """Bytes from its first to its last, gaps between images included."""
        steps = ((self.images, self.image_stride), (self.blocks, self.block_stride),
                 (self.rows, self.row_stride), (self.cols, self.col_stride))
        return WORD_BYTES + sum((count - 1) * stride for count, stride in steps)

    @property
    def flat(self) -> bool:
        """Words of a row are not adjacent: the channel blocks are."""
        return self.col_stride != WORD_BYTES

    def spread(self, blocks: int) -> MapLayout:
        """Return this feature map with ``blocks`` channel blocks from image to image."""
        return replace(self, image_stride=blocks * self.block_stride)

    def flattened(self) -> MapLayout:
        """Return this feature map as a dense layer reads it: a dense map with strides.

        Features are ordered (channel block, row, column, channel in block).
        """
        return MapLayout(1, self.blocks * self.rows * self.cols, 1, self.images,
                         self.image_stride * self.images, WORD_BYTES, WORD_BYTES,
                         self.image_stride)

    def as_maps(self) -> MapLayout:
        """Return a dense map as a convolution sees it: one image of 1x1 per column."""
        return MapLayout(self.cols, self.blocks, 1, 1, self.col_stride, self.block_stride,
                         WORD_BYTES, WORD_BYTES)


@dataclass(frozen=True)
class FlagLayout:
    """Flags of one layer: ``[image][channel block][row][word]``; strides in bytes.

    ``image_blocks``: channel blocks from image to image where there are more of them (0: no more).
    """

    images: int
    blocks: int
    rows: int
    row_words: int
    image_blocks: int = 0

    @classmethod
    def of(cls, images: int, channels: int, rows: int, cols: int, pool: bool) -> FlagLayout:
        """Flags for an output of ``rows`` x ``cols`` before pooling."""
        blocks = ceil_div(channels, CHANNELS_PER_WORD)
        if pool:
            return cls(images, blocks, rows // 2, ceil_div(cols // 2, FLAG_POOL_PIXELS))
        return cls(images, blocks, rows, ceil_div(cols, FLAG_MASK_PIXELS))

    @property
    def row_stride(self) -> int:
        """Bytes of a row."""
        return self.row_words * WORD_BYTES

    @property
    def block_stride(self) -> int:
        """Bytes of a channel block of an image."""
        return self.rows * self.row_stride

    @property
    def image_stride(self) -> int:
        """Bytes of an image."""
        return (self.image_blocks or self.blocks) * self.block_stride

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.images * self.blocks * self.block_stride

    def part(self, blocks: int) -> FlagLayout:
        """Return the flags of ``blocks`` channel blocks of these."""
        return replace(self, blocks=blocks, image_blocks=self.image_blocks or self.blocks)


def pack_maps(values: Array) -> Array:
    """Pack ``[image, channel, row, column]`` into ``[image][block][row][column][4]``."""
    images, channels, rows, cols = values.shape
    blocks = ceil_div(channels, CHANNELS_PER_WORD)
    out = np.zeros((images, blocks * CHANNELS_PER_WORD, rows, cols), values.dtype)
    out[:, :channels] = values
    out = out.reshape(images, blocks, CHANNELS_PER_WORD, rows, cols)
    return np.ascontiguousarray(out.transpose(0, 1, 3, 4, 2))


def unpack_maps(packed: Array, channels: int) -> Array:
    """Undo :func:`pack_maps`."""
    images, blocks, rows, cols, lanes = packed.shape
    values = packed.transpose(0, 1, 4, 2, 3).reshape(images, blocks * lanes, rows, cols)
    return np.ascontiguousarray(values[:, :channels])


def pack_dense(values: Array) -> Array:
    """Pack ``[image, channel]`` into ``[block][image][4]``."""
    images, channels = values.shape
    blocks = ceil_div(channels, CHANNELS_PER_WORD)
    out = np.zeros((images, blocks * CHANNELS_PER_WORD), values.dtype)
    out[:, :channels] = values
    words = out.reshape(images, blocks, CHANNELS_PER_WORD)
    return np.ascontiguousarray(words.transpose(1, 0, 2))


def unpack_dense(packed: Array, channels: int) -> Array:
    """Undo :func:`pack_dense`."""
    blocks, images, lanes = packed.shape
    values = packed.transpose(1, 0, 2).reshape(images, blocks * lanes)
    return np.ascontiguousarray(values[:, :channels])


def pack_weights(values: Array, blocks: int, m_tile: int) -> Array:
    """Pack ``W[m, n, kr, kc]`` into ``[m/tile][block][kr][kc][tile][4]``, ``blocks`` n blocks.

    Works for every dtype: 16-bit weights, masters, gradient sums.
    """
    m, n, kernel, _ = values.shape
    tiles = ceil_div(m, m_tile)
    out = np.zeros((tiles * m_tile, blocks * CHANNELS_PER_WORD, kernel, kernel), values.dtype)
    out[:m, :n] = values
    out = out.reshape(tiles, m_tile, blocks, CHANNELS_PER_WORD, kernel, kernel)
    return np.ascontiguousarray(out.transpose(0, 2, 4, 5, 1, 3))


def unpack_weights(packed: Array, m: int, n: int) -> Array:
    """Undo :func:`pack_weights`: return ``W[m, n, kr, kc]``."""
    tiles, blocks, kernel, _, lanes, four = packed.shape
    values = packed.transpose(0, 4, 1, 5, 2, 3)
    values = values.reshape(tiles * lanes, blocks * four, kernel, kernel)
    return np.ascontiguousarray(values[:m, :n])


def flat_to_blocks(values: Array, in_shape: tuple[int, int, int]) -> Array:
    """Reorder dense weights ``W[m, n]``, n over (channel, row, column) of ``in_shape``.

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
    """Undo :func:`flat_to_blocks`: return ``W[m, n]``."""
    channels, rows, cols = in_shape
    m = values.shape[0]
    blocks = ceil_div(channels, CHANNELS_PER_WORD)
    out = values.reshape(m, -1)[:, : blocks * rows * cols * CHANNELS_PER_WORD]
    out = out.reshape(m, blocks, rows, cols, CHANNELS_PER_WORD).transpose(0, 1, 4, 2, 3)
    out = out.reshape(m, blocks * CHANNELS_PER_WORD, rows, cols)[:, :channels]
    return np.ascontiguousarray(out).reshape(m, -1)
