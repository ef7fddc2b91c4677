"""What a benchmark says: rows of cycles and traffic per layer and for the network, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pynq_train.bench.attribution import Share
from pynq_train.hw.boards import Board
from pynq_train.hw.contract import contract_hash
from pynq_train.schedule.board_time import BoardTime

PASSES = (Share.FP, Share.BP, Share.WU)
"""Shares that are passes of the array."""
STALLS = ("stall_x", "stall_s", "stall_acc", "stall_gap")
"""Counter registers that say why the array stood still."""


@dataclass(frozen=True)
class Row:
    """A layer, or a pass of one, or a whole step.

    Attributes:
        name: name of the layer.
        macs: multiply-adds by pass, padding not counted.
        cycles: counted cycles by share.
        predicted: predicted cycles, all shares together.
        stalls: idle cycles of the array by cause; None where only the whole run was counted.
        bytes_read: bytes read from device memory; None likewise.
        bytes_written: bytes written to it; None likewise.
        simulated_images: fewest images with which a pass was simulated.
        extrapolated: some pass was simulated with fewer repetitions.
        notes: more about it: tiles, what was left out.
        compared: counted and predicted cycles of the passes with what they waited for. It is there
            where ``cycles`` leaves out the vector unit's part of that: whether pass or vector unit
            gets a cycle can hang on little, so an error of prediction is taken from both together.
    """

    name: str
    macs: Mapping[Share, int]
    cycles: Mapping[Share, int]
    predicted: int
    stalls: Mapping[str, int] | None
    bytes_read: int | None
    bytes_written: int | None
    simulated_images: int
    extrapolated: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)
    compared: tuple[int, int] | None = None

    @property
    def total(self) -> int:
        """Cycles of all shares."""
        return sum(self.cycles.values())

    @property
    def error_pct(self) -> float:
        """How far predicted cycles are above counted ones, in percent."""
        counted, predicted = self.compared or (self.total, self.predicted)
        return 100 * (predicted - counted) / max(counted, 1)

    def use(self, multipliers: int, share: Share | None = None) -> float | None:
        """Return multiply-adds per multiplier and cycle of a pass (None: of everything).

        It is None where there are no cycles.
        """
        macs = sum(self.macs.values()) if share is None else self.macs.get(share, 0)
        cycles = self.total if share is None else self.cycles.get(share, 0)
        return macs / (multipliers * cycles) if cycles else None


def summed(name: str, rows: Sequence[Row]) -> Row:
    """Return the sum of rows as a row."""
    return Row(name, _added(row.macs for row in rows), _added(row.cycles for row in rows),
               sum(row.predicted for row in rows),
               _added(row.stalls or {} for row in rows),
               sum(row.bytes_read or 0 for row in rows),
               sum(row.bytes_written or 0 for row in rows),
               min(row.simulated_images for row in rows), any(row.extrapolated for row in rows))


def _added(many: Iterable[Mapping[Any, int]]) -> dict[Any, int]:
    """Return mappings added up key by key."""
    result: dict[Any, int] = {}
    for one in many:
        for key, value in one.items():
            result[key] = result.get(key, 0) + value
    return result


@dataclass(frozen=True)
class Result:
    """What a benchmark has counted.

    Attributes:
        net: network or layer list.
        board: the board.
        batch: images of a mini-batch.
        whole: the training step, or the sum of the layers.
        layers: rows of the layers.
        whole_step: one program was run; else every pass was a program of its own.
        latency: read latency of the memory in cycles.
        momentum: momentum of the update; masters are plain where it is 0.
        simulated_cycles: cycles that were simulated.
        seconds: processor time that they took.
        step_time: seconds of a training step on the board, where the network is one.
    """

    net: str
    board: Board
    batch: int
    whole: Row
    layers: tuple[Row, ...]
    whole_step: bool
    latency: int
    momentum: float
    simulated_cycles: int
    seconds: float
    step_time: BoardTime | None = None

    def figures(self, row: Row) -> dict[str, Any]:
        """Return the fields that the network and each of its layers have."""
        config, total = self.board.config, row.total
        microseconds = total / self.board.clock_mhz
        macs = sum(row.macs.values())
        cycles = {share.value: row.cycles.get(share, 0) for share in Share}
        use = {share.value: _rounded(row.use(config.multipliers, share)) for share in PASSES}
        stalls = None if row.stalls is None else {
            name.removeprefix("stall_"): row.stalls.get(name, 0) for name in STALLS}
        traffic = None if row.bytes_read is None else {
            "read": row.bytes_read, "write": row.bytes_written}
        return {
            "macs": macs,
            "cycles": {**cycles, "total": total},
            "utilization": {**use, "step": _rounded(row.use(config.multipliers))},
            "stalls": stalls,
            "ddr_bytes": traffic,
            "gops": round(2e-3 * macs / microseconds, 3) if total else None,
            "ms_per_image": round(1e-3 * microseconds / self.batch, 6),
            "predicted_cycles": row.predicted,
            "error_pct": round(row.error_pct, 3),
            "simulated_images": row.simulated_images,
            "extrapolated": row.extrapolated,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        config = self.board.config
        return {
            "net": self.net, "board": self.board.name, "batch": self.batch,
            "clock_mhz": self.board.clock_mhz,
            "array": {"tm": config.tm, "tr": config.tr, "tp": config.tp},
            **self.figures(self.whole),
            "whole_step": self.whole_step, "latency_cycles": self.latency,
            "momentum": self.momentum,
            "worst_layer": self.worst_layer(),
            "per_layer": [{"layer": row.name, **self.figures(row), **row.notes}
                          for row in self.layers],
            "simulated_cycles": self.simulated_cycles, "seconds": round(self.seconds, 2),
            **({} if self.step_time is None else {
                "engine_seconds_per_step": round(self.step_time.engine, 6),
                "board_seconds_per_step": round(self.step_time.both, 6)}),
            "contract_hash": contract_hash(config),
        }

    def worst_layer(self) -> dict[str, Any]:
        """Return the layer (not the softmax) whose prediction is farthest off."""
        row = max((one for one in self.layers if one.macs), key=lambda one: abs(one.error_pct))
        return {"layer": row.name, "error_pct": round(row.error_pct, 3)}

    def table(self) -> str:
        """Return the result as a table and lines of text."""
        lines = [f"{self.net}, batch {self.batch}, {self.board.name}, "
                 f"{self.board.clock_mhz:.0f} MHz, memory latency {self.latency} cycles, "
                 + ("one training step" if self.whole_step else "each pass by itself")]
        lines.append(f"{'layer':<10}{'fp':>11}{'bp':>11}{'wu':>11}{'update':>9}{'vector':>9}"
                     f"{'other':>9}{'cycles':>12}  use fp    bp    wu  step{'predicted':>12}"
                     f"{'error':>8}  of bound")
        for row in (*self.layers, self.whole):
            use = "".join(f"{value:>6.3f}" if value is not None else "     -" for value in (
                *(row.use(self.board.config.multipliers, s) for s in PASSES),
                row.use(self.board.config.multipliers)))
            cycles = [row.cycles.get(share, 0) for share in Share]
            lines.append(
                f"{row.name:<10}" + "".join(f"{c:>{w}}" for c, w in zip(cycles,
                                                                     (11, 11, 11, 9, 9, 9)))
                + f"{row.total:>12}  {use}{row.predicted:>12}{row.error_pct:>+7.1f}%"
                + (f"{row.notes['bound']['reached']:>10.2f}" if "bound" in row.notes else "")
                + (" *" if row.extrapolated else ""))
        figures = self.figures(self.whole)
        lines.append(f"{figures['ms_per_image']:.4f} ms per image on the engine, "
                     f"{figures['gops']:.2f} GOPS, "
                     f"{figures['ddr_bytes']['read'] / 1e6:.2f} MB read, "
                     f"{figures['ddr_bytes']['write'] / 1e6:.2f} MB written")
        if self.step_time is not None:
            lines.append(f"a training step: {self.step_time}")
        lines.append("array stood still: " + ", ".join(
            f"{name} {value}" for name, value in figures["stalls"].items()) + " cycles")
        if self.whole.extrapolated:
            lines.append("* simulated with fewer images, row bands or channel tiles, extrapolated")
        lines.append(f"simulated {self.simulated_cycles} cycles in {self.seconds:.1f} s")
        return "\n".join(lines)


def reached(bound: int, cycles: int) -> float | None:
    """Return the share of a bound on paper that counted cycles reach; None without cycles."""
    return _rounded(bound / cycles) if cycles else None


def _rounded(value: float | None) -> float | None:
    """Return a figure for JSON."""
    return None if value is None else round(value, 5)
