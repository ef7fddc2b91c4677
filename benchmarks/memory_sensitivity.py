"""Cycles of a training step on memories that take fewer bursts or answer later, counted by the RTL.

    python -m benchmarks.memory_sensitivity                 # the table of docs/performance.md
    python -m benchmarks.memory_sensitivity 1x:4 ds_cnn_s:1 # other networks and mini-batches
    python -m benchmarks.memory_sensitivity --stored        # from stored counts, no simulation

Counts are kept in ``benchmarks/sensitivity.json`` as they are made, so that an interrupted run goes
on where it stopped (``--again`` counts anew). ``--write`` puts the table into docs/performance.md.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pynq_train.backends.vboard import VirtualBoardBackend
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.layers.fuse import FusedLayer, fuse
from pynq_train.layers.init import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.predict import predict

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
STORED = ROOT / "benchmarks" / "sensitivity.json"
BEGIN = "<!-- Written by \"python -m benchmarks.memory_sensitivity --write\". Do not edit. -->\n"
END = "<!-- End of what it wrote. -->\n"
NETS = ("1x:16", "resnet20:4", "ds_cnn_s:4")
"""Networks of the table, each with its mini-batch."""
BOARD = BOARDS["pynq-z2"]
OUTSTANDING = (8, 4, 2)
LATENCIES = (40, 70, 100)
INPUT_RANGE = 2

Counts = dict[str, dict[str, dict[str, int]]]
"""Network and mini-batch, memory, then ``counted`` and ``predicted`` cycles."""


def memory_key(outstanding: int, latency: int) -> str:
    """Return the name of a memory in the stored counts."""
    return f"outstanding {outstanding}, latency {latency}"


def stored() -> Counts:
    """Return the counts that are kept; empty if there are none."""
    if not STORED.exists():
        return {}
    values: Counts = json.loads(STORED.read_text(encoding="utf-8"))
    return values


def count_step(plan: Plan, layers: tuple[FusedLayer, ...], timing: MemoryTiming) -> int:
    """Return the cycles of one training step on random images, on a memory of ``timing``."""
    masters = {name: Masters.of(p) for name, p in init_params(layers, 0).items()}
    draw = np.random.default_rng(0)
    images = draw.standard_normal((plan.batch, *layers[0].in_shape)).astype(np.float32)
    labels = draw.integers(0, plan.classes, plan.batch)
    with VirtualBoardBackend(plan.board, plan.memory.nbytes, timing=timing) as backend:
        session = Session(plan, backend, masters, new_policy(plan, masters, INPUT_RANGE))
        return session.train_step(images, labels, SgdStep(0.01, 0.9, 0.0)).cycles


def count(net: str, counts: Counts, *, again: bool) -> None:
    """Count the cycles of ``net`` (``NAME:BATCH``) on every memory, and keep each count at once."""
    name, _, batch = net.partition(":")
    runs = counts.setdefault(net, {})
    missing = [(n, latency) for latency in LATENCIES for n in OUTSTANDING
               if again or memory_key(n, latency) not in runs]
    if not missing:
        return
    layers = fuse(zoo.get(name))
    plan = make_plan(layers, int(batch), BOARD)
    for outstanding, latency in missing:
        timing = MemoryTiming(bytes_per_cycle=BOARD.dram_bytes_per_cycle,
                              read_latency_cycles=latency, outstanding_bursts=outstanding)
        runs[memory_key(outstanding, latency)] = {
            "counted": count_step(plan, layers, timing),
            "predicted": predict(plan, plan.train, timing).cycles}
        STORED.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
        print(f"{net}, {memory_key(outstanding, latency)}: "
              f"{runs[memory_key(outstanding, latency)]}", file=sys.stderr, flush=True)


def rows(counts: Counts, nets: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of the table: cycles, and their excess over the memory that takes most."""
    yield "| net | batch | latency | " + " | ".join(f"{n} outstanding" for n in OUTSTANDING) + " |"
    yield "|---" * (3 + len(OUTSTANDING)) + "|"
    for net in nets:
        runs = counts[net]
        base = runs[memory_key(OUTSTANDING[0], LATENCIES[0])]["counted"]
        for latency in LATENCIES:
            cells = []
            for outstanding in OUTSTANDING:
                run = runs[memory_key(outstanding, latency)]
                error = run["predicted"] / run["counted"] - 1
                cells.append(f"{run['counted']:,} ({run['counted'] / base - 1:+.1%}; model "
                             f"{error:+.1%})")
            name, _, batch = net.partition(":")
            yield f"| {name} | {batch} | {latency} | " + " | ".join(cells) + " |"


def table(counts: Counts, nets: tuple[str, ...] = NETS) -> str:
    """Return the table in Markdown."""
    return "\n".join(rows(counts, nets)) + "\n"


def page(text: str, counts: Counts) -> str:
    """Return ``text`` with the table of the standard networks between its two marks."""
    head, _, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE} does not hold the lines\n{BEGIN}{END}")
    return f"{head}{BEGIN}\n{table(counts)}\n{END}{tail}"


def main() -> int:
    """Count what is missing, print the table and, with ``--write``, put it into the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("nets", nargs="*", metavar="NET:BATCH", help=f"default: {' '.join(NETS)}")
    parser.add_argument("--stored", action="store_true", help="print what is stored, count nothing")
    parser.add_argument("--again", action="store_true", help="count what is stored anew")
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    args = parser.parse_args()
    nets = tuple(args.nets) or NETS
    for net in nets:
        name, _, batch = net.partition(":")
        if name not in zoo.names() or not batch.isdigit() or not int(batch):
            parser.error(f"expected a network of the zoo and a mini-batch, NET:BATCH, found {net}")
    counts = stored()
    if not args.stored:
        for net in nets:
            count(net, counts, again=args.again)
    print(table(counts, nets), end="")
    if args.write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), counts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
