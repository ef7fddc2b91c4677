"""Accuracy of every rung of the adaptation ladder: writes tables of ``docs/adaptation.md``.

    python -m benchmarks.adaptation --data ../shared/data     # what is not stored yet, the tables
    python -m benchmarks.adaptation --data ../shared/data --tasks speakers --minutes 60
    python -m benchmarks.adaptation                           # the tables alone

First learning rates are tried in float32, on samples and seeds of their own; then every rung adapts
on golden, and five of them in float32 too. Each result is stored in
``benchmarks/results/adaptation.json`` when it is there: interrupted, the same command goes on. Base
networks, trained with PyTorch, are kept in ``build/adaptation``; a machine that rounds otherwise
trains others, so finish on the machine on which you began.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy.page import ROOT
from benchmarks.adaptation import page, store
from benchmarks.adaptation.runs import adapt_all, chosen, try_rates
from benchmarks.adaptation.tasks import SEEDS, SPEAKERS, TASKS, cases
from pynq_train.adaptation import LADDER
from pynq_train.errors import PynqTrainError

WORK = ROOT / "build" / "adaptation"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and write the tables.

    Returns:
        1 if something is below its bar, 130 after Ctrl-C, else 0.
    """
    p = argparse.ArgumentParser(prog="python -m benchmarks.adaptation",
                                description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", type=Path, help="folder of the data sets; without: no new runs")
    p.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    p.add_argument("--rungs", nargs="+", choices=LADDER, default=list(LADDER))
    p.add_argument("--minutes", type=float, default=math.inf,
                   help="begin nothing new after this time (default: %(default)s)")
    options = p.parse_args(arguments)
    interrupted = False
    if options.data is not None:
        try:
            campaign(options.data, options.tasks, options.rungs, options.minutes)
        except KeyboardInterrupt:
            interrupted = True
    page.write_page()
    print(f"written: {page.PAGE}")
    below = page.failures(store.read()[0])
    print("\n".join(below), end="\n" if below else "")
    return 130 if interrupted else int(bool(below))


def campaign(data: Path, tasks: Sequence[str], rungs: Sequence[str], minutes: float = math.inf,
             path: Path = store.PATH, work: Path = WORK) -> None:
    """Choose rates, then adapt, until all is stored; seed by seed, so that all tasks grow."""
    ends = time.monotonic() + 60 * minutes
    try_rates(rungs, data, work, path, ends)
    for seed in SEEDS:
        for task in tasks:
            twins = page.TWINS if task == SPEAKERS else ()
            adapt_all(cases(task, data, (seed,)), rungs, twins, chosen(store.read(path)[1]), work,
                      path, ends)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PynqTrainError as error:
        sys.exit(f"adaptation: {error}")
