"""Cocotb bench of pt_wr_arb with pt_axi_wr behind it (client port of pt_tb_axi)."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
from axi_bench import ARENA_BYTES, Bench, Run, random_runs
from cocotb.triggers import RisingEdge

CLIENTS = 3
SHARE_BYTES = ARENA_BYTES // 4


class Clients(Bench):
    """Three clients, each with a share of the arena of its own."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.knobs = self.write["c_axi"].knobs
        self.runs: list[list[Run]] = [[], [], []]
        self.words: list[deque[int]] = [deque(), deque(), deque()]
        self.granted: list[int] = []
        self.run_stall = self.data_stall = 0.0
        self.taken_last = False
        cocotb.start_soon(self._drive())

    def offer(self, client: int, runs: list[Run], image: bytearray) -> None:
        """Queue runs with random words and note them in the expected image."""
        self.runs[client].extend(runs)
        for off, words, _ in runs:
            for k in range(words):
                data = self.rng.getrandbits(64)
                image[off + 8 * k:off + 8 * k + 8] = data.to_bytes(8, "little")
                self.words[client].append(data)

    async def _drive(self) -> None:
        dut, rng = self.dut, self.rng
        run_valid = data_valid = 0
        taken_before = 0
        while True:
            await RisingEdge(self.clock)
            if taken_before:
                assert int(dut.cwidle_o.value) == 0, "idle right after a run was accepted"
            taken_before = taken = run_valid & int(dut.cwrun_ready_o.value)
            moved = data_valid & int(dut.cwdata_ready_o.value)
            for c in range(CLIENTS):
                if taken >> c & 1:
                    self.runs[c].pop(0)
                    self.granted.append(c)
                if moved >> c & 1:
                    self.words[c].popleft()
            run_valid &= ~taken
            data_valid &= ~moved
            off = length = data = 0
            for c in range(CLIENTS):
                if self.runs[c] and (run_valid >> c & 1 or rng.random() >= self.run_stall):
                    run_valid |= 1 << c
                    off |= self.runs[c][0][0] << 32 * c
                    length |= self.runs[c][0][1] << 16 * c
                if self.words[c] and (data_valid >> c & 1 or rng.random() >= self.data_stall):
                    data_valid |= 1 << c
                    data |= self.words[c][0] << 64 * c
            dut.cwrun_valid_i.value, dut.cwdata_valid_i.value = run_valid, data_valid
            dut.cwrun_off_i.value, dut.cwrun_len_i.value = off, length
            dut.cwdata_i.value = data

    async def finish(self, limit_cycles: int) -> int:
        """Wait until every run is granted and everything is acknowledged."""
        return await self.until(
            lambda: not any(self.runs) and int(self.dut.cwidle_o.value) == 1,
            limit_cycles, "end of the writes")


@cocotb.test()
async def random_traffic(dut: Any) -> None:
    """Every word lands where its client wants it, under random stalls; nothing is left over."""
    bench = Clients(dut)
    await bench.reset()
    for stalls, latency in ((0.0, 0), (0.0, 40), (0.4, 10), (0.8, 20)):
        bench.knobs.stall_request = bench.knobs.stall_data = stalls / 2
        bench.knobs.stall_response = stalls
        bench.knobs.latency_cycles = latency
        bench.run_stall, bench.data_stall = stalls, stalls
        expected = bytearray(bench.image)
        for c in range(CLIENTS):
            low = SHARE_BYTES * c
            bench.offer(c, random_runs(bench.rng, 25, low, low + SHARE_BYTES), expected)
        await bench.cycles(3)
        await bench.finish(60000)
        assert bench.knobs.outstanding == 0
        assert not any(bench.words)
        assert bench.image == expected


@cocotb.test()
async def fair_and_fast(dut: Any) -> None:
    """Clients that always ask are served in turn, at one word per cycle together."""
    bench = Clients(dut)
    await bench.reset()
    bench.knobs.latency_cycles = 40
    expected = bytearray(bench.image)
    for c in range(CLIENTS):
        runs = [(SHARE_BYTES * c + 256 * k, 16, True) for k in range(40)]
        bench.offer(c, runs, expected)
    await bench.cycles(2)
    cycles = await bench.finish(5000)
    dut._log.info("three writers, latency 40: 120 runs of 16 words in %d cycles", cycles)
    assert cycles <= 1920 + 90
    assert bench.image == expected
    turns = bench.granted
    assert all(turns[k:k + 3] == turns[:3] for k in range(0, len(turns), 3))
    assert sorted(turns[:3]) == [0, 1, 2]
