"""Benches of RTL leaves: which design, which modules of it are mutated, what must notice.

``python -m mutants.designs NAME FILE NUMBER`` runs a bench on a design in one file, with one of its
mutants switched on (0: none); its exit code is 1 if the bench fails.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.bfm.env import ROOT, BenchFailed, leaf_sources, run_bench

FIRST_SEED = 20260
"""Seed of ``make test`` (tests/conftest.py)."""


@dataclass(frozen=True)
class Part:
    """A run of a bench: Python module, seed, cocotb tests (all if empty) and environment."""

    module: str
    seed: int = FIRST_SEED
    tests: str = ""
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Bench:
    """A design with a bench, in the order of ``make test``.

    Attributes:
        top: its top module, and its name here.
        leaves: modules that are mutated.
        parts: what is run; a mutant is noticed if one fails.
        listed: module of ``tests/rtl`` whose ``SOURCES`` are its files; all leaves if empty.
        harness: a further file.
        parameters: of the top module.
    """

    top: str
    leaves: tuple[str, ...]
    parts: tuple[Part, ...]
    listed: str = ""
    harness: str = ""
    parameters: tuple[tuple[str, int], ...] = ()

    def sources(self) -> list[str]:
        """Return the files, relative to the project."""
        if not self.listed:
            return [*leaf_sources(), self.harness]
        _find_benches()
        return list(importlib.import_module(self.listed).SOURCES)


def _parts(module: str, count: int) -> tuple[Part, ...]:
    return tuple(Part(module, FIRST_SEED + number) for number in range(count))


BENCHES: dict[str, Bench] = {bench.top: bench for bench in (
    Bench("pt_tb_leaves",
          ("pt_round_sat", "pt_loop", "pt_affine", "pt_affine3", "pt_add3", "pt_fifo",
           "pt_fifo_bram"),
          (Part("cocotb_pt_leaves"),), harness="tests/rtl/pt_tb_leaves.sv"),
    Bench("pt_tb_axi", ("pt_burst", "pt_run_arb", "pt_rd_arb", "pt_wr_arb"),
          tuple(Part(f"cocotb_{name}") for name in
                ("pt_axi_rd", "pt_axi_wr", "pt_rd_arb", "pt_wr_arb")),
          harness="tests/rtl/pt_tb_axi.sv"),
    Bench("pt_vector",
          ("pt_activation", "pt_activation_grad", "pt_vector_math", "pt_vector_coeff",
           "pt_vector_curve",
           "pt_vector_drop", "pt_vector_flags", "pt_threefry", "pt_plane_runs", "pt_pool_core"),
          (*_parts("cocotb_pt_vector", 3), *_parts("cocotb_pt_pool", 3)), "test_pt_vector"),
    Bench("pt_norm", ("pt_soft_float_alu",), _parts("cocotb_pt_norm", 3), "test_pt_norm"),
    Bench("pt_softmax", ("pt_softmax_div", "pt_softmax_smooth"), _parts("cocotb_pt_softmax", 3),
          "test_pt_softmax"),
    Bench("pt_update", ("pt_update_math", "pt_linear_runs"), _parts("cocotb_pt_update", 3),
          "test_pt_update"),
    Bench("pt_store", ("pt_flag_pack", "pt_pool", "pt_activation"),
          (Part("cocotb_pt_store", env=(("PT_CASES", "40"),)),), "test_pt_store"),
    Bench("pt_tile_load", ("pt_chan_sum", "pt_loop"),
          (Part("cocotb_pt_tile_load", env=(("PT_CLAIM_AHEAD", "0"), ("PT_KIND", "1"))),),
          "test_pt_tile_load", parameters=(("ClaimAhead", 0), ("Kind", 1))),
)}


def run_parts(name: str, file: Path, number: int) -> None:
    """Run the parts of a bench on a design with its mutants in one file, the parameters fixed.

    Args:
        name: key of ``BENCHES``.
        file: the design.
        number: the mutant that is switched on.

    Raises:
        BenchFailed: a cocotb test failed.
    """
    _find_benches()
    for part in BENCHES[name].parts:
        run_bench(name, part.module, [file], seed=part.seed, test_filter=part.tests or None,
                  env={"COCOTB_MAX_FAILURES": "1", **dict(part.env)},
                  plusargs=(f"+mutant={number}",))


def _find_benches() -> None:
    folder = str(ROOT / "tests" / "rtl")
    if folder not in sys.path:
        sys.path.insert(0, folder)


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    name, file, number = arguments
    try:
        run_parts(name, Path(file), int(number))
    except BenchFailed as failed:
        print(failed)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
