"""Scheduled programs to plant bugs in, and how to find and change their descriptors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pynq_train.graph.graph import Graph, Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import DESCRIPTOR_BYTES, Opcode, Pass, pack_descriptor, pack_tap
from pynq_train.layers.fuse import fuse
from pynq_train.program import Program
from pynq_train.schedule.lower.program import ProgramImage, build_training
from pynq_train.schedule.plan import Plan, make_plan

BOARD = BOARDS["pynq-z2"]
Fields = dict[str, int]


@dataclass(frozen=True)
class Scheduled:
    """A training step of a network."""

    plan: Plan
    image: ProgramImage

    @classmethod
    def of(cls, graph: Graph, batch: int) -> Scheduled:
        """Plan and build."""
        plan = make_plan(fuse(graph), batch, BOARD)
        return cls(plan, build_training(plan))

    @property
    def fields(self) -> tuple[Fields, ...]:
        """Fields of all descriptors, those that are zero included."""
        return self.program().fields

    def program(self, changes: dict[int, Fields] | None = None) -> Program:
        """The program with other fields in some descriptors."""
        data = self.image.program
        for number, values in (changes or {}).items():
            at = number * DESCRIPTOR_BYTES
            data = (data[:at] + pack_descriptor({**self.image.fields[number], **values})
                    + data[at + DESCRIPTOR_BYTES:])
        return self.made(data)

    def made(self, descriptors: bytes) -> Program:
        """The program with other descriptors."""
        memory = self.plan.memory
        return Program.make("train", descriptors, self.image.taps, memory, memory.nbytes,
                            BOARD.config)

    def number(self, opcode: Opcode, layer: int, kind: Pass | None = None) -> int:
        """Position of the first descriptor of a kind."""
        return next(k for k, (descriptor, f) in enumerate(
            zip(self.image.descriptors, self.image.fields))
                    if f["pre.opcode"] == opcode and descriptor.layer == layer
                    and kind in (None, f.get("g.g_pass")))

    def gradient(self, fits: Callable[[Fields], bool] = lambda f: True) -> int:
        """Position of the first GRADIENT whose fields fit."""
        return next(k for k, f in enumerate(self.fields)
                    if f["pre.opcode"] == Opcode.GRADIENT and fits(f))

    def reordered(self, order: list[int], changes: dict[int, Fields] | None = None) -> Program:
        """The program with its descriptors in another order, numbered anew.

        ``changes``: other fields, by the old positions.
        """
        return self.made(b"".join(
            pack_descriptor({**self.image.fields[old], **(changes or {}).get(old, {}),
                             "pre.number": new}) for new, old in enumerate(order)))


def all_kinds() -> Scheduled:
    """A training step with every kind of descriptor."""
    return Scheduled.of(Sequential((3, 10, 10), "planted").conv(20, 3, padding=1).relu().pool()
                        .conv(18, 3, padding=1).relu().dense(5).build(), 4)


def with_taps(program: Program, number: int, taps: list[Fields]) -> Program:
    """The program with another tap table of the same length."""
    at = program.fields[number]["pre.taps_off"] - program.taps_off
    data = b"".join(pack_tap(tap) for tap in taps)
    return replace(program, taps=program.taps[:at] + data + program.taps[at + len(data):])
