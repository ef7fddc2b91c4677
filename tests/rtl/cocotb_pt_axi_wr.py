"""Cocotb bench of pt_axi_wr (direct port of pt_tb_axi)."""

from __future__ import annotations

from typing import Any

import cocotb
from axi_bench import ARENA_BYTES, BASE, Bench, Run, arena_sizes, item, random_runs

from sim.bfm.axi_memory import DECERR, OKAY, SLVERR, split_runs
from sim.bfm.streams import StreamSource


class Writer(Bench):
    """Bench with drivers of runs and words."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.memory = self.write["d_axi"]
        self.knobs = self.memory.knobs
        self.runs = StreamSource(
            self.clock, dut.wrun_valid_i, dut.wrun_ready_o,
            {"off": dut.wrun_off_i, "len": dut.wrun_len_i, "last": dut.wrun_last_i}, self.rng)
        self.words = StreamSource(
            self.clock, dut.wdata_valid_i, dut.wdata_ready_o, {"data": dut.wdata_i}, self.rng)

    def offer(self, runs: list[Run]) -> bytearray:
        """Queue runs with random words; return the expected arena."""
        image = bytearray(self.image)
        self.runs.items.extend(map(item, runs))
        for off, words, _ in runs:
            for k in range(words):
                data = self.rng.getrandbits(64)
                image[off + 8 * k:off + 8 * k + 8] = data.to_bytes(8, "little")
                self.words.items.append({"data": data})
        return image

    async def play(self, runs: list[Run], limit_cycles: int) -> int:
        """Write all runs, check arena and bursts when idle; return the cycles it took."""
        self.knobs.forget()
        expected = self.offer(runs)
        done = self.knobs.answered + len(split_runs(runs))
        cycles = 0
        while True:
            await self.cycles(1)
            cycles += 1
            assert cycles < limit_cycles, "still waiting for the end of the writes"
            if self.runs.sent and int(self.dut.widle_o.value) and not self.runs.items:
                break
        assert self.knobs.outstanding == 0 and self.knobs.answered == done
        assert not self.words.items
        assert self.image == expected
        assert self.knobs.bursts == [(BASE + off, n) for off, n in split_runs(runs)]
        assert int(self.dut.werr_o.value) == 0 and self.knobs.max_outstanding <= 8
        return cycles


@cocotb.test()
async def random_traffic(dut: Any) -> None:
    """Arena, order and bursts under random stalls and latencies; overlapping runs in order."""
    bench = Writer(dut)
    await bench.reset()
    for stalls, latency in ((0.0, 0), (0.0, 40), (0.3, 5), (0.7, 20)):
        bench.knobs.stall_request = bench.knobs.stall_data = stalls
        bench.knobs.stall_response = stalls
        bench.knobs.latency_cycles = latency
        bench.runs.stall = bench.rng.choice([0.0, 0.5])
        bench.words.stall = bench.rng.choice([0.0, 0.5])
        await bench.play(random_runs(bench.rng, 60), 40000)


@cocotb.test()
async def throughput(dut: Any) -> None:
    """One word per cycle: a long run, rows of 16 words, small contiguous runs; short runs apart."""
    bench = Writer(dut)
    await bench.reset()
    bench.knobs.latency_cycles = 40
    cases = {
        "one run of 4096 words": ([(0, 4096, True)], 4096 + 80),
        "128 runs of 16 words, apart": ([(256 * k, 16, True) for k in range(128)], 2048 + 80),
        "512 runs of 4 words, joined": ([(32 * k, 4, k == 511) for k in range(512)], 2048 + 80),
    }
    for name, (runs, limit) in cases.items():
        cycles = await bench.play(runs, 10000)
        dut._log.info("write, latency 40: %s in %d cycles", name, cycles)
        assert cycles <= limit, name
    bench.knobs.latency_cycles = 0
    cycles = await bench.play([(64 * k, 1, True) for k in range(200)], 10000)
    dut._log.info("write, latency 0: 200 runs of one word apart in %d cycles", cycles)
    assert cycles <= 200 * 2 + 40


@cocotb.test()
async def limits(dut: Any) -> None:
    """No burst before its last word is there; at most 8 bursts without an answer."""
    bench = Writer(dut)
    await bench.reset()
    bench.runs.items.append(item((0, 16, True)))
    bench.words.items.extend({"data": k} for k in range(15))
    await bench.cycles(100)
    assert bench.knobs.bursts == [] and int(dut.widle_o.value) == 0
    bench.words.items.append({"data": 15})
    await bench.cycles(50)
    assert bench.knobs.bursts == [(BASE, 16)] and int(dut.widle_o.value) == 1
    bench.knobs.stall_response = 1.0
    expected = bench.offer([(0, 512, True)])
    await bench.cycles(400)
    assert bench.knobs.outstanding == 8 and int(dut.widle_o.value) == 0
    bench.knobs.stall_response = 0.0
    await bench.until(lambda: int(dut.widle_o.value) == 1, 2000, "idle")
    assert bench.image == expected


@cocotb.test()
async def errors(dut: Any) -> None:
    """Arena violation, slave and decode errors; kept until reset."""
    bench = Writer(dut)
    for run in ((ARENA_BYTES - 8, 2, True), (ARENA_BYTES, 1, True), (2**32 - 8, 1, True)):
        await bench.reset()
        bench.knobs.forget()
        image = bytearray(bench.image)
        bench.runs.items.extend([item(run), item((0, 5, True))])
        bench.words.items.extend({"data": k} for k in range(run[1] + 5))
        await bench.cycles(80)
        assert int(dut.werr_o.value) == 1 and int(dut.widle_o.value) == 1
        assert bench.knobs.bursts == [] and bench.image == image
        assert not bench.runs.items and not bench.words.items
    await bench.reset()
    await bench.play([(ARENA_BYTES - 64, 8, True)], 1000)
    for code, response in ((2, SLVERR), (3, DECERR)):
        await bench.reset()
        assert int(dut.werr_o.value) == 0
        bench.knobs.response = lambda address, r=response: r if address == BASE else OKAY
        bench.offer([(0, 16, True)])
        await bench.cycles(100)
        assert int(dut.werr_o.value) == code
        other = SLVERR + DECERR - response  # the first error is kept
        bench.knobs.response = lambda address, r=other: r
        bench.offer([(0, 16, True)])
        await bench.cycles(100)
        assert int(dut.werr_o.value) == code
        bench.knobs.response = lambda address: OKAY


@cocotb.test()
async def end_of_large_arenas(dut: Any) -> None:
    """The last words of an arena of any size are written, the word behind them is refused."""
    bench = Writer(dut)
    for size in arena_sizes(bench.rng):
        dut.limit_i.value = size
        bench.memory.base = BASE + size - ARENA_BYTES  # the memory holds the end of the arena
        await bench.reset()
        data = [bench.rng.getrandbits(64) for _ in range(8)]
        bench.runs.items.append(item((size - 64, 8, True)))
        bench.words.items.extend({"data": word} for word in data)
        await bench.cycles(60)
        assert [bench.word(ARENA_BYTES - 64 + 8 * k) for k in range(8)] == data
        assert int(dut.werr_o.value) == 0
        bench.runs.items.append(item((size - 8, 2, True)))
        bench.words.items.extend({"data": k} for k in range(2))
        await bench.cycles(40)
        assert int(dut.werr_o.value) == 1


@cocotb.test()
async def halt(dut: Any) -> None:
    """A halt completes announced bursts, starts none, and a reset starts afresh."""
    bench = Writer(dut)
    await bench.reset()
    for attempt in range(6):
        bench.knobs.latency_cycles = 30
        bench.knobs.stall_data = 0.3
        bench.knobs.stall_request = 0.8 if attempt % 2 else 0.0
        bench.offer([(0, 2000, False), (40000, 2000, True)])
        if attempt == 5:  # no answers: the queue is full of words without a burst
            bench.knobs.stall_response, bench.knobs.stall_data = 1.0, 0.0
            await bench.cycles(400)
        await bench.cycles(bench.rng.randint(5, 200))
        dut.halt_i.value = 1
        bench.knobs.stall_response = 0.0
        await bench.cycles(3)
        bench.knobs.stall_request = 0.0
        await bench.cycles(5)
        asked = len(bench.knobs.bursts)
        await bench.until(lambda: int(dut.widle_o.value) == 1, 2000, "idle after halt")
        assert bench.knobs.outstanding == 0 and len(bench.knobs.bursts) == asked
        await bench.until(lambda: not bench.words.items, 5000, "words swallowed")
        assert len(bench.knobs.bursts) == asked and not bench.runs.items
        dut.halt_i.value = 0
        await bench.reset()
        bench.knobs.stall_data = 0.0
        await bench.play(random_runs(bench.rng, 5), 10000)


@cocotb.test()
async def strays(dut: Any) -> None:
    """Answers that nobody asked for are dropped and counted, and end no run."""
    bench = Writer(dut)
    await bench.reset()
    found, done, sent = [0], [0], 0
    cocotb.start_soon(bench.count(dut.wstray_o, found))
    cocotb.start_soon(bench.count(dut.wdone_o, done))
    for trial in range(8):
        # Left over from before: nothing has been written, or a burst whose words are not taken yet.
        done[0] = 0
        if trial % 2:
            bench.knobs.stall_data = 1.0
            expected = bench.offer([(64, 5, True)])
            await bench.cycles(20)
            assert bench.knobs.outstanding == 1
        for _ in range(bench.rng.randint(1, 9)):
            await bench.memory.stray()
            sent += 1
        await bench.cycles(30)
        assert found == [sent] and done == [0] and int(dut.werr_o.value) == 0
        assert int(dut.widle_o.value) == 1 - trial % 2
        if trial % 2:
            bench.knobs.stall_data = 0.0
            await bench.cycles(40)
            assert bench.image == expected and done == [1]
        assert int(dut.widle_o.value)
        await bench.play(random_runs(bench.rng, 5), 10000)
    assert found == [sent]


@cocotb.test()
async def strays_in_the_place_of_answers(dut: Any) -> None:
    """A stray among answers that are owed: the last one is the stray, and nothing stays open."""
    bench = Writer(dut)
    await bench.reset()
    found = [0]
    cocotb.start_soon(bench.count(dut.wstray_o, found))
    bench.knobs.latency_cycles = 40
    expected = bench.offer([(0, 40, True)])
    await bench.cycles(70)
    assert bench.knobs.outstanding
    await bench.memory.stray()
    await bench.cycles(200)
    assert found == [1] and int(dut.widle_o.value) and bench.image == expected
    await bench.play(random_runs(bench.rng, 5), 10000)
