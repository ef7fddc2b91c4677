"""Proof of the rules that bursts keep, by induction, and proof that the proof can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prover import Proof

pytestmark = pytest.mark.rtl

BURST = "rtl/axi/pt_burst.sv"
PROOF = Proof("pt_burst_props", (BURST,))
PLANTED = {
    "a burst across 4 KB": ("room_small = room < {5'd0, left_cap}", "room_small = 1'b0"),
    "a word less before 4 KB": ("room = 10'd512 -", "room = 10'd511 -"),
    "a burst of 17": ("(left_q >= 20'd16) ? 5'd16", "(left_q >= 20'd17) ? 5'd17"),
    "a word behind the arena": ("> {1'b0, limit_i}", "> {1'b0, limit_i} + 33'd8"),
    "the end of a run wraps": ("bad = run_end >", "bad = {1'b0, run_end[31:0]} >"),
    "a run outside is taken": ("run_valid_i && !bad;", "run_valid_i;"),
    "a run outside is not told": ("if (run_valid_i && bad) outside_o <= 1'b1;", ""),
    "joined to another row": ("in_off_q == end_q &&", ""),
    "joined behind a last run": ("have_q && !last_q &&", "have_q &&"),
    "a burst is overwritten": ("burst_take = !burst_valid_o || burst_ready_i", "burst_take = 1'b1"),
    "a burst is withdrawn": ("if (burst_ready_i) burst_valid_o <= 1'b0;", "burst_valid_o <= 1'b0;"),
    "words twice": ("left_q <= left_q - {15'd0, beats};", "left_q <= left_q - 20'd1;"),
    "the end with every burst": ("burst_end_o   <= ends;", "burst_end_o   <= 1'b1;"),
    "keeps what was cleared": ("end else if (clear_i) begin\n      in_valid_q    <= 1'b0;",
                               "end else if (clear_i) begin"),
    "waits for ever": ("(full || last_q || (in_valid_q && !joins))", "(full || last_q)"),
}


def test_holds_for_ever(tmp_path: Path) -> None:
    """Bursts are the words of the runs, within 4 KB, 16 beats and the arena."""
    PROOF.assert_holds(tmp_path)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    PROOF.assert_broken(tmp_path, BURST, *PLANTED[bug])
