"""Proof that every address of the registers answers, and proof that the proof can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prover import Proof

pytestmark = pytest.mark.rtl

REGISTERS, BRIDGE = "rtl/gen/pt_regs.sv", "overlays/rtl/pt_lite_bridge.sv"
PROOF = Proof("pt_regs_props", (
    "rtl/gen/pt_abi_pkg.sv", "rtl/gen/pt_spec_pkg.sv", REGISTERS, BRIDGE))
PLANTED = {
    "an address that does not answer": (
        REGISTERS, "read = s_axi_arvalid & ~s_axi_rvalid",
        "read = s_axi_arvalid & ~s_axi_rvalid & (s_axi_araddr < 12'h700)"),
    "a write that does not answer": (
        REGISTERS, "write = s_axi_awvalid & s_axi_wvalid & ~s_axi_bvalid",
        "write = s_axi_awvalid & s_axi_wvalid & ~s_axi_bvalid & (s_axi_awaddr < 12'h700)"),
    "an error for what is no register": (
        REGISTERS, "s_axi_rresp = 2'b00", "s_axi_rresp = {s_axi_araddr[11], 1'b0}"),
    "an answer that is withdrawn": (
        REGISTERS, "if (s_axi_rready) s_axi_rvalid <= 1'b0;", "s_axi_rvalid <= 1'b0;"),
    "all bytes are written": (
        REGISTERS, "(step_off_o & ~wmask) | (s_axi_wdata & wmask)", "s_axi_wdata"),
    "a register changes during a run": (
        REGISTERS, "pt_abi_pkg::RegStepOff: if (!lock_i) begin", "pt_abi_pkg::RegStepOff: begin"),
    "a start that nothing armed": (
        REGISTERS, "s_axi_wdata[0] && wmask[0] && armed_q", "s_axi_wdata[0] && wmask[0]"),
    "a start that is lost": (
        REGISTERS, "s_axi_wdata[0] && wmask[0] && !armed_q", "1'b0"),
    "a start that is refused and works": (
        REGISTERS, "s_axi_wdata[0] && wmask[0] && !armed_q", "s_axi_wdata[0] && wmask[0]"),
    "armed twice": (REGISTERS, "armed_q <= !armed_q;", "armed_q <= 1'b1;"),
    "something is read where nothing is": (
        REGISTERS, "default: s_axi_rdata <= 32'd0", "default: s_axi_rdata <= status_i"),
    "a burst is answered after its first word": (
        BRIDGE, "last_q ? WrDone : WrBeat", "WrDone"),
    "a burst of reads without a last word": (
        BRIDGE, "s_rlast_o   = left_q == 8'd0", "s_rlast_o   = left_q == 8'hff"),
    "a burst stays at its first address": (
        BRIDGE, "m_araddr_o <= m_araddr_o + AddressBits'(4);", ""),
    "the name of the burst behind": (BRIDGE, "s_rid_o    <= s_arid_i;", "s_rid_o <= s_awid_i;"),
    "waits for a read": (
        BRIDGE, "WrIdle: if (s_awvalid_i)", "WrIdle: if (s_awvalid_i && s_arvalid_i)"),
}


def test_holds_for_ever(tmp_path: Path) -> None:
    """Each access is answered within three cycles, in order and with the right values."""
    PROOF.assert_holds(tmp_path)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    PROOF.assert_broken(tmp_path, *PLANTED[bug], steps=10)
