"""Tables of plans, line by line: who changes schedule or cycle model reads what changes here.

``PYTHONPATH=tests/unit/schedule python -m test_plan_tables`` writes the file of the texts anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pynq_train.errors import DoesNotFit
from pynq_train.graph.graph import Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Pass
from pynq_train.layers.fuse import FusedLayer, fuse
from pynq_train.schedule import report
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.report import PlanRow, list_rows, list_table, summary, table
from pynq_train.schedule.specs.trainable import select

FILE = Path(__file__).with_name("report_tables.txt")
BOARD = BOARDS["pynq-z2"]
BATCH = 4
MACS = {"conv1": 3 * 9 * 20 * 12 * 12, "conv2": 20 * 9 * 24 * 6 * 6, "dense1": 24 * 9 * 6}
"""Multiply-adds of a layer and image: what one adds up is multiplied by all that is made."""


def layers() -> tuple[FusedLayer, ...]:
    return fuse(Sequential((3, 12, 12), "tiny").conv(20, 3, padding=1).relu()
                .conv(24, 3, stride=2, padding=1).relu().pool().dense(6).build())


@pytest.fixture(scope="module")
def rows() -> tuple[PlanRow, ...]:
    return list_rows(layers(), BATCH, BOARD)


def texts() -> list[str]:
    """A list's table, a plan's, and that of a plan which trains a part."""
    return [list_table("tiny", list_rows(layers(), BATCH, BOARD), BOARD, BATCH),
            *(table(make_plan(layers(), BATCH, BOARD, trainable=select(layers(), choice)))
              for choice in ("all", "last-layer"))]


def test_tables_are_what_is_on_record() -> None:
    assert "\n\n".join(texts()).splitlines() == FILE.read_text(encoding="utf-8").splitlines()


def test_rows_stand_in_the_order_of_a_training_step(rows: tuple[PlanRow, ...]) -> None:
    found = list(dict.fromkeys((row.layer, row.kind) for row in rows))
    forward, back = Pass.FORWARD, (Pass.BACKWARD, Pass.WEIGHT_GRADIENT)
    assert found == [("conv1", forward), ("conv2", forward), ("dense1", forward),
                     *((name, kind) for name in ("dense1", "conv2") for kind in back),
                     ("conv1", Pass.WEIGHT_GRADIENT)]


def test_multiply_adds_are_those_of_the_layer(rows: tuple[PlanRow, ...]) -> None:
    for layer, macs in MACS.items():
        for kind in Pass:
            own = [row.cost.macs for row in rows if (row.layer, row.kind) == (layer, kind)]
            assert sum(own) == (BATCH * macs if own else 0)


def test_a_summary_adds_up(rows: tuple[PlanRow, ...]) -> None:
    line = summary("tiny", rows, BOARD, BATCH)
    cycles = {kind: sum(row.cycles for row in rows if row.kind == kind) for kind in Pass}
    macs = {Pass.FORWARD: sum(MACS.values()), Pass.BACKWARD: sum(MACS.values()) - MACS["conv1"],
            Pass.WEIGHT_GRADIENT: sum(MACS.values())}
    use = {kind: BATCH * macs[kind] / cycles[kind] / BOARD.config.multipliers for kind in Pass}
    assert (f"(forward {use[Pass.FORWARD]:.3f}, backward {use[Pass.BACKWARD]:.3f}, "
            f"weight gradient {use[Pass.WEIGHT_GRADIENT]:.3f})") in line
    total = sum(cycles.values())
    whole = BATCH * sum(macs.values()) / total / BOARD.config.multipliers
    assert line.startswith(f"tiny batch {BATCH}: {total} cycles predicted, array use {whole:.3f} ")
    assert f" {total / BATCH / BOARD.clock_mhz / 1000:.3f} ms per image, " in line
    assert summary("none", (), BOARD, 1).startswith("none batch 1: 1 cycles predicted, array use 0")


_LINE = re.compile(r"(\S+) +(.{18}) (\d+) x (\d+) x (\d+), (\d+) of (\d+) +(\d+) +(\d+) +(\S+) +"
                   r"(\S+) +(\d+) +(\S+)  (.+)")


def test_values_for_json_are_those_of_the_text(rows: tuple[PlanRow, ...]) -> None:
    for row in rows:
        shown = _LINE.fullmatch(row.text())
        assert shown is not None
        found = row.to_dict()
        kilobytes = (f"{found[name] / 1000:.1f}" for name in ("bytes_read", "bytes_written"))
        assert shown.groups() == (
            found["layer"], f"{found['pass']:<18}", *map(str, found["tile"].values()),
            str(found["groups"]), str(found["s_loads"]), *kilobytes,
            str(found["predicted_cycles"]), f"{found['array_use']:.3f}", found["limit"])
        assert found["array_use"] == pytest.approx(
            found["macs"] / found["predicted_cycles"] / BOARD.config.multipliers, abs=1e-5)


def test_reference_networks_and_their_mini_batches() -> None:
    assert report.REFERENCES == (("1x", 128), ("1x", 1), ("resnet20-conv", 16), ("vgg16-conv", 1),
                                 ("alexnet-conv", 16))


def test_what_does_not_fit_is_refused_or_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(layer: FusedLayer, kind: Pass, *more: object) -> object:
        if layer.name == "conv2" and kind == Pass.BACKWARD:
            raise DoesNotFit("conv2 backward", expected="less", found="more")
        return right(layer, kind, *more)

    right = report.standalone_pass
    monkeypatch.setattr(report, "standalone_pass", refused)
    with pytest.raises(DoesNotFit, match="conv2 backward"):
        list_rows(layers(), BATCH, BOARD)
    notes: list[str] = []
    found = list_rows(layers(), BATCH, BOARD, notes)
    assert len(notes) == 1 and "conv2 backward" in notes[0]
    assert {(row.layer, row.kind) for row in found}.isdisjoint({("conv2", Pass.BACKWARD)})
    assert ("conv2", Pass.WEIGHT_GRADIENT) in {(row.layer, row.kind) for row in found}


if __name__ == "__main__":
    FILE.write_text("\n\n".join(texts()) + "\n", encoding="utf-8")
