"""What clipping bounds: docs/training.md says every gradient map behind a hidden layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.graph import BatchNorm, Conv, Dense, Graph, Model, Relu
from pynq_train.layers import init_params
from pynq_train.quant import StepExponents
from pynq_train.quant.step import clip_shift
from pynq_train.run.session import Session

LIMIT = -4
"""Exponent of the bound."""


def calibrated(norm: bool) -> tuple[Session, np.ndarray, np.ndarray]:
    """Session of a network whose first weights are small, with a mini-batch that it knows."""
    ops = [Conv(6, 3, name="c"), BatchNorm(name="n"), Relu(), Conv(6, 3, name="d"), Relu(),
           Dense(3, name="last")]
    graph = Graph.build((2, 6, 6), ops if norm else [ops[0], *ops[2:]])
    params = init_params(graph, 0)
    params["c"] = replace(params["c"], weight=params["c"].weight * np.float32(0.01))
    session = pt.Learner(Model(graph, params), batch=8)._open()
    assert isinstance(session, Session)
    draw = np.random.default_rng(0)
    session.policy.input_k = 3
    x, y = draw.standard_normal((8, 2, 6, 6)).astype(np.float32), draw.integers(0, 3, 8)
    session.calibrate(x, y)
    return session, x, y


def used(norm: bool) -> StepExponents:
    """Exponents of a step of that network."""
    return calibrated(norm)[0].policy.exponents(8)


@pytest.mark.parametrize("norm", [False, True])
def test_the_maps_themselves_end_below_the_bound(norm: bool) -> None:
    """Their elements as memory has them after a step, times what the gradients are scaled by."""
    session, x, y = calibrated(norm)
    exponents, limit = session.policy.exponents(8), LIMIT - 4
    session.train_step(x, y, pt.SGD(0.01, clip=2.0**limit).at(0, 9))
    largest = {}
    for region in session.plan.memory:
        if region.symbol in exponents.gradients and region.symbol != "dlogits":
            codes = session._get(region.symbol, np.int16).astype(np.float64)
            unit = 2.0 ** exponents.gradients[region.symbol]
            largest[region.symbol] = np.abs(codes).max() * unit
    assert max(largest, key=lambda name: largest[name]) == ("c.dy" if norm else "d.dy")
    assert max(largest.values()) > 2.0**limit
    assert max(largest.values()) * 2.0 ** -clip_shift(exponents, limit) <= 2.0**limit


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("limit", [LIMIT, LIMIT - 4])
def test_no_hidden_gradient_map_exceeds_the_bound(norm: bool, limit: int) -> None:
    exponents = used(norm)
    largest = max(exponent + 15 for name, exponent in exponents.gradients.items()
                  if name != "dlogits")
    assert largest - clip_shift(exponents, limit) <= limit
