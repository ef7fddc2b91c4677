"""Rounding, saturation and wrapping, bit for bit as the engine does them.

Every operation exists for int64 arrays and, with the suffix ``_int``, for Python integers of any
size. Saturation is symmetric everywhere: the most negative code never occurs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def rne_shift_int(value: int, shift: int) -> int:
    """Shift right by ``shift`` >= 0 bits, rounding to nearest, ties to even."""
    if shift < 0:
        raise ValueError(f"shift: expected 0 or more, found {shift}")
    if shift == 0:
        return value
    floor, rest = value >> shift, value & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return floor + int(rest > half or (rest == half and floor & 1 == 1))


def rne_shift(values: Array, shift: int) -> Array:
    """Shift int64 ``values`` right by 0..63 bits, rounding to nearest, ties to even."""
    if not 0 <= shift <= 63:
        raise ValueError(f"shift: expected 0..63, found {shift}")
    if shift == 0:
        return values.copy()
    floor = values >> shift
    rest = values & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return floor + ((rest > half) | ((rest == half) & ((floor & 1) == 1)))


def saturate_int(value: int, bits: int) -> int:
    """Clamp to +-(2**(bits-1) - 1)."""
    top = (1 << (bits - 1)) - 1
    return max(-top, min(top, value))


def saturate(values: Array, bits: int) -> Array:
    """Clamp int64 ``values`` to +-(2**(bits-1) - 1)."""
    top = (1 << (bits - 1)) - 1
    return np.clip(values, -top, top)


def wrap_int(value: int, bits: int) -> int:
    """Two's complement of the low ``bits`` of ``value``."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def wrap(values: Array, bits: int) -> Array:
    """Two's complement of the low ``bits`` (up to 64) of int64 ``values``."""
    drop = 64 - bits
    return (values << drop) >> drop


def align_int(value: int, shift: int, bits: int = 48) -> int:
    """Align ``value``: left by a positive ``shift``, else RNE right; wrapped to ``bits``."""
    moved = value << shift if shift >= 0 else rne_shift_int(value, -shift)
    return wrap_int(moved, bits)


def align(values: Array, shift: int, bits: int = 48) -> Array:
    """Align an int64 array as :func:`align_int` does; any shift is allowed."""
    aligned = [align_int(int(v), shift, bits) for v in values.reshape(-1)]
    return np.array(aligned, np.int64).reshape(values.shape)


def requantise_int(total: int, shift: int, bits: int = 16) -> tuple[int, bool]:
    """Round ``total`` right by ``shift`` and saturate: the code, and whether it saturated."""
    exact = rne_shift_int(total, shift)
    code = saturate_int(exact, bits)
    return code, code != exact


def requantise(totals: Array, shift: int, bits: int = 16) -> tuple[Array, int]:
    """Round int64 ``totals`` right by ``shift`` and saturate.

    Returns:
        The codes as int64, and how many of them saturated.
    """
    exact = rne_shift(totals, shift)
    codes = saturate(exact, bits)
    return codes, int(np.count_nonzero(codes != exact))
