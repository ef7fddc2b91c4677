"""What each rung of adaptation takes on a board: cycles and bytes, predicted and planned.

    python -m benchmarks.rungs
    python -m benchmarks.rungs --nets mobilenet_v1_025 --rungs da3 skip-lora

Prints a Markdown table for each network: of one step, of 20 epochs of 50 images, from a cache where
something is frozen in front, and of the tensors that training needs beside an inference.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse

import pynq_train as pt
from pynq_train.adaptation import EPOCHS, LADDER, course_of
from pynq_train.errors import BadInput
from pynq_train.schedule.memory_use import training_memory

NETS = ("resnet20", "mobilenet_v1_025")
IMAGES, BATCH = 50, 8


def row(net: str, rung: str, board: str, everything: int) -> str:
    """Return the row of a rung; ``everything``: bytes of training all, a place for each map."""
    learner = pt.Learner(net, board=board, batch=BATCH, trainable=rung)
    steps = EPOCHS * (IMAGES // BATCH)
    whole, plan = course_of(learner.plan, IMAGES, steps), learner.plan
    cells = [f"`{rung}`", f"{whole.step_cycles:,}", "", f"{whole.cycles / 1e6:,.1f}", "", ""]
    use = training_memory(plan)
    try:
        plan = learner.plan_cache()
    except BadInput:
        cached = None
    else:
        cached = course_of(plan, IMAGES, steps)
    if cached is not None and cached.cycles >= whole.cycles:
        cached = None  # nearly everything runs in each step, as an adaptation finds, too
    if cached is not None:
        cells[2], cells[4] = f"{cached.step_cycles:,}", f"{cached.cycles / 1e6:,.1f}"
        cells[5] = f"{cached.cache_bytes:,}"
    more = use.turns.tensors - use.inference.tensors
    cells += [f"{more:,}", f"{everything / more:,.1f}"]
    if cached is not None:
        use = training_memory(plan)
        more = use.turns.tensors - use.inference.tensors + cached.cache_bytes
    cells.append("" if cached is None else f"{everything / more:,.1f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the tables that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--board", default="pynq-z2")
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--rungs", nargs="+", default=LADDER, choices=LADDER)
    args = parser.parse_args()
    for net in args.nets:
        use = training_memory(pt.Learner(net, board=args.board, batch=BATCH).plan)
        everything = use.apart.tensors - use.inference.tensors
        print(f"\n{net}, everything with a place for each map: {everything:,} bytes\n")
        print("| rung | cycles a step | from a cache | all steps, million cycles | from a cache | "
              "cache, bytes | training, bytes | less | with the cache |\n"
              "|---|---|---|---|---|---|---|---|---|")
        for rung in args.rungs:
            print(row(net, rung, args.board, everything), flush=True)


if __name__ == "__main__":
    main()
