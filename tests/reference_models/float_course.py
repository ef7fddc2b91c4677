"""A short training of a network with maps of 8 columns, step by step beside float32."""

from __future__ import annotations

import numpy as np

import pynq_train as pt
from pynq_train.graph import Graph
from pynq_train.graph.reference import FloatTrainer

IMAGES, BATCH = 96, 8


def bright_thirds(graph: Graph, rng: np.random.Generator, count: int
                  ) -> tuple[np.ndarray, np.ndarray]:
    """Images whose brightest third of columns is the label."""
    y = rng.integers(0, 3, count)
    x = rng.normal(size=(count, *graph.input_shape)) * 0.2
    for image, label in zip(x, y):
        image[:, :, 2 * label:2 * label + 3] += 1
    return x.astype(np.float32), y


def follow_float32(graph: Graph, rng: np.random.Generator, *, lr: float, loss_error: float) -> None:
    """Assert that losses are those of float32 up to ``loss_error``, fall, and logits at the end."""
    x, y = bright_thirds(graph, rng, IMAGES)
    learner = pt.Learner(graph, optimizer=pt.SGD(lr=lr), batch=BATCH)
    learner.calibrate(x[:16])
    history = learner.fit(x, y, progress=False)
    twin = pt.fit_float(graph, x, y, optimizer=pt.SGD(lr=lr), batch=BATCH)
    np.testing.assert_allclose(history.batch_losses, twin.batch_losses, atol=loss_error)
    assert history.batch_losses[-1] < 0.7 * history.batch_losses[0]
    np.testing.assert_allclose(learner.logits(x[:8]),
                               FloatTrainer(graph, learner.params).logits(x[:8]), atol=0.02)
