"""Cocotb bench of pt_norm: random programs, sizes and stalls; memory against the model."""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb
from client_model import Bench, ReadClient, WriteClient, at_most
from descriptor_bench import check_descriptor
from reference_models.norm_cases import SYMBOLS, random_case, run

from pynq_train.cycles.vector import block_cycles
from pynq_train.hw.norm import NormProgram

OFFSETS = {name: k + 1 << 20 for k, name in enumerate(SYMBOLS)}
REC_OFF = 7 << 20


async def run_norm(bench: Bench, program: NormProgram, blocks: int, parts: int) -> int:
    """One descriptor; checks everything that it writes. Returns its cycles."""
    rng, memory = bench.rng, bench.memory
    memory.clear()
    base = 8 * rng.randint(0, 15)
    values, params, content = random_case(
        rng, program, blocks, parts, {name: at + base for name, at in OFFSETS.items()})
    memory.update(content)
    values["pre.rec_off"] = bench.record_off = REC_OFF + base
    return await check_descriptor(bench, "n", values, params,
                                  run(memory, values, params), 1000 + 2000 * blocks)


async def start(dut: Any) -> Bench:
    """The unit out of reset, with its memory."""
    bench = Bench(dut, random.Random(int(os.environ.get("PT_SEED", "1"))))
    bench.clients = [ReadClient(bench), WriteClient(bench, run_prefix="wr_")]
    await bench.start({"cfg_valid_i": 0, "cfg_idx_i": 0, "cfg_data_i": 0, "cfg_last_i": 0,
                       "stamp_i": 0})
    return bench


@cocotb.test()
async def random_norms(dut: Any) -> None:
    """All programs, random sizes and stalls."""
    bench = await start(dut)
    rng = bench.rng
    for number in range(at_most(80)):
        bench.stall = rng.choice((0.0, 0.1, 0.5))
        bench.latency = rng.choice((1, 5, 30, 60))
        await run_norm(bench, NormProgram(number % len(NormProgram)), rng.randint(1, 6),
                       rng.randint(1, 5))


@cocotb.test()
async def rate(dut: Any) -> None:
    """Cycles of a channel block of each program without stalls."""
    bench = await start(dut)
    bench.stall, bench.latency = 0.0, 40
    for program in NormProgram:
        few, many = [await run_norm(bench, program, blocks, 2) for blocks in (2, 12)]
        expected = block_cycles(program)
        assert many - few == 10 * expected, (
            f"{program.name}: {(many - few) / 10} cycles for a channel block, not {expected}")
