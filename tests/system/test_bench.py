"""Benchmarks on the RTL: reduced runs against whole ones, layers and whole steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pynq_train.bench import Rtl, bench_step
from pynq_train.bench.reduce import Along, Reduction, reduced, repetitions
from pynq_train.cli.main import main
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Pass
from pynq_train.layers.fuse import FusedLayer
from pynq_train.layers.layer_lists import conv_layer
from pynq_train.schedule.standalone import standalone_pass, standalone_plan

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]
BOARD = BOARDS["pynq-z2"]
ARENA_BYTES = 8 << 20
CYCLES_TOLERANCE = 0.012  # these runs are short: a border between two tiles weighs
FP, BP, WU = Pass.FORWARD, Pass.BACKWARD, Pass.WEIGHT_GRADIENT


@pytest.fixture(scope="module")
def rtl() -> Iterator[Rtl]:
    with Rtl(BOARD) as board:
        board.open(ARENA_BYTES)
        yield board


@pytest.mark.parametrize(("layer", "batch", "kind", "along", "counts"), [
    (conv_layer("images", 16, 16, 14, 5), 7, FP, Along.IMAGES, (2, 4)),
    (conv_layer("images", 16, 16, 14, 5), 7, BP, Along.IMAGES, (2, 4)),
    (conv_layer("images", 32, 16, 14), 7, WU, Along.IMAGES, (2, 4)),
    # Where a run of two images meets the memory's refresh decides 1 % of it: four and eight here.
    (conv_layer("strided", 16, 16, 28, 3, 2), 12, BP, Along.IMAGES, (4, 8)),
    (conv_layer("rows", 16, 32, 60, 5), 1, FP, Along.ROWS, (3, 5)),
    (conv_layer("rows", 32, 16, 60, 3), 1, BP, Along.ROWS, (3, 5)),
    (conv_layer("pooled", 16, 16, 56, pool=True), 1, WU, Along.ROWS, (4, 8)),
    (conv_layer("split", 16, 16, 190), 1, FP, Along.ROWS, (6, 12)),
    (conv_layer("channels", 128, 64, 14), 2, FP, Along.CHANNELS, (2, 4)),
    (conv_layer("channels", 64, 128, 14), 3, BP, Along.CHANNELS, (2, 4)),
    (conv_layer("channels", 96, 32, 14), 2, WU, Along.CHANNELS, (2, 4)),
], ids=lambda value: getattr(value, "name", str(value)))
def test_reduced_runs_stand_for_the_whole(rtl: Rtl, layer: FusedLayer, batch: int, kind: Pass,
                                          along: Along, counts: tuple[int, int]) -> None:
    standalone = standalone_pass(layer, kind, batch, BOARD)
    count = repetitions(standalone, along)
    assert count > counts[1], "the case reduces nothing"
    reduction = Reduction(along, *counts, count)
    whole = rtl.run(standalone_plan(standalone))
    short, long = (rtl.run(standalone_plan(reduced(standalone, along, n)))
                   for n in (reduction.short, reduction.long))
    # What is moved and multiplied is the same to the last word; waiting is not quite.
    for name in whole.counters:
        if name.startswith(("read_beats", "write_beats")) or name in ("busy_cycles",
                                                                      "drain_cycles"):
            found = reduction.extrapolate(short.counters[name], long.counters[name])
            assert found == whole.counters[name], name
    found = reduction.extrapolate(short.cycles, long.cycles)
    assert abs(found - whole.cycles) <= CYCLES_TOLERANCE * whole.cycles


def test_layers_by_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    assert main(["bench", "resnet20-conv", "--batch", "1", "--layers", "conv1,b0,bskip",
                 "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "each pass by itself" in text and "bskip" in text
    values = json.loads(out.read_text())
    assert [row["layer"] for row in values["per_layer"]] == ["conv1", "b0", "bskip"]
    for row in values["per_layer"]:
        assert row["cycles"]["total"] == sum(one["cycles"] for one in row["passes"])
        assert 0 < row["utilization"]["fp"] <= 1
    assert values["cycles"]["total"] == sum(r["cycles"]["total"] for r in values["per_layer"])
    assert values["ddr_bytes"]["read"] > values["ddr_bytes"]["write"] > 0
    assert not values["extrapolated"] and values["simulated_images"] == 1
    assert abs(values["error_pct"]) < 20
    picture = tmp_path / "roof.png"
    pytest.importorskip("matplotlib")
    assert main(["plan", "resnet20-conv", "--batch", "1", "--roofline", str(picture),
                 "--measured", str(out)]) == 0
    assert picture.read_bytes()[1:4] == b"PNG"


def test_latency_costs_cycles(rtl: Rtl) -> None:
    standalone = standalone_pass(conv_layer("c", 16, 16, 14), FP, 1, BOARD)
    with Rtl(BOARD, latency=100) as slow:
        assert slow.count(standalone).counts.cycles > rtl.count(standalone).counts.cycles + 30


def test_a_long_pass_is_reduced(rtl: Rtl) -> None:
    standalone = standalone_pass(conv_layer("images", 16, 16, 14, 5), FP, 12, BOARD)
    whole, part = rtl.count(standalone), rtl.count(standalone, most_cycles=10_000)
    assert whole.reduction is None and part.reduction is not None
    assert sum(part.runs) < whole.counts.cycles
    assert abs(part.counts.cycles - whole.counts.cycles) < CYCLES_TOLERANCE * whole.counts.cycles


@pytest.mark.parametrize("momentum", ["0.9", "0"])
def test_a_whole_step(tmp_path: Path, capsys: pytest.CaptureFixture[str], momentum: str) -> None:
    out = tmp_path / "bench.json"
    assert main(["bench", "lenet5", "--batch", "2", "--momentum", momentum, "--json",
                 str(out)]) == 0
    assert "one training step" in capsys.readouterr().out
    values = json.loads(out.read_text())
    cycles = values["cycles"]
    assert cycles["total"] == sum(cycles[k] for k in cycles if k != "total")
    assert all(cycles[k] > 0 for k in ("fp", "bp", "wu", "other"))
    # Every pass takes at least its multiplications, spread over all multipliers.
    for row in values["per_layer"]:
        for kind in ("fp", "bp", "wu"):
            assert row["utilization"][kind] is None or 0 < row["utilization"][kind] <= 1
    assert values["stalls"]["x"] > 0 and values["ddr_bytes"]["read"] > 0


@pytest.mark.parametrize("net", ["1x", "digits"])
def test_a_wide_array_is_predicted(net: str) -> None:
    """Most layers leave lanes idle: much of what the loaders put into the ring is padding."""
    result = bench_step(zoo.get(net), 2, BOARDS["zcu104"])
    assert abs(result.whole.error_pct) < 1
    assert abs(result.worst_layer()["error_pct"]) < 3
