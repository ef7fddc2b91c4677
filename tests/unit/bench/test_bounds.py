"""Bounds of grouped layers: worked out by hand, and in the rows of a step."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.bench.attribution import Share
from pynq_train.bench.bounds import bound, bounds
from pynq_train.bench.rtl import Counts
from pynq_train.bench.step import plan_step, step_rows
from pynq_train.graph import Conv, Dense, Graph, Relu, zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Pass
from pynq_train.layers import fuse, layer_lists
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.predict import predict
from pynq_train.schedule.standalone import (
    PLACE,
    StandalonePass,
    layer_passes,
    standalone_pass,
    standalone_specs,
)

BOARD = BOARDS["pynq-z2"]
BATCH = 16


def passes_of(net: str, layer: str) -> dict[Pass, StandalonePass]:
    found = layer_passes(layer_lists.get(net), BATCH, BOARD)
    return {one.kind: one for passes in found for one in passes if one.layer.name == layer}


def limits(standalone: StandalonePass) -> dict[str, int]:
    spec = standalone_specs(standalone.layer, standalone.batch, standalone.trained_input,
                            BOARD)[PLACE]
    least = bound(spec, standalone.kind, standalone.tiled_passes, BOARD)
    found = bounds(spec, standalone.kind, standalone.tiled_passes, BOARD)
    assert found[least.by] == least.cycles == max(found.values())
    return found


def test_the_mapping_bounds_a_layer_of_stride_one() -> None:
    # 64 channels of 16 x 16: 4 tiles, 9 taps, 4 input blocks, a third of 4096 pixels (rounded up).
    for standalone in passes_of("ds-cnn-conv", "dw1").values():
        assert max(limits(standalone).values()) == limits(standalone)["array"] == 4 * 9 * 4 * 1366


def test_the_mapping_bounds_sections_of_groups() -> None:
    # 4 groups of 24 and 40 channels in maps of 14 x 14: per group 3 tiles and 9 taps, 6 input
    # blocks; backward 2 tiles of input blocks, each from 3 tiles of 4 output blocks.
    layer = fuse(Graph.build((96, 14, 14), [
        Conv(96, 1), Relu(), Conv(160, 3, 1, 1, groups=4), Dense(2)]))[1]
    pixels = -(-BATCH * 14 * 14 // 3)
    for kind, blocks in ((Pass.FORWARD, 6), (Pass.BACKWARD, 8), (Pass.WEIGHT_GRADIENT, 6)):
        standalone = standalone_pass(layer, kind, BATCH, BOARD)
        assert len(standalone.descriptors) == 4
        assert standalone.macs == BATCH * 14 * 14 * 9 * 160 * 24
        found = limits(standalone)
        assert max(found.values()) == found["array"] == 4 * 3 * 9 * blocks * pixels
        # The frame of zeros of the streamed map, of every image and channel block once.
        streamed = 40 if kind == Pass.BACKWARD else 24
        assert found["tile"] == BATCH * streamed * 16 * 16


def test_the_streamed_map_bounds_a_layer_of_stride_two() -> None:
    found = limits(passes_of("mobilenet-conv", "dw2")[Pass.FORWARD])
    # 16 images of 4 blocks of 28 rows: 28 words in two bursts, 2 cycles lost in each.
    assert max(found.values()) == found["port"] == 16 * 4 * 28 * (28 + 2 * 2)


def test_slices_of_a_weight_gradient_stream_their_own_channels() -> None:
    plan = plan_step(zoo.get("mobilenet_v1_025"), BATCH, BOARD, 0.9)
    place = next(place for place, spec in enumerate(plan.specs) if spec.name == "dw12")
    slices = [descriptor.tiled for descriptor in plan.train
              if descriptor.layer == place and descriptor.role == Role.WEIGHT_GRADIENT
               and descriptor.tiled]
    whole = passes_of("mobilenet-conv", "dw12")[Pass.WEIGHT_GRADIENT]
    assert len(slices) > 1
    found = bounds(plan.specs[place], Pass.WEIGHT_GRADIENT, slices, BOARD)
    assert found["tile"] == limits(whole)["tile"] == 16 * 32 * 5 * 5
    assert found["port"] == limits(whole)["port"] == 16 * 32 * 4 * (4 + 2)


def test_rows_of_grouped_layers_say_what_they_reach() -> None:
    plan = plan_step(zoo.get("mobilenet_v1_025"), 1, BOARD, 0.9)
    run = predict(plan, plan.train)
    stamps = np.array([run.starts, run.ends], np.int64).T
    rows, _ = step_rows(plan, Counts(run.cycles, dict.fromkeys(
        ("stall_x", "stall_s", "stall_acc", "stall_gap"), 0)), stamps, run)
    assert {row.name for row in rows if "bound" in row.notes} == {f"dw{i}" for i in range(1, 14)}
    row = next(row for row in rows if row.name == "dw1")
    note = row.notes["bound"]
    assert note["fp"]["cycles"] == 9 * 4 * -(-28 * 28 // 3) // 2     # 8 of the 16 channels
    assert note["cycles"] == sum(note[share]["cycles"] for share in ("fp", "bp", "wu"))
    assert note["reached"] == pytest.approx(note["cycles"] / sum(
        row.cycles[share] for share in (Share.FP, Share.BP, Share.WU)), abs=1e-5)
    assert 0.5 < note["reached"] <= 1
