"""Common parts of the benches around pt_tb_axi: one arena, both masters, random runs."""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from sim.bfm.axi_memory import ReadMemory, WriteMemory

SEED = int(os.environ.get("PT_SEED", "1"))
BASE = 0x12_3456_7000
ARENA_BYTES = 64 * 1024
INPUTS = ("rrun_valid_i", "rdata_ready_i", "wrun_valid_i", "wdata_valid_i", "crrun_valid_i",
          "crdata_ready_i", "cwrun_valid_i", "cwdata_valid_i", "halt_i")
Run = tuple[int, int, bool]


class Bench:
    """The harness with a memory of its own behind each of its ports."""

    def __init__(self, dut: Any) -> None:
        """Start clock and memories; the arena starts with random contents."""
        self.dut = dut
        self.rng = random.Random(SEED)
        self.clock = dut.clk_i
        for name in INPUTS:
            getattr(dut, name).value = 0
        dut.base_i.value = BASE
        dut.limit_i.value = ARENA_BYTES
        dut.rst_ni.value = 0
        cocotb.start_soon(Clock(dut.clk_i, 10, unit="ns").start())
        self.image = bytearray(self.rng.randbytes(ARENA_BYTES))
        self.read: dict[str, ReadMemory] = {}
        self.write: dict[str, WriteMemory] = {}
        for prefix in ("d_axi", "c_axi"):
            args = (dut, prefix, self.clock, dut.rst_ni, self.image, BASE, self.rng)
            self.read[prefix] = ReadMemory(*args)
            self.write[prefix] = WriteMemory(*args)

    async def cycles(self, count: int) -> None:
        """Wait ``count`` clock edges."""
        for _ in range(count):
            await RisingEdge(self.clock)

    async def reset(self) -> None:
        """Reset for a few cycles."""
        self.dut.rst_ni.value = 0
        await self.cycles(5)
        self.dut.rst_ni.value = 1
        await self.cycles(2)

    async def count(self, signal: Any, into: list[int]) -> None:
        """Count the cycles in which a signal is high, in the only item of a list, for ever."""
        while True:
            await RisingEdge(self.clock)
            into[0] += int(signal.value)

    async def until(self, condition: Any, limit_cycles: int, what: str) -> int:
        """Wait for ``condition()``; return the cycles it took, fail after ``limit_cycles``."""
        for cycle in range(limit_cycles):
            if condition():
                return cycle
            await RisingEdge(self.clock)
        raise AssertionError(f"after {limit_cycles} cycles still waiting: {what}")

    def word(self, offset: int) -> int:
        """Word of the arena at a byte offset."""
        return int.from_bytes(self.image[offset:offset + 8], "little")


def arena_sizes(rng: random.Random) -> list[int]:
    """Return an arena size in bytes with each leading bit above those of ``ARENA_BYTES``."""
    return [1 << bit | 8 * rng.randrange(1 << (bit - 3)) for bit in range(17, 32)]


def random_runs(rng: random.Random, count: int, low: int = 0, high: int = ARENA_BYTES,
                disjoint: bool = False) -> list[Run]:
    """Runs of 1 to 300 words, often contiguous, the last one marked as last.

    ``disjoint`` makes all of them ascend, so that no word is touched twice; it may give fewer.
    """
    runs: list[Run] = []
    at = low
    for _ in range(count):
        words = rng.choice([1, 1, 2, 3, 5, 8, 15, 16, 17, 31, 33, rng.randint(1, 300)])
        if runs and rng.random() < 0.5:
            offset = at
        elif disjoint:
            offset = at + 8 * rng.randint(0, 20)
        else:
            offset = rng.randrange(low, high, 8)
        if offset + 8 * words > high:
            if disjoint:
                continue
            offset = high - 8 * words
        runs.append((offset, words, rng.random() < 0.1))
        at = offset + 8 * words
    offset, words, _ = runs[-1]
    runs[-1] = (offset, words, True)
    return runs


def item(run: Run) -> dict[str, int]:
    """Fields of a run for a stream source."""
    return {"off": run[0], "len": run[1], "last": int(run[2])}
