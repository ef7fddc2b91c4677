"""Comparison of .hwh files: every kind of difference is named, chosen names do not count."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pynq_train.cli.main import main
from pynq_train.errors import BadInput
from pynq_train.hw import hwh_compare
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.emit import hwh

Z2 = BOARDS["pynq-z2"]


@pytest.mark.parametrize("name", BOARDS)
def test_a_generated_file_agrees(name: str, tmp_path: Path) -> None:
    file = tmp_path / "a.hwh"
    file.write_text(hwh.render(BOARDS[name]))
    assert hwh_compare.compare(file, BOARDS[name]) == []


# Each difference: a pattern in the generated file, its replacement, what the report says.
DIFFERENCES = {
    "type": ("pynq_train:pt_core:1.0", "pynq_train:pt_core:2.0",
             "type engine: expected pynq-train.org:pynq_train:pt_core:1.0, found "
             "pynq-train.org:pynq_train:pt_core:2.0"),
    "base address": ('BASEVALUE="0x43C00000" HIGHNAME="C_HIGHADDR" HIGHVALUE="0x43C00FFF"',
                     'BASEVALUE="0x43C10000" HIGHNAME="C_HIGHADDR" HIGHVALUE="0x43C10FFF"',
                     "range pt_core: expected 0x43c00000 to 0x43c00fff on M_AXI_GP0, found "
                     "0x43c10000 to 0x43c10fff on M_AXI_GP0"),
    "size": ('HIGHVALUE="0x43C00FFF"', 'HIGHVALUE="0x43C0FFFF"',
             "range pt_core: expected 0x43c00000 to 0x43c00fff on M_AXI_GP0, found "
             "0x43c00000 to 0x43c0ffff on M_AXI_GP0"),
    "register offset": ('"ADDRESS_OFFSET" VALUE="0x24"', '"ADDRESS_OFFSET" VALUE="0x84"',
                        "register ARENA_LO: expected 0x024 of s_axi, 32 bits, read-write, found "
                        "0x084 of s_axi, 32 bits, read-write"),
    "register name": ('REGISTER NAME="CYCLES"', 'REGISTER NAME="TICKS"',
                      "register CYCLES: expected 0x040 of s_axi, 32 bits, read-only, found none"),
    "new register": ('<REGISTER NAME="CYCLES">', '<REGISTER NAME="TICKS"/><REGISTER NAME="CYCLES">',
                     "register TICKS: expected none, found 0x000 of s_axi, None bits, None"),
    "registers of another block": ('INTERFACE="s_axi" NAME="Reg"', 'INTERFACE="s_ctl" NAME="Reg"',
                                   "register ID: expected 0x000 of s_axi, 32 bits, read-only, "
                                   "found 0x000 of s_ctl, 32 bits, read-only"),
    "field": ('"BIT_WIDTH" VALUE="8"', '"BIT_WIDTH" VALUE="7"',
              "field STATUS.ERROR: expected 8 bits from bit 8, found 7 bits from bit 8"),
    "parameter": ('NAME="TM" VALUE="16"', 'NAME="TM" VALUE="32"',
                  "parameter TM: expected 16, found 32"),
    "missing parameter": (r'<PARAMETER NAME="CONTRACT_HASH" [^>]*>', "",
                          f"parameter CONTRACT_HASH: expected "
                          f"{hwh_compare.design.parameters(Z2)['CONTRACT_HASH']}, found none"),
    "port width": ('"C_S_AXI_HP2_DATA_WIDTH" VALUE="64"', '"C_S_AXI_HP2_DATA_WIDTH" VALUE="32"',
                   "parameter C_S_AXI_HP2_DATA_WIDTH: expected 64, found 32"),
    "memory window": ('HIGHVALUE="0x1FFFFFFF"', 'HIGHVALUE="0x0FFFFFFF"',
                      "memory m_axi0 at 0x0: expected 0x00000000 to 0x1fffffff through S_AXI_HP0, "
                      "found 0x00000000 to 0x0fffffff through S_AXI_HP0"),
    "memory port": ('SLAVEBUSINTERFACE="S_AXI_HP3"', 'SLAVEBUSINTERFACE="S_AXI_HP0"',
                    "memory m_axi3 at 0x0: expected 0x00000000 to 0x1fffffff through S_AXI_HP3, "
                    "found 0x00000000 to 0x1fffffff through S_AXI_HP0"),
    "clock": ('PERIPHERAL_DIVISOR0" VALUE="5"', 'PERIPHERAL_DIVISOR0" VALUE="4"',
              "clock: expected 100.000 MHz or 90.909 MHz or 83.333 MHz, found 125.000 MHz"),
    "device": ('DEVICE="xc7z020clg400-1"', 'DEVICE="7z010"',
               "device: expected xc7z020clg400-1, found 7z010"),
}  # fmt: skip


@pytest.mark.parametrize("what", DIFFERENCES)
def test_each_difference_is_named(what: str, tmp_path: Path) -> None:
    old, new, sentence = DIFFERENCES[what]
    text = hwh.render(Z2)
    pattern = old if "[^" in old or "|" in old else re.escape(old)
    changed = re.sub(pattern, new, text)
    assert changed != text
    file = tmp_path / "a.hwh"
    file.write_text(changed)
    assert sentence in hwh_compare.compare(file, Z2)


def test_names_that_a_tool_chose_do_not_count(tmp_path: Path) -> None:
    text = hwh.render(Z2).replace("pt_core_0", "engine")
    text = text.replace('DEVICE="xc7z020clg400-1"', 'DEVICE="7z020"')
    text = text.replace('PACKAGE=""', 'PACKAGE="clg400"')
    text = text.replace('VALUE="0x24"', 'VALUE="36"')
    extra = '<PARAMETER NAME="Component_Name" VALUE="x" /><PARAMETER NAME="TM"'
    file = tmp_path / "a.hwh"
    file.write_text(text.replace('<PARAMETER NAME="TM"', extra))
    assert hwh_compare.compare(file, Z2) == []


def test_fall_back_clocks_agree_unless_one_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.hwh"
    text = hwh.render(Z2).replace('DIVISOR0" VALUE="5"', 'DIVISOR0" VALUE="6"')
    file.write_text(text)
    assert hwh_compare.compare(file, Z2) == hwh_compare.compare(file, Z2, 83.333333) == []
    assert hwh_compare.compare(file, Z2, 100.0) == [
        "clock: expected 100.000 MHz, found 83.333 MHz"]


def test_files_that_hold_no_engine_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.hwh"
    with pytest.raises(BadInput, match=r"is no \.hwh file: expected the XML that Vivado writes"):
        hwh_compare.compare(file, Z2)
    file.write_text("no xml")
    with pytest.raises(BadInput, match=r"is no \.hwh file"):
        hwh_compare.compare(file, Z2)
    file.write_text('<EDKSYSTEM><MODULE MODTYPE="axi_dma"/></EDKSYSTEM>')
    with pytest.raises(BadInput, match="holds no engine: expected a module pt_core, found axi_dma"):
        hwh_compare.compare(file, Z2)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.hwh"
    file.write_text(hwh.render(Z2))
    assert main(["hwh", str(file), "--board", "pynq-z2"]) == 0
    assert capsys.readouterr().out == f"{file} agrees with the contract of pynq-z2\n"
    assert main(["hwh", str(file), "--board", "zcu104"]) == 5
    done = capsys.readouterr()
    assert "parameter TM: expected 32, found 16\n" in done.out
    assert re.search(r"is not the contract of zcu104: expected no difference, found \d+, listed "
                     "above; build the overlay of this version: make overlay BOARD=zcu104",
                     done.err)
