"""GRADIENT descriptors of scheduled programs: golden and the literal engine model agree.

Golden reads section ``g``, the model everything else; both work on copies of one random memory
image, which are then compared byte for byte.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from reference_models.described import described, undescribed
from reference_models.engine_model import run_conv

from pynq_train.backends.golden import GoldenMachine, scalar
from pynq_train.graph.activation import Relu, Relu6
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import AvgPool, Conv, Dense, MaxPool2x2, Op
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import DESCRIPTOR_BYTES, Opcode, pack_descriptor, pack_params
from pynq_train.hw.words import ABSENT_WEIGHT
from pynq_train.layers.fuse import fuse
from pynq_train.program import Program
from pynq_train.program.gradients import check_gradient
from pynq_train.program.spans import strides_of
from pynq_train.schedule.lower.program import build_training
from pynq_train.schedule.plan import make_plan

NETS: dict[str, tuple[tuple[int, int, int], list[Op]]] = {
    "pool": ((3, 8, 18), [Conv(20, 3, 1, 1), Relu(), MaxPool2x2(), Conv(7, 1), Dense(3)]),
    "strides": ((5, 9, 9), [Conv(18, 5, 3, 2, bias=False), Relu(), Conv(3, 2), Dense(4)]),
    # No tile holds two whole rows with their flags.
    "wide": ((2, 6, 131), [Conv(5, 3, 1, 1), Relu(), MaxPool2x2(), Conv(6, 3, 4), Relu(),
                           Dense(3)]),
    "dense": ((4, 3, 3), [Dense(35), Relu(), Dense(2)]),
    "sections": ((6, 7, 7), [Conv(24, 3, 1, 1, groups=3), Relu(), Conv(40, 3, 2, 1, groups=2),
                             Relu6(), MaxPool2x2(), Conv(12, 1, groups=4), Relu(), Dense(3)]),
    "grouped": ((3, 9, 9), [Conv(40, 3, 1, 1), Relu6(), Conv(40, 3, 1, 1, groups=40), Relu6(),
                            MaxPool2x2(), Conv(24, 1), Conv(24, 3, 2, 1, groups=6), Relu6(),
                            AvgPool(3, 1, 1), Conv(48, 1), Conv(48, 1, groups=3), Dense(3)]),
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
        fields = {**made.fields[number], "u.u_plain": plain, "gu.plain": plain}
        gone = take_away(fields, image, rng)
        params = {"g_shift": int(rng.integers(16, 44)), "w_shift": int(rng.integers(8, 20)),
                  "lr_shift": int(rng.integers(0, 30)), "lr": int(rng.integers(0, 1 << 16)),
                  "momentum": int(rng.integers(0, 65537)), "decay": int(rng.integers(0, 1 << 16)),
                  "nesterov": int(rng.integers(0, 2))}
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
        assert (image.view(np.int32)[gone] == ABSENT_WEIGHT).all()


@pytest.mark.parametrize("name", ["grouped", "sections"])
def test_grouped_maps(name: str, rng: np.random.Generator) -> None:
    """Forward and backward of grouped layers, ReLU6 and average pooling."""
    made, clips = program(name), 0
    image = rng.integers(0, 256, -(-made.arena_bytes // 8) * 8, dtype=np.uint8)
    for offset, data in made.image():
        image[offset:offset + len(data)] = np.frombuffer(data, np.uint8)
    for number, fields in enumerate(made.fields):
        if fields["pre.opcode"] != Opcode.CONV:
            continue
        clips += fields["g.g_clip"]
        entry = made.step_off + 16 * fields["pre.param"]
        image[entry:entry + 16] = np.frombuffer(pack_params(Opcode.CONV, {
            "shift": 20, "bias_shift": -3, "limit": int(rng.integers(1, 20000))}), np.uint8)
        at, literal = made.program_off + DESCRIPTOR_BYTES * number, image.copy()
        run_conv(literal, at, made.step_off)
        GoldenMachine(image, threads=1).run(at, 1, made.step_off)
        bad = np.flatnonzero(image != literal)
        assert not bad.size, f"descriptor {number}: {bad.size} bytes differ, first at {bad[0]}"
    assert clips == {"grouped": 3, "sections": 2}[name]


def take_away(f: dict[str, int], image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make masters of a GRADIENT absent; which ones, as 32-bit words of ``image``."""
    words = image.view(np.int32)
    found = np.zeros(len(words), bool)
    at, step = f["u.wv_off"] // 4, 1 if f["u.u_plain"] else 2
    found[at:at + step * f["u.u_count"]:step] = rng.random(f["u.u_count"]) < 0.3
    words[found] = ABSENT_WEIGHT
    return found


def test_a_forgotten_absence_is_caught(rng: np.random.Generator,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scalar, "ABSENT_WEIGHT", 12345)
    with pytest.raises(AssertionError, match="bytes differ"):
        test_gradients("grouped", 0, rng)


def part(f: dict[str, int], tile: int) -> dict[str, int]:
    """A GRADIENT of two m tiles cut to one of them: section ``g`` describes that slice."""
    counts = [f[f"pre.t{level}"] for level in range(5)]
    assert counts[4] == f["y.y4"] == 2, "the layer has two m tiles, in one descriptor"
    moved = {name: strides_of(counts, [f[f"s.{name}{level}"] for level in range(5)])[4]
             for name in ("daddr", "fdaddr")}
    half = f["u.u_count"] // 2
    changes = {"pre.t4": 1, "y.y4": 1, "g.g_m": min(16, f["g.g_m"] - 16 * tile),
               "u.u_count": half}
    if tile:
        changes |= {"s.addr": f["s.addr"] + moved["daddr"],
                    "s.faddr": f["s.faddr"] + moved["fdaddr"],
                    "s.sum_off": f["s.sum_off"] + 128, "g.g_b": f["g.g_b"] + 128,
                    "g.g_y": f["g.g_y"] + 4 * f["g.g_y_strides1"],
                    "g.g_flag": f["g.g_flag"] + 4 * f["g.g_flag_strides1"],
                    "s.lim3": f["s.lim3"] - 4,
                    "u.wv_off": f["u.wv_off"] + half * (4 if f["u.u_plain"] else 8),
                    "u.w16_off": f["u.w16_off"] + 2 * half}
    return described({**undescribed(f), **changes})


@pytest.mark.parametrize("plain", [0, 1])
@pytest.mark.parametrize("name", ["pool", "strides"])
def test_slices(name: str, plain: int, rng: np.random.Generator) -> None:
    """One m tile after the other gives the same as all at once; the verifier lets each pass."""
    made = program(name)
    number, whole = next((k, f) for k, f in enumerate(made.fields)
                         if f["pre.opcode"] == Opcode.GRADIENT and f["g.g_m"] in (18, 20))
    whole = {**whole, "u.u_plain": plain, "gu.plain": plain}
    image = rng.integers(0, 256, -(-made.arena_bytes // 8) * 8, dtype=np.uint8)
    for offset, data in made.image():
        image[offset:offset + len(data)] = np.frombuffer(data, np.uint8)
    params = {"g_shift": 36, "w_shift": 16, "lr_shift": 14, "lr": 40000, "momentum": 60000,
              "decay": 99}
    at, entry = made.program_off + DESCRIPTOR_BYTES * number, made.step_off
    entry += 16 * whole["pre.param"]
    image[entry:entry + 16] = np.frombuffer(pack_params(Opcode.GRADIENT, params), np.uint8)
    results, measures = [], []
    for runs in ([whole], [part(whole, 0), part(whole, 1)]):
        once = image.copy()
        measure = saturations = 0
        for fields in runs:
            check_gradient("part", fields, made.tap_table(number), made.hw_config)
            once[at:at + DESCRIPTOR_BYTES] = np.frombuffer(pack_descriptor(fields), np.uint8)
            literal = once.copy()
            run_conv(literal, at, made.step_off)
            GoldenMachine(once, threads=1).run(at, 1, made.step_off)
            np.testing.assert_array_equal(once, literal)
            record = once[whole["pre.rec_off"]:][:32].view(np.int64)
            measure, saturations = measure | record[0], saturations + record[1]
        once[at:at + DESCRIPTOR_BYTES] = 0
        once[whole["pre.rec_off"]:][:32] = 0
        results.append(once)
        measures.append((measure, saturations))
    np.testing.assert_array_equal(*results)
    assert measures[0] == measures[1] and measures[0][0]
