"""What makes the virtual board fast changes nothing: the benches pass with it, and need it right.

Blocks that rest (``PT_CLOCK_GATES``) and the array as loops (``PT_ARRAY_LANES``) exist only in
models of the virtual board; here the units' own benches, with their random stalls, run on them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import Bugs, Design, Planted, Stimulus
from test_pt_compute import SOURCES as COMPUTE
from test_pt_store import SOURCES as STORE
from test_pt_tile_load import SOURCES as TILE_LOAD

from sim.bfm.env import leaf_sources, run_bench

pytestmark = pytest.mark.rtl

FAST = "tests/rtl/pt_fast_sim.sv"
LANES = "sim/vboard/pt_mac_lanes.sv"
AXI = (FAST, *leaf_sources(), "tests/rtl/pt_tb_axi.sv")


@pytest.mark.parametrize("module", ["cocotb_pt_axi_rd", "cocotb_pt_axi_wr", "cocotb_pt_wr_arb"])
def test_axi_masters(module: str, seed: int) -> None:
    """Both masters, and clients of one: traffic, back-pressure, errors, throughput."""
    run_bench("pt_tb_axi", module, AXI, seed=seed)


def test_store(seed: int) -> None:
    """Store unit: random descriptors, random stalls."""
    run_bench("pt_store", "cocotb_pt_store", [FAST, *STORE], seed=seed, env={"PT_CASES": "40"})


@pytest.mark.parametrize("kind", [0, 1])
def test_tile_load(kind: int, seed: int) -> None:
    """X and S loader: random descriptors, random stalls."""
    run_bench("pt_tile_load", "cocotb_pt_tile_load", [FAST, *TILE_LOAD],
              {"Kind": kind, "ClaimAhead": 1 - kind}, seed=seed,
              env={"PT_KIND": str(kind), "PT_CLAIM_AHEAD": str(1 - kind)})


@pytest.mark.parametrize("number", range(3))
def test_compute(number: int, seed: int) -> None:
    """Compute unit with pt_mac_lanes instead of the rows: all three passes, cycle by cycle."""
    run_bench("pt_compute", "cocotb_pt_compute", [FAST, *COMPUTE, LANES], seed=seed + number)


LOADS = Stimulus(
    Design("pt_tile_load", (FAST, *TILE_LOAD), (("ClaimAhead", 1), ("Kind", 0)),
           (("PT_CLAIM_AHEAD", "1"), ("PT_KIND", "0"))),
    "cocotb_pt_tile_load", "random_descriptors", 1, 12)
READS = Stimulus(Design("pt_tb_axi", AXI), "cocotb_pt_axi_rd", "random_traffic")
SWEEPS = Stimulus(Design("pt_compute", (FAST, *COMPUTE, LANES)), "cocotb_pt_compute",
                  "random_sweeps", 1, 3)

BUGS = Bugs(
    # The words of a row that is being sent wait for something else to happen.
    Planted(
        "loader_rests_too_early", LOADS, "rtl/load/pt_load_data.sv",
        "load || element || flag_pop || (en && (valid1_q || out_valid_o))",
        "load || element || flag_pop || (!planted && en && (valid1_q || out_valid_o))"),
    # A word that is taken from the queue stays there.
    Planted(
        "queue_rests_too_early", READS, "rtl/axi/pt_axi_rd.sv",
        "|| rvalid_i || pop;", "|| rvalid_i || (pop && !planted);"),
    # A cascade of the loops takes the next column's product.
    Planted(
        "column_of_the_loops", SWEEPS, LANES,
        "64'(m_q[t][l[LaneW-1:0]])", "64'(m_q[planted ? t-1 : t][l[LaneW-1:0]])"),
)


@pytest.mark.parametrize("name", BUGS.by_name)
def test_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    """A block that rests too early, or another sum, makes its bench fail."""
    BUGS.assert_caught(name, tmp_path)


@pytest.mark.parametrize("stimulus", BUGS.stimuli, ids=str)
def test_without_bugs_it_passes(stimulus: Stimulus, tmp_path: Path) -> None:
    """The same simulators pass with all of them switched off."""
    BUGS.assert_passes(stimulus, tmp_path)
