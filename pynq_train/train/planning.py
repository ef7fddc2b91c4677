"""The plan that a learner trains by: that of its file, where this holds programs, or a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pynq_train.backends.names import HLS_CSIM
from pynq_train.errors import BadInput
from pynq_train.files import path_text
from pynq_train.graph import Graph
from pynq_train.hw.boards import Board
from pynq_train.layers.fuse import FusedLayer, fuse
from pynq_train.quant import ExponentPolicy, Loss
from pynq_train.run.masters import Masters
from pynq_train.run.trainer import Trainer
from pynq_train.schedule.compiled import Programs, build_programs, fitting, to_saved
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import Trainable, TrainableChoice, select
from pynq_train.train.checkpoint import Compiled


@dataclass(frozen=True)
class Training:
    """What a plan is of.

    Attributes:
        layers: the network.
        name: its name, for messages.
        board: the board.
        batch: images of a mini-batch.
        trainable: what is trained.
        momentum: whether masters have a momentum.
        loss: what is minimised.
        turns: maps take turns in memory; False where they are read behind a run.
        cache: with a step that begins with the maps of frozen layers.
    """

    layers: tuple[FusedLayer, ...]
    name: str
    board: Board
    batch: int
    trainable: TrainableChoice
    momentum: bool
    loss: Loss
    turns: bool = True
    cache: bool = False

    @property
    def chosen(self) -> tuple[Trainable, ...]:
        """What is trained of each layer."""
        return select(self.layers, self.trainable)

    def plan(self) -> Plan:
        """Return a new plan.

        Raises:
            DoesNotFit: the network with this mini-batch is too large for the board.
        """
        return make_plan(self.layers, self.batch, self.board, momentum=self.momentum,
                         trainable=self.chosen, turns=self.turns, cache=self.cache,
                         loss=self.loss)


def planned(training: Training, compiled: Compiled | None, graph: Graph, place: Place | None
            ) -> Planned:
    """Return the plan of a training, at a place or on one board.

    Args:
        training: what the plan is of; without layers they are those of the graph.
        compiled: what a file holds of it; of no use at a place.
        graph: the network.
        place: where it is trained, None: on the training's board.

    Raises:
        PynqTrainError: the network cannot be trained there; the text says why.
    """
    if not training.layers:
        training = replace(training, layers=fuse(graph))
    return Planned(training, compiled) if place is None else place.planned(graph, training)


class Closable(Protocol):
    """Something that is open."""

    def close(self) -> None:
        """Give it back."""


class Place(Protocol):
    """Where a network is trained, if that is not one board: several boards at once.

    It is a plain value, which a copy of a learner shares.
    """

    @property
    def name(self) -> str:
        """What a checkpoint and messages call it."""

    @property
    def board(self) -> Board:
        """The board for which the whole network is planned; it need not fit there."""

    def planned(self, graph: Graph, training: Training) -> Planned:
        """Return the plan of a training there.

        Raises:
            PynqTrainError: the network cannot be trained there; the text says why.
        """


class Planned:
    """The plan of a training, with its programs if a file holds them.

    Args:
        training: what the plan is of.
        compiled: plan and programs of a file; those of another training are left out.

    Attributes:
        training: as given.
        plan: the plan; one of a file knows no tiles.
        programs: its programs, if they are of a file.
        compiled: what the next file holds of them.

    Raises:
        BadInput: the file's are damaged, or of another version or board.
        DoesNotFit: the network with this mini-batch is too large for the board.
    """

    def __init__(self, training: Training, compiled: Compiled | None) -> None:
        self.training = training
        self._whole: Plan | None = None
        self.plan: Plan
        self.programs: Programs | None = None
        self.compiled = compiled
        if compiled is not None:
            found = fitting(compiled, training.layers, training.board, training.name, (
                training.batch, training.momentum, training.chosen, training.loss))
            if found is not None:
                self.plan, self.programs = found
                return
            self.compiled = None
        self.plan = self._whole = training.plan()

    @property
    def whole(self) -> Plan:
        """The plan with its tiles, made anew where the file's has none."""
        if self._whole is None:
            self._whole = self.training.plan()
        return self._whole

    def open(self, masters: Mapping[str, Masters], policy: ExponentPolicy
             ) -> tuple[Trainer, Closable] | None:
        """Return an open trainer and what is closed behind it; None: the learner opens its board.
        """
        return None

    def with_cache(self, cache: Any, board: str) -> Planned:
        """Return the same with a step that begins with the maps of frozen layers.

        Args:
            cache: where the maps will be kept: True, or a file's name.
            board: what trains.

        Raises:
            BadInput: ``cache`` is something else, the engine of one board does not train, nothing
                is frozen in front of what is trained, or it is not the same in each step.
        """
        if cache is not True:
            path_text(cache, "cache file")
        if type(self) is not Planned or board == HLS_CSIM:
            raise BadInput("cache", expected="the engine of one board", found=board,
                           fix="train without cache")
        found = Planned(replace(self.training, cache=True), None)
        found.compiled = self.compiled
        return found

    def with_loss(self, loss: Loss) -> Planned:
        """Return the same for another loss.

        Raises:
            BadInput: several boards train, or the EF-Train kernel.
        """
        if type(self) is not Planned:
            raise BadInput("targets that are numbers", expected="the engine of one board",
                           found="several boards", fix="train on one board")
        return Planned(replace(self.training, loss=loss), None)

    def compile(self) -> None:
        """Make the programs that the next file holds."""
        self.compiled = to_saved(self.whole, build_programs(self.whole))

    def kept(self) -> tuple[Training, Compiled | None]:
        """Return what a copy or a pickle holds: what was asked for, not what was made."""
        return replace(self.training, layers=()), self.compiled
