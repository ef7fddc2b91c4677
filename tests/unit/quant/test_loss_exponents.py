"""Exponents of logit gradients and of the loss against the real gradients."""

from __future__ import annotations

import math

import pytest

from pynq_train.quant.loss import Loss


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 11])
@pytest.mark.parametrize("classes", [2, 3, 10, 16])
@pytest.mark.parametrize("logits", [-14, -11, -3])
def test_squared_error(batch: int, classes: int, logits: int) -> None:
    """An error of one code has the gradient 2 * error / (classes * batch), the rest in fold."""
    loss = Loss("mse", classes=classes)
    gradient = math.ldexp(loss.fold(batch), loss.gradient_exponent(batch, logits))
    assert gradient == pytest.approx(2 * 2.0**logits / (classes * batch))
    assert 0.25 < loss.fold(batch) <= 1
    assert loss.unit(logits) == pytest.approx(2.0 ** (2 * logits) / classes)


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 11])
def test_cross_entropy(batch: int) -> None:
    """A gradient of 1 / batch is 2**15 codes, the rest in fold."""
    loss = Loss(classes=10)
    exponent = loss.gradient_exponent(batch, -9)
    assert math.ldexp(loss.fold(batch), exponent + 15) == pytest.approx(1 / batch)
    assert loss.gradient_exponent(batch, -3) == exponent and 0.5 < loss.fold(batch) <= 1
