"""A tree of small networks against one network of equal cycles, and on four boards against one.

    python -m benchmarks.hierarchy
    python -m benchmarks.hierarchy --data FILE.npz --groups 3 --epochs 10 --host-ms 0.5

A network of the root's kind is trained on all classes first; what it confuses on the training
images makes the groups. Root and leaves are trained (engine), then one network whose forward cycles
are nearest to those of the tree in the mean. Accuracies are measured on the test images, cycles and
memory predicted for the PYNQ-Z2, frames a second simulated on 1 Gbit/s and on 100 Mbit/s, energies
estimated. The host's time per message is given.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pynq_train as pt
from pynq_train.fleet.hierarchy import Hierarchy, groups_of
from pynq_train.fleet.hierarchy.groups import confusion_of
from pynq_train.fleet.hierarchy.placement import Task, on_one_board, place
from pynq_train.fleet.link import Link
from pynq_train.fleet.simulation.tree import simulate_tree
from pynq_train.fleet.splits.costs import SegmentCosts
from pynq_train.fleet.splits.cuts import map_bytes
from pynq_train.fleet.splits.split import Setting
from pynq_train.graph import Graph
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse

BOARD = BOARDS["pynq-z2"]
BOARDS_OF_THE_TREE = 4
LINKS = ("1gbit", "100mbit")
ROOT, LEAF = (8, 16), (8, 16)
"""Channels of both convolutions of root and leaves."""
WIDTHS = tuple((first, second) for first in (8, 12, 16, 24, 32) for second in
               (12, 16, 20, 24, 32, 40, 48, 64))
"""Channels of the one network, of which that with the nearest cycles is taken."""
FRAMES = 2000


def network(shape: tuple[int, int, int], width: tuple[int, int]) -> Callable[[int], Graph]:
    """Return a maker of networks: two convolutions with pooling and a classifier."""
    def make(outputs: int) -> Graph:
        return (pt.Sequential(shape, f"net{width[0]}-{width[1]}")
                .conv(width[0], 3, padding=1).relu().pool()
                .conv(width[1], 3, padding=1).relu().pool().dense(outputs).build())
    return make


def costs(graph: Graph) -> tuple[int, int]:
    """Return predicted forward cycles of an image, and bytes of an evaluation's memory."""
    found = SegmentCosts(fuse(graph), 1, BOARD, {})
    return found.cycles(0, found.end), found.memory_bytes(0, found.end)


def main() -> None:
    """Train, place, simulate and print."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", help="an .npz file (default: scikit-learn's digits)")
    p.add_argument("--groups", type=int, default=3)
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--images", type=int, help="training images at most")
    p.add_argument("--board", default="golden", help="what trains")
    p.add_argument("--host-ms", type=float, default=0.5, help="per message")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--json", type=Path)
    options = p.parse_args()
    data = pt.load_data(options.data) if options.data else pt.load_digits()
    assert data.train.y is not None and data.test is not None and data.test.y is not None
    x, y = data.train.x[:options.images], np.asarray(data.train.y[:options.images])
    xv, yv = data.test.x, np.asarray(data.test.y)
    classes, shape = int(y.max()) + 1, (x.shape[1], x.shape[2], x.shape[3])
    made: dict[str, Any] = {"board": options.board, "batch": 32, "seed": options.seed}
    small, leaf = network(shape, ROOT), network(shape, LEAF)

    with pt.Learner(small(classes), **made) as learner:
        learner.fit(x, y, epochs=options.epochs, progress=False)
        confusion = confusion_of(y, learner.predict(x), classes)
    groups = groups_of(confusion, options.groups, most=-(-classes // options.groups) + 1)
    print(f"groups: {groups}")
    with Hierarchy(groups, small, leaf, **made) as tree:
        tree.fit(x, y, epochs=options.epochs, progress=False)
        result = tree.evaluate(xv, yv)
    print(f"tree: accuracy {result.accuracy:.4f} (root {result.root_accuracy:.4f}), visits "
          f"{[round(part, 3) for part in result.visits]} (measured)")

    root_cycles, root_bytes = costs(small(len(groups)))
    tasks = [Task("root", root_cycles / (1e6 * BOARD.clock_mhz), 1.0, root_bytes)]
    for number, (group, visits) in enumerate(zip(groups, result.visits)):
        if len(group) > 1:
            cycles, nbytes = costs(leaf(len(group)))
            tasks.append(Task(f"leaf {number}", cycles / (1e6 * BOARD.clock_mhz), visits, nbytes))
    mean = 1e6 * BOARD.clock_mhz * sum(task.seconds * task.visits for task in tasks)
    width = min(WIDTHS, key=lambda own: abs(costs(network(shape, own)(classes))[0] - mean))
    single = network(shape, width)(classes)
    one_cycles = costs(single)[0]
    with pt.Learner(single, **made) as learner:
        learner.fit(x, y, epochs=options.epochs, progress=False)
        one_accuracy = learner.evaluate(xv, yv).accuracy
    print(f"one network {width}: accuracy {one_accuracy:.4f} (measured), {one_cycles} forward "
          f"cycles against {mean:.0f} of the tree in the mean (predicted, "
          f"{100 * (one_cycles / mean - 1):+.1f} %)")

    rows = []
    most = max(task.memory_bytes for task in tasks) + min(task.memory_bytes for task in tasks)
    for text in LINKS:
        setting = Setting(Link.parse(text), host_s=options.host_ms / 1e3)
        image = map_bytes(shape, 1)
        alone = on_one_board(tasks, setting, image)
        found = place(tasks, BOARDS_OF_THE_TREE, setting, image, most)
        runs = [simulate_tree(own, FRAMES, options.seed) for own in (alone, found)]
        gain = runs[1].images_per_s / runs[0].images_per_s
        against = found.against(alone)
        print(f"{text}, host {options.host_ms:g} ms per message (given)\n{found.text()}\n"
              f"  {gain:.2f} times the frames of one board (simulated), per device "
              f"{against['device_energy_less_pct']:.1f} % less energy (estimated), "
              f"{against['device_memory_less_pct']:.1f} % less memory (predicted), all boards "
              f"{against['swarm_energy_more_pct']:+.1f} % energy")
        rows.append({"link": text, "host_ms": options.host_ms, "gain_simulated": gain, **against})
    if options.json:
        options.json.write_text(json.dumps({
            "groups": groups, "accuracy": result.accuracy, "root_accuracy": result.root_accuracy,
            "visits": result.visits, "one_accuracy": one_accuracy, "one_cycles": one_cycles,
            "tree_cycles": mean, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
