"""A network from an ONNX file on the engine: its accuracy there, then a little training.

    python examples/import_network.py --model mine.onnx --data mine.npz --input-range 0 1
    python examples/import_network.py --model mine.onnx --data mine.npz --input-range 0 255 \\
        --mean 128 --std 64 --epochs 3 --out mine.safetensors

The .npz file holds ``x_train``, ``y_train``, ``x_test`` and ``y_test``. The ranges of the feature
maps come from typical training images (``learner.calibrate``), not from those that are met first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import pynq_train as pt

TYPICAL = 128
"""Training images from which the ranges of the feature maps are taken."""


def main() -> None:
    """Import, calibrate, evaluate, train, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="an ONNX file")
    parser.add_argument("--data", type=Path, required=True, help=".npz file with splits")
    parser.add_argument("--input-range", type=float, nargs=2, help="of the images it was made for")
    parser.add_argument("--mean", type=float, nargs="+", help="taken from them, in their units")
    parser.add_argument("--std", type=float, nargs="+", help="divides them then")
    parser.add_argument("--board", default="golden", help="where it runs")
    parser.add_argument("--batch", type=int, default=32, help="images of a mini-batch")
    parser.add_argument("--epochs", type=int, default=0, help="passes of training; 0 for none")
    parser.add_argument("--lr", type=float, default=0.005, help="learning rate")
    parser.add_argument("--out", type=Path, help="where the learner goes")
    options = parser.parse_args()
    data = pt.load_npz(options.data)
    if data.test is None or data.train.y is None or data.test.y is None:
        sys.exit(f"{options.data}: expected x_train, y_train, x_test and y_test")
    model = pt.from_onnx(options.model, input_range=options.input_range, mean=options.mean,
                         std=options.std)
    print(model)
    with pt.Learner(model, board=options.board, batch=options.batch,
                    optimizer=pt.SGD(lr=options.lr)) as learner:
        chosen = np.random.default_rng(0).permutation(len(data.train.x))[:TYPICAL]
        learner.calibrate(data.train.x[chosen])
        found = learner.evaluate(data.test.x, data.test.y)
        print(f"accuracy as imported: {found.accuracy:.4f} of {len(data.test.x)} images, "
              f"{found.again} of them run again with wider ranges")
        if options.epochs:
            learner.fit(data.train.x, data.train.y, epochs=options.epochs, progress=False)
            found = learner.evaluate(data.test.x, data.test.y)
            print(f"accuracy behind {options.epochs} epochs: {found.accuracy:.4f}")
        if options.out:
            learner.save(options.out)


if __name__ == "__main__":
    try:
        main()
    except pt.PynqTrainError as error:
        sys.exit(f"import_network: {error}")
