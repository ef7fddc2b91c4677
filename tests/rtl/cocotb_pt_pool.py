"""Cocotb bench of pooling in pt_vector: random windows, sizes, stalls; memory against the model."""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb
from client_model import Bench, ReadClient, WriteClient, at_most
from descriptor_bench import check_descriptor
from reference_models.pool_cases import Window, contents, geometry, random_pooled, random_window
from reference_models.pool_model import pool

from pynq_train.hw.config import ZYNQ7020

OFFSETS = {f"p.{name}_off": k + 1 << 20 for k, name in enumerate("iow")}
REC_OFF = 7 << 20
SLACK = 200
"""Cycles of a descriptor beside its steps."""


async def run_pool(bench: Bench, planes: tuple[int, int], size: tuple[int, int],
                   pooled: tuple[int, int], window: Window, back: bool, keep: int = 1) -> int:
    """One descriptor; checks everything that it writes. Returns its cycles."""
    rng, memory = bench.rng, bench.memory
    memory.clear()
    base = 8 * rng.randint(0, 15)
    values = {**geometry(*planes, size, pooled, window, back),
              **{name: at + base for name, at in OFFSETS.items()},
              "p.p_argmax": int(keep and not back)}
    for name in "iow":  # images need not stand one behind the other
        values[f"p.{name}_step"] += 8 * rng.choice((0, 0, 3))
    params = {"shift": rng.choice((0, 0, 1, 3, rng.randint(0, 47)))}
    memory.update(contents(rng, values))
    values["pre.rec_off"] = bench.record_off = REC_OFF + base
    count = planes[0] * planes[1] * (values["p.t_rows"] + 4) * (values["p.t_cols"] + 4)
    return await check_descriptor(bench, "v", values, params,
                                  pool(memory, values, params), 2000 + 40 * count)


async def start(dut: Any) -> Bench:
    """The unit out of reset, with its memory."""
    bench = Bench(dut, random.Random(int(os.environ.get("PT_SEED", "1"))))
    bench.clients = [ReadClient(bench, "a_"), ReadClient(bench, "b_"),
                     WriteClient(bench, run_prefix="wr_")]
    await bench.start({"cfg_valid_i": 0, "cfg_idx_i": 0, "cfg_data_i": 0, "cfg_last_i": 0,
                       "stamp_i": 0})
    return bench


@cocotb.test()
async def random_windows(dut: Any) -> None:
    """Random windows, sizes and stalls."""
    bench = await start(dut)
    rng = bench.rng
    for number in range(at_most(70)):
        bench.stall = rng.choice((0.0, 0.1, 0.5))
        bench.latency = rng.choice((1, 5, 30, 60))
        window = random_window(rng)
        most = 4 if number % 3 else 14
        size = (rng.randint(1, most), rng.randint(1, most))
        await run_pool(bench, (rng.randint(1, 3), rng.randint(1, 3)), size,
                       random_pooled(rng, size, window), window, bool(number & 1),
                       rng.randrange(2))


@cocotb.test()
async def rate(dut: Any) -> None:
    """One step per cycle without stalls; the widest map."""
    bench = await start(dut)
    bench.stall, bench.latency = 0.0, 40
    widest = ZYNQ7020.line_columns - 2
    # Windows of one row use no line, and maps may be wider than it.
    line = 2 * ZYNQ7020.line_columns + 40
    await run_pool(bench, (1, 1), (2, line), (2, line // 2), ((1, 2), (1, 2), 0, 0), False)
    for back in (False, True):
        await run_pool(bench, (1, 1), (3, widest), (2, widest // 2), (3, 2, 1, 1), back)
        cycles = await run_pool(bench, (2, 2), (24, 30), (12, 15), (3, 2, 1, 1), back)
        steps = 4 * (24 + back) * (30 + back)
        assert cycles < steps + SLACK, f"{cycles} cycles for {steps} steps"
