"""pt_rd_arb in the harness pt_tb_axi: random traffic, limits, errors and throughput."""

from __future__ import annotations

import pytest

from sim.bfm.env import leaf_sources, run_bench

pytestmark = pytest.mark.rtl


def test_pt_rd_arb(seed: int) -> None:
    """All cocotb tests of the module pass."""
    sources = [*leaf_sources(), "tests/rtl/pt_tb_axi.sv"]
    run_bench("pt_tb_axi", "cocotb_pt_rd_arb", sources, seed=seed)
