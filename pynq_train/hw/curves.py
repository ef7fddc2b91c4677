"""Curves of the vector unit: functions of one variable as tables of straight lines.

A table has ``2**k_log`` segments of equal width, ``2**shift`` codes of the map; segment i begins at
code ``i * 2**shift``, negative ones stand behind the others. Codes outside belong to the first or
last segment. ``docs/numerics.md`` 11 is the definition.
"""

from __future__ import annotations

from enum import IntEnum

from pynq_train.hw.words import WORD_BYTES


class Factor(IntEnum):
    """What the vector unit multiplies map a by."""

    COEFFICIENT = 0
    """A, of the step block or of the channel."""
    CURVE = 1
    """The slope of a's segment, whose offset is C: the value of the curve at a."""
    SLOPE = 2
    """The slope of b's segment; no offset: a is a gradient, b what the curve was taken of."""
    PRODUCT = 3
    """Map b."""


MIN_SEGMENT_BITS, MAX_SEGMENT_BITS = 3, 9
"""Binary logarithm of the least and most segments of a table: a run of the unit's reads, what its
memory holds."""
SLOPE_BITS, OFFSET_BITS, WIDTH_BITS = 20, 40, 4
"""Bits of a segment: slope, offset, and the binary logarithm of its width in codes."""
SLOPE_EXPONENT = -18
"""Exponent of slopes: they are below 2 in magnitude."""
LEAST_EXPONENT, MOST_EXPONENT = -21, 0
"""Exponents of maps for which there is a table: all that feature maps may have."""
TABLES = MOST_EXPONENT - LEAST_EXPONENT + 1
"""Tables of a curve, one behind the other from the least exponent on."""


def curve_bytes(log: int) -> int:
    """Return the bytes of all tables of a curve; ``log``: binary logarithm of its segments."""
    return TABLES * WORD_BYTES << log


def table_number(exponent: int) -> int:
    """Return the number of the table for maps of an exponent."""
    return exponent - LEAST_EXPONENT
