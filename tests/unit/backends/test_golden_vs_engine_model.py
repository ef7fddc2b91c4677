"""GRADIENT descriptors of scheduled programs: golden and the literal engine model agree.

Golden reads section ``g``, the model everything else; both work on copies of one random memory
image, which are then compared byte for byte.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from oracles.engine_model import run_conv

from pynq_train.backends.golden import GoldenMachine
from pynq_train.graph.fuse import fuse
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Conv, Dense, MaxPool2x2, Op, Relu
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import DESCRIPTOR_BYTES, Opcode, pack_descriptor, pack_params
from pynq_train.program import Program
from pynq_train.schedule.build import build_training
from pynq_train.schedule.plan import make_plan

NETS: dict[str, tuple[tuple[int, int, int], list[Op]]] = {
    "pool": ((3, 8, 18), [Conv(20, 3, 1, 1), Relu(), MaxPool2x2(), Conv(7, 1), Dense(3)]),
    "strides": ((5, 9, 9), [Conv(18, 5, 3, 2, bias=False), Relu(), Conv(3, 2), Dense(4)]),
    "dense": ((4, 3, 3), [Dense(35), Relu(), Dense(2)]),
}


@cache
def program(name: str) -> Program:
    """A training step of a small network."""
    shape, ops = NETS[name]
    plan = make_plan(fuse(Graph.build(shape, ops)), 3, BOARDS["pynq-z2"])
    image = build_training(plan)
    return Program.make(image.name, image.program, image.taps, plan.memory, plan.memory.nbytes,
                        plan.board.config)


@pytest.mark.parametrize("plain", [0, 1])
@pytest.mark.parametrize("name", NETS)
def test_gradients(name: str, plain: int, rng: np.random.Generator) -> None:
    made = program(name)
    image = rng.integers(0, 256, -(-made.arena_bytes // 8) * 8, dtype=np.uint8)
    numbers = [k for k, f in enumerate(made.fields) if f["pre.opcode"] == Opcode.GRADIENT]
    assert len(numbers) >= len([op for op in NETS[name][1] if isinstance(op, (Conv, Dense))])
    for offset, data in made.image():
        image[offset:offset + len(data)] = np.frombuffer(data, np.uint8)
    for number in numbers:
        fields = {**made.fields[number], "u.u_plain": plain}
        params = {"g_shift": int(rng.integers(16, 44)), "w_shift": int(rng.integers(8, 20)),
                  "lr_shift": int(rng.integers(0, 30)), "lr": int(rng.integers(0, 1 << 16)),
                  "momentum": int(rng.integers(0, 65537)), "decay": int(rng.integers(0, 1 << 16))}
        at, entry = DESCRIPTOR_BYTES * number, made.step_off + 16 * fields["pre.param"]
        at += made.program_off
        image[at:at + DESCRIPTOR_BYTES] = np.frombuffer(pack_descriptor(fields), np.uint8)
        image[entry:entry + 16] = np.frombuffer(pack_params(Opcode.GRADIENT, params), np.uint8)
        literal = image.copy()
        run_conv(literal, at, made.step_off)
        before = image.copy()
        machine = GoldenMachine(image, threads=1)
        machine.run(at, 1, made.step_off)
        machine.close()
        bad = np.flatnonzero(image != literal)
        assert not bad.size, f"descriptor {number}: {bad.size} bytes differ, first at {bad[0]}"
        assert (image != before).any()
