"""The commands bench and plan: cycles of networks, counted by the RTL or predicted."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pynq_train.backends.names import backend_names, board_of
from pynq_train.bench import Result, bench_layer_list, bench_layers, bench_step
from pynq_train.bench.roofline import draw, measured_points, need_matplotlib, points
from pynq_train.cli.commands import adapted, is_file_name, network, write_json
from pynq_train.cli.versus import EF_TRAIN, check_engine_options, versus
from pynq_train.cycles import model
from pynq_train.errors import BadInput, UnknownName
from pynq_train.files import parse_json, read_bytes
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.resources import resources
from pynq_train.layers import fuse, layer_lists
from pynq_train.schedule.freeze_report import freeze_report
from pynq_train.schedule.memory_use import training_memory
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.predict import predict
from pynq_train.schedule.report import (
    PlanRow,
    list_rows,
    list_table,
    plan_rows,
    table,
)
from pynq_train.schedule.specs.trainable import select

BENCH_BATCH = {"1x": 128, "lenet5": 32, "resnet20-conv": 16, "vgg16-conv": 2,
               "alexnet-conv": 16, "resnet20": 16, "mobilenet_v1_025": 16, "ds_cnn_s": 16}
"""Mini-batches of benchmarks; 1 for other networks."""
WHOLE_LISTS = frozenset({"resnet20-conv"})
"""Layer lists that run as one program; the others run pass by pass, with fewer repetitions."""
_PLAN_BATCH = 32
_SOON = 2.0
"""Seconds behind which a bar shows how far a prediction is."""
STDOUT = Path("-")


def bench(options: argparse.Namespace) -> int:
    """Run ``pynq-train bench``: one training step, or layers by themselves, on the RTL."""
    check_network_name(options.net)
    check_engine_options(options)
    if options.momentum is None:
        options.momentum = 0.0 if options.engine == EF_TRAIN else 0.9
    board = engine_board(options.board)
    batch = options.batch or BENCH_BATCH.get(options.net, 1)
    if not 0 <= options.momentum < 1:
        raise BadInput("momentum", expected="a number of at least 0 and below 1",
                       found=options.momentum)
    if options.json and not options.json.parent.is_dir():
        raise BadInput(f"folder {str(options.json.parent)!r} does not exist",
                       fix="create it, or choose another --json")
    if options.engine == EF_TRAIN:
        return versus(options, board, batch, options.momentum)
    result = _bench(options, board, batch)
    print(result.table())
    if options.json:
        write_json(options.json, result.to_dict())
        print(f"written to {options.json}")
    return 0


def _bench(options: argparse.Namespace, board: Board, batch: int) -> Result:
    names = tuple(name for name in (options.layers or "").split(",") if name)
    listed = options.net in layer_lists.names()
    if not listed and not names:
        return bench_step(network(options.net), batch, board, latency=options.latency,
                          momentum=options.momentum)
    layers = layer_lists.get(options.net) if listed else fuse(network(options.net))
    if listed and not names and options.net in WHOLE_LISTS and not options.by_pass:
        return bench_layer_list(options.net, layers, batch, board, latency=options.latency,
                           momentum=options.momentum)
    with tqdm(total=None, unit="pass", desc="bench", delay=0.5, dynamic_ncols=True) as bar:
        def show(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        return bench_layers(options.net, layers, batch, board, only=names,
                            latency=options.latency, momentum=options.momentum, progress=show)


def plan(options: argparse.Namespace) -> int:
    """Run ``pynq-train plan``: print what a network would need and take on a board."""
    check_network_name(options.net)
    board = board_of(options.board)
    if options.measured and not options.roofline:
        raise BadInput("--measured gives the points of a picture", fix="add --roofline FILE.png")
    if options.roofline:
        need_matplotlib()
    listed = options.net in layer_lists.names()
    if listed and options.trainable is not None:
        raise BadInput(f"--trainable with the layer list {options.net!r}", expected="a network",
                       fix="leave --trainable out: a layer list is never frozen")
    if listed and options.cache:
        raise BadInput(f"--cache with the layer list {options.net!r}", expected="a network",
                       fix="leave --cache out: a layer list is never frozen")
    batch = options.batch or (BENCH_BATCH.get(options.net, 1) if listed else _PLAN_BATCH)
    if listed:
        rows = list_rows(layer_lists.get(options.net), batch, board)
        text, values = list_table(options.net, rows, board, batch), _list_json(
            options.net, rows, board, batch)
    else:
        graph, trainable = adapted(network(options.net), options.trainable)
        layers = fuse(graph)
        made = make_plan(layers, batch, board, trainable=select(layers, trainable),
                         cache=options.cache)
        _predict(made)
        # Only what is shown: text and values take a while.
        text = "" if options.json == STDOUT else f"{graph.summary()}\n{table(made)}"
        shows = options.json or options.roofline
        rows = plan_rows(made) if shows else ()
        values = _plan_json(graph.name, rows, made) if shows else {}
    if options.json == STDOUT:
        print(json.dumps(values, indent=2))
    else:
        print(text)
        if options.json:
            write_json(options.json, values)
    if options.roofline:
        shown = points(rows)
        if options.measured:
            shown = measured_points(shown, read_json(options.measured), values["net"], board,
                                    batch)
        draw(options.roofline, f"{values['net']}, batch {batch}", shown, board)
    return 0


def _predict(made: Plan) -> None:
    """Predict a plan's programs, which it keeps; show a bar where that takes long."""
    from tqdm import tqdm

    programs = made.train, made.evaluate, *([made.cached] if made.cached else [])
    # What is built for the first prediction is said before there is a bar.
    model(max(map(len, programs)), lambda text: print(f"pynq-train: {text}", file=sys.stderr))
    with tqdm(total=sum(map(len, programs)), desc=f"predicting {made.board.name}", delay=_SOON,
              unit="descriptor", leave=False, disable=None) as bar:  # None: none without a terminal
        for descriptors in programs:
            predict(made, descriptors, retired=bar.update)


def _plan_json(net: str, rows: tuple[PlanRow, ...], made: Plan) -> dict[str, Any]:
    run = predict(made, made.train)
    return {
        "net": net, "board": made.board.name, "batch": made.batch,
        "arena_bytes": made.memory.nbytes, "bytes_by_kind": made.memory.bytes_by_kind(),
        "memory": training_memory(made).to_dict(),
        "training_step": {
            "cycles": run.cycles, "ms_per_image": run.ms_per_image,
            "array_use": run.utilisation, "bytes_read": run.bytes_read,
            "bytes_written": run.bytes_written},
        "cached_step": ({"cycles": predict(made, made.cached).cycles} if made.cached else None),
        "freeze_report": freeze_report(made, run.cycles).to_dict(),
        "resources": _resources_json(made.board),
        "rows": [row.to_dict() for row in rows],
        "descriptors": [{
            "layer": made.specs[descriptor.layer].name, "role": descriptor.role.value,
            "cycles": descriptor.cost.cycles if descriptor.cost else None,
            "limit": descriptor.cost.limit if descriptor.cost else None}
            for descriptor in made.train]}


def _list_json(net: str, rows: tuple[PlanRow, ...], board: Board, batch: int) -> dict[str, Any]:
    return {"net": net, "board": board.name, "batch": batch,
            "cycles": sum(row.cycles for row in rows), "resources": _resources_json(board),
            "rows": [row.to_dict() for row in rows]}


def _resources_json(board: Board) -> dict[str, Any]:
    found = resources(board.config)
    return {"config": board.config.name, "dsp": found.dsp, "bram36": found.bram36,
            "budget": {"dsp": board.budget.dsp, "bram36": board.budget.bram36},
            "bram36_by_memory": {memory.name: memory.bram36 for memory in found.memories}}


def check_network_name(net: str) -> None:
    """Raise :class:`UnknownName` unless ``net`` is a network, a layer list or a saved model."""
    known = (*zoo.names(), *layer_lists.names())
    if net not in known and not is_file_name(net):
        raise UnknownName.among("network", net, known)


def engine_board(name: str) -> Board:
    """Return the board whose RTL is run; ``virtual:`` in front of its name changes nothing.

    Raises:
        UnknownName: no board, or golden, which has no clock.
    """
    board = BOARDS.get(name.removeprefix("virtual:"))
    if board is None:
        raise UnknownName.among("board", name, (n for n in backend_names() if n != "golden"))
    return board


def read_json(path: Path) -> Any:
    """Read a JSON object.

    Raises:
        BadInput: there is no such file, or it is none.
    """
    try:
        values = parse_json(read_bytes(path, "file"))
    except ValueError as error:
        raise BadInput(f"{str(path)!r} is not JSON ({error})") from None
    if not isinstance(values, dict):
        raise BadInput(f"{str(path)!r}", expected="a JSON object", found=type(values).__name__)
    return values
