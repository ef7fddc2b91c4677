"""Tables of curves: the straight lines by which the vector unit computes an activation.

A curve has a table for each exponent that its map may have (``hw.curves``). Between the ends of a
segment the table is the chord of the curve, so that it is continuous, and exact at 0; what the unit
multiplies gradients by is the slope of that chord. ``docs/numerics.md`` 11 says how far it is off.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from pynq_train.arrays import Array
from pynq_train.graph.curves import Curve
from pynq_train.hw.curves import (
    LEAST_EXPONENT,
    OFFSET_BITS,
    SLOPE_BITS,
    SLOPE_EXPONENT,
    TABLES,
)
from pynq_train.hw.layouts import SEGMENT

CODE_BITS = 16
"""Bits of a code of a map."""


def bare(curve: Curve) -> Curve:
    """Return a curve without its place in a network: equal ones have the same tables."""
    return replace(curve, name="", inputs=())


def width_bits(curve: Curve, exponent: int) -> int:
    """Return the binary logarithm of the codes of a segment, for maps of an exponent.

    The segments reach as far as the curve bends, or over all codes if those end before; they are
    not narrower than a code.
    """
    wanted = curve.reach + 1 - curve.segment_bits - exponent
    return max(0, min(wanted, CODE_BITS - curve.segment_bits))


@lru_cache(maxsize=64)
def segments(curve: Curve, exponent: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Return slopes, offsets and width of the segments of a curve for maps of an exponent.

    Slopes have the exponent ``SLOPE_EXPONENT``, offsets that of the map more. The first one begins
    at code 0; those of negative codes stand behind the others.
    """
    bits = curve.segment_bits
    width, half = width_bits(curve, exponent), 1 << bits - 1
    starts: Array = np.arange(-half, half) * 2.0**width
    low, top = (np.ldexp(codes, exponent) for codes in (starts, starts + 2.0**width))
    at_low, at_top = curve.value(low), curve.value(top)
    slopes = np.rint(np.ldexp((at_top - at_low) / (top - low), -SLOPE_EXPONENT))
    # From the end that is nearer to 0: so a curve that is odd has an odd table.
    near, at_near = (np.where(starts >= 0, one, other)
                     for one, other in ((low, top), (at_low, at_top)))
    scale = -SLOPE_EXPONENT - exponent
    offsets = np.rint(np.ldexp(at_near, scale) - slopes * np.ldexp(near, -exponent))
    if bits + width < CODE_BITS:  # there are codes beyond the segments
        for at, line in zip((0, -1), curve.ends):
            slopes[at] = np.rint(np.ldexp(line.slope, -SLOPE_EXPONENT))
            offsets[at] = np.rint(np.ldexp(line.offset, scale))
    slopes, offsets = (np.clip(values, -most, most).astype(np.int64) for values, most in (
        (slopes, (1 << SLOPE_BITS - 1) - 1), (offsets, (1 << OFFSET_BITS - 1) - 1)))
    return (tuple(np.roll(slopes, half).tolist()), tuple(np.roll(offsets, half).tolist()), width)


@lru_cache(maxsize=16)
def tables(curve: Curve) -> bytes:
    """Return all tables of a curve as the unit reads them, that of the least exponent first."""
    found = []
    places = [SEGMENT.at(name) for name in ("a", "c", "width")]
    for exponent in range(LEAST_EXPONENT, LEAST_EXPONENT + TABLES):
        slopes, offsets, width = segments(curve, exponent)
        for values in zip(slopes, offsets, (width,) * len(slopes)):
            word = 0
            for place, value in zip(places, values):
                word |= (value & place.mask) << place.lsb
            found.append(word)
    return np.array(found, np.uint64).astype("<u8").tobytes()
