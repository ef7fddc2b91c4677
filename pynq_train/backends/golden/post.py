"""What follows the sums: requantisation with its measures, pooling, flags, and their undoing.

Everything works on pixel-major arrays ``[image, row, column, channel]`` whose channels are padded
to whole words of four; maps in memory are words ``[image, block, row, column]``.
"""

from __future__ import annotations

import threading

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends.golden.activation import TOP, Activation, Gradient
from pynq_train.fixed import wrap
from pynq_train.hw.words import CHANNELS_PER_WORD

ACC_BITS = 48
"""Bits of a sum."""
_GATHER = np.uint64(0x0001_0001_0001_0001)
"""A product with this has the sum of a word's four 16-bit lanes in its top lane."""
_MASK_PLACE = np.array([1, 2, 4, 8], np.uint16)
"""Value of the mask bit of each lane in a pooled flag."""
_INDEX_PLACE = np.array([16, 64, 256, 1024], np.uint16)
"""Value of the lowest index bit of each lane in a pooled flag."""


def lane_words(keep: Array) -> Array:
    """Return int64 words with all ones in the lanes that ``keep[..., 4]`` names."""
    lanes = np.where(keep, np.int16(-1), np.int16(0))
    return np.ascontiguousarray(lanes).view(np.int64)[..., 0]


def _place_table() -> Array:
    """Return ``[indices]``: the word whose lanes hold the place of the pooled value."""
    lanes = np.arange(256)[:, None] >> 2 * np.arange(CHANNELS_PER_WORD) & 3
    return np.ascontiguousarray(lanes.astype(np.int16)).view(np.int64)[:, 0]


PLACE = _place_table()
"""``[indices of a pooled flag]``: place 0..3 of the pooled value in each lane of a word."""
LIVE = lane_words((np.arange(256)[:, None, None] >> (4 * np.arange(2)[:, None] + np.arange(4))) & 1
                  == 1)
"""``[flag byte, pixel]``: lanes whose flag is set, for the two pixels of a byte."""


class Requantiser:
    """Bias, measures, rounding and saturation; shared by the chunks of one descriptor.

    Args:
        shift: right shift of the requantisation.
        bias: aligned 48-bit biases, int64 ``[channel]``, or None.
        wraps: sums may leave 48 bits and are wrapped.

    Attributes:
        scale: 2**-shift, which the sums must have been multiplied with.
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
        """Turn sums into codes.

        Args:
            sums: float64 ``[pixels, channels]``, times ``scale``; overwritten.
            out: int16 of the same shape.
        """
        if self._bias is not None:
            sums += self._bias
        if self._wraps:
            whole = wrap((sums * self._unscale).astype(np.int64), ACC_BITS)
            np.multiply(whole, self.scale, out=sums)
        low, high = float(sums.min()), float(sums.max())
        self._observe(sums, low, high)
        # Scaled by a power of two the sums are still exact, so this is the only rounding: to
        # nearest, ties to even.
        np.rint(sums, out=sums)
        # Most chunks saturate nowhere: their extremes say so, without another pass over the array.
        if round(low) < -TOP or round(high) > TOP:
            count = int(np.count_nonzero(np.abs(sums) > TOP))
            np.clip(sums, -TOP, TOP, out=sums)
            with self._lock:
                self.saturations += count
        np.copyto(out, sums, casting="unsafe")

    def _observe(self, sums: Array, low: float, high: float) -> None:
        """Add sums, whose smallest and largest are known, to the measure."""
        # Read without the lock: another thread can only have added bits, and then this one looks at
        # its sums for nothing.
        known = self.measure
        # x XOR sign(x): of a negative number ~x, which is one less than its magnitude.
        largest = max(int(high * self._unscale), ~int(low * self._unscale))
        if known & (known + 1) == 0 and largest <= known:
            return  # all bits up to the largest are set already
        whole = (sums * self._unscale).astype(np.int64)
        whole ^= whole >> 63
        bits = int(np.bitwise_or.reduce(whole, axis=None))
        with self._lock:
            self.measure |= bits


def pool_2x2(codes: Array, activation: Activation) -> tuple[Array, Array]:
    """Return the 2x2 maxima of activated int16 ``[i, row, col, channel]``, and their flags.

    Args:
        codes: the codes, with even rows and columns; overwritten.
        activation: of the codes.

    Returns:
        The maxima ``[i, row/2, col/2, channel]`` and the flags, uint16 ``[i, row/2, col/2,
        block]``.
    """
    activation.before_pooling(codes)
    a, b = codes[:, 0::2, 0::2], codes[:, 0::2, 1::2]
    c, d = codes[:, 1::2, 0::2], codes[:, 1::2, 1::2]
    upper, lower = np.maximum(a, b), np.maximum(c, d)
    top = np.maximum(upper, lower)
    # Only a larger value wins against one with a lower index, so that the lowest index wins ties.
    index = np.where(lower > upper, (d > c) + np.uint16(2), (b > a).astype(np.uint16))
    mask = activation.pooled(top, index)
    blocks = top.shape[3] // CHANNELS_PER_WORD
    index *= np.tile(_INDEX_PLACE, blocks)
    mask *= np.tile(_MASK_PLACE, blocks)
    index += mask
    # Each lane has its own bits of the flag, so the sum of a word's lanes is their OR; the product
    # brings it to the top lane.
    flags = (index.view(np.uint64) * _GATHER) >> np.uint64(48)
    return top, flags.astype(np.uint16)


def store_words(words: Array, codes: Array) -> None:
    """Write int16 ``codes[i, row, col, channel]`` to map words ``[i, block, row, col]``."""
    words[...] = codes.view(np.int64).transpose(0, 3, 1, 2)


def store_mask_flags(flags: Array, words: Array, activation: Activation) -> None:
    """Write the flags of stored words: 4 bits per pixel.

    Args:
        flags: uint8 ``[i, block, row, byte]``, whole words per row; bits behind the last pixel
            become zero.
        words: int64 ``[i, block, row, col]``, as they are stored.
        activation: what they have been through.
    """
    lanes = np.ascontiguousarray(words).view(np.int16)
    bits = np.packbits(activation.live(lanes), axis=-1, bitorder="little")
    flags[..., : bits.shape[-1]] = bits
    flags[..., bits.shape[-1] :] = 0


def store_pool_flags(flags: Array, values: Array) -> None:
    """Write pooled flags ``values[i, row, col, block]`` to uint16 ``[i, block, row, pixel]``."""
    cols = values.shape[2]
    flags[..., :cols] = values.transpose(0, 3, 1, 2)
    flags[..., cols:] = 0


def live_lanes(flags: Array) -> Array:
    """Return int64 words ``[..., pixel]``, all ones in the lanes whose flag is set.

    ``flags``: uint8 ``[..., byte]`` of two pixels.
    """
    return np.take(LIVE, flags, axis=0).reshape(*flags.shape[:-1], -1)


def load_masked(out: Array, words: Array, flags: Array, gradient: Gradient,
                first: int = 0) -> None:
    """Copy ``words[i, block, row, col]`` to ``out[i, row, col, block]`` through mask flags.

    Args:
        out: int64 words.
        words: int64 words.
        flags: uint8 ``[i, block, row, byte]`` of two pixels, from column 0 on.
        gradient: what flags do to it.
        first: column of the map that ``words`` and ``out`` start with.
    """
    cols = slice(first, first + out.shape[2])
    live = live_lanes(flags)[..., cols]
    out[...] = gradient.through(words[..., cols], live, live).transpose(0, 2, 3, 1)


def load_unpooled(out: Array, words: Array, flags: Array, gradient: Gradient, row: int = 0,
                  col: int = 0) -> None:
    """Spread pooled ``words[i, block, row, col]`` over the unpooled ``out[i, row, col, block]``.

    Args:
        out: int64 words; every one is written.
        words: int64 words, all columns of the pooled map.
        flags: uint16 ``[i, block, row, pixel]``.
        gradient: what their mask bits do to it.
        row: unpooled row of ``out[:, 0, 0]``, counted from the first row of ``words``.
        col: its unpooled column.
    """
    flags = flags[..., : words.shape[3]].transpose(0, 2, 3, 1).astype(np.intp)
    live = np.take(LIVE[:, 0], flags & 0xF)
    codes = gradient.through(words.transpose(0, 2, 3, 1), live, live).view(np.int16)
    flags >>= 4
    flags &= 0xFF
    place = np.take(PLACE, flags).view(np.int16)
    # Each place of the 2x2 windows is written at once: the pooled value where the flag names this
    # place, else zero. ``above`` and ``left`` are the first row and column of ``out`` with this
    # place's parity.
    for q in range(4):
        above, left = (row + (q >> 1)) % 2, (col + (q & 1)) % 2
        part = out[:, above::2, left::2]
        at = (row + above) // 2, (col + left) // 2
        here = (slice(None), slice(at[0], at[0] + part.shape[1]),
                slice(at[1], at[1] + part.shape[2]))
        part[...] = np.multiply(codes[here], place[here] == q).view(np.int64)
