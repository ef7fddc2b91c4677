"""Clocked models of the memory clients and the configuration bus, for benches of single units."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Mapping
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

Memory = dict[int, int]
"""64-bit words by byte offset."""


def at_most(usual: int) -> int:
    """How many random cases a test runs: ``usual``, or ``PT_CASES`` of the environment."""
    return int(os.environ.get("PT_CASES", usual))


class Client:
    """Common to both kinds: the bench and how often this client stalls."""

    def __init__(self, bench: Bench) -> None:
        """``stall`` may be set to differ from the bench's."""
        self.bench = bench
        self.stall: float | None = None

    def go(self) -> bool:
        """Random: this client does not stall in this cycle."""
        stall = self.bench.stall if self.stall is None else self.stall
        return stall == 0.0 or self.bench.rng.random() >= stall


class ReadClient(Client):
    """Answers runs of one read client in order, with a latency and random stalls."""

    def __init__(self, bench: Bench, prefix: str = "") -> None:
        """Bind the signals ``<prefix>run_*`` and ``<prefix>data_*``."""
        super().__init__(bench)
        names = ("run_valid_o", "run_ready_i", "run_off_o", "run_len_o", "data_valid_i",
                 "data_ready_o", "data_i")
        self.sig = {name: getattr(bench.dut, prefix + name) for name in names}
        self.words: deque[tuple[int, int]] = deque()
        self.offering = False
        self.runs: list[tuple[int, int]] = []

    def drive(self) -> None:
        """Choose the inputs of the coming clock edge."""
        bench = self.bench
        self.sig["run_ready_i"].value = int(self.go())
        if not self.offering and self.words and self.words[0][0] <= bench.cycle:
            self.offering = self.go()
        self.sig["data_valid_i"].value = int(self.offering)
        self.sig["data_i"].value = (
            bench.memory.get(self.words[0][1], 0) if self.offering
            else bench.rng.getrandbits(64)
        )

    def sample(self) -> None:
        """Note what happens at the coming clock edge."""
        sig = self.sig
        if self.offering and int(sig["data_ready_o"].value):
            self.words.popleft()
            self.offering = False
        if int(sig["run_valid_o"].value) and int(sig["run_ready_i"].value):
            off, length = int(sig["run_off_o"].value), int(sig["run_len_o"].value)
            assert length >= 1 and off % 8 == 0, f"run of {length} words at {off}"
            self.runs.append((off, length))
            at = self.bench.cycle + self.bench.latency
            self.words.extend((at, (off + 8 * k) & 0xFFFFFFFF) for k in range(length))


class WriteClient(Client):
    """Takes runs and their words of one write client; acknowledges late."""

    def __init__(self, bench: Bench, prefix: str = "", run_prefix: str | None = None) -> None:
        """Bind the signals ``<run_prefix>run_*``, ``<prefix>wdata_*`` and ``<prefix>wr_idle_i``."""
        super().__init__(bench)
        run_prefix = prefix if run_prefix is None else run_prefix
        dut = bench.dut
        self.run_valid = getattr(dut, f"{run_prefix}run_valid_o")
        self.run_ready = getattr(dut, f"{run_prefix}run_ready_i")
        self.run_off = getattr(dut, f"{run_prefix}run_off_o")
        self.run_len = getattr(dut, f"{run_prefix}run_len_o")
        self.valid = getattr(dut, f"{prefix}wdata_valid_o")
        self.ready = getattr(dut, f"{prefix}wdata_ready_i")
        self.data = getattr(dut, f"{prefix}wdata_o")
        self.idle = getattr(dut, f"{prefix}wr_idle_i")
        self.slots: deque[int] = deque()
        self.acks: deque[tuple[int, int, int]] = deque()

    def drive(self) -> None:
        """Choose the inputs of the coming clock edge."""
        bench = self.bench
        while self.acks and self.acks[0][0] <= bench.cycle:
            _, off, word = self.acks.popleft()
            bench.memory[off] = word
        self.run_ready.value = int(self.go())
        self.ready.value = int(bool(self.slots) and self.go())
        self.idle.value = int(not self.slots and not self.acks)

    def sample(self) -> None:
        """Note what happens at the coming clock edge."""
        if int(self.valid.value) and int(self.ready.value):
            at = self.bench.cycle + self.bench.latency
            self.acks.append((at, self.slots.popleft(), int(self.data.value)))
        if int(self.run_valid.value) and int(self.run_ready.value):
            off, length = int(self.run_off.value), int(self.run_len.value)
            assert length >= 1 and off % 8 == 0, f"run of {length} words at {off}"
            if off == self.bench.record_off or off in self.bench.record_offs:
                assert self.bench.writes_idle(), "record before the other writes are complete"
            self.slots.extend((off + 8 * k) & 0xFFFFFFFF for k in range(length))


class Bench:
    """Clock, reset, memory and clients of one unit; ``tick`` is one cycle."""

    def __init__(self, dut: Any, rng: random.Random) -> None:
        """Keep the design; the clients are added by the test."""
        self.dut, self.rng = dut, rng
        self.memory: Memory = {}
        self.clients: list[ReadClient | WriteClient] = []
        self.cycle = 0
        self.stall = 0.0
        self.latency = 20
        self.record_off = -1
        self.record_offs: set[int] = set()

    def writes_idle(self) -> bool:
        """Everything that was handed over is in memory."""
        return all(not c.slots and not c.acks for c in self.clients if isinstance(c, WriteClient))

    def go(self) -> bool:
        """Random: no stall in this cycle."""
        return self.stall == 0.0 or self.rng.random() >= self.stall

    async def start(self, idle_inputs: Mapping[str, int]) -> None:
        """Start the clock and reset the design."""
        for name, value in idle_inputs.items():
            getattr(self.dut, name).value = value
        self.dut.rst_ni.value = 0
        Clock(self.dut.clk_i, 10, "ns").start()
        for _ in range(4):
            await self.tick()
        await FallingEdge(self.dut.clk_i)
        self.dut.rst_ni.value = 1

    async def tick(self, **inputs: int) -> None:
        """One clock cycle with ``inputs`` set; returns when outputs can be read."""
        await FallingEdge(self.dut.clk_i)
        self.cycle += 1
        for client in self.clients:
            client.drive()
        for name, value in inputs.items():
            getattr(self.dut, name).value = value
        await ReadOnly()
        if int(self.dut.rst_ni.value):
            for client in self.clients:
                client.sample()

    async def configure(self, words: list[tuple[int, int]]) -> None:
        """Send configuration words once the unit requests them."""
        while True:
            await self.tick()
            if int(self.dut.cfg_req_o.value):
                break
        for k, (index, word) in enumerate(words):
            await self.tick(cfg_valid_i=1, cfg_idx_i=index, cfg_data_i=word,
                            cfg_last_i=int(k == len(words) - 1))
            if k >= 1:
                assert not int(self.dut.cfg_req_o.value), "cfg_req_o stays high"
            if not self.go():
                await self.tick(cfg_valid_i=0)
        await self.tick(cfg_valid_i=0, cfg_last_i=0)

    async def wait_done(self, limit: int) -> int:
        """Run until done_o; returns the cycles."""
        for cycles in range(limit):
            await self.tick()
            if int(self.dut.done_o.value):
                assert self.writes_idle(), "done_o before the writes are complete"
                return cycles
        raise AssertionError(f"no done_o within {limit} cycles")
