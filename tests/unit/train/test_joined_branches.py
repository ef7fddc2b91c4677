"""Networks whose branches are joined by channels, on golden, against float32."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.concat_nets import NETWORKS

import pynq_train as pt
from pynq_train.graph import Graph, init_params
from pynq_train.graph.reference import FloatTrainer
from pynq_train.quant import SgdStep
from pynq_train.train.verify import verify

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
    assert verify(graph, 1 + 2 * (number % 3), 1, "golden", number).mismatches == 0
