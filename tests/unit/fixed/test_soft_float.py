"""Soft floats: numbers keep their types, so that their words are right."""

from __future__ import annotations

import numpy as np

from pynq_train.fixed.soft_float import SoftFloats


def test_every_operation_yields_what_can_be_packed(rng: np.random.Generator) -> None:
    """Exponents of 32 bits would be lost in the words."""
    codes = rng.integers(-2**40, 2**40, 60)
    codes[::7] = 0
    a = SoftFloats.of_int(codes, -20)
    b = SoftFloats.of_int(np.roll(codes, 1), -25)
    for name, found in {"-a": -a, "a + b": a + b, "a - b": a - b, "a * b": a * b,
                        "moved": a.moved(np.int64(3)), "positive": a.positive()}.items():
        for part in (found.sign, found.significand, found.exponent):
            assert part.dtype == np.int64, name
        np.testing.assert_array_equal(SoftFloats.unpack(found.pack()).to_float(), found.to_float())
    np.testing.assert_array_equal((-a).to_float(), -a.to_float())
