"""Proof of pt_fifo by induction, and proof that the proof can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prover import Proof

pytestmark = pytest.mark.rtl

FIFO = "rtl/common/pt_fifo.sv"
PROOF = Proof("pt_fifo_props", (FIFO,), {"Depth": 4})
PLANTED = {
    "overflow": ("assign ready_o = count_q != CountW'(Depth);", "assign ready_o = 1'b1;"),
    "pops without ready": ("assign pop = valid_o && ready_i;", "assign pop = valid_o;"),
    "newest first": ("assign data_o = mem[rptr_q];", "assign data_o = mem[wptr_q - PtrW'(1)];"),
    "keeps its words in reset": ("      count_q <= '0;\n", ""),
}


@pytest.mark.parametrize("depth", [2, 4])
def test_holds_for_ever(depth: int, tmp_path: Path) -> None:
    """Order, counts and valid/ready rules hold from reset on, without a bound in time."""
    PROOF.assert_holds(tmp_path, Depth=depth)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    PROOF.assert_broken(tmp_path, FIFO, *PLANTED[bug])
