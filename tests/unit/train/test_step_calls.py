"""What a training step costs the host, in calls of Python and NumPy: times are the machine's."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from benchmarks import host_cost
from pynq_train import SGD, Graph
from pynq_train.graph import Sequential, zoo
from pynq_train.run.trainer import StepOutcome
from pynq_train.train.callbacks import Callback
from pynq_train.train.learner_view import LearnerView

STEPS = 24


def normalised() -> Graph:
    """A network with normalisations, whose step block and labels do not stand together."""
    net = Sequential((3, 8, 8)).conv(8, 3, padding=1).norm().relu().conv(8, 3).norm().relu()
    return net.global_pool().dense(4).build()


@contextmanager
def on_a_resting_board(net: Graph | str, batch: int) -> Iterator[tuple[Any, Any, Any]]:
    """A learner whose engine ends each run at once, with its images and labels."""
    graph = zoo.get(net) if isinstance(net, str) else net
    channels, rows, cols = graph.input_shape
    draw = np.random.default_rng(1)
    x = draw.integers(0, 256, (batch * STEPS, rows, cols, channels), np.uint8)
    y = draw.integers(0, graph.classes, len(x))
    learner = host_cost.Resting(net, batch=batch, input_range=(0, 1),
                                optimizer=SGD(lr=0.01, schedule="constant"))
    learner.recording = True
    learner.fit(x[: 2 * batch], y[: 2 * batch], progress=False)
    learner.close()
    learner.recording = False
    with learner:
        yield learner, x, y


class Calls(Callback):
    """Counts the calls between the ends of two steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self._count = 0

    def on_step(self, learner: LearnerView, outcome: StepOutcome) -> None:
        """Note them."""
        sys.setprofile(None)
        self.steps.append(self._count)
        self._count = 0
        sys.setprofile(self._called)

    def _called(self, _frame: object, event: str, _argument: object) -> None:
        self._count += event in ("call", "c_call")


def calls_of_a_step(net: Graph | str, batch: int, planted: int = 0) -> float:
    """Return the calls of most steps; ``planted``: so many more, in front of each."""
    class More(Callback):
        def on_step(self, learner: LearnerView, outcome: StepOutcome) -> None:
            for _ in range(planted):
                abs(-1)

    counted = Calls()
    with on_a_resting_board(net, batch) as (learner, x, y):
        learner.fit(x, y, progress=False)
        try:
            learner.fit(x, y, progress=False, callbacks=[More(), counted])
        finally:
            sys.setprofile(None)
    assert len(counted.steps) == STEPS
    return statistics.median(counted.steps[1:])  # the first one began before it was counted


@pytest.mark.parametrize(("net", "batch", "most"), [("digits", 32, 250), (normalised(), 16, 320)])
def test_a_step_makes_few_calls(net: Graph | str, batch: int, most: int) -> None:
    """230 and 295 of them; operators of NumPy come on top, which nobody sees."""
    found = calls_of_a_step(net, batch)
    assert found <= most
    # Far fewer would not be a step.
    assert found >= most / 2


def test_more_calls_are_seen() -> None:
    few, many = (calls_of_a_step("digits", 32, planted) for planted in (0, 40))
    assert many == few + 40
