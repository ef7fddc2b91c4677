"""The pooling pass in golden against plain integers, whole memory images."""

from __future__ import annotations

import random

import numpy as np
import pytest
from reference_models.golden_unit import RECORD, check, execute
from reference_models.pool_cases import contents, geometry, random_pooled, random_window
from reference_models.pool_model import pool

from pynq_train.errors import HardwareFault

SPACE = 1 << 15
OFFSETS = {f"p.{name}_off": (k + 1) * SPACE for k, name in enumerate("iow")}
ARENA = 4 * SPACE


@pytest.mark.parametrize("number", range(60))
def test_random(number: int, seed: int) -> None:
    rng = random.Random(f"pool{seed + number}")
    size, window = (rng.randint(1, 9), rng.randint(1, 9)), random_window(rng)
    back = bool(number & 1)
    values = {**geometry(rng.randint(1, 3), rng.randint(1, 3), size,
                         random_pooled(rng, size, window), window, back), **OFFSETS,
              "p.p_argmax": 0 if back else rng.randrange(2), "pre.rec_off": RECORD}
    for name in "iow":  # images need not stand one behind the other
        values[f"p.{name}_step"] += 8 * rng.randrange(3)
    params = {"shift": rng.choice((0, 0, 1, 2, 5, rng.randint(0, 47)))}
    memory = contents(rng, values)
    check(rng, ARENA, values, params, memory, pool(memory, values, params))


def test_outside_the_arena() -> None:
    arena = np.zeros(4096, np.uint8)
    values = {**geometry(1, 1, (2, 2), (1, 1), (2, 2, 0, 0), back=False), "p.i_off": 4072,
              "pre.rec_off": RECORD}
    with pytest.raises(HardwareFault, match="the map that is read at offset 4072"):
        execute(arena, values, {})
