"""Pooling: maxima of windows, and gradients back to them, in integers (``docs/numerics.md`` 10)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends.golden.memory import ArenaViews
from pynq_train.backends.golden.workers import Workers
from pynq_train.fixed import rne_shift, saturate
from pynq_train.hw.limits import MAX_POOL_KERNEL
from pynq_train.hw.pool import ARGMAX_PIXELS, ARGMAX_ROW
from pynq_train.hw.words import CHANNELS_PER_WORD, round_up
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
    kernel: int
    stride: int
    top: int
    left: int

    @classmethod
    def of(cls, d: Fields) -> _Site:
        """Return the sizes of a descriptor's fields ``d``."""
        return cls(*(d[f"p.{name}"] for name in ("p_rows", "p_cols", "q_rows", "q_cols",
                                                 "p_kernel", "p_stride", "p_top", "p_left")))

    def blank(self, images: int, fill: int) -> Array:
        """Return a map with all places that windows reach, each element ``fill``.

        int32 ``[image, row, column, lane]``; windows of ``MAX_POOL_KERNEL`` places are taken, since
        an argmax index may name any of these whatever the kernel is.
        """
        reach = self.stride * max(self.q_rows - 1, 0) + MAX_POOL_KERNEL
        across = self.stride * max(self.q_cols - 1, 0) + MAX_POOL_KERNEL
        shape = (images, max(self.top + self.rows, reach), max(self.left + self.cols, across),
                 CHANNELS_PER_WORD)
        return np.full(shape, fill, np.int32)

    def inside(self, padded: Array) -> Array:
        """Return the view of the feature map itself in a map that :meth:`blank` made."""
        return padded[:, self.top:self.top + self.rows, self.left:self.left + self.cols]

    def taps(self, padded: Array, kernel: int) -> Iterator[tuple[int, Array]]:
        """Yield each place of the windows, row by row.

        With its code comes a view of its pixels in all windows: ``[image, q row, q column, lane]``.
        """
        s = self.stride
        for row in range(kernel):
            for col in range(kernel):
                yield ARGMAX_ROW * row + col, padded[
                    :, row:row + s * (self.q_rows - 1) + 1:s,
                    col:col + s * (self.q_cols - 1) + 1:s]


def pool(memory: ArenaViews, d: Fields, p: Fields,
         workers: Workers) -> tuple[int, int]:
    """Run the pooling pass on a POOL descriptor.

    Maps are int16 ``[image, block, row, column, lane]``, images ``i_step`` and ``o_step`` bytes
    apart; argmax indices uint16 ``[image, block, pixel]``, planes filled to whole words.

    Args:
        memory: the arena.
        d: fields of the descriptor.
        p: fields of the step-block entry.
        workers: the threads; each takes images.

    Returns:
        Its record: measure, saturations.
    """
    site, blocks, back = _Site.of(d), d["p.p_blocks"], d["p.p_back"]
    whole = (blocks, site.rows, site.cols, CHANNELS_PER_WORD)
    pooled = (blocks, site.q_rows, site.q_cols, CHANNELS_PER_WORD)
    row = round_up(site.q_rows * site.q_cols, ARGMAX_PIXELS)

    def run(image: int) -> tuple[int, int]:
        """Do one image; return measure and saturations."""
        def view(name: str, key: str, shape: tuple[int, ...], dtype: type) -> Array:
            return memory.view(name, d[f"p.{key}_off"] + image * d[f"p.{key}_step"], shape, dtype)

        source = view("the map that is read", "i", pooled if back else whole, np.int16)
        result = view("the map that is written", "o", whole if back else pooled, np.int16)
        argmax = None
        if back or d["p.p_argmax"]:
            argmax = view("the argmax indices", "w", (blocks, row), np.uint16)
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
    for part in workers.map(run, range(d["p.p_images"])):
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
    for code, tap in site.taps(padded, MAX_POOL_KERNEL):
        tap += np.where(place == code, wide, np.int32(0))
    return site.inside(padded)
