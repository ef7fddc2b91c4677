"""The whole engine behind AXI models: scheduled programs against golden, errors, resets."""

from __future__ import annotations

import pytest

from sim.bfm.env import design_sources, run_bench

pytestmark = pytest.mark.rtl

# What write_contract.py watches.
VISIBLE = ("pt_conv.unit_done_o", "pt_elementwise.unit_done_o", "pt_wr_arb*.run_*")


@pytest.mark.parametrize("number", [0, *(pytest.param(k, marks=pytest.mark.slow)
                                         for k in range(1, 6))])
def test_pt_top(number: int, seed: int) -> None:
    """Random networks, back-pressure and start contents; one build for all seeds."""
    sources = [*design_sources(), "tests/rtl/pt_tb_top.sv"]
    run_bench("pt_tb_top", "cocotb_pt_top", sources, seed=seed + number, visible=VISIBLE)
