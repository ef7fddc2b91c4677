"""Several boards as the place where a learner trains one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pynq_train.backends.names import GOLDEN, board_of
from pynq_train.errors import BadInput
from pynq_train.fleet.build import SegmentPlans
from pynq_train.fleet.cut import Cut
from pynq_train.fleet.pipeline import Pipeline
from pynq_train.fleet.segment import Stage
from pynq_train.fleet.segment_plan import BACKWARD, FORWARD
from pynq_train.graph import Graph, Model
from pynq_train.hw.boards import Board
from pynq_train.quant import ExponentPolicy
from pynq_train.run.masters import Masters
from pynq_train.run.trainer import Trainer
from pynq_train.train.learner import Learner
from pynq_train.train.planning import Planned, Training
from pynq_train.train.schedules import whole


@dataclass(frozen=True)
class Boards:
    """Boards of this machine, each for a segment of the network.

    It is what ``board=`` of a learner takes: ``Learner(net, board=Boards(["relu3"], "golden"))``.

    Attributes:
        after: operations behind which the network is cut.
        boards: backend of each segment, in order; one name stands for all.
        in_flight: mini-batches of an update that are in the segments at the same time, with
            ``accumulate`` of the learner; each has maps of its own.
    """

    after: tuple[str, ...]
    boards: str | tuple[str, ...] = GOLDEN
    in_flight: int = 1

    def __post_init__(self) -> None:
        """Take lists as tuples; BadInput for something else."""
        object.__setattr__(self, "after", _names("after", self.after, "operations"))
        if not isinstance(self.boards, str):
            object.__setattr__(self, "boards", _names("boards", self.boards, "backends", least=1))

    @property
    def name(self) -> str:
        """The names of the boards, or the one name that all have."""
        if isinstance(self.boards, str):
            return self.boards
        return self.boards[0] if len(set(self.boards)) == 1 else "+".join(self.boards)

    @property
    def board(self) -> Board:
        """The first segment's board."""
        return board_of(self.boards if isinstance(self.boards, str) else self.boards[0])

    def planned(self, graph: Graph, training: Training) -> Planned:
        """Return the plan of a training on these boards.

        Raises:
            UnknownName, BadInput: the network cannot be cut there, or there are not as many boards
                as segments.
            DoesNotFit: a segment is too large for its board.
        """
        return CutPlanned(Cut.of(graph, self.after), self.boards, training,
                          whole("in_flight", self.in_flight, 1, 64))


class CutPlanned(Planned):
    """The plan of a training whose network is cut.

    Args:
        cut: the network and where it is cut.
        boards: backend of each segment; one name stands for all.
        training: what the plan is of.
        slots: mini-batches in flight.

    Attributes:
        segments: plans of the segments.

    Raises:
        BadInput, DoesNotFit: as :meth:`Boards.planned`.
    """

    def __init__(self, cut: Cut, boards: str | Sequence[str], training: Training,
                 slots: int = 1) -> None:
        self.training, self.compiled, self.programs = training, None, None
        self.segments = SegmentPlans.of(cut, boards, training.batch, momentum=training.momentum,
                                        trainable=training.chosen, loss=training.loss,
                                        slots=slots)
        self.plan = self._whole = self.segments.whole

    def open(self, masters: Mapping[str, Masters], policy: ExponentPolicy
             ) -> tuple[Trainer, ExitStack]:
        """Return the segments on open backends, and what closes these."""
        with ExitStack() as stack:
            pipeline = self.segments.open(stack, masters, policy)
            return pipeline, stack.pop_all()

    def compile(self) -> None:
        """Refuse: a file holds programs of one board.

        Raises:
            BadInput: always.
        """
        raise BadInput("compile of a network in segments", expected="a learner on one board",
                       found=f"{self.segments.parts[0].cut.count} segments",
                       fix="leave it out: each segment is planned where it is opened")


class SplitLearner(Learner):
    """A learner whose network is cut over several boards; :func:`split` makes one.

    It trains, evaluates, saves and loads as any other, with the bits of one board.
    """

    @property
    def cut(self) -> Cut:
        """Where the network is cut."""
        return self._cut_plan.segments.parts[0].cut

    @property
    def segments(self) -> tuple[Stage, ...]:
        """The segments, open, in order."""
        return self.pipeline.stages

    @property
    def pipeline(self) -> Pipeline:
        """The coordinator of the segments, open."""
        trainer = self._open()
        assert isinstance(trainer, Pipeline)
        return trainer

    def summary(self) -> str:
        """Return tables for people: the segments, then the whole plan.

        Of each segment: its layers, its memory, the cycles that the cycle model predicts for the
        two halves of a step, and the bytes that it gives to others in each of them.
        """
        rows: list[tuple[str, ...]] = [(
            "segment", "board", "layers", "bytes of memory", "cycles forward", "backward",
            "bytes given forward", "backward")]
        for part, board in zip(self._cut_plan.segments.parts, self._cut_plan.segments.boards):
            names = [self._layers[at].name for at in part.layers]
            rows.append((str(part.number), board, f"{names[0]} .. {names[-1]}",
                         f"{part.plan.memory.nbytes:,}",
                         *(f"{part.predicted(half):,}" for half in (FORWARD, BACKWARD)),
                         *(f"{part.traffic(half)[1]:,}" for half in (FORWARD, BACKWARD))))
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip()
                 for row in rows]
        return "\n".join([*lines, "", super().summary()])

    @property
    def _cut_plan(self) -> CutPlanned:
        assert isinstance(self._planned, CutPlanned)
        return self._planned


def split(model: Graph | Model | str, after: Sequence[str], *,
          boards: str | Sequence[str] = GOLDEN, in_flight: int = 1, **options: Any
          ) -> SplitLearner:
    """Return a learner whose network is cut into segments, each on a board of its own.

    Cutting changes no bit: weights, momentum and exponents are those of one board.

    Args:
        model: the network, as for :class:`~pynq_train.train.Learner`.
        after: names of the operations behind which it is cut, in any order. A cut inside a
            residual block carries both maps.
        boards: backend of each segment, in order; one name stands for all.
        in_flight: mini-batches of an update that are in the segments at the same time, with
            ``accumulate`` of as many or more; each needs memory for maps of its own.
        options: those of a learner, but ``board``.

    Raises:
        UnknownName: no such network, operation or board; the text lists them.
        BadInput: the network cannot be cut there; the text says why and where it can; or there are
            not as many boards as segments.
        DoesNotFit: a segment is too large for its board.
    """
    if isinstance(after, str):
        raise BadInput("after", expected="a list of names of operations", found=repr(after)[:80],
                       fix=f"use after=[{after!r}]")
    place = Boards(after, boards, in_flight)  # type: ignore[arg-type] # it makes tuples of lists
    return SplitLearner(model, board=place, **options)


def _names(what: str, value: Any, of: str, least: int = 0) -> tuple[str, ...]:
    """Return a list of at least ``least`` names as a tuple; BadInput if it is something else."""
    if not isinstance(value, (list, tuple)) or len(value) < least or not all(
            isinstance(name, str) for name in value):
        raise BadInput(what, expected=f"a list of names of {of}", found=repr(value)[:80])
    return tuple(value)
