"""Campaigns of Python mutants: draws them, tries them in copies of the project, keeps results."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from mutants.places import Mutation, draw, mutated, mutations
from mutants.records import record
from mutants.session import Mutant, Session
from mutants.tree import Tree, digest
from mutants.trial import Verdict, attempt

OWN_TESTS: dict[str, list[str]] = {
    package: [f"tests/unit/{package}"]
    for package in ("program", "schedule", "quant", "run", "train", "exchange", "layers", "cycles",
                    "check")
} | {"backends/golden": ["tests/unit/backends", "tests/against_torch"]}
"""The packages that are mutated, with the folders of their own tests."""


@dataclass(frozen=True)
class Plan:
    """What a campaign runs.

    Attributes:
        root: the project.
        folder: where copies, records and results are kept.
        packages: packages that are mutated, keys of ``OWN_TESTS``.
        count: how many mutants.
        seed: seed of the draw.
        fast: expression of marks of ``make test-fast``.
        jobs: how many mutants are tried at a time.
        seconds: most that a mutant may take.
        rest: try tests of ``make test-fast`` too that have nothing to do with the mutant.
        keep_records: take records of other files than today's: they say what is run first.
    """

    root: Path
    folder: Path
    packages: tuple[str, ...]
    count: int
    seed: int
    fast: str
    jobs: int = 1
    seconds: float = 600.0
    rest: bool = True
    keep_records: bool = False


def drawn(root: Path, packages: tuple[str, ...], seed: int) -> Iterator[Mutant]:
    """Yield mutants of packages in the random order of a seed."""
    modules = [path.relative_to(root).as_posix() for package in packages
               for path in (root / "pynq_train" / package).rglob("*.py")]
    for mutation in draw(root, modules, seed):
        yield mutant(root, mutation)


def mutant(root: Path, mutation: Mutation) -> Mutant:
    """Return a mutation as it is kept and shown.

    Raises:
        ValueError: it changes nothing.
    """
    source = (root / mutation.module).read_text(encoding="utf-8")
    text = mutated(source, mutation)
    if text is None:
        raise ValueError(f"{mutation}: expected a mutant, found no change; draw another one")
    changes = [line for line in difflib.unified_diff(
        source.splitlines(), text.splitlines(), n=0, lineterm="") if line[:2] not in ("--", "++")]
    before, after = ("\n".join(line[1:].strip() for line in changes if line.startswith(sign))
                     for sign in "-+")
    inside = mutation.module.removeprefix("pynq_train/")
    package = next((name for name in OWN_TESTS if inside.startswith(f"{name}/")), inside)
    fault = json.dumps(asdict(mutation))
    return Mutant(f"{mutation.module} {mutation.operator} {mutation.occurrence}", package,
                  f"{mutation.module}:{mutation.line}", mutation.definition, fault, before, after)


def campaign(plan: Plan, session: Session, tell: Callable[[str], None]) -> None:
    """Try all mutants of a session that have no outcome yet, from a fresh copy of the project.

    Results are kept one by one: an interrupted campaign goes on where it was. Mutants of files
    that have changed since they were drawn are found again by their text, or forgotten.

    Args:
        plan: what to run.
        session: where mutants and results are kept.
        tell: takes a line for each result.

    Raises:
        TestsFail: tests fail without any mutant.
    """
    relocate(plan.root, session)
    mine = [mutant for mutant in session.mutants() if is_python(mutant)]
    if len(mine) < plan.count:
        known = {mutant.name for mutant in mine}
        fresh = (found for found in drawn(plan.root, plan.packages, plan.seed)
                 if found.name not in known)
        session.add(islice(fresh, plan.count - len(mine)))
        _note_sources(plan.root, session)
    waiting = [mutant for mutant in session.mutants() if is_python(mutant) and not mutant.outcome]
    if not waiting:
        return
    trees: SimpleQueue[Tree] = SimpleQueue()
    for job in range(min(plan.jobs, len(waiting))):
        tree = Tree(plan.folder / f"tree-{job}")
        tree.refresh(plan.root)
        trees.put(tree)
    first = trees.get()
    own = sorted({folder for mutant in waiting for folder in OWN_TESTS[mutant.package]})
    records = record(first, plan.folder / "records", plan.fast, own, plan.jobs,
                     keep=plan.keep_records)
    trees.put(first)

    def try_one(mutant: Mutant) -> Verdict:
        tree = trees.get()
        try:
            return attempt(_mutation(mutant), tree, records,
                           OWN_TESTS[mutant.package], seconds=plan.seconds, rest=plan.rest)
        finally:
            trees.put(tree)

    for mutant, verdict in _in_threads(try_one, waiting, plan.jobs):
        session.set_result(mutant.name, verdict.outcome, verdict.by, verdict.seconds)
        tell(f"{verdict.outcome:8} {verdict.seconds:5.0f} s  {mutant.place}  "
             f"{mutant.after or '(left out)'}")


def relocate(root: Path, session: Session) -> None:
    """Find mutants again whose files have changed since; forget those whose text is gone.

    A mutant is the same one if operator, definition and changed text are; of several equal ones
    the first that is free is taken.
    """
    modules: dict[str, list[Mutant]] = {}
    for old in session.mutants():
        if is_python(old):
            modules.setdefault(_mutation(old).module, []).append(old)
    noted = json.loads(session.note("sources") or "{}")
    _note_sources(root, session)
    for module, mine in modules.items():
        if (root / module).is_file() and noted.get(module) == digest(root / module):
            continue
        moved = [old for old in mine if not _stands(root, old)]
        if not moved:
            continue
        wanted = {(old.definition, _mutation(old).operator) for old in moved}
        free = [mutation for mutation in _mutations(root, module)
                if (mutation.definition, mutation.operator) in wanted]
        taken = {old.name for old in mine if old not in moved}
        new = [mutant(root, mutation) for mutation in free
               if mutated(_source(root, module), mutation) is not None]
        for old in moved:
            session.remove(old.name)
        for old in moved:
            for candidate in new:
                if candidate.name not in taken and _same(old, candidate):
                    taken.add(candidate.name)
                    session.add([replace(candidate, outcome=old.outcome, by=old.by,
                                         seconds=old.seconds)])
                    break


def _note_sources(root: Path, session: Session) -> None:
    """Keep digests of the files that mutants are of."""
    modules = {_mutation(mutant).module for mutant in session.mutants() if is_python(mutant)}
    session.set_note("sources", json.dumps({
        module: digest(root / module) for module in modules if (root / module).is_file()}))


def is_python(mutant: Mutant) -> bool:
    """Say whether a mutant is one of Python code."""
    return mutant.place.partition(":")[0].endswith(".py")


def _mutation(mutant: Mutant) -> Mutation:
    return Mutation(**json.loads(mutant.fault))


def _source(root: Path, module: str) -> str:
    path = root / module
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _mutations(root: Path, module: str) -> list[Mutation]:
    found = mutations(module, _source(root, module))
    return [mutation for place in sorted(found) for mutation in found[place]]


def _stands(root: Path, old: Mutant) -> bool:
    """Say whether a mutant still is what it was."""
    source = _source(root, _mutation(old).module)
    if not source or mutated(source, _mutation(old)) is None:
        return False
    return mutant(root, _mutation(old)).fault == old.fault and _same(
        old, mutant(root, _mutation(old)))


def _same(old: Mutant, new: Mutant) -> bool:
    return (old.definition, old.before, old.after, _mutation(old).operator) == (
        new.definition, new.before, new.after, _mutation(new).operator)


def _in_threads(
    work: Callable[[Mutant], Verdict], mutants: Iterable[Mutant], jobs: int
) -> Iterator[tuple[Mutant, Verdict]]:
    """Yield mutants and verdicts as they come, ``jobs`` at a time; nothing is begun in advance."""
    left = iter(mutants)
    running: dict[Future[Verdict], Mutant] = {}
    with ThreadPoolExecutor(jobs) as pool:
        while True:
            for mutant in islice(left, jobs - len(running)):
                running[pool.submit(work, mutant)] = mutant
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
