"""The command split: a network over several boards, what each split costs, which is best."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pynq_train.cli.commands import network, write_json
from pynq_train.cli.figures import engine_board
from pynq_train.errors import BadInput
from pynq_train.files import parse_json, read_bytes
from pynq_train.fleet.link import Link
from pynq_train.fleet.power import GACOIN, Power
from pynq_train.fleet.simulation.pipeline import Failures, Pipeline
from pynq_train.fleet.simulation.simulate import MOST_BOARDS, need_simpy, simulate
from pynq_train.fleet.splits import paper
from pynq_train.fleet.splits.picture import draw_splits, need_matplotlib
from pynq_train.fleet.splits.report import Accuracies, Report, make_report
from pynq_train.fleet.splits.search import OBJECTIVES, Searcher
from pynq_train.fleet.splits.split import Setting
from pynq_train.hw.boards import BOARDS, Board

DEVICES = 2
LINK = "100mbit"
JOULES_PER_WH = 3600.0
NOTICE_S, REPAIR_S = 2.0, 60.0
"""Simulated seconds until a dead board is noticed, and until its pipeline runs again."""


def add_options(p: argparse.ArgumentParser, count: Callable[[str], int],
                number: Callable[[str], float], nets: str) -> None:
    """Add the options of the command.

    Args:
        p: its parser.
        count: reads an integer of 1 or more.
        number: reads a number.
        nets: names of the networks of the zoo.
    """
    p.add_argument("net", nargs="?", metavar="NET",
                   help=f"a network of the zoo ({nets}), a saved model, or an ONNX file")
    p.add_argument("--paper", action="store_true",
                   help="print Gacoin's tables, recomputed from its own measurements, instead")
    p.add_argument("--devices", type=count, default=None, metavar="N",
                   help=f"boards (default: {DEVICES}, or as many as --board names)")
    p.add_argument("--board", default="pynq-z2", metavar="BOARD", help="kind of all boards, or "
                   "one for each in the order of the pipeline, with commas between: "
                   f"{', '.join(sorted(BOARDS))}")
    p.add_argument("--ways", type=count, default=1, metavar="N",
                   help="try a horizontal split too: N branches of the first layers; 1: none")
    p.add_argument("--after", metavar="EDGES", help="operations, or blocks of them, behind "
                   "which the network is cut, with commas between (default: the best are searched)")
    p.add_argument("--batch", type=count, default=1, metavar="N", help="images of a frame")
    p.add_argument("--link", default=LINK, metavar="LINK", help="rate and latency between boards, "
                   "such as 100mbit, 11MB/s or 1gbit,0.3ms, or a JSON file of 'fleet bench'")
    p.add_argument("--host-ms", type=number, default=0.0, metavar="MS",
                   help="time of a board's processor for a message, sent or taken")
    p.add_argument("--power", metavar="W,W", help="watts of a board while it computes and while "
                   "it is idle, perhaps a third while it handles a message (default: "
                   f"{GACOIN.compute_w:g},{GACOIN.idle_w:g}, {GACOIN.source})")
    p.add_argument("--battery", type=number, metavar="WH", help="watt-hours of each board")
    p.add_argument("--objective", choices=OBJECTIVES, default=OBJECTIVES[0],
                   help="what is best: images until the first battery is empty, images a second, "
                   "time of a frame, energy of all boards")
    p.add_argument("--accuracy", type=number, metavar="A",
                   help="accuracy of the network, 0 to 1, for the column P")
    p.add_argument("--split-accuracy", type=number, metavar="A",
                   help="accuracy of the network with branches")
    p.add_argument("--simulate", type=count, metavar="FRAMES",
                   help="simulate the best split, or that of --after, with so many frames")
    p.add_argument("--fleet", type=count, metavar="N", help="boards that are simulated, up to "
                   f"{MOST_BOARDS}: as many pipelines as that makes (default: one pipeline)")
    p.add_argument("--interval-ms", type=number, default=0.0, metavar="MS",
                   help="simulated time from one frame to the next; 0: the next one is there")
    p.add_argument("--mtbf", type=number, metavar="S",
                   help="mean simulated time until a board fails (default: never)")
    p.add_argument("--repair", type=number, default=REPAIR_S, metavar="S",
                   help="simulated time from a failure until the pipeline runs again")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="names the failures")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    p.add_argument("--picture", type=Path, metavar="FILE",
                   help="draw stage times, link times and energy per device (PNG)")
    p.set_defaults(run=split)


def split(options: argparse.Namespace) -> int:
    """Run ``pynq-train split``: search splits, print them; return the exit code."""
    _check(options)
    power = GACOIN if options.power is None else Power.parse(options.power)
    if options.paper:
        print(paper.table(power))
        return _written(options, paper.to_dict(power))
    setting = Setting(_link(options.link), power, options.host_ms / 1e3)
    boards = _boards(options)
    accuracies = Accuracies(options.accuracy, options.split_accuracy)
    graph = network(options.net)
    after = tuple(name for name in (options.after or "").split(",") if name)
    with tqdm(total=None, unit="segment", desc="split", delay=0.5, leave=False,
              dynamic_ncols=True) as bar:
        def show(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        searcher = Searcher(graph, boards, setting, options.batch, show)
        report = make_report(
            graph.name, searcher, ways=options.ways, after=after, objective=options.objective,
            accuracies=accuracies,
            battery_j=None if options.battery is None else JOULES_PER_WH * options.battery)
    print(report.text())
    values = report.to_dict()
    if options.simulate:
        values["simulation"] = _simulate(options, report)
    if options.picture:
        draw_splits(options.picture, report)
        print(f"drawn to {options.picture}")
    return _written(options, values)


def _simulate(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Simulate a split; print and return what it does."""
    chosen = report.rows[-1].split if options.after else report.best
    if chosen is None:
        raise BadInput("--simulate", expected="a split that fits its boards", found="none")
    pipeline = Pipeline.of(chosen)
    copies = 1 if options.fleet is None else options.fleet // pipeline.boards
    if not copies:
        raise BadInput("--fleet", expected=f"{pipeline.boards} boards or more, as the split has",
                       found=options.fleet)
    failures = None
    if options.mtbf is not None:
        failures = Failures(options.mtbf, NOTICE_S, options.repair, options.seed)
    battery = None if options.battery is None else JOULES_PER_WH * options.battery
    found = simulate(pipeline, options.simulate, copies=copies,
                     interval_s=options.interval_ms / 1e3, failures=failures, battery_j=battery)
    print(f"{copies} x {chosen.kind}, {pipeline.queue} messages a connection, host "
          f"{1e3 * pipeline.host_s:g} ms per message")
    print(found.text())
    return {"pipelines": copies, "kind": chosen.kind, "queue": pipeline.queue,
            "host_s_per_message": pipeline.host_s, **found.to_dict()}


def _check(options: argparse.Namespace) -> None:
    """Refuse what can be refused before anything is reckoned."""
    if options.paper and (options.net not in (None, paper.NETWORK) or options.picture):
        raise BadInput(f"--paper has measurements of its own, of {paper.NETWORK}",
                       fix="leave network and --picture out")
    if not options.paper and not options.net:
        raise BadInput("split", expected="a network, or --paper", found="neither")
    if options.simulate:
        need_simpy()
    elif options.fleet or options.mtbf is not None or options.interval_ms:
        raise BadInput("--fleet, --interval-ms and --mtbf are for simulations",
                       fix="add --simulate FRAMES")
    if options.picture:
        need_matplotlib()
    for name, path in (("--json", options.json), ("--picture", options.picture)):
        if path and not path.parent.is_dir():
            raise BadInput(f"folder {str(path.parent)!r} does not exist",
                           fix=f"create it, or choose another {name}")


def _link(text: str) -> Link:
    """Return the link of a text, or of a file of measurements."""
    if not text.endswith(".json"):
        return Link.parse(text)
    try:
        return Link.slowest(parse_json(read_bytes(Path(text), "file")))
    except ValueError as error:
        raise BadInput(f"{text!r} is not JSON ({error})") from None


def _boards(options: argparse.Namespace) -> tuple[Board, ...]:
    """Return the boards in the order of the pipeline."""
    names = [name.strip() for name in options.board.split(",")]
    named = tuple(engine_board(name) for name in names)
    if len(named) == 1:
        return named * (options.devices or DEVICES)
    if options.devices is not None and options.devices != len(named):
        raise BadInput("--devices", expected=f"{len(named)}, as many as --board names",
                       found=options.devices, fix="leave --devices out")
    return named


def _written(options: argparse.Namespace, values: dict[str, Any]) -> int:
    """Write the JSON file if one is asked for; return the exit code."""
    if options.json:
        write_json(options.json, values)
        print(f"written to {options.json}")
    return 0
