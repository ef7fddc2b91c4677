"""Sequencer: fetch, configuration bus, waits, fences, step mode, errors and resets."""

from __future__ import annotations

import pytest

from sim.bfm.env import run_bench

SOURCES = (
    "rtl/gen/pt_abi_pkg.sv",
    "rtl/gen/pt_spec_pkg.sv",
    "rtl/common/pt_ram_sdp.sv",
    "rtl/ctrl/pt_sequencer.sv",
)


@pytest.mark.rtl
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_sequencer(seed: int, offset: int) -> None:
    """Random programs with random units around the sequencer."""
    run_bench("pt_sequencer", "cocotb_pt_sequencer", SOURCES, seed=seed + offset)
