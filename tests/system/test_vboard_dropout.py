"""Dropout on the RTL: all bits are golden's, of whole trainings too."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.check.verify import verify
from pynq_train.graph import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Graph,
    MaxPool2x2,
    Relu,
    Relu6,
)

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]

BOARD = "virtual:pynq-z2"
MLP = Graph.build((1, 6, 6), [
    Dropout(0.2, "in"), Flatten(), Dense(20), Relu(), Dropout(0.5, "b"), Dense(12),
    Dropout(0.3, "c"), Relu(), Dense(4)], "mlp")
CNN = Graph.build((2, 9, 8), [
    Conv(10, 3, 1, 1), Relu(), MaxPool2x2(), Dropout(0.25), Conv(7, 3, 1, 1), BatchNorm(),
    Dropout(0.4), Relu6(), Flatten(), Dropout(0.5), Dense(18), Relu(), Dropout(0.9), Dense(4)],
    "cnn")


@pytest.mark.parametrize("graph", [MLP, CNN], ids=lambda graph: graph.name)
@pytest.mark.parametrize(("number", "stalls"), [(0, 0.0), (1, 0.2)])
def test_a_step(graph: Graph, number: int, stalls: float, seed: int) -> None:
    report = verify(graph, batch=5, steps=2, board=BOARD, seed=number + 2 * seed, stalls=stalls)
    assert report.mismatches == 0 and report.descriptors > 30, report.first


def test_frozen_layers() -> None:
    report = verify(CNN, batch=6, steps=1, board=BOARD, seed=1, trainable="last-layer")
    assert report.mismatches == 0, report.first


def test_a_training() -> None:
    draw = np.random.default_rng(2)
    y = draw.integers(0, 4, 32)
    x = draw.standard_normal((32, 1, 6, 6)).astype(np.float32)
    found = []
    for board in ("golden", BOARD):
        with pt.Learner(MLP, board=board, optimizer=pt.SGD(lr=0.05, momentum=0.9), batch=8,
                        seed=3) as learner:
            losses = learner.fit(x, y, epochs=2, progress=False).batch_losses
            found.append((losses, learner.evaluate(x, y), learner.masters))
    (losses, score, masters), (others, other_score, other_masters) = found
    assert losses == others and score == other_score
    assert all(own.same_bits(other_masters[name]) for name, own in masters.items())
