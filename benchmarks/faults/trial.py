"""One trial: a fault, how the action with it ends, and what stands behind it."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass

from benchmarks.faults.bench import ACTIONS, Bench
from benchmarks.faults.kinds import Kind
from pynq_train.errors import PynqTrainError

LIMIT_SECONDS = 120.0
"""An action that takes longer hangs."""


@dataclass(frozen=True)
class Outcome:
    """How a trial went.

    Attributes:
        wrong: what was not clean, empty if all was.
        ends: how each of its actions ended.
    """

    wrong: str
    ends: tuple[str, ...]


class _Warnings(logging.Handler):
    """Counts what the driver warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def attempt(bench: Bench, kind: Kind, rng: random.Random) -> Outcome:
    """Inject a fault of a kind, and judge.

    Clean is: the action works and leaves golden's bits, or ends in an error of this package (or
    the Ctrl-C that was injected) with the weights and exponents of before. Nothing outside the
    arena is written, and the undisturbed runs behind it leave golden's bits.
    """
    action = rng.choice(ACTIONS)
    ends: list[str] = []
    log, heard = logging.getLogger("pynq_train"), _Warnings()
    log.addHandler(heard)
    wrong, whole = "", True
    try:
        with kind.inject(bench, rng, action):
            for _ in range(kind.actions):
                wrong, end = _act(bench, action, whole)
                ends.append(f"{action}: {end}")
                whole = whole and end == "works"
                if kind.works and end != "works":
                    wrong = wrong or "expected an action that works"
                if wrong:
                    break
        if kind.warns and not heard.count:
            wrong = wrong or "nothing tells of it"
        return Outcome(wrong or bench.check(), tuple(ends))
    except Exception as error:
        return Outcome(f"behind it: {type(error).__name__}: {error}"[:300], tuple(ends))
    finally:
        log.removeHandler(heard)


def _act(bench: Bench, action: str, whole: bool) -> tuple[str, str]:
    """Do an action with a fault: what was not clean, and how it ended."""
    start = time.monotonic()
    try:
        theirs = bench.do(bench.real, action)
    except (PynqTrainError, KeyboardInterrupt) as error:
        end, wrong = type(error).__name__, bench.weights()
    except Exception as error:
        end = wrong = f"bare {type(error).__name__}: {error}"
    else:
        end, wrong = "works", bench.follow(action, theirs, whole)
    if not bench.guarded():
        wrong = wrong or "memory outside the arena was written"
    if time.monotonic() - start > LIMIT_SECONDS:
        wrong = wrong or "it took too long"
    return wrong, end
