"""Networks with adapters: golden and RTL give the same bits."""

from __future__ import annotations

import pytest

import pynq_train as pt
from pynq_train.graph import Add, BatchNorm, Conv, Dense, GlobalAvgPool, Graph, Relu

pytestmark = pytest.mark.rtl

GRAPH = Graph.build((2, 4, 4), [
    Conv(6, 3, 1, 1, False, "stem"), BatchNorm(name="stem.bn"), Relu("start"),
    Conv(20, 3, 2, 1, False, "a"), BatchNorm(name="a.bn"), Relu(), Conv(20, 3, 1, 1, False, "b"),
    BatchNorm(name="b.bn"), Conv(20, 1, 2, 0, False, "s", 1, ("start",)), BatchNorm(name="s.bn"),
    Add("sum", ("b.bn", "s.bn")), Relu("end"), GlobalAvgPool(), Dense(5, name="fc")], "adapted")


@pytest.mark.parametrize("rung", pt.RUNGS)
def test_same_bits(rung: str) -> None:
    adapted = pt.with_adapters(GRAPH, rung)
    report = pt.verify(adapted.model.graph, batch=2, steps=1, trainable=adapted.trainable)
    assert report.mismatches == 0 and report.descriptors > 15
