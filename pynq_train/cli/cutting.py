"""``pynq-train verify --cut``: a network in segments against the whole on golden."""

from __future__ import annotations

import argparse
from typing import Any

from tqdm import tqdm

from pynq_train.cli import commands
from pynq_train.errors import BadInput, Mismatch
from pynq_train.fleet.proof import CutReport, boards_with_one, random_cut, verify_cut

RANDOM = "random"
"""Cuts that are drawn: into 2 to 4 segments, where the network has so many edges."""


def verify(options: argparse.Namespace) -> int:
    """Run ``pynq-train verify``; with ``--cut`` compare segments with the whole network.

    Raises:
        BadInput: an option that does not go with ``--cut``, or the network cannot be cut there.
        Mismatch: something differs.
    """
    if options.cut is None:
        return commands.verify(options)
    if options.stalls:
        raise BadInput("--stalls with --cut", expected="one of them", found=options.stalls,
                       fix="leave --stalls out: results are compared here, not memory")
    named = commands.names_of(options.cut)
    boards = commands.names_of(options.board)
    reports: list[CutReport] = []
    with tqdm(total=None, unit="step", desc="verify", dynamic_ncols=True) as bar:
        for graph, batch, seed, trainable in commands.cases(options):
            after = random_cut(graph, seed) if options.cut == RANDOM else named
            on = boards if len(boards) > 1 else boards_with_one(boards[0], len(after) + 1, seed)
            reports.append(verify_cut(graph, after, boards=on, batch=batch, steps=options.steps,
                                      seed=seed, trainable=trainable, progress=bar.update))
            if reports[-1].differences:
                break
    for report in reports if len(reports) <= 10 else reports[-1:]:
        print(report.text())
    print(f"networks: {len(reports)}, segments: {sum(len(r.boards) for r in reports)}, numbers "
          f"compared: {sum(r.compared for r in reports)}, "
          f"mismatches: {sum(r.mismatches for r in reports)}")
    if options.json:
        commands.write_json(options.json, _json(reports, options))
    failed = reports[-1]
    if failed.differences:
        raise Mismatch(f"{failed.net} (seed {failed.seed}) cut after {', '.join(failed.after)}: "
                       f"{failed.differences[0]}",
                       fix="compare each board with golden first: pynq-train verify without --cut")
    return 0


def _json(reports: list[CutReport], options: argparse.Namespace) -> dict[str, Any]:
    return {"net": options.net, "board": options.board, "cut": options.cut,
            "steps": options.steps, "networks": len(reports),
            "numbers_compared": sum(r.compared for r in reports),
            "mismatches": sum(r.mismatches for r in reports),
            "cycles": sum(r.cycles for r in reports), "runs": [r.to_dict() for r in reports]}
