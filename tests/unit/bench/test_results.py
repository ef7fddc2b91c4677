"""Benchmarks as JSON: every field, sums that add up, and refusals in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pynq_train.bench.attribution import Share
from pynq_train.bench.layers import bench_layers
from pynq_train.bench.result import Result
from pynq_train.bench.rtl import Counts
from pynq_train.bench.step import bench_step, plan_step, step_rows
from pynq_train.errors import DoesNotFit, HardwareFault, UnknownName
from pynq_train.graph import zoo
from pynq_train.hw import contract
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import layer_lists
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.predict import predict

BOARD = BOARDS["pynq-z2"]
FIGURES = {"macs", "cycles", "utilization", "stalls", "ddr_bytes", "gops", "ms_per_image",
           "predicted_cycles", "error_pct", "simulated_images", "extrapolated"}
HEAD = {"net", "board", "batch", "clock_mhz", "array", "per_layer", "contract_hash"}


def step_result(net: str = "1x", batch: int = 4) -> Result:
    """A result whose counted step is the predicted one, 1 % slower."""
    plan = plan_step(zoo.get(net), batch, BOARD, 0.9)
    run = predict(plan, plan.train)
    stamps = np.array([run.starts, run.ends], np.int64).T * 101 // 100
    counters = {"stall_x": 1, "stall_s": 2, "stall_acc": 3, "stall_gap": 4, "read_beats0": 5,
                "read_beats3": 6, "write_beats1": 7}
    rows, whole = step_rows(plan, Counts(run.cycles * 101 // 100, counters), stamps, run)
    return Result(net, BOARD, batch, whole, rows, True, 40, 0.9, whole.total, 1.0)


def test_json_has_every_field_and_adds_up() -> None:
    result = step_result()
    values = json.loads(json.dumps(result.to_dict()))
    assert set(values) >= HEAD | FIGURES
    assert values["array"] == {"tm": 16, "tr": 4, "tp": 3}
    assert values["contract_hash"] == contract.contract_hash(BOARD.config)
    assert values["stalls"] == {"x": 1, "s": 2, "acc": 3, "gap": 4}
    assert values["ddr_bytes"] == {"read": 88, "write": 56}
    cycles = values["cycles"]
    assert set(cycles) == {"fp", "bp", "wu", "update", "vector", "other", "total"}
    assert sum(cycles[k] for k in cycles if k != "total") == cycles["total"]
    for share in ("fp", "bp", "wu", "update", "vector"):
        assert sum(row["cycles"][share] for row in values["per_layer"]) == cycles[share]
    rest = cycles["other"] - sum(row["cycles"]["other"] for row in values["per_layer"])
    assert 0 <= rest < cycles["total"] // 100
    plan = plan_step(zoo.get("1x"), 4, BOARD, 0.9)
    assert values["macs"] == plan.macs_per_step
    assert sum(row["macs"] for row in values["per_layer"]) == values["macs"]
    assert [row["layer"] for row in values["per_layer"]] == [
        *(spec.name for spec in plan.specs), "softmax"]
    for row in values["per_layer"]:
        assert set(row) >= FIGURES
    use = values["utilization"]
    assert use["step"] == pytest.approx(values["macs"] / 192 / cycles["total"], abs=1e-5)
    assert values["ms_per_image"] == pytest.approx(cycles["total"] / 1e5 / 4)
    assert values["gops"] == pytest.approx(2 * values["macs"] / cycles["total"] / 10, rel=1e-3)
    assert values["error_pct"] == pytest.approx(-1, abs=0.1)
    # The stamps are scaled, what passes need according to the model is not.
    layers = [row for row in values["per_layer"] if row["macs"]]
    worst = max(layers, key=lambda row: abs(row["error_pct"]))
    assert values["worst_layer"] == {"layer": worst["layer"], "error_pct": worst["error_pct"]}
    assert 0.5 < -worst["error_pct"] < 10


def test_passes_have_their_own_cycles() -> None:
    plan = plan_step(zoo.get("1x"), 4, BOARD, 0.9)
    run = predict(plan, plan.train)
    stamps = np.array([run.starts, run.ends], np.int64).T
    rows, whole = step_rows(plan, Counts(run.cycles, dict.fromkeys(
        ("stall_x", "stall_s", "stall_acc", "stall_gap"), 0)), stamps, run)
    assert whole.error_pct == 0 and all(row.error_pct == 0 for row in rows)
    for row, spec in zip(rows, plan.specs):
        for share, role in ((Share.FP, Role.FORWARD), (Share.BP, Role.BACKWARD)):
            own = [e for e in plan.train if e.role == role and e.layer == spec.index]
            assert (row.cycles[share] > 0) == bool(own)
            if own and own[0].cost is not None:
                assert row.cycles[share] >= own[0].cost.array * 0.9


def test_records_without_stamps_are_refused() -> None:
    plan = plan_step(zoo.get("digits"), 2, BOARD, 0.9)
    with pytest.raises(HardwareFault, match="no cycle stamps"):
        step_rows(plan, Counts(1, {}), np.zeros((len(plan.train), 2), np.int64),
                  predict(plan, plan.train))


def test_table_names_layers_and_total() -> None:
    text = step_result().table()
    for word in ("1x, batch 4", "one training step", "conv6", "softmax", "ms per image",
                 "array stood still"):
        assert word in text
    assert "extrapolated" not in text


def test_what_does_not_fit_says_what_it_needs() -> None:
    with pytest.raises(DoesNotFit, match=r"device memory of pynq-z2: expected at most 134217728 "
                       r"bytes, found \d{10} bytes for a mini-batch of 1; .*more memory"):
        bench_step(zoo.get("vgg16"), 1, BOARD)
    with pytest.raises(DoesNotFit, match="at most 2 images"):
        bench_layers("vgg16-conv", layer_lists.get("vgg16-conv"), 16, BOARD)


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"unknown layer 'conv9'.*did you mean"):
        bench_layers("alexnet-conv", layer_lists.alexnet(), 1, BOARD, only=("conv9",))
