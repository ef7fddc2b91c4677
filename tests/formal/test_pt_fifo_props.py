"""Proof of pt_fifo by induction (``sby.py``), and proof that the proof can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from sby import FAIL, PASS, prove

from sim.bfm.env import ROOT, mutant

pytestmark = pytest.mark.rtl

FIFO = ROOT / "rtl" / "common" / "pt_fifo.sv"
PROPERTIES = ROOT / "tests" / "formal" / "pt_fifo_props.sv"
PLANTED = {
    "overflow": ("assign ready_o = count_q != CountW'(Depth);", "assign ready_o = 1'b1;"),
    "pops without ready": ("assign pop = valid_o && ready_i;", "assign pop = valid_o;"),
    "newest first": ("assign data_o = mem[rptr_q];", "assign data_o = mem[wptr_q - PtrW'(1)];"),
    "keeps its words in reset": ("      count_q <= '0;\n", ""),
}


@pytest.mark.parametrize("depth", [2, 4])
def test_holds_for_ever(depth: int, tmp_path: Path) -> None:
    """Order, counts and valid/ready rules hold from reset on, without a bound in time."""
    assert prove(FIFO, PROPERTIES, {"Depth": depth}, tmp_path) == PASS


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    old, new = PLANTED[bug]
    assert prove(mutant(FIFO, old, new, tmp_path), PROPERTIES, {"Depth": 4}, tmp_path) == FAIL
