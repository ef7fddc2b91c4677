"""``pynq-train demo``: a CNN learns handwritten digits, every pass on the RTL."""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pynq_train as pt
from pynq_train.cli.commands import INTERRUPTED, print_epoch, write_json
from pynq_train.errors import BadInput, Mismatch, MissingTool
from pynq_train.run.masters import Masters
from pynq_train.schedule.board_time import board_time

NET = "digits"
EPOCHS, BATCH, LR = 8, 32, 0.05


def run(options: argparse.Namespace) -> int:
    """Train on the board, in float32 and on golden; print, draw and save the comparison."""
    began = time.monotonic()
    out: Path = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make folder {str(out)!r} ({error.strerror})",
                       fix="choose another --out") from None
    _need_matplotlib()
    data = pt.load_digits()
    assert data.train.y is not None and data.test is not None
    test = data.test.x, data.test.y
    optimizer = pt.SGD(lr=options.lr)
    learner = pt.Learner(NET, board=options.board, optimizer=optimizer, batch=options.batch,
                         seed=options.seed)
    print(f"{learner.graph.summary()}\n"
          f"{len(data.train)} training images, {len(data.test)} test images, mini-batch "
          f"{options.batch}, {options.epochs} epochs, learning rate {options.lr}\n"
          f"board {options.board}: forward, backward and update of every layer run there "
          "(a virtual board is built first, about a minute)", flush=True)
    with learner:
        history = learner.fit(data.train.x, data.train.y, epochs=options.epochs,
                              validation_data=test, callbacks=[print_epoch])
        if history.interrupted:
            learner.save(out / "model.safetensors")
            print(f"interrupted after {learner.steps} steps; model kept in {out}")
            return INTERRUPTED
        masters = learner.masters
        learner.save(out / "model.safetensors")
    print("the same training in float32, and once more on golden", flush=True)
    twin = pt.fit_float(learner.graph, data.train.x, data.train.y, epochs=options.epochs,
                        optimizer=optimizer, batch=options.batch, seed=options.seed,
                        validation_data=test)
    with pt.Learner(NET, board="golden", optimizer=optimizer, batch=options.batch,
                    seed=options.seed) as golden:
        golden_history = golden.fit(data.train.x, data.train.y, epochs=options.epochs,
                                    validation_data=test, progress=False)
        equal = golden_history.batch_losses == history.batch_losses and all(
            masters[name].same_bits(own) for name, own in golden.masters.items())
    draw_curves(out / "learning_curve.png", history, twin, options.board)
    result = _result(options, learner, len(data.train), history, twin, equal,
                     time.monotonic() - began)
    result["masters_sha256"] = digest(masters)
    write_json(out / "result.json", result)
    _print(result, sum(own.weight.size for own in masters.values()), learner, out)
    if not equal:
        raise Mismatch(f"{options.board} and golden ended with different weights",
                       fix=f"run: pynq-train verify --net {NET} --board {options.board}")
    return 0


def _result(options: argparse.Namespace, learner: pt.Learner, train_images: int,
            history: pt.History, twin: pt.History, equal: bool, seconds: float) -> dict[str, Any]:
    images = sum(epoch.images for epoch in history.epochs)
    cycles = sum(epoch.cycles for epoch in history.epochs)
    time_on_board = board_time(learner.plan, cycles, learner.steps)
    return {
        "test_accuracy": history.epochs[-1].val_accuracy,
        "float_accuracy": twin.epochs[-1].val_accuracy,
        "bit_equal": equal,
        "train_images": train_images,
        "images_per_epoch": images // len(history.epochs),
        "epochs": len(history.epochs),
        "cycles_per_image": cycles / images,
        "ms_per_image_100mhz": cycles / images / 1e5,
        "training_seconds_engine": time_on_board.engine,
        "training_seconds_on_board": time_on_board.both,
        "saturations": sum(epoch.saturations for epoch in history.epochs),
        "board": options.board, "batch": options.batch, "lr": options.lr, "seed": options.seed,
        "seconds_total": seconds,
    }


def _print(result: dict[str, Any], weights: int, learner: pt.Learner, out: Path) -> None:
    verdict = "equal" if result["bit_equal"] else "DIFFERENT"
    print(f"test accuracy: {100 * result['test_accuracy']:.2f} % on {result['board']}, "
          f"{100 * result['float_accuracy']:.2f} % in float32")
    if result["cycles_per_image"]:
        print(f"cycles per training image: {result['cycles_per_image']:.0f}, "
              f"{result['ms_per_image_100mhz']:.4f} ms on the engine at 100 MHz\n"
              f"the whole training on the board: {result['training_seconds_engine']:.2f} s of the "
              f"engine, about {result['training_seconds_on_board']:.2f} s with the processor "
              "(estimated)")
    print(f"bits: {weights} weights after {learner.steps} steps, with momentum and losses: "
          f"{verdict} on {result['board']} and golden, SHA-256 {result['masters_sha256'][:16]}...")
    print(f"written to {out}: learning_curve.png, model.safetensors, result.json "
          f"({result['seconds_total']:.0f} s in all)")


def digest(masters: Mapping[str, Masters]) -> str:
    """SHA-256 of all weights, biases and momenta, in hexadecimal: equal on every machine."""
    sha = hashlib.sha256()
    for name, own in sorted(masters.items()):
        sha.update(name.encode())
        for values in (own.weight, own.weight_momentum, own.bias, own.bias_momentum):
            if values is not None:
                sha.update(values.astype("<i4").tobytes())
    return sha.hexdigest()


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingTool("the learning curve is drawn by matplotlib", expected="matplotlib",
                          found="none", fix="run: pip install matplotlib") from None


def draw_curves(path: Path, history: pt.History, twin: pt.History, board: str) -> None:
    """Draw loss per step and test accuracy per epoch of both trainings to a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    for run, label, style in ((history, f"fixed point, {board}", "-"), (twin, "float32", "--")):
        epochs = [epoch.epoch for epoch in run.epochs]
        left.plot(run.batch_losses, style, label=label, linewidth=1)
        right.plot(epochs, [100 * (epoch.val_accuracy or 0) for epoch in run.epochs], style,
                   label=label, marker="o")
    left.set(xlabel="step", ylabel="training loss", yscale="log")
    right.set(xlabel="epoch", ylabel="test accuracy [%]")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
