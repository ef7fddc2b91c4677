"""The learner as the loop, its callbacks and the report see it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from pynq_train.graph import Graph
from pynq_train.schedule.plan import Plan
from pynq_train.train.history import History
from pynq_train.train.optimizer import SGD
from pynq_train.train.state import TrainState


class Trained(Protocol):
    """What trains: :class:`~pynq_train.train.learner.Learner` is one.

    Attributes:
        graph: the network.
        board: name of the backend.
        seed: seed of starts, data order and dropout.
        accumulate: mini-batches of one update.
        train: what learns.
        state: where the training stands.
    """

    graph: Graph
    board: str
    seed: int
    accumulate: int
    train: str | Sequence[str]
    state: TrainState

    @property
    def plan(self) -> Plan:
        """Layers, tiles and memory on the board."""

    @property
    def batch(self) -> int:
        """Images of a mini-batch."""

    @property
    def optimizer(self) -> SGD:
        """The optimizer."""

    @property
    def history(self) -> History:
        """Epochs so far."""

    @property
    def steps(self) -> int:
        """Training steps so far."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a .safetensors file."""
