"""The pooling pass in golden against plain integers, whole memory images."""

from __future__ import annotations

import random

import numpy as np
import pytest
from oracles.pool_cases import contents, geometry, random_pooled, random_window
from oracles.pool_model import pool

from pynq_train.backends.golden import GoldenMachine
from pynq_train.errors import HardwareFault
from pynq_train.hw.commands import Opcode, pack_descriptor, pack_params

STEP, RECORD, SPACE = 1024, 2048, 1 << 15
OFFSETS = {f"p.{name}_off": (k + 1) * SPACE for k, name in enumerate("iow")}
ARENA = 4 * SPACE


@pytest.mark.parametrize("number", range(60))
def test_random(number: int, seed: int) -> None:
    rng = random.Random(f"pool{seed + number}")
    size, window = (rng.randint(1, 9), rng.randint(1, 9)), random_window(rng)
    back = bool(number & 1)
    values = {**geometry(rng.randint(1, 3), rng.randint(1, 3), size,
                         random_pooled(rng, size, window), window, back), **OFFSETS,
              "p.p_winners": 0 if back else rng.randrange(2), "pre.rec_off": RECORD}
    for name in "iow":  # images need not stand one behind the other
        values[f"p.{name}_step"] += 8 * rng.randrange(3)
    params = {"shift": rng.choice((0, 0, 1, 2, 5, rng.randint(0, 47)))}
    arena = np.frombuffer(rng.randbytes(ARENA), np.uint8).copy()
    words64 = arena.view(np.uint64)
    memory = contents(rng, values)
    for at, word in memory.items():
        words64[at // 8] = word
    arena[:1024] = np.frombuffer(pack_descriptor(values), np.uint8)
    arena[STEP:STEP + 16] = np.frombuffer(pack_params(Opcode.POOL, params), np.uint8)
    expected = arena.copy()
    for at, word in pool(memory, values, params).items():
        expected.view(np.uint64)[at // 8] = word
    machine = GoldenMachine(arena, threads=1)
    machine.run(0, 1, STEP)
    machine.close()
    bad = np.flatnonzero(arena != expected)
    assert not bad.size, f"{bad.size} bytes differ, first at {bad[0]}: {values} {params}"


def test_outside_the_arena() -> None:
    arena = np.zeros(4096, np.uint8)
    values = {**geometry(1, 1, (2, 2), (1, 1), (2, 2, 0, 0), back=False), "p.i_off": 4072,
              "pre.rec_off": RECORD}
    arena[:1024] = np.frombuffer(pack_descriptor(values), np.uint8)
    machine = GoldenMachine(arena, threads=1)
    with pytest.raises(HardwareFault, match="the map that is read at offset 4072"):
        machine.run(0, 1, STEP)
    machine.close()
