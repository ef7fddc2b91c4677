"""Planted bugs: one text of one design file is changed, and the module's bench must fail.

All bugs of a design share one simulator; a plusarg switches one of them on.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sim.bfm.env import ROOT, BenchFailed, mutant, run_bench


@dataclass(frozen=True)
class Design:
    """What a simulator is made of, and what its benches must know of it.

    Attributes:
        top: top module.
        sources: design files, relative to the project.
        parameters: top parameters.
        env: environment of the benches.
        visible: what the benches use inside the design, as in ``run_bench``.
    """

    top: str
    sources: tuple[str, ...]
    parameters: tuple[tuple[str, int], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    visible: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stimulus:
    """Part of a bench, short enough for a bug.

    Attributes:
        design: the design.
        module: Python module of the bench.
        tests: its cocotb tests, as a regular expression.
        seed: seed of the bench.
        cases: how many random cases its tests run, if they can be told.
    """

    design: Design
    module: str
    tests: str
    seed: int = 1
    cases: int | None = None

    def __str__(self) -> str:
        """As the name of a test."""
        cases = () if self.cases is None else (str(self.cases),)
        return "-".join([self.module, self.tests.replace("|", "+"), *cases, str(self.seed)])


@dataclass(frozen=True)
class Planted:
    """A bug and what must notice it.

    Attributes:
        name: what goes wrong; the plusarg that switches it on.
        stimulus: what must fail.
        file: design file, relative to the project.
        old: text that stands there exactly once.
        new: what it becomes; ``planted`` in it is the switch.
    """

    name: str
    stimulus: Stimulus
    file: str
    old: str
    new: str


class Bugs:
    """Bugs of several designs; those of a design are built together."""

    def __init__(self, *bugs: Planted) -> None:
        """Take the bugs; several of one file change it one after the other."""
        names = sorted(bug.name for bug in bugs)
        for name, after in itertools.pairwise(names):
            # A plusarg switches on all whose names it begins with.
            assert not after.startswith(name), f"{name!r} is the beginning of {after!r}"
        self.by_name = {bug.name: bug for bug in bugs}
        self.stimuli = tuple(dict.fromkeys(bug.stimulus for bug in bugs))

    def assert_caught(self, name: str, folder: Path) -> None:
        """Fail unless a cocotb test fails with the bug switched on.

        Only a failed test counts: a design that cannot be built or simulated is an error.
        ``assert_passes`` shows that nothing but the bug is the reason.

        Args:
            name: the bug.
            folder: where changed files are written.
        """
        stimulus = self.by_name[name].stimulus
        with pytest.raises(BenchFailed):
            self._run(stimulus, folder, f"+{name}")

    def assert_passes(self, stimulus: Stimulus, folder: Path) -> None:
        """Fail unless the stimulus passes on the same simulator with every bug switched off."""
        self._run(stimulus, folder)

    def _run(self, stimulus: Stimulus, folder: Path, *plusargs: str) -> None:
        design = stimulus.design
        mine = [bug for bug in self.by_name.values() if bug.stimulus.design == design]
        env = {"COCOTB_MAX_FAILURES": "1", **dict(design.env)}  # the first one shows the bug
        if stimulus.cases is not None:
            env["PT_CASES"] = str(stimulus.cases)
        run_bench(
            design.top, stimulus.module, planted_sources(design, mine, folder),
            dict(design.parameters), stimulus.seed, env=env, plusargs=plusargs, optimise=False,
            test_filter=rf"\.({stimulus.tests})$", visible=design.visible)


def planted_sources(design: Design, bugs: Iterable[Planted], folder: Path) -> list[str | Path]:
    """Write the files that hold bugs; return the sources of the design with them."""
    changed: dict[str, Path] = {}
    for bug in bugs:
        assert bug.file in design.sources, f"{bug.name}: {bug.file} is no source of {design.top}"
        changed[bug.file] = planted_file(bug, changed.get(bug.file, ROOT / bug.file), folder)
    return [changed.get(source, source) for source in design.sources]


def planted_file(bug: Planted, file: Path, folder: Path) -> Path:
    """Write a design file with a bug and its switch, a variable that a plusarg sets."""
    switch = f"planted_{bug.name}"
    path = mutant(file, bug.old, re.sub(r"\bplanted\b", switch, bug.new), folder)
    ports, body = path.read_text(encoding="utf-8").split("\n);\n", 1)
    text = f'  bit {switch};\n  initial {switch} = $test$plusargs("{bug.name}") != 0;\n'
    path.write_text(f"{ports}\n);\n{text}{body}", encoding="utf-8")
    return path
