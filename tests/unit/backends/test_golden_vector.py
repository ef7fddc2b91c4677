"""The vector unit in golden against plain integers, whole memory images."""

from __future__ import annotations

import random

import numpy as np
import pytest
from oracles.vector_cases import SYMBOLS, random_case
from oracles.vector_model import vector

from pynq_train.backends.golden import GoldenMachine
from pynq_train.errors import HardwareFault
from pynq_train.hw.commands import Opcode, pack_descriptor, pack_params

STEP, RECORD, SPACE = 1024, 2048, 1 << 14
OFFSETS = {name: (k + 1) * SPACE for k, name in enumerate(SYMBOLS)}
ARENA = (len(SYMBOLS) + 1) * SPACE


@pytest.mark.parametrize("number", range(60))
def test_random(number: int, seed: int) -> None:
    rng = random.Random(f"vector{seed + number}")
    images, blocks, words = rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 70)
    values, params, memory = random_case(rng, images, blocks, words, OFFSETS)
    values["pre.rec_off"] = RECORD
    arena = np.frombuffer(rng.randbytes(ARENA), np.uint8).copy()
    words64 = arena.view(np.uint64)
    for at, word in memory.items():
        words64[at // 8] = word
    arena[:1024] = np.frombuffer(pack_descriptor(values), np.uint8)
    arena[STEP:STEP + 16] = np.frombuffer(pack_params(Opcode.VECTOR, params), np.uint8)
    expected = arena.copy()
    for at, word in vector(memory, values, params).items():
        expected.view(np.uint64)[at // 8] = word
    machine = GoldenMachine(arena, threads=1)
    machine.run(0, 1, STEP)
    machine.close()
    bad = np.flatnonzero(arena != expected)
    assert not bad.size, f"{bad.size} bytes differ, first at {bad[0]}: {values} {params}"


def test_outside_the_arena() -> None:
    arena = np.zeros(4096, np.uint8)
    values = {"pre.opcode": int(Opcode.VECTOR), "pre.rec_off": RECORD, "v.a_off": 4088,
              "v.v_images": 1, "v.v_blocks": 1, "v.v_words": 2, "v.v_sums": 1}
    arena[:1024] = np.frombuffer(pack_descriptor(values), np.uint8)
    machine = GoldenMachine(arena, threads=1)
    with pytest.raises(HardwareFault, match="map a at offset 4088"):
        machine.run(0, 1, STEP)
    machine.close()
