"""Activations behind a mean: the gradient passes where they pass, against float32."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.check.verify import verify
from pynq_train.graph import Add, Conv, Dense, GlobalAvgPool, Graph, Op, Relu, Relu6
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep

BATCH, STEPS = 16, 5
NETS: dict[str, list[Op]] = {
    "relu": [Conv(10, 3, 1, 1, name="c"), GlobalAvgPool("g"), Relu(), Dense(3, name="d")],
    "relu6": [Conv(10, 3, 1, 1, name="c"), GlobalAvgPool("g"), Relu6(), Dense(3, name="d")],
    "sum of means": [
        Conv(10, 3, 1, 1, name="c"), GlobalAvgPool("g"),
        Conv(10, 3, 1, 1, name="e", inputs=("c",)), GlobalAvgPool("h"), Add("s", ("g", "h")),
        Relu(), Dense(3, name="d")],
    "read twice": [
        Conv(10, 3, 1, 1, name="c"), GlobalAvgPool("g"), Relu(name="r"), Add("s", ("r", "g")),
        Dense(3, name="d")],
}


@pytest.mark.parametrize("name", list(NETS))
def test_training_follows_float32(name: str) -> None:
    graph = Graph.build((2, 7, 7), NETS[name], name)
    draw = np.random.default_rng(3)
    y = draw.integers(0, 3, STEPS * BATCH)
    x = (draw.standard_normal((len(y), 2, 7, 7)) + y[:, None, None, None]).astype(np.float32)
    learner = pt.Learner(graph, optimizer=pt.SGD(lr=0.05, momentum=0.9), batch=BATCH, seed=1)
    session = learner._open()
    start = init_params(graph, 1)
    reference = FloatTrainer(graph, start, lr=0.05, momentum=0.9)
    session.policy.input_k = 3
    session.calibrate(x[:BATCH], y[:BATCH])
    for begin in range(0, len(y), BATCH):
        part = x[begin:begin + BATCH], y[begin:begin + BATCH]
        said = session.train_step(*part, SgdStep(0.05, 0.9))
        assert abs(said.loss_sum / BATCH - reference.step(*part).loss) < 4e-3
    found = session.read_masters()
    for layer, wanted in reference.params.items():
        moved = np.abs(wanted.weight - start[layer].weight).max()
        off = np.abs(found[layer].params().weight - wanted.weight).max()
        assert off <= 0.05 * moved + 1e-3 * np.abs(wanted.weight).max(), layer


@pytest.mark.parametrize("name", list(NETS))
def test_programs_are_legal(name: str) -> None:
    graph = Graph.build((2, 7, 7), NETS[name], name)
    assert verify(graph, batch=5, steps=1, board="golden").mismatches == 0
