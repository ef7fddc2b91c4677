"""Networks with pooling passes on golden: against float32, and what refuses to fit."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.check.verify import verify
from pynq_train.errors import DoesNotFit
from pynq_train.graph import BatchNorm, Conv, Dense, Graph, MaxPool, MaxPool2x2, Op, Relu
from pynq_train.graph.reference import FloatTrainer
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, init_params
from pynq_train.quant import SgdStep
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import make_plan

BATCH = 16
_STEM: list[Op] = [Conv(12, 3, 1, 1, False, "stem"), BatchNorm(name="bn"), Relu()]
_END: list[Op] = [Conv(16, 3, 1, 1, name="late"), Relu(), Dense(4, name="logits")]
NETWORKS = {
    "behind a normalisation": [*_STEM, MaxPool2x2(), *_END],
    "overlapping": [Conv(12, 3, 1, 1, name="stem"), Relu(), MaxPool(3, 2), *_END],
    "padded": [*_STEM, MaxPool(3, 2, 1), Conv(12, 3, 1, 1, False, "mid"), BatchNorm(),
               MaxPool(3, 1, 1), Relu(), *_END],
}


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Images of four classes that differ in their means."""
    draw = np.random.default_rng(5)
    y = draw.integers(0, 4, 6 * BATCH)
    x = draw.standard_normal((len(y), 2, 8, 8)) + draw.standard_normal((4, 2, 8, 8))[y]
    return x.astype(np.float32), y


@pytest.mark.parametrize("name", NETWORKS)
def test_training_follows_float32(data: tuple[np.ndarray, np.ndarray], name: str) -> None:
    graph = Graph.build((2, 8, 8), NETWORKS[name], "pooled")
    learner = pt.Learner(graph, optimizer=pt.SGD(lr=0.01, momentum=0.9), batch=BATCH, seed=1)
    session = learner._open()
    start = init_params(graph, 1)
    reference = FloatTrainer(graph, start, lr=0.01, momentum=0.9)
    session.policy.input_k = 3
    session.calibrate(data[0][:BATCH], data[1][:BATCH])
    losses = []
    for begin in range(0, len(data[1]), BATCH):
        part = data[0][begin:begin + BATCH], data[1][begin:begin + BATCH]
        said = session.train_step(*part, SgdStep(0.01, 0.9))
        losses.append(said.loss_sum / BATCH)
        assert abs(losses[-1] - reference.step(*part).loss) < 1e-3
    assert losses[-1] < losses[0]
    found = session.read_masters()
    for layer, wanted in reference.params.items():
        mine, moved = found[layer].params(), np.abs(wanted.weight - start[layer].weight).max()
        assert np.abs(mine.weight - wanted.weight).max() <= 0.1 * moved, layer


@pytest.mark.parametrize("name", NETWORKS)
def test_programs_are_legal(name: str) -> None:
    graph = Graph.build((2, 9, 7), NETWORKS[name], "pooled")
    assert verify(graph, batch=5, steps=2, board="golden", seed=3).mismatches == 0


def test_a_pooling_with_nothing_trainable_below_has_no_argmax_and_no_gradient() -> None:
    layers = fuse(Graph.build((2, 8, 8), NETWORKS["overlapping"]))
    plan = make_plan(layers, 4, BOARDS["pynq-z2"], train_from=2)
    pool = layers[1].name
    assert f"{pool}.y" in plan.memory
    assert f"{pool}.flags" not in plan.memory and f"{pool}.dy" not in plan.memory
    assert {e.role for e in plan.train if e.layer == 1} == {Role.POOL}


def test_wide_maps_are_refused() -> None:
    board = BOARDS["pynq-z2"]
    for cols, fits in ((510, True), (511, False)):
        wide = fuse(Graph.build((1, 4, cols), [MaxPool(3, 3, name="p"), Conv(4, 1), Dense(2)]))
        if fits:
            make_plan(wide, 1, board)
            continue
        with pytest.raises(DoesNotFit, match="layer 'p': columns of a map that is pooled: "
                                             "expected at most 510, found 511"):
            make_plan(wide, 1, board)
