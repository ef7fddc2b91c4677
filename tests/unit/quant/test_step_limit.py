"""Where activations end in codes."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pynq_train.graph.activation import Activation
from pynq_train.hw.limits import NO_LIMIT
from pynq_train.quant.step import limit_code


@pytest.mark.parametrize("exponent", range(-30, 6))
@pytest.mark.parametrize("activation", Activation, ids=str)
def test_limit(activation: Activation, exponent: int) -> None:
    top = 6 if activation.top is None else activation.top
    exact = round(Fraction(top) / Fraction(2) ** exponent)
    assert limit_code(activation, exponent) == min(exact, NO_LIMIT)
    # Where the bound has no code, nothing is clipped: limits from 32768 on are none.
    assert (limit_code(activation, exponent) > 32767) == (exact > 32767)
