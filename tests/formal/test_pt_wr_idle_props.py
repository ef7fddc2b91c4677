"""Proof of pt_wr_idle by induction, and proof that the proof can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prover import Proof

pytestmark = pytest.mark.rtl

IDLE = "rtl/axi/pt_wr_idle.sv"
PROOF = Proof("pt_wr_idle_props", (IDLE,), {"Clients": 2, "Runs": 4})
PLANTED = {
    "idle before its last run": ("last_q[c] <= granted_d;", "last_q[c] <= granted_q;"),
    "idle while runs of others are acknowledged": (
        "!open_q[c] || done_q == last_q[c]", "!open_q[c] || done_q >= last_q[c]"),
    "idle once, busy again": ("(drained_i ? '0 : ~idle_o)", "(drained_i ? '0 : open_q)"),
    "busy for ever when the port stops": ("(drained_i ? '0 : ~idle_o)", "~idle_o"),
    "counts on when the port stops": (
        "drained_i ? granted_q : done_q", "done_q"),
    "a grant is lost when the port stops": (
        "grant_i | (drained_i ? '0 : ~idle_o)", "drained_i ? '0 : grant_i | ~idle_o"),
}


@pytest.mark.parametrize(("clients", "runs"), [(2, 4), (3, 4), (2, 8)])
def test_holds_for_ever(clients: int, runs: int, tmp_path: Path) -> None:
    """A client is idle exactly when none of its runs is open, without a bound in time."""
    PROOF.assert_holds(tmp_path, Clients=clients, Runs=runs)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    PROOF.assert_broken(tmp_path, IDLE, *PLANTED[bug])
