"""Float training of networks with branches."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.graph import Add, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, Graph, Relu


def residual() -> Graph:
    return Graph.build((1, 8, 8), [
        Conv(8, 3, padding=1, bias=False), BatchNorm(), Relu(name="a"),
        Conv(8, 3, padding=1, bias=False), BatchNorm(name="b"), Add(inputs=("a", "b")), Relu(),
        Conv(16, 3, 2, 1, bias=False), BatchNorm(), Relu(), GlobalAvgPool(), Dropout(0.1),
        Dense(10)])


def test_a_residual_network_learns_the_digits_and_repeats_itself() -> None:
    pytest.importorskip("sklearn")
    data = pt.load_digits()
    assert data.test is not None

    def fit(epochs: int, images: int, **options: float) -> pt.History:
        return pt.fit_float(residual(), data.train.x[:images], data.train.y[:images], epochs=epochs,
                            optimizer=pt.SGD(lr=0.1), validation_data=(data.test.x, data.test.y),
                            **options)

    accuracy = fit(4, 1437, label_smoothing=0.1).epochs[-1].val_accuracy
    assert accuracy is not None and accuracy > 0.85
    losses = fit(1, 96, label_smoothing=0.1).batch_losses
    assert fit(1, 96, label_smoothing=0.1).batch_losses == losses
    assert fit(1, 96).batch_losses != losses
    assert fit(1, 96, label_smoothing=0.1, seed=1).batch_losses != losses


def test_validations_may_be_rare() -> None:
    """There is always one behind the last epoch, and it changes nothing."""
    graph = Graph.build((1, 4, 4), [Conv(4, 3), Relu(), Dense(3)])
    x, y = np.random.default_rng(1).standard_normal((9, 1, 4, 4)), np.arange(9) % 3
    found = {every: pt.fit_float(graph, x, y, epochs=5, batch=3, validation_data=(x, y),
                                 optimizer=pt.SGD(lr=0.05), validation_every=every).epochs
             for every in (1, 2, 9)}
    for every, wanted in ((1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])):
        assert [one.epoch for one in found[every] if one.val_accuracy is not None] == wanted
        assert found[every][-1].val_loss == found[1][-1].val_loss
    with pytest.raises(pt.BadInput, match=r"validation_every"):
        pt.fit_float(graph, x, y, validation_every=0)


def test_normalisations_below_what_learns_use_their_running_statistics() -> None:
    """As the learner's do: in a network tuned at its end the losses of both go together."""
    graph = Graph.build((2, 6, 6), [
        Conv(8, 3, padding=1, bias=False), BatchNorm(name="low"), Relu(name="a"),
        Conv(8, 3, padding=1, bias=False, name="top"), BatchNorm(name="high"), Relu(),
        GlobalAvgPool(), Dense(3, name="d")])
    draw = np.random.default_rng(4)
    y = draw.integers(0, 3, 64)
    x = (draw.standard_normal((64, 2, 6, 6)) + y[:, None, None, None] + 2).astype(np.float32)
    train, sgd = ["top", "high", "d"], pt.SGD(lr=0.05)
    with pt.Learner(graph, batch=16, optimizer=sgd, trainable=train) as learner:
        mine = learner.fit(x, y, epochs=2, progress=False).batch_losses
        low = learner.params["low"]
    twin = pt.fit_float(graph, x, y, epochs=2, optimizer=sgd, batch=16,
                        trainable=train).batch_losses
    assert mine == pytest.approx(twin, abs=4e-3)
    assert low.mean is not None and not low.mean.any()
    moved = Graph.build(graph.input_shape, [
        BatchNorm(op.momentum, op.eps, True, op.name) if op.name == "low" else op
        for op in graph.ops])
    assert pt.fit_float(moved, x, y, epochs=2, optimizer=sgd, batch=16,
                        trainable=train).batch_losses == twin
    assert pt.fit_float(graph, x, y, epochs=2, optimizer=sgd,
                        batch=16).batch_losses != pytest.approx(twin, abs=4e-3)
