"""What a convolution descriptor computes: its section ``g``, as a frozen value with views."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends.golden.activation import Activation, Gradient
from pynq_train.backends.golden.memory import ArenaViews
from pynq_train.hw.commands import LoadMode, Pass
from pynq_train.hw.words import (
    CHANNELS_PER_WORD,
    FLAG_MASK_PIXELS,
    FLAG_POOL_PIXELS,
    WORD_BYTES,
    ceil_div,
)
from pynq_train.program.program import Fields


@dataclass(frozen=True)
class Geometry:
    """Section ``g`` of a descriptor: what a convolution computes, without how.

    Sizes are those of the layer before pooling. Offsets are bytes in the arena, of the first image
    that the descriptor takes; byte strides are
    (image, channel block, row, column). Kernel and stride are (rows, columns).
    ``docs/gen/descriptors.md`` lists the fields.
    """

    kind: Pass
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pool: bool
    flags: bool
    bias: bool
    phase: int
    mode: LoadMode
    pad_top: int
    pad_left: int
    m: int
    n: int
    images: int
    nb: int
    in_rows: int
    in_cols: int
    out_rows: int
    out_cols: int
    x: int
    x_strides: tuple[int, ...]
    y: int
    y_strides: tuple[int, ...]
    flag: int
    flag_strides: tuple[int, ...]
    w: int
    b: int
    m_tile: int
    group: int
    activation: Activation
    gradient: Gradient

    @classmethod
    def of(cls, d: Fields) -> Geometry:
        """Return the geometry of unpacked fields.

        Raises:
            ValueError: a size is below 1, or a pass or load mode does not exist.
        """
        g = {k[4:]: v for k, v in d.items() if k.startswith("g.g_")}
        kernel, stride = ((g[name], g[name] + g[f"{name}_wider"]) for name in ("kernel", "stride"))
        for name, sides in (("kernel", kernel), ("stride", stride)):
            if min(sides) < 1:
                raise ValueError(f"g_{name}: expected 1 or more, found {sides[0]}x{sides[1]}")
        for name in ("m", "n", "images", "nb", "in_rows", "in_cols",
                     "out_rows", "out_cols", "tile"):
            if g[name] < 1:
                raise ValueError(f"g_{name}: expected 1 or more, found {g[name]}")
        return cls(
            Pass(g["pass"]), kernel, stride, bool(g["pool"]), bool(g["flags"]),
            bool(g["bias"]), g["phase"], LoadMode(g["mode"]), g["pad_top"], g["pad_left"], g["m"],
            g["n"], g["images"], g["nb"], g["in_rows"], g["in_cols"], g["out_rows"], g["out_cols"],
            g["x"] + d["gc.first"] * g["x_strides0"], tuple(g[f"x_strides{i}"] for i in range(4)),
            g["y"] + d["gc.first"] * g["y_strides0"],
            tuple(g[f"y_strides{i}"] for i in range(4)),
            g["flag"] + d["gc.first"] * g["flag_strides0"],
            tuple(g[f"flag_strides{i}"] for i in range(3)), g["w"], g["b"], g["tile"],
            g["group"], Activation.of_convolution(d), Gradient.of_convolution(d))

    def m_tile_parts(self) -> tuple[Geometry, ...]:
        """Return the dense convolution of each m tile of a grouped one; any other one as it is.

        With ``g_group`` the output channels of an m tile read the input channels of the same
        numbers, so the tiles are independent of each other.
        """
        if not self.group:
            return (self,)
        tile, blocks, parts = self.m_tile, self.m_tile // CHANNELS_PER_WORD, []
        # Bytes of the 16-bit weights of an m tile; its other tensors move by its channel blocks.
        weights = 2 * self.nb * prod(self.kernel) * tile * CHANNELS_PER_WORD
        for t in range(self.m_tiles):
            channels = min(tile, self.m - t * tile)
            parts.append(replace(
                self, m=channels, n=channels, group=0, w=self.w + t * weights,
                x=self.x + t * blocks * self.x_strides[1],
                y=self.y + t * blocks * self.y_strides[1],
                flag=self.flag + t * blocks * self.flag_strides[1],
                b=self.b + t * tile * WORD_BYTES))
        return tuple(parts)

    @property
    def m_blocks(self) -> int:
        """Channel blocks of the output."""
        return ceil_div(self.m, CHANNELS_PER_WORD)

    @property
    def n_blocks(self) -> int:
        """Channel blocks of the input."""
        return ceil_div(self.n, CHANNELS_PER_WORD)

    @property
    def m_tiles(self) -> int:
        """Tiles of output channels."""
        return ceil_div(self.m, self.m_tile)

    @property
    def pooled(self) -> bool:
        """Whether the output, or its gradient, is stored after 2x2 pooling."""
        return self.pool or self.mode == LoadMode.UNPOOL

    @property
    def y_rows(self) -> int:
        """Stored rows of the output."""
        return self.out_rows // 2 if self.pooled else self.out_rows

    @property
    def y_cols(self) -> int:
        """Stored columns of the output."""
        return self.out_cols // 2 if self.pooled else self.out_cols

    def x_words(self, memory: ArenaViews) -> Array:
        """Return the words of the input or its gradient ``[image, block, row, column]``."""
        shape = (self.images, self.n_blocks, self.in_rows, self.in_cols)
        return memory.words("the layer's input", self.x, shape, self.x_strides)

    def y_words(self, memory: ArenaViews) -> Array:
        """Return the words of the output or its gradient ``[image, block, row, column]``."""
        shape = (self.images, self.m_blocks, self.y_rows, self.y_cols)
        return memory.words("the layer's output", self.y, shape, self.y_strides)

    def flag_units(self, memory: ArenaViews) -> Array:
        """Return the flags ``[image, block, row, unit]``, as they stand in memory.

        A unit is a byte of two pixels, pooled: a uint16 of one pixel. Rows are whole words.
        """
        per = FLAG_POOL_PIXELS if self.pooled else FLAG_MASK_PIXELS
        words = ceil_div(self.y_cols, per)
        dtype: Any = np.uint16 if self.pooled else np.uint8
        units = words * WORD_BYTES // np.dtype(dtype).itemsize
        shape = (self.images, self.m_blocks, self.y_rows, units)
        memory.view("the flags", self.flag, (*shape[:3], words), np.int64,
                    (*self.flag_strides, WORD_BYTES))  # checks alignment and bounds
        # NumPy before 1.23 lets no view of rows with gaps change its item size.
        strides = (*self.flag_strides, np.dtype(dtype).itemsize)
        return np.ndarray(shape, dtype, memory.arena.data, self.flag, strides)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights in memory: ``[m tile, n block, kr, kc, m of the tile, 4]``."""
        return self.m_tiles, self.nb, *self.kernel, self.m_tile, CHANNELS_PER_WORD

    def weights(self, memory: ArenaViews) -> Array:
        """Return the 16-bit weights, int16 of :attr:`weight_shape`."""
        return memory.view("the weights", self.w, self.weight_shape, np.int16)

    def biases(self, memory: ArenaViews, dtype: Any, per_word: int) -> Array:
        """Return bias masters or sums: ``[padded m, per_word]``.

        ``dtype``, ``per_word``: type of the numbers, and how many of them are in a word.
        """
        channels = self.n if self.kind is Pass.BACKWARD else self.m
        shape = (ceil_div(channels, self.m_tile) * self.m_tile, per_word)
        return memory.view("the biases", self.b, shape, dtype)


@dataclass(frozen=True)
class Chunk:
    """A part of the pixels of a pass: some images whole, or some rows of one image.

    Attributes:
        image: first image.
        images: number of images.
        row: first row.
        rows: number of rows.
    """

    image: int
    images: int
    row: int
    rows: int


def split(images: int, rows: int, row_bytes: int, target_bytes: int, even: bool) -> list[Chunk]:
    """Cut ``images`` x ``rows`` into chunks of about ``target_bytes``.

    Args:
        images: images to cut.
        rows: rows of an image.
        row_bytes: bytes that one row of one image needs.
        target_bytes: bytes that a chunk should need.
        even: chunks start at even rows, for pooling.
    """
    whole = rows * row_bytes
    if whole <= target_bytes or rows == 1:
        some = max(1, target_bytes // whole)
        return [Chunk(i, min(some, images - i), 0, rows) for i in range(0, images, some)]
    few = max(1, target_bytes // row_bytes)
    few = max(2, few // 2 * 2) if even else few
    return [Chunk(i, 1, r, min(few, rows - r))
            for i in range(images) for r in range(0, rows, few)]
