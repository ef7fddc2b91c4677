"""Proof by induction of what pt_axi_rd takes and drops, and proof that the proof can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prover import Proof

pytestmark = pytest.mark.rtl

READER = "rtl/axi/pt_axi_rd.sv"
PROOF = Proof("pt_axi_rd_props", (
    "rtl/gen/pt_abi_pkg.sv", "rtl/common/pt_clock_gate.sv", "rtl/common/pt_ram_sdp.sv",
    "rtl/common/pt_fifo.sv", "rtl/common/pt_fifo_bram.sv", "rtl/axi/pt_burst.sv", READER),
    steps=8)
PLANTED = {
    "a stray is data": ("take = rvalid_i && owed_q != '0;", "take = rvalid_i;"),
    "owed before the memory has taken the request": (
        "asked = arvalid_o && arready_i;", "asked = arvalid_o;"),
    "a stray is not told of": (
        "stray_o       <= rvalid_i && !take;", "stray_o       <= 1'b0;"),
    "a stray that ends a burst leaves it open": (
        "!arvalid_o && owed_q == '0;", "!arvalid_o && outstanding_q == 4'd0;"),
}


def test_holds_for_ever(tmp_path: Path) -> None:
    """Words, strays, requests and credits, from reset on, whatever the memory answers."""
    PROOF.assert_holds(tmp_path)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    PROOF.assert_broken(tmp_path, READER, *PLANTED[bug], steps=12)
