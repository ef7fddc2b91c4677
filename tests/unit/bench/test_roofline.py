"""The roofline picture: points from plans and from benchmarks."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

from pynq_train.bench.roofline import Point, draw, measured_points, points
from pynq_train.errors import BadInput, MissingTool
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Pass
from pynq_train.layers import layer_lists
from pynq_train.schedule.report import PlanRow, list_rows

BOARD = BOARDS["pynq-z2"]


@cache
def planned() -> tuple[PlanRow, ...]:
    return list_rows(layer_lists.get("resnet20-conv"), 2, BOARD)


def shown() -> tuple[Point, ...]:
    return points(planned())


def result(**changes: object) -> dict:
    row = {"layer": "b0", "cycles": {"fp": 1000, "bp": 2000, "wu": 3000},
           "passes": [{"pass": "bp", "ddr_bytes": {"read": 30, "write": 12}}]}
    return {"net": "resnet20-conv", "board": "pynq-z2", "batch": 2, "per_layer": [row], **changes}


def test_phases_of_a_backward_pass_are_one_point() -> None:
    found = shown()
    assert len(found) == 2 + 20 * 3 and len({(p.layer, p.kind) for p in found}) == len(found)
    point = next(p for p in found if p.layer == "b0" and p.kind == Pass.BACKWARD)
    rows = [r for r in planned() if r.layer == "b0" and r.kind == Pass.BACKWARD]
    assert len(rows) == 2 and point.cycles == sum(r.cycles for r in rows)
    assert all(p.rate <= BOARD.config.multipliers for p in found)


def test_measured_points_take_cycles_and_bytes() -> None:
    found = measured_points(shown(), result(), "resnet20-conv", BOARD, 2)
    assert {(p.kind.name, p.cycles) for p in found} == {
        ("FORWARD", 1000), ("BACKWARD", 2000), ("WEIGHT_GRADIENT", 3000)}
    assert next(p for p in found if p.kind == Pass.BACKWARD).nbytes == 42
    assert all(p.measured for p in found)


def test_other_benchmarks_are_refused() -> None:
    with pytest.raises(BadInput, match="expected resnet20-conv on pynq-z2, batch 2, found "
                       "resnet20-conv on pynq-z2, batch 4; run: pynq-train bench"):
        measured_points(shown(), result(batch=4), "resnet20-conv", BOARD, 2)
    with pytest.raises(BadInput, match="is not a benchmark's"):
        measured_points(shown(), result(per_layer=[{"layer": "b0"}]), "resnet20-conv", BOARD, 2)


def test_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(tmp_path / "r.png", "resnet20-conv", shown(), BOARD)
    assert (tmp_path / "r.png").read_bytes()[1:4] == b"PNG"
    with pytest.raises(BadInput, match="cannot write"):
        draw(tmp_path / "none" / "r.png", "resnet20-conv", shown(), BOARD)


def test_no_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingTool, match="pip install matplotlib"):
        draw(tmp_path / "r.png", "resnet20-conv", shown(), BOARD)
    assert not list(tmp_path.iterdir())
