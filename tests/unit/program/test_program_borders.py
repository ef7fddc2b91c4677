"""Programs at their borders: regions, tap tables, files that are damaged, each line of the text."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from scheduled import all_kinds

from pynq_train.errors import BadInput, IllegalProgram, UnknownName
from pynq_train.hw.commands import Opcode, Pass, Semaphore, pack_descriptor, pack_tap
from pynq_train.hw.config import ZYNQ7020
from pynq_train.hw.contract import contract_hash
from pynq_train.program import Program, Region, disassemble, load, save
from pynq_train.program.codec import from_bytes, title, to_bytes

REGIONS = (Region("p.program", 0, 1024, "program"), Region("p.taps", 1024, 32, "taps"),
           Region("step_block", 1152, 32, "step block"), Region("a", 1280, 64, "tensor"),
           Region("b", 1408, 8, "tensor"))


def program(taps: int = 4, **fields: int) -> Program:
    """A program of one CONV; ``__`` in names of fields stands for the dot."""
    values = {name.replace("__", "."): value for name, value in fields.items()}
    code = pack_descriptor({"pre.opcode": int(Opcode.CONV), **values})
    data = b"".join(pack_tap({"woff": k + 1}) for k in range(taps))
    return Program.make("p", code, data, REGIONS[::-1], 2048, ZYNQ7020)


def test_make() -> None:
    made = program()
    assert made.regions == REGIONS and made.arena_bytes == 2048
    assert (made.program_off, made.taps_off, made.step_off) == (0, 1024, 1152)
    assert (made.config, made.contract) == ("zynq7020", contract_hash(ZYNQ7020))
    assert made.hw_config is ZYNQ7020 and made.count == 1
    with pytest.raises(BadInput, match=r"program 'p': bytes of descriptors: expected a multiple of "
                                       r"1024, found 0"):
        Program.make("p", b"", b"", REGIONS, 2048, ZYNQ7020)
    for missing in range(3):
        with pytest.raises(UnknownName, match=REGIONS[missing].symbol):
            Program.make("p", made.descriptors, b"", REGIONS[:missing] + REGIONS[missing + 1:],
                         2048, ZYNQ7020)
    other = Program.make("p", made.descriptors, b"", REGIONS, 2048, ZYNQ7020, step_symbol="b")
    assert other.step_off == 1408


@pytest.mark.parametrize(("offset", "symbol"), [
    (0, "p.program"), (1023, "p.program"), (1055, "p.taps"), (1056, None), (1279, None),
    (1280, "a"), (1343, "a"), (1344, None), (1408, "b"), (1415, "b"), (1416, None), (-1, None)])
def test_regions(offset: int, symbol: str | None) -> None:
    found = program().region_at(offset)
    assert (found.symbol if found else None) == symbol
    text = program().locate(offset)
    if found:
        assert text == f"{symbol}+{offset - found.offset:#x}"
    else:
        assert text == f"offset {offset:#x} (no tensor)"


@pytest.mark.parametrize(("opcode", "good"), [(7, True), (8, False), (255, False)])
def test_opcodes(opcode: int, good: bool) -> None:
    code = bytes([opcode]) + bytes(1023)
    made = replace(program(), descriptors=code)
    if good:
        assert made.fields[0]["pre.opcode"] == opcode
        return
    with pytest.raises(IllegalProgram, match=rf"descriptor 0: opcode: expected 0\.\.7, found "
                                             rf"{opcode}"):
        _ = made.fields


@pytest.mark.parametrize(("start", "count", "good"), [
    (1024, 4, True), (1048, 1, True), (1032, 3, True), (1024, 5, False), (1056, 1, False),
    (1016, 1, False), (1016, 4, False), (1028, 1, False), (1025, 1, False), (0, 0, True)])
def test_tap_tables(start: int, count: int, good: bool) -> None:
    made = program(pre__taps_off=start, pre__n_taps=count)
    if good:
        assert [tap["woff"] for tap in made.tap_table(0)] == [
            (start - 1024) // 8 + 1 + k for k in range(count)]
        return
    with pytest.raises(IllegalProgram, match=rf"descriptor 0: tap table: expected bytes "
                                             rf"1024\.\.1056 of the arena, found {count} taps at "
                                             rf"{start}"):
        made.tap_table(0)


# -- files
def resealed(body: bytes) -> bytes:
    """A file whose checksum is right."""
    return b"PTRPROG1" + hashlib.sha256(body).digest() + body


def header_of(made: Program) -> tuple[dict[str, object], bytes]:
    """Header of a file, and what stands behind it."""
    data = to_bytes(made)
    size = int.from_bytes(data[40:48], "little")
    return json.loads(data[48:48 + size]), data[48 + size:]


def with_header(header: object, rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return resealed(len(text).to_bytes(8, "little") + text + rest)


def test_file_layout(tmp_path: Path) -> None:
    made = program(taps=2)
    header, rest = header_of(made)
    assert rest == made.descriptors + made.taps and header["descriptor_bytes"] == 1024
    assert header["regions"] == [[r.symbol, r.offset, r.nbytes, r.kind] for r in REGIONS]
    assert from_bytes(with_header(header, rest)) == made == from_bytes(to_bytes(made))
    save(made, tmp_path / "a.prog")
    save(made, tmp_path / "a.prog")
    assert os.listdir(tmp_path) == ["a.prog"] and load(tmp_path / "a.prog") == made


@pytest.mark.parametrize("key", ["name", "config", "contract", "arena_bytes", "program_off",
                                 "taps_off", "step_off", "descriptor_bytes", "regions"])
def test_headers_that_lack_something(key: str) -> None:
    header, rest = header_of(program())
    del header[key]
    with pytest.raises(BadInput, match=rf"it has a malformed header .*{key}"):
        from_bytes(with_header(header, rest), "it")


def test_damaged_files() -> None:
    data = to_bytes(program())
    for at in (8, 39, 40, 48, 200, len(data) - 1):
        with pytest.raises(BadInput, match="it is damaged: its checksum does not match"):
            from_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:], "it")
    for wrong in (b"", b"PTRPROG", b"PTRPROG2" + data[8:]):
        with pytest.raises(BadInput, match="it is not a program file: expected it to start with "
                                           "b'PTRPROG1'"):
            from_bytes(wrong, "it")
    header, rest = header_of(program())
    for broken in ({**header, "regions": [["a", 0, 1]]}, {**header, "descriptor_bytes": "x"}, [],
                   7):
        with pytest.raises(BadInput, match="it has a malformed header"):
            from_bytes(with_header(broken, rest), "it")
    with pytest.raises(BadInput, match="it has a malformed header"):
        from_bytes(resealed((4).to_bytes(8, "little") + b"none"), "it")


# -- text
def test_titles() -> None:
    for opcode in Opcode:
        if opcode != Opcode.CONV:
            assert title({"pre.opcode": int(opcode)}) == opcode.name
    for kind in Pass:
        assert title({"pre.opcode": 1, "g.g_pass": int(kind)}) == f"CONV {kind.name}"
    assert title({"pre.opcode": 1, "g.g_pass": 9}) == "CONV pass 9"


def test_waits_as_text() -> None:
    assert ", no waits\n" in disassemble(program()) + "\n"
    text = disassemble(program(pre__wait_x=3, pre__wait_x_sem=int(Semaphore.UPDATE), pre__wait_s=1,
                               pre__wait_s_sem=9, pre__param=5, g__g_pass=1))
    assert "   0 CONV BACKWARD param 5, x waits UPDATE>=3, s waits 9>=1" in text
    last = disassemble(program(pre__wait_y=65535, pre__wait_y_sem=int(Semaphore.VECTOR)))
    assert "param 0, y waits VECTOR>=65535" in last


def test_first_line_and_geometry() -> None:
    made = program(g__g_m=5, g__g_n=7, g__g_kernel=3, g__g_stride=2, g__g_images=4, g__g_in_rows=9,
                   g__g_in_cols=8, g__g_out_rows=6, g__g_out_cols=5, g__g_x=1280, g__g_w=1408)
    lines = disassemble(made).splitlines()
    assert lines[0] == ("program p: 1 descriptors for zynq7020, arena of 2048 bytes, contract "
                        f"{made.contract[:8]}")
    assert lines[2] == ("       5x7 k3 s2, 4 images, 9x8 -> 6x5; g_x a+0x0; g_w b+0x0")


def test_full_text_names_fields_and_taps() -> None:
    made = program(taps=3, pre__n_taps=2, pre__taps_off=1032, c__red=3)
    full = disassemble(made, full=True)
    assert "       c.red = 3" in full and "       pre.n_taps = 2" in full
    assert " = 0" not in full
    assert "       tap 0: woff=2\n       tap 1: woff=3" in full and "tap 2" not in full
    assert "tap 0" not in disassemble(made) and "c.red" not in disassemble(made)


def test_every_address_is_named() -> None:
    """In the text of a real program each descriptor names the tensors that it works on."""
    made = all_kinds().program()
    lines = disassemble(made).splitlines()
    at = 0
    names = {Opcode.UPDATE: ("g_off", "wv_off"), Opcode.SOFTMAX: ("logit_off", "label_off",
                                                                  "dlogit_off"),
             Opcode.GRADIENT: ("g_x", "g_y", "wv_off", "w16_off"), Opcode.CONV: ("g_x", "g_y")}
    for number, f in enumerate(made.fields):
        at = next(k for k in range(at, len(lines)) if lines[k].startswith(f"{number:4} "))
        for name in names[Opcode(f["pre.opcode"])]:
            value = next(v for key, v in f.items() if key.endswith(f".{name}"))
            assert f"{name} {made.locate(value)}" in lines[at + 1]
