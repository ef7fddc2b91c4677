"""Rules of the memory map, of the prefix, of records and of the place of each access."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from reference_models.dag_nets import NETWORKS
from scheduled import BOARD, Fields, Scheduled, all_kinds

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    PARAM_BYTES,
    Opcode,
    pack_descriptor,
    reserved_names,
)
from pynq_train.program import Program, Region, verify_program
from pynq_train.program.access import accesses

NETS = ("all kinds", "pools", "dropout", "residual")
"""Networks with descriptors of all opcodes."""
KINDS = [opcode for opcode in Opcode if opcode != Opcode.FENCE]


@cache
def planned(name: str) -> Scheduled:
    """A training step."""
    return all_kinds() if name == "all kinds" else Scheduled.of(NETWORKS[name], 2)


@cache
def one_of(opcode: Opcode) -> tuple[Scheduled, int]:
    """A training step and the position of its last descriptor of an opcode."""
    for name in NETS:
        step = planned(name)
        found = [k for k, f in enumerate(step.fields) if f["pre.opcode"] == opcode]
        if found:
            return step, found[-1]
    raise AssertionError(f"no {opcode.name}")


def is_refused(program: Program, text: str) -> None:
    with pytest.raises(IllegalProgram, match=text):
        verify_program(program)


@pytest.mark.parametrize("name", NETS)
def test_programs_are_legal(name: str) -> None:
    verify_program(planned(name).program())


# -- memory map
def with_region(program: Program, symbol: str, **changes: int) -> Program:
    """The program with another place of a region."""
    regions = [replace(r, **changes) if r.symbol == symbol else r for r in program.regions]
    return replace(program, regions=tuple(regions))


def test_regions_end_with_the_arena() -> None:
    program = planned("all kinds").program()
    end = max(r.end for r in program.regions)
    last = max(program.regions, key=lambda r: r.end)
    verify_program(replace(program, arena_bytes=end))
    is_refused(replace(program, arena_bytes=end - 1),
               rf"tensor {re.escape(last.symbol)}: expected bytes 0\.\.{end - 1} of the arena, "
               rf"found {last.offset}\.\.{end}")


def test_regions_are_aligned() -> None:
    program = planned("all kinds").program()
    last = max(program.regions, key=lambda r: r.end)
    for offset in (last.offset + 1, last.offset + 8, last.offset + 64):
        is_refused(replace(with_region(program, last.symbol, offset=offset, nbytes=1),
                           arena_bytes=program.arena_bytes + 128),
                   f"tensor {re.escape(last.symbol)}: offset: expected a multiple of 128, found "
                   f"{offset}")


def test_regions_begin_in_the_arena() -> None:
    program = planned("all kinds").program()
    for region in (Region("below", -128, 0, "tensor"), Region("less", 0, -1, "tensor"),
                   Region("long", -128, 128, "tensor")):
        is_refused(replace(program, regions=(region, *program.regions)),
                   rf"tensor {region.symbol}: expected bytes 0\.\.")


def test_regions_may_touch_but_not_overlap() -> None:
    program = planned("all kinds").program()
    before, behind = next((a, b) for a, b in pairwise(program.regions)
                          if (a.end <= b.offset and a.kind == "tensor") or a.nbytes % 128)
    whole = behind.offset - before.offset
    verify_program(with_region(program, before.symbol, nbytes=whole))
    is_refused(with_region(program, before.symbol, nbytes=whole + 1),
               rf"tensors {re.escape(before.symbol)} and {re.escape(behind.symbol)} overlap at "
               f"{behind.offset:#x}")


def test_empty_regions_may_stand_anywhere() -> None:
    program = planned("all kinds").program()
    verify_program(replace(program, regions=(Region("none", 0, 0, "tensor"), *program.regions)))


def test_number_of_descriptors() -> None:
    """65,536 are taken, not one more and not none."""
    def fences(count: int) -> Program:
        size = count * DESCRIPTOR_BYTES
        regions = [Region("p.program", 0, size, "program"), Region("p.taps", size, 8, "taps"),
                   Region("step_block", size + 128, 16, "step block")]
        made = Program.make("p", bytes(DESCRIPTOR_BYTES), b"", regions, size + 256, BOARD.config)
        return replace(made, descriptors=bytes(size))

    verify_program(fences(1))
    is_refused(fences(2), "descriptor 1 .*number: expected 1, found 0")
    is_refused(fences(0), r"descriptors: expected 1\.\.65536, found 0")
    is_refused(fences(65537), r"descriptors: expected 1\.\.65536, found 65537")


@pytest.mark.parametrize(("what", "offset"), [("descriptors", "program_off"),
                                              ("taps", "taps_off")])
def test_places_of_the_program(what: str, offset: str) -> None:
    program = planned("all kinds").program()
    data = program.descriptors if what == "descriptors" else program.taps
    start = getattr(program, offset)
    home = program.region_at(start)
    assert home is not None and home.offset == start
    verify_program(with_region(program, home.symbol, nbytes=len(data)))
    text = f"{what} of program 'train': expected a place inside one region, aligned to 8 bytes"
    is_refused(with_region(program, home.symbol, nbytes=len(data) - 1), text)
    free = Region("free", (program.arena_bytes + 127) // 128 * 128, len(data) + 64, "tensor")
    more = replace(program, regions=(*program.regions, free), arena_bytes=free.end)
    for shift in (1, 4):
        is_refused(replace(more, **{offset: free.offset + shift}), text)
    is_refused(replace(more, **{offset: free.end}), f"{text}, found .*no tensor")


# -- prefix
@pytest.mark.parametrize("opcode", KINDS)
def test_reserved_fields(opcode: Opcode) -> None:
    step, number = one_of(opcode)
    names = reserved_names(opcode)
    assert names
    for name in names:
        is_refused(step.program({number: {name: 1}}),
                   rf"descriptor {number} .*: reserved field {re.escape(name)}: expected 0, found")


@pytest.mark.parametrize("opcode", KINDS)
@pytest.mark.parametrize("more", [-1, 1])
def test_numbers_of_descriptors(opcode: Opcode, more: int) -> None:
    step, number = one_of(opcode)
    is_refused(step.program({number: {"pre.number": number + more}}),
               rf"descriptor {number} .*: number: expected {number}, found {number + more}")


@pytest.mark.parametrize("opcode", KINDS)
def test_step_block_entries(opcode: Opcode) -> None:
    """The last entry of the step block, and the one behind it."""
    step, number = one_of(opcode)
    program = step.program()
    home = program.region_at(program.step_off)
    assert home is not None and home.offset == program.step_off
    last = home.nbytes // PARAM_BYTES - 1
    text = (rf"descriptor {number} .*: step-block entry: expected 0\.\.{last}, "
            rf"found {last + 1}")
    is_refused(step.program({number: {"pre.param": last + 1}}), text)
    # Made shorter, the step block ends with the highest entry that is used.
    used = max(f["pre.param"] for f in step.fields)
    owner = next(k for k, f in enumerate(step.fields) if f["pre.param"] == used)
    whole = PARAM_BYTES * (used + 1)
    verify_program(with_region(program, home.symbol, nbytes=whole))
    for less in (1, PARAM_BYTES):
        is_refused(with_region(program, home.symbol, nbytes=whole - less),
                   rf"descriptor {owner} .*: step-block entry: expected 0\.\.{used - 1}, "
                   rf"found {used}")


def test_step_block_that_is_not_there() -> None:
    program = planned("all kinds").program()
    is_refused(replace(program, step_off=program.arena_bytes),
               r"step-block entry: expected 0\.\.-1, found")


def test_fences_have_no_entry_and_no_record() -> None:
    """A fence behind the last descriptor, with a prefix that would be illegal in others."""
    step = planned("all kinds")
    count = len(step.fields)
    for fence in ({"pre.param": 65535}, {"pre.rec_off": step.fields[0]["pre.rec_off"]},
                  {"pre.signal": 9}):
        code = step.image.program + pack_descriptor({"pre.number": count, **fence})
        program = step.made(code)
        home = program.region_at(program.program_off)
        assert home is not None
        # The descriptors get a longer place at the end of the arena.
        place = Region("longer", (program.arena_bytes + 127) // 128 * 128, len(code), "program")
        verify_program(replace(program, regions=(*program.regions, place),
                               arena_bytes=place.end, program_off=place.offset))


# -- records
@pytest.mark.parametrize("opcode", KINDS)
@pytest.mark.parametrize("shift", [-24, -8, 0, 8, 24])
def test_records_that_share_a_word(opcode: Opcode, shift: int) -> None:
    step, number = one_of(opcode)
    other = next(k for k, f in enumerate(step.fields) if k != number
                 and f["pre.opcode"] != Opcode.FENCE)
    first, second = sorted((number, other))
    is_refused(step.program({number: {"pre.rec_off": step.fields[other]["pre.rec_off"] + shift}}),
               rf"descriptor [0-9]+ .*: its record at .* overlaps that of descriptor|"
               rf"descriptor {number} .* writes its record")
    if shift == 0:
        is_refused(step.program({number: {"pre.rec_off": step.fields[other]["pre.rec_off"]}}),
                   rf"descriptor {second} .*: its record at .* overlaps that of descriptor {first}")


def test_records_side_by_side() -> None:
    """Records are 32 bytes: one begins where the one before ends."""
    step = planned("all kinds")
    places = sorted(f["pre.rec_off"] for f in step.fields)
    assert any(b - a == 32 for a, b in pairwise(places))


# -- places of accesses
ADDRESSES = {
    Opcode.UPDATE: ("u.g_off", "u.wv_off"),
    Opcode.SOFTMAX: ("f.logit_off", "f.label_off", "f.dlogit_off"),
    Opcode.VECTOR: ("v.a_off", "v.b_off", "v.v_off", "v.m_off", "v.k_off", "v.s_off"),
    Opcode.NORM: ("n.s_off", "n.p_off", "n.r_off", "n.q_off", "n.k_off", "n.d_off"),
    Opcode.POOL: ("p.i_off", "p.o_off", "p.w_off"),
    Opcode.CONV: ("x.addr", "s.addr", "yw.addr", "yf.addr", "x.faddr", "y.bias_off"),
    Opcode.GRADIENT: ("x.addr", "s.addr", "s.faddr", "s.sum_off", "u.wv_off", "u.w16_off"),
}


def user(field: str, opcode: Opcode) -> tuple[Scheduled, int]:
    """A descriptor that touches what a field names."""
    for name in NETS:
        step = planned(name)
        program = step.program()
        for number, f in enumerate(step.fields):
            if f["pre.opcode"] == opcode and f[field]:
                taps = program.tap_table(number)
                moved = accesses({**f, field: f[field] + 8}, taps)
                if [a.spans.low for a in moved] != [a.spans.low for a in accesses(f, taps)]:
                    return step, number
    raise AssertionError(f"nothing reads {field}")


@pytest.mark.parametrize(("opcode", "field"), [
    (opcode, field) for opcode, fields in ADDRESSES.items() for field in fields])
def test_every_address_is_looked_at(opcode: Opcode, field: str) -> None:
    """Behind the arena and between words: refused whatever the tensor is."""
    step, number = user(field, opcode)
    at = step.fields[number][field]
    for value in (step.program().arena_bytes, at + 4, at + 1):
        is_refused(step.program({number: {field: value}}), rf"descriptor {number} \(")


CONSTANT = [("program", "program"), ("taps", "taps"), ("step_block", "step block")]


@pytest.mark.parametrize(("symbol", "kind"), CONSTANT)
def test_what_is_constant_is_not_written(symbol: str, kind: str) -> None:
    """The results of a sum of maps, in a region of each kind that is large enough."""
    step = planned("residual")
    number = next(k for k, f in enumerate(step.fields) if f.get("v.v_write"))
    program = step.program()
    place = Region("room", (program.arena_bytes + 127) // 128 * 128, 1 << 16, kind)
    more = replace(step.program({number: {"v.v_off": place.offset}}),
                   regions=(*program.regions, place), arena_bytes=place.end)
    is_refused(more, rf"descriptor {number} \(VECTOR\) writes its (reduced )?result to room, which "
                     "is constant during a run")
    # It may be read: here only the rule about places counts.
    readable = replace(step.program({number: {"v.a_off": place.offset}}),
                       regions=(*program.regions, place), arena_bytes=place.end)
    try:
        verify_program(readable)
    except IllegalProgram as error:
        assert "constant" not in str(error)


@pytest.mark.parametrize("name", NETS)
def test_tensors_to_the_last_byte(name: str) -> None:
    """Each region may end where the last access to it ends, not a byte before."""
    step = planned(name)
    program = step.program()
    ends: dict[str, int] = {}
    for number, f in enumerate(step.fields):
        for access in accesses(f, program.tap_table(number)):
            region = program.region_at(access.spans.low)
            assert region is not None
            ends[region.symbol] = max(ends.get(region.symbol, 0),
                                      access.spans.high - region.offset)
    short = replace(program, regions=tuple(replace(r, nbytes=ends.get(r.symbol, r.nbytes))
                                           for r in program.regions))
    verify_program(short)
    # One region of each kind, and the first and the last of them.
    last = {r.kind: r.symbol for r in short.regions if r.symbol in ends}
    for symbol in {next(iter(ends)), *last.values()}:
        is_refused(with_region(short, symbol, nbytes=ends[symbol] - 1),
                   rf"descriptor [0-9]+ \(.*\) (reads|writes) its .*expected bytes of "
                   rf"{re.escape(symbol)} alone, found also")


def test_accesses_need_a_tensor() -> None:
    """A region that is there in the arena but not in the map."""
    program = planned("all kinds").program()
    gone = next(r for r in program.regions if r.symbol.endswith(".wv"))
    without = replace(program, regions=tuple(r for r in program.regions if r != gone))
    is_refused(without, "reads its masters at .*expected a tensor of the memory map, found none "
                        "there")


@pytest.mark.parametrize("shift", [0, 8])
def test_accesses_end_with_the_arena(shift: int) -> None:
    """The last tensor of an arena, whose end is that of its last word, or a word earlier."""
    step = planned("all kinds")
    number = step.number(Opcode.UPDATE, 0)
    program = step.program()
    size = 8 * step.fields[number]["u.u_count"]
    place = Region("last", (program.arena_bytes + 127) // 128 * 128, size, "masters")
    moved = replace(step.program({number: {"u.wv_off": place.offset + shift}}),
                    regions=(*program.regions, place), arena_bytes=place.end)
    if shift:
        is_refused(moved, rf"descriptor {number} \(UPDATE\) reads its masters outside the arena")
        return
    try:
        verify_program(moved)
    except IllegalProgram as error:
        assert "outside" not in str(error)


# -- counts
@pytest.mark.parametrize(("opcode", "changes", "text"), [
    (Opcode.UPDATE, {"u.u_count": 0}, "u_count: expected 4 or more, a multiple of 4, found 0"),
    *((Opcode.UPDATE, {"u.u_count": count}, f"u_count: expected 4 or more, .*found {count}")
      for count in (1, 2, 3, 5, 6, 7)),
    (Opcode.SOFTMAX, {"f.f_classes": 0}, r"f_classes: expected 1\.\.1024, found 0"),
    (Opcode.SOFTMAX, {"f.f_classes": 1025}, r"f_classes: expected 1\.\.1024, found 1025"),
    (Opcode.SOFTMAX, {"f.f_batch": 0}, "f_batch: expected 1 or more, found 0"),
])
def test_rules_of_counts(opcode: Opcode, changes: Fields, text: str) -> None:
    step, number = one_of(opcode)
    is_refused(step.program({number: changes}), rf"descriptor {number} .*: {text}")


@pytest.mark.parametrize(("opcode", "changes"), [
    (Opcode.UPDATE, {"u.u_count": 4}), (Opcode.SOFTMAX, {"f.f_classes": 1}),
    (Opcode.SOFTMAX, {"f.f_classes": 1024}), (Opcode.SOFTMAX, {"f.f_batch": 1})])
def test_the_last_legal_counts(opcode: Opcode, changes: Fields) -> None:
    """They are not refused for what they are, if perhaps for where their tensors end."""
    step, number = one_of(opcode)
    (name,) = changes
    try:
        verify_program(step.program({number: changes}))
    except IllegalProgram as error:
        assert f"{name.split('.')[1]}: expected" not in str(error)
