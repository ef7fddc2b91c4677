"""Proof that pt_round_sat rounds and saturates as defined, and proof that the proof can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prover import Proof

pytestmark = pytest.mark.rtl

ROUND = "rtl/common/pt_round_sat.sv"
PROOF = Proof("pt_round_sat_props", (ROUND,), {"InW": 18, "OutW": 6, "ShW": 5, "Lanes": 1}, steps=4)
PLANTED = {
    "half up": ("guard & (sticky | whole[0])", "guard"),
    "half to odd": ("guard & (sticky | whole[0])", "guard & (sticky | !whole[0])"),
    "bits lost by the coarse shift": ("| lost_q;", ";"),
    "bits lost by the fine shift": ("fine_lost_mask = ~(8'hff << fine_q)", "fine_lost_mask = '0"),
    "the lowest code is taken": ("? rounded_q < -", "? rounded_q < -1 - "),
    "saturates at the limit": ("? rounded_q > (OutW", "? rounded_q >= (OutW"),
    "a bit above the result is not looked at": (
        "whole[InW-1:OutW-1] == {(InW - OutW + 1)", "whole[InW-1:OutW] == {(InW - OutW)"),
    "large values saturate to the other side": (": !sign_q", ": sign_q"),
    "negative values shift in zeros": ("coarse_q >>> fine_q", "coarse_q >> fine_q"),
    "shift of the next value": ("coarse_q >>> fine_q", "coarse_q >>> shift_i[2:0]"),
    "a cycle late": ("valid_o = valid_q[2]", "valid_o = valid_q[1]"),
}


@pytest.mark.parametrize(
    ("in_bits", "out_bits", "shift_bits", "lanes"),
    [(8, 8, 4, 1), (16, 8, 4, 2), (48, 16, 6, 1),
     pytest.param(64, 32, 6, 1, marks=pytest.mark.slow)])
def test_holds_for_ever(
        in_bits: int, out_bits: int, shift_bits: int, lanes: int, tmp_path: Path) -> None:
    """Every value with every shift gives the nearest result, the even one of two, or saturates."""
    PROOF.assert_holds(tmp_path, InW=in_bits, OutW=out_bits, ShW=shift_bits, Lanes=lanes)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    PROOF.assert_broken(tmp_path, ROUND, *PLANTED[bug])
