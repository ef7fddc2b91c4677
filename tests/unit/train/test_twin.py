"""Float training of networks with branches."""

from __future__ import annotations

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
    data = pt.digits()
    assert data.test is not None

    def fit(epochs: int, images: int, **options: float) -> pt.History:
        return pt.fit_float(residual(), data.train.x[:images], data.train.y[:images], epochs,
                            pt.SGD(lr=0.1), validation_data=(data.test.x, data.test.y), **options)

    accuracy = fit(4, 1437, label_smoothing=0.1).epochs[-1].val_accuracy
    assert accuracy is not None and accuracy > 0.85
    losses = fit(1, 96, label_smoothing=0.1).batch_losses
    assert fit(1, 96, label_smoothing=0.1).batch_losses == losses
    assert fit(1, 96).batch_losses != losses
    assert fit(1, 96, label_smoothing=0.1, seed=1).batch_losses != losses
