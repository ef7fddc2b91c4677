"""Scalar numbers: significand, exponent and sign in integers, as the normalisation unit has them.

A number is ``(-1)**sign * significand * 2**exponent`` with a significand of 31 bits whose top bit
is set, or zero (all three 0). Every operation truncates the significand towards zero. Fifty lines
of integers define mean, variance and reciprocal square root bit for bit on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BITS = 31
"""Bits of a significand."""
TOP = 1 << (BITS - 1)
EXPONENT_BITS = 16
FAR = 63
"""Shifts beyond this leave nothing."""


@dataclass(frozen=True)
class SoftFloats:
    """An array of scalar numbers: int64 arrays ``sign`` (0, 1), ``significand``, ``exponent``."""

    sign: Array
    significand: Array
    exponent: Array

    @classmethod
    def of_int(cls, values: Array, exponent: int) -> SoftFloats:
        """``values`` (int64, above -2**63) times ``2**exponent``."""
        values = values.astype(np.int64)
        magnitude = np.abs(values)
        drop = bit_length(magnitude) - BITS
        kept = np.where(drop > 0, magnitude >> np.maximum(drop, 0),
                        magnitude << np.maximum(-drop, 0))
        return _clean((values < 0).astype(np.int64), kept, exponent + drop)

    @classmethod
    def of_float(cls, value: float, shape: tuple[int, ...] = ()) -> SoftFloats:
        """The number nearest below ``value`` in magnitude, in every element."""
        fraction, exponent = math.frexp(abs(value))
        kept = int(fraction * (1 << BITS))
        full = [np.full(shape, v, np.int64) for v in (value < 0, kept, exponent - BITS)]
        return _clean(*full)

    @classmethod
    def unpack(cls, words: Array) -> SoftFloats:
        """From words ``{exponent[47:32], sign[31], significand[30:0]}``."""
        words = words.astype(np.int64)
        return cls(words >> 31 & 1, words & (1 << BITS) - 1, words << 16 >> 48)

    def pack(self) -> Array:
        """Words ``{0[63:48], exponent[47:32], sign[31], significand[30:0]}``, int64."""
        exponent = self.exponent & (1 << EXPONENT_BITS) - 1
        return exponent << 32 | self.sign << 31 | self.significand

    def moved(self, exponent: Array) -> SoftFloats:
        """The same times ``2**exponent``."""
        return _clean(self.sign, self.significand, self.exponent + exponent)

    def to_float(self) -> Array:
        """The same as float64, exactly."""
        return np.ldexp(np.where(self.sign > 0, -1.0, 1.0) * self.significand, self.exponent)

    def to_int(self, exponent: int) -> tuple[Array, Array]:
        """Integers in units of ``2**exponent``, truncated; and where they pass 62 bits.

        Returns:
            int64 values, below 2**63 in magnitude where the second array, bool, is False.
        """
        left = self.exponent - exponent
        over = (left > 32) & (self.significand > 0)
        magnitude = np.where(left >= 0, self.significand << np.clip(left, 0, 32),
                             self.significand >> np.clip(-left, 0, FAR))
        return np.where(self.sign > 0, -magnitude, magnitude), over

    def __neg__(self) -> SoftFloats:
        return _clean(1 - self.sign, self.significand, self.exponent)

    def __mul__(self, other: SoftFloats) -> SoftFloats:
        product = self.significand * other.significand
        carry = product >> (2 * BITS - 1)
        return _clean(self.sign ^ other.sign, product >> (BITS - 1 + carry),
                      self.exponent + other.exponent + BITS - 1 + carry)

    def __add__(self, other: SoftFloats) -> SoftFloats:
        swap = _less(self, other)
        big, small = _choose(swap, other, self), _choose(swap, self, other)
        moved = small.significand >> np.clip(big.exponent - small.exponent, 0, FAR)
        total = big.significand + np.where(big.sign == small.sign, moved, -moved)
        up = bit_length(total) - BITS
        kept = np.where(up > 0, total >> 1, total << np.maximum(-up, 0))
        return _clean(big.sign, kept, big.exponent + up)

    def __sub__(self, other: SoftFloats) -> SoftFloats:
        return self + -other

    def positive(self) -> SoftFloats:
        """Zero where negative."""
        return _clean(self.sign, np.where(self.sign > 0, 0, self.significand), self.exponent)

    def root_seed(self, table: Array) -> SoftFloats:
        """Reciprocal square root to 7 bits from ``hw.tables.ROOT_SEEDS``; zero of zero."""
        steps = len(table) // 2
        total = self.exponent + BITS - 1
        odd = total & 1
        low = (self.significand * steps >> BITS - 1) % steps
        seed = table[odd * steps + low]
        found = np.where(self.significand > 0, seed << (BITS - 8), 0)
        return _clean(np.zeros_like(found), found, -BITS - (total - odd) // 2)


def bit_length(values: Array) -> Array:
    """Bits of non-negative int64 ``values``; 0 for 0."""
    high, low = values >> 32, values & 0xFFFF_FFFF
    part = np.where(high > 0, high, low)
    _, bits = np.frexp(part.astype(np.float64))
    return bits.astype(np.int64) + np.where(high > 0, 32, 0)


def _less(one: SoftFloats, other: SoftFloats) -> Array:
    """Whether ``one`` is smaller in magnitude."""
    nothing = (one.significand == 0) & (other.significand > 0)
    both = (one.significand > 0) & (other.significand > 0)
    lower = (one.exponent < other.exponent) | (
        (one.exponent == other.exponent) & (one.significand < other.significand))
    return nothing | (both & lower)


def _choose(where: Array, one: SoftFloats, other: SoftFloats) -> SoftFloats:
    return SoftFloats(*(np.where(where, a, b) for a, b in (
        (one.sign, other.sign), (one.significand, other.significand),
        (one.exponent, other.exponent))))


def _clean(sign: Array, significand: Array, exponent: Array) -> SoftFloats:
    """Zero has sign and exponent 0."""
    there = significand > 0
    zero = np.int64(0)
    return SoftFloats(np.where(there, sign, zero), np.where(there, significand, zero),
                   np.where(there, exponent, zero))
