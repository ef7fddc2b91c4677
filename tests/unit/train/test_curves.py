"""Activations by tables, products of maps and squeeze-and-excitation on golden, against float32."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.check.verify import verify
from pynq_train.graph import (
    Conv,
    Dense,
    Elu,
    Flatten,
    Gelu,
    GlobalAvgPool,
    Graph,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Multiply,
    Op,
    Relu,
    Sigmoid,
    Silu,
    Tanh,
)
from pynq_train.graph.curves import Curve
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep

BATCH = 16
Data = tuple[np.ndarray, np.ndarray]
CURVES = (LeakyRelu(), LeakyRelu(-0.5), Elu(), Elu(1.75), Sigmoid(), Tanh(), Silu(), Gelu(),
          Gelu(True), HardSigmoid(), HardSigmoid(0.2, 0.4), HardSwish())


@pytest.fixture(scope="module")
def data() -> Data:
    """Images of four classes that differ in their means."""
    draw = np.random.default_rng(5)
    y = draw.integers(0, 4, 5 * BATCH)
    x = draw.standard_normal((len(y), 2, 6, 6)) + draw.standard_normal((4, 2, 6, 6))[y]
    return x.astype(np.float32), y


def squeeze(dense: bool, gate: Curve) -> list[Op]:
    """Scale the 6 channels of map ``x`` by a vector that is made of their means."""
    small: list[Op] = [Dense(3, name="small"), Relu(name="r"), Dense(6, name="large")]
    if not dense:
        small = [Conv(3, 1, name="small"), Relu(name="r"), Conv(6, 1, name="large")]
    return [GlobalAvgPool("mean", ("x",)), *small, gate, Multiply("scaled", ("x", gate.name))]


def network(middle: list[Op]) -> Graph:
    """A convolution named x, operations behind it, a convolution and a classifier."""
    return Graph.build((2, 6, 6), [Conv(6, 3, padding=1, name="x"), *middle,
                                   Conv(5, 3, padding=1, name="c"), Relu(), Flatten(),
                                   Dense(4, name="logits")], "curves")


NETWORKS = {
    **{f"{one.kind}{number}": network([one]) for number, one in enumerate(CURVES)},
    "behind": network([Tanh(), Silu(), Conv(3, 1, name="d"), Relu(), Elu(name="e"), Flatten(),
                       Gelu(name="g")][:5]),
    "vectors": Graph.build((2, 6, 6), [
        Conv(5, 3, name="x"), GlobalAvgPool(), Dense(7, name="a"), Tanh(),
        Dense(4, name="logits")]),
    "flattened": Graph.build((2, 6, 6), [
        Conv(5, 3, name="x"), Flatten(), Sigmoid(), Dense(4, name="logits")]),
    "product": network([Conv(7, 1, name="p"), Conv(7, 1, name="q", inputs=("x",)),
                        Multiply("m", ("p", "q"))]),
    "gate": network([Sigmoid(name="g"), Multiply("m", ("x", "g")), Relu()]),
    "square": network([Multiply("m", ("x", "x"))]),
    "squeeze": network(squeeze(True, Sigmoid(name="gate"))),
    "pointwise": network(squeeze(False, HardSigmoid(name="gate"))),
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_training_follows_float32(data: Data, name: str) -> None:
    # Products of large values grow fast: at a large rate float32 diverges as well.
    graph, rate = NETWORKS[name], 0.002 if name in ("product", "square") else 0.02
    made = pt.Learner(graph, optimizer=pt.SGD(lr=rate, momentum=0.9), batch=BATCH, seed=1)
    session = made._open()
    start = init_params(graph, 1)
    reference = FloatTrainer(graph, start, lr=rate, momentum=0.9)
    session.policy.input_k = 3
    session.calibrate(data[0][:BATCH], data[1][:BATCH])
    for begin in range(0, len(data[1]), BATCH):
        part = data[0][begin:begin + BATCH], data[1][begin:begin + BATCH]
        said = session.train_step(*part, SgdStep(rate, 0.9))
        wanted = reference.step(*part)
        assert abs(said.loss_sum / BATCH - wanted.loss) < 4e-3
    found = session.read_masters()
    for layer, wanted_params in reference.params.items():
        mine = found[layer].params()
        for label in ("weight", "bias"):
            one, other = getattr(mine, label), getattr(wanted_params, label)
            moved = np.abs(other - (getattr(start[layer], label))).max()
            assert one.shape == other.shape
            tolerance = 0.05 * moved + 1e-3 * np.abs(other).max() + 1e-6
            assert np.abs(one - other).max() <= tolerance, (layer, label)


@pytest.mark.parametrize("name", ["sigmoid4", "square", "gate", "pointwise"])
def test_programs_are_legal(name: str) -> None:
    assert verify(NETWORKS[name], board="golden", batch=5, steps=1).mismatches == 0
