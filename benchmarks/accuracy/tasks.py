"""What is trained to compare the arithmetics: networks, data, epochs, and how many pairs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pynq_train as pt
from pynq_train.data import load_digits
from pynq_train.errors import BadInput
from pynq_train.fleet.splits.branches import branched
from pynq_train.graph import Graph, zoo
from pynq_train.graph.ops import Op
from pynq_train.images import pad_images, repeat_channels

_SPLIT = re.compile(r"(.+)-([0-9]+)-split-(.+)")
"""Name of a network in branches: of which, how many, up to where."""
Array = NDArray[Any]
Samples = tuple[Array, Array]


@dataclass(frozen=True)
class Recipe:
    """How a pair is trained; results of another recipe are not counted.

    Attributes:
        net: name for :func:`network`.
        data: key of :data:`DATA_SETS`.
        train_images: images that train, drawn by the seed where the set has more.
        epochs: passes that each arithmetic trains.
        batch: images of a mini-batch.
        lr, weight_decay, momentum, schedule: of the optimizer; ``lr`` is the peak of the whole
            training, the shared part included.
        float_epochs: passes in float32 before, shared by both arithmetics; 0: both train from the
            start weights.
    """

    net: str
    data: str
    train_images: int
    epochs: int
    batch: int
    lr: float
    weight_decay: float = 5e-4
    momentum: float = 0.9
    schedule: str = "linear"
    float_epochs: int = 0

    @property
    def last_rate(self) -> float:
        """Learning rate with which the arithmetics begin: where the shared part has come to."""
        return self.lr * self.epochs / (self.epochs + self.float_epochs)


@dataclass(frozen=True)
class Task:
    """A recipe, and how many pairs are wanted of it.

    Attributes:
        recipe: what each pair trains.
        pairs: seeds 0 to ``pairs - 1`` are trained; more follow while the standard error is above
            the one wanted.
        most: no more pairs than these, whatever the standard error.
        why: why the standard error may stay above the one wanted, for the page.
    """

    recipe: Recipe
    pairs: int
    most: int
    why: str = ""


_STEEP = ("four epochs end on the steep part of the curve, where seeds differ by points "
          "either way; the line with the shared part answers the question for this network")

TASKS = {
    "digits": Task(Recipe("digits", "digits", 1437, 8, 32, 0.05, weight_decay=0.0), 20, 40),
    "residual-digits": Task(Recipe("small_residual", "digits", 1437, 6, 32, 0.05), 20, 40),
    # Ten pairs said -0.07 +- 0.03, which ten more, decided upon beforehand, did not confirm.
    "1x-mnist": Task(Recipe("1x", "mnist", 10000, 3, 64, 0.02), 20, 20),
    "1x-fashion": Task(Recipe("1x", "fashion", 10000, 3, 64, 0.02), 10, 20),
    "ds-cnn-digits": Task(Recipe("ds_cnn_s", "speech", 2100, 8, 60, 0.1), 10, 20),
    "mobilenet-doodles-last": Task(
        Recipe("mobilenet_v1_025", "doodles", 6000, 1, 60, 0.1, float_epochs=7), 5, 12),
    "resnet20-cifar-last": Task(
        Recipe("resnet20", "cifar", 4000, 1, 50, 0.1, float_epochs=9), 5, 12),
    "mobilenet-doodles": Task(Recipe("mobilenet_v1_025", "doodles", 6000, 4, 60, 0.1), 5, 5,
                              _STEEP),
    "resnet20-cifar": Task(Recipe("resnet20", "cifar", 4000, 4, 50, 0.1), 5, 5, _STEEP),
}
"""Tasks by name. Twenty pairs of a training of seconds, ten or more of one of minutes; or five."""


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        title: its name for people.
        tested: test images.
        load: reads training and test samples from a folder.
    """

    title: str
    tested: int
    load: Callable[[Path], tuple[Samples, Samples]]


def network(name: str) -> Graph:
    """Return a network of the zoo, ``small_residual``, or one of these in branches.

    ``resnet20-4-split-b0.relu2`` has four branches up to that operation.
    """
    split = _SPLIT.fullmatch(name)
    if split is not None:
        return branched(network(split[1]), split[3], int(split[2]))
    return small_residual() if name == "small_residual" else zoo.get(name)


def small_residual() -> Graph:
    """Return two residual blocks with normalisation, of 8 and 16 channels, for 8x8 digits.

    It trains in seconds: what normalisations and residuals cost shows in many pairs.
    """
    ops: list[Op] = []

    def normed(name: str, channels: int, stride: int, before: str, kernel: int = 3) -> str:
        """Append a convolution and its normalisation; return the latter's name."""
        ops.append(pt.Conv(channels, kernel, stride, kernel // 2, False, name,
                           inputs=(before,)))
        ops.append(pt.BatchNorm(name=f"{name}.bn"))
        return f"{name}.bn"

    def relu(name: str) -> str:
        ops.append(pt.Relu(name))
        return name

    normed("first", 8, 1, "input")
    before = relu("first.relu")
    for name, channels, stride in (("a", 8, 1), ("b", 16, 2)):
        normed(f"{name}1", channels, stride, before)
        skip_from, before = before, relu(f"{name}1.relu")
        main = normed(f"{name}2", channels, 1, before)
        skip = normed(f"{name}3", channels, stride, skip_from, 1) if stride > 1 else skip_from
        ops.append(pt.Add(f"{name}.add", (main, skip)))
        before = relu(f"{name}.relu")
    ops += [pt.GlobalAvgPool("mean"), pt.Dense(10, name="fc")]
    return Graph.build((1, 8, 8), ops, "small_residual")


def samples(recipe: Recipe, folder: Path, seed: int) -> tuple[Samples, Samples]:
    """Return training and test samples; which images of a large set train follows from the seed.

    Raises:
        BadInput: it is another data set than that of the stored results.
    """
    data_set = DATA_SETS[recipe.data]
    (x, y), test = data_set.load(folder)
    if len(test[1]) != data_set.tested or len(x) < recipe.train_images:
        raise BadInput(f"data set {data_set.title}", fix="use the files that were compared with",
                       expected=f"{data_set.tested} test images, at least {recipe.train_images} "
                                "others", found=f"{len(test[1])}, {len(x)}")
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


def _digits(folder: Path) -> tuple[Samples, Samples]:
    """Return the digits of the demo, as normalised floats; the folder does not matter."""
    data = load_digits()
    assert data.train.y is not None and data.test is not None and data.test.y is not None
    return (data.train.x, data.train.y), (data.test.x, data.test.y)


DATA_SETS = {
    "digits": DataSet("digits of scikit-learn", 360, _digits),
    "mnist": DataSet("MNIST", 10000, _idx("mnist.npz")),
    "fashion": DataSet("Fashion-MNIST", 10000, _idx("fashion_mnist.npz")),
    "speech": DataSet("spoken digits, six speakers", 900, _speech),
    "doodles": DataSet("Quick, Draw! doodles, ten classes", 5000, _doodles),
    "cifar": DataSet("CIFAR-10 subset", 4000, _cifar)}
"""Data sets by the names that recipes use."""
