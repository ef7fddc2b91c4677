"""Cocotb bench of the whole engine: programs from the scheduler, memory images against golden."""

from __future__ import annotations

import os
import random
import struct
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster
from write_contract import watch

from pynq_train.backends.golden import GoldenMachine
from pynq_train.graph.graph import Graph, Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import DESCRIPTOR_BYTES, RECORD_WORDS, Opcode, pack_descriptor
from pynq_train.hw.contract import hash_word
from pynq_train.hw.registers import (
    ABI_VERSION,
    BY_NAME,
    ID_VALUE,
    REGISTERS,
    ErrorSource,
    RegisterAccess,
    Status,
    decode,
    encode,
    masks,
)
from pynq_train.layers.fuse import fuse
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.schedule.lower.program import ProgramImage, build_training
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.layout import pack_maps
from sim.bfm.axi_memory import ReadMemory, WriteMemory

SEED = int(os.environ.get("PT_SEED", "1"))
BASE = 0x3_1234_5000
GUARD_BYTES = 8192
"""Bytes behind the arena: memory is there, but the engine may not touch it."""
BOARD = BOARDS["pynq-z2"]
PROFILE = encode("MODE", PROFILE=1)
CTRL = masks("CTRL")


def network(rng: random.Random) -> Graph:
    """A small network with all three passes, pooling, ReLU, a stride and a dense layer."""
    size = rng.randint(5, 6)
    return (Sequential((rng.randint(1, 4), size, size), "top")
            .conv(rng.choice((4, 7)), 3, padding=1).relu().pool()
            .conv(rng.choice((3, 6, 17)), rng.choice((2, 3)), stride=rng.choice((1, 2)), padding=1)
            .relu().dense(rng.randint(2, 6)).build())


class Program:
    """A training step of a small network: plan, program and a random arena."""

    def __init__(self, rng: random.Random, graph: Graph | None = None) -> None:
        """Everything comes from ``rng``, but perhaps the network."""
        np_rng = np.random.default_rng(rng.getrandbits(32))
        self.momentum = rng.random() < 0.5
        self.plan: Plan = make_plan(fuse(graph or network(rng)), rng.randint(1, 2), BOARD,
                                    momentum=self.momentum)
        self.image: ProgramImage = build_training(self.plan)
        memory = self.plan.memory
        arena = np_rng.integers(-32767, 32768, memory.nbytes // 2 + 1).astype(np.int16)
        self.arena = arena.view(np.uint8)[:memory.nbytes].copy()
        plan = self.plan
        x = np_rng.integers(-32767, 32768, (plan.batch, *plan.layers[0].in_shape))
        self.put("input", pack_maps(x.astype(np.int16)))
        for region in memory:
            if region.symbol.endswith(".running"):  # random words are no statistics
                self.put(region.symbol, np.zeros(region.nbytes, np.uint8))
        for spec, layer in zip(plan.specs, plan.layers):
            if f"{spec.name}.w16" not in memory:    # normalisations have none
                continue
            w = np_rng.integers(-32767, 32768, layer.weight_shape)
            self.put(f"{spec.name}.w16", spec.pack_weights(w.astype(np.int16)))
        self.put("labels", np_rng.integers(0, plan.classes, plan.batch).astype(np.int64))
        policy = ExponentPolicy.start(plan.quant_layers, plan.backward_graph,
                                      [0] * len(plan.specs))
        sgd = SgdStep(0.05, 0.9 * self.momentum, 1e-3)
        params = plan_params(plan, policy.exponents(plan.batch), sgd)
        self.put("step_block", np.frombuffer(pack_step_block(plan, params), np.uint8))
        self.put("train.program", np.frombuffer(self.image.program, np.uint8))
        self.put("train.taps", np.frombuffer(self.image.taps, np.uint8))

    def put(self, symbol: str, values: np.ndarray) -> None:
        """Write one tensor."""
        raw = np.frombuffer(values.tobytes(), np.uint8)
        region = self.plan.memory[symbol]
        assert raw.size <= region.nbytes, symbol
        self.arena[region.offset:region.offset + raw.size] = raw

    def offset(self, symbol: str) -> int:
        """Byte offset of a tensor."""
        return self.plan.memory[symbol].offset

    def expected(self, count: int | None = None) -> bytes:
        """The arena after golden has run ``count`` descriptors."""
        arena = self.arena.copy()
        machine = GoldenMachine(arena, threads=1)
        machine.run(self.offset("train.program"), self.image.count if count is None else count,
                    self.offset("step_block"))
        machine.close()
        return arena.tobytes()

    def changed(self, role: Role, values: dict[str, int]) -> bytes:
        """The program with other schedule fields in its first descriptor of a role."""
        number = next(k for k, e in enumerate(self.image.descriptors) if e.role == role)
        at = number * DESCRIPTOR_BYTES
        data = pack_descriptor({**self.image.fields[number], **values})
        return self.image.program[:at] + data + self.image.program[at + DESCRIPTOR_BYTES:]

    def where(self, offset: int) -> str:
        """Symbol at an offset, for messages."""
        return next((f"{r.symbol}+{offset - r.offset}" for r in self.plan.memory
                     if r.offset <= offset < r.end), f"offset {offset}")


class Registers:
    """The engine's registers, behind a reset."""

    def __init__(self, dut: Any) -> None:
        """Attach to the registers."""
        self.dut = dut
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn,
                                       reset_active_level=False)

    async def reset(self) -> None:
        """Reset, and check who answers."""
        self.dut.aresetn.value = 0
        for _ in range(8):
            await RisingEdge(self.dut.aclk)
        self.dut.aresetn.value = 1
        for _ in range(4):
            await RisingEdge(self.dut.aclk)
        assert await self.read("ID") == ID_VALUE and await self.read("ABI") == ABI_VERSION
        assert await self.read("HASH") == hash_word(BOARD.config)
        assert set((await self.status()).values()) == {0}

    async def read(self, name: str) -> int:
        """Read a register."""
        return int(await self.registers.read_dword(BY_NAME[name].offset))

    async def write(self, name: str, value: int) -> None:
        """Write a register."""
        await self.registers.write_dword(BY_NAME[name].offset, value)

    async def status(self) -> dict[str, int]:
        """Fields of STATUS."""
        value = await self.read("STATUS")
        return decode("STATUS", value)


class Engine(Registers):
    """The engine with its registers and four memories that share one arena."""

    def __init__(self, dut: Any, rng: random.Random, arena_bytes: int) -> None:
        """Attach everything; the engine is in reset and the clock runs."""
        super().__init__(dut)
        self.rng = rng
        self.size = arena_bytes
        self.image = bytearray(rng.randbytes(arena_bytes + GUARD_BYTES))
        self.reads, self.writes = ([kind(dut, f"m_axi{port}", dut.aclk, dut.aresetn, self.image,
                                         BASE, rng).knobs for port in range(4)]
                                   for kind in (ReadMemory, WriteMemory))
        self.knobs = [*self.reads, *self.writes]

    def stall(self, probability: float, latency_cycles: int) -> None:
        """Back-pressure of all channels of all ports."""
        for knobs in self.knobs:
            knobs.stall_request = knobs.stall_data = knobs.stall_response = probability
            knobs.latency_cycles = latency_cycles

    async def start(self, program: Program, count: int | None = None, mode: int = 0) -> None:
        """Load the arena, set the registers, start."""
        self.image[:self.size] = program.arena.tobytes()
        await self.write("ARENA_LO", BASE & 0xFFFF_FFFF)
        await self.write("ARENA_HI", BASE >> 32)
        await self.write("ARENA_BYTES", self.size)
        await self.write("PROGRAM_OFF", program.offset("train.program"))
        await self.write("STEP_OFF", program.offset("step_block"))
        await self.write("MODE", mode)
        await self.write("PROGRAM_COUNT", program.image.count if count is None else count)
        await self.write("CTRL", CTRL["START"])

    async def until(self, *names: str, limit_cycles: int = 200_000) -> dict[str, int]:
        """Poll STATUS until one of its bits is set."""
        for _ in range(limit_cycles // 50):
            status = await self.status()
            if any(status[name] for name in names):
                return status
            for _ in range(self.rng.randint(10, 60)):
                await RisingEdge(self.dut.aclk)
        raise AssertionError(f"still waiting for {names}: {status}, retired "
                             f"{await self.read('RETIRED')}")

    def compare(self, program: Program, expected: bytes, guard: bytes) -> None:
        """The whole arena, and what lies behind it."""
        assert bytes(self.image[self.size:]) == guard, "bytes behind the arena changed"
        if bytes(self.image[:self.size]) != expected:
            got = np.frombuffer(bytes(self.image[:self.size]), np.uint8)
            bad = np.flatnonzero(got != np.frombuffer(expected, np.uint8))
            raise AssertionError(f"{bad.size} bytes differ from golden, the first at "
                                 f"{program.where(int(bad[0]))}")

    def take_stamps(self, program: Program, cycles: int) -> None:
        """Check the cycle stamps of all records, and set them to zero as golden leaves them."""
        begin, last = program.offset("train.records"), dict[object, tuple[int, int]]()
        for number, descriptor in enumerate(program.image.descriptors):
            at = begin + 8 * RECORD_WORDS * number + 16
            start, end = struct.unpack_from("<2Q", self.image, at)
            role = descriptor.role
            unit = role.opcode if role == Role.SOFTMAX else (
                "update" if role in (Role.WEIGHT_GRADIENT, Role.UPDATE_BIAS) else "store")
            before = last.get(unit, (0, 0))
            if unit != "store":  # which takes a descriptor while it writes the one before
                before = before[1], before[1]
            assert before[0] < start < end < cycles and before[1] < end, (number, start, end)
            last[unit] = start, end
            struct.pack_into("<2Q", self.image, at, 0, 0)

    async def run(self, program: Program, mode: int = 0) -> None:
        """A whole run without an error, compared with golden."""
        guard = bytes(self.image[self.size:])
        await self.start(program, mode=mode)
        status = await self.until("DONE")
        assert not status["FAILED"] and not status["BUSY"], status
        assert await self.read("RETIRED") == program.image.count
        if mode & PROFILE:
            self.take_stamps(program, await self.read("CYCLES"))
        self.compare(program, program.expected(), guard)
        await self.write("CTRL", CTRL["CLEAR"])
        assert not (await self.status())["DONE"]


async def engine(dut: Any, salt: str,
                 graph: Graph | None = None) -> tuple[Engine, Program, random.Random]:
    """A random program and the engine out of reset."""
    rng = random.Random(f"{salt}{SEED}")
    program = Program(rng, graph)
    cocotb.start_soon(Clock(dut.aclk, 10, unit="ns").start())
    dut.aresetn.value = 0
    for _ in range(4):  # registers start with random contents; nobody listens before the reset
        await RisingEdge(dut.aclk)
    bench = Engine(dut, rng, program.plan.memory.nbytes)
    await bench.reset()
    return bench, program, rng


@cocotb.test()
async def training_steps(dut: Any) -> None:
    """Free, with cycle stamps, and with back-pressure everywhere: memory images equal golden's."""
    bench, program, rng = await engine(dut, "steps")
    cocotb.start_soon(watch(dut))
    stalls = rng.choice((0.2, 0.4)), rng.randint(5, 40)
    for (stall, latency), mode in (((0.0, 0), 0), ((0.0, 0), PROFILE), (stalls, 0)):
        bench.stall(stall, latency)
        await bench.run(program, mode)
    roles = {descriptor.role for descriptor in program.image.descriptors}
    # A network without branches, normalisations or pooling windows; nothing is frozen, so no bias
    # is trained alone.
    array = {role for role in Role if role.opcode not in (Opcode.VECTOR, Opcode.NORM, Opcode.POOL)}
    assert roles == array - {Role.BIAS_SUMS, Role.UPDATE_GAMMA}, "not every kind is used"


@cocotb.test()
async def normalised_step(dut: Any) -> None:
    """Vector and update unit share a port, each is done when its own writes are acknowledged."""
    graph = (Sequential((4, 6, 6), "normalised").conv(16, 3, padding=1, bias=False).norm().relu()
             .conv(6, 3, padding=1, bias=False).norm().relu().dense(4).build())
    bench, program, _ = await engine(dut, "norm", graph)
    cocotb.start_soon(watch(dut))
    bench.stall(0.2, 30)
    # Port 2 answers late: copies of weights, behind whose answers the record of port 3 stands.
    bench.writes[2].latency_cycles = 500
    await bench.run(program)


@cocotb.test()
async def step_mode(dut: Any) -> None:
    """Halts behind every descriptor; the memory then is that of golden after as many."""
    bench, program, _ = await engine(dut, "mode")
    bench.stall(0.1, 5)
    guard = bytes(bench.image[bench.size:])
    await bench.start(program, mode=1)
    for number in range(1, program.image.count + 1):
        status = await bench.until("HALTED", "FAILED")
        assert status["HALTED"] and await bench.read("RETIRED") == number
        bench.compare(program, program.expected(number), guard)
        await bench.write("CTRL", CTRL["RESUME"])
    status = await bench.until("DONE")
    assert not status["FAILED"]


@cocotb.test()
async def outside_the_arena(dut: Any) -> None:
    """A run that leaves the arena fails with its status; nothing outside is touched."""
    bench, program, _ = await engine(dut, "outside")
    bench.stall(0.1, 10)
    end = bench.size
    cases = {
        "store": (Role.FORWARD, {"yw.addr": end - 16}),
        "store far away": (Role.FORWARD, {"yw.addr": 0xFFFF_F000}),
        "load of X": (Role.FORWARD, {"x.addr": end}),
        "load of S": (Role.FORWARD, {"s.addr": end - 8}),
        "record": (Role.FORWARD, {"pre.rec_off": end}),
    }
    good = program.arena.copy()
    for name, (role, values) in cases.items():
        program.arena[:] = good
        program.put("train.program", np.frombuffer(program.changed(role, values), np.uint8))
        guard = bytes(bench.image[end:])
        await bench.start(program)
        status = await bench.until("DONE")
        assert status["FAILED"] and status["ERROR"] == Status.OUTSIDE_ARENA, (name, status)
        assert bytes(bench.image[end:]) == guard, f"{name}: bytes behind the arena changed"
        await bench.write("CTRL", CTRL["SOFT_RESET"])
        for _ in range(60):
            await RisingEdge(dut.aclk)
        status = await bench.status()
        assert not any(status.values()), (name, status)
    program.arena[:] = good
    await bench.run(program)


@cocotb.test()
async def soft_reset(dut: Any) -> None:
    """In the middle of a run: bursts are completed, and the next run is right."""
    bench, program, rng = await engine(dut, "soft")
    bench.stall(0.2, 20)
    for _ in range(3):
        await bench.start(program)
        for _ in range(rng.randint(50, 2500)):
            await RisingEdge(dut.aclk)
        await bench.write("CTRL", CTRL["SOFT_RESET"])
        for _ in range(600):
            await RisingEdge(dut.aclk)
        status = await bench.status()
        assert not any(status.values()), status
        assert all(knobs.outstanding == 0 for knobs in bench.knobs), "a burst was not completed"
    await bench.run(program)


@cocotb.test()
async def illegal_descriptor(dut: Any) -> None:
    """An unknown opcode is refused by number; what stood before it has run."""
    bench, program, _ = await engine(dut, "illegal")
    at = program.offset("train.program") + DESCRIPTOR_BYTES
    program.arena[at] = max(Opcode) + 1
    guard = bytes(bench.image[bench.size:])
    await bench.start(program)
    status = await bench.until("DONE")
    assert status["FAILED"] and status["ERROR"] == Status.ILLEGAL_DESCRIPTOR
    assert await bench.read("ERROR_INDEX") == 1 and await bench.read("RETIRED") == 1
    bench.compare(program, program.expected(1), guard)


@cocotb.test()
async def unarmed_start(dut: Any) -> None:
    """START without PROGRAM_COUNT in front of it: an error of its own, and nothing has run."""
    bench, program, rng = await engine(dut, "unarmed")
    await bench.run(program)
    image = bytes(bench.image)
    for disarm in (None, "PROGRAM_COUNT", rng.choice(("MODE", "STEP_OFF", "ARENA_HI"))):
        if disarm is not None:  # armed, and written to behind that
            await bench.write("PROGRAM_COUNT", program.image.count)
            await bench.write(disarm, 0)
        await bench.write("CTRL", CTRL["START"])
        status = await bench.until("DONE")
        assert status["FAILED"] and not status["BUSY"]
        assert status["ERROR"] == Status.NOT_ARMED and status["SOURCE"] == ErrorSource.SEQUENCER
        assert await bench.read("ERROR_INDEX") == await bench.read("RETIRED") == 0
        await bench.write("CTRL", CTRL["SOFT_RESET"])
        for _ in range(60):
            await RisingEdge(dut.aclk)
        assert not any((await bench.status()).values())
    assert bytes(bench.image) == image
    await bench.run(program)


@cocotb.test()
async def registers(dut: Any) -> None:
    """Settings are locked while a program runs; counters say what the memories have seen."""
    bench, program, rng = await engine(dut, "registers")
    bench.stall(0.1, 40)
    guard = bytes(bench.image[bench.size:])
    settings = [r.name for r in REGISTERS if r.access == RegisterAccess.READ_WRITE]
    await bench.start(program)
    kept = {name: await bench.read(name) for name in settings}
    for name in settings:
        await bench.write(name, kept[name] ^ rng.getrandbits(32) ^ 1)
    assert {name: await bench.read(name) for name in settings} == kept, "a locked setting changed"
    assert (await bench.status())["BUSY"], "the program was over before all had been written"
    assert not (await bench.until("DONE"))["FAILED"]
    bench.compare(program, program.expected(), guard)

    said = {r.name: await bench.read(r.name) for r in REGISTERS}
    assert said["CTRL"] == 0 == said["CYCLES_HI"] == said["STRAYS"] == said["ERROR_INDEX"]
    for name, ports in (("READ", bench.reads), ("WRITE", bench.writes)):
        for port, knobs in enumerate(ports):
            seen = sum(beats for _, beats in knobs.bursts)
            assert said[f"{name}_BEATS{port}"] == seen > 0, (name, port, seen)
    waits = ("STALL_X", "STALL_S", "STALL_ACC", "STALL_GAP")
    assert sum(said[name] for name in ("BUSY_CYCLES", *waits)) <= said["CYCLES"]
    assert min(said[name] for name in ("BUSY_CYCLES", "STALL_X", "STALL_S", "DRAIN_CYCLES")) > 0
    used = {r.offset for r in REGISTERS}
    free = rng.choice([at for at in range(0, 1 << 12, 4) if at not in used])
    await bench.registers.write_dword(free, rng.getrandbits(32))
    assert await bench.registers.read_dword(free) == 0
    for name in settings:
        await bench.write(name, kept[name] ^ 1)
        assert await bench.read(name) == kept[name] ^ 1, f"{name} is locked at rest"


@cocotb.test()
async def counted_strays(dut: Any) -> None:
    """Answers that nobody asked for are counted on all ports at once, and the count stays full."""
    rng = random.Random(f"strays{SEED}")
    cocotb.start_soon(Clock(dut.aclk, 10, unit="ns").start())
    for port in range(4):
        for pin in ("arready", "awready", "wready", "rvalid", "rlast", "rresp", "bvalid", "bresp"):
            getattr(dut, f"m_axi{port}_{pin}").value = 0
    pins = [getattr(dut, f"m_axi{port}_{letter}valid") for letter in "rb" for port in range(4)]
    bench = Registers(dut)
    await bench.reset()
    some = rng.sample(range(len(pins)), rng.randint(1, 7))
    seen, count = 0, 0
    for ports, cycles in ((some, rng.randint(1, 200)), (range(len(pins)), 8000),
                          (range(len(pins)), 192), (some, rng.randint(1, 200))):
        for port in ports:
            pins[port].value = 1
        await ClockCycles(dut.aclk, cycles)
        for port in ports:
            pins[port].value = 0
        seen |= sum(1 << port for port in ports)
        count = min(count + cycles * len(ports), 0xFFFF)
        assert decode("STRAYS", await bench.read("STRAYS")) == {"PORTS": seen, "COUNT": count}
    assert count == 0xFFFF
    status = await bench.status()
    assert status.pop("STRAY") and not any(status.values()), status
    await bench.write("CTRL", CTRL["SOFT_RESET"])
    await ClockCycles(dut.aclk, 60)
    assert await bench.read("STRAYS") == 0 and not any((await bench.status()).values())
