"""Runs cases in a process of their own, with a time-out for each and little memory."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_inputs.calls import CALLS
from fuzz_inputs.case import Bench, Unrefused
from fuzz_inputs.files import FILES, good_files
from fuzz_inputs.models import MODELS
from pynq_train.errors import PynqTrainError

KINDS = (*FILES, *CALLS, *MODELS)
SECONDS = 20
"""Time that a case may take."""
_MEMORY = 4 << 30
_CLEAN = ("refused", "taken")


class _Hang(BaseException):
    """A case that takes too long."""


@dataclass
class Report:
    """Counts by kind and outcome, and what was not clean."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every case was used or refused, as the rules say."""
        return not self.bad

    def of(self, outcome: str) -> int:
        """Return the number of cases with an outcome."""
        return sum(count for (_, one), count in self.counts.items() if one == outcome)

    def text(self) -> str:
        """Return a table, and every case that was not clean."""
        lines = list(self.bad)
        for name in sorted({kind for kind, _ in self.counts}):
            lines.append(f"{name:<20} {self.counts[name, 'refused']:6} refused "
                         f"{self.counts[name, 'taken']:6} taken")
        lines.append(f"{sum(self.counts.values())} cases: {self.of('refused')} refused by name, "
                     f"{self.of('taken')} taken, {self.of('traceback')} tracebacks, "
                     f"{self.of('hang')} hangs, {self.of('unrefused')} taken against the rules")
        return "\n".join(lines)


def one(seed: int, kind: str | None, folder: Path, good: dict[str, Any]) -> tuple[str, str, str]:
    """Run the case of a seed: name of its kind, outcome, and what happened."""
    draw = random.Random(seed)
    make = draw.choice([one for one in KINDS if kind in (None, one.__name__)])
    case = make(Bench(folder, draw, good))
    signal.alarm(SECONDS)
    try:
        case.action()
    except PynqTrainError as error:
        if case.refused is False:
            return make.__name__, "traceback", f"{case.text}: refused, but it is right: {error}"
        lines = str(error).count("\n")
        outcome = "refused" if str(error) and lines < 40 else "traceback"
        return make.__name__, outcome, f"{case.text}: {error}"
    except _Hang:
        return make.__name__, "hang", case.text
    except Unrefused as error:
        return make.__name__, "unrefused", f"{case.text}: {error}"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return (make.__name__, "traceback", f"{case.text}: bare {type(error).__name__}: "
                f"{str(error)[:150]} ({Path(last.filename).name}:{last.lineno})")
    finally:
        signal.alarm(0)
    if case.refused:
        return make.__name__, "unrefused", f"{case.text}: taken"
    return make.__name__, "taken", ""


def _work(seeds: list[int], kind: str | None, pipe: Any) -> None:
    """Run cases and send what became of each."""
    def hang(*_: object) -> None:
        raise _Hang

    signal.signal(signal.SIGALRM, hang)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    warnings.simplefilter("ignore")
    logging.disable()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)  # files of odd names go there
        good = good_files(Path(name))
        for seed in seeds:
            pipe.send(one(seed, kind, Path(name), good))


def run(first: int, count: int, kind: str | None = None) -> Report:
    """Run the cases of seeds ``first`` to ``first + count - 1``; ``kind``: only such cases."""
    report, left = Report(), list(range(first, first + count))
    context = multiprocessing.get_context("fork")
    while left:
        mine, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(left, kind, theirs))
        worker.start()
        theirs.close()
        while left:
            try:
                found = mine.recv() if mine.poll(6 * SECONDS) else None
            except EOFError:
                worker.join()
                found = ("any", "traceback", f"the process ended with {worker.exitcode}")
            name, outcome, text = found or ("any", "hang", "no answer")
            report.counts[name, outcome] += 1
            seed = left.pop(0)
            if outcome not in _CLEAN:
                report.bad.append(f"seed {seed} {name}: {outcome}: {text}")
            if name == "any":
                break
        worker.kill()
        worker.join()
    return report
