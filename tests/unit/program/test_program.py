"""Programs as values, as files and as text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pynq_train.errors import BadInput, IllegalProgram, UnknownName
from pynq_train.hw.commands import Opcode, Pass, pack_descriptor, pack_tap
from pynq_train.hw.config import ZYNQ7020
from pynq_train.program import Program, Region, disassemble, load, save


def small_program() -> Program:
    """A fence and an update, with one unused tap."""
    update = {"pre.opcode": int(Opcode.UPDATE), "pre.number": 1, "pre.signal": 1, "u.g_off": 2304,
              "u.wv_off": 2432, "u.u_count": 8, "pre.rec_off": 2560, "pre.wait_x_sem": 0}
    code = pack_descriptor({"pre.opcode": 0}) + pack_descriptor(update)
    regions = [Region("step_block", 2176, 32, "step block"),
               Region("p.program", 0, 2048, "program"), Region("p.taps", 2048, 8, "taps"),
               Region("g", 2304, 64, "gradient sums"), Region("wv", 2432, 64, "masters"),
               Region("records", 2560, 64, "records")]
    return Program.make("p", code, pack_tap({"woff": 3}), regions, 4096, ZYNQ7020)


def test_parts_and_places() -> None:
    program = small_program()
    assert program.count == 2 and program.program_off == 0 and program.step_off == 2176
    assert program.image() == ((0, program.descriptors), (2048, program.taps))
    assert program.fields[1]["u.u_count"] == 8
    assert program.tap_table(0) == ()
    assert program.locate(2310) == "g+0x6"
    assert program.locate(4000) == "offset 0xfa0 (no tensor)"


def test_file_round_trip_and_damage(tmp_path: Path) -> None:
    program, path = small_program(), tmp_path / "p.ptrprog"
    save(program, path)
    assert load(path) == program
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BadInput, match="damaged"):
        load(path)
    path.write_bytes(b"something else")
    with pytest.raises(BadInput, match="not a program file"):
        load(path)
    with pytest.raises(BadInput, match="does not exist"):
        load(tmp_path / "none")


def test_disassembly_names_tensors() -> None:
    text = disassemble(small_program())
    assert "0 FENCE" in text and "1 UPDATE" in text and "g_off g+0x0" in text
    assert "u.u_count = 8" in disassemble(small_program(), full=True)


def test_disassembly_of_a_gradient() -> None:
    """Geometry and both sections with addresses."""
    gradient = {"pre.opcode": int(Opcode.GRADIENT), "u.wv_off": 2432, "u.u_count": 64,
                "g.g_pass": int(Pass.WEIGHT_GRADIENT), "g.g_m": 3, "g.g_n": 5, "g.g_kernel": 1,
                "g.g_x": 2304}
    text = disassemble(replace(small_program(), descriptors=pack_descriptor(gradient)))
    assert "0 GRADIENT param 0" in text and "3x5 k1 s0" in text
    assert "g_x g+0x0; wv_off wv+0x0" in text


def test_bad_parts_are_refused() -> None:
    program = small_program()
    with pytest.raises(UnknownName, match=r"q\.program"):
        Program.make("q", program.descriptors, b"", program.regions, 4096, ZYNQ7020)
    with pytest.raises(BadInput, match="multiple of 1024"):
        Program.make("p", b"abc", b"", program.regions, 4096, ZYNQ7020)
    with pytest.raises(UnknownName, match="configuration"):
        _ = replace(program, config="other").hw_config
    broken = replace(program, descriptors=b"\x63" + program.descriptors[1:])
    with pytest.raises(IllegalProgram, match=r"descriptor 0: opcode: expected 0\.\.7, found 99"):
        _ = broken.fields
    taps = pack_descriptor({"pre.opcode": 1, "pre.n_taps": 4, "pre.taps_off": 2048})
    with pytest.raises(IllegalProgram, match="tap table"):
        replace(program, descriptors=taps).tap_table(0)
