"""Numbers on their way between NumPy floats and device memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.fixed import rne_shift, saturate
from pynq_train.hw.words import MASTER_EXPONENT

Array = NDArray[Any]

MASTER_LIMIT = (1 << 31) - 1
OPERAND_BITS = 16
OPERAND_LIMIT = (1 << (OPERAND_BITS - 1)) - 1


def to_master(values: Array) -> NDArray[np.int32]:
    """Round floats to Q3.28 masters (nearest-even), saturating symmetrically."""
    scaled = np.rint(np.ldexp(np.asarray(values, np.float64), -MASTER_EXPONENT))
    return np.clip(scaled, -MASTER_LIMIT, MASTER_LIMIT).astype(np.int32)


def from_master(masters: Array) -> NDArray[np.float32]:
    """Return Q3.28 masters as float32 (rounded to its 24 bits)."""
    return np.ldexp(np.asarray(masters, np.float64), MASTER_EXPONENT).astype(np.float32)


def operand_copy(masters: Array, exponent: int) -> NDArray[np.int16]:
    """Return the 16-bit copy of Q3.28 masters at ``exponent``, as the update unit writes it."""
    wide = rne_shift(np.asarray(masters, np.int64), exponent - MASTER_EXPONENT)
    return saturate(wide, OPERAND_BITS).astype(np.int16)


def quantise(values: Array, exponent: int) -> NDArray[np.int16]:
    """Round floats to 16-bit integers of ``exponent`` (nearest-even), saturating symmetrically."""
    # Scaling by a power of two is exact in float32 too: nothing here can be subnormal or infinite.
    scaled = np.rint(np.ldexp(np.asarray(values, np.float32), -exponent))
    return np.clip(scaled, -OPERAND_LIMIT, OPERAND_LIMIT).astype(np.int16)


def range_of(largest: float) -> int:
    """Range ``k`` of a tensor whose largest magnitude is ``largest``: in [2**(k-1), 2**k)."""
    return int(np.frexp(largest)[1]) if largest > 0 else 0


def master_words(values: Array, momentum: Array) -> NDArray[np.int64]:
    """Join int32 masters and momentum to memory words {momentum, weight}."""
    low = np.asarray(values, np.int32).astype(np.int64) & 0xFFFF_FFFF
    joined: NDArray[np.int64] = np.asarray(momentum, np.int32).astype(np.int64) << 32 | low
    return joined


def split_master_words(words: Array) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Undo :func:`master_words`: return (weights, momentum)."""
    low = (words & 0xFFFF_FFFF).astype(np.uint32).view(np.int32)
    return low, (words >> 32).astype(np.int32)
