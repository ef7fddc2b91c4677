"""Pooling pass against the integer model of its arithmetic."""

from __future__ import annotations

import pytest

from sim.bfm.env import run_bench

SOURCES = (
    "rtl/gen/pt_spec_pkg.sv",
    "rtl/common/pt_ram_sdp.sv",
    "rtl/common/pt_fifo.sv",
    "rtl/common/pt_fifo_bram.sv",
    "rtl/common/pt_round_sat.sv",
    "rtl/axi/pt_run_arb.sv",
    "rtl/axi/pt_wr_arb.sv",
    "rtl/vector/pt_plane_runs.sv",
    "rtl/vector/pt_vector_in.sv",
    "rtl/vector/pt_vector_out.sv",
    "rtl/vector/pt_pool_core.sv",
    "rtl/vector/pt_pool_walk.sv",
    "rtl/vector/pt_pool_pass.sv",
)


@pytest.mark.rtl
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_pool(seed: int, offset: int) -> None:
    """Random windows, sizes and stalls, both ways; every written word is compared."""
    run_bench("pt_pool_pass", "cocotb_pt_pool", SOURCES, seed=seed + offset)
