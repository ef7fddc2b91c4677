"""The vector unit in golden against plain integers, whole memory images."""

from __future__ import annotations

import random

import numpy as np
import pytest
from reference_models.golden_unit import RECORD, check, execute
from reference_models.vector_cases import SYMBOLS, random_case, random_modes
from reference_models.vector_model import vector

from pynq_train.errors import HardwareFault
from pynq_train.hw.commands import Opcode

SPACE = 1 << 17
OFFSETS = {name: (k + 1) * SPACE for k, name in enumerate(SYMBOLS)}
ARENA = (len(SYMBOLS) + 1) * SPACE


@pytest.mark.parametrize("number", range(60))
def test_random(number: int, seed: int) -> None:
    rng = random.Random(f"vector{seed + number}")
    images, blocks, words = rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 70)
    values, params, memory = random_case(rng, images, blocks, words, OFFSETS,
                                         image=rng.randint(0, 9))
    values["pre.rec_off"] = RECORD
    check(rng, ARENA, values, params, memory, vector(memory, values, params))


@pytest.mark.parametrize("number", range(40))
def test_random_factors(number: int, seed: int) -> None:
    rng = random.Random(f"factor{seed + number}")
    images, blocks, words = rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 40)
    values, params, memory = random_case(rng, images, blocks, words, OFFSETS,
                                         random_modes(rng, factors=True))
    values["pre.rec_off"] = RECORD
    check(rng, ARENA, values, params, memory, vector(memory, values, params))


def test_outside_the_arena() -> None:
    arena = np.zeros(4096, np.uint8)
    values = {"pre.opcode": int(Opcode.VECTOR), "pre.rec_off": RECORD, "v.a_off": 4088,
              "v.v_images": 1, "v.v_blocks": 1, "v.v_words": 2, "v.v_sums": 1}
    with pytest.raises(HardwareFault, match="map a at offset 4088"):
        execute(arena, values, {})
