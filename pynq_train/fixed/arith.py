"""Rounding, saturation and wrapping, bit for bit as the engine does them (``docs/numerics.md`` 1).

Every operation exists for int64 arrays and, with the suffix ``_int``, for Python integers of any
size. Arrays keep their shape. RNE means rounding to nearest, ties to even. Saturation is symmetric
everywhere: the most negative code never occurs.
"""

from __future__ import annotations

import numpy as np

from pynq_train.arrays import Array


def rne_shift_int(value: int, shift: int) -> int:
    """Shift right by ``shift`` bits, rounding to nearest, ties to even.

    Raises:
        ValueError: ``shift`` is negative.
    """
    if shift < 0:
        raise ValueError(f"shift: expected 0 or more, found {shift}")
    if shift == 0:
        return value
    # The shift rounds down, also below zero, so the rest is never negative and one rule serves both
    # signs.
    floor, rest = value >> shift, value & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return floor + int(rest > half or (rest == half and floor & 1 == 1))


def rne_shift(values: Array, shift: int) -> Array:
    """Shift int64 ``values`` right by ``shift`` bits, rounding to nearest, ties to even.

    Raises:
        ValueError: ``shift`` is not in 0..63.
    """
    if not 0 <= shift <= 63:
        raise ValueError(f"shift: expected 0..63, found {shift}")
    if shift == 0:
        return values.copy()
    floor = values >> shift
    rest = values & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return floor + ((rest > half) | ((rest == half) & ((floor & 1) == 1)))


def saturate_int(value: int, bits: int) -> int:
    """Return ``value`` limited to +-(2**(bits-1) - 1)."""
    top = (1 << (bits - 1)) - 1
    return max(-top, min(top, value))


def saturate(values: Array, bits: int) -> Array:
    """Return int64 ``values`` limited to +-(2**(bits-1) - 1)."""
    top = (1 << (bits - 1)) - 1
    return np.clip(values, -top, top)


def wrap_int(value: int, bits: int) -> int:
    """Return the low ``bits`` bits of ``value`` as a two's complement number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def wrap(values: Array, bits: int) -> Array:
    """Return the low ``bits`` bits (up to 64) of int64 ``values`` as two's complement numbers."""
    drop = 64 - bits
    return (values << drop) >> drop


def align_int(value: int, shift: int, bits: int = 48) -> int:
    """Return ``value`` shifted left by ``shift``, wrapped to ``bits`` bits.

    A negative shift goes right and rounds to nearest, ties to even.
    """
    moved = value << shift if shift >= 0 else rne_shift_int(value, -shift)
    return wrap_int(moved, bits)


def align(values: Array, shift: int, bits: int = 48) -> Array:
    """Align int64 ``values`` as :func:`align_int` does; any shift is allowed."""
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
