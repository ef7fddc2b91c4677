"""The plan that a learner trains by: that of its file, where this holds programs, or a new one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pynq_train.hw.boards import Board
from pynq_train.layers.fuse import FusedLayer
from pynq_train.quant import Loss
from pynq_train.schedule.compiled import Programs, build_programs, fitting, to_saved
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import TrainableChoice, select
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
    """

    layers: tuple[FusedLayer, ...]
    name: str
    board: Board
    batch: int
    trainable: TrainableChoice
    momentum: bool
    loss: Loss

    def plan(self) -> Plan:
        """Return a new plan.

        Raises:
            DoesNotFit: the network with this mini-batch is too large for the board.
        """
        plan = make_plan(self.layers, self.batch, self.board, momentum=self.momentum,
                         trainable=select(self.layers, self.trainable))
        return replace(plan, loss=self.loss)


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
                training.batch, training.momentum, select(training.layers, training.trainable),
                training.loss.mse))
            if found is not None:
                self.plan, self.programs = replace(found[0], loss=training.loss), found[1]
                return
            self.compiled = None
        self.plan = self._whole = training.plan()

    @property
    def whole(self) -> Plan:
        """The plan with its tiles, made anew where the file's has none."""
        if self._whole is None:
            self._whole = self.training.plan()
        return self._whole

    def compile(self) -> None:
        """Make the programs that the next file holds."""
        self.compiled = to_saved(self.whole, build_programs(self.whole))

    def kept(self) -> tuple[Training, Compiled | None]:
        """Return what a copy or a pickle holds: what was asked for, not what was made."""
        return replace(self.training, layers=()), self.compiled

    @classmethod
    def again(cls, layers: tuple[FusedLayer, ...], kept: tuple[Training, Compiled | None]
              ) -> Planned:
        """Make from :meth:`kept`, and the network's layers, what was there."""
        return cls(replace(kept[0], layers=layers), kept[1])
