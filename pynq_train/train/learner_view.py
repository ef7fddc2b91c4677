"""The learner as its loop, its callbacks and its report see it.

:class:`~pynq_train.train.learner.Learner` imports these three, so they know it by a protocol.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from pynq_train.graph import Graph
from pynq_train.schedule.plan import Plan
from pynq_train.train.history import History
from pynq_train.train.optimizer import SGD
from pynq_train.train.state import TrainState


class LearnerView(Protocol):
    """What may be read of a learner while it trains, and that it can be saved.

    Attributes:
        graph: the network.
        board: name of the backend.
        seed: names the initial weights, the order of the images and the dropped elements.
        accumulate: mini-batches whose mean gradient makes one update.
        trainable: what is trained: a keyword, or names and patterns.
        state: counters, history, and the call of ``fit`` under way; the loop moves it on.
    """

    graph: Graph
    board: str
    seed: int
    accumulate: int
    trainable: str | Sequence[str]
    state: TrainState

    @property
    def plan(self) -> Plan:
        """Layers, tiles and memory on the board."""

    @property
    def batch(self) -> int:
        """Images of a mini-batch."""

    @property
    def optimizer(self) -> SGD:
        """SGD with its schedule."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, from the first output on."""

    @property
    def history(self) -> History:
        """Epochs so far."""

    @property
    def steps(self) -> int:
        """Training steps of all calls of ``fit``, one for each mini-batch."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, weights, momentum and training state to a .safetensors file."""
