"""Cocotb bench of pt_rd_arb with pt_axi_rd behind it (client port of pt_tb_axi)."""

from __future__ import annotations

from typing import Any

import cocotb
from axi_bench import ARENA_BYTES, BASE, Bench, Run, arena_sizes, random_runs
from cocotb.triggers import RisingEdge

CLIENTS = 3


class Clients(Bench):
    """Three clients, driven and watched cycle by cycle."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.knobs = self.read["c_axi"].knobs
        self.runs: list[list[Run]] = [[], [], []]
        self.received: list[list[int]] = [[], [], []]
        self.granted: list[int] = []
        self.run_stall = self.data_stall = 0.0
        cocotb.start_soon(self._drive())

    async def _drive(self) -> None:
        dut, rng = self.dut, self.rng
        valid = ready = 0
        while True:
            await RisingEdge(self.clock)
            taken = valid & int(dut.crrun_ready_o.value)
            arrived = int(dut.crdata_valid_o.value) if int(dut.rst_ni.value) else 0
            assert arrived & (arrived - 1) == 0, "data for two clients"
            for c in range(CLIENTS):
                if taken >> c & 1:
                    self.runs[c].pop(0)
                    self.granted.append(c)
                    valid &= ~(1 << c)
                if arrived & ready & 1 << c:
                    self.received[c].append(int(dut.crdata_o.value))
            assert taken & (taken - 1) == 0, "two runs granted"
            off = length = ready = 0
            for c in range(CLIENTS):
                if self.runs[c] and (valid >> c & 1 or rng.random() >= self.run_stall):
                    valid |= 1 << c
                    off |= self.runs[c][0][0] << 32 * c
                    length |= self.runs[c][0][1] << 16 * c
                if rng.random() >= self.data_stall:
                    ready |= 1 << c
            dut.crrun_valid_i.value, dut.crdata_ready_i.value = valid, ready
            dut.crrun_off_i.value, dut.crrun_len_i.value = off, length


@cocotb.test()
async def random_traffic(dut: Any) -> None:
    """Every client gets its own words in order under random stalls; nothing is left over."""
    bench = Clients(dut)
    await bench.reset()
    for stalls, latency in ((0.0, 0), (0.0, 40), (0.4, 10), (0.8, 20)):
        bench.knobs.stall_request = bench.knobs.stall_data = stalls / 2
        bench.knobs.latency_cycles = latency
        bench.run_stall, bench.data_stall = stalls, stalls
        expected = []
        for c in range(CLIENTS):
            runs = random_runs(bench.rng, 25)
            bench.runs[c] = runs
            bench.received[c] = []
            expected.append([bench.word(o + 8 * k) for o, n, _ in runs for k in range(n)])
        total = sum(map(len, expected))
        await bench.until(lambda n=total: sum(map(len, bench.received)) >= n, 60000, "all data")
        await bench.cycles(60)
        assert bench.received == expected
        assert bench.knobs.outstanding == 0


@cocotb.test()
async def end_of_large_arenas(dut: Any) -> None:
    """Every client reads the last words of an arena of any size."""
    bench = Clients(dut)
    memory = bench.read["c_axi"]
    for number, size in enumerate(arena_sizes(bench.rng)):
        dut.limit_i.value = size
        memory.base = BASE + size - ARENA_BYTES  # the memory holds the end of the arena
        await bench.reset()
        client = number % CLIENTS
        bench.received[client] = []
        bench.runs[client] = [(size - 64, 8, True)]
        await bench.cycles(80)
        assert bench.received[client] == [bench.word(ARENA_BYTES - 64 + 8 * k) for k in range(8)]


@cocotb.test()
async def fair_and_fast(dut: Any) -> None:
    """Clients that always ask are served in turn, at one word per cycle together."""
    bench = Clients(dut)
    await bench.reset()
    bench.knobs.latency_cycles = 40
    await bench.cycles(5)
    for c in range(CLIENTS):
        bench.runs[c] = [(16384 * c + 256 * k, 16, True) for k in range(40)]
    cycles = await bench.until(
        lambda: sum(map(len, bench.received)) == 40 * 16 * CLIENTS, 5000, "all data")
    dut._log.info("three readers, latency 40: 120 runs of 16 words in %d cycles", cycles)
    assert cycles <= 1920 + 70
    turns = bench.granted
    assert all(turns[k:k + 3] == turns[:3] for k in range(0, len(turns), 3))
    assert sorted(turns[:3]) == [0, 1, 2]
    # One client alone is not slowed down by the others' turns.
    bench.received[1].clear()
    bench.runs[1] = [(128 * k, 16, True) for k in range(64)]
    cycles = await bench.until(lambda: len(bench.received[1]) == 1024, 5000, "all data")
    dut._log.info("one of three readers: 64 runs of 16 words in %d cycles", cycles)
    assert cycles <= 1024 + 70
