"""Accuracy of networks from PyTorch and Keras before and behind import: ``docs/imported.md``.

    python -m benchmarks.imported --data ../shared/data     # what is not stored yet, then the page
    python -m benchmarks.imported --data ../shared/data --tasks cnn-mnist
    python -m benchmarks.imported                           # the page alone, from stored results

Each network is trained by its own framework in float32, imported in one of the ways that users
have, and evaluated on golden with the whole test set: as uint8 images and as the floats that it
was trained with, in several orders. Weights and results are kept, so that an interrupted run goes
on where it stopped.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pynq_train as pt
from pynq_train.errors import PynqTrainError

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "imported.md"
STORE = ROOT / "benchmarks" / "imported"
WEIGHTS = ROOT / "build" / "imported"
BAR_POINTS = 0.5
BATCH = 100
DARKEST = 64
"""Images with which a network is calibrated in the last order."""

Array = NDArray[Any]
Predict = Callable[[Array], Array]


@dataclass(frozen=True)
class Task:
    """A network, what it is trained with, and how it comes here.

    Attributes:
        data: name of the data set.
        framework: which trains it.
        way: how it is imported.
        values: range of its images.
        mean, std: what is taken from, and divides, the images before they reach the network; None
            where the network does that itself, or nobody does.
        images, epochs, rate: of its training.
    """

    data: str
    framework: str
    way: str
    values: tuple[float, float]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    images: int = 10000
    epochs: int = 3
    rate: float = 0.05


TASKS = {
    "cnn-mnist": Task("mnist", "PyTorch", "from_torch", (0, 1)),
    "norm-fashion": Task("fashion", "PyTorch", "ONNX file", (0, 255)),
    "residual-cifar": Task("cifar", "PyTorch", "from_torch", (0, 1), (0.49, 0.48, 0.45),
                           (0.25, 0.24, 0.26), 4000, 8),
    "separable-doodles": Task("doodles", "Keras", "from_keras", (0, 255), images=12000, epochs=3),
    "ds-cnn-speech": Task("speech", "PyTorch", "ONNX file", (0, 0.01), images=2400, epochs=20),
}
NETWORKS = {
    "cnn-mnist": "2 convolutions, 2 max poolings, dense",
    "norm-fashion": "3 convolutions with normalisations, average pooling, dense",
    "residual-cifar": "residual blocks, normalisations",
    "separable-doodles": "channels last, `Rescaling`, separable convolutions",
    "ds-cnn-speech": "depthwise convolutions, normalisations folded",
}
SETS = {"mnist": "MNIST", "fashion": "Fashion-MNIST", "cifar": "CIFAR-10 subset",
        "doodles": "Quick, Draw! doodles", "speech": "spoken digits, log-mel"}


def main() -> int:
    """Run what is missing and write the page; 1 if a network misses the bar."""
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", type=Path, help="folder of the data sets; without: no new runs")
    p.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    options = p.parse_args()
    if options.data is not None:
        for name in options.tasks:
            run(name, options.data)
    results = {name: stored(name) for name in TASKS}
    PAGE.write_text(page(results), encoding="utf-8")
    print(f"written: {PAGE}")
    return 0 if all(worst(found) <= BAR_POINTS for found in results.values() if found) else 1


# -- measuring ---------------------------------------------------------------------------------


def run(name: str, folder: Path) -> None:
    """Measure what is not stored yet of a network."""
    task, found = TASKS[name], stored(name)
    wanted = ["original", *(f"{kind} {order}" for kind in KINDS for order in ORDERS)]
    if all(one in found for one in wanted):
        return
    (x, y), (test, labels) = samples(task, folder)
    original, model = FRAMEWORKS[task.framework](name, task, x, y)
    found["original"] = round(float(np.mean(original(values(test, task)) == labels)), 5)
    print(f"{name}: {found['original']:.4f} of {len(labels)} images, original", flush=True)
    for kind, convert in KINDS.items():
        for order, arrange in ORDERS.items():
            if f"{kind} {order}" in found:
                continue
            # What Keras's Rescaling does is in the model; of the others their users know it.
            used = model if task.framework == "Keras" else model.with_images(
                input_range=task.values, mean=task.mean, std=task.std)
            with pt.Learner(used, batch=BATCH) as learner:
                images = convert(test, task)
                index = arrange(test, images, learner)
                result = learner.evaluate(images[index], labels[index])
            found[f"{kind} {order}"] = round(result.accuracy, 5)
            print(f"{name}, {kind}, {order}: {result.accuracy:.4f}, {result.again} images again",
                  flush=True)
            store(name, found)


def samples(task: Task, folder: Path) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return uint8 training and test images with labels, split as the data's README says."""
    with contextlib.ExitStack() as files:
        def read(name: str) -> Any:
            return files.enter_context(np.load(folder / f"{name}.npz"))

        if task.data in ("mnist", "fashion"):
            d = read({"mnist": "mnist", "fashion": "fashion_mnist"}[task.data])
            x, y, test = d["x_train"], d["y_train"], (d["x_test"], d["y_test"])
        elif task.data == "cifar":
            d, e = read("cifar10_png4k"), read("cifar10_jpegtest4k")
            x, y, test = d["x"], d["y"], (e["x"], e["y"])
        else:
            d = read({"doodles": "quickdraw10", "speech": "fsdd_logmel"}[task.data])
            x, y = d["x"], d["y"]
            tests = np.arange(len(x)) % 10 >= 8 if task.data == "doodles" else d["index"] < 10
            x, y, test = x[~tests], y[~tests], (x[tests], y[tests])
    chosen = np.random.default_rng(0).permutation(len(x))[: task.images]
    return (x[chosen], y[chosen]), test


def values(x: Array, task: Task) -> Array:
    """Return uint8 images as the floats with which the network is trained: no mean taken yet."""
    low, high = task.values
    return (x.astype(np.float64) / 255 * (high - low) + low).astype(np.float32)


KINDS: dict[str, Callable[[Array, Task], Array]] = {"uint8": lambda x, task: x, "float": values}


def _in_order(x: Array, images: Array, learner: pt.Learner) -> Array:
    return np.arange(len(x))


def _shuffled(x: Array, images: Array, learner: pt.Learner) -> Array:
    return np.random.default_rng(0).permutation(len(x))


def _darkest(x: Array, images: Array, learner: pt.Learner) -> Array:
    return np.argsort(x.reshape(len(x), -1).mean(axis=1), kind="stable")


def _brightest(x: Array, images: Array, learner: pt.Learner) -> Array:
    return _darkest(x, images, learner)[::-1]


def _behind_black(x: Array, images: Array, learner: pt.Learner) -> Array:
    learner.predict(np.zeros_like(images[:1]))
    return np.arange(len(x))


def _calibrated(x: Array, images: Array, learner: pt.Learner) -> Array:
    learner.calibrate(images[_darkest(x, images, learner)[:DARKEST]])
    return np.arange(len(x))


ORDERS: dict[str, Callable[[Array, Array, pt.Learner], Array]] = {
    "in order": _in_order, "shuffled": _shuffled, "darkest first": _darkest,
    "brightest first": _brightest, "behind a black image": _behind_black,
    f"calibrated on the {DARKEST} darkest": _calibrated}
"""Returns the order of the images, and may use the learner before."""


# -- the networks ------------------------------------------------------------------------------


def _pytorch(name: str, task: Task, x: Array, y: Array) -> tuple[Predict, pt.Model]:
    """Return what the network in PyTorch predicts, and the imported model."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = _torch_network(name)
    mean, std = (np.asarray(one, np.float32).reshape(1, -1, 1, 1)
                 for one in (task.mean or (0.0,), task.std or (1.0,)))

    def seen(images: Array) -> Any:
        planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray((planes - mean) / std))

    inputs, labels = seen(values(x, task)), torch.from_numpy(y.astype(np.int64))
    path = WEIGHTS / f"{name}.pt"
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
    else:
        optimiser = torch.optim.SGD(net.parameters(), task.rate, 0.9, weight_decay=5e-4)
        steps = len(x) // 50 * task.epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, task.rate, total_steps=steps + 1)
        for _ in range(task.epochs):
            order = torch.randperm(len(x))
            for at in range(0, len(x) - 49, 50):
                part = order[at : at + 50]
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(inputs[part]), labels[part]).backward()
                optimiser.step()
                schedule.step()
        WEIGHTS.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), path)
    net.eval()

    def predict(images: Array) -> Array:
        with torch.no_grad():
            return np.concatenate([net(seen(images[at : at + 500])).numpy().argmax(1)
                                   for at in range(0, len(images), 500)])

    if task.way == "from_torch":
        return predict, pt.from_torch(net, inputs[:1])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about its own exporter
        file = os.path.join(folder, f"{name}.onnx")
        torch.onnx.export(net, (inputs[:1],), file, dynamo=False)
        return predict, pt.from_onnx(file)


def _torch_network(name: str) -> Any:
    from torch import nn

    def block(n: int, m: int, kernel: int = 3, groups: int = 1, stride: int = 1,
              act: Any = nn.ReLU) -> list[Any]:
        return [nn.Conv2d(n, m, kernel, stride, kernel // 2, groups=groups, bias=False),
                nn.BatchNorm2d(m), act()]

    if name == "cnn-mnist":
        return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Flatten(), nn.Linear(32 * 49, 10))
    if name == "norm-fashion":
        # Pixels of 0..255 as they are: the first normalisation brings their sums to size.
        return nn.Sequential(*block(1, 16), *block(16, 32, stride=2),
                             *block(32, 32), nn.AvgPool2d(2), nn.Flatten(),
                             nn.Linear(32 * 49, 10))
    if name == "residual-cifar":
        class Block(nn.Module):
            """Two convolutions beside a shortcut."""

            def __init__(self, n: int, m: int, stride: int) -> None:
                super().__init__()
                self.first = nn.Sequential(*block(n, m, stride=stride))
                self.second = nn.Sequential(*block(m, m)[:2])
                self.short = nn.Sequential(*block(n, m, 1, stride=stride)[:2])

            def forward(self, x: Any) -> Any:
                return nn.functional.relu(self.second(self.first(x)) + self.short(x))

        return nn.Sequential(*block(3, 16), Block(16, 16, 1), Block(16, 32, 2), Block(32, 32, 2),
                             nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    parts = [*block(1, 32, stride=2, act=nn.ReLU6)]
    for _ in range(3):
        parts += [*block(32, 32, groups=32, act=nn.ReLU6), *block(32, 32, 1, act=nn.ReLU6)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1),
                         nn.Linear(32, 10))


def _keras(name: str, task: Task, x: Array, y: Array) -> tuple[Predict, pt.Model]:
    """Return what the network in Keras predicts, and the imported model."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    net = keras.Sequential([
        layers.Input((28, 28, 1)), layers.Rescaling(1 / 127.5, offset=-1),
        layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
        layers.SeparableConv2D(32, 3, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.ReLU(), layers.MaxPooling2D(2),
        layers.SeparableConv2D(32, 3, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.ReLU(), layers.Flatten(), layers.Dense(10)])
    path = WEIGHTS / f"{name}.weights.h5"
    if path.exists():
        net.load_weights(path)
    else:
        net.compile(keras.optimizers.SGD(task.rate, 0.9),
                    keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        net.fit(values(x, task)[..., None], y, batch_size=50, epochs=task.epochs, verbose=0)
        WEIGHTS.mkdir(parents=True, exist_ok=True)
        net.save_weights(path)

    def predict(images: Array) -> Array:
        found: Array = np.asarray(net.predict(images[..., None], verbose=0)).argmax(1)
        return found

    return predict, pt.from_keras(net)


FRAMEWORKS: dict[str, Callable[[str, Task, Array, Array], tuple[Predict, pt.Model]]] = {
    "PyTorch": _pytorch, "Keras": _keras}


# -- keeping and showing -----------------------------------------------------------------------


def stored(name: str) -> dict[str, float]:
    """Return the stored accuracies of a network by kind and order, if its task is today's."""
    path = STORE / f"{name}.json"
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    today = json.loads(json.dumps(asdict(TASKS[name])))
    return dict(data["accuracy"]) if data["task"] == today else {}


def store(name: str, found: dict[str, float]) -> None:
    """Write all results of a network."""
    STORE.mkdir(exist_ok=True)
    text = json.dumps({"task": asdict(TASKS[name]), "accuracy": found}, indent=1)
    temporary = STORE / f"{name}.tmp"
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(STORE / f"{name}.json")


def worst(found: dict[str, float]) -> float:
    """Return the largest difference from the original, in points."""
    return max(100 * abs(one - found["original"]) for key, one in found.items())


def page(results: dict[str, dict[str, float]]) -> str:
    """Return the page of all results."""
    names = [name for name, found in results.items() if found]
    lines = [_INTRO, "| network | data | values | from, by | images x epochs |",
             "|---|---|---|---|---|"]
    for name in names:
        task = TASKS[name]
        low, high = task.values
        norm = ", mean and std" if task.mean else ""
        lines.append(f"| {name}: {NETWORKS[name]} | {SETS[task.data]} | {low:g}..{high:g}{norm} | "
                     f"{task.framework}, {task.way} | {task.images} x {task.epochs} |")
    lines += ["", "Accuracy on the whole test set [%]:", "",
              "| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    lines.append("| original | " + " | ".join(f"{100 * results[name]['original']:.2f}"
                                             for name in names) + " |")
    for kind in KINDS:
        for order in ORDERS:
            key = f"{kind} {order}"
            lines.append(f"| golden, {kind}, {order} | " + " | ".join(
                f"{100 * results[name][key]:.2f}" if key in results[name] else "-"
                for name in names) + " |")
    lines.append("| largest difference, points | " + " | ".join(
        f"{worst(results[name]):.2f}" for name in names) + " |")
    return "\n".join(lines) + "\n"


_INTRO = """<!-- Written by "python -m benchmarks.imported". Do not edit. -->

# Accuracy of imported networks

Five small networks, trained in float32 by their own framework, imported, and evaluated on golden as
they are: no training here. Each row is a learner of its own that sees the whole test set, as uint8
images or as the floats of the training, in one order; two saw something dark before. The bar:
within 0.5 point of the original, whatever comes first.

    python -m benchmarks.imported --data ../shared/data
"""

if __name__ == "__main__":
    try:
        sys.exit(main())
    except PynqTrainError as error:
        sys.exit(f"imported: {error}")
