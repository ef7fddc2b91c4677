"""The state of a campaign, in an SQLite file: what was drawn, and what became of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

KILLED, SURVIVED, TIMEOUT, EQUAL = "killed", "survived", "timeout", "equal"


@dataclass(frozen=True)
class Mutant:
    """A mutant and what became of it.

    Attributes:
        name: unique name.
        package: what it is counted under: a package of ``pynq_train``, or a module of ``rtl``.
        place: file and line.
        definition: the function, class or design around it.
        fault: what ``operators`` or Yosys need to make it again, as JSON.
        before: the lines that it changes, without indentation.
        after: what they become.
        outcome: ``killed``, ``survived``, ``timeout``, ``equal`` (proved to be as right as the
            code), or empty as long as it has not been tried.
        by: the test that noticed it.
        seconds: how long that took.
    """

    name: str
    package: str
    place: str
    definition: str
    fault: str
    before: str
    after: str
    outcome: str = ""
    by: str = ""
    seconds: float = 0.0


class Session:
    """Mutants in a file; each result is on the disk when ``set_result`` returns."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # Workers are threads that take turns: sqlite3 need not check who opened the file.
        self._file = sqlite3.connect(path, check_same_thread=False)
        columns = ", ".join(f"{field.name} {'REAL' if field.name == 'seconds' else 'TEXT'}"
                            for field in fields(Mutant))
        with self._file:
            self._file.execute(f"CREATE TABLE IF NOT EXISTS mutants ({columns}, UNIQUE (name))")
            self._file.execute("CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, text TEXT)")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(self, mutants: Iterable[Mutant]) -> None:
        """Add mutants; those with a known name stay as they are."""
        marks = ", ".join("?" for _ in fields(Mutant))
        with self._file:
            self._file.executemany(f"INSERT OR IGNORE INTO mutants VALUES ({marks})",
                                   [astuple(mutant) for mutant in mutants])

    def mutants(self) -> list[Mutant]:
        """Return all mutants in the order in which they were added."""
        rows = self._file.execute("SELECT * FROM mutants ORDER BY rowid").fetchall()
        return [Mutant(*row) for row in rows]

    def set_result(self, name: str, outcome: str, by: str = "", seconds: float = 0.0) -> None:
        """Say what became of a mutant; an empty outcome has it tried again."""
        with self._file:
            self._file.execute(
                "UPDATE mutants SET outcome = ?, by = ?, seconds = ? WHERE name = ?",
                (outcome, by, seconds, name))

    def remove(self, name: str) -> None:
        """Forget a mutant."""
        with self._file:
            self._file.execute("DELETE FROM mutants WHERE name = ?", (name,))

    def note(self, key: str) -> str:
        """Return a text that was kept; empty if there is none."""
        row = self._file.execute("SELECT text FROM notes WHERE key = ?", (key,)).fetchone()
        return row[0] if row else ""

    def set_note(self, key: str, text: str) -> None:
        """Keep a text."""
        with self._file:
            self._file.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, text))
