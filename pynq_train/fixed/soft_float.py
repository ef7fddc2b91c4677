"""Soft floats: significand, exponent and sign in integers, as the normalisation unit has them.

A soft float is ``(-1)**sign * significand * 2**exponent`` with a significand of 31 bits whose top
bit is set, or zero (all three 0). Every operation truncates the significand towards zero
(``docs/numerics.md`` 7). They define mean, variance and reciprocal square root bit for bit on every
machine, which the rounding of float hardware and libraries would not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array

BITS = 31
"""Bits of a significand."""
TOP = 1 << (BITS - 1)
"""Top bit of a significand."""
EXPONENT_BITS = 16
"""Bits of an exponent in a packed word."""
FAR = 63
"""Shifts beyond this leave nothing."""


@dataclass(frozen=True)
class SoftFloats:
    """An array of soft floats.

    Attributes:
        sign: int64, 1 for negative numbers, else 0.
        significand: int64, 0 or 2**30 to 2**31 - 1.
        exponent: int64; all three have the same shape.
    """

    sign: Array
    significand: Array
    exponent: Array

    @classmethod
    def of_int(cls, values: Array, exponent: int) -> SoftFloats:
        """Return ``values`` (int64, above -2**63) times ``2**exponent``, truncated to 31 bits."""
        values = values.astype(np.int64)
        magnitude = np.abs(values)
        drop = bit_length(magnitude) - BITS
        kept = np.where(drop > 0, magnitude >> np.maximum(drop, 0),
                        magnitude << np.maximum(-drop, 0))
        return _clean((values < 0).astype(np.int64), kept, exponent + drop)

    @classmethod
    def of_float(cls, value: float, shape: tuple[int, ...] = ()) -> SoftFloats:
        """Return ``value`` truncated to 31 bits, in every element of an array of ``shape``."""
        fraction, exponent = math.frexp(abs(value))
        kept = int(fraction * (1 << BITS))
        full = [np.full(shape, v, np.int64) for v in (value < 0, kept, exponent - BITS)]
        return _clean(*full)

    @classmethod
    def unpack(cls, words: Array) -> SoftFloats:
        """Return the numbers of words ``{exponent[47:32], sign[31], significand[30:0]}``, int64."""
        words = words.astype(np.int64)
        # The shift up and down again extends the sign of the exponent in bits 47 to 32.
        return cls(words >> 31 & 1, words & (1 << BITS) - 1, words << 16 >> 48)

    def pack(self) -> Array:
        """Return words ``{0[63:48], exponent[47:32], sign[31], significand[30:0]}``, int64."""
        exponent = self.exponent & (1 << EXPONENT_BITS) - 1
        return exponent << 32 | self.sign << 31 | self.significand

    def moved(self, exponent: Array) -> SoftFloats:
        """Return the numbers times ``2**exponent``, exactly."""
        return _clean(self.sign, self.significand, self.exponent + exponent)

    def to_float(self) -> Array:
        """Return the numbers as float64, exactly."""
        return np.ldexp(np.where(self.sign > 0, -1.0, 1.0) * self.significand,
                        self.exponent.astype(np.intc))  # C ints, where a C long has 32 bits too

    def to_int(self, exponent: int) -> tuple[Array, Array]:
        """Return the numbers as integers in units of ``2**exponent``, truncated towards zero.

        Returns:
            int64 values, below 2**63 in magnitude, and a bool array that is True where a number is
            too large for that; the value there has no meaning.
        """
        left = self.exponent - exponent
        # A significand has 31 bits: moved up by 32 it has 63, the most that int64 holds.
        over = (left > 32) & (self.significand > 0)
        magnitude = np.where(left >= 0, self.significand << np.clip(left, 0, 32),
                             self.significand >> np.clip(-left, 0, FAR))
        return np.where(self.sign > 0, -magnitude, magnitude), over

    def __neg__(self) -> SoftFloats:
        """Return the numbers with the other sign; zero stays zero."""
        return _clean(1 - self.sign, self.significand, self.exponent)

    def __mul__(self, other: SoftFloats) -> SoftFloats:
        """Return the products, truncated to 31 bits."""
        product = self.significand * other.significand
        # Both factors are in [2**30, 2**31), so the product is in [2**60, 2**62): it fits int64,
        # and its top bit is bit 60 or, with a carry, bit 61.
        carry = product >> (2 * BITS - 1)
        return _clean(self.sign ^ other.sign, product >> (BITS - 1 + carry),
                      self.exponent + other.exponent + BITS - 1 + carry)

    def __add__(self, other: SoftFloats) -> SoftFloats:
        """Return the sums; the smaller number is truncated to the place of the larger one first."""
        swap = _less(self, other)
        big, small = _choose(swap, other, self), _choose(swap, self, other)
        # No guard bits: what the smaller number loses here is lost, in the hardware too. A
        # difference beyond FAR leaves nothing, as any above 31 does.
        moved = small.significand >> np.clip(big.exponent - small.exponent, 0, FAR)
        total = big.significand + np.where(big.sign == small.sign, moved, -moved)
        # The total is not negative, since the larger magnitude comes first, and below 2**32: at
        # most one bit to the right, any number to the left after a difference.
        up = bit_length(total) - BITS
        kept = np.where(up > 0, total >> 1, total << np.maximum(-up, 0))
        return _clean(big.sign, kept, big.exponent + up)

    def __sub__(self, other: SoftFloats) -> SoftFloats:
        """Return the differences."""
        return self + -other

    def positive(self) -> SoftFloats:
        """Return the numbers, zero instead of negative ones."""
        return _clean(self.sign, np.where(self.sign > 0, 0, self.significand), self.exponent)

    def root_seed(self, table: Array) -> SoftFloats:
        """Return about 1 / sqrt of the numbers, to 7 bits; zero of zero.

        ``table``: ``hw.tables.ROOT_SEEDS``, for significands in [1, 2), then in [2, 4). Newton
        steps make the seed exact; signs are ignored.
        """
        steps = len(table) // 2
        # The number is f * 2**total with f in [1, 2). The root of an odd power of two is none: an
        # odd total gives its factor 2 to f, which is in [2, 4) then.
        total = self.exponent + BITS - 1
        odd = total & 1
        low = (self.significand * steps >> BITS - 1) % steps
        seed = table[odd * steps + low]
        found = np.where(self.significand > 0, seed << (BITS - 8), 0)
        return _clean(np.zeros_like(found), found, -BITS - (total - odd) // 2)


def bit_length(values: Array) -> Array:
    """Return the number of bits of non-negative int64 ``values``; 0 for 0."""
    # frexp on each half: float64 does not hold 63 bits, and rounding up would give one too many.
    high, low = values >> 32, values & 0xFFFF_FFFF
    part = np.where(high > 0, high, low)
    _, bits = np.frexp(part.astype(np.float64))
    return bits.astype(np.int64) + np.where(high > 0, 32, 0)


def _less(one: SoftFloats, other: SoftFloats) -> Array:
    """Return whether ``one`` is smaller in magnitude than ``other``."""
    nothing = (one.significand == 0) & (other.significand > 0)
    both = (one.significand > 0) & (other.significand > 0)
    lower = (one.exponent < other.exponent) | (
        (one.exponent == other.exponent) & (one.significand < other.significand))
    return nothing | (both & lower)


def _choose(where: Array, one: SoftFloats, other: SoftFloats) -> SoftFloats:
    """Return ``one`` where ``where``, else ``other``."""
    return SoftFloats(*(np.where(where, a, b) for a, b in (
        (one.sign, other.sign), (one.significand, other.significand),
        (one.exponent, other.exponent))))


def _clean(sign: Array, significand: Array, exponent: Array) -> SoftFloats:
    """Return the number with sign and exponent 0 where its significand is 0."""
    there = significand > 0
    zero = np.int64(0)
    return SoftFloats(np.where(there, sign, zero), np.where(there, significand, zero),
                   np.where(there, exponent, zero))
