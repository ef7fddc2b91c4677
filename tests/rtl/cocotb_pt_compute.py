"""Random sweeps of all passes on the compute unit against a model of engine.md section 5."""

from __future__ import annotations

import itertools
import os
import random
import struct

import cocotb
import numpy as np
from client_model import at_most
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from pynq_train.hw import commands as hw
from pynq_train.hw.config import ZYNQ7020

X_WORDS = 4096
BANKS = 3
KINDS = ((False, False), (False, True), (True, True))
"""Weight gradient, S in columns: forward, backward, weight gradient."""
SWEEP_MIN_CYCLES = ZYNQ7020.sweep_min_cycles


def jumps(strides: list[int], counts: list[int]) -> list[int]:
    """Jump deltas of an affine variable."""
    result = []
    for level, stride in enumerate(strides):
        result.append(stride - sum((counts[k] - 1) * strides[k] for k in range(level)))
    return result


class Case:
    """One random descriptor with its tiles, and the expected accumulators of each output tile."""

    def __init__(self, rng: random.Random, wu: bool, col: bool, one_tile: bool = False) -> None:
        self.rng, self.wu, self.col = rng, wu, col
        np_rng = np.random.default_rng(rng.randrange(1 << 30))
        # Busy: many short tiles on one X tile, so that drains and sweeps crowd the pipeline.
        busy = rng.random() < 0.4 and not one_tile
        cols, rows = rng.randint(1, 5 if busy else 9), rng.randint(1, 2 if busy else 5)
        images = rng.randint(1, 3)
        pitch = cols + rng.randint(0, 3) + 3
        while pitch % 3 != cols % 3:
            pitch += 1
        image_pitch = rows * pitch + 3
        while image_pitch % 3 != (rows * cols) % 3:
            image_pitch += 1
        self.pixels = cols * rows * images
        self.p = [cols, rows, images]
        self.window = wu
        pos = np.array([i * image_pitch + r * pitch + c
                        for i in range(images) for r in range(rows) for c in range(cols)])
        lane = rng.choice([1, 2, 4]) if wu else 0
        self.lane = lane
        if wu:
            self.table = np.stack([pos, pos + lane, pos + 2 * lane], 1)
        else:
            groups = -(-self.pixels // 3)
            padded = np.concatenate([pos, np.full(3 * groups - len(pos), -1)]).reshape(-1, 3)
            self.table = np.where(padded < 0, padded[:, :1], padded)
        self.groups = len(self.table) if not wu else 0
        span = int(self.table.max()) + 1
        self.dpos = jumps([1, pitch, image_pitch], self.p)
        n_taps = rng.randint(1, 5)
        blocks = rng.randint(1, 3)
        quads = 4 if (col and not wu) else 1
        if wu:
            n_taps, blocks = rng.randint(1, 4), rng.randint(1, 4)
        block_pitch = span + rng.randint(0, 5)
        self.reach = span + 40 + quads * blocks * block_pitch
        self.tiles = [8 if busy else rng.randint(1, 3), rng.randint(1, 2), 1, 1, 1]
        if one_tile:
            self.tiles = [1] * 5
        self.red = 0 if busy else rng.randint(0, 1)
        self.xreuse = 1 if busy else rng.randint(0, 1)
        if wu:
            counts = [4, 1, n_taps, blocks, -(-self.pixels // 4)]
            dj, dx = [1, 0, 0, 0, 4], [0, 0, 0, block_pitch, 0]
            self.depth = 4 * n_taps * blocks
        else:
            counts = [self.groups, quads, n_taps, blocks, 1]
            dj, dx = [1, 0, 0, 0, 0], [0, block_pitch, 0, quads * block_pitch, 0]
            self.depth = 0
        self.counts = counts
        self.dj, self.dx = jumps(dj, counts), jumps(dx, counts)
        regions = rng.randint(1, min(2, n_taps)) if not wu else 1
        self.taps = []
        for k in range(n_taps):
            region = k % regions
            self.taps.append({"voff": rng.randint(0, 40), "woff": 0, "abase": region * self.groups,
                              "first": int(k < regions), "mute": int(not wu and
                                                                    rng.random() < 0.15)})
        if not wu:
            self.depth = regions * self.groups
        # S chunks
        if wu:
            ceil4 = -(-self.pixels // 4) * 4
            self.s = {"s_stride": ceil4, "s_step": 4, "s_chunk": 4 * ceil4,
                      "s_sets": ceil4 // 4, "s_valid": self.pixels}
            self.chunks_per_tile = 1
        elif col:
            self.s = {"s_stride": 16, "s_step": 4, "s_chunk": 64, "s_sets": 4, "s_valid": 0}
            self.chunks_per_tile = n_taps * blocks
        else:
            self.s = {"s_stride": 4, "s_step": 16, "s_chunk": 16, "s_sets": 1, "s_valid": 0}
            self.chunks_per_tile = n_taps * blocks
        n_tiles = int(np.prod(self.tiles))
        chunk_words = self.chunks_per_tile * self.s["s_chunk"]
        self.s_words = [np_rng.integers(-32767, 32768, (chunk_words, 4))
                        for _ in range(n_tiles)]
        self.x_tiles: list[np.ndarray] = []
        self.expected: list[np.ndarray] = []
        self._model(np_rng)

    def _model(self, np_rng: np.random.Generator) -> None:
        n0 = self.tiles[0]
        acc = np.zeros((max(self.depth, 1), 16, 3), object)
        x = None
        for tile in range(int(np.prod(self.tiles))):
            index0 = tile % n0
            if not self.xreuse or index0 == 0:
                x = np_rng.integers(-32767, 32768, (BANKS * X_WORDS // 2, 4))
                self.x_tiles.append(x)
            assert x is not None
            first_tile = not self.red or index0 == 0
            self._tile(acc, x, self.s_words[tile], first_tile)
            if not self.red or index0 == n0 - 1:
                self.expected.append(acc.copy())

    def _set(self, words: np.ndarray, index: int) -> np.ndarray:
        sets = self.s["s_sets"]
        base = index // sets * self.s["s_chunk"] + index % sets * self.s["s_step"]
        result = np.zeros((16, 4), np.int64)
        for i in range(4):
            for t in range(4):
                word = words[base + i * self.s["s_stride"] + t]
                if self.s["s_valid"] and 4 * (index % sets) + t >= self.s["s_valid"]:
                    word = np.zeros(4, np.int64)
                if self.col:
                    result[4 * i:4 * i + 4, t] = word
                else:
                    result[4 * i + t] = word
        return result

    def _tile(self, acc: np.ndarray, x: np.ndarray, words: np.ndarray, first_tile: bool) -> None:
        count, index = self.counts, 0
        block = [self._stride(self.dx, level) for level in range(5)]
        if self.wu:
            for s_index in range(count[4]):
                s = self._set(words, index)
                index += 1
                a = 0
                for nb in range(count[3]):
                    for tap in self.taps:
                        w = np.zeros((4, 3, 4), np.int64)
                        for t in range(4):
                            row = min(4 * s_index + t, len(self.table) - 1)
                            w[t] = x[self.table[row] + nb * block[3] + tap["voff"]]
                        for ch in range(4):
                            v = w[:, :, ch]
                            total = s @ v
                            old = 0 if (s_index == 0 and first_tile) else acc[a + ch]
                            acc[a + ch] = total + old
                        a += 4
            return
        for nb in range(count[3]):
            for tap in self.taps:
                for q in range(count[1]):
                    s = self._set(words, index)
                    index += 1
                    clear = tap["first"] and nb == 0 and q == 0 and first_tile
                    for g in range(count[0]):
                        v = x[self.table[g] + q * block[1] + nb * block[3] + tap["voff"]]
                        v = v * (0 if tap["mute"] else 1)
                        a = tap["abase"] + g
                        acc[a] = s @ v.T + (0 if clear else acc[a])

    def _stride(self, deltas: list[int], level: int) -> int:
        strides: list[int] = []
        for k, delta in enumerate(deltas):
            strides.append(delta + sum((self.counts[j] - 1) * strides[j] for j in range(k)))
        return strides[level]

    def words(self) -> bytes:
        """The descriptor."""
        values: dict[str, int] = {"pre.opcode": int(hw.Opcode.CONV), "pre.n_taps": len(self.taps)}
        values |= {f"pre.t{k}": n for k, n in enumerate(self.tiles)}
        values |= {f"pix.p{k}": n for k, n in enumerate(self.p)}
        values |= {f"pix.dpos{k}": hw.pair(d) for k, d in enumerate(self.dpos)}
        values |= {"pix.lane": hw.pair(self.lane),
                   "pix.pmode": int(hw.PixelMode.WINDOW if self.wu else hw.PixelMode.GROUPS)}
        values |= {f"c.l{k}": n for k, n in enumerate(self.counts)}
        values |= {f"c.dj{k}": d for k, d in enumerate(self.dj)}
        values |= {f"c.dx{k}": hw.pair(d) for k, d in enumerate(self.dx)}
        values |= {f"c.{k}": v for k, v in self.s.items()}
        values |= {"c.wu": int(self.wu), "c.red": self.red, "c.xreuse": self.xreuse,
                   "c.s_col": int(self.col)}
        return hw.pack_descriptor(values)


class Bench:
    """Drivers of all ports, each with its own random idle cycles."""

    def __init__(self, dut: object, rng: random.Random) -> None:
        self.dut, self.rng = dut, rng
        self.idle = rng.choice([0.0, 0.0, 0.3, 0.8])
        self.slot = 0
        self.ahead = rng.choice([1, 4, 4])

    async def config(self, data: bytes, taps: list[dict[str, int]], sections: tuple[str, ...],
                     valid: object, req: object, with_taps: bool) -> None:
        """Send one descriptor to one unit when it asks."""
        words = struct.unpack(f"<{hw.DESCRIPTOR_WORDS}Q", data)
        first = hw.SECTIONS[sections[0]].first
        stop = hw.SECTIONS[sections[-1]].first + hw.SECTIONS[sections[-1]].words
        items = [(k, words[k]) for k in range(hw.SECTIONS["pre"].words)]
        items += [(k, words[k]) for k in range(first, stop)]
        items += [(hw.PARAM_INDEX, 0), (hw.PARAM_INDEX + 1, 0)]
        if with_taps:
            items += [(hw.TAP_INDEX + k, int.from_bytes(hw.pack_tap(
                {**t, "voff": hw.pair(t["voff"])}), "little")) for k, t in enumerate(taps)]
        while True:
            await RisingEdge(self.dut.clk_i)
            if req.value:
                break
        for k, (index, word) in enumerate(items):
            valid.value = 1
            self.dut.cfg_idx_i.value = index
            self.dut.cfg_data_i.value = word
            self.dut.cfg_last_i.value = int(k == len(items) - 1)
            await RisingEdge(self.dut.clk_i)
        valid.value = 0

    async def pause(self) -> None:
        """Random idle cycles."""
        while self.rng.random() < self.idle:
            await RisingEdge(self.dut.clk_i)

    async def load_x(self, cases: list[Case]) -> None:
        """Write X tiles into alternating slots."""
        dut = self.dut
        for case in cases:
            for tile in case.x_tiles:
                while True:
                    await ReadOnly()
                    free = int(dut.x_slot_free_o.value)
                    await RisingEdge(dut.clk_i)
                    if free:
                        break
                dut.x_take_i.value = 1
                await RisingEdge(dut.clk_i)
                dut.x_take_i.value = 0
                await self.pause()
                for position in range(min(len(tile), case.reach)):
                    dut.x_we_i.value = 1
                    dut.x_bank_i.value = position % 3
                    dut.x_addr_i.value = position // 3
                    dut.x_slot_i.value = self.slot
                    dut.x_data_i.value = pack(tile[position])
                    await RisingEdge(dut.clk_i)
                dut.x_we_i.value = 0
                dut.x_tile_i.value = 1
                await RisingEdge(dut.clk_i)
                dut.x_tile_i.value = 0
                self.slot ^= 1

    async def load_s(self, cases: list[Case]) -> None:
        """Push the words of all tiles."""
        dut = self.dut
        for case in cases:
            for words in case.s_words:
                for word in words:
                    await self.pause()
                    while not dut.s_space_o.value:
                        await RisingEdge(dut.clk_i)
                    dut.s_we_i.value = 1
                    dut.s_data_i.value = pack(word)
                    await RisingEdge(dut.clk_i)
                    dut.s_we_i.value = 0

    async def collect(self, groups: list[int]) -> None:
        """Take every group in the cycle in which it is valid."""
        while True:
            await ReadOnly()
            if int(self.dut.group_valid_o.value):
                groups.append(int(self.dut.group_o.value))
            await RisingEdge(self.dut.clk_i)

    async def drain(self, cases: list[Case]) -> int:
        """Read every finished tile, up to four groups asked for ahead, and compare all of them."""
        dut, compared = self.dut, 0
        groups: list[int] = []
        collector = cocotb.start_soon(self.collect(groups))
        for number, case in enumerate(cases):
            for tile, expected in enumerate(case.expected):
                while not dut.acc_tile_valid_o.value:
                    await RisingEdge(dut.clk_i)
                groups.clear()
                for group in range(case.depth):
                    await self.pause()
                    while group - len(groups) >= self.ahead:
                        await RisingEdge(dut.clk_i)
                    dut.drain_req_valid_i.value = 1
                    dut.drain_group_i.value = group
                    while True:
                        await ReadOnly()
                        ready = int(dut.drain_req_ready_o.value)
                        await RisingEdge(dut.clk_i)
                        if ready:
                            break
                    dut.drain_req_valid_i.value = 0
                while len(groups) < case.depth:
                    await RisingEdge(dut.clk_i)
                for group, value in enumerate(groups):
                    for p in range(3):
                        dead = (not case.wu and 3 * (group % max(case.groups, 1)) + p
                                >= case.pixels)
                        for m in range(0 if not dead else 16, 16):
                            got = value >> 48 * (p * 16 + m) & (1 << 48) - 1
                            want = int(expected[group, m, p]) & (1 << 48) - 1
                            assert got == want, (
                                f"case {number} tile {tile} wu={case.wu} col={case.col} "
                                f"group {group} m {m} p {p}: {got:x} != {want:x}")
                            compared += 1
                dut.acc_release_i.value = 1
                await RisingEdge(dut.clk_i)
                dut.acc_release_i.value = 0
                await RisingEdge(dut.clk_i)
        collector.cancel()
        return compared


def pack(word: np.ndarray) -> int:
    """Four channels to one 64-bit word."""
    return sum((int(v) & 0xFFFF) << 16 * k for k, v in enumerate(word))


async def reset(dut: object) -> None:
    """Idle inputs, clock and reset."""
    Clock(dut.clk_i, 10, unit="ns").start()
    for name in ("pix_cfg_valid_i", "c_cfg_valid_i", "cfg_last_i", "x_we_i", "x_tile_i",
                 "x_take_i", "s_we_i", "s_skip_i", "acc_release_i", "drain_req_valid_i", "rst_ni"):
        getattr(dut, name).value = 0
    for _ in range(5):
        await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1


async def configure(dut: object, bench: Bench, cases: list[Case]) -> None:
    """Pixel table and compute of all descriptors, as early as they ask."""
    for case in cases:
        data = case.words()
        await bench.config(data, case.taps, ("pix",), dut.pix_cfg_valid_i, dut.pix_req_o, False)
        await bench.config(data, case.taps, ("c",), dut.c_cfg_valid_i, dut.c_req_o, True)


def fitting(rng: random.Random, wu: bool, col: bool) -> Case:
    """A descriptor of one tile that lasts until the next one's table is there.

    Its last sweep is not shorter than the shortest period, and two of them fit the S ring.
    """
    while True:
        case = Case(rng, wu, col, one_tile=True)
        sweep = 4 * case.counts[2] * case.counts[3] if wu else case.counts[0]
        if (sweep >= SWEEP_MIN_CYCLES and case.pixels <= 90 and np.prod(case.counts) >= 200
                and len(case.s_words[0]) <= 1000):
            return case


@cocotb.test()
async def back_to_back(dut: object) -> None:
    """Three cycles from the last step of a descriptor to the first of the next, in all orders."""
    rng = random.Random(int(os.environ.get("PT_SEED", "1")))
    await reset(dut)
    bench = Bench(dut, rng)
    bench.idle = 0.0
    gaps = []
    for first, second in itertools.product(KINDS, repeat=2):
        cases = [fitting(rng, *first), fitting(rng, *second)]
        await bench.load_x(cases)
        await bench.load_s(cases)
        cocotb.start_soon(configure(dut, bench, cases))
        last_step, done = 0, 0
        for cycle in range(100000):
            await ReadOnly()
            if int(dut.busy_o.value):
                if done == 1 and last_step:
                    gaps.append(cycle - last_step)
                    last_step = 0
                if int(dut.c_done_o.value):
                    done, last_step = done + 1, cycle
            await RisingEdge(dut.clk_i)
            if done == 2:
                break
        assert done == 2, "hangs"
        await bench.drain(cases)
    cocotb.log.info("cycles from the last step to the next descriptor's first: %s", gaps)
    assert gaps == [3] * len(KINDS) ** 2


@cocotb.test()
async def random_sweeps(dut: object) -> None:
    """Descriptors of all passes one behind the other, random stalls on every side."""
    rng = random.Random(int(os.environ.get("PT_SEED", "1")))
    await reset(dut)
    cases = [Case(rng, *KINDS[k % 3]) for k in range(at_most(9))]
    bench = Bench(dut, rng)

    cocotb.start_soon(configure(dut, bench, cases))
    cocotb.start_soon(bench.load_x(cases))
    cocotb.start_soon(bench.load_s(cases))
    compared = await bench.drain(cases)
    assert compared > 1000
    for _ in range(50):
        await RisingEdge(dut.clk_i)
    assert not dut.acc_tile_valid_o.value, "a tile is left over"
