"""Accuracy of fixed-point training against float32: writes ``docs/accuracy.md``.

    python -m benchmarks.accuracy --data ../shared/data     # what is not stored yet, then the page
    python -m benchmarks.accuracy --data ../shared/data --tasks 1x-mnist --minutes 60
    python -m benchmarks.accuracy                           # the page alone, from stored results

Both trainings of a pair see the same start weights, images, order and learning rates. A training is
stored in ``benchmarks/accuracy/results/TASK.json`` when it ends; one in fixed point that was
interrupted or killed goes on from its checkpoint in ``build/accuracy``.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.accuracy import store
from benchmarks.accuracy.page import (
    FAILURES,
    PAGE,
    README,
    ROOT,
    compare,
    in_readme,
    page,
    verdict,
    wanted,
)
from benchmarks.accuracy.store import Results
from benchmarks.accuracy.tasks import TASKS, Task
from benchmarks.accuracy.training import Interrupted, Pair
from pynq_train.errors import PynqTrainError


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing and write the page.

    Returns:
        1 if a task shows a loss, 130 after Ctrl-C, else 0.
    """
    p = argparse.ArgumentParser(prog="python -m benchmarks.accuracy",
                                description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", type=Path, help="folder of the data sets; without: no new runs")
    p.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    p.add_argument("--minutes", type=float, default=float("inf"),
                   help="begin no new pair after this time (default: %(default)s)")
    p.add_argument("--board", default="golden",
                   help="backend of the fixed-point trainings (default: %(default)s)")
    options = p.parse_args(arguments)
    interrupted = False
    if options.data is not None:
        try:
            campaign({name: TASKS[name] for name in options.tasks}, options.data, options.board,
                     options.minutes, after_pair=write_pages)
        except Interrupted:
            interrupted = True
    write_pages()
    print(f"written: {PAGE}, {README}")
    if interrupted:
        return 130
    found = {name: compare(results) for name, results in stored().items()}
    return int(any(one is not None and verdict(one, TASKS[name]) in FAILURES
                   for name, one in found.items()))


def campaign(tasks: Mapping[str, Task], data: Path, board: str = "golden",
             minutes: float = float("inf"), results: Path = store.FOLDER,
             work: Path = ROOT / "build" / "accuracy",
             after_pair: Callable[[], None] | None = None) -> None:
    """Train pairs in turn, one of each task after the other, until no task wants another.

    Args:
        tasks: by name.
        data: folder of the data sets.
        board: backend of the fixed-point trainings.
        minutes: no new pair begins after these.
        results: folder of results.
        work: folder of trainings under way.
        after_pair: what is called after each pair.

    Raises:
        Interrupted: by Ctrl-C.
    """
    end = time.monotonic() + 60 * minutes
    for seed in range(max(task.most for task in tasks.values())):
        for name, task in tasks.items():
            found = store.read(name, task.recipe, results)
            if seed in store.complete(found) or not wanted(found, task):
                continue
            if time.monotonic() >= end:
                return
            Pair(name, task.recipe, seed, data, work, results).run(board)
            if after_pair is not None:
                after_pair()


def stored() -> dict[str, Results]:
    """Return all stored results by task."""
    return {name: store.read(name, task.recipe) for name, task in TASKS.items()}


def write_pages() -> None:
    """Write the page and the README's table."""
    tables = stored()
    PAGE.write_text(page(tables), encoding="utf-8")
    README.write_text(in_readme(README.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PynqTrainError as error:
        sys.exit(f"accuracy: {error}")
