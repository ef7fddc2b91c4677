"""Reduced passes repeat what the whole pass repeats: work and traffic extrapolate exactly."""

from __future__ import annotations

import pytest

from pynq_train.bench.reduce import Along, Reduction, choose, reduced, repetitions
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Pass
from pynq_train.layers import layer_lists
from pynq_train.layers.fuse import in_series
from pynq_train.layers.layer_lists import conv_layer
from pynq_train.schedule.passes.cost import pass_cost
from pynq_train.schedule.passes.geometry import TiledPass
from pynq_train.schedule.specs.spec import layer_specs
from pynq_train.schedule.standalone import (
    StandalonePass,
    layer_passes,
    standalone_pass,
    standalone_plan,
)

BOARD = BOARDS["pynq-z2"]
LEAST = {Along.IMAGES: 2, Along.ROWS: 3, Along.CHANNELS: 2}


def passes(name: str, batch: int) -> list[StandalonePass]:
    return [one for row in layer_passes(layer_lists.get(name), batch, BOARD) for one in row]


def macs(standalone: StandalonePass) -> int:
    return sum(pass_cost(tiled, BOARD).macs for tiled in standalone.tiled_passes)


@pytest.mark.parametrize(("name", "batch"), [("resnet20-conv", 16), ("alexnet-conv", 16),
                                             ("vgg16-conv", 1)])
def test_work_extrapolates_exactly(name: str, batch: int) -> None:
    seen = set()
    for standalone in passes(name, batch):
        for along in Along:
            whole, least = repetitions(standalone, along), LEAST[along]
            if whole <= least + 2:
                continue
            seen.add((along, standalone.kind))
            reduction = Reduction(along, least, least + 2, whole)
            short, long = (reduced(standalone, along, n) for n in (least, least + 2))
            assert reduction.extrapolate(macs(short), macs(long)) == macs(standalone), \
                standalone.name
            for one, whole_one in zip(short.tiled_passes, standalone.tiled_passes):
                assert one.merged_rows == whole_one.merged_rows
                assert one.tile == whole_one.tile
    assert len(seen) >= 4


def test_rows_that_are_written_one_by_one_stay_so() -> None:
    layer = conv_layer("wide", 16, 4, 190)
    standalone = standalone_pass(layer, Pass.FORWARD, 1, BOARD)
    short = reduced(standalone, Along.ROWS, 3).tiled_passes[0]
    assert not standalone.tiled_passes[0].merged_rows and not short.merged_rows
    assert TiledPass(short.shape, short.tile).merged_rows


def test_channel_tiles_stay_where_the_next_x_tile_is_loaded_behind_them() -> None:
    standalone = standalone_pass(conv_layer("c", 64, 4, 40), Pass.FORWARD, 4, BOARD)
    tiled = standalone.tiled_passes[0]
    assert tiled.chunks == 1 and tiled.image_tiles * tiled.row_tiles > 1
    assert repetitions(standalone, Along.CHANNELS) == 1
    assert repetitions(standalone, Along.IMAGES) == 4


def test_choice_keeps_to_the_budget_where_it_can() -> None:
    for standalone in passes("vgg16-conv", 1):
        whole = standalone.busiest_unit_cycles
        found = choose(standalone, 1_500_000)
        # Two runs, one of them twice as long as the other, must be shorter than the pass.
        shorter = any(repetitions(standalone, along) > 3 * least for along, least in LEAST.items())
        assert (found is None) == (whole <= 1_500_000 or not shorter)
        if found is not None:
            assert 0 < found.short < found.long < found.whole
            assert whole * (found.short + found.long) < 8_000_000 * found.whole


def test_too_few_repetitions_are_refused() -> None:
    standalone = standalone_pass(layer_lists.vgg16()[1], Pass.FORWARD, 1, BOARD)
    whole = repetitions(standalone, Along.ROWS)
    for count in (2, whole + 1):
        text = rf"conv2 fp: expected 3\.\.{whole} row bands, found {count}"
        with pytest.raises(ValueError, match=text):
            reduced(standalone, Along.ROWS, count)


def test_extrapolation() -> None:
    assert Reduction(Along.ROWS, 3, 5, 13).extrapolate(100, 160) == 400


def test_a_single_pass_has_the_maps_of_its_network() -> None:
    layers = layer_lists.get("vgg16-conv")[:3]
    own = layer_specs(in_series((*layers, layers[-1])), 1)
    for index, row in enumerate(layer_passes(layers, 1, BOARD)):
        assert len(row) == (3 if index else 2)
        for standalone in row:
            spec, wanted = standalone.tiled_passes[0].shape.spec, own[index]
            assert (spec.x, spec.y, spec.flags, spec.nb, spec.backward) == (
                wanted.x, wanted.y, wanted.flags, wanted.nb, wanted.backward)
            memory = standalone_plan(standalone).memory
            assert ("head.y" in memory) == (standalone.kind != Pass.BACKWARD)
