# ruff: noqa: T201
"""Accuracy of fixed-point training: '1X' on Fashion-MNIST against the same training in float32.

    python benchmarks/accuracy_fashion.py --data ../shared/data/fashion_mnist.npz

Images are padded to 32x32 and repeated to 3 channels; both trainings see the same batches and
learning rates. Prints both curves; exit code 1 if the last accuracies differ by more than the bar.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import pynq_train as pt
from pynq_train.errors import PynqTrainError

BAR_POINTS = 0.5
NET = "1x"


def main() -> int:
    """Run both trainings and compare them."""
    options = _parse()
    data = pt.load_npz(options.data)
    assert data.test is not None and data.train.y is not None
    train_x, train_y = data.train.x[: options.images], data.train.y[: options.images]
    test = data.test.x, data.test.y
    optimizer = pt.SGD(lr=options.lr, weight_decay=options.weight_decay)
    learner = pt.Learner(NET, options.board, optimizer, options.batch, options.seed,
                         normalise=True)
    print(f"{NET}, {len(train_x)} images, mini-batch {options.batch}, {options.epochs} epochs, "
          f"learning rate {options.lr} falling to 0, seed {options.seed}", flush=True)
    began = time.monotonic()
    with learner:
        fixed = learner.fit(train_x, train_y, options.epochs, test)
    if fixed.interrupted:
        return 130
    middle = time.monotonic()
    twin = pt.fit_float(learner.graph, train_x, train_y, options.epochs, optimizer, options.batch,
                        options.seed, test, learner.normalisation, progress=True)
    _curves(fixed, twin)
    gap = 100 * ((fixed.epochs[-1].val_accuracy or 0) - (twin.epochs[-1].val_accuracy or 0))
    print(f"fixed point - float32: {gap:+.2f} points (bar: within {BAR_POINTS}); "
          f"{middle - began:.0f} s and {time.monotonic() - middle:.0f} s")
    if options.json:
        options.json.write_text(json.dumps({
            "net": NET, "board": options.board, "seed": options.seed, "gap_points": gap,
            "fixed": fixed.to_list(), "float32": twin.to_list()}, indent=2) + "\n")
    return 0 if abs(gap) <= BAR_POINTS else 1


def _parse() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", default="../shared/data/fashion_mnist.npz")
    p.add_argument("--board", default="golden")
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--lr", type=float, default=0.02)
    p.add_argument("--weight-decay", type=float, default=5e-4)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--images", type=int, help="use only the first images")
    p.add_argument("--json", type=Path, help="write the result")
    return p.parse_args()


def _curves(fixed: pt.History, twin: pt.History) -> None:
    print(f"{'steps':>12} {'fixed point':>12} {'float32':>12}   mean training loss")
    window = 50
    for begin in range(0, len(fixed.batch_losses), window):
        a, b = (run.batch_losses[begin : begin + window] for run in (fixed, twin))
        print(f"{begin:>6}-{begin + len(a):<6}{sum(a) / len(a):>11.4f} {sum(b) / len(b):>12.4f}")
    print(f"{'epoch':>12} {'fixed point':>12} {'float32':>12}   test accuracy [%]")
    for one, other in zip(fixed.epochs, twin.epochs):
        print(f"{one.epoch:>12} {100 * (one.val_accuracy or 0):>12.2f} "
              f"{100 * (other.val_accuracy or 0):>12.2f}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PynqTrainError as error:
        sys.exit(f"accuracy_fashion: {error}")
