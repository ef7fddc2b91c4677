"""Cocotb bench of pt_wr_arb and pt_wr_idle, pt_axi_wr behind them (client port of pt_tb_axi)."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
from axi_bench import ARENA_BYTES, BASE, Bench, Run, arena_sizes, random_runs
from cocotb.triggers import RisingEdge

from sim.bfm.axi_memory import split_runs

CLIENTS = 3
SHARE_BYTES = ARENA_BYTES // 4
ALL_IDLE = 2**CLIENTS - 1


class Clients(Bench):
    """Three clients, each with a share of the arena of its own."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.knobs = self.write["c_axi"].knobs
        self.runs: list[list[Run]] = [[], [], []]
        self.words: list[deque[int]] = [deque(), deque(), deque()]
        self.granted: list[int] = []
        self.open: deque[list[int]] = deque()   # client, bursts without an answer; one per run
        self.exact = True                       # clients are idle exactly when their runs are over
        self.alone = 0                          # cycles in which some are idle and others are not
        self.run_stall = self.data_stall = 0.0
        cocotb.start_soon(self._drive())

    @property
    def idle(self) -> int:
        """Idle clients, one bit each."""
        return int(self.dut.cwidle_o.value)

    def forget(self) -> None:
        """Nothing is offered or under way: in reset."""
        for queue in (*self.runs, *self.words, self.open):
            queue.clear()

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
        while True:
            await RisingEdge(self.clock)
            if not int(dut.rst_ni.value):
                run_valid = data_valid = 0
                dut.cwrun_valid_i.value, dut.cwdata_valid_i.value = 0, 0
                continue
            if self.exact:
                busy = {client for client, _ in self.open}
                expected = sum(1 << c for c in range(CLIENTS) if c not in busy)
                assert self.idle == expected, f"idle {self.idle:03b}, expected {expected:03b}"
                self.alone += expected not in (0, ALL_IDLE)
            if int(dut.c_axi_bvalid.value) and self.open:
                self.open[0][1] -= 1
                if not self.open[0][1]:
                    self.open.popleft()
            taken = run_valid & int(dut.cwrun_ready_o.value)
            moved = data_valid & int(dut.cwdata_ready_o.value)
            for c in range(CLIENTS):
                if taken >> c & 1:
                    off, words, _ = self.runs[c].pop(0)
                    self.granted.append(c)
                    self.open.append([c, len(split_runs([(off, words, True)]))])
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
            lambda: not any(self.runs) and self.idle == ALL_IDLE,
            limit_cycles, "end of the writes")


@cocotb.test()
async def random_traffic(dut: Any) -> None:
    """Every word lands where its client wants it, and each is idle exactly when all of its are."""
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
    assert bench.alone > 0


@cocotb.test()
async def idle_beside_others(dut: Any) -> None:
    """A client is idle soon after its last word, however long the others go on."""
    bench = Clients(dut)
    await bench.reset()
    bench.knobs.latency_cycles = 40
    expected = bytearray(bench.image)
    bench.offer(1, [(SHARE_BYTES + 256 * k, 16, True) for k in range(60)], expected)
    bench.offer(2, [(SHARE_BYTES * 2, 16, True)], expected)
    await bench.until(lambda: bench.granted.count(2) == 1, 1000, "the short client's run")
    await bench.cycles(1)
    assert bench.idle == 0b001
    # Before its words stand those of runs that wait: a queue, two runs on their way.
    cycles = await bench.until(lambda: bench.idle == 0b101, 1000, "the short client's end")
    assert cycles < 64 + 4 * 16 + 40 + 30 and bench.runs[1]
    await bench.finish(5000)
    assert bench.image == expected


@cocotb.test()
async def stopped(dut: Any) -> None:
    """After a halt, or a run outside the arena, clients are idle when all is swallowed."""
    bench = Clients(dut)
    for attempt in range(6):
        bench.forget()
        await bench.reset()
        bench.exact = True
        bench.knobs.latency_cycles = 30
        bench.knobs.stall_response = 0.5
        for c in range(CLIENTS):
            runs = [(SHARE_BYTES * c + 512 * k, bench.rng.randint(1, 40), True) for k in range(20)]
            if attempt % 2 and c == 1:
                bench.exact = False
                runs[attempt] = (ARENA_BYTES - 8, 2, True)
            bench.offer(c, runs, bytearray(2 * ARENA_BYTES))
        await bench.cycles(bench.rng.randint(5, 300))
        if not attempt % 2:
            bench.exact = False
            dut.halt_i.value = 1
        bench.knobs.stall_response = 0.0
        await bench.until(lambda: not any(bench.words) and bench.idle == ALL_IDLE, 5000,
                          "all swallowed and idle")
        assert bench.knobs.outstanding == 0
        bench.offer(0, [(0, 3, True)], bytearray(ARENA_BYTES))
        await bench.until(lambda: bench.idle == 0b110, 50, "the next run")
        await bench.until(lambda: not any(bench.words) and bench.idle == ALL_IDLE, 50,
                          "its end")
        dut.halt_i.value = 0
    bench.forget()
    await bench.reset()
    bench.exact = True
    expected = bytearray(bench.image)
    bench.offer(0, random_runs(bench.rng, 10, 0, SHARE_BYTES), expected)
    await bench.cycles(2)
    await bench.finish(5000)
    assert bench.image == expected


@cocotb.test()
async def end_of_large_arenas(dut: Any) -> None:
    """Every client writes the last words of an arena of any size."""
    bench = Clients(dut)
    memory = bench.write["c_axi"]
    for number, size in enumerate(arena_sizes(bench.rng)):
        dut.limit_i.value = size
        memory.base = BASE + size - ARENA_BYTES  # the memory holds the end of the arena
        bench.forget()
        await bench.reset()
        data = [bench.rng.getrandbits(64) for _ in range(8)]
        client = number % CLIENTS
        bench.runs[client].append((size - 64, 8, True))
        bench.words[client].extend(data)
        await bench.cycles(2)
        await bench.finish(500)
        assert [bench.word(ARENA_BYTES - 64 + 8 * k) for k in range(8)] == data


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
