"""Benchmarks of layer lists: every pass of every layer is a program of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pynq_train.bench.attribution import Share
from pynq_train.bench.bounds import bound
from pynq_train.bench.reduce import DEFAULT_CYCLES, Along
from pynq_train.bench.result import STALLS, Result, Row, reached, summed
from pynq_train.bench.rtl import DEFAULT_LATENCY, PassCount, Rtl
from pynq_train.errors import UnknownName
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import Pass
from pynq_train.layers.fuse import FusedLayer
from pynq_train.schedule.standalone import (
    PLACE,
    SHORT_NAME,
    StandalonePass,
    layer_passes,
    standalone_plan,
    standalone_specs,
)

SHARE_OF = {Pass.FORWARD: Share.FP, Pass.BACKWARD: Share.BP, Pass.WEIGHT_GRADIENT: Share.WU}
"""What the cycles of each pass count as."""
Progress = Callable[[str], None]
"""Called with the name of what comes next."""


def bench_layers(net: str, layers: tuple[FusedLayer, ...], batch: int, board: Board, *,
                 only: Sequence[str] = (), latency: int = DEFAULT_LATENCY, momentum: float = 0.9,
                 most_cycles: int = DEFAULT_CYCLES,
                 progress: Progress = lambda name: None) -> Result:
    """Return the cycles of the passes of layers, counted by the RTL.

    Equal passes are run once. The first layer of ``layers`` has no backward pass.

    Args:
        net: name of the list.
        layers: the layers.
        batch: images of the mini-batch.
        board: the board.
        only: names of the layers to run (none: all).
        latency: read latency of the memory in cycles.
        momentum: momentum of the update; masters are plain where it is 0.
        most_cycles: longer passes are run with fewer repetitions; see ``reduce.choose``.
        progress: called with the name of each pass before it runs.

    Raises:
        UnknownName: ``only`` names a layer that is not there.
        DoesNotFit: a layer is too large for the board.
        MissingTool: what a virtual board is built with is not installed.
    """
    names = [layer.name for layer in layers]
    for name in only:
        if name not in names:
            raise UnknownName.among("layer", name, names)
    chosen = [passes for passes in layer_passes(layers, batch, board, momentum > 0)
              if not only or passes[0].layer.name in only]
    arena = max(standalone_plan(standalone).memory.nbytes
                for passes in chosen for standalone in passes)
    known: dict[StandalonePass, PassCount] = {}
    rows: list[Row] = []
    simulated, began = 0, time.process_time()
    with Rtl(board, latency) as rtl:
        rtl.open(arena)
        for passes in chosen:
            counted = []
            for standalone in passes:
                progress(standalone.name)
                key = _nameless(standalone)
                if key not in known:
                    known[key] = rtl.count(standalone, most_cycles)
                    simulated += sum(known[key].runs)
                counted.append(replace(known[key], standalone=standalone))
            rows.append(layer_row(counted))
    seconds = time.process_time() - began
    return Result(net, board, batch, summed("all", rows), tuple(rows), False, latency, momentum,
                  simulated, seconds)


def _nameless(standalone: StandalonePass) -> StandalonePass:
    """Return the pass as a key, which is equal for equal layers of other names."""
    return replace(standalone, layer=replace(standalone.layer, name=""), descriptors=())


def layer_row(counted: Sequence[PassCount]) -> Row:
    """Return the row of a layer, the sum of its passes."""
    rows = [pass_row(one) for one in counted]
    whole = summed(rows[0].name, rows)
    notes: dict[str, object] = {"passes": [dict(row.notes) for row in rows]}
    if counted[0].standalone.layer.groups > 1:
        least = sum(row.notes["bound"]["cycles"] for row in rows)
        notes["bound"] = {"cycles": least, "reached": reached(least, whole.total)}
    return replace(whole, notes=notes)


def pass_row(counted: PassCount) -> Row:
    """Return the row of one pass, with notes on tiles, limit and what was simulated."""
    standalone, counts, reduction = counted.standalone, counted.counts, counted.reduction
    share, images = SHARE_OF[standalone.kind], standalone.batch
    if reduction is not None and reduction.along == Along.IMAGES:
        images = standalone.batch - ((reduction.whole - reduction.long)
                                 * standalone.tiled_passes[0].tile.images)
    stalls = {name: max(counts.counters[name], 0) for name in STALLS}
    use = standalone.macs / (standalone.board.config.multipliers * counts.cycles)
    notes: dict[str, Any] = {
        "pass": SHORT_NAME[standalone.kind], "macs": standalone.macs, "cycles": counts.cycles,
        "utilization": round(use, 5), "predicted_cycles": counted.prediction.cycles,
        "error_pct": round(counted.error_pct, 3),
        "stalls": {name.removeprefix("stall_"): value for name, value in stalls.items()},
        "ddr_bytes": {"read": counts.bytes_read, "write": counts.bytes_written},
        "limit": max((one.cost for one in standalone.descriptors if one.cost),
                     key=lambda cost: cost.cycles).limit,
        "tiles": [{"images": g.tile.images, "rows": g.tile.rows, "cols": g.tile.cols,
                   "chunk": g.tile.chunk} for g in standalone.tiled_passes],
        "extrapolated": reduction is not None, "simulated_images": images,
        "simulated": None if reduction is None else {
            "along": reduction.along.value, "of": reduction.whole,
            "counts": [reduction.short, reduction.long], "cycles": list(counted.runs)},
    }
    if standalone.layer.groups > 1:
        spec = standalone_specs(standalone.layer, standalone.batch, standalone.trained_input,
                                standalone.board)[PLACE]
        least = bound(spec, standalone.kind, standalone.tiled_passes, standalone.board)
        notes["bound"] = {"cycles": least.cycles, "by": least.by,
                          "reached": reached(least.cycles, counts.cycles)}
    return Row(standalone.layer.name, {share: standalone.macs}, {share: counts.cycles},
               counted.prediction.cycles, stalls, counts.bytes_read, counts.bytes_written, images,
               reduction is not None, notes)
