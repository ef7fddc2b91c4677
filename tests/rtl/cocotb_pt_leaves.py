"""Cocotb bench of the common leaves (pt_tb_leaves): queues, memory, rounding, loop."""

from __future__ import annotations

import os
import random
from collections import deque
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from fxpmath import Fxp

SEED = int(os.environ.get("PT_SEED", "1"))
LATENCY_CYCLES = 3
SPREAD = 0x9E37_79B9_7F4A_7C15  # what pt_tb_leaves makes words of its deep memories with
FIFO_DEPTHS = (2, 8, 16)
# Cycles from the push into an empty queue until the word can be seen at the output.
FIFO_LATENCY_CYCLES = (1, 1, 4)


async def start(dut: Any) -> random.Random:
    """Clock, quiet inputs and reset; return the random source."""
    for name in ("fifo_valid_i", "fifo_ready_i", "ram_we_i", "ram_re_i", "small_valid_i",
                 "wide_valid_i", "loop_start_i", "loop_step_i", "rst_ni"):
        getattr(dut, name).value = 0
    cocotb.start_soon(Clock(dut.clk_i, 10, unit="ns").start())
    for _ in range(4):
        await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    await RisingEdge(dut.clk_i)
    return random.Random(SEED)


def round_sat(value: int, shift: int, out_bits: int) -> tuple[int, bool]:
    """Round half to even of ``value / 2**shift``, symmetric saturation; and whether it clamped."""
    whole, rest = value >> shift, value & ((1 << shift) - 1)
    half = (1 << shift) >> 1
    if shift and (rest > half or (rest == half and whole & 1)):
        whole += 1
    limit = (1 << (out_bits - 1)) - 1
    return max(-limit, min(limit, whole)), not -limit <= whole <= limit


def signed(value: int, bits: int) -> int:
    """Two's complement value of the low bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


# ---- queues ------------------------------------------------------------------------------------
@cocotb.test()
async def fifo_random(dut: Any) -> None:
    """Three queues beside each other: order, count, full and empty, stable outputs."""
    rng = await start(dut)
    held: list[deque[int]] = [deque() for _ in FIFO_DEPTHS]
    shown: list[int | None] = [None] * 3
    full_seen = [0] * 3
    valid = ready = data = 0
    for cycle in range(12000):
        await RisingEdge(dut.clk_i)
        can_push, can_pop = int(dut.fifo_ready_o.value), int(dut.fifo_valid_o.value)
        counts, outputs = int(dut.fifo_count_o.value), int(dut.fifo_data_o.value)
        for f, depth in enumerate(FIFO_DEPTHS):
            assert counts >> 8 * f & 0xFF == len(held[f]), (cycle, f)
            assert (can_push >> f & 1) == (len(held[f]) < depth), (cycle, f)
            full_seen[f] += len(held[f]) == depth
            if f < 2:
                assert (can_pop >> f & 1) == bool(held[f]), (cycle, f)
            assert shown[f] is None or can_pop >> f & 1, "valid fell before the word was taken"
            shown[f] = None
            if can_pop >> f & 1:
                word = outputs >> 64 * f & (1 << 64) - 1
                assert held[f] and word == held[f][0], (cycle, f)
                if ready >> f & 1:
                    held[f].popleft()
                else:
                    shown[f] = word
            if valid & can_push & 1 << f:
                held[f].append(data)
        phase = cycle // 1500 % 4
        push, pop = ((0.5, 0.5), (0.95, 0.3), (0.3, 0.95), (1.0, 1.0))[phase]
        valid = sum((rng.random() < push) << f for f in range(3))
        ready = sum((rng.random() < pop) << f for f in range(3))
        data = rng.getrandbits(64)
        dut.fifo_valid_i.value, dut.fifo_ready_i.value = valid, ready
        dut.fifo_data_i.value = data
    assert min(full_seen) > 100


@cocotb.test()
async def fifo_throughput(dut: Any) -> None:
    """One word per cycle through each queue, after its latency."""
    await start(dut)
    dut.fifo_ready_i.value = dut.fifo_valid_i.value = 7
    first: list[int | None] = [None] * 3
    moved = [0] * 3
    for cycle in range(400):
        dut.fifo_data_i.value = cycle
        await RisingEdge(dut.clk_i)
        valid, outputs = int(dut.fifo_valid_o.value), int(dut.fifo_data_o.value)
        assert int(dut.fifo_ready_o.value) == 7
        for f in range(3):
            if valid >> f & 1:
                first[f] = cycle if first[f] is None else first[f]
                assert outputs >> 64 * f & (1 << 64) - 1 == moved[f]
                moved[f] += 1
    dut._log.info("queue latencies %s, words in 400 cycles %s", first, moved)
    assert tuple(first) == FIFO_LATENCY_CYCLES
    assert moved == [400 - latency for latency in FIFO_LATENCY_CYCLES]


# ---- memory ------------------------------------------------------------------------------------
@cocotb.test()
async def ram_random(dut: Any) -> None:
    """Latency 1 and 2, old data on a collision, outputs kept without read enable."""
    rng = await start(dut)
    words: list[int | None] = [None] * 32
    direct: int | None = None
    first: int | None = None
    out: int | None = None
    read_before = False
    we = re = waddr = raddr = wdata = collisions = 0
    for _ in range(6000):
        await RisingEdge(dut.clk_i)
        # Values before this edge are results of the edges before it.
        if direct is not None:
            assert int(dut.ram_direct_o.value) == direct
            assert int(dut.ram_deep48_o.value) == SPREAD * direct % 2**48
        if out is not None:
            assert int(dut.ram_reg_o.value) == out
            assert int(dut.ram_deep64_o.value) == SPREAD * out % 2**64
        out = first if read_before else out
        if re:
            direct = first = words[raddr]
        read_before = bool(re)
        if we:
            collisions += bool(re) and waddr == raddr
            words[waddr] = wdata
        we, re = rng.random() < 0.5, rng.random() < 0.6
        waddr = rng.randrange(32)
        raddr = waddr if rng.random() < 0.2 else rng.randrange(32)
        wdata = rng.getrandbits(16)
        dut.ram_we_i.value, dut.ram_re_i.value = int(we), int(re)
        dut.ram_waddr_i.value, dut.ram_raddr_i.value = waddr, raddr
        dut.ram_wdata_i.value = wdata
    assert collisions > 100


# ---- rounding ----------------------------------------------------------------------------------
@cocotb.test()
async def round_sat_exhaustive(dut: Any) -> None:
    """Every value of 10 bit with every shift, 0 to 9, to 6 bit; gaps in the stream."""
    rng = await start(dut)
    cases = [(value, shift) for shift in range(10) for value in range(-512, 512)]
    expected: deque[tuple[int, bool] | None] = deque([None] * (LATENCY_CYCLES + 1))
    checked = at = 0
    while checked < len(cases):
        await RisingEdge(dut.clk_i)
        want = expected.popleft()
        assert int(dut.small_valid_o.value) == (want is not None)
        if want is not None:
            got = signed(int(dut.small_data_o.value), 6), bool(int(dut.small_sat_o.value))
            assert got == want, cases[checked]
            checked += 1
        if at < len(cases) and rng.random() < 0.9:
            value, shift = cases[at]
            at += 1
            dut.small_valid_i.value = 1
            dut.small_data_i.value, dut.small_shift_i.value = value & 1023, shift
            expected.append(round_sat(value, shift, 6))
        else:
            dut.small_valid_i.value = 0
            dut.small_data_i.value, dut.small_shift_i.value = rng.getrandbits(10), rng.randrange(10)
            expected.append(None)


def _wide_value(rng: random.Random, shift: int) -> int:
    """48-bit value that is often near a tie or near the limits of 16 bit."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randrange(-(1 << 47), 1 << 47)
    if kind == 1:
        return signed(rng.getrandbits(rng.randint(1, 47)), 48) * rng.choice([1, -1])
    middle = (rng.choice([32767, -32767, 32766, -32768, 0, rng.randrange(-40000, 40000)]) << shift)
    tie = (1 << shift) >> 1
    value = middle + rng.choice([0, tie, -tie]) + rng.choice([0, 0, 1, -1])
    return max(-(1 << 47), min((1 << 47) - 1, value))


@cocotb.test()
async def round_sat_wide(dut: Any) -> None:
    """Two lanes of 48 bit to 16 bit at random, against integers and against fxpmath."""
    rng = await start(dut)
    results: list[tuple[int, int, int]] = []
    expected: deque[tuple[int, list[int]] | None] = deque([None] * (LATENCY_CYCLES + 1))
    for _ in range(8000):
        await RisingEdge(dut.clk_i)
        want = expected.popleft()
        assert int(dut.wide_valid_o.value) == (want is not None)
        if want is not None:
            shift, values = want
            data, sat = int(dut.wide_data_o.value), int(dut.wide_sat_o.value)
            for lane, value in enumerate(values):
                got = signed(data >> 16 * lane, 16)
                model = round_sat(value, shift, 16)
                assert (got, bool(sat >> lane & 1)) == model, (value, shift)
                results.append((value, shift, got))
        shift = rng.randrange(48)
        values = [_wide_value(rng, shift) for _ in range(2)]
        dut.wide_valid_i.value, dut.wide_shift_i.value = 1, shift
        dut.wide_data_i.value = sum((v & (1 << 48) - 1) << 48 * k for k, v in enumerate(values))
        expected.append((shift, values))
    # fxpmath rounds half to even ("around") on doubles: exact, as 48 bits fit into a double.
    for shift in range(48):
        chosen = [(v, got) for v, s, got in results if s == shift]
        scaled = np.array([v for v, _ in chosen], dtype=np.float64) / 2.0**shift
        fixed = Fxp(scaled, signed=True, n_word=16, n_frac=0, rounding="around",
                    overflow="saturate")
        clamped = np.maximum(np.asarray(fixed.get_val(), dtype=np.int64), -32767)
        assert clamped.tolist() == [got for _, got in chosen], shift


# ---- loop --------------------------------------------------------------------------------------
@cocotb.test()
async def loop_random(dut: Any) -> None:
    """Indices, flags and the incrementing level; affine values from jump deltas equal strides."""
    rng = await start(dut)
    for trial in range(60):
        top = 4 if trial < 50 else 2
        counts = [rng.choice([1, 1, 2, 3, rng.randint(1, top)]) for _ in range(5)]
        if trial == 0:
            counts = [1] * 5
        if trial == 1:
            counts = [300, 1, 1, 2, 1]
        strides = [rng.randrange(-5000, 5000) for _ in range(5)]
        base = rng.randrange(20000)
        jumps = [strides[k] - sum((counts[j] - 1) * strides[j] for j in range(k)) for k in range(5)]
        modulus = 3 * 4096
        pairs = [(j % modulus // 3, j % modulus % 3) for j in jumps]
        dut.loop_count_i.value = sum(c << 16 * k for k, c in enumerate(counts))
        dut.affine_base_i.value = base
        dut.affine_delta_i.value = sum((j & 0xFFFFFFFF) << 32 * k for k, j in enumerate(jumps))
        dut.ternary_base_i.value = base % modulus // 3 << 2 | base % modulus % 3
        dut.ternary_delta_i.value = sum((q << 2 | r) << 14 * k for k, (q, r) in enumerate(pairs))
        dut.loop_start_i.value, dut.loop_step_i.value = 1, rng.randrange(2)
        await RisingEdge(dut.clk_i)
        dut.loop_start_i.value = 0
        step = False
        index = [0] * 5
        finished = False
        # One more round than the loop has: the indices wrap; values are kept at the end.
        while not finished:
            dut.loop_step_i.value = int(step)
            await RisingEdge(dut.clk_i)
            level = next((k for k in range(5) if index[k] != counts[k] - 1), 5)
            packed = int(dut.loop_idx_o.value)
            assert [packed >> 16 * k & 0xFFFF for k in range(5)] == index
            assert int(dut.loop_level_o.value) == level
            first, last = int(dut.loop_first_o.value), int(dut.loop_last_o.value)
            assert [first >> k & 1 for k in range(5)] == [int(i == 0) for i in index]
            assert [last >> k & 1 for k in range(5)] == [
                int(i == c - 1) for i, c in zip(index, counts)]
            value = base + sum(i * s for i, s in zip(index, strides))
            assert int(dut.affine_value_o.value) == value & 0xFFFFFFFF
            pair = int(dut.ternary_value_o.value)
            assert pair & 3 < 3 and 3 * (pair >> 2) + (pair & 3) == value % modulus
            if step:
                finished = level == 5
                for k in range(min(level, 5)):
                    index[k] = 0
                if level < 5:
                    index[level] += 1
            step = rng.random() < 0.8
        dut.loop_step_i.value = 0
        await RisingEdge(dut.clk_i)
        assert int(dut.loop_idx_o.value) == 0
