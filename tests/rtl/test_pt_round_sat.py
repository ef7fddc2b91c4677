"""pt_round_sat: exhaustive at 10 -> 6 bit, random at 48 -> 16 bit."""

from __future__ import annotations

import pytest

from sim.bfm.env import leaf_sources, run_bench

pytestmark = pytest.mark.rtl


def test_pt_round_sat(seed: int) -> None:
    """All cocotb tests of the module pass."""
    sources = [*leaf_sources(), "tests/rtl/pt_tb_leaves.sv"]
    run_bench("pt_tb_leaves", "cocotb_pt_leaves", sources, seed=seed, test_filter=r"round_sat_.*")
