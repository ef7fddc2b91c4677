"""The answer to one question about a machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pynq_train.errors import PynqTrainError

UNKNOWN = "report this line, with the ones above"
"""What to do about an error that says nothing of that."""


class State(str, Enum):
    """How a check ended."""

    OK = "ok"
    WRONG = "WRONG"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One line of the doctor.

    Attributes:
        name: what was looked at, one word.
        state: how it ended.
        found: what was found; with ``WRONG`` also what was expected.
        fix: what to do; empty unless something is wrong.
    """

    name: str
    state: State
    found: str
    fix: str = ""

    def text(self) -> str:
        """Return the check as one line."""
        tail = f"; {self.fix}" if self.fix else ""
        return f"{self.state.value:<7}  {self.name:<9}  {self.found}{tail}"


def ok(name: str, found: str) -> Check:
    """Return a check that passed."""
    return Check(name, State.OK, found)


def wrong(name: str, found: str, fix: str) -> Check:
    """Return a check that failed, with what to do."""
    return Check(name, State.WRONG, found, fix)


def skipped(name: str, why: str) -> Check:
    """Return a check that could not be made, with the reason."""
    return Check(name, State.SKIPPED, why)


def failed(name: str, error: Exception) -> Check:
    """Return a check that an error ended; errors of this package say what to do."""
    if not isinstance(error, PynqTrainError):
        return wrong(name, f"{type(error).__name__}: {error}", UNKNOWN)
    fix = error.fix or UNKNOWN
    return wrong(name, str(error).removesuffix(f"; {fix}"), fix)
