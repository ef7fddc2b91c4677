"""Accuracy of ResNet-20 whole, in two and in four branches: writes a table of ``docs/fleet.md``.

    python -m benchmarks.split_accuracy --data ../shared/data     # what is not stored yet
    python -m benchmarks.split_accuracy --data ../shared/data --seeds 1 --minutes 60
    python -m benchmarks.split_accuracy                           # the table alone

Each network is trained in float32 with PyTorch, whose rate rises over 50 steps and then falls on a
line; down the last tenth of that line, golden and float32 go on from the same weights, images and
order. Pairs, their stored runs and what is done after an interruption are those of the accuracy
campaign (``benchmarks/accuracy``); results are in ``benchmarks/split_accuracy/results``, what is
under way in ``build/split_accuracy``.

A split behind layer k has branches up to the k-th convolution and its activation, where a
convolution on a skip does not count; behind b0 that is the end of the block.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev

from benchmarks.accuracy import store
from benchmarks.accuracy.__main__ import campaign
from benchmarks.accuracy.page import BAR, ROOT, between, compare
from benchmarks.accuracy.store import FIXED, FLOAT, SHARED, Results
from benchmarks.accuracy.tasks import DATA_SETS, Recipe, Task
from benchmarks.accuracy.training import Interrupted
from pynq_train.errors import PynqTrainError
from pynq_train.fleet.splits.paper import TABLE_II, WHOLE_ACCURACY

PAGE = ROOT / "docs" / "fleet.md"
FOLDER = Path(__file__).parent / "results"
WORK = ROOT / "build" / "split_accuracy"
BEGIN = '<!-- splits: written by "python -m benchmarks.split_accuracy" -->'
END = "<!-- splits: end -->"
NET, WHOLE = "resnet20", "whole"
PLACES = {6: "a2.relu1", 9: "b0.relu2", 12: "b2.relu1"}
"""Where branches end, by the paper's k."""
WAYS = (2, 4)
SEEDS = 3
FLOAT_EPOCHS, EPOCHS = 54, 6
"""Epochs in float32, and of golden and float32 behind them: the last tenth."""


def recipe(net: str) -> Recipe:
    """Return how a network is trained."""
    return Recipe(net, "cifar", 4000, EPOCHS, 50, 0.1, float_epochs=FLOAT_EPOCHS)


def tasks(seeds: int = SEEDS) -> dict[str, Task]:
    """Return what is trained, by the names of the files of results."""
    nets = {WHOLE: NET, **{f"{ways}-split-{k}": f"{NET}-{ways}-split-{after}"
                           for ways in WAYS for k, after in PLACES.items()}}
    return {name: Task(recipe(net), seeds, seeds) for name, net in nets.items()}


def printed(name: str) -> float:
    """Return the paper's accuracy of a task (0..1): one run each, on all of CIFAR-10."""
    if name == WHOLE:
        return WHOLE_ACCURACY
    ways, _, k = name.split("-")
    row = TABLE_II[int(k)]
    return row.two if int(ways) == 2 else row.four


def table(wanted: Mapping[str, Task], tables: Mapping[str, Results]) -> list[str]:
    """Return the table.

    Args:
        wanted: tasks by name.
        tables: their stored results.
    """
    first = next(iter(wanted.values())).recipe
    lines = [f"{first.net} on {DATA_SETS[first.data].title}, {first.train_images:,} images to "
             f"train, {DATA_SETS[first.data].tested:,} to test, mini-batch {first.batch}:",
             f"{first.float_epochs} epochs in float32, then {first.epochs} on golden and in "
             "float32, in pairs. Mean and standard deviation of the seeds, in percent;",
             "*against whole*: golden, points, seed by seed; *paper*: one run, all of CIFAR-10.",
             "",
             "| network | branches end behind | seeds | before | golden | float32 | golden minus "
             f"float32 (bar {BAR:g}) | against whole | paper |",
             "|---|---|---|---|---|---|---|---|---|"]
    whole = store.complete(tables.get(WHOLE, {}))
    missing = []
    for name, task in wanted.items():
        pairs, found = store.complete(tables.get(name, {})), compare(tables.get(name, {}))
        if found is None:
            missing.append(name)
            continue
        before, fixed, other = (
            _spread([100 * pair[kind].accuracy[-1] for pair in pairs.values() if kind in pair])
            for kind in (SHARED, FIXED, FLOAT))
        loss = [100 * (pair[FIXED].accuracy[-1] - whole[seed][FIXED].accuracy[-1])
                for seed, pair in pairs.items() if seed in whole]
        _, _, after = task.recipe.net.partition("-split-")
        holds = "holds" if found.difference >= BAR else "BELOW THE BAR"
        lines.append(f"| {name} | {after} | {len(pairs)} of {task.pairs} | {before} | {fixed} | "
                     f"{other} | {found.text()}, {holds} | "
                     f"{_spread(loss) if loss and name != WHOLE else ''} | "
                     f"{100 * printed(name):.2f} |")
    if missing:
        lines += ["", "Not run yet: " + ", ".join(missing) + "."]
    return lines


def _spread(values: list[float]) -> str:
    """Return mean and standard deviation; nothing for no values."""
    if not values:
        return ""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def write_page(wanted: Mapping[str, Task], results: Path = FOLDER, path: Path = PAGE) -> None:
    """Write the table of the stored results into the page.

    Raises:
        BadInput: the page has no place for it.
    """
    tables = {name: store.read(name, task.recipe, results) for name, task in wanted.items()}
    text = path.read_text(encoding="utf-8")
    path.write_text(between(text, BEGIN, END, table(wanted, tables),
                            f"{path.name}: place of the splits' accuracies"), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing and write the table; 130 after Ctrl-C, else 0."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.split_accuracy",
                                description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", type=Path, help="folder of the data sets; without: no new runs")
    p.add_argument("--tasks", nargs="+", choices=tasks(), default=list(tasks()))
    p.add_argument("--seeds", type=int, default=SEEDS)
    p.add_argument("--minutes", type=float, default=float("inf"),
                   help="begin no new pair after this time (default: %(default)s)")
    options = p.parse_args(arguments)
    interrupted = False
    if options.data is not None:
        wanted = {name: task for name, task in tasks(options.seeds).items()
                  if name in options.tasks}
        try:
            campaign(wanted, options.data, minutes=options.minutes, results=FOLDER, work=WORK,
                     after_pair=lambda: write_page(tasks()))
        except Interrupted:
            interrupted = True
    write_page(tasks())
    print(f"written: {PAGE}")
    return 130 if interrupted else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PynqTrainError as error:
        sys.exit(f"split_accuracy: {error}")
