"""Rounding, saturation and formats against fxpmath and against exact rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from fxpmath import Fxp

from pynq_train.fixed import (
    QFormat,
    align,
    align_int,
    requantise,
    requantise_int,
    rne_shift,
    rne_shift_int,
    saturate,
    saturate_int,
    wrap,
    wrap_int,
)


def _fxp(values: np.ndarray, shift: int, bits: int) -> np.ndarray:
    """Codes after a shift by fxpmath: n_word ``bits``, the binary point moved by ``shift``."""
    fxp = Fxp(values.astype(np.float64) * 2.0**-shift, signed=True, n_word=bits, n_frac=0,
              rounding="around", overflow="saturate")
    return np.asarray(fxp.val, np.int64)


def test_all_16_bit_codes_to_8_bits_against_fxpmath() -> None:
    codes = np.arange(-32768, 32768)
    for shift in range(1, 16):
        expected = _fxp(codes, shift, 8)
        got, _ = requantise(codes, shift, 8)
        expected[expected == -128] = -127  # fxpmath knows the most negative code, we do not
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("shift", [1, 7, 16, 20, 31, 32])
def test_48_to_16_bits_against_fxpmath(shift: int, rng: np.random.Generator) -> None:
    totals = rng.integers(-(2**47), 2**47, 4000) >> rng.integers(0, 40, 4000)
    totals[:500] = (totals[:500] >> shift << shift) + (1 << (shift - 1))  # ties
    expected = _fxp(totals, shift, 16)
    expected[expected == -32768] = -32767
    got, saturations = requantise(totals, shift)
    np.testing.assert_array_equal(got, expected)
    one_by_one = [requantise_int(int(t), shift) for t in totals]
    assert [c for c, _ in one_by_one] == got.tolist()
    assert sum(s for _, s in one_by_one) == saturations


def test_rne_is_python_rounding_of_the_exact_quotient(rng: np.random.Generator) -> None:
    for shift in (0, 1, 2, 13, 47, 62, 63):
        values = rng.integers(-(2**63), 2**63 - 1, 300) >> rng.integers(0, 63, 300)
        values[:4] = (-(2**63), 2**63 - 1, 0, -1)
        expected = [round(Fraction(int(v), 1 << shift)) for v in values]
        assert rne_shift(values, shift).tolist() == expected
        assert [rne_shift_int(int(v), shift) for v in values] == expected


def test_saturate_wrap_align(rng: np.random.Generator) -> None:
    values = rng.integers(-(2**62), 2**62, 200) >> rng.integers(0, 60, 200)
    assert saturate(values, 16).tolist() == [saturate_int(int(v), 16) for v in values]
    assert min(saturate(values, 16)) >= -32767
    assert wrap(values, 48).tolist() == [wrap_int(int(v), 48) for v in values]
    assert wrap_int(1 << 47, 48) == -(1 << 47)
    for shift in (-40, -1, 0, 3, 20, 100):
        assert align(values, shift).tolist() == [align_int(int(v), shift) for v in values]
    assert align_int(3, -1) == 2 and align_int(1, -1) == 0 and align_int(-3, -1) == -2


@pytest.mark.parametrize("shift", [-1, 64])
def test_shifts_out_of_range_are_refused(shift: int) -> None:
    with pytest.raises(ValueError, match="shift: expected"):
        rne_shift(np.zeros(1, np.int64), shift)
    with pytest.raises(ValueError, match="shift: expected"):
        rne_shift_int(0, -1)


@pytest.mark.parametrize("bits,exponent", [(16, -12), (16, 0), (8, -7), (16, -30), (8, 3)])
def test_format_against_fxpmath(bits: int, exponent: int, rng: np.random.Generator) -> None:
    values = rng.normal(size=2000).astype(np.float32) * 2.0 ** (bits + exponent - 2)
    fmt = QFormat(bits, exponent)
    fxp = Fxp(values.astype(np.float64), signed=True, n_word=bits, n_frac=-exponent,
              rounding="around", overflow="saturate")
    codes = np.asarray(fxp.val, np.int64)
    codes[codes == -(2 ** (bits - 1))] = -fmt.top
    got = fmt.quantise(values)
    assert got.dtype.itemsize * 8 == bits
    np.testing.assert_array_equal(got, codes)
    np.testing.assert_array_equal(fmt.quantise(fmt.dequantise(got)), got)


def test_format_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match=r"bits: expected 2\.\.64"):
        QFormat(1, 0)
    with pytest.raises(ValueError, match="NaN"):
        QFormat(16, 0).quantise(np.array([np.nan]))
