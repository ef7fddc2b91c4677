"""Best cuts by the cycle model against the best by cycles that the RTL counts.

    python -m benchmarks.splits
    python -m benchmarks.splits resnet20 mobilenet_v1_025 --boards 2 3 4 --json splits.json

The same search runs twice: once with predicted cycles of segments, once with those that the RTL of
a virtual board counts for the same descriptors. Links take no time, so that cycles alone decide.
For every segment of either best split both figures are printed.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pynq_train.backends import RunRequest
from pynq_train.bench.rtl import Rtl
from pynq_train.fleet.splits.costs import SegmentCosts
from pynq_train.fleet.splits.search import Searcher
from pynq_train.fleet.splits.split import Setting, Split
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.schedule.lower.program import ProgramImage
from pynq_train.schedule.predict import estimate

NETS = ("resnet20", "mobilenet_v1_025")
MOST_BOARDS = (2, 3, 4)


class CountedCosts(SegmentCosts):
    """Segments whose cycles the RTL counts; tensors keep what the memory held before."""

    rtl: Rtl

    def run(self, program: ProgramImage) -> int:
        """Return the cycles that the RTL counts for a program, with a step block of zeros."""
        plan, memory = self.plan, self.plan.memory
        backend = self.rtl.open(memory.nbytes)
        backend.write(memory[f"{program.name}.program"].offset, program.program)
        backend.write(memory[f"{program.name}.taps"].offset, program.taps)
        backend.write(memory["step_block"].offset, bytes(memory["step_block"].nbytes))
        return backend.run(RunRequest(
            memory[f"{program.name}.program"].offset, program.count,
            memory["step_block"].offset, estimate(plan, program.descriptors))).cycles


def compare(net: str, boards: int, predicted: Searcher, counted: Searcher) -> dict[str, Any]:
    """Return the best split of a network by either, with predicted and counted cycles of both."""
    best = {"predicted": predicted.best(boards, "throughput"),
            "counted": counted.best(boards, "throughput")}
    found: dict[str, Any] = {"net": net, "boards": boards,
                             "same": best["predicted"].cut_names == best["counted"].cut_names}
    for kind, split in best.items():
        found[kind] = {"after": list(split.cut_names), "segments": _segments(split, predicted,
                                                                             counted)}
    return found


def _segments(split: Split, predicted: Searcher, counted: Searcher) -> list[dict[str, Any]]:
    """Return predicted and counted cycles of the segments of a split."""
    rows = []
    for stage in split.stages:
        own, true = (one.costs().cycles(stage.first, stage.end) for one in (predicted, counted))
        rows.append({"name": stage.name, "predicted": own, "counted": true,
                     "error_pct": 100 * (own - true) / true})
    return rows


def main() -> None:
    """Compare and print."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("nets", nargs="*", default=NETS, help="networks of the zoo")
    p.add_argument("--boards", type=int, nargs="+", default=MOST_BOARDS)
    p.add_argument("--json", type=Path)
    options = p.parse_args()
    board, rows = BOARDS["pynq-z2"], []
    with Rtl(board) as rtl:
        counted_on = type("CountedOn", (CountedCosts,), {"rtl": rtl})
        for net in options.nets:
            graph = zoo.get(net)
            most = [board] * max(options.boards)
            predicted = Searcher(graph, most, Setting())
            counted = Searcher(graph, most, Setting(), costs_of=counted_on)
            for boards in options.boards:
                row = compare(net, boards, predicted, counted)
                rows.append(row)
                print(f"{net}, {boards} boards: {'the same cut' if row['same'] else 'OTHER CUTS'}")
                for kind in ("predicted", "counted"):
                    print(f"  best by {kind} cycles: after {', '.join(row[kind]['after'])}")
                    for one in row[kind]["segments"]:
                        print(f"    {one['name']}: {one['predicted']} predicted, {one['counted']} "
                              f"counted, {one['error_pct']:+.2f} %", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
