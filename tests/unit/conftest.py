"""A small network and data that it can learn in a second."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.graph import Graph, Sequential

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def net() -> Graph:
    return (Sequential((1, 6, 6), "small").conv(4, 3, padding=1).relu().pool().dense(3).build())


@pytest.fixture
def data() -> Data:
    """52 images in three classes: one bright row each, with noise."""
    rng = np.random.RandomState(5)
    y = rng.randint(0, 3, 52)
    x = rng.standard_normal((52, 1, 6, 6)).astype(np.float32) * 0.3
    for i, label in enumerate(y):
        x[i, 0, 2 * label] += 1.0
    return x, y
