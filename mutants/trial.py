"""Tries a Python mutant: the tests that execute its line first, those of its package, the rest."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass

from mutants.places import Mutation, mutated
from mutants.records import Records
from mutants.run import pytest_command, run
from mutants.session import KILLED, SURVIVED, TIMEOUT
from mutants.tree import Tree

START_SECONDS = 60.0
"""Processor time that pytest may take beside the tests."""
SLACK = 5.0
"""How many times the recorded processor time tests may take."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the outcome, the test that noticed it, seconds."""

    outcome: str
    by: str
    seconds: float


def stages(mutation: Mutation, records: Records, own: list[str], *, rest: bool) -> list[list[str]]:
    """Return the tests of each stage, files that are quick to run first; each test stands once.

    Args:
        mutation: the mutant.
        records: what tests execute.
        own: folders of its package's own tests.
        rest: also those of ``make test-fast`` that have nothing to do with it.
    """
    mine = {test for test in (*records.fast, *records.own)
            if test.startswith(tuple(f"{folder}/" for folder in own))}
    candidates = set(records.fast) | mine
    touching = records.touching(mutation.module, mutation.first, mutation.last) & candidates
    # What a file's first test has made is kept in fixtures and caches, where its others find it.
    files = {_file(test) for test in touching}
    near = mine | {test for test in candidates if _file(test) in files}
    found = [touching, near - touching]
    if rest:
        found.append(candidates - near - touching)
    return [_ordered(tests, records) for tests in found]


def attempt(
    mutation: Mutation, tree: Tree, records: Records, own: list[str], *,
    seconds: float, rest: bool,
) -> Verdict:
    """Run the stages on a mutant until a test fails.

    Args:
        mutation: the mutant.
        tree: an unchanged copy of the project; it is unchanged afterwards.
        records: what tests execute.
        own: folders of the package's own tests.
        seconds: how long all stages together may take.
        rest: as in ``stages``.
    """
    source = (tree.folder / mutation.module).read_text(encoding="utf-8")
    text = mutated(source, mutation)
    if text is None:
        raise ValueError(f"{mutation}: expected a mutant of {mutation.module}, found no change; "
                         "begin a new campaign")
    begin = time.monotonic()
    tree.change(mutation.module, text)
    try:
        for number, tests in enumerate(stages(mutation, records, own, rest=rest)):
            left = seconds - (time.monotonic() - begin)
            if left <= 0:
                break
            if not tests:
                continue
            choice = tree.folder.with_name(f"{tree.folder.name}-run.json")
            choice.write_text(json.dumps({"run": tests, "known": sorted(records.known)}),
                              encoding="utf-8")
            expected = sum(map(records.seconds, tests))
            ended = run(
                pytest_command("-x", f"--mutants-run={choice}", "-m", "not board",
                               *dict.fromkeys(_file(test) for test in tests),
                               *(own if number == 1 else ())),
                tree.folder, left, START_SECONDS + SLACK * expected)
            if ended.code is None:
                return Verdict(TIMEOUT, "", time.monotonic() - begin)
            if ended.code == 5 or (ended.code == 0 and not re.search(r"\d+ passed", ended.output)):
                raise RuntimeError(f"{mutation}: expected that tests run, found\n{ended.output}\n"
                                   "record again which tests there are")
            if ended.code != 0:
                return Verdict(KILLED, _noticed(ended.output), time.monotonic() - begin)
    finally:
        tree.restore()
    return Verdict(SURVIVED, "", time.monotonic() - begin)


def _file(test: str) -> str:
    return test.partition("::")[0]


def _ordered(tests: set[str], records: Records) -> list[str]:
    """Return tests by file, quick files first: fixtures of a file are made once."""
    cost: dict[str, float] = {}
    for test in tests:
        cost[_file(test)] = cost.get(_file(test), 0.0) + records.seconds(test)
    return sorted(tests, key=lambda test: (cost[_file(test)], test))


def _noticed(output: str) -> str:
    """Return the test that failed, or the last line of what pytest said."""
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
    lines = [line for line in output.splitlines() if line.strip()]
    return found[1] if found else lines[-1][:200] if lines else ""
