"""EF-Train's cycle model against the figures that the paper prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pynq_train.eftrain import (
    FIXED16,
    FP32,
    PASSES,
    ConvShape,
    Design,
    EfPass,
    EfTile,
    Timing,
    chip_of,
    conv_shape,
    latency,
    predict_layers,
    resources,
    search,
)
from pynq_train.eftrain.chips import XC7Z020, ZU9EG, data_type
from pynq_train.eftrain.csim import EfNetwork
from pynq_train.eftrain.latency import array_cycles, source_words
from pynq_train.eftrain.predict import best_ef_tile
from pynq_train.eftrain.published import (
    ALEXNET,
    ALEXNET_BUILD,
    ONE_X_PYNQ_BUILD,
    ONE_X_ZCU102_BUILD,
    TABLE6,
    VGG16_BUILD,
    Table6Row,
    measured,
)
from pynq_train.errors import BadInput, DoesNotFit, UnknownName, UnsupportedModel
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, layer_lists

ONE_X = fuse(zoo.get("1x"))
VGG16 = layer_lists.get("vgg16-conv")


@pytest.mark.parametrize("row", TABLE6, ids=lambda r: f"{r.layer}-{r.kind.value}")
def test_table_6_to_the_cycle(row: Table6Row) -> None:
    tile = EfTile(16, row.rows, row.cols, row.on_chip)
    assert latency(ALEXNET[row.layer], row.kind, tile, 4, Timing(4)) == row.model


def test_table_6_in_total() -> None:
    assert sum(latency(ALEXNET[row.layer], row.kind, EfTile(16, row.rows, row.cols, row.on_chip), 4,
                       ALEXNET_BUILD.timing) for row in TABLE6) == 69_295_691


@pytest.mark.parametrize("row", TABLE6, ids=lambda r: f"{r.layer}-{r.kind.value}")
def test_tiles_of_table_6_are_chosen(row: Table6Row) -> None:
    tile = best_ef_tile(row.layer, ALEXNET[row.layer], row.kind, ALEXNET_BUILD, 4)
    if (row.layer, row.kind) == ("c1", EfPass.WU):  # the paper takes the forward pass's two rows
        assert tile == EfTile(16, 1, 55, 96)
    else:
        assert tile == EfTile(16, row.rows, row.cols, row.on_chip)


def test_vgg16_to_the_cycle() -> None:
    found = predict_layers(VGG16, VGG16_BUILD, 16)
    assert found.cycles == 3_062_637_216
    assert found.gops == pytest.approx(48.01, abs=0.005)
    assert found.macs == 16 * (3 * 15_346_630_656 - 86_704_128)
    by_pass = {kind: sum(layer.cycles.get(kind, 0) for layer in found.layers) for kind in PASSES}
    assert by_pass == {EfPass.FP: 1_041_990_272, EfPass.BP: 1_002_141_664,
                       EfPass.WU: 1_018_505_280}
    assert predict_layers(VGG16, VGG16_BUILD, 1).cycles == 195_116_616
    wide = replace(VGG16_BUILD, lanes=24, wei_words=55 * 9)
    assert predict_layers(VGG16, wide, 16).cycles == 1_643_451_824


@pytest.mark.parametrize(("build", "milliseconds", "board"), [
    (ONE_X_PYNQ_BUILD, 14.66, "xc7z020"), (ONE_X_ZCU102_BUILD, 2.08, "xczu9eg")])
def test_1x_is_near_the_board(build: Design, milliseconds: float, board: str) -> None:
    found = predict_layers(ONE_X, build, 128)
    assert found.ms_per_image == pytest.approx(milliseconds, rel=0.002)
    paper = measured("1x", board)
    assert paper is not None and found.ms_per_image == pytest.approx(paper.ms_per_image, rel=0.03)


@pytest.mark.parametrize(("build", "dsp", "bram36"), [
    (VGG16_BUILD, 1280, 672), (ALEXNET_BUILD, 1280, 672), (ONE_X_ZCU102_BUILD, 1280, 288),
    (ONE_X_PYNQ_BUILD, 180, 108)])
def test_resources_of_the_papers_builds(build: Design, dsp: int, bram36: int) -> None:
    found = resources(build)
    assert (found.dsp, found.bram36) == (dsp, bram36)
    assert found.ifm + found.ofm + found.wei == found.bram36


def test_search_finds_the_papers_build_for_the_pynq() -> None:
    found = search(ONE_X, XC7Z020, FP32, 128)
    assert replace(found, wei_words=1024) == ONE_X_PYNQ_BUILD
    assert resources(found).bram36 <= 0.775 * 140


@pytest.mark.parametrize("board", sorted(BOARDS))
@pytest.mark.parametrize("name", ["fp32", "fixed16"])
def test_search_keeps_to_the_chip(board: str, name: str) -> None:
    chip, dtype = chip_of(BOARDS[board]), data_type(name)
    found = search(ONE_X, chip, dtype, 128)
    taken = resources(found)
    assert taken.dsp <= 0.82 * chip.dsp and taken.bram36 <= 0.775 * chip.bram36
    best = predict_layers(ONE_X, found, 128).cycles
    for lanes in (4, found.lanes - 1, found.lanes + 1):
        try:
            other = search(ONE_X, chip, dtype, 128, lanes=lanes)
        except DoesNotFit:
            continue
        assert predict_layers(ONE_X, other, 128).cycles >= best


def test_search_is_not_worse_than_the_papers_builds() -> None:
    found = search(VGG16, ZU9EG, FP32, 16, lanes=16)
    assert predict_layers(VGG16, found, 16).cycles <= 3_062_637_216
    assert found.on_chip(ConvShape(512, 512, 14, 14, 14, 14, 3), EfPass.FP) % 16 == 0


def test_16_bit_numbers_double_the_words_of_a_stream() -> None:
    wide = search(ONE_X, XC7Z020, FIXED16, 128)
    assert wide.timing.words_per_cycle == 2 and FIXED16.dsp_per_mac == 1
    assert (predict_layers(ONE_X, wide, 128).cycles
            < predict_layers(ONE_X, ONE_X_PYNQ_BUILD, 128).cycles / 2)


def test_strided_backward_pass_works_on_its_input_map() -> None:
    shape = ConvShape(8, 4, 8, 8, 16, 16, 3, 2)
    whole = EfTile(4, 16, 16, 4)
    assert array_cycles(shape, EfPass.BP, whole) == array_cycles(shape, EfPass.FP,
                                                                 EfTile(4, 8, 8, 8)) == 576
    assert source_words(shape, EfPass.BP, whole) == 9 * 9
    assert source_words(shape, EfPass.FP, EfTile(4, 8, 8, 8)) == 17 * 17


def test_dense_layers_are_left_out_unless_asked_for() -> None:
    convs = predict_layers(ONE_X, ONE_X_PYNQ_BUILD, 128)
    whole = predict_layers(ONE_X, ONE_X_PYNQ_BUILD, 128, dense=True)
    assert [layer.name for layer in whole.layers][-1] == "dense1"
    assert len(convs.layers) == 6 and whole.cycles > convs.cycles
    values = convs.to_dict()
    assert values["dsp"] == 180 and values["per_layer"][0]["cycles"]["bp"] == 0
    assert values["cycles"] == sum(sum(row["cycles"].values()) for row in values["per_layer"])


def test_refusals_say_what_to_do() -> None:
    small = Design(XC7Z020, FP32, 6, 64, 64, 64)
    with pytest.raises(DoesNotFit, match=r"conv1 fp: EF-Train's map buffers: expected room for "
                       r"one row of a tile, found 64 and 64 words; use larger buffers"):
        predict_layers(ONE_X, small, 1)
    with pytest.raises(DoesNotFit, match=r"conv2 fp: EF-Train's weight banks: expected room for "
                       r"the weights of one tile, found 9 words"):
        predict_layers(ONE_X, replace(ONE_X_PYNQ_BUILD, wei_words=9), 1)
    with pytest.raises(DoesNotFit, match=r"EF-Train on xc7z020: .* use fewer lanes"):
        search(ONE_X, XC7Z020, FP32, 1, lanes=7)
    with pytest.raises(BadInput, match=r"EF-Train's model: expected at least one convolution"):
        search(ONE_X[-1:], XC7Z020, FP32, 1)
    with pytest.raises(UnknownName, match=r"unknown data type 'fp8': expected one of fixed16"):
        data_type("fp8")
    with pytest.raises(BadInput, match=r"EF-Train design: lanes: expected 1 or more, found 0"):
        replace(small, lanes=0)


def test_layers_of_other_kinds_are_refused() -> None:
    grouped = replace(ONE_X[1], groups=2)
    with pytest.raises(UnsupportedModel, match=r"conv2: EF-Train's products: expected 2359296, "
                       r"found 1179648; leave grouped and depthwise"):
        conv_shape(grouped)
    with pytest.raises(UnsupportedModel, match=r"conv2: groups on the EF-Train kernel: expected 1: "
                       r"it runs convolutions, .* found 2; use another board"):
        EfNetwork((ONE_X[0], grouped), {}, 1)


def test_the_page_says_what_the_model_says() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "eftrain.md").read_text()
    pynq, zcu = (predict_layers(ONE_X, build, 128) for build in (ONE_X_PYNQ_BUILD,
                                                                 ONE_X_ZCU102_BUILD))
    vgg = {batch: predict_layers(VGG16, VGG16_BUILD, batch) for batch in (2, 4, 8, 16)}
    said = [
        f"4.08 (paper); {pynq.gops:.2f} (model)", f"28.15 (paper); {zcu.gops:.2f} (model)",
        f"0.567 (paper); {pynq.use:.3f} (model)", f"0.550 (paper); {zcu.use:.3f} (model)",
        f"14.32 (paper); {pynq.ms_per_image:.2f}, convolutions (model)",
        f"{vgg[16].cycles:,} cycles, {vgg[16].gops:.2f} GFLOPS",
        *(f"| {batch * one.ms_per_image / 1e3:.3f} |" for batch, one in vgg.items())]
    for dtype in (FP32, FIXED16):
        for batch in (1, 128):
            build = search(ONE_X, XC7Z020, dtype, batch)
            said.append(f"{predict_layers(ONE_X, build, batch).ms_per_image:.3f} ms")
    assert [line for line in said if line not in text] == []
