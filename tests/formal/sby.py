"""Proofs by induction with SymbiYosys and z3."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PASS, FAIL = 0, 2


def prove(module: Path, properties: Path, parameters: Mapping[str, int], folder: Path,
          others: Sequence[Path] = ()) -> int:
    """Prove the assertions of ``properties`` about ``module``, with ``parameters`` of the top.

    ``others``: files that the module needs, in the order in which they are read.

    The top module has the name of the file ``properties``; ``folder`` is where the tools work.

    Returns:
        0 for a proof, 2 for a counterexample.
    """
    scripts = Path(sys.executable).parent
    tools = folder / "bin"
    tools.mkdir()
    for name in ("yosys", "yosys-smtbmc", "yosys-witness"):
        (tools / name).symlink_to(scripts / f"yowasp-{name}")
    top = properties.stem
    values = " ".join(f"-G {name}={value}" for name, value in parameters.items())
    files = [*others, module, properties]
    (folder / "proof.sby").write_text(
        "[options]\nmode prove\ndepth 8\n[engines]\nsmtbmc z3\n[script]\n"
        f"read_slang --threads 1 --top {top} {values} {' '.join(file.name for file in files)}\n"
        f"prep -top {top}\nflatten\nmemory_map\n"
        "[files]\n" + "".join(f"{file}\n" for file in files),
        encoding="utf-8",
    )
    path = f"{tools}{os.pathsep}{scripts}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        [str(scripts / "yowasp-sby"), "-f", "proof.sby"], cwd=folder, capture_output=True,
        text=True, check=False, env={**os.environ, "PATH": path})
    assert run.returncode in (PASS, FAIL), run.stdout + run.stderr
    return run.returncode
