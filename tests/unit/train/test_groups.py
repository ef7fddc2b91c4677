"""Grouped convolutions of any shape: training against float32, absent weights, frozen ones."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.graph import BatchNorm, Conv, Dense, GlobalAvgPool, Graph, MaxPool2x2, Op, Relu
from pynq_train.graph.reference import FloatTrainer
from pynq_train.hw.words import ABSENT_WEIGHT
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.specs.spec import LayerSpec

BATCH, STEPS = 16, 6
NETS: dict[str, list[tuple[int, int]]] = {  # channels and groups of the convolutions behind a stem
    "whole blocks": [(40, 2), (96, 2), (72, 3)],
    "multiplied": [(48, 24), (24, 12)],
    "odd": [(30, 6), (18, 3), (33, 3)],
}


def network(name: str) -> Graph:
    ops: list[Op] = [Conv(24, 3, 1, 1), Relu()]
    for channels, groups in NETS[name]:
        ops += [Conv(channels, 3, 1, 1, False, groups=groups), BatchNorm(), Relu()]
    return Graph.build((1, 8, 8), [*ops, GlobalAvgPool(), Dense(10)], name)


SERIES = Graph.build((1, 8, 8), [Conv(12, 3, 1, 1), Relu(), Conv(24, 3, 2, 1, groups=2), Relu(),
                                Conv(18, 3, 1, 1, groups=6), Relu(), MaxPool2x2(), Dense(10)])
"""All on the array, with biases: the sections of the second are groups, of the third join four."""


def images() -> tuple[np.ndarray, np.ndarray]:
    pytest.importorskip("sklearn")
    data = pt.load_digits().train
    return data.x[:STEPS * BATCH], data.y[:STEPS * BATCH]


@pytest.mark.parametrize("name", NETS)
def test_steps_follow_float32(name: str) -> None:
    graph, (x, y) = network(name), images()
    learner = pt.Learner(graph, optimizer=pt.SGD(lr=0.05), batch=BATCH)
    history = learner.fit(x, y, progress=False)
    twin = pt.fit_float(graph, x, y, epochs=1, optimizer=pt.SGD(lr=0.05), batch=BATCH,
                        progress=False)
    np.testing.assert_allclose(history.batch_losses, twin.batch_losses, atol=2e-3)
    np.testing.assert_allclose(learner.logits(x[:BATCH]),
                               FloatTrainer(graph, learner.params).logits(x[:BATCH]), atol=5e-3)


def test_the_float_twin_with_other_groups_differs() -> None:
    """The comparison above would see weights in the wrong places."""
    graph, (x, _) = network("odd"), images()
    learner = pt.Learner(graph, batch=BATCH)
    params = learner.params
    params["conv3"] = pt.graph.LayerParams(params["conv3"].weight[::-1].copy(), None)
    error = learner.logits(x[:BATCH]) - FloatTrainer(graph, params).logits(x[:BATCH])
    assert np.abs(error).max() > 0.1


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_what_stands_between_groups_stays_absent(momentum: float,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    def between(learner: pt.Learner) -> tuple[np.ndarray, np.ndarray]:
        """Masters and 16-bit weights between the groups of conv3."""
        session = learner._trainer
        assert session is not None
        spec = session.plan.specs[2]
        assert spec.name == "conv3" and len(spec.sections()) == 2
        gap = spec.pack_weights(np.ones((18, 4, 3, 3), int), 2).reshape(-1) == 2
        words = session._get("conv3.wv", np.int64 if momentum else np.int32)
        return words.reshape(-1)[gap], session._get("conv3.w16", np.int16).reshape(-1)[gap]

    def trained() -> pt.Learner:
        learner = pt.Learner(SERIES, optimizer=pt.SGD(lr=0.05, momentum=momentum), batch=BATCH)
        learner.fit(*images(), progress=False)
        return learner

    masters, codes = between(trained())
    assert masters.size and not codes.any()
    assert (masters == (ABSENT_WEIGHT & 0xFFFF_FFFF if momentum else ABSENT_WEIGHT)).all()
    monkeypatch.setattr(LayerSpec, "pack_masters", LayerSpec.pack_weights)
    assert between(trained())[1].any()


def test_biases_learn_alone() -> None:
    """The sums of the gradient of each section without its weights."""
    x, y = images()
    both = [pt.Learner(SERIES, optimizer=pt.SGD(lr=0.05), batch=BATCH, trainable=train)
            for train in ("bias", "all")]
    plan = both[0].plan
    assert sum(e.role == Role.BIAS_SUMS and e.layer == 2 for e in plan.train) == 2
    before = both[0].params
    for learner in both:
        learner.fit(x[:BATCH], y[:BATCH], progress=False)
    for name in ("conv1", "conv2", "conv3", "dense1"):
        alone, all_of = both[0].params[name], both[1].params[name]
        assert (alone.weight == before[name].weight).all()
        assert (alone.bias == all_of.bias).all() and (alone.bias != before[name].bias).any()
