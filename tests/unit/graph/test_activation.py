"""Activations: what they do to values and gradients, and that operations and tables know them."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.exchange.activations import between
from pynq_train.graph.activation import Activation, Relu, Relu6
from pynq_train.graph.ops import ACTIVATIONS, OP_TYPES

VALUES = np.array([-7, -0.5, 0, 0.5, 5.5, 6, 6.5], np.float32)
OUT = {Activation.NONE: VALUES, Activation.RELU: [0, 0, 0, 0.5, 5.5, 6, 6.5],
       Activation.RELU6: [0, 0, 0, 0.5, 5.5, 6, 6]}
OPEN = {Activation.NONE: [1] * 7, Activation.RELU: [0, 0, 0, 1, 1, 1, 1],
        Activation.RELU6: [0, 0, 0, 1, 1, 0, 0]}


@pytest.mark.parametrize("activation", OUT, ids=str)
def test_values_and_gradients(activation: Activation) -> None:
    out = activation.forward(VALUES)
    assert out.dtype == np.float32 and out.tolist() == list(OUT[activation])
    gradient = np.arange(1, 8, dtype=np.float32)
    found = activation.backward(gradient, out)
    assert found.dtype == np.float32 and found.tolist() == (gradient * OPEN[activation]).tolist()
    assert activation.has_flags == (0 in OPEN[activation])


def test_every_activation_has_one_operation() -> None:
    assert {op.activation for op in ACTIVATIONS} == set(Activation) - {Activation.NONE}
    for op in ACTIVATIONS:
        assert OP_TYPES[op.activation.label] is op and op.__name__ == str(op.activation)


def test_bounds_find_operations() -> None:
    assert between(0, None) == between(0, float("inf")) == Relu() and between(0, 6.0) == Relu6()
    assert between(-1, 1) is None and between(None, None) is None
