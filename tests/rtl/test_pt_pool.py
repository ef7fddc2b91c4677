"""Pooling pass of the vector unit against the integer model of its arithmetic."""

from __future__ import annotations

import pytest
from test_pt_vector import SOURCES

from sim.bfm.env import run_bench


@pytest.mark.rtl
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_pool(seed: int, offset: int) -> None:
    """Random windows, sizes and stalls, both ways; every written word is compared."""
    run_bench("pt_vector", "cocotb_pt_pool", SOURCES, seed=seed + offset)
