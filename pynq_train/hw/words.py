"""Sizes that the whole engine is built on: words, lanes, and rounding up to them."""

from __future__ import annotations

LANES = 3
"""Pixel lanes of the array."""

def ceil_div(a: int, b: int) -> int:
    """Quotient rounded up."""
    return -(-a // b)


def round_up(a: int, b: int) -> int:
    """Smallest multiple of ``b`` that is not below ``a``."""
    return ceil_div(a, b) * b
