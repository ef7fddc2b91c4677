"""Store unit against the model of docs/engine.md section 6."""

from __future__ import annotations

import pytest

from sim.bfm.env import run_bench

SOURCES = (
    "rtl/gen/pt_abi_pkg.sv",
    "rtl/gen/pt_spec_pkg.sv",
    "rtl/common/pt_cfg_rx.sv",
    *(f"rtl/common/{name}.sv" for name in (
        "pt_activation_pkg", "pt_clock_gate", "pt_ram_sdp", "pt_fifo", "pt_round_sat",
        "pt_activation", "pt_loop", "pt_affine")),
    "rtl/load/pt_addr_gen.sv",
    *(f"rtl/store/{name}.sv" for name in (
        "pt_bias", "pt_drain", "pt_flag_pack", "pt_pool", "pt_post", "pt_stage",
        "pt_store_writer", "pt_store_ctrl", "pt_store")),
)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_descriptors(seed: int) -> None:
    """Memory, records and pushes of random descriptors with random stalls; rate, overlap."""
    run_bench("pt_store", "cocotb_pt_store", SOURCES, seed=seed, env={"PT_CASES": "40"})
