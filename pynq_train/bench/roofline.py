"""Roofline picture: multiply-adds per cycle of every layer and pass, below array and memory.

Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model for Multicore
Architectures", 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pynq_train.errors import BadInput, MissingTool
from pynq_train.files.picture import save_picture
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import Pass
from pynq_train.schedule.report import PlanRow
from pynq_train.schedule.standalone import SHORT_NAME

_MARKERS = {Pass.FORWARD: "o", Pass.BACKWARD: "s", Pass.WEIGHT_GRADIENT: "^"}
_LABELS = {Pass.FORWARD: "forward", Pass.BACKWARD: "backward",
           Pass.WEIGHT_GRADIENT: "weight gradient"}


@dataclass(frozen=True)
class Point:
    """One pass of one layer.

    Attributes:
        layer: name of the layer.
        kind: which pass.
        macs: multiply-adds.
        nbytes: bytes read and written.
        cycles: cycles.
        measured: the cycles were counted, not predicted.
    """

    layer: str
    kind: Pass
    macs: int
    nbytes: int
    cycles: int
    measured: bool = False

    @property
    def intensity(self) -> float:
        """Multiply-adds per byte of device memory."""
        return self.macs / max(self.nbytes, 1)

    @property
    def rate(self) -> float:
        """Multiply-adds per cycle."""
        return self.macs / max(self.cycles, 1)


def points(rows: Sequence[PlanRow]) -> tuple[Point, ...]:
    """Return a point for each pass of each layer from the rows of its descriptors."""
    found: dict[tuple[str, Pass], Point] = {}
    for row in rows:
        old = found.get((row.layer, row.kind), Point(row.layer, row.kind, 0, 0, 0))
        found[row.layer, row.kind] = replace(
            old, macs=old.macs + row.cost.macs, cycles=old.cycles + row.cycles,
            nbytes=old.nbytes + row.cost.bytes_read + row.cost.bytes_written)
    return tuple(found.values())


def measured_points(predicted: Sequence[Point], result: Mapping[str, Any], net: str, board: Board,
                    batch: int) -> tuple[Point, ...]:
    """Return points with cycles, and bytes where they were counted, of a benchmark.

    Args:
        predicted: the points; those of layers that were not measured are left out.
        result: what ``pynq-train bench --json`` wrote.
        net: network, which the benchmark must be of.
        board: board, likewise.
        batch: images of the mini-batch, likewise.

    Raises:
        BadInput: it is a benchmark of another network, board or batch, or not one at all.
    """
    wanted = {"net": net, "board": board.name, "batch": batch}
    found = {key: result.get(key) for key in wanted}
    if found != wanted:
        raise BadInput("measured file", expected=_sentence(wanted), found=_sentence(found),
                       fix=f"run: pynq-train bench {net} --board {board.name} --batch {batch} "
                       "--json FILE")
    try:
        layers = {row["layer"]: row for row in result["per_layer"]}
        return tuple(_measured(point, layers[point.layer]) for point in predicted
                     if point.layer in layers)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"measured file is not a benchmark's ({error!r})",
                       fix="write it with: pynq-train bench NET --json FILE") from None


def _measured(point: Point, row: Mapping[str, Any]) -> Point:
    """Return a point with the figures of its layer's row."""
    name, nbytes = SHORT_NAME[point.kind], point.nbytes
    for one in row.get("passes", ()):
        if one["pass"] == name:
            nbytes = int(one["ddr_bytes"]["read"]) + int(one["ddr_bytes"]["write"])
    return replace(point, cycles=int(row["cycles"][name]), nbytes=nbytes, measured=True)


def _sentence(values: Mapping[str, object]) -> str:
    """Return what a benchmark is of, as text."""
    return f"{values['net']} on {values['board']}, batch {values['batch']}"


def need_matplotlib() -> None:
    """Check that matplotlib is installed.

    Raises:
        MissingTool: it is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingTool("the roofline is drawn by matplotlib", expected="matplotlib",
                          found="none", fix="run: pip install matplotlib") from None


def draw(path: Path, title: str, shown: Sequence[Point], board: Board) -> None:
    """Draw points below the limits of the array and of the memory to a PNG file.

    Args:
        path: the file.
        title: first words of the picture's title.
        shown: the points.
        board: the board, which has the limits.

    Raises:
        MissingTool: matplotlib is not installed.
        BadInput: there are no points, or the file cannot be written.
    """
    need_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not shown:
        raise BadInput("roofline", expected="at least one pass", found="none")
    peak, slope = board.config.multipliers, board.dram_bytes_per_cycle
    figure, axes = pyplot.subplots(figsize=(8, 5.5))
    low = min(0.5 * peak / slope, *(0.7 * point.intensity for point in shown))
    high = max(4.0 * peak / slope, *(1.4 * point.intensity for point in shown))
    corner = peak / slope
    axes.plot([low, corner, high], [low * slope, peak, peak], "k-", linewidth=1.2,
              label=f"limit: {peak} multipliers, {slope} bytes per cycle")
    for kind in Pass:
        own = [point for point in shown if point.kind == kind]
        axes.plot([p.intensity for p in own], [p.rate for p in own], _MARKERS[kind], alpha=0.7,
                  label=_LABELS[kind])
    worst = sorted(shown, key=lambda point: point.rate / min(peak, slope * point.intensity))[:6]
    for point in worst:
        axes.annotate(f"{point.layer} {SHORT_NAME[point.kind]}", (point.intensity, point.rate),
                      textcoords="offset points", xytext=(5, -9), fontsize=7)
    source = "counted by the RTL" if shown[0].measured else "predicted"
    axes.set(xscale="log", yscale="log", xlabel="multiply-adds per byte of device memory",
             ylabel="multiply-adds per cycle", title=f"{title}, {board.name}, {source}")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower right", fontsize=8)
    save_picture(pyplot, figure, path)
