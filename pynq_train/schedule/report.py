"""Readable tables of plans: per layer and pass tiles, traffic, predicted cycles and what limits.

``python -m pynq_train.schedule.report`` prints them for the reference networks on the PYNQ-Z2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pynq_train.errors import DoesNotFit
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.commands import Pass
from pynq_train.hw.resources import resources
from pynq_train.layers import fuse, layer_lists
from pynq_train.layers.fuse import FusedLayer
from pynq_train.schedule.board_time import board_time
from pynq_train.schedule.freeze_report import everything, freeze_report
from pynq_train.schedule.memory_use import training_memory
from pynq_train.schedule.passes.cost import Cost
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.passes.geometry import TiledPass
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.predict import predict
from pynq_train.schedule.standalone import (
    StandalonePass,
    kinds_of,
    standalone_pass,
    standalone_plan,
)

_LIMITS = {"array": "array", "load X": "bandwidth", "load S": "S reload", "store": "bandwidth",
           "memory": "bandwidth"}
"""What limits a descriptor in words of the tables, by the slowest unit of its cost."""


@dataclass(frozen=True)
class PlanRow:
    """One descriptor of the array: a row of a table.

    Attributes:
        board: the board.
        layer: name of the layer.
        label: name of the pass.
        kind: which pass.
        tiled: the pass and its tiles.
        cost: its predicted cost.
        cycles: predicted cycles from start to end, the gaps in front included.
    """

    board: Board
    layer: str
    label: str
    kind: Pass
    tiled: TiledPass
    cost: Cost
    cycles: int

    @property
    def s_loads(self) -> int:
        """How often all of S is read: the weights, or for a weight gradient the output gradient."""
        geo = self.tiled
        if self.kind is Pass.WEIGHT_GRADIENT:
            return geo.chunks
        return geo.image_tiles * geo.row_tiles * geo.col_tiles

    @property
    def limit(self) -> str:
        """What limits the descriptor: ``array``, ``S reload``, ``bandwidth`` or ``latency``.

        A sweep that is shorter than the reload of S has to wait for it. Latency limits where gaps
        take longer than the work itself.
        """
        if self.cycles > 2 * self.cost.cycles:
            return "latency"
        geo, found = self.tiled, _LIMITS[self.cost.limit]
        steps = geo.acc_groups if self.kind is Pass.WEIGHT_GRADIENT else geo.groups
        if found == "array" and steps < self.board.config.sweep_min_cycles:
            return "S reload"
        return found

    @property
    def use(self) -> float:
        """Multiply-adds per multiplier and cycle, 0 to 1."""
        return self.cost.macs / (self.board.config.multipliers * max(self.cycles, 1))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        tile = self.tiled.tile
        return {
            "layer": self.layer, "pass": self.label,
            "tile": {"images": tile.images, "rows": tile.rows, "cols": tile.cols,
                     "chunk": tile.chunk, "chunk_of": self.tiled.shape.reduce},
            "groups": self.tiled.acc_groups, "s_loads": self.s_loads,
            "bytes_read": self.cost.bytes_read, "bytes_written": self.cost.bytes_written,
            "macs": self.cost.macs, "predicted_cycles": self.cycles,
            "array_use": round(self.use, 5), "limit": self.limit}

    def text(self) -> str:
        """Return the row as one line of a table under :data:`HEADER`."""
        tile = self.tiled.tile
        size = (f"{tile.images} x {tile.rows} x {tile.cols}, {tile.chunk} of "
                f"{self.tiled.shape.reduce}")
        return (f"{self.layer:<10} {self.label:<18} {size:<30}{self.tiled.acc_groups:>7} "
                f"{self.s_loads:>7} {self.cost.bytes_read / 1e3:>10.1f} "
                f"{self.cost.bytes_written / 1e3:>10.1f} {self.cycles:>11} "
                f"{self.use:>9.3f}  {self.limit}")



HEADER = (f"{'layer':<10} {'pass':<18} {'tile: images x rows x cols, chunk':<30}{'groups':>7} "
          f"{'S loads':>7} {'kB read':>10} {'kB written':>10} {'cycles':>11} {'array use':>9}  "
          "limit")
"""Column titles for the lines of :meth:`PlanRow.text`."""


def plan_rows(plan: Plan) -> tuple[PlanRow, ...]:
    """Return a row for each array descriptor of a plan's training step, in program order."""
    run = predict(plan, plan.train)
    return tuple(
        _row(plan.board, plan.specs[descriptor.layer].name, descriptor.tiled, descriptor.cost,
             end - start,
             descriptor.role)
        for descriptor, start, end in zip(plan.train, run.starts, run.ends)
        if descriptor.tiled is not None and descriptor.cost is not None)


def pass_rows(standalone: StandalonePass) -> tuple[PlanRow, ...]:
    """Return a row for each array descriptor of a standalone pass.

    The rows share all cycles of the pass: each counts from the end of the one before, so that what
    lies between two descriptors belongs to the later one, and what follows the last one to that.
    """
    plan = standalone_plan(standalone)
    run = predict(plan, plan.train)
    ends = (0, *run.ends[:-1], run.cycles)
    return tuple(
        _row(standalone.board, standalone.layer.name, descriptor.tiled, descriptor.cost,
             ends[i + 1] - ends[i])
        for i, descriptor in enumerate(plan.train)
        if descriptor.tiled is not None and descriptor.cost is not None)


def _row(board: Board, layer: str, tiled: TiledPass, cost: Cost, cycles: int,
         role: Role | None = None) -> PlanRow:
    """Return the row of one descriptor; ``role`` tells sums of a bias from a weight gradient."""
    label = role.value if role == Role.BIAS_SUMS else tiled.shape.label
    return PlanRow(board, layer, label, tiled.shape.kind, tiled, cost, cycles)


def table(plan: Plan) -> str:
    """Return a plan as text: layers, tiles, predicted cycles, bytes of memory, freeze report."""
    lines = [f"board {plan.board.name}, mini-batch {plan.batch}, {len(plan.specs)} layers, "
             f"{plan.memory.nbytes / 1e6:.2f} MB of {plan.board.cma_bytes / 1e6:.0f} MB",
             HEADER, *(row.text() for row in plan_rows(plan)), training_memory(plan).text()]
    runs = [("training step", predict(plan, plan.train)),
            ("evaluation", predict(plan, plan.evaluate))]
    if plan.cached:
        runs.append(("training step from a cache", predict(plan, plan.cached)))
    for name, run in runs:
        lines.append(
            f"{name}: {run.cycles} cycles predicted, {run.ms_per_image:.4f} ms per image on the "
            f"engine at {run.clock_mhz:.0f} MHz, array use {run.utilisation:.3f}, "
            f"{(run.bytes_read + run.bytes_written) / run.cycles:.2f} bytes per cycle")
    lines.append(f"a training step: {board_time(plan, runs[0][1].cycles)}")
    if not everything(plan):
        lines.append(freeze_report(plan, runs[0][1].cycles).text())
    return "\n".join([*lines, resource_line(plan.board)])


def list_table(name: str, rows: Sequence[PlanRow], board: Board, batch: int) -> str:
    """Return the rows of a layer list as text.

    Args:
        name: name of the list.
        rows: its rows (:func:`list_rows`); each pass was planned as a standalone pass.
        board: the board.
        batch: images of the mini-batch.
    """
    lines = [f"{name} on board {board.name}, mini-batch {batch}, each pass by itself, "
             "times of the engine alone", HEADER]
    lines += [row.text() for row in rows]
    return "\n".join([*lines, summary(name, rows, board, batch), resource_line(board)])


def summary(name: str, rows: Sequence[PlanRow], board: Board, batch: int) -> str:
    """Return one line on all passes of a layer list: cycles, array use by pass, time, traffic."""
    cycles = max(sum(row.cycles for row in rows), 1)
    passes = []
    for kind in Pass:
        own = [row for row in rows if row.kind == kind]
        spent = max(sum(row.cycles for row in own), 1) * board.config.multipliers
        passes.append(f"{kind.name.lower().replace('_', ' ')} "
                      f"{sum(row.cost.macs for row in own) / spent:.3f}")
    macs = sum(row.cost.macs for row in rows)
    traffic = sum(row.cost.bytes_read + row.cost.bytes_written for row in rows)
    return (f"{name} batch {batch}: {cycles} cycles predicted, array use "
            f"{macs / cycles / board.config.multipliers:.3f} ({', '.join(passes)}), "
            f"{cycles / batch / board.clock_mhz / 1e3:.3f} ms per image, "
            f"{traffic / cycles:.2f} bytes per cycle")


def resource_line(board: Board) -> str:
    """Return one line on DSPs and block memories that the board's configuration takes."""
    found = resources(board.config)
    return (f"configuration {board.config.name}: {found.dsp} of {board.budget.dsp} DSPs, "
            f"{found.bram36:g} of {board.budget.bram36} BRAM36 by formula")


def list_rows(layers: tuple[FusedLayer, ...], batch: int, board: Board,
              refused: list[str] | None = None) -> tuple[PlanRow, ...]:
    """Return the rows of all passes of a layer list in the order of a training step.

    That is forward from the first layer, then backward and weight gradient from the last one.

    Args:
        layers: the layers; the first one has no backward pass.
        batch: images of the mini-batch.
        board: the board.
        refused: a list that takes the error texts of passes that do not fit; without it they are
            raised.

    Raises:
        DoesNotFit: a pass does not fit the board, and ``refused`` is None.
    """
    rows: dict[Pass, list[tuple[int, PlanRow]]] = {kind: [] for kind in Pass}
    for index, layer in enumerate(layers):
        for kind in kinds_of(index > 0):
            try:
                standalone = standalone_pass(layer, kind, batch, board, index > 0)
                rows[kind] += [(index, row) for row in pass_rows(standalone)]
            except DoesNotFit as error:
                if refused is None:
                    raise
                refused.append(str(error))
    ordered = [row for _, row in rows[Pass.FORWARD]]
    for index in reversed(range(len(layers))):
        for kind in (Pass.BACKWARD, Pass.WEIGHT_GRADIENT):
            ordered += [row for place, row in rows[kind] if place == index]
    return tuple(ordered)


REFERENCES = (("1x", 128), ("1x", 1), ("resnet20-conv", 16), ("vgg16-conv", 1),
              ("alexnet-conv", 16))
"""Networks and mini-batches of :func:`predict_table`."""


def predict_table(board: Board, detail: bool = True) -> str:
    """Return the predicted array use of the reference networks as text.

    Only passes of the array count: softmax and updates of biases do not (see :func:`table` for
    these).

    Args:
        board: the board.
        detail: one line per pass before each network's summary.
    """
    lines = []
    for name, batch in REFERENCES:
        layers = layer_lists.get(name) if name in layer_lists.names() else fuse(zoo.get(name))
        refused: list[str] = []
        rows = list_rows(layers, batch, board, refused)
        if detail:
            lines += [HEADER, *(row.text() for row in rows)]
        lines.append(summary(name, rows, board, batch))
        lines += [f"  refused: {note}" for note in refused]
    return "\n".join(lines)


def main() -> None:
    """Print the predictions of the reference networks for the PYNQ-Z2."""
    sys.stdout.write(predict_table(BOARDS["pynq-z2"]) + "\n")


if __name__ == "__main__":
    main()
