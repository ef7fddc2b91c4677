"""Arms: a model and how much of it adapts, with what that costs on each kind of board."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pynq_train.backends.names import board_of
from pynq_train.errors import BadInput, DoesNotFit
from pynq_train.graph import Graph, Model, zoo
from pynq_train.layers.fuse import fuse
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.predict import predict
from pynq_train.schedule.specs.trainable import select

RUNGS = ("last-layer", "last-block", "all")
"""Rungs of adaptation that every network has; each is a value of ``trainable``."""
BATCH = 8
MOST_ARMS = 64


@dataclass(frozen=True)
class Cost:
    """What training with an arm costs on one kind of board, from its plan.

    Attributes:
        cycles: predicted cycles of a training step.
        nbytes: bytes of device memory.
        image_s: seconds per image at the board's clock.
    """

    cycles: int
    nbytes: int
    image_s: float


@dataclass(frozen=True)
class Arm:
    """A model and a rung of adaptation.

    Attributes:
        model: name of the model.
        rung: how much of it adapts.
        costs: what it costs, by board; boards on which it does not fit are missing.
    """

    model: str
    rung: str
    costs: Mapping[str, Cost]

    @property
    def name(self) -> str:
        """Model and rung."""
        return f"{self.model}/{self.rung}"


def plan_cost(graph: Graph, rung: str, board: str, batch: int = BATCH) -> Cost:
    """Return what a rung costs, by plan and cycle model.

    Args:
        graph: the network.
        rung: a value of ``trainable``.
        board: name of a board.
        batch: images of a mini-batch.

    Raises:
        BadInput: the network has no such rung, or there is no such board.
        DoesNotFit: it is too large for the board.
    """
    layers = fuse(graph)
    plan = make_plan(layers, batch, board_of(board), trainable=select(layers, rung))
    found = predict(plan, plan.train)
    return Cost(found.cycles, plan.memory.nbytes, found.ms_per_image / 1e3)


def make_arms(models: Mapping[str, Graph | Model] | Sequence[str], boards: Sequence[str],
              rungs: Sequence[str] = RUNGS, *, batch: int = BATCH,
              cost: Callable[[Graph, str, str, int], Cost] = plan_cost,
              progress: Callable[[str], object] | None = None) -> tuple[Arm, ...]:
    """Return an arm for each model and rung, with their costs on each board.

    Args:
        models: networks by name, or names of networks of the zoo.
        boards: names of boards.
        rungs: how much adapts, each a value of ``trainable``.
        batch: images of a mini-batch.
        cost: what a rung of a network costs on a board, for rungs that ``trainable`` does not know.
        progress: is called with the name of each arm and board before it is planned.

    Raises:
        BadInput: there is no model, rung or board, one is named twice, or a network has no such
            rung.
        DoesNotFit: an arm fits on none of the boards.
    """
    if not isinstance(models, Mapping):
        models = {name: zoo.get(name) for name in distinct("models", models)}
    for what, names in (("models", models), ("boards", boards), ("rungs", rungs)):
        distinct(what, list(names))
    arms = []
    for model, given in models.items():
        graph = given.graph if isinstance(given, Model) else given
        for rung in rungs:
            costs, refusal = {}, None
            for board in boards:
                if progress:
                    progress(f"{model}/{rung} on {board}")
                try:
                    costs[board] = cost(graph, rung, board, batch)
                except DoesNotFit as error:
                    refusal = error
            if refusal is not None and not costs:
                raise refusal
            arms.append(Arm(model, rung, costs))
    return tuple(arms)


def distinct(what: str, names: Sequence[str]) -> Sequence[str]:
    """Return names, each of which is there once.

    Raises:
        BadInput: there are none, or one is named twice.
    """
    if not names or len(set(names)) < len(names):
        raise BadInput(what, expected="one or more, each named once", found=", ".join(names)
                       or "none")
    return names
