"""Planted bugs: one text of one design file is changed, and the module's bench must fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sim.bfm.env import ROOT, BenchFailed, mutant, run_bench


@dataclass(frozen=True)
class Planted:
    """A bug and the bench that must notice it.

    Attributes:
        name: what goes wrong.
        file: design file, relative to the project.
        old: text that stands there exactly once.
        new: what it becomes; ``planted`` in it is a signal that switches the bug on.
        top: top module of the bench.
        module: Python module of the bench.
        parameters: top parameters.
        env: environment of the bench.
        test_filter: only these tests of the bench run.
    """

    name: str
    file: str
    old: str
    new: str
    top: str
    module: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    test_filter: str | None = None


def switched(bug: Planted, folder: Path) -> Path:
    """Write the design file with the bug and its switch, plusarg ``planted_<name of the file>``.

    So one build can hold a bug in each of several files.
    """
    path = mutant(ROOT / bug.file, bug.old, bug.new, folder)
    ports, body = path.read_text(encoding="utf-8").split("\n);\n", 1)
    switch = f'  bit planted;\n  initial planted = $test$plusargs("planted_{path.stem}") != 0;\n'
    path.write_text(f"{ports}\n);\n{switch}{body}", encoding="utf-8")
    return path


def assert_caught(bug: Planted, sources: Sequence[str | Path], folder: Path,
                  beside: Iterable[Planted] = (), seeds: Iterable[int] = range(1, 4)) -> None:
    """Fail unless a test of the bench fails for one of a few seeds.

    Only a failed test counts: a design that cannot be built or simulated is an error, and so is
    a bench that fails with the bug switched off.

    Args:
        bug: the bug that is switched on.
        sources: design files of the bench.
        folder: where changed files are written.
        beside: bugs in other files that share the build, switched off.
        seeds: seeds to try.
    """
    bugs = {other.file: other for other in (*beside, bug)}
    assert set(bugs) <= set(map(str, sources)), f"not all of {list(bugs)} are sources"
    mixed: list[str | Path] = []
    for source in sources:
        other = bugs.get(str(source))
        mixed.append(source if other is None else
                     switched(other, folder))

    def run(seed: int, *plusargs: str) -> None:
        run_bench(bug.top, bug.module, mixed, bug.parameters, seed=seed, env=bug.env,
                  test_filter=bug.test_filter, plusargs=plusargs)

    for seed in seeds:
        try:
            run(seed, f"+planted_{Path(bug.file).stem}")
        except BenchFailed:
            run(seed)  # the bug is the reason: switched off, the same run passes
            return
    pytest.fail(f"the planted bug {bug.name!r} was not caught")
