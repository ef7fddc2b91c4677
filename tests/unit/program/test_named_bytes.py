"""What a geometry names in bytes, and what is said of accesses beside it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scheduled import Scheduled

from pynq_train.errors import IllegalProgram
from pynq_train.graph import Add, BatchNorm, Conv, Dense, GlobalAvgPool, Graph, MaxPool, Relu
from pynq_train.hw.commands import Opcode, Unit, pack_descriptor
from pynq_train.hw.config import ZYNQ7020
from pynq_train.program import Program, Region
from pynq_train.program.access import Access, accesses
from pynq_train.program.computations import _whole
from pynq_train.program.meaning import Meaning, strided_words
from pynq_train.program.spans import Spans
from pynq_train.program.unit_meaning import agreements, touched_by_units
from pynq_train.program.verify import _check_meaning, _check_unit

PROGRAM = Program.make("p", pack_descriptor({"pre.opcode": int(Opcode.FENCE)}), b"", [
    Region("p.program", 0, 512, "program"), Region("p.taps", 512, 8, "taps"),
    Region("step_block", 640, 32, "step block"), Region("a", 1024, 64, "map"),
    Region("b", 1152, 64, "map")], 4096, ZYNQ7020)
UNIT = next(iter(Unit))


def held(spans: Spans) -> list[tuple[int, int]]:
    """Begin and end of each interval."""
    return list(zip(spans.starts.tolist(), spans.ends.tolist()))


def union(*parts: tuple[int, int]) -> list[tuple[int, int]]:
    """Those of a union of intervals, given by begin and length; of none there is nothing."""
    return held(Spans.union([Spans.one(0, 0), *(Spans.one(*part) for part in parts)]))


def fields(**g: int) -> dict[str, int]:
    """Fields of a forward pass: one image of four channels, 5x3 pixels, words side by side."""
    values = {"pass": 0, "x": 1024, "y": 4096, "flag": 8192, "images": 1, "n": 4, "m": 4,
              "in_rows": 5, "in_cols": 3, "out_rows": 5, "out_cols": 3, "kernel": 1, "stride": 1,
              "kernel_wider": 0, "stride_wider": 0, "pad_top": 0, "phase": 0, "pool": 0, "mode": 0,
              "tile": 4, "group": 0,
              **{f"x_strides{at}": step for at, step in enumerate((480, 120, 24, 8))},
              **{f"y_strides{at}": step for at, step in enumerate((480, 120, 24, 8))},
              **{f"flag_strides{at}": step for at, step in enumerate((40, 40, 8))}, **g}
    return {**{f"g.g_{name}": value for name, value in values.items()}, "gc.first": 0}


@pytest.mark.parametrize(("rows", "stride", "pad", "phase", "wanted"), [
    (5, 1, 0, 0, [0, 1, 2, 3, 4]), (5, 2, 0, 0, [0, 2, 4]), (5, 2, 0, 1, [1, 3]),
    (5, 2, 1, 0, [1, 3]), (5, 2, 1, 1, [0, 2, 4]), (5, 4, 1, 3, [2]), (5, 4, 0, 3, [3]),
    (1, 2, 0, 0, [0]), (1, 2, 0, 1, []), (1, 2, 1, 0, []), (2, 4, 0, 3, []), (1, 4, 1, 1, [0])])
def test_rows_of_a_phase(rows: int, stride: int, pad: int, phase: int, wanted: list[int]) -> None:
    """Those with (row + pad_top) % stride == phase; a small map may have none."""
    meaning = Meaning(fields(in_rows=rows, stride=stride, pad_top=pad, phase=phase))
    assert held(meaning.x(phase=True)) == union(*((1024 + 24 * row, 24) for row in wanted))
    assert held(meaning.x()) == [(1024, 1024 + 24 * rows)]


@pytest.mark.parametrize(("rows", "cols", "pool", "size"), [
    (5, 3, 0, (5, 3)), (5, 3, 1, (2, 1)), (1, 3, 1, (0, 1)), (5, 1, 1, (2, 0)), (2, 2, 1, (1, 1))])
def test_outputs_at_pooled_size(rows: int, cols: int, pool: int, size: tuple[int, int]) -> None:
    """Of a map of one row or column nothing is left."""
    meaning = Meaning(fields(out_rows=rows, out_cols=cols, pool=pool))
    parts = [(4096 + 24 * row, 8 * size[1]) for row in range(size[0])]
    assert held(meaning.y()) == union(*parts)
    flags = [(8192 + 8 * row, 8 if size[1] else 0) for row in range(size[0])]
    assert held(meaning.flags()) == union(*flags)


@pytest.mark.parametrize("stride", [8, 16, -8])
def test_words_of_a_strided_array(stride: int) -> None:
    words = strided_words(400, (2, 3), (100, stride))
    assert held(words) == union(*((400 + 100 * row + stride * at, 8)
                                  for row in range(2) for at in range(3)))
    assert not strided_words(400, (2, 0), (100, stride))
    assert not strided_words(400, (0, 3), (100, stride))


def checked(found: list[Access], expected: dict[tuple[str, bool], tuple[Spans, bool]]) -> str:
    try:
        _check_meaning(PROGRAM, "it", found, expected)
    except IllegalProgram as error:
        return str(error)
    return ""


def access(what: str, start: int, nbytes: int, write: bool = True) -> Access:
    return Access(UNIT, write, what, Spans.one(start, nbytes))


def test_what_a_geometry_names_may_be_touched_in_parts() -> None:
    whole = Spans.one(1024, 64)
    both = [access("map", 1024, 32), access("map", 1056, 32)]
    assert not checked(both, {("map", True): (whole, True)})
    assert not checked(both[:1], {("map", True): (whole, False)})
    assert not checked([], {("map", True): (whole, False)})
    assert not checked([access("record", 9, 9)], {}), "its place is a field"


@pytest.mark.parametrize(("found", "expected", "text"), [
    ([access("map", 1024, 72)], {("map", True): (Spans.one(1024, 64), True)},
     "it writes offset 0x440 (no tensor) as its map, which its geometry does not name: expected "
     "a+0x0 to a+0x3f, found a+0x0 to offset 0x447 (no tensor)"),
    ([access("map", 1024, 64, False)], {("map", True): (Spans.one(1024, 64), False)},
     "it reads a+0x0 as its map, which its geometry does not name: expected no bytes, found a+0x0 "
     "to a+0x3f"),
    ([access("map", 1024, 56)], {("map", True): (Spans.one(1024, 64), True)},
     "it leaves out a+0x38 of its map: expected a+0x0 to a+0x3f, found a+0x0 to a+0x37"),
    ([], {("map", True): (Spans.one(1152, 64), True)},
     "it leaves out b+0x0 of its map: expected b+0x0 to b+0x3f, found no bytes"),
    ([access("map", 1024, 64), access("flags", 1152, 8)],
     {("map", True): (Spans.one(1024, 64), True)},
     "it writes b+0x0 as its flags, which its geometry does not name: expected no bytes")])
def test_bytes_beside_the_geometry(found: list[Access],
                                   expected: dict[tuple[str, bool], tuple[Spans, bool]],
                                   text: str) -> None:
    assert re.match(re.escape(text), checked(found, expected)), checked(found, expected)


@pytest.fixture(scope="module")
def planned() -> Scheduled:
    """A step with every opcode: normalisations, pools of two kinds, a sum, gradients, updates."""
    conv = {"kernel": 3, "padding": 1}
    return Scheduled.of(Graph.build((4, 8, 8), [
        Conv(4, **conv, name="a"), BatchNorm(name="n"), Relu(name="r"), Conv(4, **conv, name="b"),
        Add("s", ("b", "r")), Relu(), MaxPool(3, 2), GlobalAvgPool(), Dense(3)]), 3)


def test_every_byte_of_a_result_is_written(planned: Scheduled) -> None:
    """An access that is left out, or one that ends a word early, of any unit."""
    program, seen = planned.program(), set()
    for number, found_in in enumerate(program.fields):
        opcode = Opcode(found_in["pre.opcode"])
        if opcode in (Opcode.FENCE, Opcode.CONV):
            continue
        found = accesses(found_in, program.tap_table(number))
        _check_unit(program, "it", found_in, found)
        for what, write, spans in touched_by_units(found_in):
            if not spans:
                continue
            seen.add((opcode, what))
            others = [one for one in found if (one.what, one.write) != (what, write)]
            last = Spans.of(spans.starts, np.append(spans.ends[:-1], spans.ends[-1] - 8))
            unit = next(one.unit for one in found if (one.what, one.write) == (what, write))
            for left in ([], [Access(unit, write, what, last)]):
                with pytest.raises(IllegalProgram, match=f"it leaves out .* of its {what}"):
                    _check_unit(program, "it", found_in, [*others, *left])
    assert {opcode for opcode, _ in seen} == set(Opcode) - {Opcode.FENCE, Opcode.CONV}


@pytest.mark.parametrize(("taken", "right"), [
    ([(0, 4)], True), ([(2, 4), (0, 2)], True), ([(0, 1), (3, 4), (1, 3)], True), ([], False),
    ([(0, 3)], False), ([(0, 5)], False), ([(1, 4)], False), ([(0, 2), (3, 4)], False),
    ([(0, 2), (1, 4)], False), ([(0, 4), (0, 4)], False), ([(0, 4), (2, 4)], False),
    ([(0, 2), (2, 4), (3, 4)], False), ([(0, 2), (0, 2), (2, 4)], False)])
def test_each_image_of_a_mini_batch_once(taken: list[tuple[int, int]], right: bool) -> None:
    """In any order of its ranges; none is left out, none is taken twice."""
    if right:
        _whole("it", 4, taken)
        return
    found = ", ".join(f"{first}..{behind - 1}" for first, behind in sorted(taken))
    with pytest.raises(IllegalProgram, match=re.escape("each of 0..3 once" + (
            f", found {found}" if found else ""))):
        _whole("it", 4, taken)


@pytest.mark.parametrize(("parts", "asked"), [(1, False), (2, True), (3, True)])
def test_one_part_of_sums_has_no_next_one(parts: int, asked: bool, planned: Scheduled) -> None:
    """How far apart parts are says nothing where there is only one."""
    seen = 0
    for fields in planned.program().fields:
        if fields["pre.opcode"] == Opcode.NORM:
            found = {one.field: one.expected for one in agreements(
                {**fields, "gn.parts": parts, "gn.part_bytes": 640})}
            assert ("n.n_step" in found) is asked and found["n.n_parts"] == parts
            assert not asked or found["n.n_step"] == 640
            seen += 1
    assert seen == 2
