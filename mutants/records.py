"""Which test executes which line, recorded once in an unchanged copy of the project."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import coverage

from mutants.run import pytest_command, run
from mutants.tree import Tree, digest

RECORD_LIMIT_SECONDS = 3600.0


class TestsFail(RuntimeError):
    """Tests fail without any mutant."""

    __test__ = False  # for pytest


@dataclass
class Records:
    """What tests execute and cost.

    Attributes:
        fast: tests of ``make test-fast``, with seconds of processor time.
        own: tests of the mutated packages that it leaves out, likewise.
        known: all names that were collected.
        lines: file -> line -> tests that execute it.
    """

    fast: dict[str, float] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    lines: dict[str, dict[int, list[str]]] = field(default_factory=dict)

    def touching(self, module: str, first: int, last: int) -> set[str]:
        """Return the tests that execute one of the lines of a file."""
        lines = self.lines.get(module, {})
        return {test for line in range(first, last + 1) for test in lines.get(line, ())}

    def seconds(self, test: str) -> float:
        """Return the processor time of a test."""
        return self.fast.get(test, self.own.get(test, 0.0))


def record(tree: Tree, folder: Path, fast: str, own: list[str], jobs: int, *,
           keep: bool = False) -> Records:
    """Return the records of a copy; what was recorded from the same files is taken from the disk.

    Args:
        tree: an unchanged copy of the project.
        folder: where records are kept.
        fast: expression of marks of ``make test-fast``.
        own: folders of the mutated packages' own tests.
        jobs: how many tests run at a time.
        keep: take what is on the disk, whatever it was recorded from.

    Raises:
        TestsFail: tests fail without any mutant.
    """
    state = {"fast": fast, "own": sorted(own), "files": _digests(tree.folder)}
    stored = folder / "state.json"
    known = stored.is_file() and (
        keep or json.loads(stored.read_text(encoding="utf-8")) == state)
    if not known:
        shutil.rmtree(folder, ignore_errors=True)
        _record(tree, folder / "fast", ["tests", "-m", fast], jobs)
        more = f"not ({fast}) and not (slow or board or rtl or synth)"
        _record(tree, folder / "own", [*own, "-m", more], jobs)
        stored.write_text(json.dumps(state), encoding="utf-8")
    return _read(tree.folder, folder)


def _digests(root: Path) -> dict[str, str]:
    """Return digests of all that decides what tests execute."""
    return {path.relative_to(root).as_posix(): digest(path)
            for part in ("pynq_train", "tests", "sim", "mutants")
            for path in sorted((root / part).rglob("*.py"))}


def _record(tree: Tree, folder: Path, arguments: list[str], jobs: int) -> None:
    folder.mkdir(parents=True)
    command = pytest_command("-n", str(jobs), "--dist", "loadgroup",
                             f"--mutants-record={folder}", *arguments)
    ended = run(command, tree.folder, RECORD_LIMIT_SECONDS, RECORD_LIMIT_SECONDS)
    if ended.code not in (0, 5):  # 5: no test is left by the marks
        raise TestsFail(f"expected tests that pass without a mutant, found in {tree.folder}:\n"
                        f"{ended.output[-4000:]}\nmake them pass first")


def _read(root: Path, folder: Path) -> Records:
    records = Records()
    for part, seconds in (("fast", records.fast), ("own", records.own)):
        for path in sorted((folder / part).glob("tests-*.json")):
            found = json.loads(path.read_text(encoding="utf-8"))
            seconds.update(found["seconds"])
            records.known.update(found["collected"])
        for path in sorted((folder / part).glob("coverage.*")):
            data = coverage.CoverageData(str(path))
            data.read()
            for file in data.measured_files():
                lines = records.lines.setdefault(
                    Path(file).relative_to(root).as_posix(), {})
                for line, tests in data.contexts_by_lineno(file).items():
                    lines.setdefault(line, []).extend(filter(None, tests))
    if not any(records.lines.values()):
        raise RuntimeError(f"expected lines that tests execute in {folder}, found none; "
                           "remove that folder and record again")
    return records
