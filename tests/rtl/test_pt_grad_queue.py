"""Gradient queue: order, room and rate, smallest and real size; planted bugs."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import Bugs, Design, Planted, Stimulus

from sim.bfm.env import run_bench

pytestmark = pytest.mark.rtl

FILE = "rtl/store/pt_grad_queue.sv"
SOURCES = ("rtl/gen/pt_abi_pkg.sv", "rtl/common/pt_ram_sdp.sv", "rtl/common/pt_fifo.sv", FILE)


SMALL = Design("pt_grad_queue", SOURCES, (("Sums", 256),), (("PT_SUMS", "256"),))
SEGMENTS = Stimulus(SMALL, "cocotb_pt_grad_queue", "random_segments", 1, 2)
RATE = Stimulus(SMALL, "cocotb_pt_grad_queue", "full_and_rate")

BUGS = Bugs(
    Planted(
        "room_for_two_lanes", RATE, FILE, "used_q <= (SlotW + 1)'(Slots - 3)",
        "used_q <= (SlotW + 1)'(planted ? Slots - 2 : Slots - 3)"),
    Planted(
        "lanes_that_are_not_kept_take_places", RATE, FILE,
        "push_lane_i == 2'd1 ? 2'(push_keep_i[0])",
        "push_lane_i == 2'd1 ? 2'(push_keep_i[0] || planted)"),
    Planted(
        "sums_of_unfinished_segments", SEGMENTS, FILE, "full_q  <= full_q + completed -",
        "full_q  <= full_q + (planted ? begun : completed) -"),
    Planted(
        "bank_of_the_next_read", SEGMENTS, FILE, "bank2_q <= bank1_q;",
        "bank2_q <= planted ? index_q[3:2] : bank1_q;"),
    Planted(
        "too_few_sums_ahead", RATE, FILE, "credit_q  <= CreditW'(Ahead);",
        "credit_q  <= planted ? CreditW'(2) : CreditW'(Ahead);"),
)


@pytest.mark.parametrize("sums", [256, 16384])
def test_segments(sums: int) -> None:
    """Random segments, pauses on both sides, full queue."""
    run_bench("pt_grad_queue", "cocotb_pt_grad_queue", SOURCES, {"Sums": sums},
              env={"PT_SUMS": str(sums)})


@pytest.mark.parametrize("name", BUGS.by_name)
def test_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    """The bench fails for each of a few planted bugs."""
    BUGS.assert_caught(name, tmp_path)


@pytest.mark.parametrize("stimulus", BUGS.stimuli, ids=str)
def test_without_bugs_it_passes(stimulus: Stimulus, tmp_path: Path) -> None:
    """The same simulator passes with all of them switched off."""
    BUGS.assert_passes(stimulus, tmp_path)
