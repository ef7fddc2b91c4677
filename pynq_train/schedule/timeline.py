"""Predicted run of a program: cycles of the whole, start, end and limit of every descriptor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynq_train.hw.boards import Board
from pynq_train.hw.commands import Opcode
from pynq_train.hw.config import WORD_BYTES
from pynq_train.hw.norm import NormProgram
from pynq_train.schedule.build import ProgramImage, build_evaluation, build_training
from pynq_train.schedule.cost import (
    DESCRIPTOR_CYCLES,
    bias_cost,
    softmax_cost,
    update_cost,
)
from pynq_train.schedule.plan import Entry, Plan, Role
from pynq_train.schedule.simulate import Command, Engine, Memory, Trace
from pynq_train.schedule.simulate.vector import block_cycles


@dataclass(frozen=True)
class Prediction:
    """Predicted run of one program.

    Attributes:
        cycles: cycles from start to end.
        starts: cycle in which the unit that writes its record starts each descriptor.
        ends: cycle in which that unit begins the record.
        arrays: cycles in which the array has its first operands and takes its last step; zeros
            where it takes no part.
        limits: what takes the largest part of its time: ``array``, ``bandwidth``, ``S reload``,
            ``latency`` or ``update``.
        bytes_read: bytes read from device memory.
        bytes_written: bytes written.
        macs: multiply-adds, padding not counted.
        multipliers: multipliers of the array.
        clock_mhz: clock for times.
        batch: images.
    """

    cycles: int
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    arrays: tuple[tuple[int, int], ...]
    limits: tuple[str, ...]
    bytes_read: int
    bytes_written: int
    macs: int
    multipliers: int
    clock_mhz: float
    batch: int

    @property
    def utilisation(self) -> float:
        """Useful multiply-adds per multiplier and cycle."""
        return self.macs / (self.multipliers * max(self.cycles, 1))

    @property
    def ms_per_image(self) -> float:
        """Milliseconds per image at the board's clock."""
        return self.cycles / (1e3 * self.clock_mhz * self.batch)


def predict(plan: Plan, entries: tuple[Entry, ...], memory: Memory | None = None) -> Prediction:
    """Predict the run of a program of the plan.

    Args:
        plan: the plan.
        entries: ``plan.train`` or ``plan.evaluate``.
        memory: timing of the device memory (default: that of the board).
    """
    build = build_training if entries == plan.train else build_evaluation
    return predict_program(build(plan), plan.board, plan.batch, memory)


def predict_program(program: ProgramImage, board: Board, batch: int,
                    memory: Memory | None = None) -> Prediction:
    """Predict the run of a program that has been built."""
    commands = [Command(fields, _tap_weights(entry))
                for entry, fields in zip(program.entries, program.fields)]
    return _run(commands, program.entries, board, batch, memory)


def _tap_weights(entry: Entry) -> tuple[int, ...]:
    return tuple(tap.weight for tap in entry.geometry.shape.taps) if entry.geometry else ()


def _run(commands: Sequence[Command], entries: Sequence[Entry], board: Board, batch: int,
         memory: Memory | None) -> Prediction:
    engine = Engine(commands, board.config, memory or Memory(board.dram_bytes_per_cycle))
    cycles = engine.run()
    return Prediction(
        cycles, tuple(t.stamps[0] for t in engine.traces),
        tuple(t.stamps[1] for t in engine.traces),
        tuple(t.array for t in engine.traces),
        tuple(_limit(c, t) for c, t in zip(commands, engine.traces)),
        engine.bytes_read, engine.bytes_written, sum(e.cost.macs for e in entries if e.cost),
        board.config.multipliers, board.clock_mhz, batch)


_PORT_BOUND = 0.7
"""Share of a wait's time in which the X port moves words above which it is the port's fault."""


def _limit(command: Command, trace: Trace) -> str:
    if command.opcode == Opcode.SOFTMAX:
        return "latency"
    if command.opcode == Opcode.UPDATE:
        return "update"
    if command.opcode in (Opcode.VECTOR, Opcode.NORM, Opcode.POOL):
        return "latency" if command.opcode == Opcode.NORM else "bandwidth"
    waits = trace.waits
    span = max(waits.busy + waits.x + waits.s + waits.acc, 1)
    loading = trace.x_port_cycles / span
    parts = {"array": waits.busy, "S reload": waits.s, "latency": waits.start}
    parts["bandwidth" if loading > _PORT_BOUND else "latency"] = (
        waits.x + (0 if loading > _PORT_BOUND else waits.start))
    store = "update" if command.opcode == Opcode.GRADIENT else "bandwidth"
    parts[store] = parts.get(store, 0) + waits.acc
    return max(parts, key=lambda part: parts[part])


def estimate(plan: Plan, entries: tuple[Entry, ...]) -> int:
    """Cycles of a program at a glance, for time-outs: all descriptors one behind the other."""
    total = 0
    for entry in entries:
        total += DESCRIPTOR_CYCLES
        if entry.cost is not None:
            total += entry.cost.cycles + entry.cost.fill + entry.cost.tail
        if entry.role == Role.SOFTMAX:
            total += softmax_cost(plan.batch, plan.classes)
        elif entry.role.opcode in (Opcode.VECTOR, Opcode.POOL):
            spec = plan.specs[entry.layer]
            total += 2 * max(spec.x.nbytes, spec.y.nbytes) // WORD_BYTES
        elif entry.role.opcode == Opcode.NORM:
            total += 2 * block_cycles(NormProgram.FORWARD) * plan.specs[entry.layer].m_blocks
        elif entry.role in (Role.UPDATE_BIAS, Role.UPDATE_GAMMA):
            total += bias_cost(plan.specs[entry.layer].bias_bytes // WORD_BYTES)[0]
        elif entry.role in (Role.GRADIENT, Role.BIAS_SUMS) and entry.geometry is not None:
            shape = entry.geometry.shape
            weights = shape.spec.weight_elements // shape.spec.m_tiles * shape.outer
            total += update_cost(weights, plan.momentum)[0]
    return total
