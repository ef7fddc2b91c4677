"""Exponential functions with the same bits on every machine.

NumPy's own, and those of the C library, differ in the last bit from version to version. These are
made of sums, products and powers of two alone, which IEEE 754 rounds alike everywhere, so that what
is rounded from them to integers, the tables of curves, is the same too. They are off by two units
in the last place at most (``expm1`` and ``tanh``: by four).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

_LARGEST = 709.0
_LEAST = -745.0
# The logarithm of 2 in two parts: products of the first with whole numbers up to 2**11 are exact.
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
_TERMS = tuple(1 / math.factorial(n) for n in range(15, 0, -1))
_SMALL = 0.35
"""Magnitude up to which the series of ``exp(x) - 1`` is summed without its reduction."""


def _series(x: Reals) -> Reals:
    """Return ``exp(x) - 1`` for magnitudes up to about a half."""
    total = np.zeros_like(x)
    for term in _TERMS:
        total = (total + term) * x
    return total


def exp(x: Any) -> Reals:
    """Return the exponential, float64 of any shape; arguments beyond -745..709 count as these."""
    x = np.clip(np.asarray(x, np.float64), _LEAST, _LARGEST)
    power = np.rint(x * (1 / math.log(2)))
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    # C ints: those of 64 bits are not taken where a C long has 32.
    whole = np.where(np.isnan(power), 0, power).astype(np.intc)
    return np.asarray(np.ldexp(1 + _series(rest), whole))


def expm1(x: Any) -> Reals:
    """Return ``exp(x) - 1`` without the loss of digits near 0."""
    x = np.asarray(x, np.float64)
    near = np.abs(x) < _SMALL
    return np.where(near, _series(np.where(near, x, 0.0)), exp(x) - 1)


def tanh(x: Any) -> Reals:
    """Return the hyperbolic tangent."""
    x = np.asarray(x, np.float64)
    more = expm1(np.minimum(2 * np.abs(x), 80.0))
    return np.copysign(more / (more + 2), x)
