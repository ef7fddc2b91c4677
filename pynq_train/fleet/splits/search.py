"""The best split of a network over boards, searched over all cuts.

A dynamic program over the cuts keeps, for each, the beginnings that no other beats in everything
that the objective is made of. Segments whose cycles are not known yet stand there with what they
take at least; those of the best split are predicted, until the best one has none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pynq_train.errors import BadInput, DoesNotFit, UnknownName
from pynq_train.fleet.splits.branches import branch_layers, check_ways
from pynq_train.fleet.splits.costs import SegmentCosts
from pynq_train.fleet.splits.cuts import cut_positions, edge_names
from pynq_train.fleet.splits.split import Setting, Split, Stage
from pynq_train.graph import Graph
from pynq_train.hw.boards import Board
from pynq_train.layers.fuse import fuse

OBJECTIVES = ("lifetime", "throughput", "latency", "energy")
"""What is best: images until the first battery is empty, images a second, seconds of a frame,
joules of all boards per image."""
Vector = tuple[float, ...]
"""What an objective is made of: largest and total values of the stages so far; less is better."""


@dataclass(frozen=True)
class _Begun:
    """The beginning of a split: its stages, and what the objective is made of."""

    vector: Vector
    stages: tuple[Stage, ...]


class Searcher:
    """Splits of one network over boards.

    Args:
        graph: the network.
        boards: the boards, in the order of the pipeline.
        setting: links, power, host.
        batch: images of a frame.
        progress: is called with each segment that is predicted.
        costs_of: makes the costs of segments on a kind of board.

    Attributes:
        boards: the boards.
        setting: links, power, host.
    """

    def __init__(self, graph: Graph, boards: Sequence[Board], setting: Setting, batch: int = 1,
                 progress: Callable[[str], None] | None = None,
                 costs_of: type[SegmentCosts] = SegmentCosts) -> None:
        if not boards:
            raise BadInput("boards", expected="one or more", found="none")
        layers, edges = fuse(graph), edge_names(graph)
        self._graph = graph
        self.boards = tuple(boards)
        self.setting = setting
        self._batch = batch
        self._progress = progress
        self._costs: dict[str, SegmentCosts] = {}
        for board in boards:
            if board.name not in self._costs:
                self._costs[board.name] = costs_of(layers, batch, board, edges)
        self._firsts = tuple(layer.name for layer in layers)
        self._lasts = tuple(edges.get(at + 1, layer.name) for at, layer in enumerate(layers))

    def costs(self, place: int = 0) -> SegmentCosts:
        """Return the costs of segments on the board at a place of the pipeline."""
        return self._costs[self.boards[place].name]

    def whole(self) -> Split:
        """Return the network on the first board, as if it had the memory."""
        return self._settled((self._stage(0, self.costs().end, 0, 1, 0, 0),))

    def at(self, after: Sequence[str], ways: int = 1) -> Split:
        """Return the split at given cuts.

        Args:
            after: names of operations, or of blocks, behind which the network is cut.
            ways: branches of the layers in front of the first cut.

        Raises:
            UnknownName: there is no such edge.
            BadInput: the network cannot be cut there, more segments than boards, ``ways`` does not
                divide the channels.
            DoesNotFit: a segment does not fit its board.
        """
        places = self.places(after, ways)
        stages: list[Stage] = []
        for first, end in pairwise(places):
            stages.append(self._next(stages, first, end, ways))
            if not self._fits(stages[-1], self._place(stages[:-1])):
                raise DoesNotFit(
                    f"memory of {stages[-1].board} for the layers {stages[-1].name}",
                    expected=f"at most {self.costs(self._place(stages[:-1])).board.cma_bytes} "
                    "bytes", found=stages[-1].memory_bytes, fix="cut it into more segments")
        return self._settled(tuple(stages))

    def places(self, after: Sequence[str], ways: int = 1) -> tuple[int, ...]:
        """Return where segments begin and end that are cut behind operations; predicts nothing.

        Raises:
            UnknownName, BadInput: as :meth:`at`.
        """
        self._check_ways(ways)
        cuts = cut_positions(self._graph, self.costs().cuts, after)
        places = (0, *cuts, self.costs().end)
        if ways > 1 and not cuts:
            raise BadInput("branches", expected="a cut at which they end", found="none",
                           fix="name it with after")
        self._check_boards(len(cuts) + ways)
        if ways > 1 and places[1] not in self.costs().branch_cuts(ways):
            self._refuse_branch(places[1], ways)
        return places

    def best(self, boards: int, objective: str = "lifetime", ways: int = 1) -> Split:
        """Return the best split over the first ``boards`` boards.

        Args:
            boards: number of boards, each of which has a segment or a branch.
            objective: one of :data:`OBJECTIVES`.
            ways: branches of the first layers; 1: vertical cuts only.

        Raises:
            UnknownName: no such objective.
            BadInput: more boards than there are, or than segments; ``ways`` does not divide the
                channels.
            DoesNotFit: no split has only segments that fit.
        """
        segments = self.segments(boards, objective, ways)
        while True:
            found = self._walk(segments, objective, ways)
            unknown = [stage for stage in found if not self._known(stage)]
            if not unknown:
                return self._settled(found)
            # The slowest one decides most; what is left may not be needed any more.
            slowest = max(unknown, key=lambda stage: stage.compute_s)
            self._predict(slowest)

    def segments(self, boards: int, objective: str, ways: int = 1) -> int:
        """Return how many segments a split over some boards has; predicts nothing.

        Raises:
            UnknownName, BadInput: as :meth:`best`.
        """
        self._check_ways(ways)
        if objective not in OBJECTIVES:
            raise UnknownName.among("objective", objective, OBJECTIVES)
        self._check_boards(boards)
        if ways > 1 and boards <= ways:
            raise BadInput(f"{ways} branches", expected=f"{ways + 1} boards or more: what is "
                           "behind the branches needs one", found=boards)
        segments = boards - (ways - 1 if ways > 1 else 0)
        if segments > len(self.costs().cuts) + 1:
            raise BadInput("boards", expected=f"at most {len(self.costs().cuts) + 1} segments, as "
                           "the network has", found=segments, fix="use fewer boards")
        if ways > 1:
            self.costs().branch_cuts(ways)
        return segments

    def value(self, split: Split, objective: str) -> float:
        """Return what an objective makes of a split, in joules or seconds; less is better."""
        return {"lifetime": max(split.device_j), "throughput": split.period_s / split.batch,
                "latency": split.latency_s, "energy": split.swarm_j}[objective]

    # -- the walk ---------------------------------------------------------------------------------

    def _walk(self, segments: int, objective: str, ways: int) -> tuple[Stage, ...]:
        """Return the stages of the best split as far as cycles are known.

        Raises:
            DoesNotFit: there is none whose segments fit.
        """
        end = self.costs().end
        begun: dict[int, list[_Begun]] = {0: [_Begun(self._zero(objective), ())]}
        for number in range(segments):
            last = number == segments - 1
            after: dict[int, list[_Begun]] = {}
            for first, beginnings in begun.items():
                for to in self._ends(first, end, last, ways if number == 0 else 1):
                    stage = self._next(beginnings[0].stages, first, to, ways)
                    if not self._fits(stage, self._place(beginnings[0].stages)):
                        continue
                    for own in beginnings:
                        vector = self._add(own.vector, stage, objective)
                        _keep(after.setdefault(to, []), _Begun(vector, (*own.stages, stage)))
            begun = after
        if not begun.get(end):
            raise DoesNotFit(
                f"no split into {segments} segments fits the memory of the boards",
                expected=f"segments of at most {min(b.cma_bytes for b in self.boards)} bytes",
                found="larger ones in every split", fix="use more boards or a smaller mini-batch")
        boards = segments - 1 + ways
        return min(begun[end], key=lambda own: (self._worth(own.vector, objective, boards),
                                                own.vector)).stages

    def _ends(self, first: int, end: int, last: bool, ways: int) -> Iterator[int]:
        """Yield where a segment that begins at ``first`` may end."""
        if last:
            yield end
            return
        places = (self.costs().branch_cuts(ways) if ways > 1
                  else tuple(cut.position for cut in self.costs().cuts))
        yield from (place for place in places if place > first)

    def _zero(self, objective: str) -> Vector:
        """Return the vector of a split without stages."""
        return {"lifetime": (0.0, 0.0), "energy": (0.0, 0.0)}.get(objective, (0.0,))

    def _add(self, vector: Vector, stage: Stage, objective: str) -> Vector:
        """Return the vector of a split with one stage more."""
        busy = stage.compute_s + stage.host_s(self.setting)
        if objective == "latency":
            wire = self.setting.wire_s(stage.in_bytes) if stage.in_messages else 0.0
            return (vector[0] + busy + wire,)
        period = max(vector[0], busy, self.setting.wire_busy_s(stage.in_bytes))
        if objective == "throughput":
            return (period,)
        active = stage.active_j(self.setting)
        return (period, max(vector[1], active) if objective == "lifetime"
                else vector[1] + stage.ways * active)

    def _worth(self, vector: Vector, objective: str, boards: int) -> float:
        """Return the objective of a finished split."""
        if objective in ("throughput", "latency"):
            return vector[0]
        idle = self.setting.power.idle_w * vector[0]
        return vector[1] + (idle if objective == "lifetime" else boards * idle)

    # -- stages -----------------------------------------------------------------------------------

    @staticmethod
    def _place(stages: Sequence[Stage]) -> int:
        """Return the place among the boards of what comes behind some stages."""
        return sum(stage.ways for stage in stages)

    def _next(self, before: Sequence[Stage], first: int, end: int, ways: int) -> Stage:
        """Return the stage behind others; the first one has the branches."""
        return self._stage(first, end, self._place(before), 1 if before else ways,
                           self.costs().in_bytes(first) if before else 0,
                           before[-1].ways if before else 0)

    def _stage(self, first: int, end: int, place: int, ways: int, in_bytes: int,
               in_messages: int) -> Stage:
        """Return a stage with the cycles that are known, or bound, for it."""
        costs = self.costs(place)
        board = costs.board
        if ways > 1:
            costs = costs.branch(ways)
        cycles = costs.bound(first, end)
        name = f"{self._firsts[first]} .. {self._lasts[end - 1]}"
        return Stage(first, end, name, board.name, ways, cycles,
                     cycles / (1e6 * board.clock_mhz), in_bytes, in_messages,
                     int(end < self.costs().end), costs.memory_bytes(first, end))

    def _of(self, stage: Stage) -> SegmentCosts:
        """Return the costs that the cycles of a stage are from."""
        costs = self._costs[stage.board]
        return costs if stage.ways == 1 else costs.branch(stage.ways)

    def _known(self, stage: Stage) -> bool:
        """Return whether the cycles of a stage are those of the cycle model."""
        return self._of(stage).known(stage.first, stage.end)

    def _predict(self, stage: Stage) -> None:
        """Let the cycle model run a stage."""
        if self._progress is not None:
            self._progress(stage.name)
        self._of(stage).cycles(stage.first, stage.end)

    def _fits(self, stage: Stage, place: int) -> bool:
        """Return whether a stage fits the memory of its board."""
        return stage.memory_bytes <= self.costs(place).board.cma_bytes

    def _settled(self, stages: tuple[Stage, ...]) -> Split:
        """Return the split of some stages with predicted cycles."""
        found: list[Stage] = []
        for stage in stages:
            if not self._known(stage):
                self._predict(stage)
            found.append(self._stage(stage.first, stage.end, self._place(found), stage.ways,
                                     stage.in_bytes, stage.in_messages))
        return Split(tuple(found), self.setting, self._batch)

    # -- what is refused --------------------------------------------------------------------------

    def _check_ways(self, ways: int) -> None:
        """Check that there are branches that the boards can run side by side."""
        check_ways(ways)
        kinds = {board.name for board in self.boards[:ways]}
        if len(kinds) > 1:
            raise BadInput(f"{ways} branches", expected="boards of one kind",
                           found=", ".join(sorted(kinds)))

    def _check_boards(self, wanted: int) -> None:
        """Raise :class:`BadInput` for more segments and branches than boards."""
        if not 1 <= wanted <= len(self.boards):
            raise BadInput("segments and branches", expected=f"1 to {len(self.boards)}, as there "
                           "are boards", found=wanted, fix="use fewer cuts, or more boards")

    def _refuse_branch(self, position: int, ways: int) -> None:
        """Say why branches cannot end at a cut."""
        costs = self.costs()
        cut = costs.cut_at(position)
        if len(cut.maps) > 1:
            legal = self._lasts[costs.branch_cuts(ways)[-1] - 1]
            raise BadInput(f"branches that end behind {cut.name!r}", expected="a cut that one map "
                           f"crosses, such as {legal!r}",
                           found=f"{len(cut.maps)} maps: {', '.join(cut.maps)}")
        branch_layers(costs.plan.layers[:position], ways)


def _keep(front: list[_Begun], own: _Begun) -> None:
    """Add a beginning to those that no other beats, and drop what it beats."""
    if any(all(a <= b for a, b in zip(other.vector, own.vector)) for other in front):
        return
    front[:] = [other for other in front
                if not all(a <= b for a, b in zip(own.vector, other.vector))]
    front.append(own)
