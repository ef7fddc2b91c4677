"""pt_lite_bridge: bursts, stalls and errors between a processor and registers."""

from __future__ import annotations

import pytest

from sim.bfm.env import BenchFailed, run_bench

pytestmark = pytest.mark.rtl
FILE = "overlays/rtl/pt_lite_bridge.sv"


def test_pt_lite_bridge(seed: int) -> None:
    """All cocotb tests of the module pass."""
    run_bench("pt_lite_bridge", "cocotb_pt_lite_bridge", [FILE], seed=seed)


def test_a_planted_bug_is_caught(seed: int) -> None:
    """The same bench sees registers that answer the address of the beat before."""
    with pytest.raises(BenchFailed):
        run_bench("pt_lite_bridge", "cocotb_pt_lite_bridge", [FILE], seed=seed,
                  env={"PT_LATE_ADDRESS": "1"}, test_filter="reads")
