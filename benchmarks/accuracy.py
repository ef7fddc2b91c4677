"""Accuracy of fixed-point training against float32: writes ``docs/accuracy.md``.

    python -m benchmarks.accuracy --data ../shared/data     # what is not stored yet, then the page
    python -m benchmarks.accuracy --data ../shared/data --tasks 1x-mnist --seeds 3
    python -m benchmarks.accuracy                           # the page alone, from stored results

Both trainings see the same start weights, images, order and learning rates. Every run is stored in
``benchmarks/accuracy/TASK.json`` when it ends; a run that is there with the same recipe is not
repeated, so an interrupted campaign goes on where it stopped.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pynq_train as pt
from pynq_train.errors import PynqTrainError
from pynq_train.images import pad_images, repeat_channels

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "accuracy.md"
STORE = ROOT / "benchmarks" / "accuracy"
BAR_POINTS = 0.5
ARITHMETICS = ("fixed", "float32")

Array = NDArray[Any]
Samples = tuple[Array, Array]


@dataclass(frozen=True)
class Recipe:
    """What one task trains, and how: network, data, images, epochs and values of the optimizer."""

    net: str
    data: str
    train_images: int
    epochs: int
    batch: int
    lr: float
    weight_decay: float = 5e-4
    momentum: float = 0.9
    schedule: str = "linear"


RECIPES = {
    "1x-mnist": Recipe("1x", "mnist", 10000, 3, 64, 0.02),
    "1x-fashion": Recipe("1x", "fashion", 10000, 3, 64, 0.02),
    "ds-cnn-digits": Recipe("ds_cnn_s", "speech", 2100, 8, 60, 0.1),
    "mobilenet-doodles": Recipe("mobilenet_v1_025", "doodles", 6000, 4, 60, 0.1),
    "resnet20-cifar": Recipe("resnet20", "cifar", 4000, 4, 50, 0.1),
}
TITLES = {"mnist": "MNIST", "fashion": "Fashion-MNIST", "speech": "spoken digits, six speakers",
          "doodles": "Quick, Draw! doodles, ten classes", "cifar": "CIFAR-10 subset"}


def main() -> int:
    """Run what is missing and write the page; 1 if a task misses the bar."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=Path, help="folder of the data sets; without: no new runs")
    p.add_argument("--tasks", nargs="+", choices=RECIPES, default=list(RECIPES))
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--board", default="golden", help="backend of the fixed-point trainings")
    options = p.parse_args()
    if options.data is not None:
        for task in options.tasks:
            for seed in options.seeds:
                run(task, seed, options.data, options.board)
    tables = {task: dict(stored(task)) for task in RECIPES}
    PAGE.write_text(page(tables), encoding="utf-8")
    print(f"written: {PAGE}")
    return 0 if all(within(runs) for runs in tables.values() if runs) else 1


def run(task: str, seed: int, folder: Path, board: str) -> None:
    """Train one seed of a task in each arithmetic whose result is not stored yet."""
    recipe, found = RECIPES[task], dict(stored(task)).get(seed, {})
    if all(arithmetic in found for arithmetic in ARITHMETICS):
        return
    (x, y), test = samples(recipe, folder, seed)
    optimizer = pt.SGD(lr=recipe.lr, momentum=recipe.momentum, schedule=recipe.schedule,
                       weight_decay=recipe.weight_decay)
    with pt.Learner(recipe.net, board=board, optimizer=optimizer, batch=recipe.batch, seed=seed,
                    normalise=True) as learner:
        if "fixed" not in found:
            history = learner.fit(x, y, epochs=recipe.epochs, validation_data=test)
            if history.interrupted:
                sys.exit(130)
            store(task, seed, "fixed", history)
        else:
            learner.fit(x[:recipe.batch], y[:recipe.batch], epochs=1)  # takes the normalisation
        if "float32" not in found:
            store(task, seed, "float32", pt.fit_float(
                learner.graph, x, y, epochs=recipe.epochs, optimizer=optimizer,
                batch=recipe.batch, seed=seed, validation_data=test,
                normalisation=learner.normalisation))


def samples(recipe: Recipe, folder: Path, seed: int) -> tuple[Samples, Samples]:
    """Return training and test samples; which images of a large set train follows from the seed."""
    (x, y), test = LOADERS[recipe.data](folder)
    chosen = np.random.default_rng(seed).permutation(len(x))[:recipe.train_images]
    return (x[chosen], y[chosen]), test


def _idx(name: str) -> Callable[[Path], tuple[Samples, Samples]]:
    """Return a loader of MNIST-like data from a file of that name."""
    def load(folder: Path) -> tuple[Samples, Samples]:
        with np.load(folder / name) as d:
            return ((_coloured(d["x_train"]), d["y_train"]), (_coloured(d["x_test"]), d["y_test"]))

    return load


def _coloured(x: Array) -> Array:
    """Return 28x28 images as 3x32x32, as '1X' reads them."""
    return repeat_channels(pad_images(x[:, None], 32, 32), 3)


def _cifar(folder: Path) -> tuple[Samples, Samples]:
    """Return 4,000 training and 4,000 test images of CIFAR-10."""
    with np.load(folder / "cifar10_png4k.npz") as a, \
            np.load(folder / "cifar10_jpegtest4k.npz") as b:
        return (a["x"], a["y"]), (b["x"], b["y"])


def _doodles(folder: Path) -> tuple[Samples, Samples]:
    """Return drawings; the first 5,000 of a fixed order are the test set."""
    with np.load(folder / "quickdraw10.npz") as d:
        order = np.random.default_rng(2024).permutation(len(d["x"]))
        x, y = d["x"][order], d["y"][order]
        return (x[5000:], y[5000:]), (x[:5000], y[:5000])


def _speech(folder: Path) -> tuple[Samples, Samples]:
    """Return recordings; the first 15 of a speaker's 50 of each digit are the test set."""
    with np.load(folder / "fsdd_logmel.npz") as d:
        test = d["index"] < 15
        return (d["x"][~test], d["y"][~test]), (d["x"][test], d["y"][test])


LOADERS: dict[str, Callable[[Path], tuple[Samples, Samples]]] = {
    "mnist": _idx("mnist.npz"), "fashion": _idx("fashion_mnist.npz"), "cifar": _cifar,
    "doodles": _doodles, "speech": _speech}


def _path(task: str) -> Path:
    """Return the file of a task's results."""
    return STORE / f"{task}.json"


def stored(task: str) -> Iterator[tuple[int, dict[str, list[float]]]]:
    """Yield seed and test accuracy by epoch in each arithmetic, of runs with today's recipe."""
    if not _path(task).exists():
        return
    data = json.loads(_path(task).read_text(encoding="utf-8"))
    if data["recipe"] == asdict(RECIPES[task]):
        for seed, runs in data["accuracy"].items():
            yield int(seed), runs


def store(task: str, seed: int, arithmetic: str, history: pt.History) -> None:
    """Add one run to the task's file."""
    curve = [round(epoch.val_accuracy or 0, 5) for epoch in history.epochs]
    print(f"{task} seed {seed} {arithmetic}: {curve}", flush=True)
    accuracy = dict(stored(task))
    accuracy.setdefault(seed, {})[arithmetic] = curve
    STORE.mkdir(exist_ok=True)
    text = json.dumps({"recipe": asdict(RECIPES[task]),
                       "accuracy": {str(k): accuracy[k] for k in sorted(accuracy)}}, indent=1)
    temporary = _path(task).with_suffix(".tmp")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(_path(task))


def _final(runs: dict[int, dict[str, list[float]]], arithmetic: str) -> list[float]:
    """Return the last test accuracies in percent, of the seeds with both arithmetics."""
    return [100 * run[arithmetic][-1] for _, run in sorted(runs.items())
            if all(a in run for a in ARITHMETICS)]


def gap(runs: dict[int, dict[str, list[float]]]) -> tuple[float, float]:
    """Return mean of fixed point minus float32 in points, and spread of the float32 seeds."""
    fixed, other = (_final(runs, a) for a in ARITHMETICS)
    return mean(fixed) - mean(other), stdev(other) if len(other) > 1 else 0.0


def within(runs: dict[int, dict[str, list[float]]]) -> bool:
    """Return whether fixed point loses no more than the bar or the spread of the seeds."""
    if not _final(runs, "fixed"):
        return True
    difference, spread = gap(runs)
    return difference >= -max(BAR_POINTS, spread)


def page(tables: dict[str, dict[int, dict[str, list[float]]]]) -> str:
    """Return the page of all results."""
    lines = [_INTRO, "Test accuracy after the last epoch; *spread*: of the float32 seeds.", "",
             "| network | data | seeds | fixed point | float32 | difference (spread) |",
             "|---|---|---|---|---|---|"]
    recipes = ["", "What was trained:", "", "| network | data | images | epochs | batch | rate |",
               "|---|---|---|---|---|---|"]
    missing = []
    for task, runs in tables.items():
        recipe = RECIPES[task]
        fixed, other = (_final(runs, a) for a in ARITHMETICS)
        if not fixed:
            missing.append(task)
            continue
        difference, spread = gap(runs)
        start = f"| {recipe.net} | {TITLES[recipe.data]} |"
        lines.append(f"{start} {len(fixed)} | {_spread(fixed)} | {_spread(other)} | "
                     f"{difference:+.2f} ({spread:.2f}) |")
        recipes.append(f"{start} {recipe.train_images} | {recipe.epochs} | {recipe.batch} | "
                       f"{recipe.lr} |")
    lines += recipes
    lines += ["", "Single runs, test accuracy after the last epoch [%]:", "",
              "| task | seed | fixed point | float32 | difference |", "|---|---|---|---|---|"]
    for task, runs in tables.items():
        for seed, run_ in sorted(runs.items()):
            if all(a in run_ for a in ARITHMETICS):
                one, two = (100 * run_[a][-1] for a in ARITHMETICS)
                lines.append(f"| {task} | {seed} | {one:.2f} | {two:.2f} | {one - two:+.2f} |")
    if missing:
        lines += ["", "Not run yet: " + ", ".join(missing) + "."]
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    """Return mean and standard deviation as text."""
    return f"{mean(values):.2f} +- {stdev(values) if len(values) > 1 else 0:.2f} %"


_INTRO = """<!-- Written by "python -m benchmarks.accuracy". Do not edit. -->

# Accuracy: fixed point against float32

Everything here was trained on the golden backend, which the RTL equals bit for bit
([testing.md](testing.md)). Both arithmetics start from the same weights and see the same images in
the same order with the same learning rates; nothing was tuned for either. Trainings are short, so
that they can be repeated on a desk: they compare arithmetics, they are no records. The bar: fixed
point within 0.5 point of float32, or within the spread of the seeds.

    python -m benchmarks.accuracy --data ../shared/data
"""

if __name__ == "__main__":
    try:
        sys.exit(main())
    except PynqTrainError as error:
        sys.exit(f"accuracy: {error}")
