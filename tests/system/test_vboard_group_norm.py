"""Group normalisations: golden and RTL give the same bits, and the cycle model their cycles."""

from __future__ import annotations

import pytest

import pynq_train as pt
from pynq_train.bench import bench_step
from pynq_train.graph import (
    Add,
    Concat,
    Conv,
    Dense,
    GlobalAvgPool,
    Graph,
    GroupNorm,
    MaxPool2x2,
    Relu,
    Relu6,
)
from pynq_train.hw.boards import BOARDS

pytestmark = pytest.mark.rtl

SERIES = Graph.build((1, 6, 6), [
    Conv(8, 3, 1, 1), GroupNorm(1), Relu(), Conv(8, 3, 1, 1), GroupNorm(4), Relu6(), MaxPool2x2(),
    Conv(16, 1), GroupNorm(16, affine=False), Relu(), Conv(16, 1), GroupNorm(2, affine=False),
    Dense(4)], "series")
BRANCHES = Graph.build((2, 5, 6), [
    GroupNorm(2), Conv(8, 3, 1, 1, name="a"), GroupNorm(2, name="n"), Relu(name="r"),
    Conv(8, 3, 1, 1, name="b"), Concat("c", ("r", "b")), GroupNorm(4, affine=False), Relu6(),
    Conv(16, 1, name="f"), Add("g", ("c", "f")), GroupNorm(2), Relu(), GlobalAvgPool(), Dense(12),
    GroupNorm(3), Relu(), Dense(4)], "branches")


@pytest.mark.parametrize(("graph", "batch", "seed"), [(SERIES, 1, 1), (BRANCHES, 3, 0)],
                         ids=["series", "branches"])
def test_same_bits(graph: Graph, batch: int, seed: int) -> None:
    report = pt.verify(graph, batch=batch, steps=1, seed=seed)
    assert report.mismatches == 0 and report.descriptors > 40


def test_cycles() -> None:
    graph = Graph.build((3, 16, 16), [
        Conv(16, 3, 1, 1), GroupNorm(4), Relu(), Conv(16, 3, 1, 1), GroupNorm(16), Relu(),
        Conv(32, 3, 2, 1), GroupNorm(1), Relu(), GlobalAvgPool(), Dense(10)], "norms")
    result = bench_step(graph, 2, BOARDS["pynq-z2"])
    assert abs(result.whole.error_pct) < 1
