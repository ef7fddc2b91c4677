"""Networks with adapters: golden and RTL give the same bits."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.adaptation import LADDER
from pynq_train.check import random_net
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


@pytest.mark.slow
@pytest.mark.parametrize("rung", LADDER)
def test_same_bits_of_a_reference_network(rung: str) -> None:
    graph, trainable = pt.zoo.get("resnet20"), rung
    if rung in pt.RUNGS:
        adapted = pt.with_adapters(graph, rung)
        graph, trainable = adapted.model.graph, adapted.trainable
    report = pt.verify(graph, batch=2, steps=1, trainable=trainable)
    assert report.mismatches == 0 and report.descriptors > 60


@pytest.mark.slow
@pytest.mark.parametrize("rung", pt.RUNGS)
def test_same_bits_of_random_networks(rung: str) -> None:
    """Three of those that ``pynq-train verify --net random`` draws with these adapters."""
    ending = {"lora": ".lora_a", "skip-lora": ".skip_a", "da3": ".da3_a",
              "lite-residual": ".lite_a", "sparse": ".part0"}[rung]
    drawn = ((seed, random_net(seed)) for seed in range(3, 2000, 4))
    found = [(seed, net) for seed, net in drawn if net.trainable != "all"
             and any(op.name.endswith(ending) for op in net.graph.ops)]
    for seed, net in found[:3]:
        report = pt.verify(net.graph, batch=net.batch, steps=1, seed=seed,
                           trainable=net.trainable)
        assert report.mismatches == 0, seed
    assert len(found) >= 3


def test_same_bits_from_a_cache() -> None:
    """Steps that begin with the maps of frozen layers, and the evaluations that fill the cache."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(4, 2, 4, 4)).astype(np.float32), np.array([0, 3, 1, 4])
    found = []
    for board in ("golden", "virtual:pynq-z2"):
        with pt.Learner(GRAPH, board=board, trainable="skip-lora", batch=2,
                        optimizer=pt.SGD(lr=0.05, schedule="constant")) as learner:
            start = learner.masters
            learner.fit(x, y, epochs=2, cache=True, progress=False)
            found.append((learner.masters, learner.logits(x)))
    (masters, logits), (same, answers) = found
    assert all(own.same_bits(same[name]) for name, own in masters.items())
    assert not masters["skip_b"].same_bits(start["skip_b"])
    np.testing.assert_array_equal(logits, answers)
