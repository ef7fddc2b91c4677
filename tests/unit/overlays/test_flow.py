"""The overlay flow under a Tcl interpreter: what it states is the contract, and faults are seen."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

# `make setup` says how to get it.
pytest.importorskip("tkinter", reason="this Python has no Tcl interpreter")

import tkinter

from expected import differences, top_ports
from fake_vivado import ROOT, FakeVivado

from pynq_train.hw import ports
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import ZYNQ7020, package_path
from pynq_train.hw.emit import tcl

Z2, KV260 = BOARDS["pynq-z2"], BOARDS["kv260"]


def test_the_ports_as_data_are_those_of_the_rtl() -> None:
    data = {ports.CLOCK: "input", ports.RESET: "input", ports.INTERRUPT: "output"}
    text = (ROOT / "rtl" / "pt_top.v").read_text(encoding="utf-8")
    for bus in ports.buses(ZYNQ7020):
        for signal in bus.signals:
            port = bus.port(signal)
            data[port] = "input" if bus.is_input(signal) else "output"
            bits = re.search(rf"(?:\[(\d+):0\] )?{port},?\n", text)
            assert bits is not None and int(bits.group(1) or 0) + 1 == signal.bits, port
    assert data == top_ports()


@pytest.mark.parametrize("name", BOARDS)
def test_the_flow_states_the_contract(name: str, tmp_path: Path) -> None:
    run = FakeVivado(tmp_path)
    run.run(name)
    assert differences(run, BOARDS[name]) == []
    assert [path for path in run.sources if not path.is_file()] == []
    assert ROOT / package_path(BOARDS[name].config) in run.sources
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        "pynq_train.bit", "pynq_train.hwh", "result.json", "timing.txt", "utilization.txt"]


# Each fault: file of overlays/, what is replaced (a pattern), by what, and what notices it.
FAULTS = {
    "a dropped port": ("gen/core.tcl", r"\{WLAST m_axi2_wlast\} ", "", "packaged ports"),
    "a port of another bus": ("gen/core.tcl", "BRESP m_axi0_bresp", "BRESP m_axi1_bresp",
                              "packaged ports"),
    "two swapped ports": ("gen/core.tcl", "ARLEN m_axi3_arlen} {ARSIZE m_axi3_arsize",
                          "ARLEN m_axi3_arsize} {ARSIZE m_axi3_arlen", "logical name"),
    "a register at another offset": ("gen/core.tcl", "MODE 0x020", "MODE 0x024", "registers"),
    "a missing field": ("gen/core.tcl", r" \{HALTED 2 1 \{[^}]*\}\}", "", "fields"),
    "an access right": ("gen/core.tcl", "CTRL 0x010 write-only", "CTRL 0x010 read-write",
                        "registers"),
    "registers of no bus": ("flow.tcl", "    set_property slave_memory_map_ref [^\n]*\n", "",
                            "memory map"),
    "a missing interrupt": ("gen/pynq-z2.tcl", r"    \{pt_core_0/irq axi_intc_0/intr\}\n", "",
                            "nets"),
    "an interrupt by level": ("gen/pynq-z2.tcl", "C_KIND_OF_INTR 0xFFFFFFFF", "C_KIND_OF_INTR 0",
                              "interrupt controller"),
    "a missing clock": ("gen/pynq-z2.tcl", "memory_link_1/aclk ", "", "nets"),
    "a missing reset": ("gen/pynq-z2.tcl", "pt_core_0/aresetn ", "", "nets"),
    "a wrong base address": ("gen/pynq-z2.tcl", "0x43c00000", "0x43c10000", "addresses"),
    "a wrong range": ("gen/pynq-z2.tcl", "HP3_DDR_LOWOCM 0x0 0x20000000",
                      "HP3_DDR_LOWOCM 0x0 0x10000000", "addresses"),
    "memory that a master cannot reach": (
        "gen/pynq-z2.tcl", r"    \{pt_core_0/m_axi1 processing[^}]*\}\n", "", "addresses"),
    "two masters on each other's port": (
        "gen/pynq-z2.tcl", "pt_core_0/m_axi0 memory_link_0", "pt_core_0/m_axi0 memory_link_1",
        "buses"),
    "another contract": ("gen/pynq-z2.tcl", "{CONTRACT_HASH ..", "{CONTRACT_HASH 00",
                         "contract hash"),
    "another part": ("gen/pynq-z2.tcl", "xc7z020clg400-1", "xc7z010clg400-1", "parts"),
    "another clock": ("gen/pynq-z2.tcl", "PCW_FPGA0_PERIPHERAL_FREQMHZ 100.0",
                      "PCW_FPGA0_PERIPHERAL_FREQMHZ 125.0", "requested clock"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str, tmp_path: Path) -> None:
    file, old, new, noticed = FAULTS[fault]
    overlays = _copy(tmp_path, file, old, new)
    run = FakeVivado(tmp_path / "out")
    run.run("pynq-z2", overlays)
    assert any(line.startswith(noticed) for line in differences(run, Z2)), fault


def test_high_memory_is_part_of_the_contract(tmp_path: Path) -> None:
    overlays = _copy(tmp_path, "gen/kv260.tcl", r"    \{pt_core_0/m_axi0 \S*HIGH[^}]*\}\n", "")
    run = FakeVivado(tmp_path / "out")
    run.run("kv260", overlays)
    assert [line.split(":")[0] for line in differences(run, KV260)] == ["addresses"]


def test_a_pin_that_does_not_exist_stops_the_flow(tmp_path: Path) -> None:
    overlays = _copy(tmp_path, "gen/pynq-z2.tcl", "IRQ_F2P", "IRQ_P2F")
    with pytest.raises(tkinter.TclError, match="expected one object from 'get_bd_pins "
                       "processing_system7_0/IRQ_P2F', found 0: this version of Vivado"):
        FakeVivado(tmp_path / "out").run("pynq-z2", overlays)


@pytest.mark.parametrize("slack", ["-0.001", ""])
def test_negative_slack_is_an_error_and_leaves_no_bit_file(slack: str, tmp_path: Path) -> None:
    (tmp_path / "pynq_train.bit").write_bytes(b"of an older build")
    run = FakeVivado(tmp_path, slack_ns=slack)
    with pytest.raises(tkinter.TclError, match="overlay: expected a setup slack of 0 ns or more, "
                       f"found '{slack}': see timing.txt"):
        run.run("pynq-z2")
    assert not (tmp_path / "pynq_train.bit").exists() and (tmp_path / "timing.txt").exists()


def test_another_clock_than_the_contract_s_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(tkinter.TclError, match=r"clock of 100\.0 MHz, found 142\.857142"):
        FakeVivado(tmp_path, clock_mhz=142.857142).run("pynq-z2")


def test_text_that_is_no_tcl_word_is_refused() -> None:
    assert tcl.word("a b") == "{a b}" and tcl.word("") == "{}" and tcl.word("x") == "x"
    with pytest.raises(ValueError, match="cannot be written as a word of Tcl"):
        tcl.word("}")


def _copy(folder: Path, file: str, old: str, new: str) -> Path:
    """A copy of overlays/ beside the RTL with one replacement."""
    overlays = folder / "overlays"
    shutil.copytree(ROOT / "overlays", overlays, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "rtl").symlink_to(ROOT / "rtl")
    path = overlays / file
    text = path.read_text(encoding="utf-8")
    pattern = old if "\\" in old or "[" in old or ".." in old else re.escape(old)
    changed = re.sub(pattern, new, text)
    assert changed != text, f"{old!r} is not in {file}"
    path.write_text(changed, encoding="utf-8")
    return overlays
