"""The hardware contract: generated files, registers, packing, refusals, configurations, hash."""

from __future__ import annotations

import itertools
import random
import re
import struct
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynq_train.fixed.soft_float import SoftFloats
from pynq_train.hw import __main__ as generator
from pynq_train.hw import commands, contract, layouts, registers, tables
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    SECTION_OF_UNIT,
    SECTIONS,
    Opcode,
    Unit,
    pack_descriptor,
    pack_params,
    pack_tap,
    pair,
    places,
    unpack_descriptor,
    unpack_params,
    unpack_tap,
)
from pynq_train.hw.config import CONFIGS, ZYNQ7020, HwConfig
from pynq_train.hw.emit import text as sv_text
from pynq_train.hw.fields import Field, Place, Section

ROOT = Path(__file__).resolve().parents[3]
RESERVED = ("wait", "table", "type", "int", "class")


# ---- generated files -----------------------------------------------------------------------------
def test_generated_files_are_current() -> None:
    done = subprocess.run([sys.executable, "-m", "pynq_train.hw", "--check"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_stale_generated_file_is_named(monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    texts = {**generator.outputs(), "docs/gen/registers.md": "old"}
    monkeypatch.setattr(generator, "outputs", lambda: texts)
    monkeypatch.setattr(sys, "argv", ["pynq_train.hw", "--check"])
    assert generator.main() == 1
    assert "run 'make gen': docs/gen/registers.md\n" in capsys.readouterr().err


# ---- registers -----------------------------------------------------------------------------------
def test_registers_are_aligned_and_apart() -> None:
    offsets = [register.offset for register in registers.REGISTERS]
    assert len(set(offsets)) == len(offsets) == len(registers.BY_NAME)
    assert offsets == sorted(offsets)
    assert all(offset % 4 == 0 and 0 <= offset < 4096 for offset in offsets)
    for register in registers.REGISTERS:
        taken = 0
        for field in register.fields:
            mask = ((1 << field.bits) - 1) << field.lsb
            assert not taken & mask and mask < 1 << 32, f"{register.name}.{field.name}"
            taken |= mask
    assert registers.offset("CTRL") == 0x10
    with pytest.raises(KeyError):
        registers.offset("NOTHING")


# ---- packing -------------------------------------------------------------------------------------
def bounds(field: Field) -> tuple[int, int]:
    if field.signed:
        return -(1 << field.bits - 1), (1 << field.bits - 1) - 1
    return 0, (1 << field.bits) - 1


def values_of(field: Field) -> st.SearchStrategy[int]:
    low, high = bounds(field)
    return st.integers(low, high) | st.sampled_from([low, high])


@st.composite
def descriptors(draw: st.DrawFn) -> dict[str, int]:
    opcode = draw(st.sampled_from(list(Opcode)))
    known = dict(places(opcode))
    del known["pre.opcode"]
    names = draw(st.lists(st.sampled_from(sorted(known)), unique=True, max_size=60))
    chosen = {name: draw(values_of(known[name].field)) for name in names}
    return {**dict.fromkeys(known, 0), **chosen, "pre.opcode": int(opcode)}


@settings(max_examples=60, deadline=None)
@given(descriptors())
def test_descriptors_survive_a_round_trip(values: dict[str, int]) -> None:
    data = pack_descriptor(values)
    assert len(data) == DESCRIPTOR_BYTES
    assert unpack_descriptor(data) == values


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_taps_and_parameters_survive_a_round_trip(data: st.DataObject) -> None:
    tap = {f.name: data.draw(values_of(f)) for f in commands.TAP_FIELDS}
    assert unpack_tap(pack_tap(tap)) == tap and len(pack_tap(tap)) == 8
    for opcode, fields in commands.PARAM_FIELDS.items():
        entry = {f.name: data.draw(values_of(f)) for f in fields}
        assert unpack_params(opcode, pack_params(opcode, entry)) == entry
        assert len(pack_params(opcode, entry)) == 16


@settings(deadline=None)
@given(st.integers(-(3 << 13), (3 << 13) - 1))
def test_ternary_pairs(position: int) -> None:
    code = pair(position)
    q, r = code >> 2, code & 3
    assert 0 <= code < 1 << 16 and r < 3
    assert 3 * (q - (1 << 14) if q >> 13 else q) + r == position


@pytest.mark.parametrize("opcode", list(Opcode))
def test_every_field_at_its_place(opcode: Opcode) -> None:
    """A one in each bit of each field moves that field alone: nothing overlaps."""
    empty = struct.unpack("<128Q", pack_descriptor({"pre.opcode": int(opcode)}))
    taken: dict[int, int] = {}
    for name, place in places(opcode):
        if name == "pre.opcode":
            continue
        field = place.field
        full = -1 if field.signed else (1 << field.bits) - 1
        words = struct.unpack("<128Q", pack_descriptor({"pre.opcode": int(opcode), name: full}))
        changed = {k: a ^ b for k, (a, b) in enumerate(zip(words, empty)) if a != b}
        mask = ((1 << field.bits) - 1) << place.lsb
        assert changed == {place.word: mask}, name
        assert not taken.get(place.word, 0) & mask, f"{name} overlaps"
        taken[place.word] = taken.get(place.word, 0) | mask


def test_units_get_contiguous_words() -> None:
    for unit in Unit:
        sections = [SECTIONS[name] for name in SECTION_OF_UNIT[unit]]
        for before, after in itertools.pairwise(sections):
            assert before.first + before.words == after.first
    last = SECTIONS["g"]
    assert last.first + last.words <= commands.DESCRIPTOR_WORDS


# ---- refusals ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("values", "text"), [
    ({"pre.opcode": 1, "x.n0": 65536}, "field x.n0: expected 0..65535, found 65536"),
    ({"pre.opcode": 1, "x.n0": -1}, "field x.n0: expected 0..65535, found -1"),
    ({"pre.opcode": 1, "x.c0": 32768}, "field x.c0: expected -32768..32767, found 32768"),
    ({"pre.opcode": 1, "x.dc19": -32769}, "field x.dc19: expected -32768..32767, found -32769"),
    ({"pre.opcode": 1, "c.wu": 2}, "field c.wu: expected 0..1, found 2"),
    ({"pre.opcode": 1, "x.addr": 1 << 32}, f"field x.addr: expected 0..{(1 << 32) - 1}"),
    ({"pre.opcode": 2, "x.n0": 1}, "unknown fields for UPDATE: x.n0"),
    ({"pre.opcode": 1, "u.g_off": 1, "x.nn": 1}, "unknown fields for CONV: u.g_off, x.nn"),
])
def test_descriptor_values_are_refused(values: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        pack_descriptor(values)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="9 is not a valid Opcode"):
        pack_descriptor({"pre.opcode": 9})
    with pytest.raises(ValueError, match="a descriptor has 1024 bytes, found 7"):
        unpack_descriptor(bytes(7))
    with pytest.raises(ValueError, match="99 is not a valid Opcode"):
        unpack_descriptor(bytes([99]) + bytes(1023))
    with pytest.raises(ValueError, match=re.escape("field shift: expected 0..255, found 256")):
        pack_params(Opcode.CONV, {"shift": 256})
    text = re.escape("field bias_shift: expected -128..127, found 128")
    with pytest.raises(ValueError, match=text):
        pack_params(Opcode.CONV, {"bias_shift": 128})
    with pytest.raises(ValueError, match="unknown fields: momentum"):
        pack_params(Opcode.CONV, {"momentum": 1})
    with pytest.raises(ValueError, match=re.escape("field first: expected 0..1, found 2")):
        pack_tap({"first": 2})


@pytest.mark.parametrize("word", RESERVED)
def test_reserved_words_are_refused_as_field_names(word: str) -> None:
    field = Field(word, 16, "anything")
    section = Section("q", "anything", 0, 1, (Place(field, word, 0, 0),))
    with pytest.raises(ValueError, match=f"field q.{word}: reserved word"):
        sv_text.section_struct(section)


def test_no_field_is_a_reserved_word() -> None:
    flat = [commands.TAP_FIELDS, *commands.PARAM_FIELDS.values()]
    names = {f.name for fields in flat for f in fields}
    names |= {p.field.name for s in SECTIONS.values() for p in s.places}
    assert not names & sv_text.RESERVED


def test_elements_of_words_survive_a_round_trip() -> None:
    rng = random.Random(3)
    for layout in layouts.LAYOUTS.values():
        assert len({place.name for place in layout.places}) == len(layout.places)
        for place in layout.places:
            low, high = bounds(place.field)
            for value in (low, high, rng.randint(low, high)):
                word = place.insert(value)
                assert word & ~(place.mask << place.lsb) == 0 and place.extract(word) == value
                if place.field.bits < 64:
                    array = place.insert(np.array([value, 0], np.int64))
                    assert array.dtype == np.int64
                    others = ~(place.mask << place.lsb) & (1 << 64) - 1
                    full = array | np.array(others, np.uint64).astype(np.int64)
                    assert place.extract(full).tolist() == [value, 0]


def test_soft_floats_are_packed_as_the_contract_says() -> None:
    # ``fixed`` knows nothing of the contract: both must say the same.
    numbers = SoftFloats.of_int(np.array([-5, 0, 7 << 40], np.int64), -3)
    words = numbers.pack()
    for name in ("significand", "sign", "exponent"):
        found = layouts.NUMBER.at(name).extract(words)
        assert found.tolist() == getattr(numbers, name).tolist(), name


def test_registers_are_decoded_as_they_are_encoded() -> None:
    value = registers.encode("STATUS", DONE=1, ERROR=3, SOURCE=8)
    assert registers.decode("STATUS", value) == {
        "BUSY": 0, "DONE": 1, "HALTED": 0, "FAILED": 0, "STRAY": 0, "ERROR": 3,
        "SOURCE": 8}
    assert value == registers.masks("STATUS")["DONE"] | 3 << 8 | 8 << 16
    with pytest.raises(ValueError, match=re.escape("STATUS.ERROR: expected 0..255, found 256")):
        registers.encode("STATUS", ERROR=256)
    parts = registers.split("ARENA", 0x12_3456_789A)
    assert parts == {"ARENA_LO": 0x3456_789A, "ARENA_HI": 0x12}
    assert registers.join("ARENA", parts.__getitem__) == 0x12_3456_789A


def test_fields_that_pad_are_reserved_and_no_others() -> None:
    fields = {f for flat in commands.PARAM_FIELDS.values() for f in flat}
    fields |= {p.field for s in SECTIONS.values() for p in s.places}
    assert {f for f in fields if f.reserved} == {
        f for f in fields if re.search(r"_pad\d*$", f.name)} == {
        f for f in fields if f.doc == "zero"}
    assert commands.reserved_names(Opcode.POOL) == (
        "pre.pre_pad", "pre.pre_pad2", "p.p_pad", "p.p_pad2")


# ---- configurations ------------------------------------------------------------------------------
@pytest.mark.parametrize(("change", "text"), [
    ({"tm": 8}, "configuration zynq7020: tm must be 16 or 32, found 8"),
    ({"tr": 8}, "configuration zynq7020: tr must be 4, found 8"),
    ({"tp": 4}, "configuration zynq7020: tp must be 3, found 4"),
    ({"acc_bits": 40}, "configuration zynq7020: acc_bits must be 48, found 40"),
    ({"ports": 2}, "configuration zynq7020: ports must be 4, found 2"),
    ({"x_bank_words": 3000}, "x_bank_words must be a power of two of 16 or more, found 3000"),
    ({"acc_groups": 8}, "acc_groups must be a power of two of 16 or more, found 8"),
    ({"stage_words": 0}, "stage_words must be a power of two of 16 or more, found 0"),
    ({"stage_words": 256}, "stage_words must be 512..65536, found 256"),
    ({"x_bank_words": 1 << 15}, "x_bank_words must be 16..16384, found 32768"),
    ({"s_ring_words": 1 << 14}, "s_ring_words must be 64..8192, found 16384"),
    ({"grad_words": 128}, "grad_words must be 256 or more with 16 output lanes, found 128"),
    ({"grad_words": 256, "tm": 32}, "grad_words must be 512 or more with 32 output lanes"),
    ({"max_taps": 127}, "max_taps must be 1..126, found 127"),
    ({"sweep_min_cycles": 11}, "sweep_min_cycles must be 12..16, found 11"),
    ({"sweep_min_cycles": 17}, "sweep_min_cycles must be 12..16, found 17"),
    ({"pool_columns": 100}, "pool_columns must be a power of two of 16 or more, found 100"),
])
def test_configurations_are_checked(change: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        replace(ZYNQ7020, **change)


def test_configuration_needs_every_key() -> None:
    values = asdict(ZYNQ7020)
    del values["ports"]
    with pytest.raises(TypeError, match="ports"):
        HwConfig(**values)


def test_halves_of_the_buffers() -> None:
    assert ZYNQ7020.multipliers == 192
    assert ZYNQ7020.x_tile_words == 6144 and ZYNQ7020.acc_tile_groups == 256
    assert ZYNQ7020.stage_segment_words == 4096 and ZYNQ7020.flag_segment_words == 1024
    assert set(CONFIGS) == {config.name for config in CONFIGS.values()}
    assert all(board.config.name in CONFIGS for board in BOARDS.values())
    assert all(board.config.multipliers <= board.budget.dsp for board in BOARDS.values())


# ---- hash ----------------------------------------------------------------------------------------
def test_hash_is_stable_and_in_the_package() -> None:
    text = contract.contract_hash(ZYNQ7020)
    assert re.fullmatch("[0-9a-f]{64}", text) and text == contract.contract_hash(ZYNQ7020)
    assert contract.hash_word(ZYNQ7020) == int(text[:8], 16)
    package = (ROOT / "rtl/gen/pt_spec_pkg.sv").read_text(encoding="utf-8")
    assert f"ContractHash = 32'h{text[:8]};" in package


def test_hash_changes_with_everything_that_the_hardware_decodes(
        monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {contract.contract_hash(ZYNQ7020)}

    def check(what: str, module: object, name: str, value: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            found = contract.contract_hash(ZYNQ7020)
        assert found not in seen, what
        seen.add(found)

    x = SECTIONS["x"]
    first = x.places[0]
    for field in (replace(first.field, bits=31), replace(first.field, signed=True)):
        place = replace(first, field=field)
        check("a field", commands, "SECTIONS",
              {**SECTIONS, "x": replace(x, places=(place, *x.places[1:]))})
    moved = replace(first, lsb=first.lsb + 1)
    check("a place", commands, "SECTIONS",
          {**SECTIONS, "x": replace(x, places=(moved, *x.places[1:]))})
    tap = commands.TAP_FIELDS
    check("taps", commands, "TAP_FIELDS", (replace(tap[0], bits=15), *tap[1:]))
    conv = commands.CONV_PARAM_FIELDS
    check("parameters", commands, "PARAM_FIELDS",
          {**commands.PARAM_FIELDS, Opcode.CONV: (replace(conv[0], bits=7), *conv[1:])})
    first_register = replace(registers.REGISTERS[0], offset=0xFFC)
    check("registers", registers, "REGISTERS", (*registers.REGISTERS[1:], first_register))
    units = {**commands.UNITS_OF, Opcode.UPDATE: (Unit.SOFTMAX,)}
    check("units of an opcode", commands, "UNITS_OF", units)
    check("waits", commands, "WAIT_OF", {**commands.WAIT_OF, Unit.X: "s"})
    record = layouts.RECORD
    swapped = replace(record, places=(replace(record.places[0], lsb=8), *record.places[1:]))
    check("words in memory", layouts, "LAYOUTS", {**layouts.LAYOUTS, "record": swapped})
    check("tables", tables, "EXP2", (tables.EXP2[0] + 1, *tables.EXP2[1:]))
    check("version", registers, "ABI_VERSION", registers.ABI_VERSION + 1)
    for name, value in asdict(ZYNQ7020).items():
        if name.endswith(("words", "groups", "rows", "columns", "classes")):
            assert contract.contract_hash(replace(ZYNQ7020, **{name: 2 * value})) not in seen
    # Golden reads the geometry; no hardware does.
    g = SECTIONS["g"]
    monkeypatch.setattr(commands, "SECTIONS", {**SECTIONS, "g": replace(g, places=g.places[1:])})
    assert contract.contract_hash(ZYNQ7020) in seen
