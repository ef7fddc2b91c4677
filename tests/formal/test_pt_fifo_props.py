"""Proof of pt_fifo by induction with SymbiYosys and z3, and proof that the proof can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.bfm.env import ROOT, mutant

pytestmark = pytest.mark.rtl

FIFO = ROOT / "rtl" / "common" / "pt_fifo.sv"
PROPERTIES = ROOT / "tests" / "formal" / "pt_fifo_props.sv"
PASS, FAIL = 0, 2
PLANTED = {
    "overflow": ("assign ready_o = count_q != CountW'(Depth);", "assign ready_o = 1'b1;"),
    "pops without ready": ("assign pop = valid_o && ready_i;", "assign pop = valid_o;"),
    "newest first": ("assign data_o = mem[rptr_q];", "assign data_o = mem[wptr_q - PtrW'(1)];"),
    "keeps its words in reset": ("      count_q <= '0;\n", ""),
}


def prove(fifo: Path, depth: int, folder: Path) -> int:
    """Run the proof in ``folder``; return 0 for a proof, 2 for a counterexample."""
    scripts = Path(sys.executable).parent
    tools = folder / "bin"
    tools.mkdir()
    for name in ("yosys", "yosys-smtbmc", "yosys-witness"):
        (tools / name).symlink_to(scripts / f"yowasp-{name}")
    (folder / "fifo.sby").write_text(
        "[options]\nmode prove\ndepth 8\n[engines]\nsmtbmc z3\n[script]\n"
        f"read_slang --threads 1 --top pt_fifo_props -G Depth={depth} pt_fifo.sv pt_fifo_props.sv\n"
        "prep -top pt_fifo_props\nflatten\nmemory_map\n"
        f"[files]\n{fifo}\n{PROPERTIES}\n",
        encoding="utf-8",
    )
    path = f"{tools}{os.pathsep}{scripts}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        [str(scripts / "yowasp-sby"), "-f", "fifo.sby"], cwd=folder, capture_output=True,
        text=True, check=False, env={**os.environ, "PATH": path})
    assert run.returncode in (PASS, FAIL), run.stdout + run.stderr
    return run.returncode


@pytest.mark.parametrize("depth", [2, 4])
def test_holds_for_ever(depth: int, tmp_path: Path) -> None:
    """Order, counts and valid/ready rules hold from reset on, without a bound in time."""
    assert prove(FIFO, depth, tmp_path) == PASS


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    """The proof fails for each of a few planted bugs."""
    old, new = PLANTED[bug]
    assert prove(mutant(FIFO, old, new, tmp_path), 4, tmp_path) == FAIL
