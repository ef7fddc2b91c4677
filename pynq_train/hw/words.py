"""What the whole engine is built on: words and what one holds, lanes, rounding up to them."""

from __future__ import annotations

from typing import Final

WORD_BYTES: Final = 8
"""Bytes of one memory word: four 16-bit channels of one pixel, one AXI beat."""

WORD_BITS = 8 * WORD_BYTES
"""Bits of one memory word."""

CHANNELS_PER_WORD: Final = 4
"""Channels in one word of a feature map: a channel block (the array's ``tr``)."""

SET_PIXELS = CHANNELS_PER_WORD
"""Pixels of one S set of the weight gradient, whose products a cascade adds: the reduction takes
pixels there, and channels in the other passes."""

LANES: Final = 3
"""Pixel lanes of the array (its ``tp``)."""

PORTS = 4
"""AXI ports of the engine to memory, each with a read and a write side."""

BURST_BEATS: Final = 16
"""Longest AXI burst in beats (AXI3 limit of the Zynq-7000 ports)."""

LINE_WORDS = 8
"""Words of the longest cache line of the supported processors; regions begin with a line."""
TENSOR_ALIGN_BYTES = WORD_BYTES * BURST_BEATS
"""Alignment of every tensor in the arena: one burst."""

FLAG_MASK_PIXELS = 16
"""Pixels of one flag word without pooling: a bit per channel, 4 per pixel."""

FLAG_POOL_PIXELS = 4
"""Pooled pixels of one flag word: a bit and a place in the window per channel, 16 per pixel."""

FLAG_UNPOOL_COLUMNS = 2 * FLAG_POOL_PIXELS
"""Columns of a map before its pooling whose flags stand in one flag word."""

MASTER_EXPONENT = -28
"""Exponent of the 32-bit masters of weights and biases (Q3.28)."""

ABSENT_WEIGHT = -(1 << 31)
"""Master of a weight that does not exist: an update leaves it, its operand copy is zero. No weight
gets there by arithmetic, which saturates symmetrically."""


def ceil_div(a: int, b: int) -> int:
    """Quotient rounded up."""
    return -(-a // b)


def round_up(a: int, b: int) -> int:
    """Smallest multiple of ``b`` that is not below ``a``."""
    return ceil_div(a, b) * b


def master_bytes(momentum: bool) -> int:
    """Bytes of a master: weight and ``momentum`` fill a word, a plain weight half of one."""
    return WORD_BYTES if momentum else WORD_BYTES // 2
