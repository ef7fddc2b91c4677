"""pt_fifo and pt_fifo_bram: order, counts, latency and throughput."""

from __future__ import annotations

import pytest

from sim.bfm.env import leaf_sources, run_bench

pytestmark = pytest.mark.rtl


def test_pt_fifo(seed: int) -> None:
    """All cocotb tests of the module pass."""
    sources = [*leaf_sources(), "tests/rtl/pt_tb_leaves.sv"]
    run_bench("pt_tb_leaves", "cocotb_pt_leaves", sources, seed=seed, test_filter=r"fifo_.*")
