"""Golden computes here what it computes everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.fixed import rne_shift, saturate
from pynq_train.fixed.arith import requantise, wrap
from pynq_train.selftest import digests


def test_halves_are_rounded_to_even() -> None:
    values = np.array([-6, -5, -3, -2, -1, 0, 1, 2, 3, 5, 6, 7], np.int64)
    assert rne_shift(values, 1).tolist() == [-3, -2, -2, -1, 0, 0, 0, 1, 2, 2, 3, 4]
    assert rne_shift(values, 2).tolist() == [-2, -1, -1, 0, 0, 0, 0, 0, 1, 1, 2, 2]
    large = np.array([(1 << 47) - 1, -(1 << 47)], np.int64)
    assert rne_shift(large, 32).tolist() == [32768, -32768]


def test_numbers_saturate_and_wrap() -> None:
    values = np.array([-(1 << 40), -32768, -32767, 32767, 32768, 1 << 40], np.int64)
    assert saturate(values, 16).tolist() == [-32767, -32767, -32767, 32767, 32767, 32767]
    assert wrap(np.array([1 << 47, -(1 << 47) - 1], np.int64), 48).tolist() == [
        -(1 << 47), (1 << 47) - 1]
    codes, saturated = requantise(np.array([1 << 30, 24, 40, -24], np.int64), 4)
    assert codes.tolist() == [32767, 2, 2, -2] and saturated == 1


@pytest.mark.parametrize("what", ["masters", "momentum", "exponents", "logits"])
@pytest.mark.parametrize(("board", "net"), digests.RESULTS)
def test_training_leaves_the_stored_results(board: str, net: str, what: str) -> None:
    wanted = digests.stored()["results"][f"{digests.name_of(board, net)} {what}"]
    assert digests.result_digests(board, net)[what] == wanted, (
        f"golden computes other {what} than where this package was made: install it again, with "
        "the NumPy of the board's image")
