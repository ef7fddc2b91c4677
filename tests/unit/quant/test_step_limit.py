"""Where ReLU6 ends in codes."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pynq_train.hw.limits import NO_LIMIT
from pynq_train.quant.step import relu6_limit


@pytest.mark.parametrize("exponent", range(-30, 6))
def test_limit(exponent: int) -> None:
    exact = round(Fraction(6) / Fraction(2) ** exponent)
    assert relu6_limit(exponent) == min(exact, NO_LIMIT)
    # Where six has no code, nothing is clipped: limits from 32768 on are none.
    assert (relu6_limit(exponent) > 32767) == (exact > 32767)
