"""Softmax unit against the integer model of its arithmetic."""

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
    "rtl/common/pt_round_sat.sv",
    "rtl/scalar/pt_softmax_rom.sv",
    "rtl/scalar/pt_softmax_div.sv",
    "rtl/scalar/pt_softmax_load.sv",
    "rtl/scalar/pt_softmax_smooth.sv",
    "rtl/scalar/pt_softmax.sv",
)


@pytest.mark.rtl
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_softmax(seed: int, offset: int) -> None:
    """Random logits, labels, sizes and stalls; every written word is compared."""
    run_bench("pt_softmax", "cocotb_pt_softmax", SOURCES, seed=seed + offset)
