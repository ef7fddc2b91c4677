"""Cocotb bench of pt_sequencer: random programs and units, order and waits, halts, errors."""

from __future__ import annotations

import os
import random
import struct
from bisect import bisect_left
from typing import Any

import cocotb
from client_model import Bench, ReadClient, at_most

from pynq_train.hw import commands
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    PARAM_INDEX,
    SECTION_OF_UNIT,
    SECTIONS,
    TAP_INDEX,
    UNITS_OF,
    Opcode,
    Semaphore,
    Unit,
)
from pynq_train.hw.config import ZYNQ7020
from pynq_train.hw.registers import ErrorSource, Status

PROGRAM, STEP_BLOCK, TAPS = 0x1000, 0x80000, 0x90000
WAIT_OF = {unit: f"wait_{name}" for unit, name in commands.WAIT_OF.items()}
SEMAPHORES = len(Semaphore)
SLOTS = ZYNQ7020.slots
TILED = (Opcode.CONV, Opcode.GRADIENT)
"""Opcodes whose tile counts and taps mean something."""


class Descriptor:
    """A random descriptor: the prefix makes sense, all other words are random."""

    def __init__(self, rng: random.Random, index: int, opcode: int,
                 signalled: list[int]) -> None:
        """``signalled``: counts that the earlier descriptors signal, per semaphore."""
        self.opcode = opcode
        self.units = UNITS_OF[Opcode(opcode)] if opcode in list(Opcode) else ()
        self.signal = rng.randrange(SEMAPHORES)
        self.n_taps = rng.choice((0, 1, 3, 9, 121)) if opcode in TILED else 0
        self.param = rng.randrange(64)
        self.taps_off = TAPS + 8 * rng.randrange(2000)
        self.waits: dict[str, tuple[int, int]] = {}
        for name in ("wait_x", "wait_s", "wait_y"):
            sem = rng.randrange(SEMAPHORES)
            top = signalled[sem]
            count = rng.choice((0, 0, top, rng.randint(0, top)))
            self.waits[name] = (sem, count)
        self.tiles = [rng.choice((1, 2, 65535)) for _ in range(5)]
        if opcode not in TILED:
            self.tiles[rng.randrange(5)] = 0
        self.words = [rng.getrandbits(64) for _ in range(DESCRIPTOR_BYTES // 8)]
        sems = [self.waits[name][0] for name in ("wait_x", "wait_s", "wait_y")]
        counts = [self.waits[name][1] for name in ("wait_x", "wait_s", "wait_y")]
        self.words[:5] = struct.unpack("<5Q", struct.pack(
            "<4B2H2I4B8HI", opcode, self.signal, self.n_taps, 0, self.param,
            rng.choice((index, 77)), self.taps_off, rng.getrandbits(32), *sems, 0, *counts,
            *self.tiles, rng.getrandbits(32)))

    def expected(self, unit: Unit, bench: Bench) -> list[tuple[int, int]]:
        """The configuration words of one unit."""
        words = [(k, self.words[k]) for k in range(SECTIONS["pre"].words)]
        for name in SECTION_OF_UNIT[unit]:
            first, count = SECTIONS[name].first, SECTIONS[name].words
            words += [(k, self.words[k]) for k in range(first, first + count)]
        words += [(PARAM_INDEX + k, bench.memory[STEP_BLOCK + 16 * self.param + 8 * k])
                  for k in range(2)]
        if unit in (Unit.S, Unit.COMPUTE):
            words += [(TAP_INDEX + k, bench.memory[self.taps_off + 8 * k])
                      for k in range(self.n_taps)]
        return words


class UnitModel:
    """One unit: requests, checks its configuration, is busy for a while, pulses done."""

    def __init__(self, system: System, unit: Unit) -> None:
        """Start idle."""
        self.system, self.unit = system, unit
        self.got: list[tuple[int, int]] = []
        self.ready_at = 0
        self.jobs: list[int] = []   # cycles at which done_o pulses
        self.served = 0             # descriptors of this unit served
        self.finished = 0
        self.requesting = False
        self.held = False           # no pulse while set

    def drive(self) -> tuple[int, int]:
        """cfg_req_o and done_o for this cycle."""
        bench = self.system.bench
        if not self.got and bench.cycle >= self.ready_at and len(self.jobs) < 2:
            self.requesting = True
        done = bool(self.jobs) and self.jobs[0] <= bench.cycle and not self.held
        if done:
            self.jobs.pop(0)
            self.finished += 1
        return int(self.requesting), int(done)

    def sample(self, index: int, word: int, last: bool) -> None:
        """One configuration word."""
        system, bench = self.system, self.system.bench
        mine = system.mine[self.unit]
        assert self.served < len(mine), f"{self.unit.name}: served too often"
        number = mine[self.served]
        desc = system.program[number]
        if not self.got:
            assert self.requesting, f"{self.unit.name}: not requested"
            system.check_start(self.unit, number)
        self.requesting = False
        self.got.append((index, word))
        expected = desc.expected(self.unit, bench)
        assert self.got == expected[:len(self.got)], f"{self.unit.name}: descriptor {number}"
        assert last == (len(self.got) == len(expected)), f"{self.unit.name}: cfg_last_o"
        if last:
            self.got = []
            self.served += 1
            busy = bench.rng.choice((1, 5, 50, 400, 2000))
            first = self.jobs[-1] + 1 if self.jobs else 0
            self.jobs.append(max(bench.cycle + busy, first))
            self.ready_at = bench.cycle + bench.rng.choice((1, 3, 100, 500))


class System:
    """The sequencer with all units around it."""

    def __init__(self, bench: Bench) -> None:
        """Only the memory is filled; see ``load``."""
        self.bench = bench
        self.program: list[Descriptor] = []
        self.mine: dict[Unit, list[int]] = {}
        self.units: dict[Unit, UnitModel] = {}
        self.step_mode = False
        self.running = False

    def load(self, opcodes: list[int], own_signal: bool = False) -> None:
        """Make a random program; ``own_signal``: nobody shares the first one's semaphore."""
        rng, memory = self.bench.rng, self.bench.memory
        self.running = False
        memory.clear()
        for k in range(128):
            memory[STEP_BLOCK + 8 * k] = rng.getrandbits(64)
        for k in range(2200):
            memory[TAPS + 8 * k] = rng.getrandbits(64)
        signalled = [0] * SEMAPHORES
        self.program = []
        for index, opcode in enumerate(opcodes):
            desc = Descriptor(rng, index, opcode, signalled)
            while own_signal and index and (desc.signal == self.program[0].signal or any(
                    sem == self.program[0].signal and count
                    for sem, count in desc.waits.values())):
                desc = Descriptor(rng, index, opcode, signalled)
            signalled[desc.signal] += opcode != Opcode.FENCE
            self.program.append(desc)
        self.store()
        self.mine = {u: [k for k, d in enumerate(self.program) if u in d.units] for u in Unit}
        self.units = {u: UnitModel(self, u) for u in Unit}

    def store(self) -> None:
        """Write the descriptors to memory."""
        for index, desc in enumerate(self.program):
            for k, word in enumerate(desc.words):
                self.bench.memory[PROGRAM + DESCRIPTOR_BYTES * index + 8 * k] = word

    def retired(self) -> int:
        """Descriptors retired so far."""
        return int(self.bench.dut.retired_o.value)

    def check_start(self, unit: Unit, number: int) -> None:
        """Order, window, waits, fences and step mode when a unit gets a descriptor."""
        retired = self.retired()
        desc = self.program[number]
        assert retired <= number < retired + SLOTS, f"{unit.name}: {number} of {retired}"
        if unit in WAIT_OF:
            sem, count = desc.waits[WAIT_OF[unit]]
            have = self.counted(sem)
            assert have >= count, f"{unit.name}: {number} waits for {count}, {have} there"
        for k in range(retired, number):
            assert self.program[k].opcode != Opcode.FENCE, f"{unit.name}: fence {k} passed"
        if self.step_mode:
            assert number == retired, f"{unit.name}: step mode"

    def counted(self, sem: int) -> int:
        """What a semaphore may have counted: descriptors in order whose units have finished."""
        seen = dict.fromkeys(Unit, 0)
        count = 0
        for desc in self.program:
            for unit in desc.units:
                seen[unit] += 1
            if desc.signal == sem and desc.opcode != Opcode.FENCE:
                if any(self.units[u].finished < seen[u] for u in desc.units):
                    break
                count += 1
        return count

    def check_retired(self) -> None:
        """Nothing retires before its units have finished."""
        retired = self.retired()
        for unit, model in self.units.items():
            need = bisect_left(self.mine[unit], retired)
            assert model.finished >= need, f"{unit.name}: retired too early"

    async def tick(self, **inputs: int) -> None:
        """One cycle with the units."""
        requests = pulses = 0
        for unit, model in self.units.items():
            request, done = model.drive()
            requests |= request << unit
            pulses |= done << unit
        await self.bench.tick(cfg_req_i=requests, unit_done_i=pulses, **inputs)
        dut = self.bench.dut
        valid = int(dut.cfg_valid_o.value)
        if valid:
            assert valid & (valid - 1) == 0, "two units served at once"
            self.units[Unit(valid.bit_length() - 1)].sample(
                int(dut.cfg_idx_o.value), int(dut.cfg_data_o.value),
                bool(int(dut.cfg_last_o.value)))
        if self.running:
            self.check_retired()

    async def start(self, step_mode: bool) -> None:
        """Program registers and the START pulse."""
        self.step_mode = step_mode
        await self.tick(step_mode_i=int(step_mode), program_off_i=PROGRAM,
                        program_count_i=len(self.program), step_off_i=STEP_BLOCK, start_i=1)
        await self.tick(start_i=0)
        self.running = True
        assert int(self.bench.dut.busy_o.value) or not self.program

    async def finish(self) -> int:
        """Until DONE, resuming at halts; returns the halts."""
        dut, halts = self.bench.dut, 0
        for _ in range(3000 * (len(self.program) + 2)):
            await self.tick()
            if int(dut.halted_o.value):
                halts += 1
                assert self.retired() == halts
                for _ in range(self.bench.rng.randrange(60)):
                    await self.tick()
                    assert int(dut.halted_o.value) and self.retired() == halts
                await self.tick(resume_i=1)
                await self.tick(resume_i=0)
                assert not int(dut.halted_o.value) or self.retired() > halts
            if int(dut.done_o.value):
                return halts
        raise AssertionError(f"hangs after {self.retired()} of {len(self.program)}")

    async def soft_reset(self) -> None:
        """Soft reset with late idle; the units and the reader start afresh."""
        dut, bench = self.bench.dut, self.bench
        await self.tick(soft_reset_i=1)
        await self.tick(soft_reset_i=0, axi_idle_i=0)
        for _ in range(bench.rng.choice((2, 30))):
            await self.tick()
            assert int(dut.halt_o.value) and int(dut.busy_o.value)
            assert not int(dut.core_rst_o.value) and not int(dut.cfg_valid_o.value)
        self.units = {}
        await self.tick(axi_idle_i=1)
        pulses = 0
        for _ in range(30):
            await self.tick()
            pulses += int(dut.core_rst_o.value)
            assert int(dut.halt_o.value) or not int(dut.core_rst_o.value), "halt_o falls in reset"
            # The AXI masters are halted and reset: no run survives, also one taken meanwhile.
            for client in bench.clients:
                assert isinstance(client, ReadClient)
                client.words.clear()
                client.offering = False
        assert pulses == 4, f"core_rst_o for {pulses} cycles"
        assert not int(dut.busy_o.value) and not int(dut.halt_o.value)
        assert not int(dut.failed_o.value) and not int(dut.done_o.value)

    async def expect_failure(self, code: int, unit: int, index: int | None) -> None:
        """Waits for halt_o, then holds the masters busy for a while."""
        dut, bench = self.bench.dut, self.bench
        await self.tick(axi_idle_i=0)
        for _ in range(20000):
            await self.tick()
            if int(dut.halt_o.value):
                break
        else:
            raise AssertionError("no halt_o")
        await self.tick(err_valid_i=0)
        for _ in range(bench.rng.choice((3, 40))):
            await self.tick()
            assert int(dut.busy_o.value) and not int(dut.failed_o.value)
        await self.tick(axi_idle_i=1)
        for _ in range(12):
            await self.tick()
        assert int(dut.failed_o.value) and int(dut.done_o.value) and not int(dut.busy_o.value)
        assert int(dut.halt_o.value)
        assert int(dut.error_code_o.value) == code
        assert int(dut.error_source_o.value) == unit
        if index is not None:
            assert int(dut.error_index_o.value) == index
        assert int(dut.error_index_o.value) == self.retired()
        await self.tick(start_i=1)
        await self.tick(start_i=0)
        assert not int(dut.busy_o.value), "starts although failed"


def random_opcodes(rng: random.Random, count: int) -> list[int]:
    """Mostly convolutions and gradients."""
    return [int(rng.choice((1, 1, 1, 4, 4, 2, 3, 5, 6, 0))) for _ in range(count)]


async def new_system(dut: Any) -> System:
    """The sequencer out of reset, with idle units."""
    bench = Bench(dut, random.Random(int(os.environ.get("PT_SEED", "1"))))
    bench.clients = [ReadClient(bench)]
    inputs = ("start_i", "unarmed_i", "resume_i", "soft_reset_i", "clear_i", "step_mode_i",
              "program_off_i", "program_count_i", "step_off_i", "cfg_req_i", "unit_done_i",
              "err_valid_i", "err_code_i", "err_source_i")
    await bench.start({**dict.fromkeys(inputs, 0), "axi_idle_i": 1})
    return System(bench)


@cocotb.test()
async def slow_units_hold_back_their_semaphore_only(dut: Any) -> None:
    """With one unit of the first descriptor stuck, all others run on through all slots."""
    system = await new_system(dut)
    rng = system.bench.rng
    for opcode, stuck in ((Opcode.SOFTMAX, Unit.SOFTMAX), (Opcode.VECTOR, Unit.VECTOR),
                          (Opcode.NORM, Unit.VECTOR),
                          (Opcode.UPDATE, Unit.UPDATE), (Opcode.GRADIENT, Unit.UPDATE)):
        others = (Opcode.CONV,) if stuck == Unit.UPDATE else (Opcode.CONV, Opcode.GRADIENT)
        system.load([opcode, *(rng.choice(others) for _ in range(SLOTS + 1))],
                    own_signal=True)
        system.units[stuck].held = True
        await system.start(False)
        free = [unit for unit in Unit if unit != stuck and system.mine[unit]]
        inside = {u: sum(number < SLOTS for number in system.mine[u]) for u in free}
        for _ in range(3000 * SLOTS):
            await system.tick()
            if all(system.units[u].finished >= inside[u] for u in free):
                break
        else:
            raise AssertionError(f"{opcode.name}: the stuck {stuck.name} holds back others")
        for _ in range(1000):
            await system.tick()
        assert system.retired() == 0
        assert all(system.units[u].served == inside[u] for u in free), "slots"
        system.units[stuck].held = False
        await system.finish()
        assert system.retired() == SLOTS + 2


@cocotb.test()
async def programs(dut: Any) -> None:
    """Random programs, free running and stepped."""
    system = await new_system(dut)
    bench = system.bench
    rng = bench.rng

    for case in range(at_most(12)):
        bench.stall = rng.choice((0.0, 0.2, 0.7))
        bench.latency = rng.choice((1, 10, 50))
        count = (0, 1, 30)[case] if case < 3 else rng.randint(2, 25)
        system.load(random_opcodes(rng, count))
        begin = bench.cycle
        stepped = case % 3 == 1
        await system.start(stepped)
        halts = await system.finish()
        assert halts == (count if stepped else 0)
        assert system.retired() == count and not int(dut.failed_o.value)
        assert all(model.served == len(system.mine[u]) for u, model in system.units.items())
        assert abs(int(dut.cycles_o.value) - (bench.cycle - begin)) <= 5
        await system.tick(clear_i=1)
        await system.tick(clear_i=0)
        assert not int(dut.done_o.value)


@cocotb.test()
async def starts_that_nothing_armed(dut: Any) -> None:
    """At rest they fail at once and nothing runs; in a run nothing changes."""
    system = await new_system(dut)
    bench = system.bench
    rng = bench.rng
    for _ in range(at_most(4)):
        system.load(random_opcodes(rng, 6))
        await system.start(False)
        for _ in range(rng.randint(1, 300)):
            await system.tick()
            if int(dut.done_o.value):
                break
        if int(dut.busy_o.value):
            await system.tick(unarmed_i=1)
            await system.tick(unarmed_i=0)
            await system.finish()
        assert system.retired() == 6 and not int(dut.failed_o.value)
        if rng.random() < 0.5:  # the driver has seen the end
            await system.tick(clear_i=1)
            await system.tick(clear_i=0)
        system.running = False
        await system.tick(unarmed_i=1)
        await system.tick(unarmed_i=0, err_valid_i=0)
        for _ in range(40):
            await system.tick()
            assert not int(dut.cfg_valid_o.value) and not int(dut.run_valid_o.value)
        assert int(dut.failed_o.value) and int(dut.done_o.value) and not int(dut.busy_o.value)
        assert int(dut.error_code_o.value) == Status.NOT_ARMED
        assert int(dut.error_source_o.value) == ErrorSource.SEQUENCER
        assert int(dut.error_index_o.value) == system.retired() == 0
        await system.tick(start_i=1)
        await system.tick(start_i=0)
        assert not int(dut.busy_o.value), "starts although failed"
        await system.soft_reset()
        assert int(dut.error_code_o.value) == 0


@cocotb.test()
async def errors_and_resets(dut: Any) -> None:
    """Errors of the program and of units, and a reset at any time; the next program runs."""
    system = await new_system(dut)
    bench = system.bench
    rng = bench.rng

    for case in range(at_most(14)):
        bench.stall = rng.choice((0.0, 0.3))
        bench.latency = rng.choice((1, 30))
        count = rng.randint(5, 12)
        bad = rng.randrange(count)
        opcodes = random_opcodes(rng, count)
        kind = case % 7
        opcodes[bad] = {0: max(Opcode) + 1, 1: 255}.get(kind, TILED[case // 7])
        system.load(opcodes)
        index: int | None = bad
        code, unit = int(Status.ILLEGAL_DESCRIPTOR), int(ErrorSource.SEQUENCER)
        words = system.program[bad].words
        if kind == 2:
            level = rng.randrange(5)
            word, lsb = (3, 16 * (level + 1)) if level < 3 else (4, 16 * (level - 3))
            words[word] &= ~(0xFFFF << lsb)
        elif kind == 3:
            words[0] = words[0] & ~0xFF0000 | 122 << 16
        elif kind == 4:
            words[2] = words[2] & ~0xFF00 | SEMAPHORES << 8
        system.store()
        await system.start(False)
        if kind == 5:
            for _ in range(rng.randint(1, 1500)):
                await system.tick()
            if not int(dut.busy_o.value):
                continue
            code, unit, index = int(Status.SLAVE_ERROR), rng.randrange(20), None
            await system.tick(err_valid_i=1, err_code_i=code, err_source_i=unit)
        if kind == 6:
            for _ in range(rng.randint(1, 1500)):
                await system.tick()
        else:
            await system.expect_failure(code, unit, index)
        await system.soft_reset()
        system.load(random_opcodes(rng, 6))
        await system.start(False)
        await system.finish()
        assert system.retired() == 6 and int(dut.error_code_o.value) == 0
