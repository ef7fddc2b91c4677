"""Number formats: signed integers with one power-of-two exponent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pynq_train.arrays import Array


@dataclass(frozen=True)
class QFormat:
    """Signed codes ``q`` of ``bits`` bits that mean ``q * 2**exponent``.

    Codes are symmetric: ``-(2**(bits-1))`` never occurs.

    Attributes:
        bits: width of a code, 2 to 64.
        exponent: power of two that code 1 stands for.
    """

    bits: int
    exponent: int

    def __post_init__(self) -> None:
        """Refuse widths that no integer array holds.

        Raises:
            ValueError: ``bits`` is not in 2..64.
        """
        if not 2 <= self.bits <= 64:
            raise ValueError(f"bits: expected 2..64, found {self.bits}")

    @property
    def top(self) -> int:
        """Largest code; the smallest is ``-top``."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        """Value of code 1."""
        return float(2.0**self.exponent)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest integer dtype that holds the codes."""
        return np.dtype(next(t for t in ("int8", "int16", "int32", "int64")
                             if np.dtype(t).itemsize * 8 >= self.bits))

    def quantise(self, values: Array) -> Array:
        """Round real ``values`` to nearest (ties to even), saturate, return codes of :attr:`dtype`.

        float32 and float64 inputs are rounded exactly, for ``bits`` up to 53. The shape stays.

        Raises:
            ValueError: a value is not a number.
        """
        exact = np.asarray(values, np.float64)
        if np.isnan(exact).any():
            raise ValueError("values: expected numbers, found NaN")
        top = float(self.top)
        # Scaling by a power of two is exact in float64, so the one rounding is that of rint.
        codes = np.rint(np.ldexp(exact, -self.exponent))
        return np.clip(codes, -top, top).astype(self.dtype)

    def dequantise(self, codes: Array) -> Array:
        """Return the real values of integer ``codes`` as float64; exact for codes up to 53 bits."""
        return np.ldexp(np.asarray(codes, np.float64), self.exponent)
