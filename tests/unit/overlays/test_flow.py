"""The overlay flow under a Tcl interpreter: what it states is the contract, and faults are seen."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

# `make setup` says how to get it.
pytest.importorskip("tkinter", reason="this Python has no Tcl interpreter")

import tkinter

import fake_ps
from expected import differences, top_ports
from fake_vivado import ROOT, FakeVivado

from pynq_train.hw import design, ports
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import ZYNQ7020, package_path
from pynq_train.hw.emit import tcl
from pynq_train.hw.ip_ports import ip_buses, ip_path
from pynq_train.hw.limits import OUTSTANDING_BURSTS
from pynq_train.hw.sources import ip_sources
from sim.synth import design_sources

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


@pytest.mark.parametrize("family", ["zynq", "zynqmp"])
def test_the_ip_s_ports_as_data_are_those_of_its_text(family: str) -> None:
    data = {"aclk": "input", "aresetn": "input"}
    for bus in ip_buses(family, 4):
        data |= {bus.port(s): "input" if bus.is_input(s) else "output" for s in bus.signals}
    assert data == top_ports(ip_path(family))


def test_masters_have_as_many_bursts_as_is_declared() -> None:
    for name in ("pt_axi_rd", "pt_axi_wr"):
        text = (ROOT / "rtl" / "axi" / f"{name}.sv").read_text(encoding="utf-8")
        found = re.search(r"parameter int unsigned MaxOutstanding = (\d+)", text)
        assert found is not None and int(found.group(1)) == OUTSTANDING_BURSTS
    for path in (ROOT / "rtl").rglob("*.sv"):
        assert ".MaxOutstanding(" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("name", BOARDS)
def test_what_is_built_is_what_is_synthesised(name: str, tmp_path: Path) -> None:
    """One list of files: of the flow, of synthesis, and of the simulated engine."""
    board, run = BOARDS[name], FakeVivado(tmp_path)
    run.run(name)
    built = [str(path.relative_to(ROOT)) for path in run.sources]
    assert built == ip_sources(ROOT, board) == design_sources(board)[:-1]
    engine = (ROOT / "rtl" / "pynq_train.f").read_text(encoding="utf-8").split()
    assert len(built) == len(engine) + 2
    assert {f"rtl/{line}" for line in engine} - set(built) <= {package_path(ZYNQ7020)}


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
    "a dropped port": ("gen/pynq-z2.tcl", r"\{WLAST m_axi2_wlast\} ", "", "packaged ports"),
    "a port of another bus": ("gen/pynq-z2.tcl", "BRESP m_axi0_bresp", "BRESP m_axi1_bresp",
                              "packaged ports"),
    "two swapped ports": ("gen/pynq-z2.tcl", "ARLEN m_axi3_arlen} {ARSIZE m_axi3_arsize",
                          "ARLEN m_axi3_arsize} {ARSIZE m_axi3_arlen", "logical name"),
    "a register at another offset": ("gen/core.tcl", "MODE 0x020", "MODE 0x024", "registers"),
    "a missing field": ("gen/core.tcl", r" \{HALTED 2 1 \{[^}]*\}\}", "", "fields"),
    "an access right": ("gen/core.tcl", "CTRL 0x010 write-only", "CTRL 0x010 read-write",
                        "registers"),
    "registers of no bus": ("flow.tcl", "    set_property slave_memory_map_ref [^\n]*\n", "",
                            "memory map"),
    "a missing clock": ("gen/pynq-z2.tcl", "pt_core_0/aclk processing_system7_0/M_AXI_GP0_ACLK ",
                        "pt_core_0/aclk ", "nets"),
    "a missing reset": ("gen/pynq-z2.tcl",
                        r"    \{processing_system7_0/FCLK_RESET0_N [^}]*\}\n", "", "nets"),
    "bursts that nobody declares": ("gen/pynq-z2.tcl", " NUM_READ_OUTSTANDING 8", "",
                                    "outstanding bursts"),
    "an incomplete preset": ("gen/pynq-z2.tcl", r"    \{CONFIG.PCW_USB0_USB0_IO [^}]*\}\}\n", "",
                             "missing in the preset"),
    "a wrong base address": ("gen/pynq-z2.tcl", "0x43c00000", "0x43c10000", "addresses"),
    "a wrong range": ("gen/pynq-z2.tcl", "HP3_DDR_LOWOCM 0x0 0x20000000",
                      "HP3_DDR_LOWOCM 0x0 0x10000000", "addresses"),
    "memory that a master cannot reach": (
        "gen/pynq-z2.tcl", r"    \{pt_core_0/m_axi1 processing[^}]*\}\n", "", "addresses"),
    "two masters on each other's port": (
        "gen/pynq-z2.tcl", "pt_core_0/m_axi0 processing_system7_0/S_AXI_HP0}",
        "pt_core_0/m_axi0 processing_system7_0/S_AXI_HP1}", "buses"),
    "another contract": ("gen/pynq-z2.tcl", "{CONTRACT_HASH ..", "{CONTRACT_HASH 00",
                         "contract hash"),
    "another part": ("gen/pynq-z2.tcl", "xc7z020clg400-1", "xc7z010clg400-1", "parts"),
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
    overlays = _copy(tmp_path, "gen/pynq-z2.tcl", "processing_system7_0/FCLK_RESET0_N",
                     "processing_system7_0/FCLK_RESET_N")
    with pytest.raises(tkinter.TclError, match="expected one object from 'get_bd_pins "
                       "processing_system7_0/FCLK_RESET_N', found 0: this version of Vivado"):
        FakeVivado(tmp_path / "out").run("pynq-z2", overlays)


@pytest.mark.parametrize(("file", "old", "new", "said"), [
    ("gen/pynq-z2.tcl", "m_axi1 master {PROTOCOL AXI3", "m_axi1 master {PROTOCOL AXI4", "PROTOCOL"),
    ("gen/pynq-z2.tcl", "S_AXI_HP1_DATA_WIDTH 64", "S_AXI_HP1_DATA_WIDTH 32", "DATA_WIDTH"),
    ("gen/kv260.tcl", "PSU__MAXIGP0__DATA_WIDTH 32", "PSU__MAXIGP0__DATA_WIDTH 128", "DATA_WIDTH"),
])  # fmt: skip
def test_buses_that_do_not_match_stop_the_flow(file: str, old: str, new: str, said: str,
                                               tmp_path: Path) -> None:
    overlays = _copy(tmp_path, file, old, new)
    with pytest.raises(ValueError, match=rf"BD 41-237\] Bus Interface property {said}"):
        FakeVivado(tmp_path / "out").run(Path(file).stem, overlays)


# ---- timing --------------------------------------------------------------------------------------
FIRST = ("100.0", "Explore", "AggressiveExplore", "Explore")


def test_the_first_attempt_that_meets_the_timing_ends_the_flow(tmp_path: Path) -> None:
    run = FakeVivado(tmp_path)
    run.run("pynq-z2")
    assert run.routings == [FIRST] and run.runs == ["synth_1", "impl_1"]
    made = json.loads((tmp_path / "result.json").read_text())
    assert made["clock_mhz"] == 100.0 and made["strategy"] == ", ".join(FIRST[1:])
    assert made["setup_slack_ns"] == made["hold_slack_ns"] == 0.125


def test_other_strategies_are_tried_before_a_lower_clock(tmp_path: Path) -> None:
    run = FakeVivado(tmp_path, slacks_ns=("-0.2", "-0.1", "-0.01", "0.02"))
    run.run("pynq-z2")
    assert [row[0] for row in run.routings] == ["100.0"] * 4
    assert len(set(run.routings)) == 4 and run.runs.count("synth_1") == 1
    assert json.loads((tmp_path / "result.json").read_text())["setup_slack_ns"] == 0.02


def test_a_lower_clock_is_synthesised_anew_and_reported(tmp_path: Path) -> None:
    run = FakeVivado(tmp_path, slacks_ns=("-0.2",) * 4 + ("0.3",))
    run.run("pynq-z2")
    assert [row[0] for row in run.routings] == ["100.0"] * 4 + ["90.9"]
    assert run.runs.count("synth_1") == 2
    made = json.loads((tmp_path / "result.json").read_text())
    assert design.is_clock_of(Z2, made["clock_mhz"]) and made["clock_mhz"] < 91


def test_a_routed_design_is_repaired_before_another_attempt(tmp_path: Path) -> None:
    run = FakeVivado(tmp_path, slacks_ns=("-0.2",), repaired_ns="0.001")
    run.run("pynq-z2")
    assert run.routings == [FIRST]


@pytest.mark.parametrize("slack", ["-0.001", ""])
def test_negative_slack_is_an_error_and_leaves_no_bit_file(slack: str, tmp_path: Path) -> None:
    (tmp_path / "pynq_train.bit").write_bytes(b"of an older build")
    run = FakeVivado(tmp_path, slacks_ns=(slack,))
    with pytest.raises(tkinter.TclError, match="overlay: expected a setup and a hold slack of 0 ns "
                       rf"or more, found \(100.0 MHz, Explore, Explore: {slack} and {slack}; "):
        run.run("pynq-z2")
    assert len(run.routings) == len(tcl.attempts(Z2)) == 8
    assert not (tmp_path / "pynq_train.bit").exists() and (tmp_path / "timing.txt").exists()


# ---- clocks --------------------------------------------------------------------------------------
def test_clocks_are_fractions_of_the_preset_s_pll() -> None:
    assert design.clock_choices(Z2) == (100.0, 90.909091, 83.333333)
    faster = replace(Z2, preset=replace(Z2.preset, pll_multiplier=32))
    assert design.clock_choices(faster) == (100.0, 94.117647, 88.888889, 84.210526, 80.0)
    assert [design.clock_divisor(faster, c) for c in design.clock_choices(faster)] == [
        16, 17, 18, 19, 20]
    assert design.clock_choices(KV260)[0] == pytest.approx(99.999)
    for board in BOARDS.values():
        assert all(design.is_clock_of(board, clock) for clock in design.clock_choices(board))
        assert not design.is_clock_of(board, 0.62 * board.clock_mhz)
    with pytest.raises(ValueError, match="pynq-z2: no divisor of 1000 MHz gives 141 MHz"):
        design.clock_divisor(Z2, 141.0)


# Each fault: what of the preset is lost, and what the flow says within its first minute.
LOST = {
    "Ethernet, which sets the PLL": (
        r"    \{CONFIG.PCW_ENET0_[^\n]*\n", "", r"product is 10 for 100\.0 MHz, found 4 x 4: "
        r"Vivado multiplies the crystal by 32, .* would run at 62\.5 MHz; complete the board's "),
    "all peripherals": (
        r"    \{CONFIG.PCW_(?:ENET0|QSPI|SD|UART|USB0)\w*_[^\n]*\n", "", "found 4 x 4"),
    "the divisor": (r"100\.0 10 Explore", "100.0 9 Explore", "product is 9"),
    "the clock": (r"\{100\.0 10", "{102.0 10", r"expected a clock of 102\.0 MHz, found 100\.0 MHz"),
}  # fmt: skip


@pytest.mark.parametrize("lost", LOST)
def test_clocks_are_compared_before_anything_takes_time(lost: str, tmp_path: Path) -> None:
    old, new, said = LOST[lost]
    overlays = _copy(tmp_path, "gen/pynq-z2.tcl", old, new)
    run = FakeVivado(tmp_path / "out")
    with pytest.raises(tkinter.TclError, match=said):
        run.run("pynq-z2", overlays)
    # Neither packaged nor built: the first project was not even left.
    assert len(run.parts) == 1 and run.runs == [] and run.ip == {}


def test_a_pll_that_is_only_asked_for_does_not_count() -> None:
    """The bare processing system of earlier versions: the stand-in computes what Vivado records."""
    asked = {"CONFIG.PCW_CRYSTAL_PERIPHERAL_FREQMHZ": "50", "CONFIG.PCW_IOPLL_CTRL_FBDIV": "20",
             "CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ": "100.0"}
    made = fake_ps.compute("processing_system7", asked)
    assert made.properties["CONFIG.PCW_IOPLL_CTRL_FBDIV"] == "32" and made.clock_mhz == 100.0
    asked["CONFIG.PCW_OVERRIDE_BASIC_CLOCK"] = "1"
    made = fake_ps.compute("processing_system7", asked)
    assert made.properties["CONFIG.PCW_FCLK0_PERIPHERAL_DIVISOR0"] == "5"


def test_a_board_file_gives_its_preset_where_it_fits(tmp_path: Path) -> None:
    parts = {"xilinx.com:kv260_som:part0:1.3": KV260.part,
             "xilinx.com:kv260_som:part0:1.4": KV260.part}
    run = FakeVivado(tmp_path / "a", board_parts=parts)
    run.run("kv260")
    assert run.properties["project"]["board_part"] == "xilinx.com:kv260_som:part0:1.4"
    assert run.presets == ["zynq_ultra_ps_e_0"] * 2 and differences(run, KV260) == []
    other = FakeVivado(tmp_path / "b", board_parts=dict.fromkeys(parts, "xck26-another"))
    other.run("kv260")
    assert other.presets == [] and "board_part" not in other.properties["project"]


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
