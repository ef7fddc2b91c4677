"""Words of reports that no reference network needs: limits, groups, layers off the array."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pynq_train.graph import AvgPool, Conv, Dense, Graph, MaxPool
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Pass
from pynq_train.layers import fuse
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.report import PlanRow
from pynq_train.schedule.specs.derived import describe

BOARD = BOARDS["pynq-z2"]
LEAST = BOARD.config.sweep_min_cycles


@pytest.mark.parametrize(("found", "steps", "cycles", "text"), [
    ("array", LEAST, 100, "array"), ("array", LEAST - 1, 100, "S reload"),
    ("array", LEAST - 1, 201, "latency"), ("array", LEAST, 200, "array"),
    ("array", LEAST, 201, "latency"), ("load S", LEAST, 100, "S reload"),
    ("load X", 1, 100, "bandwidth"), ("store", 1, 100, "bandwidth"),
    ("memory", 1, 200, "bandwidth"), ("memory", 1, 201, "latency")])
@pytest.mark.parametrize("kind", [Pass.FORWARD, Pass.WEIGHT_GRADIENT])
def test_what_limits_a_descriptor(found: str, steps: int, cycles: int, text: str, kind: Pass
                                  ) -> None:
    """A sweep that is shorter than the reload of S waits; gaps that take longer are latency."""
    own, other = ("acc_groups", "groups") if kind is Pass.WEIGHT_GRADIENT else (
        "groups", "acc_groups")
    tiled: Any = SimpleNamespace(**{own: steps, other: LEAST * 99 if steps < LEAST else 1})
    cost: Any = SimpleNamespace(cycles=100, limit=found)
    assert PlanRow(BOARD, "conv", "forward", kind, tiled, cost, cycles).limit == text


def test_multiply_adds_of_layers() -> None:
    """Of groups those of a group; layers that are not on the array have none."""
    layers = fuse(Graph.build((8, 6, 6), [
        Conv(8, 3, padding=1, groups=2, name="two"), MaxPool(3, 1, name="pool"),
        Conv(12, 1, name="one"), AvgPool(2, 2, name="mean"), Dense(5, name="last")]))
    plan = make_plan(layers, 3, BOARD)
    macs = {spec.name: spec.macs for spec in plan.specs}
    assert macs["pool"] == 0
    assert macs["two"] == 3 * 36 * 8 * 4 * 9
    assert macs["one"] == 3 * 16 * 12 * 8
    assert macs["last"] == 3 * 5 * 12 * 4


def test_passes_of_groups_are_named() -> None:
    """Groups of whole tiles are layers of their own to the array."""
    layers = fuse(Graph.build((64, 6, 6), [Conv(64, 3, padding=1, groups=2, name="two"), Dense(5)]))
    plan = make_plan(layers, 3, BOARD)
    labels = {one.tiled.shape.label for one in plan.train if one.tiled is not None
              and plan.specs[one.layer].name == "two"}
    assert labels == {f"{name} group {group}" for group in (0, 1)
                      for name in ("forward", *(f"weight gradient {m}..{m}" for m in (0, 1)))}


def test_a_layer_as_plain_values() -> None:
    layers = fuse(Graph.build((3, 7, 9), [Conv(6, 3, 2, 1, name="c"), Dense(4)]))
    spec = make_plan(layers, 2, BOARD).specs[0]
    assert describe(spec) == {"name": "c", "m": 6, "n": 3, "kernel": 3, "stride": 2, "images": 2,
                              "out_rows": 4, "out_cols": 5}
