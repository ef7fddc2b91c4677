"""What adapts to what: base networks, speakers, shifted digits, and which samples are for what.

Spoken digits: each speaker in turn is held out; the others' recordings train a base network. Of the
held-out speaker's fifty recordings of each digit the last ten choose learning rates and nothing
else; of the others five of each digit, drawn by the seed, are adapted to, and all the rest tests.

Digits: one base network for all shifts. Learning rates are chosen on training images of MNIST, by a
base network of another seed; what is reported is tested on test images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pynq_train as pt
from pynq_train.graph import Graph
from pynq_train.shifts import SHIFTS, shifted

Array = NDArray[Any]
Samples = tuple[Array, Array]

SPEAKERS, DIGITS = "speakers", "digits"
TASKS = (SPEAKERS, DIGITS)
SEEDS = (0, 1, 2)
"""Seeds that are reported."""
RATE_SEED = 100
"""Seed of the networks, adapters and orders with which learning rates are chosen."""
NAMES = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
PER_DIGIT, LAST = 5, 40
"""Recordings of a digit that are adapted to; those from this number on choose learning rates."""
MINE, TESTED, VALIDATED = 100, 500, 300
"""Digits that are adapted to, that test, and that choose a learning rate."""
_RESERVED, _FOR_RATES = 50000, 59000
"""Training images of MNIST from the first on are adapted to, and from the second on choose learning
rates; those before train base networks."""


@dataclass(frozen=True)
class Base:
    """How a base network is trained, in float32.

    Attributes:
        epochs: passes over the samples.
        batch: samples of a mini-batch.
        lr: peak of the learning rate, from which it falls on a line.
        images: samples that train, at most.
    """

    epochs: int
    batch: int
    lr: float
    images: int


BASES = {SPEAKERS: Base(8, 50, 0.1, 2500), DIGITS: Base(2, 50, 0.1, 10000)}
"""By task."""


@dataclass(frozen=True)
class Case:
    """One adaptation.

    Attributes:
        task: of :data:`TASKS`.
        place: the speaker or the shift.
        seed: of the base network, of adapters, of what is drawn, of the order of samples.
        base: name of the base network's file.
        train: samples of the base network.
        mine: samples that are adapted to.
        test: samples that judge.
    """

    task: str
    place: str
    seed: int
    base: str
    train: Samples
    mine: Samples
    test: Samples


def network() -> Graph:
    """Return the network of both tasks, for 1x32x32: 33,658 parameters.

    Three normalised convolutions of 16, 32 and 64 channels, each with pooling, and a classifier.
    """
    net = pt.Sequential((1, 32, 32), "spotter")
    for channels in (16, 32, 64):
        net.conv(channels, 3, padding=1, bias=False).norm().relu().pool()
    return net.dense(10, name="fc").build()


def places(task: str) -> tuple[str, ...]:
    """Return the speakers or shifts of a task."""
    return NAMES if task == SPEAKERS else SHIFTS


def cases(task: str, data: Path, seeds: tuple[int, ...] = SEEDS) -> Iterator[Case]:
    """Yield what is reported of a task, seed by seed."""
    for seed in seeds:
        for place in places(task):
            if task == SPEAKERS:
                yield _speaker(data, place, seed)
            else:
                yield _digits(data, place, seed, _mnist(data, True, _RESERVED + MINE * seed, MINE),
                              _mnist(data, False, TESTED * seed, TESTED))


def rate_cases(task: str, data: Path) -> Iterator[Case]:
    """Yield the cases on which learning rates are chosen: nothing of them is reported."""
    for place in places(task):
        if task == DIGITS:
            mine, test = (_mnist(data, True, *part) for part in
                          ((_FOR_RATES, MINE), (_FOR_RATES + MINE, VALIDATED)))
            yield _digits(data, place, RATE_SEED, mine, test)
            continue
        case = _speaker(data, place, RATE_SEED)
        with np.load(data / "fsdd_logmel.npz") as d:
            own, index = d["user"] == NAMES.index(place), d["index"]
            mine, test = ((d["x"][part], d["y"][part].astype(np.int64)) for part in (
                own & (index >= LAST) & (index < LAST + PER_DIGIT),
                own & (index >= LAST + PER_DIGIT)))
        yield replace(case, mine=mine, test=test)


def _speaker(data: Path, name: str, seed: int) -> Case:
    """Return the case of a speaker."""
    with np.load(data / "fsdd_logmel.npz") as d:
        x, y, index = d["x"], d["y"].astype(np.int64), d["index"]
        own = d["user"] == NAMES.index(name)
    rng = np.random.default_rng([seed, NAMES.index(name)])
    mine = np.zeros(len(y), bool)
    for digit in range(10):
        mine[rng.choice(np.flatnonzero(own & (y == digit) & (index < LAST)), PER_DIGIT,
                        replace=False)] = True
    test = own & ~mine & (index < LAST)
    return Case(SPEAKERS, name, seed, f"{SPEAKERS}-{name}-{seed}", (x[~own], y[~own]),
                (x[mine], y[mine]), (x[test], y[test]))


def _digits(data: Path, shift: str, seed: int, mine: Samples, test: Samples) -> Case:
    """Return the case of a shift of these digits, with noise and backgrounds of its own."""
    (x, y), (tx, ty) = mine, test
    both = shifted(np.concatenate([x, tx]), shift, seed)
    return Case(DIGITS, shift, seed, f"{DIGITS}-{seed}",
                _mnist(data, True, 0, BASES[DIGITS].images), (both[:len(y)], y),
                (both[len(y):], ty))


def _mnist(data: Path, train: bool, first: int, count: int) -> Samples:
    """Return images of MNIST as 32x32, and their labels."""
    part = slice(first, first + count)
    with np.load(data / "mnist.npz") as d:
        x, y = (d["x_train"], d["y_train"]) if train else (d["x_test"], d["y_test"])
    return pt.pad_images(x[part][:, None], 32, 32), y[part].astype(np.int64)
