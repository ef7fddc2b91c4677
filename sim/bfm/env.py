"""One way to run a cocotb bench: on a simulator of its sources and parameters, with a seed."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from cocotb_tools.check_results import get_results

from sim.bfm.simulators import CACHE, ROOT, Model, simulate

WAVES = CACHE / "waves"
# Environment variable: the folder for counts of lines and toggles, one file for each run.
COVERAGE = "PT_COVERAGE"


class BenchFailed(AssertionError):
    """A cocotb test ran and failed (not: the build, or the simulator itself)."""


def design_sources() -> list[str]:
    """All design files of the one file list, relative to the project."""
    lines = (ROOT / "rtl" / "pynq_train.f").read_text(encoding="utf-8").split()
    return [line if line.startswith("rtl/") else f"rtl/{line}" for line in lines]


def leaf_sources() -> list[str]:
    """Package, common and AXI files of the file list, relative to the project."""
    folders = ("rtl/gen/pt_abi_pkg", "rtl/gen/pt_spec_pkg", "rtl/common/", "rtl/axi/")
    return [path for path in design_sources() if path.startswith(folders)]


def run_bench(
    top: str,
    test_module: str,
    sources: Sequence[str | Path],
    parameters: Mapping[str, int] | None = None,
    seed: int = 1,
    *,
    env: Mapping[str, str] | None = None,
    test_filter: str | None = None,
    plusargs: Sequence[str] = (),
    optimise: bool = True,
    visible: Sequence[str] = (),
    waves: bool | None = None,
) -> Path | None:
    """Compile ``top`` with Verilator (once per content, parameters and tools) and run its bench.

    Args:
        top: top module.
        test_module: Python module with the cocotb tests; it stands in ``tests/rtl``.
        sources: design files, absolute or relative to the project.
        parameters: top parameters.
        seed: seed of everything random, in ``PT_SEED`` and in the initial register contents.
        env: further environment variables of the bench.
        test_filter: regular expression; only cocotb tests whose names match it run.
        plusargs: further plusargs of the simulator.
        optimise: let the C++ compiler optimise; runs of a second or two are over sooner without.
        visible: ``module.variable`` of what the bench uses inside the design; ``*`` matches any.
        waves: record every signal; by default the environment variable ``PT_WAVES`` decides.

    Returns:
        The file of waveforms (VCD), if they were recorded.

    Raises:
        BenchFailed: a test failed.
        AssertionError: no test ran.
        RuntimeError: the sources do not compile, or the simulator ended without results.
    """
    if waves is None:
        waves = os.environ.get("PT_WAVES", "0") not in ("", "0")
    counts = os.environ.get(COVERAGE)
    model = Model(top, tuple(ROOT / path for path in sources),
                  tuple(sorted((parameters or {}).items())), optimise, waves, tuple(visible),
                  coverage=bool(counts))
    for folder in (ROOT, ROOT / "tests", ROOT / "tests" / "rtl"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    variables = {"PT_SEED": str(seed), **(env or {})}
    if test_filter is not None:
        variables["COCOTB_TEST_FILTER"] = test_filter
    plusargs = ["+verilator+rand+reset+2", f"+verilator+seed+{seed}", *plusargs]
    with tempfile.TemporaryDirectory() as scratch:
        results = simulate(model, test_module, Path(scratch), plusargs, variables)
        ran, failed = get_results(results)
        if counts:
            shutil.move(Path(scratch) / "coverage.dat", Path(counts) / f"{uuid.uuid4().hex}.dat")
        recorded = _kept(Path(scratch) / "dump.vcd", f"{test_module}-{seed}") if waves else None
    assert ran > 0, f"{test_module}: no test ran"
    if failed:
        place = f"; waveforms: {recorded}" if recorded else ""
        raise BenchFailed(f"{test_module}: {failed} of {ran} tests failed (seed {seed}){place}")
    return recorded


def mutant(file: Path, old: str, new: str, folder: Path) -> Path:
    """Write a copy of a design file with one planted bug.

    Raises:
        AssertionError: the text to replace does not stand exactly once in the file.
    """
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file.name}: {old!r} stands {text.count(old)} times, not once"
    path = folder / file.name
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def _kept(dump: Path, name: str) -> Path:
    """Move waveforms out of the folder of a run."""
    WAVES.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(dump, WAVES / f"{name}.vcd"))
