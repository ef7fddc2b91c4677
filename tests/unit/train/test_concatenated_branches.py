"""Networks whose branches are concatenated by channels, on golden, against float32."""

from __future__ import annotations

import numpy as np
import pytest
from reference_models.concat_nets import NETWORKS

import pynq_train as pt
from pynq_train.check.verify import verify
from pynq_train.graph import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    Graph,
    MaxPool,
    Op,
    Relu,
)
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep

BATCH = 16
STEPS = 6
Data = tuple[np.ndarray, np.ndarray]


def data_of(graph: Graph) -> Data:
    """Images of classes that differ in their means."""
    draw = np.random.default_rng(5)
    y = draw.integers(0, graph.classes, STEPS * BATCH)
    means = draw.standard_normal((graph.classes, *graph.input_shape))
    return (draw.standard_normal((len(y), *graph.input_shape)) + means[y]).astype(np.float32), y


@pytest.mark.parametrize("name", NETWORKS)
def test_training_follows_float32(name: str) -> None:
    graph = NETWORKS[name]
    x, y = data_of(graph)
    learner = pt.Learner(graph, optimizer=pt.SGD(lr=0.02, momentum=0.9), batch=BATCH, seed=1)
    session = learner._open()
    start = init_params(graph, 1)
    reference = FloatTrainer(graph, start, lr=0.02, momentum=0.9)
    session.policy.input_k = 3
    session.calibrate(x[:BATCH], y[:BATCH])
    for begin in range(0, len(y), BATCH):
        part = x[begin:begin + BATCH], y[begin:begin + BATCH]
        said = session.train_step(*part, SgdStep(0.02, 0.9))
        assert abs(said.loss_sum / BATCH - reference.step(*part).loss) < 4e-3
    found = session.read_masters()
    for layer, wanted in reference.params.items():
        mine = found[layer].params()
        for label in ("weight", "bias", "mean", "variance"):
            one, other = getattr(mine, label), getattr(wanted, label)
            if one is not None:
                moved = np.abs(other - getattr(start[layer], label)).max()
                tolerance = 0.1 * moved + 2e-3 * np.abs(other).max() + 1e-6
                assert np.abs(one - other).max() <= tolerance, (layer, label)


@pytest.mark.parametrize("number", range(len(NETWORKS)))
def test_programs_are_legal(number: int) -> None:
    """The verifier proves every program; golden repeats itself in both modes."""
    graph = list(NETWORKS.values())[number]
    assert verify(graph, batch=1 + 2 * (number % 3), steps=1, board="golden",
                  seed=number).mismatches == 0


def conv(name: str, *inputs: str, stride: int = 1) -> Conv:
    return Conv(8, 1, stride, 0, False, name, inputs=inputs)


def test_array_reads_a_concat_buffer_in_evaluations_only() -> None:
    """The dropout between them vanishes: what waits for both units must have a place."""
    ops: tuple[Op, ...] = (
        conv("stem"), Relu("at"), conv("one", "at"), Relu("first"), conv("two", "at"),
        BatchNorm(name="norm", inputs=("two",)), Concat("join", ("first", "norm")),
        Dropout(0.3, "drop"), conv("behind"), GlobalAvgPool("mean"), Dense(4, name="logits"))
    assert verify(Graph.build((3, 4, 4), ops), batch=3, steps=1, board="golden",
                  seed=1).mismatches == 0


def test_gradient_of_pooling_beside_a_concat_buffer() -> None:
    """The gradient that goes back through windows is as large as the map that was pooled."""
    ops: tuple[Op, ...] = (
        conv("stem"), BatchNorm(name="norm"), Relu("at"), MaxPool(3, 2, 1, "small", ("at",)),
        conv("one", "small"), Relu("first"), Concat("join", ("first", "small")), conv("all"),
        conv("other", "at", stride=2), Add("sum", ("all", "other")),
        GlobalAvgPool("mean"), Dense(4, name="logits"))
    assert verify(Graph.build((3, 6, 6), ops), batch=3, steps=1, board="golden",
                  seed=1).mismatches == 0
