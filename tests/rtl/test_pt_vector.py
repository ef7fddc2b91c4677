"""Vector unit against the integer model of its arithmetic."""

from __future__ import annotations

import pytest

from sim.bfm.env import run_bench

SOURCES = (
    "rtl/gen/pt_abi_pkg.sv",
    "rtl/gen/pt_spec_pkg.sv",
    "rtl/common/pt_clock_gate.sv",
    "rtl/common/pt_cfg_rx.sv",
    "rtl/common/pt_activation_pkg.sv",
    "rtl/common/pt_ram_sdp.sv",
    "rtl/common/pt_fifo.sv",
    "rtl/common/pt_fifo_bram.sv",
    "rtl/common/pt_round_sat.sv",
    "rtl/common/pt_activation.sv",
    "rtl/common/pt_activation_grad.sv",
    "rtl/axi/pt_run_arb.sv",
    "rtl/axi/pt_rd_arb.sv",
    "rtl/axi/pt_wr_arb.sv",
    "rtl/vector/pt_plane_runs.sv",
    "rtl/vector/pt_vector_in.sv",
    "rtl/vector/pt_vector_out.sv",
    "rtl/vector/pt_vector_coeff.sv",
    "rtl/vector/pt_vector_curve.sv",
    "rtl/vector/pt_vector_math.sv",
    "rtl/vector/pt_threefry.sv",
    "rtl/vector/pt_vector_drop.sv",
    "rtl/vector/pt_vector_flags.sv",
    "rtl/vector/pt_pool_core.sv",
    "rtl/vector/pt_pool_scan.sv",
    "rtl/vector/pt_pool_pass.sv",
    "rtl/vector/pt_vector_writes.sv",
    "rtl/vector/pt_vector.sv",
)


@pytest.mark.rtl
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_vector(seed: int, offset: int) -> None:
    """Random modes, coefficients, sizes and stalls; every written word is compared."""
    run_bench("pt_vector", "cocotb_pt_vector", SOURCES, seed=seed + offset)
