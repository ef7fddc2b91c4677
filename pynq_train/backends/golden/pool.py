"""Pooling: maxima of windows, and gradients back to them, in integers (``docs/numerics.md`` 10)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends.golden.memory import Memory
from pynq_train.backends.golden.workers import Workers
from pynq_train.fixed import rne_shift, saturate
from pynq_train.hw.config import CHANNELS_PER_WORD
from pynq_train.hw.pool import MAX_KERNEL, WINNER_PIXELS, WINNER_ROW

Array = NDArray[Any]

CODE_BITS = 16
_OUTSIDE = -1 << 16
"""Below every code: never chosen."""


@dataclass(frozen=True)
class _Site:
    """Sizes of a descriptor."""

    rows: int
    cols: int
    q_rows: int
    q_cols: int
    kernel: int
    stride: int
    top: int
    left: int

    @classmethod
    def of(cls, d: dict[str, int]) -> _Site:
        return cls(*(d[f"p.{name}"] for name in ("p_rows", "p_cols", "q_rows", "q_cols",
                                                 "p_kernel", "p_stride", "p_top", "p_left")))

    def blank(self, images: int, fill: int) -> Array:
        """A map ``[image, row, column, lane]`` with all places that windows reach."""
        reach = self.stride * max(self.q_rows - 1, 0) + MAX_KERNEL
        across = self.stride * max(self.q_cols - 1, 0) + MAX_KERNEL
        shape = (images, max(self.top + self.rows, reach), max(self.left + self.cols, across),
                 CHANNELS_PER_WORD)
        return np.full(shape, fill, np.int32)

    def inside(self, padded: Array) -> Array:
        """The map itself."""
        return padded[:, self.top:self.top + self.rows, self.left:self.left + self.cols]

    def taps(self, padded: Array, kernel: int) -> Iterator[tuple[int, Array]]:
        """Code of each place of the windows, and its pixels as ``[image, q row, q column, lane]``.
        """
        s = self.stride
        for row in range(kernel):
            for col in range(kernel):
                yield WINNER_ROW * row + col, padded[
                    :, row:row + s * (self.q_rows - 1) + 1:s,
                    col:col + s * (self.q_cols - 1) + 1:s]


def pool(memory: Memory, d: dict[str, int], p: dict[str, int],
         workers: Workers) -> tuple[int, int]:
    """Run the pooling pass; returns its record: measure, saturations.

    Maps are int16 ``[image, block, row, column, lane]``, images ``i_step`` and ``o_step`` bytes
    apart; winners uint16 ``[image, block, pixel]``, planes filled to whole words.
    """
    site, blocks, back = _Site.of(d), d["p.p_blocks"], d["p.p_back"]
    whole = (blocks, site.rows, site.cols, CHANNELS_PER_WORD)
    pooled = (blocks, site.q_rows, site.q_cols, CHANNELS_PER_WORD)
    row = -(-site.q_rows * site.q_cols // WINNER_PIXELS) * WINNER_PIXELS

    def run(image: int) -> tuple[int, int]:
        def view(name: str, key: str, shape: tuple[int, ...], dtype: type) -> Array:
            return memory.view(name, d[f"p.{key}_off"] + image * d[f"p.{key}_step"], shape, dtype)

        source = view("the map that is read", "i", pooled if back else whole, np.int16)
        result = view("the map that is written", "o", whole if back else pooled, np.int16)
        winners = None
        if back or d["p.p_winners"]:
            winners = view("the winners", "w", (blocks, row), np.uint16)
        total = _backward(site, source, winners) if back else _forward(site, source, winners)
        exact = rne_shift(total.astype(np.int64), p["shift"]) if p["shift"] else total
        codes = saturate(exact, CODE_BITS)
        result[...] = codes
        magnitude = total ^ (total >> 31)
        return (int(np.bitwise_or.reduce(magnitude, axis=None)),
                int(np.count_nonzero(codes != exact)))

    measure = saturations = 0
    for part in workers.map(run, range(d["p.p_images"])):
        measure |= part[0]
        saturations += part[1]
    return measure, saturations


def _forward(site: _Site, source: Array, winners: Array | None) -> Array:
    """Maxima ``[block, q row, q column, lane]``; writes the winners ``[block, pixel]``."""
    padded = site.blank(len(source), _OUTSIDE)
    site.inside(padded)[...] = source
    taps = site.taps(padded, site.kernel)
    best = next(taps)[1].copy()
    place = np.zeros(best.shape, np.uint16)
    for code, tap in taps:
        np.copyto(place, np.uint16(code), where=tap > best)  # a later equal one loses
        np.maximum(best, tap, out=best)
    if winners is not None:
        pixels = site.q_rows * site.q_cols
        lanes = place.reshape(len(source), pixels, CHANNELS_PER_WORD)
        winners[:, pixels:] = 0
        winners[:, :pixels] = (lanes << np.arange(0, 16, 4, dtype=np.uint16)).sum(
            -1, dtype=np.uint16)
    return best


def _backward(site: _Site, source: Array, winners: Array | None) -> Array:
    """Sums of gradients ``[block, row, column, lane]``."""
    assert winners is not None
    pixels = site.q_rows * site.q_cols
    place = winners[:, :pixels, None] >> np.arange(0, 16, 4, dtype=np.uint16) & 15
    place = place.reshape(source.shape)
    padded = site.blank(len(source), 0)
    wide = source.astype(np.int32)
    for code, tap in site.taps(padded, MAX_KERNEL):
        tap += np.where(place == code, wide, np.int32(0))
    return site.inside(padded)
