"""Proof that no unit starts early, by induction, and proof that the proof can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prover import Proof

pytestmark = pytest.mark.rtl

SEQUENCER, MEMORY = "rtl/ctrl/pt_sequencer.sv", "rtl/common/pt_ram_sdp.sv"
ABI, SPEC = "rtl/gen/pt_abi_pkg.sv", "rtl/gen/pt_spec_pkg.sv"

# Two slots, no rest; the memory of the slots reads anything.
SMALL = {
    SPEC: (("Slots = 16", "Slots = 2"),),
    ABI: (("FetchAhead = 4;", "FetchAhead = 1;"), ("FetchRestCycles = 512", "FetchRestCycles = 2")),
    MEMORY: (("if (we_i) mem[waddr_i] <= wdata_i[Width-1:Rest];", ""),
             ("if (re_i) read_q[Width-1:Rest] <= mem[raddr_i];", "")),
}
PROOF = Proof("pt_sequencer_props", (ABI, SPEC, MEMORY, SEQUENCER), {}, SMALL)
PLANTED = {
    "starts one count early": ("cand_sem >= cand_wait_q", "cand_sem + 16'd1 >= cand_wait_q"),
    "the store unit waits for what X waits for": (
        "WaitY: {cand_sem_q, cand_wait_q} <= wait_y[scan_slot]",
        "WaitY: {cand_sem_q, cand_wait_q} <= wait_x[scan_slot]"),
    "counts what is not finished": ("(!mine || finished_q[slot])", "1'b1"),
    "another semaphore counts": (
        "mine = signal_q[slot] == (SemW+1)'(k)", "mine = signal_q[slot] == (SemW+1)'(3 - k)"),
    "illegal descriptors count": (
        "signal_q[tail] <= no_more || bad_count || bad_sem ?", "signal_q[tail] <= no_more ?"),
    "a fence holds nothing back": (
        "cand_ptr_q == ptr_q[cand_unit_q] && !cand_stop_q", "cand_ptr_q == ptr_q[cand_unit_q]"),
    "a unit begins twice": ("(skip || serve_start) &&", "skip &&"),
    "takes part in what is not its own": (
        "serve_start = cand_ok && cand_uses_q &&", "serve_start = cand_ok &&"),
    "retires before it is finished": (
        "!bad_q[head] && finished_q[head]", "!bad_q[head]"),
    "steps do not wait": ("(!step_mode_i || cand_ptr_q == head_q)", "1'b1"),
    "a slot is filled twice": ("left_q != 32'd0 && !used[PtrW-1] &&", "left_q != 32'd0 &&"),
}


def test_holds_for_ever(tmp_path: Path) -> None:
    """Units wait for their semaphores, which count what is finished, once and in order."""
    PROOF.assert_holds(tmp_path)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """Induction fails for each of a few planted bugs: a fetch is too long for a trace of it all."""
    PROOF.assert_not_inductive(tmp_path, SEQUENCER, *PLANTED[bug])
