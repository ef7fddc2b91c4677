"""Cocotb bench of pt_axi_rd (direct port of pt_tb_axi)."""

from __future__ import annotations

from typing import Any

import cocotb
from axi_bench import ARENA_BYTES, BASE, Bench, Run, arena_sizes, item, random_runs

from sim.bfm.axi_memory import DECERR, OKAY, SLVERR, split_runs
from sim.bfm.streams import StreamSink, StreamSource


class Reader(Bench):
    """Bench with run driver and data sink."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.memory = self.read["d_axi"]
        self.knobs = self.memory.knobs
        self.runs = StreamSource(
            self.clock, dut.rrun_valid_i, dut.rrun_ready_o,
            {"off": dut.rrun_off_i, "len": dut.rrun_len_i, "last": dut.rrun_last_i}, self.rng)
        self.sink = StreamSink(
            self.clock, dut.rdata_valid_o, dut.rdata_ready_i, dut.rdata_o, self.rng,
            reset_n=dut.rst_ni)

    async def play(self, runs: list[Run], limit_cycles: int) -> int:
        """Read all runs, check data, bursts and leftovers; return the cycles it took."""
        self.sink.received.clear()
        self.knobs.forget()
        expected = [self.word(off + 8 * k) for off, words, _ in runs for k in range(words)]
        self.runs.items.extend(map(item, runs))
        cycles = await self.until(
            lambda: len(self.sink.received) >= len(expected), limit_cycles, "all data")
        await self.cycles(60)
        assert self.sink.received == expected
        assert self.knobs.bursts == [(BASE + off, n) for off, n in split_runs(runs)]
        assert self.knobs.outstanding == 0 and int(self.dut.ridle_o.value) == 1
        assert int(self.dut.rerr_o.value) == 0
        assert self.knobs.max_outstanding <= 8
        return cycles


@cocotb.test()
async def random_traffic(dut: Any) -> None:
    """Data, order and bursts under random stalls and latencies."""
    bench = Reader(dut)
    await bench.reset()
    for stalls, latency in ((0.0, 0), (0.0, 40), (0.3, 5), (0.7, 20)):
        bench.knobs.stall_request = bench.knobs.stall_data = stalls
        bench.knobs.latency_cycles = latency
        bench.runs.stall = bench.rng.choice([0.0, 0.5])
        bench.sink.stall = bench.rng.choice([0.0, 0.5])
        await bench.play(random_runs(bench.rng, 60), 40000)


@cocotb.test()
async def throughput(dut: Any) -> None:
    """One word per cycle: a long run, rows of 16 words, small contiguous runs; short runs apart."""
    bench = Reader(dut)
    await bench.reset()
    bench.knobs.latency_cycles = 40
    cases = {
        "one run of 4096 words": ([(0, 4096, True)], 4096 + 60),
        "128 runs of 16 words, apart": ([(256 * k, 16, True) for k in range(128)], 2048 + 70),
        "512 runs of 4 words, joined": ([(32 * k, 4, k == 511) for k in range(512)], 2048 + 70),
    }
    for name, (runs, limit) in cases.items():
        cycles = await bench.play(runs, 10000)
        dut._log.info("read, latency 40: %s in %d cycles", name, cycles)
        assert cycles <= limit, name
    bench.knobs.latency_cycles = 0
    cycles = await bench.play([(64 * k, 1, True) for k in range(200)], 10000)
    dut._log.info("read, latency 0: 200 runs of one word apart in %d cycles", cycles)
    assert cycles <= 200 * 2 + 30


@cocotb.test()
async def limits(dut: Any) -> None:
    """At most 8 bursts without data, and never more words asked for than the queue holds."""
    bench = Reader(dut)
    await bench.reset()
    bench.knobs.stall_data = 1.0
    bench.runs.items.append(item((0, 1024, True)))
    await bench.cycles(200)
    assert bench.knobs.outstanding == 8
    bench.knobs.stall_data = 0.0
    bench.sink.stall = 1.0
    await bench.cycles(600)
    assert sum(beats for _, beats in bench.knobs.bursts) in range(256, 256 + 16)
    assert bench.knobs.outstanding == 0
    bench.sink.stall = 0.0
    await bench.until(lambda: len(bench.sink.received) == 1024, 3000, "all data")
    assert bench.sink.received == [bench.word(8 * k) for k in range(1024)]


@cocotb.test()
async def errors(dut: Any) -> None:
    """Arena violation, slave and decode errors; kept until reset."""
    bench = Reader(dut)
    for run in ((ARENA_BYTES - 8, 2, True), (ARENA_BYTES, 1, True), (2**32 - 8, 1, True)):
        await bench.reset()
        bench.knobs.forget()
        bench.runs.items.extend([item(run), item((0, 5, True))])
        await bench.cycles(80)
        assert int(dut.rerr_o.value) == 1
        assert bench.knobs.bursts == [] and int(dut.ridle_o.value) == 1
    await bench.reset()
    await bench.play([(ARENA_BYTES - 64, 8, True)], 1000)
    for code, response in ((2, SLVERR), (3, DECERR)):
        await bench.reset()
        assert int(dut.rerr_o.value) == 0
        bench.knobs.response = lambda address, r=response: r if address == BASE + 80 else OKAY
        bench.runs.items.append(item((0, 16, True)))
        await bench.cycles(100)
        assert int(dut.rerr_o.value) == code
        other = SLVERR + DECERR - response  # the first error is kept
        bench.knobs.response = lambda address, r=other: r
        bench.runs.items.append(item((0, 16, True)))
        await bench.cycles(100)
        assert int(dut.rerr_o.value) == code
        bench.knobs.response = lambda address: OKAY


@cocotb.test()
async def end_of_large_arenas(dut: Any) -> None:
    """The last words of an arena of any size are read, the word behind them is refused."""
    bench = Reader(dut)
    for size in arena_sizes(bench.rng):
        dut.limit_i.value = size
        bench.memory.base = BASE + size - ARENA_BYTES  # the memory holds the end of the arena
        await bench.reset()
        bench.sink.received.clear()
        bench.runs.items.append(item((size - 64, 8, True)))
        await bench.cycles(60)
        assert bench.sink.received == [bench.word(ARENA_BYTES - 64 + 8 * k) for k in range(8)]
        assert int(dut.rerr_o.value) == 0
        bench.runs.items.append(item((size - 8, 2, True)))
        await bench.cycles(20)
        assert int(dut.rerr_o.value) == 1


@cocotb.test()
async def halt(dut: Any) -> None:
    """A halt lets outstanding bursts finish, asks for nothing new, and a reset starts afresh."""
    bench = Reader(dut)
    await bench.reset()
    for attempt in range(6):
        bench.knobs.latency_cycles = 30
        bench.knobs.stall_data = 0.3
        bench.knobs.stall_request = 0.8 if attempt % 2 else 0.0
        bench.runs.items.extend([item((0, 2000, False)), item((40000, 2000, True))])
        await bench.cycles(bench.rng.randint(5, 200))
        dut.halt_i.value = 1
        bench.runs.items.extend([item((0, 10, False))] * 3)
        await bench.cycles(3)
        bench.knobs.stall_request = 0.0
        await bench.cycles(5)
        asked = len(bench.knobs.bursts)
        await bench.until(lambda: int(dut.ridle_o.value) == 1, 2000, "idle after halt")
        assert bench.knobs.outstanding == 0 and len(bench.knobs.bursts) == asked
        await bench.cycles(100)
        assert len(bench.knobs.bursts) == asked and not bench.runs.items
        dut.halt_i.value = 0
        await bench.reset()
        bench.knobs.stall_data = 0.0
        await bench.play(random_runs(bench.rng, 5), 10000)


@cocotb.test()
async def strays(dut: Any) -> None:
    """Words that nobody asked for are dropped and counted: never data while nothing is owed."""
    bench = Reader(dut)
    await bench.reset()
    rng, found, sent = bench.rng, [0], 0
    cocotb.start_soon(bench.count(dut.rstray_o, found))
    for trial in range(8):
        # Left over from before: nothing has been asked for, or a request that is not taken.
        if trial % 2:
            bench.knobs.stall_request = 1.0
            bench.sink.received.clear()
            bench.runs.items.append(item((64, 5, True)))
            await bench.cycles(10)
            assert int(dut.d_axi_arvalid.value) and not int(dut.ridle_o.value)
        for _ in range(rng.randint(1, 20)):
            await bench.memory.stray(rng.getrandbits(64), rng.random() < 0.5)
            sent += 1
        await bench.cycles(40)
        assert found == [sent] and int(dut.rerr_o.value) == 0
        assert not int(dut.rdata_valid_o.value)
        if trial % 2:
            assert bench.sink.received == []
            bench.knobs.stall_request = 0.0
            await bench.cycles(60)
            assert bench.sink.received == [bench.word(64 + 8 * k) for k in range(5)]
        assert int(dut.ridle_o.value)
        await bench.play(random_runs(rng, 5), 10000)
    assert found == [sent]


@cocotb.test()
async def strays_in_the_place_of_words(dut: Any) -> None:
    """A stray among words that are owed: as many words as asked for, the last one is the stray."""
    bench = Reader(dut)
    found = [0]
    cocotb.start_soon(bench.count(dut.rstray_o, found))
    for last in (False, True):
        await bench.reset()
        found[0] = 0
        bench.knobs.latency_cycles = 40
        bench.sink.received.clear()
        bench.runs.items.append(item((0, 40, True)))
        await bench.cycles(20)
        assert bench.knobs.bursts and not bench.sink.received
        await bench.memory.stray(0xDEAD, last)
        await bench.cycles(300)
        assert bench.sink.received == [0xDEAD, *(bench.word(8 * k) for k in range(39))]
        assert found == [1] and int(dut.ridle_o.value), "a reset must be able to come"
        bench.knobs.latency_cycles = 0
        bench.knobs.forget()
        await bench.reset()
        bench.knobs.outstanding = 0
        await bench.play(random_runs(bench.rng, 5), 10000)
