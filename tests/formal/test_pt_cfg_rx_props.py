"""Proof that units receive the words of a descriptor, and proof that the proof can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prover import Proof

pytestmark = pytest.mark.rtl

RECEIVER = "rtl/common/pt_cfg_rx.sv"
SOURCES = ("rtl/gen/pt_abi_pkg.sv", "rtl/common/pt_clock_gate.sv", RECEIVER)
PROOF = Proof("pt_cfg_rx_props", SOURCES, {"Words": 2})
# A descriptor without taps has five words of prefix, the section and two of the step block.
PLANTED = {
    "asks while it receives": ("req_o = !receiving_q && !hold_i", "req_o = !hold_i"),
    "asks without room": ("req_o = !receiving_q && !hold_i", "req_o = !receiving_q"),
    "never asks again": ("receiving_q <= !cfg_last_i", "receiving_q <= 1'b1"),
    "shifts the wrong way": (
        "{cfg_data_i, section_o[64*Words-1:64]}", "{section_o[64*(Words-1)-1:0], cfg_data_i}"),
    "the first word is left out": (
        "cfg_idx_i >= 8'(First) &&", "cfg_idx_i > 8'(First) &&"),
    "words behind the section": ("cfg_idx_i < 8'(First + Words)", "cfg_idx_i <= 8'd255"),
    "words that are not valid": (
        "    if (cfg_valid_i) begin\n      for", "    begin\n      for"),
    "step-block entry one word off": ("ParamIndex + w))", "ParamIndex + w + 1))"),
    "a tap too early": ("cfg_idx_i >= 8'(pt_abi_pkg::TapIndex)", "cfg_idx_i > 8'd128"),
}


@pytest.mark.parametrize(
    ("first", "words", "shift", "gate"),
    [(5, 1, 1, 0), (7, 3, 1, 1), (45, 6, 0, 1)])
def test_holds_for_ever(first: int, words: int, shift: int, gate: int, tmp_path: Path) -> None:
    """Every word of every descriptor stands at its place, whatever came before."""
    PROOF.assert_holds(tmp_path, First=first, Words=words, Shift=shift, Gate=gate)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    PROOF.assert_broken(tmp_path, RECEIVER, *PLANTED[bug], steps=11)
