"""Golden reads geometry alone, and what stands for the hardware reads none of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import pynq_train
from pynq_train.backends.golden import GoldenMachine
from pynq_train.check.random_branches import random_branched_net
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    Opcode,
    pack_descriptor,
    places,
    unpack_descriptor,
)
from pynq_train.hw.geometry import GEOMETRY_SECTIONS
from pynq_train.layers.fuse import fuse
from pynq_train.schedule.lower.program import build_evaluation, build_training
from pynq_train.schedule.plan import Plan, make_plan

TESTS = Path(__file__).resolve().parents[2]


def scrambled(data: bytes, rng: random.Random) -> bytes:
    """The descriptor with any value in each field but its opcode and its geometry."""
    fields = unpack_descriptor(data)
    for name, place in places(Opcode(fields["pre.opcode"])):
        if name != "pre.opcode" and name.split(".")[0] not in GEOMETRY_SECTIONS:
            bits = place.field.bits - place.field.signed
            fields[name] = rng.getrandbits(bits)
    return pack_descriptor(fields)


def arena_after(plan: Plan, program: bytes, symbol: str, content: np.ndarray) -> np.ndarray:
    """The arena, without the program, after golden has run it."""
    arena = content.copy()
    at, count = plan.memory[symbol].offset, len(program) // DESCRIPTOR_BYTES
    arena[at:at + len(program)] = np.frombuffer(program, np.uint8)
    machine = GoldenMachine(arena, threads=1)
    machine.run(at, count, plan.memory["step_block"].offset)
    machine.close()
    arena[at:at + len(program)] = 0
    return arena


def contents(plan: Plan, rng: np.random.Generator) -> np.ndarray:
    """An arena of small random numbers; of the step block the fields stand within their limits."""
    arena = np.zeros(-(-plan.memory.nbytes // 8) * 8, np.uint8)
    for region in plan.memory:
        if region.kind in ("map", "gradient map", "weights", "flags"):
            arena[region.offset:region.offset + region.nbytes] = rng.integers(
                0, 256, region.nbytes, np.uint8)
        elif region.kind in ("masters", "running statistics", "step block"):
            words = arena[region.offset:region.offset + region.nbytes].view(np.uint8)
            words[::8] = rng.integers(0, 8, len(words[::8]), np.uint8)
    return arena


@pytest.mark.parametrize("number", range(6))
def test_golden_reads_no_schedule_field(number: int, seed: int) -> None:
    net = random_branched_net(seed + number)
    plan = make_plan(fuse(net.graph), net.batch, BOARDS["pynq-z2"])
    rng = random.Random(seed + number)
    content = contents(plan, np.random.default_rng(seed + number))
    for build in (build_training, build_evaluation):
        image = build(plan)
        whole = [image.program[at:at + DESCRIPTOR_BYTES]
                 for at in range(0, len(image.program), DESCRIPTOR_BYTES)]
        symbol = f"{image.name}.program"
        wanted = arena_after(plan, image.program, symbol, content)
        found = arena_after(plan, b"".join(scrambled(one, rng) for one in whole), symbol, content)
        np.testing.assert_array_equal(found, wanted)
        assert (wanted != content).any()


def readers() -> Mapping[str, Path]:
    """Files that stand for the hardware: cycle models, engine models."""
    package = Path(pynq_train.__file__).parent
    files = [*(package / "cycles").glob("*.py"),
             *(TESTS / "reference_models" / f"{name}_model.py"
               for name in ("engine", "update", "vector", "pool", "norm")),
             TESTS / "reference_models" / "engine_parts.py"]
    return {path.name: path for path in files}


@pytest.mark.parametrize("path", list(readers().values()), ids=list(readers()))
def test_no_model_of_the_hardware_reads_geometry(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [name for name in GEOMETRY_SECTIONS if f'"{name}.' in text] == []
