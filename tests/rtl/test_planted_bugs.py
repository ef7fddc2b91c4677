"""Planted bugs in small modules, each caught by the bench of its module (docs/testing.md).

Those of the compute unit stand in ``test_pt_compute.py``, those of the schedule in
``tests/unit/schedule/test_planted_schedule_bugs.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import Planted, assert_caught
from test_pt_sequencer import SOURCES as SEQUENCER
from test_pt_tile_load import SOURCES as TILE_LOAD

from sim.bfm.env import leaf_sources

pytestmark = pytest.mark.rtl

LEAVES = [*leaf_sources(), "tests/rtl/pt_tb_leaves.sv"]
AXI = [*leaf_sources(), "tests/rtl/pt_tb_axi.sv"]

BUGS = {
    "rounding: half up instead of half to even": (LEAVES, Planted(
        "rounding", "rtl/common/pt_round_sat.sv",
        "guard & (sticky | whole[0])", "guard & (planted | sticky | whole[0])",
        "pt_tb_leaves", "cocotb_pt_leaves", test_filter="round_sat_.*")),
    "padding before the mask: padding keeps the last word": (TILE_LOAD, Planted(
        "padding before the mask", "rtl/load/pt_load_data.sv",
        "if (zero1_q) keep[l] = 1'b0;", "if (zero1_q && !(planted && !masked)) keep[l] = 1'b0;",
        "pt_tile_load", "cocotb_pt_tile_load", {"Kind": 0, "ClaimAhead": 1},
        {"PT_KIND": "0", "PT_CLAIM_AHEAD": "1", "PT_COUNT": "30"}, "random_descriptors")),
    "address outside the arena: one word too many": (AXI, Planted(
        "address outside the arena", "rtl/axi/pt_burst.sv",
        "bad = run_end > {1'b0, limit_i}",
        "bad = run_end > {1'b0, limit_i} + (planted ? 33'd8 : 33'd0)",
        "pt_tb_axi", "cocotb_pt_axi_wr", test_filter="errors")),
    "missing semaphore wait: the S loader does not wait": (SEQUENCER, Planted(
        "missing semaphore wait", "rtl/ctrl/pt_sequencer.sv",
        "cand_wait_q <= wait_s_q[scan_slot];",
        "cand_wait_q <= planted ? 16'd0 : wait_s_q[scan_slot];",
        "pt_sequencer", "cocotb_pt_sequencer")),
}


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    """The bench of the module fails on one of a few seeds."""
    sources, bug = BUGS[name]
    assert_caught(bug, sources, tmp_path)
