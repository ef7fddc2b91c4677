"""Passes on the RTL of a virtual board: counted cycles beside the predicted ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from pynq_train.backends import RunRequest
from pynq_train.backends.vboard import VirtualBoardBackend
from pynq_train.bench.reduce import DEFAULT_CYCLES, Reduction, choose, reduced
from pynq_train.hw.boards import Board
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.hw.words import WORD_BYTES
from pynq_train.program import Program, verify_program
from pynq_train.schedule.lower.program import build_training
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.predict import Prediction, estimate, predict
from pynq_train.schedule.standalone import StandalonePass, standalone_plan

DEFAULT_LATENCY = 40
"""Cycles from an address to the first beat of a read."""


def predicted(plan: Plan, latency: int = DEFAULT_LATENCY) -> Prediction:
    """Return the predicted training program of a plan on a memory with a read latency in cycles."""
    memory = MemoryTiming(plan.board.dram_bytes_per_cycle, latency)
    return predict(plan, plan.train, memory)


@dataclass(frozen=True)
class Counts:
    """Counters of one run, or of a run that two shorter ones stand for.

    Attributes:
        cycles: cycles from start to end.
        counters: counter registers by lower-case name.
    """

    cycles: int
    counters: Mapping[str, int]

    @property
    def bytes_read(self) -> int:
        """Bytes read on all ports, the program included."""
        return WORD_BYTES * sum(v for k, v in self.counters.items() if k.startswith("read_beats"))

    @property
    def bytes_written(self) -> int:
        """Bytes written on all ports, the records included."""
        return WORD_BYTES * sum(v for k, v in self.counters.items() if k.startswith("write_beats"))


@dataclass(frozen=True)
class PassCount:
    """One pass of one layer, counted and predicted.

    Attributes:
        standalone: the pass.
        counts: counters of the whole pass.
        prediction: what the cycle model says of the whole pass.
        reduction: how fewer repetitions stood for the pass; None if it ran whole.
        runs: cycles of each run that was simulated.
    """

    standalone: StandalonePass
    counts: Counts
    prediction: Prediction
    reduction: Reduction | None
    runs: tuple[int, ...]

    @property
    def error_pct(self) -> float:
        """Predicted against counted cycles in percent."""
        return 100 * (self.prediction.cycles - self.counts.cycles) / self.counts.cycles


class Rtl:
    """A virtual board that runs one program after the other, each in an arena from offset 0.

    Use it in a ``with`` statement. Tensors keep what the memory held before: cycles do not depend
    on values.

    Args:
        board: the board.
        latency: read latency of the memory in cycles.
    """

    def __init__(self, board: Board, latency: int = DEFAULT_LATENCY) -> None:
        self.board = board
        self.latency = latency
        self._backend: VirtualBoardBackend | None = None

    def __enter__(self) -> Rtl:
        """Return itself; the board is built when a program is there."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Power the board down."""
        self.close()

    def close(self) -> None:
        """Power the board down."""
        if self._backend is not None:
            self._backend.close()
        self._backend = None

    def open(self, arena_bytes: int) -> VirtualBoardBackend:
        """Return the board with an arena of at least ``arena_bytes``.

        Raises:
            MissingTool: what a virtual board is built with is not installed.
        """
        if self._backend is None or self._backend.arena_size_bytes < arena_bytes:
            self.close()
            timing = MemoryTiming(bytes_per_cycle=self.board.dram_bytes_per_cycle,
                                  read_latency_cycles=self.latency)
            self._backend = VirtualBoardBackend(self.board, arena_bytes, timing=timing).open()
        return self._backend

    def run(self, plan: Plan, profile: bool = False) -> Counts:
        """Return the counters of a run of a plan's training program with a step block of zeros.

        ``profile``: leave cycle stamps in the records.

        Raises:
            IllegalProgram: the program breaks a rule of the contract.
            HardwareFault: the engine stopped with an error, or did not end in time.
        """
        image, memory = build_training(plan), plan.memory
        verify_program(Program.make(image.name, image.program, image.taps, memory, memory.nbytes,
                                    plan.board.config))
        backend = self.open(memory.nbytes)
        backend.write(memory["train.program"].offset, image.program)
        backend.write(memory["train.taps"].offset, image.taps)
        backend.write(memory["step_block"].offset, bytes(memory["step_block"].nbytes))
        result = backend.run(RunRequest(
            memory["train.program"].offset, image.count, memory["step_block"].offset,
            estimate(plan, plan.train), profile=profile))
        return Counts(result.cycles, result.counters)

    def count(self, standalone: StandalonePass, most_cycles: int = DEFAULT_CYCLES) -> PassCount:
        """Return the counted and predicted cycles of one pass.

        Args:
            standalone: the pass.
            most_cycles: a pass of more predicted cycles is run twice with fewer repetitions
                instead, and extrapolated.

        Raises:
            DoesNotFit: the tensors of the pass are larger than the board's memory.
            HardwareFault: the engine stopped with an error, or did not end in time.
        """
        plan = standalone_plan(standalone)
        prediction = predicted(plan, self.latency)
        reduction = choose(standalone, most_cycles)
        if reduction is None:
            counts = self.run(plan)
            return PassCount(standalone, counts, prediction, None, (counts.cycles,))
        short, long = (self.run(standalone_plan(reduced(standalone, reduction.along, count)))
                       for count in (reduction.short, reduction.long))
        counters = {name: reduction.extrapolate(short.counters[name], long.counters[name])
                    for name in short.counters}
        counts = Counts(reduction.extrapolate(short.cycles, long.cycles), counters)
        return PassCount(standalone, counts, prediction, reduction, (short.cycles, long.cycles))
