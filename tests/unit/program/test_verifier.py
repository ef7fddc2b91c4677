"""The verifier lets scheduled programs pass and names what is wrong with broken ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pynq_train.errors import IllegalProgram
from pynq_train.graph.activation import Relu
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import Conv, Dense, MaxPool2x2
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import DESCRIPTOR_BYTES, Opcode, Pass, Unit, pack_descriptor, pair
from pynq_train.layers.fuse import fuse
from pynq_train.program import Program, verify_program
from pynq_train.program.access import Access
from pynq_train.program.hazards import Order
from pynq_train.program.spans import Spans, affine, distinct, strides_of, unpair
from pynq_train.schedule.lower.program import build_evaluation, build_training
from pynq_train.schedule.plan import make_plan

NETS = {
    "small": ((3, 9, 20), [Conv(8, 3, 1, 1), Relu(), MaxPool2x2(), Conv(20, 3, 2, 1), Relu(),
                           Dense(5)]),
    "strides": ((2, 13, 11), [Conv(5, 5, 3, 2), Relu(), Conv(18, 2, 4, 1), Conv(7, 1), Relu(),
                              Dense(6), Relu(), Dense(3)]),
    "wide": ((4, 8, 40), [Conv(17, 7, 1, 3), MaxPool2x2(), Conv(33, 3, 1, 1), Relu(), Dense(10)]),
}
FIRST, FORWARD, SOFTMAX, BACKWARD, GRADIENT, UPDATE = (
    "first", "forward", "softmax", "backward", "gradient", "update")
"""Descriptors of the training program of net 'small', those of its second layer if not said."""


@cache
def programs(name: str, batch: int) -> tuple[Program, Program]:
    shape, ops = NETS[name]
    plan = make_plan(fuse(Graph.build(shape, ops)), batch, BOARDS["pynq-z2"], turns=False)
    images = build_training(plan), build_evaluation(plan)
    return tuple(Program.make(i.name, i.program, i.taps, plan.memory, plan.memory.nbytes,
                              plan.board.config) for i in images)  # type: ignore[return-value]


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch", [1, 5])
def test_scheduled_programs_pass(name: str, batch: int) -> None:
    for program in programs(name, batch):
        verify_program(program)


def change(program: Program, index: int, **fields: int) -> Program:
    """The program with fields of one descriptor changed; ``__`` stands for the dot."""
    values = dict(program.fields[index])
    values.update({name.replace("__", "."): value for name, value in fields.items()})
    at = index * DESCRIPTOR_BYTES
    code = program.descriptors
    return replace(program, descriptors=code[:at] + pack_descriptor(values)
                   + code[at + DESCRIPTOR_BYTES :])


def find(program: Program, name: str) -> int:
    """Position of a named descriptor of net 'small'."""
    def is_it(f: dict[str, int]) -> bool:
        opcode, kind = f["pre.opcode"], f.get("g.g_pass")
        second = (f.get("g.g_kernel"), f.get("g.g_n")) == (3, 8)
        return {
            FIRST: kind == Pass.FORWARD,
            FORWARD: kind == Pass.FORWARD and second,
            SOFTMAX: opcode == Opcode.SOFTMAX,
            BACKWARD: kind == Pass.BACKWARD and second,
            GRADIENT: opcode == Opcode.GRADIENT and second,
            UPDATE: opcode == Opcode.UPDATE and program.locate(f["u.g_off"]) == "conv2.db+0x0",
        }[name]

    return next(k for k, f in enumerate(program.fields) if is_it(f))


BROKEN: list[tuple[str, dict[str, int], str]] = [
    (FORWARD, {"pre__t0": 0}, r"descriptor 1 \(CONV FORWARD\): counts pre\.t"),
    (FORWARD, {"pre__pre_pad": 1}, r"reserved field pre\.pre_pad: expected 0, found 1"),
    (FORWARD, {"x__addr_pad": 2}, r"reserved field x\.addr_pad: expected 0, found 2"),
    (GRADIENT, {"c__c_pad": 3}, r"reserved field c\.c_pad: expected 0, found 3"),
    (FORWARD, {"pre__number": 7}, r"number: expected 1, found 7"),
    (FORWARD, {"pre__param": 4000}, r"step-block entry"),
    (FORWARD, {"pre__signal": 9}, r"signal: expected 0\.\.3"),
    (FORWARD, {"pre__signal": 1}, r"a semaphore each for conv"),
    (FORWARD, {"pre__wait_x": 9}, r"wait_x would never end: expected at most 1"),
    (FORWARD, {"pre__wait_x": 0}, r"hazard at conv1\.y.* reads its streamed operand"),
    (FORWARD, {"pre__n_taps": 200}, r"tap table"),
    (FORWARD, {"pre__n_taps": 8}, r"taps: expected c\.l2"),
    (FORWARD, {"g__g_kernel": 12}, r"kernel: expected 1\.\.11, found 12"),
    (FORWARD, {"g__g_stride": 5}, r"stride: expected 1\.\.4"),
    (FORWARD, {"g__g_n": 65535}, r"products in one sum: expected at most 131072"),
    (FORWARD, {"c__xreuse": 1}, r"c\.xreuse"),
    (FORWARD, {"c__red": 5}, r"accumulator tiles that the store unit takes"),
    (FORWARD, {"c__l0": 400}, r"accumulator groups of tap 0|pixel table rows"),
    (FORWARD, {"c__s_sets": 2}, r"c\.s_sets|words of an S tile"),
    (FORWARD, {"c__s_stride": 5}, r"words of an S chunk that its sets read"),
    (FORWARD, {"x__pos0": pair(4000)}, r"words of an X tile: expected at most 6144"),
    (FORWARD, {"x__pos0": pair(0)}, r"written twice"),
    (FORWARD, {"x__pos0": 3}, r"ternary pair has remainder"),
    (FORWARD, {"x__addr": 0}, r"reads train\.program\+0x58 as its streamed operand"),
    (FORWARD, {"x__taps": 1}, r"x\.taps: expected 0"),
    (FORWARD, {"x__mode": 3}, r"x\.mode"),
    (FORWARD, {"yw__addr": 0}, r"writes its stored tensor to train\.program, which is constant|"
                               r"bytes of train\.program alone"),
    (FORWARD, {"yw__lim3": 1}, r"leaves out conv2\.y"),
    (FORWARD, {"yw__lim0": 2}, r"leaves out conv2\.y"),
    (FORWARD, {"y__yblk": 2000}, r"staged words: expected at most 4096"),
    (FORWARD, {"y__yblk": 0}, r"staged words of a segment"),
    (FORWARD, {"y__relu": 0}, r"y\.relu: expected g\.g_relu"),
    (FORWARD, {"y__clip": 1}, r"y\.clip: expected g\.g_clip \(0\), found 1"),
    (FORWARD, {"y__clip": 1, "g__g_clip": 1, "y__relu": 0, "g__g_relu": 0},
     r"y\.clip: expected y\.relu with it, found none"),
    (FORWARD, {"g__g_group": 3}, r"g_group: expected 0, or a divisor of 16, found 3"),
    (FORWARD, {"g__g_group": 4}, r"g_n of a grouped convolution: expected g_m \(\d+\), found 8"),
    (FORWARD, {"g__g_group": 4, "g__g_n": 12, "g__g_m": 12, "g__g_nb": 3},
     r"g_nb of a grouped convolution: expected 4, the channel blocks of an m tile, found 3"),
    (FORWARD, {"y__q0": 1}, r"pixels drained|accumulator"),
    (FIRST, {"y__yc1": 1}, r"first row of a pooled tile: expected even"),
    (FIRST, {"pix__dpos0": pair(3)}, r"bank rule: lanes 0 and 1 of pixel table row 0"),
    (FIRST, {"y__fblk": 1000}, r"staged flag words: expected at most 1024"),
    (BACKWARD, {"g__g_phase": 2}, r"row phase: expected below the stride"),
    (BACKWARD, {"pre__wait_x": 0}, r"hazard at dense1|hazard at conv2\.dy"),
    (GRADIENT, {"s__sum_off": 8}, r"channel sums"),
    (GRADIENT, {"s__sum": 0}, r"s\.sum: expected g\.g_bias"),
    (GRADIENT, {"c__s_valid": 1}, r"c\.s_valid"),
    (GRADIENT, {"y__groups": 8}, r"y\.groups"),
    (GRADIENT, {"y__raw": 0}, r"c\.wu and y\.raw"),
    (SOFTMAX, {"f__f_classes": 2000}, r"f_classes: expected 1\.\.1024"),
    (SOFTMAX, {"f__dlogit_off": 1 << 30}, r"logit gradients outside the arena"),
    (UPDATE, {"u__u_count": 3}, r"u_count: expected 4 or more, a multiple of 4"),
    (UPDATE, {"u__wv_off": 12}, r"masters at .*multiple of 8"),
    (UPDATE, {"pre__wait_x": 1}, r"hazard at conv2\.db"),
]


@pytest.mark.parametrize("name,fields,message", BROKEN)
def test_broken_programs_are_refused(name: str, fields: dict[str, int], message: str) -> None:
    program = programs("small", 5)[0]
    with pytest.raises(IllegalProgram, match=message):
        verify_program(change(program, find(program, name), **fields))


MAPS: list[tuple[Callable[[Program], Program], str]] = [
    (lambda p: replace(p, contract="0" * 64), "contract hash"),
    (lambda p: replace(p, arena_bytes=4096), "of the arena"),
    (lambda p: replace(p, regions=(p.regions[0], *p.regions)), "overlap"),
    (lambda p: replace(p, regions=(replace(p.regions[0], offset=8), *p.regions[1:])),
     "multiple of 128"),
    (lambda p: replace(p, regions=p.regions[1:]), "descriptors of program 'train'"),
    (lambda p: replace(p, taps=p.taps + bytes(1 << 20)), "taps of program"),
]


@pytest.mark.parametrize("broken,message", MAPS)
def test_broken_maps_are_refused(broken: Callable[[Program], Program], message: str) -> None:
    with pytest.raises(IllegalProgram, match=message):
        verify_program(broken(programs("small", 5)[0]))


def test_fence_orders_everything() -> None:
    """Without its wait the second layer is a hazard; a fence in front makes up for it."""
    program = programs("small", 5)[1]
    first, second = program.fields[:2]
    second = {**second, "pre.wait_x": 0, "pre.number": 2}
    code = (pack_descriptor(first) + pack_descriptor({"pre.number": 1})
            + pack_descriptor(second))
    verify_program(replace(program, descriptors=code))
    unfenced = pack_descriptor(first) + pack_descriptor({**second, "pre.number": 1})
    with pytest.raises(IllegalProgram, match="let the X unit of the second wait for the first"):
        verify_program(replace(program, descriptors=unfenced))


NOTHING = Spans.one(0, 8)
LOAD, SUMS, BIAS, STORE, FLAGS = (
    Access(Unit.X, False, "streamed operand", NOTHING),
    Access(Unit.S, True, "channel sums", NOTHING),
    Access(Unit.STORE, False, "biases", NOTHING),
    Access(Unit.STORE, True, "stored tensor", NOTHING),
    Access(Unit.STORE, True, "stored flags", NOTHING))
READ, MASTERS, COPY = (
    Access(Unit.UPDATE, False, "masters", NOTHING), Access(Unit.UPDATE, True, "masters", NOTHING),
    Access(Unit.UPDATE, True, "16-bit copy", NOTHING))
A, G, U = Opcode.CONV, Opcode.GRADIENT, Opcode.UPDATE


@pytest.mark.parametrize(("first", "access", "second", "later", "ordered"), [
    (A, LOAD, A, STORE, True), (G, LOAD, A, STORE, True), (A, LOAD, G, MASTERS, True),
    (G, LOAD, G, COPY, True), (A, LOAD, U, MASTERS, False), (A, STORE, A, LOAD, False),
    (G, MASTERS, A, LOAD, False), (G, SUMS, A, STORE, False), (G, SUMS, G, MASTERS, False),
    (G, SUMS, U, READ, False), (G, READ, A, STORE, False), (A, BIAS, G, MASTERS, False),
    (A, BIAS, A, STORE, True), (A, STORE, A, STORE, True), (A, STORE, A, FLAGS, False),
    (A, STORE, A, BIAS, False), (A, STORE, G, MASTERS, False), (G, READ, U, MASTERS, True),
    (G, MASTERS, U, MASTERS, True), (U, MASTERS, G, READ, False), (G, MASTERS, G, COPY, False),
])
def test_order_without_waits(first: Opcode, access: Access, second: Opcode, later: Access,
                             ordered: bool) -> None:
    """What the engine orders by itself, of two descriptors that wait for nothing."""
    fields = []
    for opcode in (first, second):
        fields.append({f"pre.wait_{unit}{end}": 0 for unit in "xsy" for end in ("", "_sem")}
                      | {"pre.opcode": int(opcode), "pre.signal": int(opcode != A)})
    order = Order(fields, ["one", "two"])
    assert order.ordered(0, access, 1, later) is ordered


def test_spans(rng: np.random.Generator) -> None:
    """Set operations against plain sets of bytes."""
    for _ in range(200):
        sets, spans = [], []
        for _ in range(2):
            starts = rng.integers(0, 60, rng.integers(0, 6))
            ends = starts + rng.integers(0, 8, len(starts))
            sets.append({b for s, e in zip(starts, ends) for b in range(s, e)})
            spans.append(Spans.of(starts, ends))
        a, b = sets
        assert spans[0].meets(spans[1]) in (a & b or {None})
        assert spans[0].missing(spans[1]) in (b - a or {None})
        lengths = (spans[0].ends - spans[0].starts).sum()
        assert lengths == len(a)


def test_affine_loops() -> None:
    assert strides_of([3, 2, 2], [1, 4, -2]) == [1, 6, 6]
    assert affine(5, [2, 3], [1, 10]).tolist() == [5, 6, 15, 16, 25, 26]
    assert distinct(0, [3, 3], [1, 1]).tolist() == [0, 1, 2, 3, 4]
    assert [unpair(pair(v)) for v in (-7, -1, 0, 5, 8000)] == [-7, -1, 0, 5, 8000]
    with pytest.raises(ValueError, match="remainder"):
        unpair(3)
