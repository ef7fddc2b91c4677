"""EF-Train beside this engine: the same network, mini-batch, chip and clock, both predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pynq_train.bench.attribution import Share
from pynq_train.bench.layers import SHARE_OF
from pynq_train.bench.result import PASSES, STALLS
from pynq_train.bench.rtl import DEFAULT_LATENCY, Counts, predicted
from pynq_train.bench.step import plan_step, step_rows
from pynq_train.eftrain import (
    FP32,
    DataType,
    EfPass,
    EfPrediction,
    EfResources,
    chip_of,
    predict_layers,
    search,
)
from pynq_train.eftrain import resources as ef_resources
from pynq_train.eftrain.published import Measured, measured
from pynq_train.graph import Graph
from pynq_train.hw.boards import Board
from pynq_train.hw.resources import resources
from pynq_train.layers import FusedLayer, fuse
from pynq_train.schedule.standalone import StandalonePass, layer_passes, standalone_plan

Cycles = Mapping[Share, int]
"""Cycles by what they count as."""
EF_PASS = {Share.FP: EfPass.FP, Share.BP: EfPass.BP, Share.WU: EfPass.WU}
"""Pass of EF-Train's model for each share."""


@dataclass(frozen=True)
class VersusRow:
    """One layer in both engines, or what belongs to no layer.

    Attributes:
        name: name of the layer.
        ours: cycles of this engine by share, for the mini-batch.
        theirs: cycles of EF-Train by share; None where its model has no figure.
    """

    name: str
    ours: Cycles
    theirs: Cycles | None

    @property
    def our_total(self) -> int:
        """Cycles of this engine, all shares together."""
        return sum(self.ours.values())

    @property
    def their_total(self) -> int | None:
        """Cycles of EF-Train, all shares together; None where its model has no figure."""
        return None if self.theirs is None else sum(self.theirs.values())


@dataclass(frozen=True)
class Versus:
    """Two engines on one network.

    Attributes:
        net: network or layer list.
        board: the board.
        batch: images of the mini-batch.
        momentum: momentum of this engine's update; EF-Train has none.
        whole_step: this engine's cycles are those of a whole training step; else of each pass.
        rows: the layers.
        cycles: cycles of this engine, all of them.
        macs: multiply-adds of this engine.
        ef: EF-Train's prediction: convolutions only.
        paper: what the paper measured for this network on this chip, if it did.
    """

    net: str
    board: Board
    batch: int
    momentum: float
    whole_step: bool
    rows: tuple[VersusRow, ...]
    cycles: int
    macs: int
    ef: EfPrediction
    paper: Measured | None

    @property
    def ms_per_image(self) -> float:
        """Milliseconds per image of this engine."""
        return self.cycles / (1e3 * self.board.clock_mhz * self.batch)

    @property
    def gops(self) -> float:
        """Thousand million operations per second of this engine: two for a multiply-add."""
        return 2e-3 * self.macs * self.board.clock_mhz / self.cycles

    @property
    def use(self) -> float:
        """Multiply-adds per multiplier and cycle of this engine."""
        return self.macs / (self.board.config.multipliers * self.cycles)

    @property
    def shared(self) -> tuple[int, int]:
        """Cycles of the layers that both have: of this engine, of EF-Train."""
        both = [row for row in self.rows if row.theirs is not None]
        return sum(row.our_total for row in both), sum(row.their_total or 0 for row in both)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        taken, shared = resources(self.board.config), self.shared
        return {
            "net": self.net, "board": self.board.name, "batch": self.batch,
            "clock_mhz": self.board.clock_mhz,
            "pynq_train": {
                "kind": "model", "type": "fixed16", "momentum": self.momentum,
                "whole_step": self.whole_step, "cycles": self.cycles, "macs": self.macs,
                "ms_per_image": round(self.ms_per_image, 6), "gops": round(self.gops, 4),
                "array_use": round(self.use, 5),
                "multipliers": self.board.config.multipliers, "dsp": taken.dsp,
                "bram36": taken.bram36, "cycles_of_shared_layers": shared[0]},
            "ef_train": {**self.ef.to_dict(), "cycles_of_shared_layers": shared[1]},
            "ef_train_paper": None if self.paper is None else {
                "kind": "board", "batch": self.paper.batch, "type": "fp32",
                "ms_per_image": self.paper.ms_per_image, "gops": self.paper.gflops,
                "dsp": self.paper.dsp, "bram36": self.paper.bram36},
            "ratio": round(self.ef.ms_per_image / self.ms_per_image, 4),
            "per_layer": [{
                "layer": row.name,
                "pynq_train": {share.value: row.ours.get(share, 0) for share in Share},
                "ef_train": None if row.theirs is None else {
                    share.value: row.theirs.get(share, 0) for share in PASSES}}
                for row in self.rows]}

    def table(self) -> str:
        """Return the comparison as text."""
        chip = self.ef.design.chip
        lines = [f"{self.net}, batch {self.batch}, {self.board.name} ({chip.name}), "
                 f"{self.board.clock_mhz:.0f} MHz; cycles of the mini-batch, both predicted",
                 f"{'':<10}{'EF-Train':^48}{'pynq_train':^48}",
                 f"{'layer':<10}" + 2 * "".join(f"{s:>12}" for s in ("fp", "bp", "wu", "all"))
                 + f"{'ratio':>8}"]
        lines += [_line(row) for row in self.rows]
        ours, theirs = self.shared
        lines.append(f"{'both have':<10}{'':36}{theirs:>12}{'':36}{ours:>12}{theirs / ours:>8.2f}")
        return "\n".join([*lines, *self._figures(), *self._notes()])

    def _figures(self) -> list[str]:
        """Return the lines that compare both engines as a whole."""
        taken: EfResources = ef_resources(self.ef.design)
        own = resources(self.board.config)
        chip, design = self.ef.design.chip, self.ef.design
        rows = [
            ("type", design.dtype.name, "fixed16"),
            ("multipliers", f"{design.multipliers} ({design.lanes} x {design.lanes})",
             str(self.board.config.multipliers)),
            (f"DSP, of {chip.dsp}", str(taken.dsp), str(own.dsp)),
            (f"BRAM36, of {chip.bram36}", f"{taken.bram36:g}", f"{own.bram36:g}"),
            ("cycles", str(self.ef.cycles), str(self.cycles)),
            ("ms per image", f"{self.ef.ms_per_image:.4f}", f"{self.ms_per_image:.4f}"),
            ("GOPS", f"{self.ef.gops:.2f}", f"{self.gops:.2f}"),
            ("array use", f"{self.ef.use:.3f}", f"{self.use:.3f}")]
        lines = [f"{'':<18}{'EF-Train':>18}{'pynq_train':>18}"]
        lines += [f"{name:<18}{one:>18}{other:>18}" for name, one, other in rows]
        ratio = self.ef.ms_per_image / self.ms_per_image
        lines.append(f"pynq_train takes 1/{ratio:.2f} of EF-Train's time" if ratio >= 1 else
                     f"EF-Train takes 1/{1 / ratio:.2f} of pynq_train's time")
        return lines

    def _notes(self) -> list[str]:
        """Return the lines that say what the figures are and are not."""
        lines = ["EF-Train: the paper's model, convolutions only, plain SGD, DSPs and memories of "
                 "its kernel only"]
        if self.paper is not None:
            lines.append(f"EF-Train on the paper's board: {self.paper.ms_per_image:g} ms per image "
                         f"with pooling and loss, batch {self.paper.batch}, {self.paper.dsp} DSP, "
                         f"{self.paper.bram36} BRAM36")
        if any(layer.shape.stride > 1 and EfPass.BP in layer.cycles for layer in self.ef.layers):
            lines.append("EF-Train: backward passes with a stride are those of our kernel, the "
                         "paper has none")
        what = "a whole training step" if self.whole_step else "every pass by itself"
        lines.append(f"pynq_train: the cycle model, {what}, momentum {self.momentum:g}")
        return lines


def compare(net: str, what: Graph | tuple[FusedLayer, ...], batch: int, board: Board, *,
            dtype: DataType = FP32, momentum: float = 0.0, latency: int = DEFAULT_LATENCY,
            progress: Callable[[str], None] = lambda name: None) -> Versus:
    """Return the predicted training step of a network on both engines.

    Args:
        net: name of the network or layer list.
        what: the network, or the layers of a list; each pass of a list is a standalone pass.
        batch: images of the mini-batch.
        board: gives chip, clock and this engine.
        dtype: EF-Train's data type.
        momentum: momentum of this engine's update.
        latency: read latency of this engine's memory in cycles.
        progress: called with the name of each pass of a list.

    Raises:
        DoesNotFit: network and mini-batch are too large for one of the engines.
        UnknownName: EF-Train's model does not know the board's chip.
    """
    layers = fuse(what) if isinstance(what, Graph) else what
    chip = chip_of(board)
    design = search(layers, chip, dtype, batch)
    ef = predict_layers(layers, design, batch, board.clock_mhz)
    theirs = {layer.name: {share: layer.cycles.get(kind, 0) for share, kind in EF_PASS.items()}
              for layer in ef.layers}
    if isinstance(what, Graph):
        ours, cycles, macs = _whole_step(what, batch, board, momentum, latency)
    else:
        ours, cycles, macs = _passes(layers, batch, board, momentum, latency, progress)
    rows = tuple(VersusRow(name, own, theirs.get(name)) for name, own in ours.items())
    return Versus(net, board, batch, momentum, isinstance(what, Graph), rows, cycles, macs, ef,
                  measured(net, chip.name) if dtype == FP32 else None)


OwnRows = tuple[dict[str, Cycles], int, int]
"""Cycles by layer and share, cycles of all, multiply-adds of all."""


def _whole_step(graph: Graph, batch: int, board: Board, momentum: float,
                latency: int) -> OwnRows:
    """Return this engine's figures for a whole training step of a network."""
    plan = plan_step(graph, batch, board, momentum)
    run = predicted(plan, latency)
    stamps = np.array(list(zip(run.starts, run.ends)), np.int64)
    nothing = Counts(run.cycles, dict.fromkeys(STALLS, 0))
    rows, whole = step_rows(plan, nothing, stamps, run)
    cycles: dict[str, Cycles] = {row.name: row.cycles for row in rows}
    rest = {share: whole.cycles[share] - sum(row.cycles[share] for row in rows) for share in Share}
    if any(rest.values()):
        cycles["start, end"] = rest
    return cycles, run.cycles, sum(whole.macs.values())


def _passes(layers: tuple[FusedLayer, ...], batch: int, board: Board, momentum: float,
            latency: int, progress: Callable[[str], None]) -> OwnRows:
    """Return this engine's figures for layers whose passes are programs of their own."""
    known: dict[StandalonePass, int] = {}
    found: dict[str, Cycles] = {}
    total = macs = 0
    for passes in layer_passes(layers, batch, board, momentum > 0):
        own = {}
        for standalone in passes:
            progress(standalone.name)
            # Equal layers of other names are predicted once.
            key = replace(standalone, layer=replace(standalone.layer, name=""), descriptors=())
            if key not in known:
                known[key] = predicted(standalone_plan(standalone), latency).cycles
            own[SHARE_OF[standalone.kind]] = known[key]
            macs += standalone.macs
        found[passes[0].layer.name] = own
        total += sum(own.values())
    return found, total, macs


def _line(row: VersusRow) -> str:
    """Return a row as a line of the table."""
    mine = [row.ours.get(share, 0) for share in PASSES]
    theirs = ["-"] * 4 if row.theirs is None else [
        str(v) for v in (*(row.theirs.get(share, 0) for share in PASSES), row.their_total)]
    ratio = "" if not row.their_total else f"{row.their_total / row.our_total:>8.2f}"
    return (f"{row.name:<10}" + "".join(f"{v:>12}" for v in (*theirs, *mine, row.our_total))
            + ratio)
