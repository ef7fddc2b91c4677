"""Normalisation unit against the integer model of its arithmetic."""

from __future__ import annotations

import pytest

from sim.bfm.env import run_bench

SOURCES = (
    "rtl/gen/pt_abi_pkg.sv",
    "rtl/gen/pt_spec_pkg.sv",
    "rtl/common/pt_clock_gate.sv",
    "rtl/common/pt_cfg_rx.sv",
    "rtl/common/pt_ram_lut.sv",
    "rtl/vector/pt_soft_float_alu.sv",
    "rtl/vector/pt_norm_core.sv",
    "rtl/vector/pt_norm_load.sv",
    "rtl/vector/pt_norm.sv",
)


@pytest.mark.rtl
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_norm(seed: int, offset: int) -> None:
    """All programs, random channels, sizes and stalls; every written word is compared."""
    run_bench("pt_norm", "cocotb_pt_norm", SOURCES, seed=seed + offset)
