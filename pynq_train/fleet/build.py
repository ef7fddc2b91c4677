"""Segments of a network, planned for their boards and opened there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from pynq_train.backends import Backend, open_backend
from pynq_train.backends.names import backend_names, board_of
from pynq_train.errors import BadInput, UnknownName
from pynq_train.fleet.cut import Cut
from pynq_train.fleet.pipeline import Pipeline
from pynq_train.fleet.segment import Segment
from pynq_train.fleet.segment_plan import SegmentPlan
from pynq_train.hw.boards import Board
from pynq_train.quant import ExponentPolicy, Loss
from pynq_train.run.masters import Masters
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import Trainable


def boards_for(cut: Cut, boards: str | Sequence[str]) -> tuple[str, ...]:
    """Return the backend of each segment; one name alone stands for all.

    Raises:
        BadInput: there are not as many as segments.
        UnknownName: no such backend.
    """
    return boards_of(cut.count, "segment", boards, "or cut at fewer edges")


def boards_of(count: int, part: str, boards: str | Sequence[str], otherwise: str
              ) -> tuple[str, ...]:
    """Return the backend of each part of a network; one name alone stands for all.

    Args:
        count: how many parts there are.
        part: what one is called.
        boards: as given.
        otherwise: what else could be done where there are not as many.

    Raises:
        BadInput: there are not as many as parts.
        UnknownName: no such backend.
    """
    names = [boards] * count if isinstance(boards, str) else list(boards)
    if len(names) != count:
        raise BadInput(f"boards of {count} {part}s", expected=f"{count}, one for each",
                       found=f"{len(names)}: {', '.join(map(str, names))}",
                       fix=f"name a board for each {part}, {otherwise}")
    for name in names:
        if name not in backend_names():
            raise UnknownName.among("board", name, backend_names())
    return tuple(names)


@dataclass(frozen=True)
class SegmentPlans:
    """A network in segments, planned.

    Attributes:
        whole: the whole network on the first segment's board, where it need not fit.
        parts: the segments, in order.
        boards: backend of each.
    """

    whole: Plan
    parts: tuple[SegmentPlan, ...]
    boards: tuple[str, ...]

    @classmethod
    def of(cls, cut: Cut, boards: str | Sequence[str], batch: int, *, momentum: bool = True,
           trainable: tuple[Trainable, ...] | None = None, loss: Loss | None = None,
           slots: int = 1) -> SegmentPlans:
        """Plan the segments of a network.

        Args:
            cut: the network and where it is cut.
            boards: backend of each segment; one name stands for all.
            batch: images of a mini-batch.
            momentum: keep momentum in the weight masters.
            trainable: what is trained of each layer (default: all).
            loss: what is minimised (default: the cross-entropy).
            slots: mini-batches in flight.

        Raises:
            BadInput: there are not as many boards as segments.
            UnknownName: no such backend.
            DoesNotFit: a segment is too large for its board.
        """
        if loss is not None and loss.on_host:
            raise BadInput("loss of a network in segments", found=loss.kind,
                           expected="one that the engine computes: cross-entropy or squared error "
                           "of a label for each image", fix="train on one board")
        names = boards_for(cut, boards)
        whole: dict[Board, Plan] = {}
        for board in map(board_of, names):
            if board not in whole:
                plan = make_plan(cut.layers, batch, board, momentum=momentum,
                                 trainable=trainable, fits=False, turns=False)
                whole[board] = plan if loss is None else replace(plan, loss=loss)
        parts = tuple(SegmentPlan.of(whole[board_of(name)], cut, number, slots)
                      for number, name in enumerate(names))
        return cls(whole[board_of(names[0])], parts, names)

    def open(self, to: ExitStack, masters: Mapping[str, Masters], policy: ExponentPolicy, *,
             fill_seed: int | None = None) -> Pipeline:
        """Open a backend for each segment and return the pipeline of all.

        Args:
            to: closes the backends.
            masters: weights by layer name.
            policy: exponent state that belongs to them.
            fill_seed: fills the arenas with random bytes first.

        Raises:
            PynqTrainError: a backend cannot be opened; those before it are closed by ``to``.
        """
        stages = []
        for number, (part, name) in enumerate(zip(self.parts, self.boards)):
            backend: Backend = to.enter_context(open_backend(name, part.slots[0].memory.nbytes))
            stages.append(Segment(part, backend, masters, policy.w16,
                                  fill_seed=None if fill_seed is None else fill_seed + number))
        return Pipeline(self.whole, self.parts, stages, policy)
