"""What a campaign found: counts by package, and every mutant that nothing noticed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mutants.session import EQUAL, KILLED, SURVIVED, TIMEOUT, Mutant

ARGUED = Path(__file__).with_name("equivalent.json")


@dataclass(frozen=True)
class Equivalent:
    """A mutant that is as right as the code, and why.

    Attributes:
        module: file.
        definition: the function or class.
        before: the lines that it changes, without indentation.
        after: what they become.
        why: the argument.
    """

    module: str
    definition: str
    before: str
    after: str
    why: str


def argued(path: Path = ARGUED) -> list[Equivalent]:
    """Return the argued equivalents of a file."""
    return [Equivalent(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def is_argued(mutant: Mutant, equivalents: Iterable[Equivalent]) -> bool:
    """Say whether one of the arguments is about this mutant."""
    return any((mutant.place.rpartition(":")[0], mutant.definition, mutant.before, mutant.after)
               == (entry.module, entry.definition, entry.before, entry.after)
               for entry in equivalents)


def report(mutants: list[Mutant], equivalents: list[Equivalent]) -> list[str]:
    """Return the lines of a report: a table by package, then what survived, with its change.

    A mutant that runs too long is noticed: somebody waits for it. Shares are those of mutants that
    were tried and are not argued to be equivalent.
    """
    rows = [_row("package", "killed", "survived", "timeout", "equivalent", "waiting", "noticed")]
    groups: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        groups.setdefault(mutant.package, []).append(mutant)
    for package, group in [*sorted(groups.items()), ("all", mutants)]:
        rows.append(_counts(package, group, equivalents))
    survivors = [mutant for mutant in mutants if mutant.outcome == SURVIVED
                 and not is_argued(mutant, equivalents)]
    lines = [*rows, "", f"survived: {len(survivors)}"]
    for mutant in survivors:
        lines += ["", f"{mutant.place} ({mutant.definition or 'module'})",
                  *(f"  - {line}" for line in mutant.before.splitlines()),
                  *(f"  + {line}" for line in mutant.after.splitlines())]
    return lines


def _counts(package: str, group: list[Mutant], equivalents: list[Equivalent]) -> str:
    equal = {mutant.name for mutant in group
             if mutant.outcome == EQUAL
             or (mutant.outcome == SURVIVED and is_argued(mutant, equivalents))}
    number = Counter(mutant.outcome for mutant in group if mutant.name not in equal)
    noticed = number[KILLED] + number[TIMEOUT]
    tried = noticed + number[SURVIVED]
    share = f"{100 * noticed / tried:.1f} %" if tried else "-"
    return _row(package, number[KILLED], number[SURVIVED], number[TIMEOUT], len(equal), number[""],
                share)


def _row(name: str, *values: object) -> str:
    return f"{name:20}" + "".join(f"{value!s:>12}" for value in values)
