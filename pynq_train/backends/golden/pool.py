"""Pooling: maxima of windows, and gradients back to them, in integers (``docs/numerics.md`` 10)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends.golden.memory import ArenaViews
from pynq_train.backends.golden.workers import Workers
from pynq_train.fixed import rne_shift, saturate
from pynq_train.hw.limits import MAX_POOL_KERNEL
from pynq_train.hw.pool import ARGMAX_PIXELS, ARGMAX_ROW
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES, round_up
from pynq_train.program.program import Fields

CODE_BITS = 16
_OUTSIDE = -1 << 16
"""Below every code: never chosen."""


@dataclass(frozen=True)
class _Site:
    """Sizes of a POOL descriptor.

    Attributes:
        rows: rows of the feature map.
        cols: its columns.
        q_rows: rows of the pooled map.
        q_cols: its columns.
        kernel: rows and columns of a window.
        stride: rows and columns from window to window.
        top: rows of the first window above the map.
        left: its columns at the left of the map.
    """

    rows: int
    cols: int
    q_rows: int
    q_cols: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    top: int
    left: int

    @classmethod
    def of(cls, d: Fields) -> _Site:
        """Return the sizes of a descriptor's fields ``d``."""
        kernel, stride = ((d[f"gp.{name}"], d[f"gp.{name}"] + d[f"gp.{name}_wider"])
                          for name in ("kernel", "stride"))
        return cls(d["gp.rows"], d["gp.cols"], d["gp.q_rows"], d["gp.q_cols"], kernel, stride,
                   d["gp.top"], d["gp.left"])

    def blank(self, images: int, fill: int) -> Array:
        """Return a map with all places that windows reach, each element ``fill``.

        int32 ``[image, row, column, lane]``; windows of ``MAX_POOL_KERNEL`` places are taken, since
        an argmax index may name any of these whatever the kernel is.
        """
        reach = self.stride[0] * max(self.q_rows - 1, 0) + MAX_POOL_KERNEL
        across = self.stride[1] * max(self.q_cols - 1, 0) + MAX_POOL_KERNEL
        shape = (images, max(self.top + self.rows, reach), max(self.left + self.cols, across),
                 CHANNELS_PER_WORD)
        return np.full(shape, fill, np.int32)

    def inside(self, padded: Array) -> Array:
        """Return the view of the feature map itself in a map that :meth:`blank` made."""
        return padded[:, self.top:self.top + self.rows, self.left:self.left + self.cols]

    def taps(self, padded: Array, kernel: tuple[int, int]) -> Iterator[tuple[int, Array]]:
        """Yield each place of the windows, row by row.

        With its code comes a view of its pixels in all windows: ``[image, q row, q column, lane]``.
        """
        down, right = self.stride
        for row, col in np.ndindex(*kernel):
            yield ARGMAX_ROW * row + col, padded[
                :, row:row + down * (self.q_rows - 1) + 1:down,
                col:col + right * (self.q_cols - 1) + 1:right]


def pool(memory: ArenaViews, d: Fields, p: Fields,
         workers: Workers) -> tuple[int, int]:
    """Run the pooling pass on a POOL descriptor.

    Maps are int16 ``[image, block, row, column, lane]``; argmax indices uint16 ``[image, block,
    pixel]``, planes filled to whole words.

    Args:
        memory: the arena.
        d: fields of the descriptor.
        p: fields of the step-block entry.
        workers: the threads; each takes images.

    Returns:
        Its record: measure, saturations.
    """
    site, blocks, back = _Site.of(d), d["gp.blocks"], d["gp.back"]
    whole = (blocks, site.rows, site.cols, CHANNELS_PER_WORD)
    pooled = (blocks, site.q_rows, site.q_cols, CHANNELS_PER_WORD)
    row = round_up(site.q_rows * site.q_cols, ARGMAX_PIXELS)

    def run(image: int) -> tuple[int, int]:
        """Do one image; return measure and saturations."""
        def view(name: str, key: str, shape: tuple[int, ...], dtype: type) -> Array:
            """Return the channel blocks of the image of a tensor."""
            offset = d[f"gp.{key}"] + (d["gc.first"] + image) * d[f"gp.{key}_image"]
            block = d[f"gp.{key}_block"]
            plane = math.prod(shape[1:]) * np.dtype(dtype).itemsize
            memory.words(name, offset, (shape[0], plane // WORD_BYTES), (block, WORD_BYTES))
            inner = np.empty(shape[1:], dtype).strides
            return np.ndarray(shape, dtype, memory.arena.data, offset, (block, *inner))

        large, small = ("the map that is written", "the map that is read")[::1 if back else -1]
        large_map = view(large, "map", whole, np.int16)
        small_map = view(small, "pooled", pooled, np.int16)
        source, result = (small_map, large_map) if back else (large_map, small_map)
        argmax = None
        if back or d["gp.keep"]:
            argmax = view("the argmax indices", "argmax", (blocks, row), np.uint16)
        total = _backward(site, source, argmax) if back else _forward(site, source, argmax)
        exact = rne_shift(total.astype(np.int64), p["shift"]) if p["shift"] else total
        codes = saturate(exact, CODE_BITS)
        result[...] = codes
        # Sum XOR sign: |x| for positive, |x| - 1 for negative numbers, so that it has as many bits
        # as x needs beside its sign.
        magnitude = total ^ (total >> 31)
        return (int(np.bitwise_or.reduce(magnitude, axis=None)),
                int(np.count_nonzero(codes != exact)))

    measure = saturations = 0
    for part in workers.map(run, range(d["gc.count"])):
        measure |= part[0]
        saturations += part[1]
    return measure, saturations


def _forward(site: _Site, source: Array, argmax: Array | None) -> Array:
    """Return the maxima int32 ``[block, q row, q column, lane]``.

    The place of each is written to ``argmax``, uint16 ``[block, pixel]``, unless that is None.
    """
    padded = site.blank(len(source), _OUTSIDE)
    site.inside(padded)[...] = source
    taps = site.taps(padded, site.kernel)
    best = next(taps)[1].copy()
    place = np.zeros(best.shape, np.uint16)
    for code, tap in taps:
        np.copyto(place, np.uint16(code), where=tap > best)  # a later equal one loses
        np.maximum(best, tap, out=best)
    if argmax is not None:
        pixels = site.q_rows * site.q_cols
        lanes = place.reshape(len(source), pixels, CHANNELS_PER_WORD)
        argmax[:, pixels:] = 0
        argmax[:, :pixels] = (lanes << np.arange(0, 16, 4, dtype=np.uint16)).sum(
            -1, dtype=np.uint16)
    return best


def _backward(site: _Site, source: Array, argmax: Array | None) -> Array:
    """Return the sums of gradients, int32 ``[block, row, column, lane]``."""
    assert argmax is not None
    pixels = site.q_rows * site.q_cols
    place = argmax[:, :pixels, None] >> np.arange(0, 16, 4, dtype=np.uint16) & 15
    place = place.reshape(source.shape)
    padded = site.blank(len(source), 0)
    wide = source.astype(np.int32)
    # ``tap`` is a view: each place of the window adds to the pixels below it. Places beside the map
    # land in the frame of ``padded``, which is left out.
    for code, tap in site.taps(padded, (MAX_POOL_KERNEL, MAX_POOL_KERNEL)):
        tap += np.where(place == code, wide, np.int32(0))
    return site.inside(padded)
