"""Cocotb bench of pt_norm: random programs, sizes and stalls; memory against the model."""

from __future__ import annotations

import os
import random
import struct
from typing import Any

import cocotb
from client_model import Bench, ReadClient, WriteClient
from oracles.norm_cases import SYMBOLS, random_case, run

from pynq_train.hw.commands import PARAM_INDEX, SECTIONS, Opcode, pack_descriptor, pack_params
from pynq_train.hw.norm import NormProgram
from pynq_train.schedule.simulate.vector import block_cycles

OFFSETS = {name: k + 1 << 20 for k, name in enumerate(SYMBOLS)}
REC_OFF = 7 << 20


def config_words(values: dict[str, int], params: dict[str, int]) -> list[tuple[int, int]]:
    """What the sequencer sends for a normalisation descriptor."""
    desc = struct.unpack("<128Q", pack_descriptor(values))
    param = struct.unpack("<2Q", pack_params(Opcode.NORM, params))
    indices = list(range(SECTIONS["pre"].words))
    indices += [SECTIONS["n"].first + k for k in range(SECTIONS["n"].words)]
    return [(k, desc[k]) for k in indices] + [(PARAM_INDEX + k, w) for k, w in enumerate(param)]


async def run_norm(bench: Bench, program: NormProgram, blocks: int, parts: int) -> int:
    """One descriptor; checks everything that it writes. Returns its cycles."""
    rng, memory = bench.rng, bench.memory
    memory.clear()
    base = 8 * rng.randint(0, 15)
    values, params, content = random_case(
        rng, program, blocks, parts, {name: at + base for name, at in OFFSETS.items()})
    memory.update(content)
    values["pre.rec_off"] = bench.record_off = REC_OFF + base
    image = {**memory, **run(memory, values, params)}
    await bench.configure(config_words(values, params))
    cycles = await bench.wait_done(1000 + 2000 * blocks)
    wrong = [hex(a) for a in sorted(image.keys() | memory.keys())
             if image.get(a) != memory.get(a)]
    found = [f"{a}: {image.get(int(a, 16), 0):x} found {memory.get(int(a, 16), 0):x}"
             for a in wrong[:4]]
    assert not wrong, f"{program.name} {values} {params}: {len(wrong)} words differ, {found}"
    return cycles


@cocotb.test()
async def random_norms(dut: Any) -> None:
    """All programs, random sizes and stalls, then the rate of each program without stalls."""
    rng = random.Random(int(os.environ.get("PT_SEED", "1")))
    bench = Bench(dut, rng)
    bench.clients = [ReadClient(bench), WriteClient(bench, run_prefix="wr_")]
    await bench.start({"cfg_valid_i": 0, "cfg_idx_i": 0, "cfg_data_i": 0, "cfg_last_i": 0,
                       "stamp_i": 0})
    for number in range(80):
        bench.stall = rng.choice((0.0, 0.1, 0.5))
        bench.latency = rng.choice((1, 5, 30, 60))
        await run_norm(bench, NormProgram(number % 4), rng.randint(1, 6), rng.randint(1, 5))
    bench.stall, bench.latency = 0.0, 40
    for program in NormProgram:
        few, many = [await run_norm(bench, program, blocks, 2) for blocks in (2, 12)]
        expected = block_cycles(program)
        assert many - few == 10 * expected, (
            f"{program.name}: {(many - few) / 10} cycles for a channel block, not {expected}")
