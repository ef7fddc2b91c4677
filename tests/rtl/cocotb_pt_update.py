"""Cocotb bench of pt_update: random parameters, sizes and stalls; memory against the model."""

from __future__ import annotations

import os
import random
import struct
from collections import deque
from typing import Any

import cocotb
from client_model import Bench, Client, ReadClient, WriteClient, at_most
from scalar_model import signed, update_element

from pynq_train.hw.commands import (
    PARAM_INDEX,
    SECTIONS,
    Opcode,
    pack_descriptor,
    pack_params,
)
from pynq_train.hw.words import ABSENT_WEIGHT

M64 = (1 << 64) - 1
LANE_SUMS, STAMP = 64, 77
G_OFF, WV_OFF, W16_OFF, REC_OFF = 0x10000, 0x40000, 0x80000, 0xC0080


class QueueClient(Client):
    """The gradient queue: offers sums in order, with random stalls."""

    def __init__(self, bench: Bench) -> None:
        """Bind the signals ``gq_*``."""
        super().__init__(bench)
        self.sums: deque[int] = deque()
        self.offering = False

    def drive(self) -> None:
        """Choose the inputs of the coming clock edge."""
        dut = self.bench.dut
        self.offering = bool(self.sums) and (self.offering or self.go())
        dut.gq_valid_i.value = int(self.offering)
        dut.gq_data_i.value = self.sums[0] if self.offering else self.bench.rng.getrandbits(48)

    def sample(self) -> None:
        """Note what happens at the coming clock edge."""
        if self.offering and int(self.bench.dut.gq_ready_o.value):
            self.sums.popleft()
            self.offering = False


def config_words(opcode: Opcode, values: dict[str, int],
                 params: dict[str, int]) -> list[tuple[int, int]]:
    """What the sequencer sends for an update."""
    desc = struct.unpack("<128Q", pack_descriptor({"pre.opcode": opcode, **values}))
    param = struct.unpack("<2Q", pack_params(opcode, params))
    indices = list(range(SECTIONS["pre"].words))
    indices += [SECTIONS["u"].first + k for k in range(SECTIONS["u"].words)]
    return [(k, desc[k]) for k in indices] + [(PARAM_INDEX + k, w) for k, w in enumerate(param)]


def spread(rng: random.Random, bits: int) -> int:
    """A signed number of random magnitude."""
    width = rng.randint(1, bits)
    value = signed(rng.getrandbits(width), width)
    if rng.random() < 0.03:
        value = rng.choice((-(1 << bits - 1), (1 << bits - 1) - 1, 0, -1))
    return value


def random_params(rng: random.Random) -> dict[str, int]:
    """Any legal step-block entry; every second one typical."""
    if rng.random() < 0.5:
        return {"g_shift": rng.randint(20, 40), "w_shift": rng.randint(12, 20),
                "lr_shift": rng.randint(8, 16), "lr": rng.randint(0, 65535),
                "momentum": rng.randint(50000, 65536), "decay": rng.randint(0, 600),
                "nesterov": rng.randint(0, 1)}
    return {"g_shift": rng.randint(0, 63), "w_shift": rng.randint(0, 31),
            "lr_shift": rng.randint(0, 47), "lr": rng.getrandbits(16),
            "momentum": rng.choice((0, 65536, rng.randint(0, 65536))),
            "decay": rng.getrandbits(16), "nesterov": rng.randint(0, 1)}


async def run_update(bench: Bench, count: int, copy: bool, plain: bool = False,
                     rows: int = 0, absent: float = 0.05) -> int:
    """One descriptor; checks everything that it writes. Returns its cycles.

    ``rows``: a GRADIENT of whole lanes in which so many output channels are weights; the others
    are dropped. 0: an UPDATE. ``absent``: share of weights that do not exist.
    """
    rng, queue = bench.rng, bench.clients[-1]
    opcode = Opcode.GRADIENT if rows else Opcode.UPDATE
    params = random_params(rng)
    base = 8 * rng.randint(0, 15)
    offs = {"u.g_off": G_OFF + base, "u.wv_off": WV_OFF + base, "u.w16_off": W16_OFF + base,
            "pre.rec_off": REC_OFF + base}
    bench.memory.clear()
    measure = saturated = 0
    expected: dict[int, int] = {}
    codes: list[int] = []
    for k in range(count):
        g, v, w = spread(rng, 48), spread(rng, 32), spread(rng, 32)
        if rng.random() < 0.02:
            v = -(1 << 31)
        if w == ABSENT_WEIGHT or rng.random() < absent:
            w = ABSENT_WEIGHT
        if rows:
            queue.sums.append(g & (1 << 48) - 1)
        else:
            bench.memory[offs["u.g_off"] + 8 * k] = g & M64
        if rows and k % LANE_SUMS >= 4 * rows:
            codes.append(0)
            continue
        v_new, w_new, code, lost = update_element(g, 0 if plain else v, w, params)
        kept = w_new
        if w == ABSENT_WEIGHT:
            v_new, w_new, code, lost, kept = 0, 0, 0, False, w
        if plain:
            at, shift = offs["u.wv_off"] + k // 2 * 8, 32 * (k % 2)
            bench.memory[at] = bench.memory.get(at, 0) | (w & 0xFFFFFFFF) << shift
            expected[at] = expected.get(at, 0) | (kept & 0xFFFFFFFF) << shift
        else:
            at = offs["u.wv_off"] + 8 * k
            bench.memory[at] = (v & 0xFFFFFFFF) << 32 | w & 0xFFFFFFFF
            expected[at] = (v_new & 0xFFFFFFFF) << 32 | kept & 0xFFFFFFFF
        measure |= w_new ^ (w_new >> 31)
        saturated += int(lost and copy)
        codes.append(code & 0xFFFF)
    if copy:
        for k in range(0, count, 4):
            if rows and k % LANE_SUMS >= 4 * rows:
                continue
            word = sum(code << 16 * lane for lane, code in enumerate(codes[k:k + 4]))
            expected[offs["u.w16_off"] + 2 * k] = word
    for k, word in enumerate((measure & 0xFFFFFFFF, saturated, STAMP, STAMP)):
        expected[offs["pre.rec_off"] + 8 * k] = word
    bench.record_off = offs["pre.rec_off"]
    image = {**bench.memory, **expected}
    await bench.configure(config_words(
        opcode, {**offs, "u.u_count": count, "u.u_copy": int(copy), "u.u_plain": int(plain),
                 "u.u_rows": rows}, params))
    cycles = await bench.wait_done(5000 + 100 * count)
    assert image == bench.memory, f"{opcode.name}, {count}, copy {copy}, {plain}, {params}"
    assert not queue.sums, f"{len(queue.sums)} sums were left in the queue"
    return cycles


async def start(dut: Any) -> Bench:
    """The unit out of reset, with its memory and the queue."""
    bench = Bench(dut, random.Random(int(os.environ.get("PT_SEED", "1"))))
    bench.clients = [ReadClient(bench, "g_"), ReadClient(bench, "wv_"),
                     WriteClient(bench, "wvw_"), WriteClient(bench, "w16_"),
                     QueueClient(bench)]
    await bench.start({"cfg_valid_i": 0, "cfg_idx_i": 0, "cfg_data_i": 0, "cfg_last_i": 0,
                       "stamp_i": STAMP})
    return bench


@cocotb.test()
async def random_updates(dut: Any) -> None:
    """Random sizes and stalls."""
    bench = await start(dut)
    rng = bench.rng
    sizes = [4, 8, 12, 16, 20, 60, 64, 68, 128, 256, 400, 1000]
    sizes += [4 * rng.randint(1, 80) for _ in range(14)]
    for count in [0, *sizes][:at_most(1 + len(sizes))]:
        bench.stall = rng.choice((0.0, 0.1, 0.5, 0.8))
        bench.latency = rng.choice((1, 5, 30, 60))
        await run_update(bench, count, rng.random() < 0.7, rng.random() < 0.5)
        lanes = rng.randint(1, 5)
        await run_update(bench, LANE_SUMS * lanes, True, rng.random() < 0.5,
                         rng.choice((16, rng.randint(1, 16))))


@cocotb.test()
async def absent_weights(dut: Any) -> None:
    """Most weights do not exist."""
    bench = await start(dut)
    rng = bench.rng
    for number in range(4):
        bench.stall = rng.choice((0.0, 0.3))
        await run_update(bench, LANE_SUMS * rng.randint(1, 5), True, number % 2 == 1,
                         rng.choice((16, rng.randint(1, 16))), rng.choice((0.5, 0.9)))


@cocotb.test()
async def slow_clients(dut: Any) -> None:
    """All limits of the queues."""
    bench = await start(dut)
    for slow in bench.clients:  # one slow client: the others run into the limits of the queues
        bench.stall, bench.latency, slow.stall = 0.0, 5, 0.97
        await run_update(bench, 400, True)
        slow.stall = None


@cocotb.test()
async def rate(dut: Any) -> None:
    """Throughput without stalls."""
    bench = await start(dut)
    for copy in (False, True):
        bench.stall, bench.latency = 0.0, 45
        cycles = await run_update(bench, 2000, copy)
        dut._log.info("2000 elements, copy %s: %d cycles", copy, cycles)
        assert cycles < 2250, f"{cycles} cycles for 2000 elements"
        cycles = await run_update(bench, 2048, True, copy, 16)
        dut._log.info("2048 sums of the queue, plain %s: %d cycles", copy, cycles)
        assert cycles < 2300, f"{cycles} cycles for 2048 sums of the queue"
