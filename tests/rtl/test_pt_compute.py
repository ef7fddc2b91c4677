"""Compute unit: sweeps of all three passes, and the bugs that these benches are there to catch."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import Planted, assert_caught

from sim.bfm.env import run_bench

pytestmark = pytest.mark.rtl

LEAVES = ("pt_clock_gate", "pt_ram_sdp", "pt_loop", "pt_affine", "pt_add3", "pt_affine3")
UNITS = ("pt_mac_chain", "pt_mac_row", "pt_array", "pt_pixtab", "pt_sset", "pt_xbuf", "pt_issue",
         "pt_compute")
SOURCES = ["rtl/gen/pt_spec_pkg.sv", *(f"rtl/common/{name}.sv" for name in LEAVES),
           *(f"rtl/compute/{name}.sv" for name in UNITS)]


def _bug(name: str, file: str, old: str, new: str) -> Planted:
    return Planted(name, f"rtl/compute/{file}.sv", old, new, "pt_compute", "cocotb_pt_compute")


BUGS = {bug.name: bug for bug in (
    # All columns of S change in the same cycle, not each one cycle after the one before.
    _bug("s_swap_skew", "pt_array", ".swap_i(swap_q)",
         ".swap_i(planted ? {Tr{swap_q[1]}} : swap_q)"),
    # The next sweep reads accumulators before the last one has written them.
    _bug("read_modify_write_distance", "pt_issue", "gap_q <= 4'(SweepMin - 1)",
         "gap_q <= planted ? 4'd7 : 4'(SweepMin - 1)"),
    # Pixels behind the end of a weight gradient tile count.
    _bug("mask_of_ragged_lanes", "pt_sset", "(live_d_q[1] > column) ? words[b] : 64'd0",
         "(planted || live_d_q[1] > column) ? words[b] : 64'd0"),
    # A new sum starts from what the accumulator held.
    _bug("first_not_cleared", "pt_mac_row", "clear_i ? '0 : group_o",
         "clear_i && !planted ? '0 : group_o"),
)}


@pytest.mark.parametrize("number", range(3))
def test_random_sweeps(number: int, seed: int) -> None:
    """Nine descriptors one behind the other, random stalls, random contents at start."""
    run_bench("pt_compute", "cocotb_pt_compute", SOURCES, seed=seed + number)


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    """Each planted bug makes the bench fail on one of a few seeds; one build holds them all."""
    assert_caught(BUGS[name], SOURCES, tmp_path, BUGS.values())


ISSUE_BUGS = {bug.name: (bug, seeds) for bug, seeds in (
    # Four drains inside a short sweep bring the next sweep's reads before this one's writes.
    (_bug("drain_slots_in_the_period", "pt_issue", "gap_q != 4'd0 && !drain_slot",
          "gap_q != 4'd0 && (planted || !drain_slot)"), (5, 8, 10)),
    # The next descriptor's taps are written over those in use.
    (_bug("one_tap_table", "pt_issue", "taps[{!table_q,", "taps[{!table_q ^ planted,"), (1, 2, 3)),
    # A descriptor starts before its pixel table is filled.
    (_bug("table_not_awaited", "pt_issue", "next_valid_q && table_ready_i",
          "next_valid_q && (planted || table_ready_i)"), (1, 2, 3)),
    # The next descriptor is asked for only when this one has ended.
    (_bug("late_request", "pt_issue", "!receiving_q && !next_valid_q",
          "!receiving_q && !next_valid_q && (!planted || state_q == StIdle)"), (1,)),
)}


@pytest.mark.parametrize("name", ISSUE_BUGS)
def test_planted_bug_of_issue_is_caught(name: str, tmp_path: Path) -> None:
    """As above, in the file that holds one of those already."""
    bug, seeds = ISSUE_BUGS[name]
    assert_caught(bug, SOURCES, tmp_path, seeds=seeds)
