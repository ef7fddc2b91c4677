"""Cycles of one training step, counted by the RTL's counters on a virtual board.

    python benchmarks/step_cycles.py 1x --batch 4
    python benchmarks/step_cycles.py 1x --batch 1 --latency 100

Prints cycles, array use, stalls and the prediction of the cycle model beside the count, and the
simulated cycles per second of processor time.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import time

import numpy as np

from pynq_train.backends.vboard import VirtualBoardBackend
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.layers.fuse import fuse
from pynq_train.layers.init import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.predict import predict

INPUT_RANGE = 2


def main() -> None:
    """Count one training step of the network that the command line names, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("net", choices=zoo.names())
    parser.add_argument("--board", default="pynq-z2", choices=sorted(BOARDS))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--latency", type=int, default=40, help="memory latency in cycles")
    args = parser.parse_args()
    graph, board = zoo.get(args.net), BOARDS[args.board]
    layers = fuse(graph)
    plan = make_plan(layers, args.batch, board)
    masters = {name: Masters.of(p) for name, p in init_params(layers, 0).items()}
    draw = np.random.default_rng(0)
    images = draw.standard_normal((args.batch, *layers[0].in_shape)).astype(np.float32)
    labels = draw.integers(0, plan.classes, args.batch)
    timing = MemoryTiming(bytes_per_cycle=board.dram_bytes_per_cycle,
                          read_latency_cycles=args.latency)
    with VirtualBoardBackend(board, plan.memory.nbytes, timing=timing) as backend:
        session = Session(plan, backend, masters, new_policy(plan, masters, INPUT_RANGE))
        session.counters = True
        began = time.process_time()
        outcome = session.train_step(images, labels, SgdStep(lr=0.01, momentum=0.9, decay=0.0))
        seconds = time.process_time() - began
    cycles, counters = outcome.cycles, outcome.counters
    macs = args.batch * sum(
        layer.macs_per_image * (2 if index == 0 else 3) for index, layer in enumerate(layers))
    predicted = predict(plan, plan.train).cycles
    multipliers = board.config.multipliers
    print(f"{args.net}, batch {args.batch}, {board.name}, memory latency {args.latency} cycles")
    print(f"cycles of the step {cycles}, per image {cycles / args.batch:.0f} = "
          f"{cycles / args.batch / 1e5:.3f} ms at 100 MHz")
    print(f"array use {macs / multipliers / cycles:.3f} ({macs} multiply-adds, {multipliers} "
          f"multipliers, all cycles of the step)")
    print(f"predicted {predicted}, error {100 * (predicted - cycles) / cycles:+.1f} %")
    print(", ".join(f"{name} {counters[name]}" for name in (
        "busy_cycles", "stall_x", "stall_s", "stall_acc", "stall_gap", "drain_cycles")))
    print(f"simulated {cycles / seconds:.0f} cycles per second of processor time")


if __name__ == "__main__":
    main()
