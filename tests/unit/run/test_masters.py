"""Masters: constant weights of layers that average or pad; limits, counts, running values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pynq_train.errors import BadInput
from pynq_train.graph import AvgPool, Conv, Dense, Graph, PadChannels
from pynq_train.graph.params import LayerParams
from pynq_train.layers import fuse
from pynq_train.run.masters import Masters


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_averages(kernel: int) -> None:
    """2**28 / kernel**2, to nearest, for every channel by itself."""
    graph = Graph.build((6, 9, 9), [AvgPool(kernel, 1), Conv(4, 3), Dense(2)])
    masters = Masters.averaging(fuse(graph)[0])
    assert masters.weight.shape == (6, 1, kernel, kernel)
    assert np.all(masters.weight == round(2**28 / kernel**2))
    assert masters.bias is None and not masters.weight_momentum.any()


@pytest.mark.parametrize(("before", "after"), [(0, 3), (2, 0), (2, 3)])
def test_padding_with_channels(before: int, after: int) -> None:
    """1 from each channel to its place, nothing to those of zeros."""
    graph = Graph.build((4, 5, 5), [Conv(4, 3), PadChannels(before, after), Dense(2)])
    weight = Masters.averaging(fuse(graph)[1]).weight
    assert weight.shape == (4 + before + after, 4, 1, 1)
    wanted = np.zeros(weight.shape, np.int32)
    for channel in range(4):
        wanted[before + channel, channel] = 1 << 28
    assert np.array_equal(weight, wanted)


def soft(sign: int, significand: int, exponent: int) -> int:
    """The word of a soft float."""
    return (exponent & 0xFFFF) << 32 | sign << 31 | significand


TOP, FULL = 1 << 30, (1 << 31) - 1
WEIGHT_LIMIT = (1 << 31) - 1


def masters(mean: int = 0, variance: int = 0, weight: int = 1, bias: int = 1) -> Masters:
    """Masters of a normalisation of two channels; values are those of the second."""
    zeros = np.zeros(2, np.int32)
    return Masters(np.array([0, weight], np.int32), zeros, np.array([0, bias], np.int32), zeros,
                   np.array([0, mean], np.int64), np.array([0, variance], np.int64))


@pytest.mark.parametrize("word", [0, soft(0, TOP, 0), soft(0, FULL, -512), soft(0, TOP, 512),
                                  soft(0, TOP + 1, -30)])
def test_running_values_that_an_engine_makes(word: int) -> None:
    """Zero, significands of 31 bits, exponents up to 512 either way; only a mean is negative."""
    masters(mean=word, variance=word).check("bn")
    masters(mean=word | 1 << 31).check("bn")


@pytest.mark.parametrize("word", [
    soft(0, TOP - 1, 0), soft(0, 1, 5), soft(1, TOP >> 1, 0), soft(0, TOP, 513),
    soft(0, TOP, -513), soft(0, TOP, 0) | 1 << 48, soft(0, TOP, 0) | 1 << 62, -1])
def test_running_values_that_no_engine_makes(word: int) -> None:
    text = f"of bn of 'x': expected numbers that a normalisation can have.*, found 0x{word:x}"
    with pytest.raises(BadInput, match=f"running mean {text}"):
        masters(mean=word).check("bn of 'x'")
    with pytest.raises(BadInput, match=f"running variance {text}"):
        masters(variance=word).check("bn of 'x'")


def test_a_variance_is_0_or_more() -> None:
    said = r"variance of bn: expected .*, 0 or more, found 0x[0-9a-f]+"
    with pytest.raises(BadInput, match=said):
        masters(variance=soft(1, TOP, 0)).check("bn")
    masters(variance=soft(1, 0, 0)).check("bn")  # zero, whatever its sign


@pytest.mark.parametrize("label", ["weight", "bias"])
def test_the_smallest_weight_is_minus_the_largest(label: str) -> None:
    for value in (WEIGHT_LIMIT, -WEIGHT_LIMIT):
        masters(**{label: value}).check("bn")
    with pytest.raises(BadInput, match=f"{label} of bn: expected masters of -2147483647 and up, "
                                       "found -2147483648"):
        masters(**{label: -WEIGHT_LIMIT - 1}).check("bn")
    Masters(np.ones((2, 2), np.int32), np.ones((2, 2), np.int32), None, None).check("dense")


def test_what_stands_at_its_limit_is_counted_once() -> None:
    """Weights and biases that do, or whose momentum does."""
    near = WEIGHT_LIMIT - 1
    weight = np.array([WEIGHT_LIMIT, -WEIGHT_LIMIT, near, -near, 0, 0, WEIGHT_LIMIT], np.int32)
    momentum = np.array([0, 0, near, -near, WEIGHT_LIMIT, -WEIGHT_LIMIT, WEIGHT_LIMIT], np.int32)
    none = np.zeros(7, np.int32)
    assert Masters(weight, momentum, None, None).clipped == 5
    assert Masters(weight, momentum, weight[:3], none[:3]).clipped == 7
    assert Masters(none, none, none[:2], momentum[4:6]).clipped == 2
    assert Masters(none, none, none[:2], none[:2]).clipped == 0
    assert Masters(weight, momentum, None, None).count == 7
    assert Masters(weight, momentum, weight[:3], none[:3]).count == 10


def test_bits_are_compared_in_every_part() -> None:
    ones = np.ones(2, np.int32)
    whole = Masters(ones, ones, ones, ones, ones.astype(np.int64), ones.astype(np.int64))
    assert whole.same_bits(replace(whole, weight=ones.copy()))
    for name in ("weight", "weight_momentum", "bias", "bias_momentum", "mean", "variance"):
        other = replace(whole, **{name: np.array([1, 2])})
        assert not whole.same_bits(other) and not other.same_bits(whole), name
        if not name.startswith("weight"):
            nothing: dict[str, Any] = {name: None}
            without = replace(whole, **nothing)
            assert not whole.same_bits(without) and not without.same_bits(whole), name
            assert without.same_bits(without)


@pytest.mark.parametrize("values", [
    [0.0, 1.0, -1.5, 3.0], [1e-30, 2.0**-149, 3.4e38, 2.0**-126], [0.1, -0.3, 1 / 3, 7e9]])
def test_running_statistics_come_back_bit_for_bit(values: list[float]) -> None:
    """A soft float has more bits than a float32, at any exponent."""
    mean = np.array(values, np.float32)
    params = LayerParams(np.ones(4, np.float32), np.full(4, 0.5, np.float32), mean,
                         np.abs(mean))
    made = Masters.of(params)
    made.check("bn")
    assert made.mean is not None and made.mean.dtype == np.int64
    back = made.params()
    assert back.mean is not None and back.variance is not None
    assert back.mean.tolist() == mean.tolist()
    assert back.variance.tolist() == np.abs(mean).tolist()
    assert made.bias is not None and made.bias_momentum is not None
    assert back.weight.tolist() == [1.0] * 4 and made.bias.tolist() == [1 << 27] * 4
    for momentum in (made.weight_momentum, made.bias_momentum):
        assert momentum.tolist() == [0] * 4 and momentum.dtype == np.int32
