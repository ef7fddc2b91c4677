"""Transposed convolutions: golden and RTL give the same bits."""

from __future__ import annotations

import pytest

import pynq_train as pt
from pynq_train.graph import (
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Graph,
    MaxPool2x2,
    Relu,
)

pytestmark = pytest.mark.rtl


@pytest.mark.parametrize("seed", [0, 1])
def test_same_bits(seed: int) -> None:
    """Of an input, normalised, a source of a concatenation; odd channels, phases without taps."""
    graph = Graph.build((3, 3, 2), [
        ConvTranspose(6, 3, 2, 1, 1, name="first"), Relu(name="r"),
        ConvTranspose(20, (2, 4), (2, 3), (0, 1), bias=False, name="wide"), BatchNorm(), Relu(),
        MaxPool2x2(), Conv(17, 3, 1, 1), Relu(), ConvTranspose(8, 2, 3, "same", name="holes"),
        Conv(8, 3, 1, 1, name="b"), Concat("join", ("holes", "b")),
        ConvTranspose(16, 3, 1, 2, groups=16, name="d"), AvgPool(3, 3), Dense(4)], "decoder")
    report = pt.verify(graph, batch=3, steps=1, seed=seed)
    assert report.mismatches == 0 and report.descriptors > 40
