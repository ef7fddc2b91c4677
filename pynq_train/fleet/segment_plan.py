"""The plan of a segment: its part of the whole network's descriptors, in an arena of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pynq_train.fleet.cut import Carried, Cut, Routes, is_forward
from pynq_train.layers.backward_graph import DLOGITS
from pynq_train.program import Program, verify_program
from pynq_train.schedule.lower.meaning import EVALUATION
from pynq_train.schedule.lower.program import ProgramImage, build_program
from pynq_train.schedule.memory.arena import Allocator, MemoryMap, check_fits
from pynq_train.schedule.memory.place import place_programs
from pynq_train.schedule.passes.descriptors import Descriptor
from pynq_train.schedule.passes.usage import ZEROS
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.predict import estimate, predict_program
from pynq_train.schedule.specs.concat_buffer import JOIN

FORWARD, BACKWARD = "forward", "backward"
"""Names of the two halves of a training step, each a program with a doorbell of its own.

The loss is the end of the last segment's forward half, updates are a part of the backward half.
"""
HALVES = (FORWARD, BACKWARD, EVALUATION)
"""Names of all programs of a segment."""


_OF_A_SLOT = frozenset({"map", "flags", "gradient map", "statistics", "labels"})
"""Kinds of regions that a mini-batch keeps from its forward to its backward half."""


@dataclass(frozen=True)
class SegmentPlan:
    """One segment of a network, planned for a board.

    Attributes:
        number: position of the segment, from 0.
        cut: the network and its segments.
        routes: what travels between them.
        descriptors: by name of a program: its descriptors. A program may be empty.
        slots: one plan for each mini-batch in flight: the whole network's layers and specs, the
            segment's descriptors and arena. Weights stand at one place in all of them, maps and
            programs at different ones; evaluations have the first alone.
    """

    number: int
    cut: Cut
    routes: Routes
    descriptors: Mapping[str, tuple[Descriptor, ...]]
    slots: tuple[Plan, ...]

    @classmethod
    def of(cls, whole: Plan, cut: Cut, number: int, slots: int = 1) -> SegmentPlan:
        """Return the plan of a segment.

        Args:
            whole: plan of the whole network on the segment's board; it need not fit there.
            cut: the network and its segments.
            number: which of them.
            slots: mini-batches in flight.

        Raises:
            DoesNotFit: the segment is too large for the board.
        """
        routes = Routes.of(whole, cut)
        train = [one for one in whole.train if routes.segment(cut, one) == number]
        descriptors = {
            FORWARD: tuple(one for one in train if is_forward(one)),
            BACKWARD: tuple(one for one in train if not is_forward(one)),
            EVALUATION: tuple(one for one in whole.evaluate
                              if routes.segment(cut, one) == number)}
        tensors = whole.memory.only(_symbols(whole, cut, routes, number))
        arenas = _arenas(whole, descriptors, tensors, slots)
        check_fits(arenas[-1], whole.board.cma_bytes, whole.board.name, whole.batch)
        return cls(number, cut, routes, descriptors, tuple(
            replace(whole, train=descriptors[FORWARD] + descriptors[BACKWARD],
                    evaluate=descriptors[EVALUATION], memory=memory) for memory in arenas))

    @property
    def plan(self) -> Plan:
        """The plan of the first slot."""
        return self.slots[0]

    @property
    def layers(self) -> range:
        """Positions of the segment's layers."""
        return self.cut.layers_of(self.number)

    def reads_images(self, half: str) -> bool:
        """Return whether a program reads the images; an evaluation reads past dropouts.

        ``half``: one of :data:`HALVES`. What a backward half reads of them is there already.
        """
        return half != BACKWARD and _reads_images(self.plan, self.layers, half)

    @property
    def last(self) -> bool:
        """Whether the segment ends with the loss."""
        return self.number == self.cut.count - 1

    def incoming(self, half: str) -> tuple[Carried, ...]:
        """Return what a program takes from other segments; ``half``: one of :data:`HALVES`."""
        return self.routes.incoming(half, self.number)

    def outgoing(self, half: str) -> tuple[Carried, ...]:
        """Return what a program makes for other segments; ``half``: one of :data:`HALVES`."""
        return self.routes.outgoing(half, self.number)

    def programs(self, slot: int = 0) -> dict[str, ProgramImage]:
        """Return the programs of a slot that are not empty, by name, verified.

        Raises:
            IllegalProgram: one of them breaks a rule of the contract.
        """
        plan, found = self.slots[slot], {}
        checked: dict[str, Program] = {}
        flags = [plan.memory[one.symbol] for one in self.incoming(BACKWARD) if one.kind == "flags"]
        for name, descriptors in self.descriptors.items():
            if descriptors and f"{name}.program" in plan.memory:
                program = found[name] = build_program(plan, name, descriptors)
                checked[name] = Program.make(name, program.program, program.taps, plan.memory,
                                             plan.memory.nbytes, plan.board.config)
                back = name == BACKWARD
                verify_program(checked[name], checked.get(FORWARD) if back else None,
                               flags if back else ())
        return found

    def cycles(self, name: str) -> int:
        """Return a rough figure of the cycles of a program, for time-outs."""
        return estimate(self.plan, self.descriptors[name])

    def predicted(self, half: str) -> int:
        """Return the cycles that the cycle model predicts for a program; 0 for an empty one."""
        if not self.descriptors[half]:
            return 0
        program = build_program(self.plan, half, self.descriptors[half])
        return predict_program(program, self.plan.board, self.plan.batch).cycles

    def traffic(self, half: str) -> tuple[int, int]:
        """Return the bytes of all maps, gradients and flags that a program takes and makes."""
        takes, makes = (sum(self._nbytes(one) for one in some)
                        for some in (self.incoming(half), self.outgoing(half)))
        return takes, makes

    def _nbytes(self, one: Carried) -> int:
        spec = self.plan.specs[one.layer]
        if one.kind == "flags":
            return spec.flags.nbytes if spec.flags is not None else 0
        return spec.y.nbytes


def _reads_images(plan: Plan, layers: Iterable[int], half: str) -> bool:
    sources = plan.evaluation_sources if half == EVALUATION else plan.sources
    return any(place < 0 for at in layers for place in sources[at])


def _symbols(whole: Plan, cut: Cut, routes: Routes, number: int) -> set[str]:
    """Return the symbols of all tensors that a segment touches."""
    names = {whole.specs[at].name for at in cut.layers_of(number)}
    symbols = {ZEROS, JOIN}
    for memory in (whole.memory.regions, whole.memory.shared, whole.memory.views):
        symbols |= {symbol for symbol in memory if symbol.rpartition(".")[0] in names}
    for half in HALVES:
        symbols |= {one.symbol for one in (*routes.incoming(half, number),
                                           *routes.outgoing(half, number))}
    symbols |= {node.target for node, own in zip(whole.backward_graph.nodes, routes.nodes)
                if own == number}
    if any(_reads_images(whole, cut.layers_of(number), half) for half in HALVES):
        symbols.add("input")
    if number == cut.count - 1:
        symbols |= {"labels", "logits", DLOGITS}
    return symbols


def _arenas(whole: Plan, descriptors: Mapping[str, tuple[Descriptor, ...]], tensors: MemoryMap,
            slots: int) -> list[MemoryMap]:
    """Return the arena as each slot sees it: its own programs and maps, and the common weights."""
    own, common = tensors.kinds(_OF_A_SLOT), tensors.kinds(_OF_A_SLOT, other=True)
    programs, end = [], 0
    for slot in range(slots):
        to = Allocator()
        place_programs(to, {name: some for name, some in descriptors.items()
                            if slot == 0 or name != EVALUATION}, whole.step_block, whole.layers)
        programs.append(to.finish().moved(end))
        end = programs[-1].nbytes
    common = common.moved(end)
    end = common.nbytes + slots * own.nbytes
    arenas = [one.beside(common).beside(own.moved(common.nbytes + slot * own.nbytes))
              for slot, one in enumerate(programs)]
    return [replace(arena, nbytes=end) for arena in arenas]
