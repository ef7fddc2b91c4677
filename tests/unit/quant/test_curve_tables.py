"""Tables of curves against exact arithmetic, on all codes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pynq_train.graph.curves import (
    CURVES,
    Curve,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Sigmoid,
    Silu,
    Tanh,
)
from pynq_train.hw.curves import (
    LEAST_EXPONENT,
    MAX_SEGMENT_BITS,
    MIN_SEGMENT_BITS,
    MOST_EXPONENT,
    SLOPE_EXPONENT,
    TABLES,
    curve_bytes,
    table_number,
)
from pynq_train.quant.curves import segments, tables, width_bits
from pynq_train.quant.policy import FEATURE_CEILING, FEATURE_FLOOR

CODES = np.arange(-32768, 32768)
EXPONENTS = (-21, -17, -14, -13, -12, -11, -9, -6, -3, 0)
EXACT = (LeakyRelu(0.125), LeakyRelu(-0.5), HardSigmoid(0.25, 0.5))
BENT = {  # largest second derivative, reach: the error is width**2 / 8 times it
    Elu(): 1.0, Elu(1.75): 1.75, Sigmoid(): 0.0963, Tanh(): 0.77, Silu(): 0.5, Gelu(): 0.798,
    Gelu(True): 0.82, HardSwish(): 1 / 3}
EVERY = (*EXACT, *BENT, LeakyRelu(), HardSigmoid(), HardSigmoid(0.2, 0.5), HardSigmoid(0.3, 0.4))


def computed(curve: Curve, exponent: int, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the unit's total and slope are, as real numbers: the rule of docs/numerics.md 11."""
    slopes, offsets, width = segments(curve, exponent)
    half = len(slopes) // 2
    index = np.minimum(np.maximum(codes >> width, -half), half - 1) % len(slopes)
    slope, offset = np.array(slopes)[index], np.array(offsets)[index]
    total = slope * codes + offset
    assert np.abs(total).max() < 1 << 47
    return np.ldexp(total.astype(float), exponent + SLOPE_EXPONENT), np.ldexp(
        slope.astype(float), SLOPE_EXPONENT)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("curve", EVERY, ids=str)
def test_every_code_is_within_the_stated_error(curve: Curve, exponent: int) -> None:
    found, _ = computed(curve, exponent, CODES)
    exact = curve.value(np.ldexp(CODES.astype(float), exponent))
    width = math.ldexp(1, width_bits(curve, exponent) + exponent)
    bound = BENT[curve] * width**2 / 8 if curve in BENT and width_bits(curve, exponent) else 0.0
    if isinstance(curve, HardSigmoid) and curve.segment_bits == MAX_SEGMENT_BITS:
        bound = curve.alpha * width / 4  # its bends lie within segments
    # Slopes and offsets are rounded, and the curve is no line yet where its segments end.
    rounding = np.ldexp(np.abs(CODES) + 1.0, exponent + SLOPE_EXPONENT - 1) + 2e-6
    assert (np.abs(found - exact) <= 1.02 * bound + rounding).all()


@pytest.mark.parametrize("curve", BENT, ids=str)
def test_the_error_is_below_two_last_places_of_a_result_that_fills_its_range(curve: Curve) -> None:
    for exponent in EXPONENTS:
        found, _ = computed(curve, exponent, CODES)
        exact = curve.value(np.ldexp(CODES.astype(float), exponent))
        # A result of this range has this exponent, its margin included.
        place = 2.0 ** (math.floor(math.log2(np.abs(exact).max())) + 2 - 15)
        assert np.abs(found - exact).max() < 1.6 * place


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("curve", EVERY, ids=str)
def test_slopes_are_the_derivative_of_what_is_computed(curve: Curve, exponent: int) -> None:
    found, slope = computed(curve, exponent, CODES)
    step = 1 << width_bits(curve, exponent)
    inner = (CODES[:-1] % step) < step - 1  # a step that stays in a segment
    np.testing.assert_allclose(np.diff(found)[inner],
                               slope[:-1][inner] * math.ldexp(1, exponent), atol=1e-12)


@pytest.mark.parametrize("curve", EVERY, ids=str)
def test_zero_is_exact_and_odd_curves_are_odd(curve: Curve) -> None:
    for exponent in range(LEAST_EXPONENT, MOST_EXPONENT + 1):
        zero = computed(curve, exponent, np.array([0]))[0][0]
        rounding = 2.0 ** (exponent + SLOPE_EXPONENT - 1)
        assert abs(zero - float(curve.value(np.zeros(1))[0])) <= rounding
        if isinstance(curve, Tanh):
            found, _ = computed(curve, exponent, CODES[1:])
            # Where a segment begins, its mirror image ends: there the last places may differ.
            inner = CODES[1:] % (1 << width_bits(curve, exponent)) != 0
            np.testing.assert_array_equal(found[inner], -found[::-1][inner])


@pytest.mark.parametrize("curve", EXACT, ids=str)
def test_straight_curves_are_exact(curve: Curve) -> None:
    for exponent in EXPONENTS[2:]:
        found, slope = computed(curve, exponent, CODES)
        x = np.ldexp(CODES.astype(float), exponent)
        np.testing.assert_array_equal(found, curve.value(x))
        # At the bends themselves the slope is that to the right of them.
        np.testing.assert_array_equal(slope[1:-1], ((curve.value(x[1:]) - curve.value(x[:-1]))
                                                    / math.ldexp(1, exponent))[1:])


@pytest.mark.parametrize("curve", EVERY, ids=str)
def test_derivatives_are_those_of_the_values(curve: Curve) -> None:
    x = np.random.default_rng(0).uniform(-9, 9, 4001)
    x = x[np.abs(x - np.round(x * 6) / 6) > 1e-3]  # not at a bend
    numeric = (curve.value(x + 1e-6) - curve.value(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(curve.derivative(x), numeric, atol=1e-6)


def test_ends_are_those_of_the_values() -> None:
    for curve in EVERY:
        for sign, line in zip((-1, 1), curve.ends):
            x = np.array([sign * 2.0**curve.reach, sign * 100.0])
            np.testing.assert_allclose(curve.value(x), line.slope * x + line.offset, atol=4e-6)


def test_there_is_a_table_for_each_exponent_that_maps_may_have() -> None:
    assert (LEAST_EXPONENT, MOST_EXPONENT) == (FEATURE_FLOOR, FEATURE_CEILING)
    assert [table_number(e) for e in (LEAST_EXPONENT, MOST_EXPONENT)] == [0, TABLES - 1]
    assert {type(curve) for curve in EVERY} == set(CURVES)
    for curve in EVERY:
        assert MIN_SEGMENT_BITS <= curve.segment_bits <= MAX_SEGMENT_BITS
        assert len(tables(curve)) == curve_bytes(curve.segment_bits)


def test_words_of_a_table() -> None:
    """A table by hand: LeakyReLU 1/8 has the slopes 1 and 1/8, and no offset."""
    words = np.frombuffer(tables(LeakyRelu(0.125)), "<u8").reshape(TABLES, 8)
    assert (words[:table_number(-15) + 1] >> np.uint64(60) == 13).all()
    assert (words[-1] >> np.uint64(60) == 0).all()
    assert (words[:, :4] & np.uint64(0xFFFFF) == 1 << 18).all()
    assert (words[:, 4:] & np.uint64(0xFFFFF) == 1 << 15).all()
    assert (words >> np.uint64(20) & np.uint64((1 << 40) - 1) == 0).all()
