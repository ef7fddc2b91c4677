"""Residual networks with batch normalisation on golden, against float32 and themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.check.random_branches import random_branched_net
from pynq_train.check.verify import verify
from pynq_train.graph import Add, BatchNorm, Conv, Dense, GlobalAvgPool, Graph, Relu, Relu6
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep

BATCH = 16
Data = tuple[np.ndarray, np.ndarray]


def network(frozen: bool = False) -> Graph:
    """A stem, a residual, a block with a projection, depthwise and pointwise, a mean."""
    return Graph.build((2, 8, 8), [
        Conv(12, 3, 1, 1, False, "stem"), BatchNorm(frozen=frozen, name="bn"), Relu(name="r"),
        Conv(12, 3, 1, 1, False, "a"), BatchNorm(name="abn"), Add(inputs=("abn", "r")),
        Relu(name="s"),
        Conv(12, 3, 2, 1, False, "dw", 12, ("s",)), BatchNorm(name="dbn"), Relu6(name="t"),
        Conv(20, 1, 1, 0, False, "pw"), BatchNorm(name="pbn"),
        Conv(20, 1, 2, 0, False, "skip", inputs=("s",)), BatchNorm(name="sbn"),
        Add(inputs=("pbn", "sbn")), Relu(), GlobalAvgPool(), Dense(4, name="logits")], "branches")


@pytest.fixture(scope="module")
def data() -> Data:
    """Images of four classes that differ in their means."""
    draw = np.random.default_rng(5)
    y = draw.integers(0, 4, 6 * BATCH)
    x = draw.standard_normal((len(y), 2, 8, 8)) + draw.standard_normal((4, 2, 8, 8))[y]
    return x.astype(np.float32), y


def learner(graph: Graph, **more: object) -> pt.Learner:
    return pt.Learner(graph, optimizer=pt.SGD(lr=0.05, momentum=0.9), batch=BATCH, seed=1,
                      **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("frozen", [False, True])
def test_training_follows_float32(data: Data, frozen: bool) -> None:
    graph = network(frozen)
    session = learner(graph)._open()
    start = init_params(graph, 1)
    reference = FloatTrainer(graph, start, lr=0.05, momentum=0.9)
    session.policy.input_k = 3
    session.calibrate(data[0][:BATCH], data[1][:BATCH])
    for begin in range(0, len(data[1]), BATCH):
        part = data[0][begin:begin + BATCH], data[1][begin:begin + BATCH]
        said = session.train_step(*part, SgdStep(0.05, 0.9))
        wanted = reference.step(*part)
        assert abs(said.loss_sum / BATCH - wanted.loss) < 4e-3
    found = session.read_masters()
    for name, wanted_params in reference.params.items():
        mine = found[name].params()
        for label in ("weight", "bias", "mean", "variance"):
            one, other = getattr(mine, label), getattr(wanted_params, label)
            assert (one is None) == (other is None)
            if one is not None:
                moved = np.abs(other - (getattr(start[name], label))).max()
                tolerance = 0.1 * moved + 2e-3 * np.abs(other).max() + 1e-6
                assert np.abs(one - other).max() <= tolerance, (name, label)


def test_calibration_and_evaluation_leave_running_statistics_alone(data: Data) -> None:
    made = learner(network())
    made.fit(*data, epochs=1, progress=False)
    before = made.masters
    made.evaluate(*data)
    session = made._open()
    session.calibrate(data[0][:BATCH], data[1][:BATCH])
    assert all(own.same_bits(before[name]) for name, own in made.masters.items())
    assert before["bn"].mean is not None and before["bn"].mean.any()


@pytest.mark.medium
def test_saved_running_statistics_come_back(data: Data, tmp_path: Path) -> None:
    made = learner(network())
    made.fit(*data, epochs=1, progress=False)
    made.save(tmp_path / "net.safetensors")
    again = pt.load(tmp_path / "net.safetensors")
    assert all(own.same_bits(again.masters[name]) for name, own in made.masters.items())
    np.testing.assert_array_equal(made.logits(data[0]), again.logits(data[0]))
    for one in (made, again):
        one.fit(*data, epochs=1, progress=False)
    assert all(own.same_bits(again.masters[name]) for name, own in made.masters.items())


def test_only_normalisations_learn(data: Data) -> None:
    made = learner(network(), trainable="norm")
    before = made.masters
    made.fit(*data, epochs=1, progress=False)
    changed = {name for name, own in made.masters.items()
               if not np.array_equal(own.weight, before[name].weight)}
    assert changed == {"bn", "abn", "dbn", "pbn", "sbn"}


def test_frozen_normalisations_below_what_learns_keep_their_statistics(data: Data) -> None:
    made = learner(network(), trainable=["skip", "sbn", "logits"])
    before = made.masters
    made.fit(*data, epochs=1, progress=False)
    for name in ("bn", "abn", "dbn", "pbn"):
        assert made.masters[name].same_bits(before[name]), name
    assert not made.masters["sbn"].same_bits(before["sbn"])


@pytest.mark.parametrize("number", range(10))
def test_random_networks_have_legal_programs(number: int, seed: int) -> None:
    """The verifier proves every program; golden repeats itself in both modes."""
    net = random_branched_net(1000 + 50 * seed + number)
    assert verify(net.graph, batch=net.batch, steps=1, board="golden", seed=number).mismatches == 0
