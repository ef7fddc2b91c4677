"""What follows the sums: requantisation with its measures, pooling, flags, and their undoing.

Everything works on pixel-major arrays ``[image, row, column, channel]`` whose channels are padded
to whole words of four; maps in memory are words ``[image, block, row, column]``.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.fixed import wrap
from pynq_train.hw.limits import NO_LIMIT
from pynq_train.hw.words import CHANNELS_PER_WORD

Array = NDArray[Any]

TOP = 32767
"""Largest 16-bit code."""
ACC_BITS = 48
_GATHER = np.uint64(0x0001_0001_0001_0001)
_MASK_PLACE = np.array([1, 2, 4, 8], np.uint16)
_INDEX_PLACE = np.array([16, 64, 256, 1024], np.uint16)


def lane_words(keep: Array) -> Array:
    """Words with all ones in the lanes that ``keep[..., 4]`` names."""
    lanes = np.where(keep, np.int16(-1), np.int16(0))
    return np.ascontiguousarray(lanes).view(np.int64)[..., 0]


def _unpool_table() -> Array:
    """``[12-bit flag]``: word whose lanes hold the position of the pooled value, or -1."""
    flag = np.arange(4096)[:, None]
    lane = np.arange(4)
    mask, index = flag >> lane & 1, flag >> (4 + 2 * lane) & 3
    lanes = np.where(mask == 1, index, -1).astype(np.int16)
    return np.ascontiguousarray(lanes).view(np.int64)[:, 0]


UNPOOL = _unpool_table()
MASK = lane_words((np.arange(256)[:, None, None] >> (4 * np.arange(2)[:, None] + np.arange(4))) & 1
                  == 1)
"""``[flag byte, pixel]``: lanes that are kept, for the two pixels of a byte."""


class Requantiser:
    """Bias, measures, rounding and saturation; shared by the chunks of one descriptor.

    Args:
        shift: right shift of the requantisation.
        bias: aligned 48-bit biases per channel, or None.
        wraps: sums may leave 48 bits and are wrapped.

    Attributes:
        measure: OR of (sum XOR sign) so far.
        saturations: saturated elements so far.
    """

    def __init__(self, shift: int, bias: Array | None, wraps: bool) -> None:
        self.scale = 2.0**-shift
        self._unscale = 2.0**shift
        self._bias = None if bias is None else bias.astype(np.float64) * self.scale
        self._wraps = wraps
        self._lock = threading.Lock()
        self.measure = 0
        self.saturations = 0

    def __call__(self, sums: Array, out: Array) -> None:
        """Turn ``sums`` (float64, times ``scale``, overwritten) into int16 codes in ``out``."""
        if self._bias is not None:
            sums += self._bias
        if self._wraps:
            whole = wrap((sums * self._unscale).astype(np.int64), ACC_BITS)
            np.multiply(whole, self.scale, out=sums)
        low, high = float(sums.min()), float(sums.max())
        self._observe(sums, low, high)
        np.rint(sums, out=sums)
        if round(low) < -TOP or round(high) > TOP:
            count = int(np.count_nonzero(np.abs(sums) > TOP))
            np.clip(sums, -TOP, TOP, out=sums)
            with self._lock:
                self.saturations += count
        np.copyto(out, sums, casting="unsafe")

    def _observe(self, sums: Array, low: float, high: float) -> None:
        known = self.measure
        largest = max(int(high * self._unscale), ~int(low * self._unscale))
        if known & (known + 1) == 0 and largest <= known:
            return  # all bits up to the largest are set already
        whole = (sums * self._unscale).astype(np.int64)
        whole ^= whole >> 63
        bits = int(np.bitwise_or.reduce(whole, axis=None))
        with self._lock:
            self.measure |= bits


def pool(codes: Array, relu: bool, limit: int = NO_LIMIT) -> tuple[Array, Array]:
    """2x2 maximum of int16 ``[i, row, col, channel]`` with even rows and columns.

    ``limit``: with ReLU, values have been clipped to it; a maximum there sets no mask bit.

    Returns:
        The maxima ``[i, row/2, col/2, channel]`` and the flags, uint16
        ``[i, row/2, col/2, block]``.
    """
    a, b = codes[:, 0::2, 0::2], codes[:, 0::2, 1::2]
    c, d = codes[:, 1::2, 0::2], codes[:, 1::2, 1::2]
    upper, lower = np.maximum(a, b), np.maximum(c, d)
    top = np.maximum(upper, lower)
    index = np.where(lower > upper, (d > c) + np.uint16(2), (b > a).astype(np.uint16))
    if relu:
        mask = (top > 0).astype(np.uint16)
        index *= mask
        if limit <= TOP:
            mask *= top < limit
        np.maximum(top, 0, out=top)
    else:
        mask = np.ones_like(index)
    blocks = top.shape[3] // CHANNELS_PER_WORD
    index *= np.tile(_INDEX_PLACE, blocks)
    mask *= np.tile(_MASK_PLACE, blocks)
    index += mask
    flags = (index.view(np.uint64) * _GATHER) >> np.uint64(48)
    return top, flags.astype(np.uint16)


def store_words(words: Array, codes: Array) -> None:
    """Write int16 ``codes[i, row, col, channel]`` to map words ``[i, block, row, col]``."""
    words[...] = codes.view(np.int64).transpose(0, 3, 1, 2)


def store_mask_flags(flags: Array, words: Array, relu: bool, limit: int = NO_LIMIT) -> None:
    """Write the flags of stored ``words[i, block, row, col]``; ``flags``: uint8, rows of bytes.

    ``limit``: with ReLU, values have been clipped to it.
    """
    lanes = np.ascontiguousarray(words).view(np.int16)
    live = lanes > 0 if relu else lanes == lanes
    if limit <= TOP:
        live &= lanes < limit
    bits = np.packbits(live, axis=-1, bitorder="little")
    flags[..., : bits.shape[-1]] = bits
    flags[..., bits.shape[-1] :] = 0


def store_pool_flags(flags: Array, values: Array) -> None:
    """Write pooled flags ``values[i, row, col, block]``; ``flags``: uint16, whole rows."""
    cols = values.shape[2]
    flags[..., :cols] = values.transpose(0, 3, 1, 2)
    flags[..., cols:] = 0


def load_masked(out: Array, words: Array, flags: Array, first: int = 0) -> None:
    """Copy ``words[i, block, row, col]`` to ``out[i, row, col, block]`` through mask flags.

    ``first``: column of ``words`` that ``out`` starts with.
    """
    cols = slice(first, first + out.shape[2])
    keep = np.take(MASK, flags, axis=0).reshape(*flags.shape[:3], -1)[..., cols]
    np.bitwise_and(words[..., cols], keep, out=keep)
    out[...] = keep.transpose(0, 2, 3, 1)


def load_unpooled(out: Array, words: Array, flags: Array, row: int = 0, col: int = 0) -> None:
    """Spread pooled ``words[i, block, row, col]`` over the unpooled ``out[i, row, col, block]``.

    ``row``, ``col``: unpooled coordinates of ``out[:, 0, 0]``, the row from that of ``words``.
    """
    codes = np.ascontiguousarray(words.transpose(0, 2, 3, 1)).view(np.int16)
    flags = flags[..., : words.shape[3]].transpose(0, 2, 3, 1).astype(np.intp)
    flags &= 0xFFF
    place = np.take(UNPOOL, flags).view(np.int16)
    for q in range(4):
        above, left = (row + (q >> 1)) % 2, (col + (q & 1)) % 2
        part = out[:, above::2, left::2]
        at = (row + above) // 2, (col + left) // 2
        here = (slice(None), slice(at[0], at[0] + part.shape[1]),
                slice(at[1], at[1] + part.shape[2]))
        part[...] = np.multiply(codes[here], place[here] == q).view(np.int64)
