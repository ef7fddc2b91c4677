"""What ``fit`` holds in memory before its first step, beyond data and arena: boards have little."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.backends import Backend, RunRequest
from pynq_train.graph import Conv, Dense, GlobalAvgPool, Graph, Relu, zoo

MOST_BYTES = 40e6
LARGE = Graph.build((3, 224, 224), [Conv(8, 3, stride=2), Relu(), GlobalAvgPool(), Dense(2)])


class FirstStep(Exception):
    """The engine would run now."""


class Stopping:
    """An arena whose engine never runs."""

    name = "stopping"

    def __init__(self, nbytes: int) -> None:
        self.arena_size_bytes, self.memory = nbytes, np.zeros(nbytes, np.uint8)

    def write(self, offset: int, data: Any) -> None:
        flat = np.ascontiguousarray(np.frombuffer(data, np.uint8) if isinstance(data, bytes)
                                    else data).reshape(-1).view(np.uint8)
        self.memory[offset : offset + flat.nbytes] = flat

    def read(self, offset: int, nbytes: int) -> np.ndarray:
        return self.memory[offset : offset + nbytes].copy()

    def run(self, request: RunRequest) -> None:
        raise FirstStep

    def close(self) -> None:
        """Nothing is held."""


class Started(pt.Learner):
    def _open_backend(self, nbytes: int) -> Backend:
        return Stopping(nbytes)  # type: ignore[return-value]


@pytest.mark.parametrize(("net", "batch", "shape", "dtype", "normalise"), [
    ("1x", 32, (6_000, 32, 32, 3), np.uint8, True),
    ("1x", 32, (3_000, 3, 32, 32), np.float32, False),
    ("lenet5", 32, (12_000, 28, 28), np.uint8, False),
    ("lenet5", 32, (6_000, 28, 28), np.float64, True),
    (LARGE, 8, (100, 224, 224, 3), np.uint8, True),
    (LARGE, 8, (70, 3, 224, 224), np.float32, True)])
def test_the_start_of_a_training_takes_little_memory(
        net: str | Graph, batch: int, shape: tuple[int, ...], dtype: type, normalise: bool) -> None:
    graph = zoo.get(net) if isinstance(net, str) else net
    bits = np.random.default_rng(1).integers(0, 2, 9973, np.uint8)
    x: np.ndarray = np.resize(bits, shape).astype(dtype)
    learner = Started(graph, batch=batch, normalise=normalise)
    y = np.arange(len(x)) % graph.classes
    tracemalloc.start()
    try:
        with pytest.raises(FirstStep):
            learner.fit(x, y, progress=False)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most - learner.plan.memory.nbytes < MOST_BYTES
