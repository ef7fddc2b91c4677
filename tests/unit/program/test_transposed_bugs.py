"""Planted bugs in programs with transposed and bilinear layers: the verifier refuses each."""

from __future__ import annotations

import pytest
from scheduled import Scheduled

from pynq_train.errors import IllegalProgram
from pynq_train.graph import Conv, ConvTranspose, Dense, Graph, Upsample
from pynq_train.hw.commands import Opcode, Pass
from pynq_train.hw.geometry import Work
from pynq_train.program import verify_program

PLANNED = Scheduled.of(Graph.build((3, 5, 5), [
    Conv(12, 3, padding=1), ConvTranspose(20, 3, 2, name="grow"), Upsample(2, mode="bilinear"),
    Conv(4, 3, 2), Dense(3)]), 4)
GROW = PLANNED.number(Opcode.CONV, 1, Pass.BACKWARD)
BACK = PLANNED.number(Opcode.CONV, 1, Pass.FORWARD)
PIECES = [number for number, (one, f) in enumerate(zip(PLANNED.image.descriptors, PLANNED.fields))
          if one.layer == 2 and f["pre.opcode"] == Opcode.CONV]
SUMS = PLANNED.gradient(lambda f: f["gc.layer"] == 1 and f["gc.work"] == Work.BIAS_GRADIENT)
WEIGHTS = PLANNED.gradient(lambda f: f["gc.layer"] == 1 and f["gc.work"] == Work.WEIGHT_GRADIENT)


def changed(number: int, field: str, by: int) -> dict[int, dict[str, int]]:
    return {number: {field: PLANNED.fields[number][field] + by}}


def test_the_program_is_right_without_a_bug() -> None:
    verify_program(PLANNED.program())
    assert PLANNED.fields[GROW]["y.bias"] == 1 and PLANNED.fields[BACK]["y.bias"] == 0


@pytest.mark.parametrize(("changes", "text"), [
    ({GROW: {"y.bias": 0}}, r"y\.bias: expected g\.g_bias \(1\), found 0"),
    ({BACK: {"y.bias": 1, "g.g_bias": 1}}, "post-processing of a gradient"),
    (changed(GROW, "y.bias_off", 128), "biases"),
    (changed(GROW, "y.dbias0", -64), "biases"),
    (changed(GROW, "g.g_b", 128), "biases"),
    (changed(GROW, "g.g_phase", 1), ""),
    ({GROW: {"y.relu": 1, "g.g_relu": 1}}, "post-processing of a gradient"),
    (changed(WEIGHTS, "x.addr", 8), "drained sums: input of weight"),
    (changed(WEIGHTS, "s.addr", 8), "drained sums: output gradient"),
    (changed(SUMS, "s.addr", 8), ""),
    (changed(SUMS, "s.sum_off", 128), "channel sums")])
def test_a_transposed_layer(changes: dict[int, dict[str, int]], text: str) -> None:
    with pytest.raises(IllegalProgram, match=text):
        verify_program(PLANNED.program(changes))


@pytest.mark.parametrize("number", PIECES)
@pytest.mark.parametrize(("field", "by"), [("s.addr", 1 << 15), ("yw.addr", 8), ("x.addr", 8)])
def test_a_piece_that_stands_elsewhere(number: int, field: str, by: int) -> None:
    """A piece reads other weights or pixels, or writes where another one does."""
    with pytest.raises(IllegalProgram, match=f"descriptor {number} "):
        verify_program(PLANNED.program(changed(number, field, by)))
