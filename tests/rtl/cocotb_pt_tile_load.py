"""Cocotb bench of pt_tile_load: random descriptors and stalls against the model."""

from __future__ import annotations

import itertools
import os
import random
import struct
from collections import deque
from dataclasses import dataclass
from typing import Any

import cocotb
from addr_gen_model import Loaded, load, random_addr_gen
from client_model import at_most
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from pynq_train.hw.commands import (
    SECTION_OF_UNIT,
    SECTIONS,
    TAP_INDEX,
    Opcode,
    Unit,
    pack_descriptor,
    pack_params,
    pack_tap,
    pair,
)

KIND = int(os.environ.get("PT_KIND", "0"))
CLAIM_AHEAD = int(os.environ.get("PT_CLAIM_AHEAD", "0"))
SECTION = "xs"[KIND]
LATENCY_CYCLES = 30
M64 = (1 << 64) - 1


def word_at(offset: int) -> int:
    """Contents of the arena: a mixed-up function of the byte offset."""
    x = (offset & 0xFFFFFFFF) * 0x9E3779B97F4A7C15 & M64
    x = (x ^ x >> 29) * 0xBF58476D1CE4E5B9 & M64
    return x ^ x >> 32


@dataclass
class Done:
    """What a descriptor did up to its ``done_o``; reads come earlier than that."""

    cycle: int
    elements: list[tuple[int, int, bool]]
    gaps: list[int]
    sums: list[tuple[int, list[int]]]
    first: int
    last: int
    """Cycles of the first and the last element."""


class Bench:
    """Clocked model of everything around the loader."""

    def __init__(self, dut: Any, rng: random.Random) -> None:
        """Keep the design and the random source."""
        self.dut, self.rng = dut, rng
        self.cycle = 0
        self.stall = 0.0
        self.pending: deque[tuple[int, int]] = deque()
        self.reads: list[int] = []
        self.elements: list[tuple[int, int, bool]] = []
        self.gaps: list[int] = []
        self.sums: list[tuple[int, list[int]]] = []
        self.words: list[int] = []
        self.runs: deque[tuple[int, int]] = deque()
        self.wr_busy_until = 0
        self.wr_open = 0
        self.span = (0, 0)
        self.occupied = 0
        self.filled = 0
        self.slot = 0
        self.run_count = 0
        self.shown = False
        self.configs: deque[list[tuple[int, int]]] = deque()
        self.sending: list[tuple[int, int]] = []
        self.configured_at = 0
        self.done: deque[Done] = deque()

    def chance(self) -> bool:
        """Whether an interface is ready in this cycle."""
        return self.rng.random() >= self.stall

    async def reset(self) -> None:
        """Start the clock and reset."""
        d = self.dut
        Clock(d.clk_i, 10, "ns").start()
        for name in ("cfg_valid_i", "cfg_idx_i", "cfg_data_i", "cfg_last_i", "run_ready_i",
                     "data_valid_i", "data_i", "slot_free_i", "s_space_i", "wrun_ready_i",
                     "wdata_ready_i", "wr_idle_i", "rst_ni"):
            getattr(d, name).value = 0
        for _ in range(3):
            await RisingEdge(d.clk_i)
        d.rst_ni.value = 1

    async def tick(self) -> None:
        """One cycle: drive after the edge, look at the falling edge."""
        d = self.dut
        await Timer(1, "ns")
        if not self.sending and self.configs and d.cfg_req_o.value:
            self.sending = self.configs.popleft()
        send = bool(self.sending) and self.chance()
        d.cfg_valid_i.value = int(send)
        if send:
            d.cfg_idx_i.value, d.cfg_data_i.value = self.sending.pop(0)
            d.cfg_last_i.value = int(not self.sending)
            self.configured_at = self.cycle
        run_ready = self.chance()
        d.run_ready_i.value = int(run_ready)
        ready = bool(self.pending) and self.pending[0][0] <= self.cycle
        data_valid = ready and (self.shown or self.chance())
        self.shown = data_valid
        d.data_valid_i.value = int(data_valid)
        d.data_i.value = word_at(self.pending[0][1]) if data_valid else self.rng.getrandbits(64)
        space = self.chance()
        idle = self.cycle >= self.wr_busy_until and not self.wr_open and not self.runs
        if KIND == 1:
            d.s_space_i.value = int(space)
            wrun_ready, wdata_ready = self.chance(), self.chance() and bool(self.runs)
            d.wrun_ready_i.value, d.wdata_ready_i.value = int(wrun_ready), int(wdata_ready)
            d.wr_idle_i.value = int(idle)
        else:
            d.slot_free_i.value = int(self.occupied < 2)
            if self.filled and self.rng.random() < (0.02 if self.stall else 0.5):
                self.filled -= 1
                self.occupied -= 1
        await FallingEdge(d.clk_i)
        if run_ready and d.run_valid_o.value:
            off, length = int(d.run_off_o.value), int(d.run_len_o.value)
            assert length >= 1
            self.run_count += 1
            self.reads += [(off + 8 * k) & 0xFFFFFFFF for k in range(length)]
            self.pending.extend((self.cycle + LATENCY_CYCLES, off + 8 * k) for k in range(length))
        if data_valid and d.data_ready_o.value:
            self.pending.popleft()
            self.shown = False
        if KIND == 0:
            self._look_x(d)
        else:
            self._look_s(d, space, idle, wrun_ready, wdata_ready)
        if d.done_o.value:
            self.done.append(Done(self.cycle, self.elements, self.gaps, self.sums, *self.span))
            self.elements, self.gaps, self.sums = [], [], []
        self.cycle += 1
        await RisingEdge(d.clk_i)

    def _element(self, element: tuple[int, int, bool]) -> None:
        self.span = (self.span[0] if self.elements else self.cycle, self.cycle)
        self.elements.append(element)

    def _look_x(self, d: Any) -> None:
        assert not d.s_we_o.value and not d.wrun_valid_o.value
        if d.tile_done_o.value:
            position, word, _ = self.elements[-1]
            self.elements[-1] = (position, word, True)
            self.filled += 1
            self.slot ^= 1
            if not CLAIM_AHEAD:
                self.occupied += 1
        if CLAIM_AHEAD and d.tile_take_o.value:
            self.occupied += 1
        assert self.occupied <= 2
        if d.x_we_o.value:
            free = self.occupied > self.filled if CLAIM_AHEAD else self.occupied < 2
            assert free, "write to a taken slot"
            assert int(d.x_slot_o.value) == self.slot
            position = 3 * int(d.x_addr_o.value) + int(d.x_bank_o.value)
            self._element((position, int(d.x_data_o.value), False))

    def _look_s(self, d: Any, space: bool, idle: bool, wrun_ready: bool,
                wdata_ready: bool) -> None:
        if d.s_we_o.value:
            assert space
            self._element((0, int(d.s_data_o.value), False))
            self.gaps.append(int(d.s_skip_o.value))
        else:
            assert int(d.s_skip_o.value) == 0
        if d.done_o.value:
            assert idle and not self.runs
        if wdata_ready and d.wdata_valid_o.value:
            self.words.append(int(d.wdata_o.value))
            if len(self.words) == self.runs[0][1]:
                signed = [w - (1 << 64) if w >> 63 else w for w in self.words]
                self.sums.append((self.runs.popleft()[0], signed))
                self.words = []
                self.wr_busy_until = self.cycle + self.rng.randint(1, 40)
        if wrun_ready and d.wrun_valid_o.value:
            self.runs.append((int(d.wrun_off_o.value), int(d.wrun_len_o.value)))

    def configure(self, values: dict[str, int], woff: list[int]) -> None:
        """Queue a descriptor: it is sent when the loader asks."""
        words = struct.unpack("<128Q", pack_descriptor(values))
        section = SECTIONS[SECTION_OF_UNIT[Unit.S if KIND else Unit.X][0]]
        stream = [(i, words[i]) for i in range(SECTIONS["pre"].words)]
        stream += [(i, words[i]) for i in range(section.first, section.first + section.words)]
        param = struct.unpack("<2Q", pack_params(Opcode.CONV, {"shift": 3}))
        stream += [(128 + i, w) for i, w in enumerate(param)]
        if KIND:
            stream += [(TAP_INDEX + k, struct.unpack("<Q", pack_tap(
                {"woff": w, "voff": 77, "abase": 5}))[0]) for k, w in enumerate(woff)]
        self.configs.append(stream)

    async def next_done(self, limit: int) -> Done:
        """Run until the next descriptor is done."""
        begin = self.cycle
        while not self.done:
            await self.tick()
            assert self.cycle - begin < limit, "hangs"
        return self.done.popleft()


def check(bench: Bench, done: Done, expected: Loaded, what: str) -> None:
    """Compare everything that a descriptor did."""
    reads = [offset & 0xFFFFFFFF for offset in expected.reads]
    assert bench.reads[:len(reads)] == reads, f"{what}: reads"
    del bench.reads[:len(reads)]
    if KIND:
        assert [e[1] for e in done.elements] == [e[1] for e in expected.elements], what
        assert done.gaps == expected.gaps, f"{what}: gaps"
        assert done.sums == expected.sums, f"{what}: sums"
    else:
        assert done.elements == expected.elements, what


@cocotb.test()
async def random_descriptors(dut: Any) -> None:
    """Random descriptors, up to five configured as early as the loader asks, random stalls."""
    rng = random.Random(int(os.environ.get("PT_SEED", "1")) + KIND)
    bench = Bench(dut, rng)
    await bench.reset()
    ring = number = 0
    while number < at_most(120):
        group = []
        for _ in range(rng.choice((1, 2, 5))):
            values = random_addr_gen(rng, SECTION, rng.choice((30, 1500)))
            woff = [rng.randrange(1 << 12) for _ in range(16)]
            expected = load(values, SECTION, woff, word_at, ring)
            ring += len(expected.gaps) + sum(expected.gaps)
            bench.configure(values, woff)
            group.append((values, expected))
        for values, expected in group:
            bench.stall = rng.choice([0.0, 0.1, 0.5, 0.8])
            done = await bench.next_done(20000)
            check(bench, done, expected, f"descriptor {number}: {values}")
            number += 1
        assert not bench.pending and not bench.reads, "leftover words"
    for _ in range(50):
        await bench.tick()
    assert not bench.elements and not bench.done and not bench.reads


def plain(n: list[int], t: list[int], pitch_words: int, mode: int = 0,
          flag_pitch_words: int = 0) -> dict[str, int]:
    """A regular descriptor: rows of ``n[0]`` words at a fixed pitch, all valid."""
    v: dict[str, int] = {"pre.opcode": Opcode.CONV, f"{SECTION}.mode": mode,
                         f"{SECTION}.faddr": 1 << 20}
    for i in range(4):
        v.update({f"{SECTION}.n{i}": n[i], f"{SECTION}.lim{i}": n[i], f"{SECTION}.pos{i}": pair(1)})
    for i in range(3):
        v[f"{SECTION}.drow{i}"] = 8 * pitch_words
        v[f"{SECTION}.fdrow{i}"] = 8 * flag_pitch_words
    for i in range(5):
        v[f"pre.t{i}"] = t[i]
        v[f"{SECTION}.daddr{i}"] = 8 * pitch_words * n[1]
    return v


@cocotb.test()
async def throughput(dut: Any) -> None:
    """Nearly one word per cycle without stalls, also for short rows and small tiles."""
    rng = random.Random(5)
    bench = Bench(dut, rng)
    await bench.reset()
    ring = 0
    # X tiles wait for each other, claimed ahead in pairs: then the latency shows.
    gap = 0 if KIND else 25 if CLAIM_AHEAD else 50
    # name, rows, tiles, pitch, mode, flag pitch, allowed extra cycles
    cases = [
        ("long rows", [64, 24, 1, 1], [1, 1, 1, 1, 1], 70, 0, 0, 70),
        ("rows of 7", [7, 10, 11, 2], [1, 1, 1, 1, 1], 9, 0, 0, 80),
        ("rows of 2", [2, 32, 8, 3], [1, 1, 1, 1, 1], 5, 0, 0, 700),
        ("contiguous rows of 4", [4, 16, 6, 4], [1, 1, 1, 1, 1], 4, 0, 0, 90),
        ("masked", [32, 12, 4, 1], [1, 1, 1, 1, 1], 40, 1, 2, 180),
        ("unpooled", [32, 12, 4, 1], [1, 1, 1, 1, 1], 40, 2, 4, 280),
        ("tiles of 96", [16, 6, 1, 1], [4, 4, 1, 1, 1], 20, 0, 0, 90 + 16 * gap),
        ("tiles of one row", [16, 1, 1, 1], [12, 8, 1, 1, 1], 20, 0, 0, 90 + 96 * gap),
    ]
    for name, n, t, pitch, mode, flag_pitch, extra in cases:
        values = plain(n, t, pitch, mode, flag_pitch)
        expected = load(values, SECTION, [0] * 16, word_at, ring)
        words = len(expected.elements)
        bench.run_count = 0
        bench.configure(values, [0] * 16)
        done = await bench.next_done(20000)
        cycles = done.cycle - bench.configured_at
        check(bench, done, expected, name)
        ring += len(done.gaps) + sum(done.gaps)
        cocotb.log.info("%s: %d words, %d cycles, %d runs", name, words, cycles, bench.run_count)
        assert cycles <= words + extra, name


@cocotb.test()
async def back_to_back(dut: Any) -> None:
    """The next descriptor's words are requested before the last of the present one arrive."""
    bench = Bench(dut, random.Random(7))
    await bench.reset()
    ring = 0
    # Cycles between the last element of one and the first of the next; not claimed ahead, an X
    # tile's runs wait for the end of the tile before.
    gap = 6 if KIND or CLAIM_AHEAD else 40
    for name, n in (("tiles of 24 rows of 64", [64, 24, 1, 1]),
                    ("tiles of 8 rows of 16", [16, 8, 1, 1])):
        values = plain(n, [1, 1, 1, 1, 1], 70)
        expected = [load(values, SECTION, [0] * 16, word_at, ring)]
        ring += len(expected[0].gaps) + sum(expected[0].gaps)
        expected *= 6
        for _ in expected:
            bench.configure(values, [0] * 16)
        done = []
        for e in expected:
            done.append(await bench.next_done(20000))
            check(bench, done[-1], e, name)
        gaps = [b.first - a.last for a, b in itertools.pairwise(done)]
        cocotb.log.info("%s: cycles from descriptor to descriptor %s", name, gaps)
        assert max(gaps[1:]) <= gap, f"{name}: {gaps}"
