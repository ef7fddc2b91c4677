"""Tile loaders (X and S) with address generators against the model of docs/engine.md section 3."""

from __future__ import annotations

import pytest

from sim.bfm.env import run_bench

SOURCES = tuple(
    f"rtl/{name}.sv"
    for name in ("gen/pt_abi_pkg", "gen/pt_spec_pkg", "common/pt_cfg_rx",
                 "common/pt_cfg_queue", "common/pt_activation_pkg", "common/pt_clock_gate",
                 "common/pt_fifo", "common/pt_loop", "common/pt_affine", "common/pt_add3",
                 "common/pt_activation_grad", "load/pt_addr_gen", "load/pt_load_runs",
                 "load/pt_load_data", "load/pt_chan_sum", "load/pt_tile_load")
)


@pytest.mark.parametrize(("kind", "claim_ahead"), [(0, 0), (0, 1), (1, 0)])
def test_tile_load(kind: int, claim_ahead: int) -> None:
    """Random descriptors with random stalls, then the throughput of regular ones."""
    run_bench("pt_tile_load", "cocotb_pt_tile_load", SOURCES,
              {"Kind": kind, "ClaimAhead": claim_ahead}, seed=1 + 2 * kind + claim_ahead,
              env={"PT_KIND": str(kind), "PT_CLAIM_AHEAD": str(claim_ahead)})
