"""Gradient queue: order, room and rate, smallest and real size; planted bugs."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import Planted, assert_caught

from sim.bfm.env import run_bench

pytestmark = pytest.mark.rtl

FILE = "rtl/store/pt_grad_queue.sv"
SOURCES = ["rtl/common/pt_ram_sdp.sv", "rtl/common/pt_fifo.sv", FILE]


def _bug(name: str, old: str, new: str) -> Planted:
    return Planted(name, FILE, old, new, "pt_grad_queue", "cocotb_pt_grad_queue", {"Sums": 256},
                   {"PT_SUMS": "256"})


BUGS = {bug.name: bug for bug in (
    _bug("room_for_two_lanes", "used_q <= (SlotW + 1)'(Slots - 3)",
         "used_q <= (SlotW + 1)'(planted ? Slots - 2 : Slots - 3)"),
    _bug("lanes_that_are_not_kept_take_places", "push_lane_i == 2'd1 ? 2'(push_keep_i[0])",
         "push_lane_i == 2'd1 ? 2'(push_keep_i[0] || planted)"),
    _bug("sums_of_unfinished_segments", "full_q  <= full_q + completed -",
         "full_q  <= full_q + (planted ? begun : completed) -"),
    _bug("bank_of_the_next_read", "bank2_q <= bank1_q;",
         "bank2_q <= planted ? index_q[3:2] : bank1_q;"),
    _bug("too_few_sums_ahead", "credit_q  <= CreditW'(Ahead);",
         "credit_q  <= planted ? CreditW'(2) : CreditW'(Ahead);"),
)}


@pytest.mark.parametrize("sums", [256, 16384])
def test_segments(sums: int) -> None:
    """Random segments, pauses on both sides, full queue."""
    run_bench("pt_grad_queue", "cocotb_pt_grad_queue", SOURCES, {"Sums": sums},
              env={"PT_SUMS": str(sums)})


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    """The bench fails for each of a few planted bugs."""
    assert_caught(BUGS[name], SOURCES, tmp_path)
