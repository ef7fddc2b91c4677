"""Numbers on their way between NumPy floats and device memory.

``docs/numerics.md`` 1 lists the formats. Arrays keep their shape.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.fixed import rne_shift, saturate
from pynq_train.hw.layouts import MASTER
from pynq_train.hw.words import MASTER_EXPONENT

MASTER_LIMIT = (1 << 31) - 1
"""Largest master; the smallest is minus this."""
OPERAND_BITS = 16
OPERAND_LIMIT = (1 << (OPERAND_BITS - 1)) - 1
"""Largest 16-bit code; the smallest is minus this."""


def to_master(values: Array) -> NDArray[np.int32]:
    """Return floats as int32 masters Q3.28: rounded to nearest even, saturated symmetrically."""
    scaled = np.rint(np.ldexp(np.asarray(values, np.float64), -MASTER_EXPONENT))
    return np.clip(scaled, -MASTER_LIMIT, MASTER_LIMIT).astype(np.int32)


def from_master(masters: Array) -> NDArray[np.float32]:
    """Return int32 masters Q3.28 as float32, rounded to its 24 bits."""
    return np.ldexp(np.asarray(masters, np.float64), MASTER_EXPONENT).astype(np.float32)


def operand_copy(masters: Array, exponent: int) -> NDArray[np.int16]:
    """Return the 16-bit weights of masters at ``exponent``, as the update unit writes them."""
    wide = rne_shift(np.asarray(masters, np.int64), exponent - MASTER_EXPONENT)
    return saturate(wide, OPERAND_BITS).astype(np.int16)


def quantise(values: Array, exponent: int) -> NDArray[np.int16]:
    """Return floats as int16 codes of ``exponent``: to nearest even, saturated symmetrically."""
    # Scaling by a power of two is exact in float32 too: nothing here can be subnormal or infinite.
    scaled = np.rint(np.ldexp(np.asarray(values, np.float32), -exponent))
    return np.clip(scaled, -OPERAND_LIMIT, OPERAND_LIMIT).astype(np.int16)


def range_of(largest: float) -> int:
    """Return the range k of a tensor whose largest magnitude is ``largest``.

    The magnitude is in [2**(k-1), 2**k); k is 0 for a tensor of zeros.
    """
    return int(np.frexp(largest)[1]) if largest > 0 else 0


def master_words(values: Array, momentum: Array) -> NDArray[np.int64]:
    """Return int64 memory words {momentum, weight} of int32 masters and momentum."""
    words: NDArray[np.int64] = (
        MASTER.at("weight").insert(np.asarray(values, np.int32).astype(np.int64))
        | MASTER.at("momentum").insert(np.asarray(momentum, np.int32).astype(np.int64)))
    return words


def split_master_words(words: Array) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return (weights, momentum), int32, of int64 memory words {momentum, weight}."""
    weights, momentum = (MASTER.at(name).extract(np.asarray(words, np.int64)).astype(np.int32)
                         for name in ("weight", "momentum"))
    return weights, momentum
