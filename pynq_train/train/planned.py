"""The plan of a learner: made here, or taken from a file with compiled programs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pynq_train.arrays import plain
from pynq_train.backends.names import board_of
from pynq_train.errors import BadInput
from pynq_train.graph import Graph
from pynq_train.layers import FusedLayer
from pynq_train.quant import ExponentPolicy, Loss, SgdStep
from pynq_train.schedule.compiled import Programs, build_programs, fitting, to_saved
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import TrainableChoice, select
from pynq_train.train.checkpoint import Compiled
from pynq_train.train.optimizer import SGD, check_optimizer


@dataclass
class Planned:
    """Network, board and what is trained; the plan that follows.

    Attributes:
        graph: the network.
        layers: its fused layers.
        board: name of the board.
        trainable: what is trained.
        compiled: compiled programs as a file holds them, None if there are none.
        programs: the programs, if they were compiled.
    """

    graph: Graph
    layers: tuple[FusedLayer, ...]
    board: str
    trainable: TrainableChoice
    compiled: Compiled | None = None
    programs: Programs | None = None
    _whole: Plan | None = field(default=None, repr=False)

    def make(self, batch: int, momentum: bool, loss: str, smoothing: float) -> Plan:
        """Return the plan to run; compiled programs are dropped if they are of another training."""
        kind = Loss(loss, plain(smoothing), self.graph.classes)
        if self.compiled is not None:
            wanted = batch, momentum, select(self.layers, self.trainable), kind.mse
            found = fitting(self.compiled, self.layers, board_of(self.board), self.graph.name,
                            wanted)
            if found is not None:
                self.programs = found[1]
                return replace(found[0], loss=kind)
            self.compiled = None
        return self._new(batch, momentum, kind)

    def whole(self, plan: Plan) -> Plan:
        """Return a plan of :meth:`make` with tiles and costs, which a compiled one lacks."""
        if self.programs is None:
            return plan
        if self._whole is None:
            self._whole = self._new(plan.batch, plan.momentum, plan.loss)
        return self._whole

    def compile(self, plan: Plan) -> None:
        """Make the programs of a plan, for files."""
        whole = self.whole(plan)
        self.compiled = to_saved(whole, build_programs(whole))

    def _new(self, batch: int, momentum: bool, loss: Loss) -> Plan:
        plan = make_plan(self.layers, plain(batch), board_of(self.board), momentum=momentum,
                         trainable=select(self.layers, self.trainable))
        return replace(plan, loss=loss)


def check_policy(plan: Plan, policy: ExponentPolicy) -> None:
    """Check that steps can run with an exponent state; ValueError if not."""
    for training in (True, False):
        used = policy.exponents(plan.batch, training)
        pack_step_block(plan, plan_params(plan, used, SgdStep(0.0) if training else None))


def fitting_optimizer(new: SGD, plan: Plan, accumulate: int) -> SGD:
    """Return an optimizer for a plan that has been made.

    Raises:
        BadInput: it has momentum, and the plan has not; or it is no SGD, or does not fit the layers
            or the accumulation.
    """
    check_optimizer(new)
    if new.momentum > 0 and not plan.momentum:
        raise BadInput("momentum", expected="0: this learner was made without momentum, its "
                       "board keeps bare weights", found=new.momentum,
                       fix="save it and load it with the new optimizer: "
                           "pynq_train.load(path, optimizer=...)")
    new.check_accumulation(accumulate)
    new.factors([layer.name for layer in plan.layers])
    return new
