"""Training over members: a pipeline whose segments are elsewhere, and that outlives their loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.backends.names import board_of
from pynq_train.errors import BadInput, DoesNotFit, MemberLost, NoMemberLeft
from pynq_train.fleet.build import SegmentPlans
from pynq_train.fleet.crew import Crew, board_of_member
from pynq_train.fleet.cut import Cut
from pynq_train.fleet.pipeline import Pipeline
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.remote_stage import RemoteStage
from pynq_train.fleet.requests import SegmentSpec
from pynq_train.fleet.segment import Stage
from pynq_train.fleet.segment_plan import SegmentPlan
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.run.batch import Batch, Images
from pynq_train.run.masters import Masters
from pynq_train.run.trainer import StepOutcome, T
from pynq_train.schedule.plan import Plan

OnLoss = Literal["error", "replan", "fewer"]
"""What happens when a member is lost: the typed error, or another takes its segment over; where
there is no other, the typed error, or (``fewer``) the segment is joined with one beside it."""
_ON_LOSS = get_args(OnLoss)
Exchange = Callable[[Sequence[SegmentPlan], Sequence[Stage]], None]
"""Lets a pipeline go on with other segments."""
_MOST_LOSSES = 8
"""Members that may be lost within one step: then something else is wrong."""


class FleetTrainer:
    """Trains a network whose segments are members' matter.

    It satisfies :class:`~pynq_train.run.trainer.Trainer`. When a member is lost and ``on_loss`` is
    ``replan``, a spare member (or the lost one, if it has come back) takes its segment over, all
    segments go back to weights that the coordinator has, the steps since are done again, and then
    the one that failed: the bits are those of a training in which nothing was lost. With ``fewer``
    the network is cut at one edge less where nobody can take over, with the same bits again.

    Args:
        plans: segments, planned for the boards of the crew.
        crew: joined members, one for each segment.
        masters: weights by layer name.
        policy: exponent state that belongs to them.
        on_loss: see :data:`OnLoss`.
        seconds: to the deadline of each request; planning is one.

    Raises:
        BadInput: the crew is not one for these plans, or ``on_loss`` is unknown.
        FleetError: a member is lost, or cannot put its segment up.
    """

    def __init__(self, plans: SegmentPlans, crew: Crew, masters: Mapping[str, Masters],
                 policy: ExponentPolicy, *, on_loss: OnLoss = "replan", seconds: float = 120.0
                 ) -> None:
        if on_loss not in _ON_LOSS:
            raise BadInput("on_loss", expected="one of " + ", ".join(map(repr, _ON_LOSS)),
                           found=repr(on_loss)[:80])
        if crew.boards != plans.boards:
            raise BadInput("boards of the members", expected=", ".join(plans.boards),
                           found=", ".join(crew.boards), fix="plan for crew.boards")
        self._crew, self._on_loss, self._seconds = crew, on_loss, seconds
        self.losses: list[str] = []
        parts = list(plans.parts)
        stages = [RemoteStage(remote, part, seconds)
                  for remote, part in zip(crew.remotes, parts)]
        self._pipeline = Pipeline(plans.whole, parts, stages, policy)
        self.write_masters(masters)

    @property
    def plan(self) -> Plan:
        """The whole network."""
        return self._pipeline.plan

    @property
    def policy(self) -> ExponentPolicy:
        """Exponent state of the whole network."""
        return self._pipeline.policy

    @policy.setter
    def policy(self, policy: ExponentPolicy) -> None:
        self._pipeline.policy = policy

    def prepare(self, images: Images, labels: Array | None, input_k: int) -> None:
        """See :class:`~pynq_train.run.trainer.Trainer`."""
        self._outlive(lambda: self._pipeline.prepare(images, labels, input_k))

    def train_step(self, images: Images, labels: Array, sgd: SgdStep, then: Batch | None = None
                   ) -> StepOutcome:
        """See :class:`~pynq_train.run.trainer.Trainer`."""
        return self._outlive(lambda: self._pipeline.train_step(images, labels, sgd, then))

    @property
    def in_flight(self) -> int:
        """Mini-batches of one update that can be in the segments at the same time."""
        return self._pipeline.in_flight

    def train_together(self, steps: Sequence[tuple[Images, Array, SgdStep]]
                       ) -> list[StepOutcome]:
        """See :class:`~pynq_train.run.trainer.ManyInFlight`."""
        return self._outlive(lambda: self._pipeline.train_together(steps))

    def evaluate(self, images: Images, labels: Array | None = None
                 ) -> tuple[StepOutcome, NDArray[np.float32]]:
        """See :class:`~pynq_train.run.trainer.Trainer`."""
        return self._outlive(lambda: self._pipeline.evaluate(images, labels))

    def widen(self, images: Images) -> None:
        """See :class:`~pynq_train.run.trainer.Trainer`."""
        self._outlive(lambda: self._pipeline.widen(images))

    def read_masters(self) -> dict[str, Masters]:
        """See :class:`~pynq_train.run.trainer.Trainer`."""
        return self._outlive(self._pipeline.read_masters)

    def write_masters(self, masters: Mapping[str, Masters]) -> None:
        """See :class:`~pynq_train.run.trainer.Trainer`.

        The weights that the coordinator goes back to are these from now on.
        """
        def again(parts: Sequence[SegmentPlan], stages: Sequence[Stage]) -> None:
            # No weights to go back to are needed: all of them are written below.
            self._pipeline = Pipeline(self.plan, parts, stages, self.policy)

        self._repeat(lambda: self._pipeline.write_masters(masters), again)

    def protected(self, work: Callable[[], T]) -> T:
        """See :class:`~pynq_train.run.trainer.Trainer`."""
        return self._outlive(work)

    # -- private ---------------------------------------------------------------------------------

    def _outlive(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; if a member is lost on the way, do it again with another.

        Raises:
            MemberLost: one is, and nobody may take over.
            NoMemberLeft: nobody can.
        """
        return self._repeat(lambda: self._pipeline.protected(work),
                            lambda parts, stages: self._pipeline.exchange(parts, stages))

    def _repeat(self, work: Callable[[], T], exchange: Exchange) -> T:
        error: MemberLost | None = None
        for _ in range(1 + _MOST_LOSSES):
            try:
                if error is not None:
                    self._succeed(error, exchange)
                return work()
            except NoMemberLeft:
                raise
            except MemberLost as problem:
                error = problem
                if self._on_loss == "error" or not self._crew.numbers(problem.member):
                    raise
        assert error is not None
        raise NoMemberLeft(f"{_MOST_LOSSES} members were lost within one step ({error})",
                           member=error.member, fix="see why, and load a checkpoint")

    def _succeed(self, error: MemberLost, exchange: Exchange) -> None:
        """Let another member take the segment of a lost one over, or one beside it.

        Raises:
            MemberLost: none can be joined, or one more is lost.
        """
        (number,) = self._crew.numbers(error.member)
        self.losses.append(error.member)
        try:
            remote = self._crew.succeed(number, error)
        except NoMemberLeft as nobody:
            if self._on_loss != "fewer":
                raise
            exchange(*self._joined(number, nobody))
            return
        parts, stages = list(self._pipeline.parts), list(self._pipeline.stages)
        parts[number] = self._planned(number, remote)
        stages[number] = RemoteStage(remote, parts[number], self._seconds)
        exchange(parts, stages)

    def _joined(self, number: int, nobody: NoMemberLeft
                ) -> tuple[Sequence[SegmentPlan], Sequence[Stage]]:
        """Return plans and stages of a network with one segment less for each member that is lost.

        Args:
            number: of the segment that nobody takes over.
            nobody: says so.

        Raises:
            NoMemberLeft: no segment is left, or none beside it fits with it.
        """
        parts: Sequence[SegmentPlan] = self._pipeline.parts
        while True:
            self._crew.leave(number)
            parts = self._fewer(parts, number, nobody)
            try:
                return parts, [RemoteStage(remote, part, self._seconds)
                               for remote, part in zip(self._crew.remotes, parts)]
            except MemberLost as more:
                (number,) = self._crew.numbers(more.member)
                self.losses.append(more.member)

    def _fewer(self, parts: Sequence[SegmentPlan], number: int, nobody: NoMemberLeft
               ) -> Sequence[SegmentPlan]:
        """Return plans for the crew that is left: a segment is joined with the smaller neighbour.

        Raises:
            NoMemberLeft: there is none, or what it becomes fits no board.
        """
        cut, plan, why = parts[0].cut, parts[0].plan, str(nobody)
        beside = [at for at in (number - 1, number + 1) if 0 <= at < len(parts)]
        for other in sorted(beside, key=lambda at: parts[at].plan.memory.nbytes):
            edge = cut.after[min(number, other)]
            try:
                return SegmentPlans.of(
                    Cut.of(cut.graph, [name for name in cut.after if name != edge]),
                    self._crew.boards, plan.batch, momentum=plan.momentum,
                    trainable=plan.trainable, loss=plan.loss, slots=len(parts[0].slots)).parts
            except DoesNotFit as large:
                why = str(large)
        raise NoMemberLeft(f"segment {number} cannot be joined with one beside it ({why})",
                           member=nobody.member, fix="start members, and load a checkpoint"
                           ) from nobody

    def _planned(self, number: int, remote: Remote) -> SegmentPlan:
        """Return the plan of a segment on a member's board; another board may get another one."""
        part, board = self._pipeline.parts[number], board_of(board_of_member(remote))
        if part.plan.board == board:
            return part
        return SegmentSpec.of(part).plan(board)
