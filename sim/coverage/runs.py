"""Runs of the test suite that count, each kept by the contents of what it is made of."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sim.bfm.env import COVERAGE, ROOT
from sim.bfm.simulators import tools

FOLDER = ROOT / "build" / "coverage"
# Files of tests/system in which tests make a virtual board in their own process, and which of their
# tests run (all where nothing is said). What whole boards reach in hours, benches reach in minutes;
# the array of 32 lanes, programs far up in the arena and descriptors of random bits have none.
BOARDS = {"test_verify_vboard": "array_of_32", "test_far_arena": "",
          "test_wild_descriptors": ""}
PLUGIN = "sim.coverage.boards"
# Where modules that benches and tests import are looked for.
_PLACES = (ROOT, ROOT / "tests", ROOT / "tests" / "rtl")
_SOURCES = ("rtl", "sim/vboard", "tests/rtl", "tests/system/standin")


def suite() -> list[Path]:
    """Files of tests that reach the RTL: all benches, then whole boards."""
    return [*sorted((ROOT / "tests" / "rtl").glob("test_*.py")),
            *(ROOT / "tests" / "system" / f"{name}.py" for name in BOARDS)]


def folder(module: Path) -> Path:
    """Where the counts of a file of tests are kept."""
    return FOLDER / f"{module.stem}-{key(module)}"


def key(module: Path) -> str:
    """Hash of everything that the counts of a file of tests depend on: tools, design, modules."""
    digest = hashlib.sha256("\n".join([tools(), _design(), *_arguments(module)]).encode())
    for path in sorted(needed(module)):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def needed(module: Path) -> set[Path]:
    """The project's Python files that a file of tests uses, itself among them.

    Imports are followed, and the names of benches, which stand as texts in calls of ``run_bench``.
    """
    # What these import decides nothing about counts.
    found = {ROOT / "tests" / "conftest.py"}
    if PLUGIN in _arguments(module):
        found.add(Path(__file__).parent / "boards.py")
    left = [module]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += _imports(path)
    return found


def run(module: Path) -> bool:
    """Run a file of tests if its counts are not there; return whether all of them passed."""
    kept = folder(module)
    if kept.exists():
        return True
    half = FOLDER / f"{module.stem}.half"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
               *_arguments(module)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, COVERAGE: str(half)}, check=False)
    if done.returncode not in (0, 5):  # 5: a file of planted bugs has no other tests
        return False
    for old in FOLDER.glob(f"{module.stem}-*"):
        shutil.rmtree(old)
    half.rename(kept)
    return True


def _arguments(module: Path) -> list[str]:
    """Which tests of a file run, and how.

    Planted bugs are left out, and so is what compares simulators with and without waveforms.
    """
    chosen = "not planted and not without_bugs and not waves"
    further = BOARDS.get(module.stem)
    if further:
        chosen = f"({further}) and {chosen}"
    arguments = [str(module.relative_to(ROOT)), "-k", chosen]
    return arguments if further is None else [*arguments, "-p", PLUGIN]


@functools.cache
def _design() -> str:
    """Hash of the files that are compiled."""
    digest = hashlib.sha256()
    for place in _SOURCES:
        for path in sorted((ROOT / place).rglob("*")):
            if path.suffix in (".sv", ".v", ".f", ".cpp", ".hpp"):
                digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _imports(path: Path) -> tuple[Path, ...]:
    """The project's files that a file imports or names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= {node.value} if node.value.startswith("cocotb_") else set()
    return tuple(sorted({file for name in names for file in _files(name)}))


def _files(name: str) -> Iterator[Path]:
    """Files of a dotted name. Packages around it only gather names of modules, and do not count."""
    for place in _PLACES:
        path = place.joinpath(*name.split("."))
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                yield file
