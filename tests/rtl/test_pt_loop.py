"""pt_loop with pt_affine and pt_affine3: indices, flags and values."""

from __future__ import annotations

import pytest

from sim.bfm.env import leaf_sources, run_bench

pytestmark = pytest.mark.rtl


def test_pt_loop(seed: int) -> None:
    """All cocotb tests of the module pass."""
    sources = [*leaf_sources(), "tests/rtl/pt_tb_leaves.sv"]
    run_bench("pt_tb_leaves", "cocotb_pt_leaves", sources, seed=seed, test_filter=r"loop_.*")
