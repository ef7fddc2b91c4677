"""Proof of what pt_axi_wr announces, sends and takes for an answer, and that the proof can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prover import Proof

pytestmark = pytest.mark.rtl

WRITER = "rtl/axi/pt_axi_wr.sv"
PROOF = Proof("pt_axi_wr_props", (
    "rtl/gen/pt_abi_pkg.sv", "rtl/common/pt_clock_gate.sv", "rtl/common/pt_fifo.sv",
    "rtl/axi/pt_burst.sv", WRITER), changes={WRITER: (
        # Two bursts without answer, and queues for as many; what a queue does has its own proof.
        (".Width(5), .Depth(8)", ".Width(5), .Depth(2)"),
        (".Width(1), .Depth(8)", ".Width(1), .Depth(2)"),
        ("[3:0] len_count_unused", "[1:0] len_count_unused"),
        ("[3:0] ends_count_unused", "[1:0] ends_count_unused"))})
PLANTED = {
    "a burst before its words": ("free_words_q >= CountW'(burst_beats)", "free_words_q != '0"),
    "words are claimed twice": (
        "- (issue ? CountW'(burst_beats) : CountW'(0));", "- CountW'(issue);"),
    "one burst too many": ("outstanding_q != 4'(MaxOutstanding)", "outstanding_q != 4'd8"),
    "a word without a burst": ("send = len_valid && fifo_valid", "send = fifo_valid"),
    "a word is replaced": (
        "(!wvalid_o || wready_i);\n  assign fifo_pop", "1'b1;\n  assign fifo_pop"),
    "a burst is replaced": ("accept = !awvalid_o || awready_i", "accept = 1'b1"),
    "the last word is not marked": ("wlast_o <= len_pop;", "wlast_o <= beat_q == 5'd15;"),
    "idle before the answer": ("!len_valid && outstanding_q == 4'd0 &&", "!len_valid &&"),
    "idle with words that wait": ("(stop || (empty && !fifo_valid))", "(stop || empty)"),
    "a stray is an answer": ("answer = bvalid_i && owed_q != 4'd0", "answer = bvalid_i"),
    "an answer before the last word": (
        "4'(wvalid_o && wready_i && wlast_o)", "4'(wvalid_o && wlast_o)"),
    "a run is over with its first burst": ("run_done_o = answer && ends", "run_done_o = answer"),
    "goes on when it has stopped": ("burst_ready && !stop;", "burst_ready;"),
}


def test_holds_for_ever(tmp_path: Path) -> None:
    """Requests, words, answers, runs that are over and idleness, whatever the memory answers."""
    PROOF.assert_holds(tmp_path)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    PROOF.assert_broken(tmp_path, WRITER, *PLANTED[bug], steps=10)
