"""Proofs of the arbiters of a port by induction, and proof that the proofs can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prover import Proof

pytestmark = pytest.mark.rtl

RUNS, READS, WRITES = (f"rtl/axi/pt_{name}_arb.sv" for name in ("run", "rd", "wr"))
PARTS = ("rtl/common/pt_fifo.sv", RUNS)
# How many orders wait is a matter of pt_run_arb, whose proof has all of them.
FEWER = {RUNS: ((".Depth(8)", ".Depth(4)"), ("[3:0]  order_count", "[2:0]  order_count"))}
PROOFS = {
    RUNS: Proof("pt_run_arb_props", PARTS, {"Clients": 3}),
    READS: Proof("pt_rd_arb_props", (*PARTS, READS), {"Clients": 3}, FEWER),
    WRITES: Proof("pt_wr_arb_props", (*PARTS, WRITES), {"Clients": 3}, FEWER),
}
# Of an arbiter: what is wrong, the design file, what becomes what.
PLANTED = {
    "the first client wins": (
        RUNS, RUNS, "pick = 2'((l + k) % Clients)", "pick = 2'((l + Clients - k) % Clients)"),
    "the turn does not move on": (RUNS, RUNS, "if (grant) last_q <= pick;", ""),
    "two grants": (RUNS, RUNS, "grant && pick == 2'(c)", "grant && run_valid_i[c]"),
    "a run is overwritten": (RUNS, RUNS, "(!run_valid_o || run_ready_i);\n  for", "1'b1;\n  for"),
    "an order is lost": (RUNS, RUNS, "any && order_ready &&", "any &&"),
    "the order names the client before": (RUNS, RUNS, "{pick, len}", "{last_q, len}"),
    "length of another client": (RUNS, RUNS, "run_len_i[c*16+:16]", "run_len_i[15:0]"),
    "waits for ever": (RUNS, RUNS, "any && order_ready", "&run_valid_i && order_ready"),
    "words for another client": (
        READS, READS, "data_valid_o[c] = data_valid_i && order_valid",
        "data_valid_o[c] = data_valid_i && order_valid && count_q == 16'd0"),
    "words without a run": (READS, READS, "data_ready_o = order_valid &&", "data_ready_o ="),
    "a run is a word too long": (
        READS, READS, "count_q + 16'd1 == order[15:0]", "count_q == order[15:0]"),
    "counts what nobody takes": (
        READS, READS, "move = data_valid_i && data_ready_o", "move = data_valid_i && order_valid"),
    "words of another client": (WRITES, WRITES, "data_i[c*64+:64]", "data_i[63:0]"),
    "words of all clients": (
        WRITES, WRITES, "if (pick == 2'(c)) data_ready_o[c]", "data_ready_o[c]"),
    "the next run begins in the middle": (
        WRITES, WRITES, "order_pop ? 16'd0 : count_q + 16'd1", "count_q + 16'd1"),
    "idle with words to come": (
        WRITES, WRITES, "idle_o = !order_valid", "idle_o = !data_valid_o"),
}


@pytest.mark.parametrize("clients", [2, 3, 4])
@pytest.mark.parametrize("arbiter", PROOFS)
def test_holds_for_ever(arbiter: str, clients: int, tmp_path: Path) -> None:
    """One grant at a time, nobody starves, and words and clients stay together."""
    PROOFS[arbiter].assert_holds(tmp_path, Clients=clients)


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    arbiter, *planted = PLANTED[bug]
    PROOFS[arbiter].assert_broken(tmp_path, *planted, steps=14 if "order is lost" in bug else 8)
