"""Integer tables of softmax and normalisation, part of the contract (``docs/numerics.md``)."""

from __future__ import annotations

from decimal import Decimal, getcontext

EXP2_FRACTION_BITS = 22
LOG2_FRACTION_BITS = 16
TABLE_BITS = 8
SEED_BITS = 6
"""Bits of a significand, below its top bit, that choose the seed of a reciprocal root."""
LOG2_E = 94548
"""log2(e) in Q.16."""


def _exp2_table() -> tuple[int, ...]:
    getcontext().prec = 40
    ln2 = Decimal(2).ln()
    steps = 1 << TABLE_BITS
    return tuple(
        int(((-(Decimal(i) / steps) * ln2).exp() * (1 << EXP2_FRACTION_BITS)).to_integral_value())
        for i in range(steps + 1)
    )


def _log2_table() -> tuple[int, ...]:
    getcontext().prec = 40
    ln2 = Decimal(2).ln()
    steps = 1 << TABLE_BITS
    return tuple(
        int(((1 + Decimal(i) / steps).ln() / ln2 * (1 << LOG2_FRACTION_BITS)).to_integral_value())
        for i in range(steps + 1)
    )


def _root_seeds() -> tuple[int, ...]:
    getcontext().prec = 40
    steps = 1 << SEED_BITS
    middles = [base * (1 + (i + Decimal("0.5")) / steps) for base in (1, 2) for i in range(steps)]
    return tuple(min(int((256 / middle.sqrt()).to_integral_value()), 255) for middle in middles)


EXP2 = _exp2_table()
"""``2**(22 - i/256)`` for i = 0..256, rounded."""
LOG2 = _log2_table()
"""``2**16 * log2(1 + i/256)`` for i = 0..256, rounded."""
ROOT_SEEDS = _root_seeds()
"""``2**8 / sqrt(f)`` in the middle of 64 spans of f in [1, 2), then of 64 in [2, 4)."""
