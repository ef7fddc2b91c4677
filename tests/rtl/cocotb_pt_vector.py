"""Cocotb bench of pt_vector: random modes, sizes and stalls; memory against the model."""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb
from client_model import Bench, ReadClient, WriteClient, at_most
from descriptor_bench import check_descriptor
from reference_models.vector_cases import MODES, SYMBOLS, random_case, random_modes
from reference_models.vector_model import vector

OFFSETS = {name: k + 1 << 20 for k, name in enumerate(SYMBOLS)}
REC_OFF = 7 << 20


async def run_vector(bench: Bench, modes: dict[str, int], images: int, blocks: int,
                     words: int) -> int:
    """One descriptor; checks everything that it writes. Returns its cycles."""
    rng, memory = bench.rng, bench.memory
    memory.clear()
    base = 8 * rng.randint(0, 15)
    values, params, content = random_case(
        rng, images, blocks, words, {name: at + base for name, at in OFFSETS.items()}, modes)
    memory.update(content)
    values["pre.rec_off"] = bench.record_off = REC_OFF + base
    count = images * blocks * words
    return await check_descriptor(bench, "v", values, params,
                                  vector(memory, values, params), 2000 + 40 * count + 400 * blocks)


async def start(dut: Any) -> Bench:
    """The unit out of reset, with its memory."""
    bench = Bench(dut, random.Random(int(os.environ.get("PT_SEED", "1"))))
    bench.clients = [ReadClient(bench, "a_"), ReadClient(bench, "b_"),
                     WriteClient(bench, run_prefix="wr_")]
    await bench.start({"cfg_valid_i": 0, "cfg_idx_i": 0, "cfg_data_i": 0, "cfg_last_i": 0,
                       "stamp_i": 0})
    return bench


@cocotb.test()
async def random_vectors(dut: Any) -> None:
    """Random modes, sizes and stalls."""
    bench = await start(dut)
    rng = bench.rng
    sizes = [(1, 1, 1), (2, 1, 1), (1, 3, 16), (1, 2, 17), (3, 1, 15), (1, 1, 300)]
    sizes += [(rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 60)) for _ in range(40)]
    for images, blocks, words in sizes[:at_most(len(sizes))]:
        bench.stall = rng.choice((0.0, 0.1, 0.5))
        bench.latency = rng.choice((1, 5, 30, 60))
        await run_vector(bench, random_modes(rng), images, blocks, words)


@cocotb.test()
async def random_factors(dut: Any) -> None:
    """Curves, their slopes and products, of random sizes with stalls."""
    bench = await start(dut)
    rng = bench.rng
    sizes = [(1, 1, 1), (2, 2, 1), (1, 1, 100)]
    sizes += [(rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 40)) for _ in range(27)]
    for images, blocks, words in sizes[:at_most(len(sizes))]:
        bench.stall = rng.choice((0.0, 0.1, 0.5))
        bench.latency = rng.choice((1, 5, 30))
        await run_vector(bench, random_modes(rng, factors=True), images, blocks, words)


@cocotb.test()
async def rate(dut: Any) -> None:
    """One word per cycle in a plain pass without stalls."""
    bench = await start(dut)
    bench.stall, bench.latency = 0.0, 40
    plain = {f"v.{name}": 0 for name in MODES}
    everything = {**plain, "v.v_b": 1, "v.v_write": 1, "v.v_sums": 1, "v.v_table": 1,
                  "v.v_mask_a": 1}
    cycles = await run_vector(bench, everything, 2, 2, 1000)
    assert cycles < 4000 + 2 * 40 + 4 * 90, f"{cycles} cycles for 4000 words"


@cocotb.test()
async def many_blocks(dut: Any) -> None:
    """So many channel blocks that counters reach 2**13, and with coefficients 2**11."""
    bench = await start(dut)
    bench.stall, bench.latency = 0.0, 1
    plain = {f"v.{name}": 0 for name in MODES}
    for modes, blocks in (({}, 8200), ({"v.v_table": 1}, 2100)):
        await run_vector(bench, {**plain, "v.v_write": 1, **modes}, 1, blocks, 1)
