"""Numbers on their way to device memory."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.run.formats import (
    MASTER_LIMIT,
    from_master,
    master_words,
    operand_copy,
    quantise,
    range_of,
    split_master_words,
    to_master,
)


def test_masters_round_to_even_and_saturate() -> None:
    step = 2.0 ** -28
    values = np.array([0.5 * step, 1.5 * step, -2.5 * step, 100.0, -100.0])
    assert to_master(values).tolist() == [0, 2, -2, MASTER_LIMIT, -MASTER_LIMIT]


def test_masters_come_back_as_float32() -> None:
    values = np.array([0.25, -1.5, 7.0], np.float32)
    assert from_master(to_master(values)).tolist() == values.tolist()


def test_operand_copy_is_what_the_update_unit_writes() -> None:
    masters = np.array([3 << 12, 1 << 12, -(1 << 12), 1 << 31 - 2], np.int32)
    assert operand_copy(masters, -28 + 13).tolist() == [2, 0, 0, 32767]
    assert operand_copy(np.array([5], np.int32), -28).tolist() == [5]


def test_quantise_rounds_to_even_and_saturates_symmetrically() -> None:
    assert quantise(np.array([0.5, 1.5, -2.5, 1e9, -1e9], np.float32), 0).tolist() == [
        0, 2, -2, 32767, -32767]


@pytest.mark.parametrize(("largest", "k"), [(0.99, 0), (1.0, 1), (1.99, 1), (2.0, 2), (0.25, -1)])
def test_range_is_the_position_of_the_leading_bit(largest: float, k: int) -> None:
    assert range_of(largest) == k


def test_master_words_hold_weight_low_and_momentum_high() -> None:
    weight = np.array([-1, 5, -(1 << 30)], np.int32)
    momentum = np.array([7, -3, (1 << 30)], np.int32)
    words = master_words(weight, momentum)
    assert words[0] == (7 << 32) | 0xFFFF_FFFF
    back = split_master_words(words)
    assert back[0].tolist() == weight.tolist() and back[1].tolist() == momentum.tolist()
