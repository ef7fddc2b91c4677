"""Predicted run of a program: cycles of the whole, start, end and limit of every descriptor.

The cycle model (``pynq_train.cycles``) runs the descriptor fields; nothing is computed on data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pynq_train.cycles import Command, Engine, Trace, model
from pynq_train.cycles.vector import block_cycles
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import Opcode
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.hw.norm import NormProgram
from pynq_train.hw.words import WORD_BYTES
from pynq_train.schedule.lower.program import (
    ProgramImage,
    build_cached,
    build_evaluation,
    build_training,
)
from pynq_train.schedule.passes.cost import DESCRIPTOR_CYCLES, bias_cost, softmax_cost, update_cost
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.plan import Plan


@dataclass(frozen=True)
class Prediction:
    """Predicted run of one program; tuples have an item for each descriptor, in program order.

    Attributes:
        cycles: cycles from the start of the program to its end.
        starts: cycle in which the unit that writes the record starts the descriptor.
        ends: cycle in which that unit begins to write the record.
        arrays: cycles in which the array has its first operands and takes its last array step;
            zeros where it takes no part.
        limits: what takes the largest part of the descriptor's time: ``array``, ``bandwidth``, ``S
            reload``, ``latency`` or ``update``.
        bytes_read: bytes read from device memory.
        bytes_written: bytes written to it.
        macs: multiply-adds; padding does not count.
        multipliers: multipliers of the array.
        clock_mhz: clock of the board in MHz, for times.
        batch: images of the mini-batch.
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

    def then(self, other: Prediction) -> Prediction:
        """Return this run and another one behind it; time between the two does not count."""
        cycles = self.cycles
        return replace(
            self, cycles=cycles + other.cycles,
            starts=self.starts + tuple(cycles + one for one in other.starts),
            ends=self.ends + tuple(cycles + one for one in other.ends),
            arrays=self.arrays + tuple((cycles * bool(end) + begin, cycles * bool(end) + end)
                                       for begin, end in other.arrays),
            limits=self.limits + other.limits, bytes_read=self.bytes_read + other.bytes_read,
            bytes_written=self.bytes_written + other.bytes_written, macs=self.macs + other.macs)

    @property
    def utilisation(self) -> float:
        """Useful multiply-adds per multiplier and cycle, 0 to 1."""
        return self.macs / (self.multipliers * max(self.cycles, 1))

    @property
    def ms_per_image(self) -> float:
        """Milliseconds per image at the board's clock."""
        return self.cycles / (1e3 * self.clock_mhz * self.batch)


def predict(plan: Plan, descriptors: tuple[Descriptor, ...],
            memory: MemoryTiming | None = None,
            retired: Callable[[], object] | None = None) -> Prediction:
    """Return the predicted run of a program of a plan, which keeps it for the next one who asks.

    Args:
        plan: the plan.
        descriptors: ``plan.train``, ``plan.evaluate`` or ``plan.cached``.
        memory: timing of the device memory (default: that of the board).
        retired: is called for each descriptor that is through, unless the prediction is there.
    """
    build = next(make for own, make in (
        (plan.train, build_training), (plan.cached, build_cached), (plan.evaluate, build_evaluation)
    ) if own == descriptors)
    key = (predict, build, memory or MemoryTiming(plan.board.dram_bytes_per_cycle))
    if key not in plan.kept:
        plan.kept[key] = predict_program(build(plan), plan.board, plan.batch, memory,
                                         retired)
    found: Prediction = plan.kept[key]
    return found


def predict_program(program: ProgramImage, board: Board, batch: int,
                    memory: MemoryTiming | None = None,
                    retired: Callable[[], object] | None = None) -> Prediction:
    """Return the predicted run of a program that has been built.

    Args:
        program: the program.
        board: the board.
        batch: images of the mini-batch.
        memory: timing of the device memory (default: that of the board).
        retired: is called for each descriptor that is through.
    """
    found = model(len(program.descriptors))
    commands = [found.command(fields, _tap_weights(descriptor))
                for descriptor, fields in zip(program.descriptors, program.fields)]
    first, *others = (_run(found.engine(commands[run.start : run.stop], board.config,
                                        memory or MemoryTiming(board.dram_bytes_per_cycle)),
                           commands[run.start : run.stop],
                           program.descriptors[run.start : run.stop], board, batch, retired)
                      for run in program.runs)
    return first.then(others[0]) if others else first


def _tap_weights(descriptor: Descriptor) -> tuple[int, ...]:
    """Return the weight block of each tap of an array descriptor, in the order of its tap table."""
    return tuple(tap.weight for tap in descriptor.tiled.shape.taps) if descriptor.tiled else ()


def _run(engine: Engine, commands: Sequence[Command], descriptors: Sequence[Descriptor],
         board: Board, batch: int, retired: Callable[[], object] | None) -> Prediction:
    """Return what a cycle model says of its commands, in order; ``descriptors`` are the same ones.
    """
    cycles = engine.run(retired)
    return Prediction(
        cycles, tuple(t.stamps[0] for t in engine.traces),
        tuple(t.stamps[1] for t in engine.traces),
        tuple(t.array for t in engine.traces),
        tuple(_limit(c, t) for c, t in zip(commands, engine.traces)),
        engine.bytes_read, engine.bytes_written,
        sum(one.cost.macs for one in descriptors if one.cost),
        board.config.multipliers, board.clock_mhz, batch)


_PORT_BOUND = 0.7
"""Share of the array's time with a busy X port above which waits for X count as bandwidth."""


def _limit(command: Command, trace: Trace) -> str:
    """Return what takes the largest part of a descriptor's time.

    The array's time is divided into work and waits for X, S and accumulators; each wait is given to
    one cause and the largest sum wins.
    """
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
    # Waiting for X: the port was busy all the time, or it waited for the answers of the memory.
    parts["bandwidth" if loading > _PORT_BOUND else "latency"] = (
        waits.x + (0 if loading > _PORT_BOUND else waits.start))
    # Full accumulators: a drain waits for the write port, or for the update unit behind the queue.
    store = "update" if command.opcode == Opcode.GRADIENT else "bandwidth"
    parts[store] = parts.get(store, 0) + waits.acc
    return max(parts, key=lambda part: parts[part])


def estimate(plan: Plan, descriptors: tuple[Descriptor, ...]) -> int:
    """Return a rough figure of a program's cycles for time-outs, as if nothing ran side by side.

    :func:`predict` says how long the program really takes, but needs the cycle model for it.
    """
    total = 0
    for descriptor in descriptors:
        total += DESCRIPTOR_CYCLES
        if descriptor.cost is not None:
            total += descriptor.cost.cycles + descriptor.cost.fill + descriptor.cost.tail
        if descriptor.role == Role.SOFTMAX:
            total += softmax_cost(plan.batch, plan.classes)
        elif descriptor.role.opcode in (Opcode.VECTOR, Opcode.POOL):
            spec = plan.specs[descriptor.layer]
            total += 2 * max(spec.x.nbytes, spec.y.nbytes) // WORD_BYTES
        elif descriptor.role.opcode == Opcode.NORM:
            total += (2 * block_cycles(NormProgram.FORWARD)
                      * plan.specs[descriptor.layer].table_blocks)
        elif descriptor.role in (Role.UPDATE_BIAS, Role.UPDATE_GAMMA):
            total += bias_cost(plan.specs[descriptor.layer].bias_bytes // WORD_BYTES)[0]
        elif descriptor.role in (Role.WEIGHT_GRADIENT, Role.BIAS_SUMS) and descriptor.tiled:
            shape = descriptor.tiled.shape
            weights = shape.spec.weight_elements // shape.spec.m_tiles * shape.outer
            total += update_cost(weights, plan.momentum)[0]
    return total
