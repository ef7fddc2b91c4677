"""Cocotb bench of pt_softmax: random logits, labels and stalls; memory image against the model."""

from __future__ import annotations

import os
import random
import struct
from typing import Any

import cocotb
from client_model import Bench, ReadClient, WriteClient, at_most
from scalar_model import softmax_image, squared_image

from pynq_train.hw.commands import (
    PARAM_INDEX,
    SECTIONS,
    Opcode,
    pack_descriptor,
    pack_params,
)

M64 = (1 << 64) - 1
LOGIT_OFF, LABEL_OFF, DLOGIT_OFF, REC_OFF = 0x10000, 0x40000, 0x80000, 0xC0080


def config_words(values: dict[str, int], params: dict[str, int]) -> list[tuple[int, int]]:
    """What the sequencer sends for a softmax."""
    desc = struct.unpack("<128Q", pack_descriptor({"pre.opcode": Opcode.SOFTMAX, **values}))
    param = struct.unpack("<2Q", pack_params(Opcode.SOFTMAX, params))
    indices = list(range(SECTIONS["pre"].words))
    indices += [SECTIONS["f"].first + k for k in range(SECTIONS["f"].words)]
    return [(k, desc[k]) for k in indices] + [(PARAM_INDEX + k, w) for k, w in enumerate(param)]


def random_logits(rng: random.Random, classes: int) -> list[int]:
    """Wide, narrow, equal or extreme logits."""
    kind = rng.randrange(5)
    if kind == 0:
        return [rng.randint(-32767, 32767) for _ in range(classes)]
    if kind == 1:
        return [rng.randint(-40, 40) for _ in range(classes)]
    if kind == 2:
        return [rng.randint(-32768, 32767)] * classes
    if kind == 3:
        return [rng.choice((-32768, 32767)) for _ in range(classes)]
    return [rng.randint(-3000, 3000) for _ in range(classes)]


def random_targets(rng: random.Random, classes: int) -> dict[str, int]:
    """One-hot targets, a usual smoothing, or anything that the fields hold."""
    kind = rng.randrange(4)
    if kind < 2:
        off = 0 if kind else round(0.1 * 65536 / classes)
        return {"t_off": off, "t_drop": (classes - 1) * off, "m_shift": 0}
    return {"t_off": rng.getrandbits(16), "t_drop": rng.getrandbits(16), "m_shift": 0}


async def run_softmax(bench: Bench, classes: int, batch: int, valid: int, grad: bool,
                      z_shift: int, mse: bool = False) -> int:
    """One descriptor; checks everything that it writes. Returns its cycles."""
    rng = bench.rng
    params = {"z_shift": z_shift, "valid": valid, **random_targets(rng, classes)}
    if mse:
        params["m_shift"] = rng.choice((0, 0, max(z_shift - 14, 0), rng.randint(0, 31)))
    memory = bench.memory
    memory.clear()
    blocks = -(-classes // 4)
    expected: dict[int, int] = {}
    loss_sum = right = 0
    for b in range(batch):
        z = random_logits(rng, classes)
        label = rng.randrange(classes)
        if rng.random() < 0.1:
            label = rng.choice((-1, classes, 4 * blocks - 1, classes + 65536, 1 << 40, 65536))
        if rng.random() < 0.3:
            label = z.index(max(z))
        memory[LABEL_OFF + 8 * b] = label & M64
        loss, hit, codes = (squared_image if mse else softmax_image)(z, label, params)
        if b < valid:
            loss_sum += loss
            right += int(hit)
        else:
            codes = [0] * classes
        z += [rng.getrandbits(16) for _ in range(4 * blocks - classes)]
        codes += [0] * (4 * blocks - classes)
        for cb in range(blocks):
            at = (cb * batch + b) * 8
            lanes = range(4)
            memory[LOGIT_OFF + at] = sum((z[4 * cb + n] & 0xFFFF) << 16 * n for n in lanes)
            if grad:
                expected[DLOGIT_OFF + at] = sum(
                    (codes[4 * cb + n] & 0xFFFF) << 16 * n for n in lanes)
    for k, word in enumerate((loss_sum, right, 0, 0)):
        expected[REC_OFF + 8 * k] = word
    bench.record_off = REC_OFF
    image = {**memory, **expected}
    await bench.configure(config_words(
        {"f.logit_off": LOGIT_OFF, "f.label_off": LABEL_OFF, "f.dlogit_off": DLOGIT_OFF,
         "pre.rec_off": REC_OFF, "f.f_batch": batch, "f.f_classes": classes,
         "f.f_grad": int(grad), "f.f_mse": int(mse)}, params))
    cycles = await bench.wait_done(2000 + batch * (1000 + 60 * blocks))
    where = f"classes {classes}, batch {batch}, grad {grad}, mse {mse}, {params}"
    wrong = [hex(a) for a in sorted(image.keys() | memory.keys())
             if image.get(a) != memory.get(a)]
    assert not wrong, f"{where}: {len(wrong)} words differ, first {wrong[:4]}"
    return cycles


async def start(dut: Any) -> Bench:
    """The unit out of reset, with its memory."""
    bench = Bench(dut, random.Random(int(os.environ.get("PT_SEED", "1"))))
    bench.clients = [ReadClient(bench), WriteClient(bench, run_prefix="wr_")]
    await bench.start({"cfg_valid_i": 0, "cfg_idx_i": 0, "cfg_data_i": 0, "cfg_last_i": 0,
                       "stamp_i": 0})
    return bench


@cocotb.test()
async def random_softmax(dut: Any) -> None:
    """Random sizes and stalls."""
    bench = await start(dut)
    rng = bench.rng
    cases = [(1, 3), (2, 5), (3, 4), (4, 2), (5, 9), (10, 16), (11, 3), (17, 6), (100, 3),
             (1000, 2), (1024, 1), (10, 0)]
    cases += [(rng.randint(1, 40), rng.randint(1, 10)) for _ in range(12)]
    for classes, batch in cases[:at_most(len(cases))]:
        bench.stall = rng.choice((0.0, 0.1, 0.5))
        bench.latency = rng.choice((1, 5, 30, 60))
        valid = rng.choice((batch, batch + 3, rng.randint(0, batch)))
        await run_softmax(bench, classes, batch, valid, rng.random() < 0.7,
                          rng.choice((0, 8, 10, 12, 15, 31)), rng.random() < 0.4)


@cocotb.test()
async def rate(dut: Any) -> None:
    """The time of a usual batch without stalls."""
    bench = await start(dut)
    for grad, mse in ((False, False), (True, False), (False, True), (True, True)):
        bench.stall, bench.latency = 0.0, 45
        cycles = await run_softmax(bench, 10, 32, 32, grad, 12, mse)
        dut._log.info("10 classes, 32 images, grad %s, mse %s: %d cycles", grad, mse, cycles)
        assert cycles < 32 * 160 + 300, f"{cycles} cycles for 32 images"
