"""Compute unit: sweeps of all three passes, and the bugs that these benches are there to catch."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import Bugs, Design, Planted, Stimulus

from sim.bfm.env import run_bench

pytestmark = pytest.mark.rtl

LEAVES = ("pt_clock_gate", "pt_cfg_rx", "pt_ram_sdp", "pt_loop", "pt_affine", "pt_add3",
          "pt_affine3")
UNITS = ("pt_mac_chain", "pt_mac_row", "pt_array", "pt_pixtab", "pt_sset", "pt_xbuf", "pt_issue",
         "pt_compute")
SOURCES = ("rtl/gen/pt_abi_pkg.sv", "rtl/gen/pt_spec_pkg.sv",
           *(f"rtl/common/{name}.sv" for name in LEAVES),
           *(f"rtl/compute/{name}.sv" for name in UNITS))
UNIT = Design("pt_compute", SOURCES)
SWEEPS = Stimulus(UNIT, "cocotb_pt_compute", "random_sweeps", 1, 3)
DRAINS = Stimulus(UNIT, "cocotb_pt_compute", "random_sweeps")
BACK_TO_BACK = Stimulus(UNIT, "cocotb_pt_compute", "back_to_back")

BUGS = Bugs(
    # All columns of S change in the same cycle, not each one cycle after the one before.
    Planted(
        "s_swap_skew", SWEEPS, "rtl/compute/pt_array.sv",
        ".swap_i(swap_q)", ".swap_i(planted ? {Tr{swap_q[1]}} : swap_q)"),
    # The next sweep reads accumulators before the last one has written them.
    Planted(
        "read_modify_write_distance", SWEEPS, "rtl/compute/pt_issue.sv",
        "gap_q <= 4'(SweepMin - 1)", "gap_q <= planted ? 4'd7 : 4'(SweepMin - 1)"),
    # Pixels behind the end of a weight gradient tile count.
    Planted(
        "mask_of_ragged_lanes", SWEEPS, "rtl/compute/pt_sset.sv",
        "(live_d_q[1] > column) ? words[b] : 64'd0",
        "(planted || live_d_q[1] > column) ? words[b] : 64'd0"),
    # A new sum starts from what the accumulator held.
    Planted(
        "first_not_cleared", SWEEPS, "rtl/compute/pt_mac_chain.sv",
        "if (clear_i) acc_q", "if (clear_i && !planted) acc_q"),
    # Four drains inside a short sweep bring the next sweep's reads before this one's writes.
    Planted(
        "drain_slots_in_the_period", DRAINS, "rtl/compute/pt_issue.sv",
        "gap_q != 4'd0 && !drain_slot", "gap_q != 4'd0 && (planted || !drain_slot)"),
    # The next descriptor's taps are written over those in use.
    Planted(
        "one_tap_table", SWEEPS, "rtl/compute/pt_issue.sv",
        "taps[{!table_q,", "taps[{!table_q ^ planted,"),
    # A descriptor starts before its pixel table is filled.
    Planted(
        "table_not_awaited", BACK_TO_BACK, "rtl/compute/pt_issue.sv",
        "next_valid_q && table_ready_i", "next_valid_q && (planted || table_ready_i)"),
    # The next descriptor is asked for only when this one has ended.
    Planted(
        "late_request", BACK_TO_BACK, "rtl/compute/pt_issue.sv",
        ".hold_i(next_valid_q)", ".hold_i(next_valid_q || (planted && state_q != StIdle))"),
)


@pytest.mark.parametrize("number", range(3))
def test_random_sweeps(number: int, seed: int) -> None:
    """Nine descriptors one behind the other, random stalls, random contents at start."""
    run_bench("pt_compute", "cocotb_pt_compute", SOURCES, seed=seed + number)


@pytest.mark.parametrize("name", BUGS.by_name)
def test_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    """Each planted bug makes the bench fail."""
    BUGS.assert_caught(name, tmp_path)


@pytest.mark.parametrize("stimulus", BUGS.stimuli, ids=str)
def test_without_bugs_it_passes(stimulus: Stimulus, tmp_path: Path) -> None:
    """The same simulator passes with all of them switched off."""
    BUGS.assert_passes(stimulus, tmp_path)
