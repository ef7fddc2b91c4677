"""What the segments of a network take on a board: cycles by the cycle model, bytes of memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.fleet.splits.branches import branch_layers, closed
from pynq_train.fleet.splits.cuts import Crossing, crossings
from pynq_train.fleet.splits.slices import layer_slice
from pynq_train.graph.wiring import INPUT
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import DESCRIPTOR_BYTES, RECORD_BYTES
from pynq_train.hw.words import WORD_BYTES
from pynq_train.layers.fuse import FusedLayer
from pynq_train.schedule.lower.program import ProgramImage, build_evaluation
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.passes.symbols import output_symbol
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.predict import predict, predict_program

_UNLIMITED = 1 << 31
"""Bytes of memory of the board that a whole network is planned for before it is cut."""
_OWN = ("w16", "bias", "running", "kept", "table", "sums", "y")
"""Ends of the symbols of what an evaluation has of a layer."""
FIRST_SLACK = 0.01
"""By which part a segment may take less than :meth:`SegmentCosts.share`, at first; more as soon as
one does."""
_PREFETCH_CYCLES = 400
"""Cycles that loads for the next layers may have held up the last one of a segment."""


def whole_plan(layers: tuple[FusedLayer, ...], batch: int, board: Board) -> Plan:
    """Return the plan of a network that need not fit the memory of one board.

    Raises:
        DoesNotFit: a layer does not fit the engine.
    """
    return make_plan(layers, batch, replace(board, cma_bytes=_UNLIMITED), turns=False)


class SegmentCosts:
    """Cycles and memory of the forward passes of every segment of a network on one kind of board.

    A segment is the layers ``first`` to below ``end``. Its cycles are those of its descriptors as a
    program of their own; this takes the cycle model a second or so, so that :meth:`bound` says
    without it what a segment takes at least.

    Args:
        layers: the fused layers of the network.
        batch: images of a mini-batch.
        board: the board.
        names: operations behind which it can be cut (:func:`~.cuts.edge_names`).

    Attributes:
        plan: the plan of the whole network, without a limit of memory.
        board: the board, with its limit.
        slack: see :data:`FIRST_SLACK`.
    """

    def __init__(self, layers: tuple[FusedLayer, ...], batch: int, board: Board,
                 names: Mapping[int, str]) -> None:
        self.plan = whole_plan(layers, batch, board)
        self.board = board
        self.slack = FIRST_SLACK
        self._names = names
        self._exact: dict[tuple[int, int], int] = {}
        self._memory: dict[tuple[int, int], int] = {}
        self._branches: dict[int, SegmentCosts] = {}

    @property
    def end(self) -> int:
        """Position behind the last layer."""
        return len(self.plan.layers)

    @cached_property
    def image(self) -> ProgramImage:
        """Program of an evaluation of the whole network."""
        return build_evaluation(self.plan)

    @cached_property
    def cuts(self) -> tuple[Crossing, ...]:
        """What crosses each cut, in order."""
        return crossings(self.plan, self._names)

    @cached_property
    def _times(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """By position, two cycles of the whole run: when all layers in front of it are done, and
        when the first one behind begins to work."""
        run = predict(self.plan, self.plan.evaluate)
        ends, starts = [0] * (self.end + 1), [run.cycles] * (self.end + 1)
        for at, descriptor in enumerate(self.plan.evaluate):
            layer = descriptor.layer
            ends[layer + 1] = max(ends[layer + 1], run.ends[at])
            # Coefficients are made long before, in no time; an array has its operands late.
            if descriptor.role is not Role.NORM_COEFFICIENTS:
                begin = run.arrays[at][0] or run.starts[at]
                starts[layer] = min(starts[layer], begin)
        for at in range(1, self.end + 1):
            ends[at] = max(ends[at], ends[at - 1])
        for at in reversed(range(self.end)):
            starts[at] = min(starts[at], starts[at + 1])
        ends[-1] = run.cycles
        return tuple(ends), tuple(starts)

    def share(self, first: int, end: int) -> int:
        """Return the cycles of a segment in the whole run, from the end of what is in front.

        Those in which layers behind it are at work already do not count: alone it may be faster.
        """
        ends, starts = self._times
        return min(ends[end], starts[end]) - ends[first]

    def known(self, first: int, end: int) -> bool:
        """Return whether :meth:`bound` returns what :meth:`cycles` does."""
        return (first, end) in self._exact

    def bound(self, first: int, end: int) -> int:
        """Return cycles that a segment takes at least; all of them where they are known."""
        if self.known(first, end):
            return self._exact[first, end]
        return max(int((1 - self.slack) * self.share(first, end)) - _PREFETCH_CYCLES, 1)

    def cycles(self, first: int, end: int) -> int:
        """Return the cycles of a segment as a program of its own."""
        if not self.known(first, end):
            found = self.run(layer_slice(self.image, range(first, end)))
            if found < self.bound(first, end):
                self.slack = 1 - found / self.share(first, end) + FIRST_SLACK
            self._exact[first, end] = found
        return self._exact[first, end]

    def run(self, program: ProgramImage) -> int:
        """Return the cycles of a program: those that the cycle model predicts."""
        return predict_program(program, self.board, self.plan.batch).cycles

    def memory_bytes(self, first: int, end: int) -> int:
        """Return the bytes that an evaluation of a segment keeps in a board's contiguous memory.

        Program, weights, coefficients, the maps that come in and all maps that it makes.
        """
        if (first, end) not in self._memory:
            self._memory[first, end] = self._memory_bytes(first, end)
        return self._memory[first, end]

    def _memory_bytes(self, first: int, end: int) -> int:
        """Return what :meth:`memory_bytes` keeps."""
        plan, regions = self.plan, self.plan.memory
        chosen = [own for own in self.plan.evaluate if first <= own.layer < end]
        taps = sum(len(own.tiled.shape.taps) for own in chosen if own.tiled)
        total = len(chosen) * (DESCRIPTOR_BYTES + RECORD_BYTES) + taps * WORD_BYTES
        total += plan.step_block_bytes
        for at in range(first, end):
            name = plan.specs[at].name
            symbols = {f"{name}.{kind}" for kind in _OWN} | {output_symbol(plan, at)}
            total += sum(regions[own].nbytes for own in symbols if own in regions)
        return total + self.in_bytes(first)

    def in_bytes(self, first: int) -> int:
        """Return the bytes of the maps that a segment reads: the images, or what crosses the cut.
        """
        if first == 0:
            return self.plan.memory[INPUT].nbytes
        return self.cut_at(first).nbytes

    def fits(self, first: int, end: int) -> bool:
        """Return whether a segment fits the board's contiguous memory."""
        return self.memory_bytes(first, end) <= self.board.cma_bytes

    def cut_at(self, position: int) -> Crossing:
        """Return what crosses the cut at a position."""
        return next(own for own in self.cuts if own.position == position)

    def branch(self, ways: int) -> SegmentCosts:
        """Return the costs of one of several branches of the first layers.

        Its segments that begin with layer 0 and end at :meth:`branch_cuts` are branches; layers
        behind the last of these cuts only close the network.

        Raises:
            BadInput: ``ways`` does not divide the channels of the first layers.
            UnsupportedModel: the first layers cannot be split.
        """
        if ways not in self._branches:
            layers = closed(branch_layers(self.plan.layers[:self.branch_cuts(ways)[-1]], ways))
            self._branches[ways] = SegmentCosts(layers, self.plan.batch, self.board, {})
        return self._branches[ways]

    def branch_cuts(self, ways: int) -> tuple[int, ...]:
        """Return the positions at which branches of the first layers may end.

        One map crosses there, which the layers behind it read as a whole.

        Raises:
            BadInput, UnsupportedModel: there is none; the text says why the first one is none.
        """
        found, problem = [], None
        for cut in self.cuts:
            try:
                branch_layers(self.plan.layers[:cut.position], ways)
            except BadInput as error:
                problem = error
                break
            if len(cut.maps) == 1 and cut.maps[0] != INPUT:
                found.append(cut.position)
        if not found:
            raise problem or UnsupportedModel(
                "branches cannot end anywhere in this network", expected="a cut that one map "
                "crosses", found="none", fix="leave out the branches")
        return tuple(found)
