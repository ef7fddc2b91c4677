"""Nearest upsampling: golden and RTL give the same bits."""

from __future__ import annotations

import pytest

import pynq_train as pt
from pynq_train.graph import Add, AvgPool, Concat, Conv, Dense, Graph, MaxPool2x2, Relu, Upsample

pytestmark = pytest.mark.rtl


@pytest.mark.parametrize("seed", [0, 1])
def test_same_bits(seed: int) -> None:
    """Of an input, a masked gradient, a source of a concatenation, all factors, odd channels."""
    graph = Graph.build((3, 3, 2), [
        Upsample(2, "first"), Conv(5, 3, 1, 1, name="a"), Relu(name="r"), AvgPool(2, 2, 0),
        Conv(5, 3, 1, 1, groups=5), Relu(), Conv(5, 1), Upsample(2, "up"),
        Add("sum", ("r", "up")), Relu("s"), Conv(8, 2, 2, name="b"), Upsample(4, "wide"),
        Conv(8, 1, inputs=("b",), name="c"), Upsample(4, "other"),
        Concat("join", ("other", "wide")), MaxPool2x2(), Upsample(3), Relu(), Dense(4)], "up")
    report = pt.verify(graph, batch=3, steps=1, seed=seed)
    assert report.mismatches == 0 and report.descriptors > 40


def test_same_bits_of_bilinear_ones() -> None:
    """Of an input, a masked gradient, a source of a concatenation; more channels than a tile."""
    graph = Graph.build((3, 3, 2), [
        Upsample(2, "first", mode="bilinear"), Conv(20, 3, 1, 1, name="a"), Relu(name="r"),
        AvgPool(2, 2, 0), Conv(20, 1), Upsample(2, "up", mode="bilinear"),
        Add("sum", ("r", "up")), Relu("s"), Conv(8, 2, 2, name="b"),
        Upsample(4, "wide", mode="bilinear"), Relu(), AvgPool(4, 4, name="t"),
        Upsample(3, "c", mode="bilinear", corners=True),
        Conv(4, 3, 1, 1, name="d"), Concat("join", ("c", "d")),
        Conv(5, 3, 2), Upsample(3, "e", mode="bilinear"), Dense(4)], "up")
    report = pt.verify(graph, batch=3, steps=1, seed=1)
    assert report.mismatches == 0 and report.descriptors > 100
