"""Update unit against the integer model of its arithmetic."""

from __future__ import annotations

import pytest

from sim.bfm.env import run_bench

SOURCES = (
    "rtl/gen/pt_abi_pkg.sv",
    "rtl/gen/pt_spec_pkg.sv",
    "rtl/common/pt_clock_gate.sv",
    "rtl/common/pt_cfg_rx.sv",
    "rtl/common/pt_ram_sdp.sv",
    "rtl/common/pt_fifo.sv",
    "rtl/common/pt_fifo_bram.sv",
    "rtl/common/pt_round_sat.sv",
    "rtl/update/pt_linear_runs.sv",
    "rtl/update/pt_update_math.sv",
    "rtl/update/pt_update.sv",
)


@pytest.mark.rtl
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_update(seed: int, offset: int) -> None:
    """Random parameters, sizes and stalls; every written word is compared."""
    run_bench("pt_update", "cocotb_pt_update", SOURCES, seed=seed + offset)
