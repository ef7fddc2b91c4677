"""Programs on the compiled RTL without pynq: cycles and counters under any memory timing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pynq_train.backends.base import COUNTERS
from pynq_train.backends.vboard import MemoryTiming, VerilatedModel, build
from pynq_train.hw import registers
from pynq_train.hw.commands import PARAM_BYTES, Opcode, pack_descriptor, pack_params
from pynq_train.schedule.lower.program import ProgramImage
from pynq_train.schedule.passes.descriptors import Role, param_index
from pynq_train.schedule.plan import Plan

BASE = 0x1000_0000
PAGE = 4096
LONGEST_RUN = 50_000_000
DONE, FAILED = 2, 8


@dataclass(frozen=True)
class Counted:
    """What the RTL counted in one run."""

    cycles: int
    counters: dict[str, int]


def alone(program: ProgramImage, index: int) -> ProgramImage:
    """One descriptor of a program as a program of its own, which waits for nothing."""
    fields = {name: value for name, value in program.fields[index].items()
              if not name.startswith("pre.wait")}
    return replace(program, descriptors=(program.descriptors[index],), fields=(fields,),
                   program=pack_descriptor(fields))


def run(plan: Plan, program: ProgramImage, latency: int, seed: int = 1) -> Counted:
    """Run a program on arbitrary data (which cycles hardly depend on)."""
    return run_memory(*image(plan, program, seed), plan.board.dram_bytes_per_cycle, latency, seed)


def image(plan: Plan, program: ProgramImage, seed: int) -> tuple[np.ndarray, Place]:
    """Return memory with a program in arbitrary data, uint8 in whole pages, and where it stands."""
    memory = plan.memory
    draw = np.random.default_rng(seed)
    dram = draw.integers(0, 256, -(-memory.nbytes // PAGE) * PAGE, np.uint8)

    def put(symbol: str, data: bytes) -> None:
        at = memory[symbol].offset
        dram[at : at + len(data)] = np.frombuffer(data, np.uint8)

    put(f"{program.name}.program", program.program)
    put(f"{program.name}.taps", program.taps)
    put("labels", (np.arange(plan.batch) % plan.classes).astype(np.int64).tobytes())
    step = bytearray(plan.step_block_bytes)
    at = param_index(Role.SOFTMAX, 0) * PARAM_BYTES
    step[at : at + PARAM_BYTES] = pack_params(Opcode.SOFTMAX,
                                              {"valid": plan.batch, "z_shift": 12})
    put("step_block", bytes(step))
    return dram, Place(memory[f"{program.name}.program"].offset, program.count,
                       memory["step_block"].offset, memory.nbytes)


@dataclass(frozen=True)
class Place:
    """Where a program stands in an arena: byte offsets, descriptors, bytes of the arena."""

    program: int
    count: int
    step_block: int
    arena_bytes: int


def whole_pages(data: bytes, nbytes: int | None = None) -> np.ndarray:
    """Return memory that begins with these bytes, uint8, of as many pages as that takes.

    ``nbytes``: or as these bytes take, zeros behind the others.
    """
    dram = np.zeros(-(-(nbytes or len(data)) // PAGE) * PAGE, np.uint8)
    dram[:len(data)] = np.frombuffer(data, np.uint8)
    return dram


def start(model: VerilatedModel, place: Place, base: int = BASE) -> None:
    """Start a program of an arena at address ``base``."""
    for name, value in (
            ("ARENA_LO", base % (1 << 32)), ("ARENA_HI", base >> 32),
            ("ARENA_BYTES", place.arena_bytes), ("MODE", 0), ("PROGRAM_OFF", place.program),
            ("STEP_OFF", place.step_block), ("PROGRAM_COUNT", place.count),
            ("CTRL", 1)):  # the count arms START
        model.write32(registers.offset(name), value)


def run_memory(dram: np.ndarray, place: Place, bytes_per_cycle: int, latency: int,
               seed: int = 1, base: int = BASE) -> Counted:
    """Run a program that stands in ``dram`` (uint8, whole pages), which begins at ``base``."""
    timing = MemoryTiming(bytes_per_cycle=bytes_per_cycle, read_latency_cycles=latency)
    model = VerilatedModel(build.build(build.default_source()), dram, base, timing, seed)
    try:
        start(model, place, base)
        status = registers.offset("STATUS")
        model.run(LONGEST_RUN, status, DONE)
        state = model.read32(status)
        assert state & DONE and not state & FAILED, f"the run ended with STATUS {state:#x}"

        def read(name: str) -> int:
            return model.read32(registers.offset(name))

        return Counted(read("CYCLES") | read("CYCLES_HI") << 32,
                       {name.lower(): read(name) for name in COUNTERS})
    finally:
        model.close()
