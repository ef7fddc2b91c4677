"""A tree of small networks against one network of equal cycles, and on four boards against one.

    python -m benchmarks.hierarchy --data ../shared/data/mnist.npz --images 3000 --json FILE
    python -m benchmarks.hierarchy --groups 3 --depth 1 --leaf 8 16 --host-ms 0.5    # digits

A network of the root's kind is trained on all classes first; what it confuses on the training
images makes the groups. Root and leaves are trained, then one network whose forward cycles are
nearest to those of the tree in the mean: in float32 with PyTorch, then the last epochs, down the
end of the line of the rate, on the engine (``--float-epochs 0``: all of them). Accuracies are
measured on the test images, cycles and memory predicted for the PYNQ-Z2, frames a second simulated
on 1 Gbit/s and on 100 Mbit/s, energies estimated. The host's time per message is measured in nb
(``benchmarks/message_cost.py``) and estimated for a Cortex-A9, unless it is given. Pixels travel as
they are, several images a message.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pynq_train as pt
from benchmarks.accuracy.tasks import Array, Recipe
from benchmarks.accuracy.training import float_training
from benchmarks.message_cost import message_costs
from pynq_train.fleet.hierarchy import Hierarchy, groups_of
from pynq_train.fleet.hierarchy.groups import confusion_of
from pynq_train.fleet.hierarchy.placement import Placement, Task, on_one_board, place
from pynq_train.fleet.link import Link
from pynq_train.fleet.simulation.tree import simulate_tree
from pynq_train.fleet.splits.costs import SegmentCosts
from pynq_train.fleet.splits.cuts import map_bytes
from pynq_train.fleet.splits.split import Setting
from pynq_train.graph import Graph
from pynq_train.graph.image_format import ANY_IMAGES, ImageFormat
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse
from pynq_train.train.images import measure_normalisation

BOARD = BOARDS["pynq-z2"]
BOARDS_OF_THE_TREE = 4
LINKS = ("1gbit", "100mbit")
SMALL, ROOT, LEAF = (8, 16), (16, 32), (48, 96)
"""Channels of the convolutions before and behind the first pooling: of the network whose confusions
make the groups, of the root, and of leaves."""
WIDTHS = tuple((first, second) for first in (8, 12, 16, 24, 32, 40, 48, 56, 64) for second in
               (12, 16, 20, 24, 32, 40, 48, 64, 80, 88, 96, 104, 112))
"""Channels of the one network, of which that with the nearest cycles is taken."""
FRAMES, MESSAGES = 2000, 400
"""Frames that are simulated at least, and messages' worth of them at least."""
FRAMES_BAR, ENERGY_BAR, MEMORY_BAR, ACCURACY_BAR, CYCLES_BAR = 3.21, 68.0, 58.0, 1.0, 5.0
"""Times the frames of one board; percent less energy and memory per device; points of accuracy
below the one network at most; percent of cycles by which both differ at most."""


@dataclass(frozen=True)
class Kind:
    """Networks of one kind: 3x3 convolutions, normalised, with ReLU; pooling behind each run,
    the mean of each map at the end.

    Attributes:
        shape: of an image.
        depth: convolutions in front of each of both poolings.
    """

    shape: tuple[int, int, int]
    depth: int

    def of(self, width: tuple[int, int]) -> Callable[[int], Graph]:
        """Return a maker of networks with these channels for some outputs."""
        def make(outputs: int) -> Graph:
            net = pt.Sequential(self.shape, f"net{self.depth}-{width[0]}-{width[1]}")
            for channels in width:
                for _ in range(self.depth):
                    net = net.conv(channels, 3, padding=1, bias=False).norm().relu()
                net = net.pool()
            return net.global_pool().dense(outputs).build()
        return make


def costs(graph: Graph) -> tuple[int, int]:
    """Return predicted forward cycles of an image, and bytes of an evaluation's memory."""
    found = SegmentCosts(fuse(graph), 1, BOARD, {})
    return found.cycles(0, found.end), found.memory_bytes(0, found.end)


def nearest(kind: Kind, classes: int, cycles: float) -> tuple[int, int]:
    """Return the channels of the network with the nearest forward cycles."""
    return min(WIDTHS, key=lambda own: abs(costs(kind.of(own)(classes))[0] - cycles))


def tasks_of(root: Graph, leaves: Sequence[Graph | None], visits: Sequence[float]) -> list[Task]:
    """Return the networks of a tree with predicted seconds and memory."""
    tasks = []
    for number, (graph, part) in enumerate(zip((root, *leaves), (1.0, *visits))):
        if graph is not None:
            cycles, nbytes = costs(graph)
            tasks.append(Task(f"leaf {number - 1}" if number else "root",
                              cycles / (1e6 * BOARD.clock_mhz), part, nbytes))
    return tasks


def compare(tasks: Sequence[Task], setting: Setting, image: int, per_message: int, seed: int
            ) -> tuple[Placement, dict[str, Any]]:
    """Return the fastest placement that keeps the bar of memory, and what it is worth.

    Where none keeps it, it is the one with the least memory.

    Args:
        tasks: root and leaves.
        setting: link, power and host.
        image: bytes of an image on its way.
        per_message: images of a message.
        seed: of the simulated frames.
    """
    alone = on_one_board(tasks, setting, image)
    sizes = sorted(task.memory_bytes for task in tasks)
    found = []
    for count in range(1, len(sizes) + 1):
        # Room for so many of the largest leaves beside the smallest network.
        one = place(tasks, BOARDS_OF_THE_TREE, setting, image, sizes[0] + sum(sizes[-count:]),
                    per_message)
        found.append((min(one.against(alone)["device_memory_less_pct"], MEMORY_BAR),
                      -one.period_s, one))
    best = max(found, key=lambda pair: pair[:2])[2]
    frames = max(FRAMES, MESSAGES * per_message)
    runs = [simulate_tree(own, frames, seed) for own in (alone, best)]
    return best, {"gain_simulated": runs[1].images_per_s / runs[0].images_per_s,
                  "latency_s": runs[1].latency(0.5), **best.against(alone)}


def verdict(holds: bool) -> str:
    """Return whether a bar holds, in words."""
    return "holds" if holds else "FALLS SHORT"


def trained(options: argparse.Namespace) -> dict[str, Any]:
    """Train a tree and one network of equal cycles; return what was measured and predicted."""
    data = pt.load_data(options.data) if options.data else pt.load_digits()
    assert data.train.y is not None and data.test is not None and data.test.y is not None
    x, y = data.train.x[:options.images], np.asarray(data.train.y[:options.images])
    xv, yv = data.test.x[:options.tested], np.asarray(data.test.y[:options.tested])
    x, xv = (one[:, None] if one.ndim == 3 else one for one in (x, xv))
    classes, shape = int(y.max()) + 1, (x.shape[1], x.shape[2], x.shape[3])
    form = ANY_IMAGES
    if x.dtype == np.uint8:
        form = ImageFormat((0, 1), measure_normalisation(x, shape, ANY_IMAGES))
    norm, total = form.normalisation, options.epochs + options.float_epochs
    made: dict[str, Any] = {
        "board": options.board, "batch": options.batch, "seed": options.seed,
        "optimizer": pt.SGD(lr=options.lr * options.epochs / total,
                            warmup_steps=0 if options.float_epochs else None),
        "input_range": form.input_range, "mean": norm.mean if norm else None,
        "std": norm.std if norm else None}

    def begun(graph: Graph, own: Array, labels: Array) -> Graph | pt.Model:
        """Return a network, trained in float32 up to the epochs of the engine."""
        if not options.float_epochs:
            return graph
        recipe = Recipe(graph.name, "", len(own), options.epochs, options.batch, options.lr,
                        weight_decay=0.0, float_epochs=options.float_epochs)
        (params,), _ = float_training([(graph, "")], recipe, options.seed, (own, labels),
                                      (own[:64], labels[:64]), form)
        return pt.Model(graph, params)

    small, root, leaf = Kind(shape, 1), Kind(shape, options.depth), Kind(shape, options.depth)
    with pt.Learner(begun(small.of(SMALL)(classes), x, y), **made) as learner:
        learner.fit(x, y, epochs=options.epochs, progress=False)
        confusion = confusion_of(y, learner.predict(x), classes)
    groups = groups_of(confusion, options.groups, most=-(-classes // options.groups))
    print(f"groups: {groups}", flush=True)
    group_of = np.array([next(at for at, group in enumerate(groups) if number in group)
                         for number in range(classes)])
    models = [begun(root.of(tuple(options.root))(len(groups)), x, group_of[y])]
    for number, group in enumerate(groups):
        if len(group) > 1:
            own = group_of[y] == number
            models.append(begun(leaf.of(tuple(options.leaf))(len(group)), x[own],
                                np.searchsorted(group, y[own])))
    with Hierarchy(groups, lambda outputs: models.pop(0), **made) as tree:
        tree.fit(x, y, epochs=options.epochs, progress=False)
        result = tree.evaluate(xv, yv)
        tasks = tasks_of(tree.root.graph, [own.graph if own else None for own in tree.leaves],
                         result.visits)
    print(f"tree: accuracy {100 * result.accuracy:.2f} % of {len(xv)} images (root "
          f"{100 * result.root_accuracy:.2f} %), visits "
          f"{[round(part, 3) for part in result.visits]} (measured)", flush=True)
    mean = 1e6 * BOARD.clock_mhz * sum(task.seconds * task.visits for task in tasks)
    width = nearest(leaf, classes, mean)
    single = leaf.of(width)(classes)
    with pt.Learner(begun(single, x, y), **made) as learner:
        learner.fit(x, y, epochs=options.epochs, progress=False)
        one_accuracy = learner.evaluate(xv, yv).accuracy
    return {"data": options.data or "digits", "images": len(x), "tested": len(xv),
            "epochs": options.epochs, "float_epochs": options.float_epochs,
            "batch": options.batch, "lr": options.lr, "seed": options.seed, "groups": groups,
            "accuracy": result.accuracy, "root_accuracy": result.root_accuracy,
            "visits": result.visits, "tree_cycles": mean, "tasks": [vars(task) for task in tasks],
            "one": list(width), "one_accuracy": one_accuracy, "one_cycles": costs(single)[0],
            "image_bytes": int(np.prod(shape)) if x.dtype == np.uint8 else map_bytes(shape, 1)}


def accuracy_text(found: dict[str, Any]) -> str:
    """Return the accuracies of tree and one network, and the bar, as text."""
    below = 100 * (found["one_accuracy"] - found["accuracy"])
    off = 100 * (found["one_cycles"] / found["tree_cycles"] - 1)
    return (f"{found['data']}, {found['images']} images, {found['float_epochs']} epochs in "
            f"float32 and {found['epochs']} on the engine, tested on {found['tested']}: tree "
            f"{100 * found['accuracy']:.2f} %, one network {found['one']} "
            f"{100 * found['one_accuracy']:.2f} % (measured); "
            f"{found['one_cycles']:,} forward cycles against {found['tree_cycles']:,.0f} of the "
            f"tree in the mean (predicted, {off:+.1f} %); the tree is {below:+.2f} points below, "
            f"bar of {ACCURACY_BAR:g} point at {CYCLES_BAR:g} % of cycles: "
            f"{verdict(below <= ACCURACY_BAR and abs(off) <= CYCLES_BAR)}")


def main() -> None:
    """Train, place, simulate and print."""
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", help="an .npz file (default: scikit-learn's digits)")
    p.add_argument("--groups", type=int, default=4)
    p.add_argument("--float-epochs", type=int, default=9, help="with PyTorch, before the engine's")
    p.add_argument("--epochs", type=int, default=1, help="on the engine")
    p.add_argument("--images", type=int, help="training images at most")
    p.add_argument("--tested", type=int, help="test images at most")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--lr", type=float, default=0.05)
    p.add_argument("--depth", type=int, default=2, help="convolutions before each pooling")
    p.add_argument("--root", type=int, nargs=2, default=ROOT, help="channels of the root")
    p.add_argument("--leaf", type=int, nargs=2, default=LEAF, help="channels of the leaves")
    p.add_argument("--per-message", type=int, default=256, help="images of a message")
    p.add_argument("--board", default="golden", help="what trains")
    p.add_argument("--host-ms", type=float, help="per message (default: measured)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--trained", type=Path, help="a file of --json, instead of a training")
    p.add_argument("--json", type=Path)
    options = p.parse_args()

    def keep(found: dict[str, Any]) -> None:
        if options.json:
            options.json.write_text(json.dumps(found, indent=2) + "\n")

    found = json.loads(options.trained.read_text()) if options.trained else trained(options)
    keep(found)
    print(accuracy_text(found), flush=True)
    tasks, image = [Task(**one) for one in found["tasks"]], found["image_bytes"]
    if options.host_ms is None:
        cost = message_costs([(options.per_message, image)])[0]
        host_ms, source = cost.a9_ms, f"{cost.nb:.3f} nb measured, x 140 ms"
    else:
        host_ms, source = options.host_ms, "given"
    found["rows"] = []
    for text in LINKS:
        setting = Setting(Link.parse(text), host_s=host_ms / 1e3)
        best, row = compare(tasks, setting, image, options.per_message, options.seed)
        found["rows"].append({"link": text, "host_ms": host_ms,
                              "per_message": options.per_message, **row})
        less = [row["device_energy_less_pct"], row["device_memory_less_pct"]]
        print(f"{text}, host {host_ms:.2f} ms per message ({source}) of {options.per_message} "
              f"images of {image} bytes\n{best.text()}\n"
              f"  {row['gain_simulated']:.2f} times the frames of one board (simulated), bar of "
              f"{FRAMES_BAR}: {verdict(row['gain_simulated'] >= FRAMES_BAR)}\n"
              f"  per device {less[0]:.1f} % less energy (estimated), bar of {ENERGY_BAR:g} %: "
              f"{verdict(less[0] >= ENERGY_BAR)}; {less[1]:.1f} % less memory (predicted), bar of "
              f"{MEMORY_BAR:g} %: {verdict(less[1] >= MEMORY_BAR)}\n"
              f"  all boards {row['swarm_energy_more_pct']:+.1f} % energy, median latency "
              f"{1e3 * row['latency_s']:.0f} ms (simulated)", flush=True)
    keep(found)


if __name__ == "__main__":
    main()
