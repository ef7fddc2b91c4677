"""One training step of the '1X' network: the golden backend against PyTorch float32 on the CPU.

Run: ``python benchmarks/golden_speed.py [--batch 128] [--repeats 7]``. PyTorch is optional; with it
the ratio is printed too. Both take turns, and the fastest of the repeats counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np

from pynq_train.backends import open_backend
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.layers.fuse import fuse
from pynq_train.layers.init import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.plan import make_plan

CONVOLUTIONS = ((3, 16, False), (16, 16, True), (16, 32, False), (32, 32, True),
                (32, 64, False), (64, 64, True))
"""Of '1X' in PyTorch: input channels, output channels, pooled."""
FEATURES, CLASSES, INPUT_RANGE = 1024, 10, 2


def golden_step(batch: int, rng: np.random.Generator) -> Callable[[], None]:
    """Return a function that runs one training step on golden, from images to new weights."""
    layers = fuse(zoo.get("1x"))
    plan = make_plan(layers, batch, BOARDS["pynq-z2"])
    masters = {name: Masters.of(params) for name, params in init_params(layers, 0).items()}
    backend = open_backend("golden", plan.memory.nbytes)
    backend.open()
    session = Session(plan, backend, masters, new_policy(plan, masters, INPUT_RANGE))
    images = rng.standard_normal((batch, *layers[0].in_shape)).astype(np.float32)
    labels = rng.integers(0, CLASSES, batch)

    def step() -> None:
        """Run one training step on golden."""
        session.train_step(images, labels, SgdStep(lr=0.01, momentum=0.9, decay=5e-4))

    return step


def torch_step(batch: int) -> Callable[[], None] | None:
    """Return a function that runs one training step in PyTorch; None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    from torch import nn

    layers: list[nn.Module] = []
    for n, m, pool in CONVOLUTIONS:
        layers += [nn.Conv2d(n, m, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(FEATURES, CLASSES))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(0, CLASSES, (batch,))

    def step() -> None:
        """Run one training step in PyTorch."""
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()

    return step


def main() -> int:
    """Measure both by turns and print milliseconds and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    steps = {"golden": golden_step(args.batch, np.random.default_rng(1)),
             "torch": torch_step(args.batch)}
    best = {name: float("inf") for name, step in steps.items() if step}
    for repeat in range(args.repeats + 2):
        for name, step in steps.items():
            if step is None:
                continue
            start = time.perf_counter()
            step()
            if repeat >= 2:
                best[name] = min(best[name], time.perf_counter() - start)
    for name, seconds in best.items():
        sys.stdout.write(f"{name}: {seconds * 1e3:.1f} ms per step of {args.batch} images\n")
    if "torch" in best:
        sys.stdout.write(f"golden / torch: {best['golden'] / best['torch']:.2f} (bar: 5)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
