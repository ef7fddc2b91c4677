"""What has to have the same bits on every processor: run on each, its results are compared.

``same_bits.py results FOLDER --seeds 1 2``: trains networks of the zoo and random ones on golden
and prints digests as JSON. ``first`` trains half of the steps and saves a learner in FOLDER;
``second`` goes on from there; ``whole`` does both without a file in between. ``curves`` prints
digests of the tables of all curves.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import pynq_train as pt
from pynq_train.check.draw import RandomNet
from pynq_train.check.random_nets import random_net
from pynq_train.graph import Graph, zoo
from pynq_train.graph.curves import CURVES, Elu, Gelu, HardSigmoid, LeakyRelu
from pynq_train.quant.curves import tables
from pynq_train.schedule.lower.program import build_evaluation, build_training

ZOO = ("lenet5",)
BATCHES = 2
"""Mini-batches of an epoch."""


def digest(parts: Iterable[NDArray[np.generic] | bytes | str]) -> str:
    """SHA-256 of arrays (with type and shape), bytes and texts, in order."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            whole.update(f"{part.dtype.str}{part.shape}".encode())
            part = np.ascontiguousarray(part).tobytes()
        whole.update(part.encode() if isinstance(part, str) else part)
    return whole.hexdigest()


def images(graph: Graph, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Random images and labels; whole numbers, so that no library rounds them."""
    draw = np.random.default_rng(seed)
    return (draw.integers(0, 256, (count, *graph.input_shape), np.uint8),
            draw.integers(0, graph.classes, count))


def learner(net: str | int) -> tuple[pt.Learner, NDArray[np.uint8], NDArray[np.int64]]:
    """A learner of a network of the zoo or of a random one, with images for an epoch."""
    drawn = RandomNet(zoo.get(net), 4) if isinstance(net, str) else random_net(net)
    seed = 3 if isinstance(net, str) else net
    own = pt.Learner(drawn.graph, batch=drawn.batch, seed=seed, trainable=drawn.trainable,
                     optimizer=pt.SGD(lr=0.02, momentum=0.9 if seed % 2 else 0.0,
                                      weight_decay=1e-3, schedule="constant"))
    return (own, *images(drawn.graph, BATCHES * drawn.batch, seed))


def state(own: pt.Learner) -> str:
    """Digest of masters, momentum and running statistics, by names."""
    values = [(f"{layer}.{field.name}", getattr(one, field.name))
              for layer, one in sorted(own.masters.items()) for field in fields(one)]
    return digest(part for name, value in values if value is not None for part in (name, value))


def results(net: str | int) -> dict[str, object]:
    """Digests of a network's programs, predicted cycles, an epoch of training, and answers."""
    own, x, y = learner(net)
    plan = own.plan
    programs = [build_training(plan), build_evaluation(plan)]
    cycles = own.predicted_step().cycles
    history = own.fit(x, y, progress=False)
    return {
        "programs": digest(part for one in programs for part in (one.program, one.taps)),
        "cycles": int(cycles),
        "masters": state(own),
        "losses": [float(loss).hex() for loss in history.batch_losses],
        "logits": digest([own.logits(x)]),
        "predictions": [int(label) for label in own.predict(x)],
    }


def curves() -> dict[str, str]:
    """Digests of the tables of curves of every kind, by name and number."""
    some = [*(kind() for kind in CURVES), LeakyRelu(0.2), Elu(1.3),
            HardSigmoid(0.2, 0.5), Gelu(tanh=True)]
    return {f"{number} {curve}": digest([tables(curve)]) for number, curve in enumerate(some)}


def main(arguments: list[str]) -> None:
    """Run one part; print its results as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("results", "curves", "first", "second", "whole"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[])
    chosen = parser.parse_args(arguments)
    if bool(chosen.seeds) == (chosen.part == "curves"):
        parser.error("--seeds: expected with all parts but curves")
    found: dict[str, object] = dict(curves()) if chosen.part == "curves" else {}
    nets = [*ZOO, *chosen.seeds] if chosen.part == "results" else chosen.seeds
    for net in nets:
        if chosen.part == "results":
            found[str(net)] = results(net)
            continue
        own, x, y = learner(net)
        file = chosen.folder / f"{net}.safetensors"
        if chosen.part != "second":
            own.fit(x, y, progress=False)
            own.save(file)
        if chosen.part == "second":
            own = pt.Learner.load(file)
        if chosen.part != "first":
            own.fit(x, y, epochs=2, progress=False)
        found[str(net)] = [state(own), digest([own.logits(x)]), own.steps]
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
